package gst_test

import (
	"crypto/md5"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// buffers are those that kvssrc pushed on a pad.
func buffers(all []said, pad string) (out []said) {
	for _, s := range all {
		if s["kind"] == "buffer" && s["pad"] == pad {
			out = append(out, s)
		}
	}
	return out
}

// equal compares what kvssrc gave with what the server has: which is what kvssink
// put in, as the tests of kvssink say.
func equal(t *testing.T, got []said, want []frame, origin time.Time) {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d buffers, want %d", len(got), len(want))
	}
	for i, b := range got {
		if sum := fmt.Sprintf("%x", md5.Sum(want[i].data)); b["md5"] != sum {
			t.Fatalf("buffer %d is not the frame that was put in", i)
		}
		at := max(want[i].pts.Sub(origin), 0)
		if d := (time.Duration(b["pts"].(float64)) - at).Abs(); d > time.Millisecond {
			t.Fatalf("buffer %d is at %v, want %v", i, time.Duration(b["pts"].(float64)), at)
		}
		if b["key"] != (want[i].key || !want[i].video) {
			t.Fatalf("buffer %d: key is %v", i, b["key"])
		}
	}
}

func TestSourceCodecs(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	srv := sluicetest.Start(t)
	const moving = "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! "
	const sound = "audiotestsrc num-buffers=90 samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=2 ! audioconvert ! "
	for _, c := range []struct {
		name, pipeline, video, audio, decode string
	}{
		{"H264", moving + "x264enc bframes=0 key-int-max=20 ! kvssink name=k", "video/x-h264, stream-format=(string)avc", "", "h264parse ! avdec_h264"},
		{"H264BFrames", moving + "x264enc bframes=2 b-adapt=false key-int-max=20 ! kvssink name=k", "video/x-h264, stream-format=(string)avc", "", "h264parse ! avdec_h264"},
		{"H265", moving + "x265enc speed-preset=ultrafast key-int-max=20 ! h265parse ! kvssink name=k", "video/x-h265, stream-format=(string)hvc1", "", "h265parse ! avdec_h265"},
		{"H264AAC", moving + "x264enc bframes=0 key-int-max=20 ! queue ! kvssink name=k " + sound + "avenc_aac ! aacparse ! queue ! k.", "video/x-h264", "audio/mpeg, mpegversion=(int)4, stream-format=(string)raw, rate=(int)44100, channels=(int)2", ""},
		{"ALaw", "audiotestsrc num-buffers=100 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! kvssink name=k", "", "audio/x-alaw, rate=(int)8000, channels=(int)1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			launch(t, srv, strings.Replace(c.pipeline, "kvssink name=k", "kvssink name=k stream-name="+c.name, 1))
			m := stored(t, srv, c.name)
			for _, property := range []string{"start-at=earliest stop-at=now", fmt.Sprintf("start-at=%d stop-at=%d time-of=producer", m.frames[0].pts.Unix()-1, time.Now().Unix()+3600)} {
				if strings.Contains(property, "time-of") && c.name != "H264" {
					continue
				}
				args := append([]string{"readall", c.name}, strings.Fields(property)...)
				if strings.Contains(property, "time-of") {
					args[3] = fmt.Sprintf("stop-at=%d", m.frames[len(m.frames)-1].pts.Unix()+1)
					time.Sleep(time.Until(m.frames[len(m.frames)-1].pts.Add(2 * time.Second)))
				}
				all := host(t, srv, args...)
				if first(all, "error") != nil || first(all, "eos") == nil || first(all, "no-more-pads") == nil {
					t.Fatal(all)
				}
				// The first buffer pushed is at 0.
				origin := time.Unix(0, int64(first(all, "buffer")["wall"].(float64))).Round(time.Microsecond)
				for pad, want := range map[string][]frame{"video_0": m.of(true), "audio_0": m.of(false)} {
					if len(want) > 0 {
						equal(t, buffers(all, pad), want, origin)
					}
				}
				caps := ""
				for _, s := range all {
					if s["kind"] == "caps" {
						caps += s["caps"].(string) + "\n"
					}
				}
				if !strings.Contains(caps, c.video) || !strings.Contains(caps, c.audio) {
					t.Errorf("caps %s, want %s and %s", caps, c.video, c.audio)
				}
			}
			if c.decode != "" {
				raw := t.TempDir() + "/raw"
				launch(t, srv, "kvssrc stream-name="+c.name+" start-at=earliest stop-at=now ! "+c.decode+" ! videoconvert ! video/x-raw,format=I420 ! filesink location="+raw)
				got := decode(t, nil, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "320x240", "-i", raw)
				if want := pictures(t, m.of(true)); !slices.Equal(got, want) {
					t.Errorf("%d pictures decoded differ from %d", len(got), len(want))
				}
			}
		})
	}
}

func TestSourceSeek(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	launch(t, srv, "videotestsrc num-buffers=80 ! video/x-raw,framerate=20/1 ! x264enc bframes=0 key-int-max=10 ! kvssink stream-name=seek")
	m := stored(t, srv, "seek")
	all := host(t, srv, "seek", "seek", "start-at=earliest", "stop-at=now")
	if first(all, "seek")["ok"] != true || first(all, "error") != nil {
		t.Fatal(all)
	}
	got := buffers(all, "video_0")
	if len(got) <= len(m.frames) {
		t.Fatalf("%d buffers, want %d and then some", len(got), len(m.frames))
	}
	equal(t, got[:len(m.frames)], m.frames, m.frames[0].pts)
	// 1.3 s lies in the fragment that begins at 1 s: frame 20.
	equal(t, got[len(m.frames):], m.frames[20:], m.frames[0].pts)
	ends := 0
	for _, s := range all {
		if s["kind"] == "eos" {
			ends++
		}
	}
	if ends != 2 {
		t.Errorf("EOS %d times, want 2", ends)
	}
}

// Live, over a restart of the server: each frame once.
func TestSourceLiveOverRestart(t *testing.T) {
	t.Parallel()
	srv := away(t)
	srv.Restart()
	srv.CreateStream("live", time.Hour)
	reader := talk(t, srv, "follow", "live")
	reader.until("playing", 1)
	sink := talk(t, srv, "outage", "live")
	reader.until(`"buffer"`, 30)
	srv.Restart()
	reader.until(`"buffer"`, 60)
	put := sink.end()
	// The last frame that was stored has arrived when as many were read as put,
	// less those of before the reader was there.
	m := stored(t, srv, "live")
	last := fmt.Sprintf("%x", md5.Sum(m.frames[len(m.frames)-1].data))
	if !strings.Contains(reader.text.String(), last) {
		reader.until(last, 1)
	}
	all := reader.end()
	once(t, m.frames, count(t, put, "video_0"))
	got := buffers(all, "video_0")
	if first(all, "kvs-reconnect") == nil {
		t.Log("the reader did not need to reconnect, or nobody asked its bus")
	}
	missed := len(m.frames) - len(got)
	if missed < 0 {
		t.Fatalf("%d buffers of %d frames", len(got), len(m.frames))
	}
	for i, b := range got {
		if want := m.frames[missed+i]; b["md5"] != fmt.Sprintf("%x", md5.Sum(want.data)) {
			t.Fatalf("buffer %d of %d is not frame %d of %d", i, len(got), missed+i, len(m.frames))
		}
	}
}

// From a time that has passed on into what is live, over the seam: each frame once,
// with its distance in time.
func TestSourceFollowsFromAPastTime(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	sink := talk(t, srv, "outage", "past")
	sink.say("frames")
	sink.until(`"frames"`, 1)
	arrived(t, srv, "past", 2)
	reader := talk(t, srv, "follow", "past", "start-at=-10m")
	reader.until(`"buffer"`, 30)
	sink.say("frames")
	sink.until(`"frames"`, 1)
	put := sink.end()
	m := stored(t, srv, "past")
	once(t, m.frames, count(t, put, "video_0"))
	last := fmt.Sprintf("%x", md5.Sum(m.frames[len(m.frames)-1].data))
	if !strings.Contains(reader.text.String(), last) {
		reader.until(last, 1)
	}
	equal(t, buffers(reader.end(), "video_0"), m.frames, m.frames[0].pts)
}

// A player: in time with the clock.
func TestSourcePlays(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	sink := talk(t, srv, "outage", "cam")
	sink.say("frames")
	sink.until(`"frames"`, 1)
	cmd := program(t, srv, "gst-launch-1.0", words("-e kvssrc stream-name=cam ! h264parse ! avdec_h264 ! identity silent=false ! fakevideosink -v")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitForN(t, out, "chain", 120)
	// Ctrl-C: EOS goes through to the sink.
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	sink.end()
}

// A range in which there is nothing is said to be empty, not waited for.
func TestSourceOfNothing(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t)
	srv.CreateStream("empty", time.Hour)
	out, err := program(t, srv, "gst-launch-1.0", words("kvssrc stream-name=empty start-at=-1h stop-at=now ! fakesink")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "There was nothing to read") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What is refused for good ends with the reason, instead of being asked for again.
func TestSourceRefused(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t)
	srv.CreateStream("cam", time.Hour)
	for line, want := range map[string]string{
		"kvssrc stream-name=nothere ! fakesink":                                          "ResourceNotFoundException",
		"kvssrc stream-name=cam access-key=AKIANOBODYKNOWSTHIS0 secret-key=x ! fakesink": "UnrecognizedClientException",
	} {
		out, err := program(t, srv, "gst-launch-1.0", words(line)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

func TestSourceCycles(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	launch(t, srv, "videotestsrc num-buffers=40 ! x264enc bframes=0 key-int-max=10 ! kvssink stream-name=cycles")
	leaks(t, host(t, srv, "sourcecycles", "cycles"))
}
