package gst_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// The launch commands of the developer guide, as printed, line breaks closed.
const (
	guideUbuntu  = `gst-launch-1.0 v4l2src do-timestamp=TRUE device=/dev/video0 ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! kvssink stream-name="MyKinesisVideoStream" storage-size=512 access-key="YourAccessKey" secret-key="YourSecretKey" aws-region="YourAWSRegion"`
	guideMac     = `gst-launch-1.0 autovideosrc ! videoconvert ! video/x-raw,format=I420,width=640,height=480,framerate=30/1 ! vtenc_h264_hw allow-frame-reordering=FALSE realtime=TRUE max-keyframe-interval=45 bitrate=500 ! h264parse ! video/x-h264,stream-format=avc,alignment=au,width=640,height=480,framerate=30/1 ! kvssink stream-name=MyKinesisVideoStream storage-size=512`
	guideWindows = `gst-launch-1.0 ksvideosrc do-timestamp=TRUE ! video/x-raw,width=640,height=480,framerate=30/1 ! videoconvert ! x264enc bframes=0 key-int-max=45 bitrate=512 ! video/x-h264,profile=baseline,stream-format=avc,alignment=au,width=640,height=480,framerate=30/1 ! kvssink stream-name="MyKinesisVideoStream" access-key=your_accesskey_id secret-key=your_secret_access_key`
	guidePi      = `gst-launch-1.0 v4l2src do-timestamp=TRUE device=/dev/video0 ! videoconvert ! video/x-raw,format=I420,width=640,height=480,framerate=30/1 ! omxh264enc control-rate=1 target-bitrate=5120000 periodicity-idr=45 inline-header=FALSE ! h264parse ! video/x-h264,stream-format=avc,alignment=au,width=640,height=480,framerate=30/1,profile=baseline ! kvssink stream-name="MyKinesisVideoStream" frame-timestamp=dts-only access-key="YourAccessKey" secret-key="YourSecretKey" aws-region="YourAWSRegion"`
	guideRTSP    = `gst-launch-1.0 rtspsrc location="rtsp://YourCameraRtspUrl" short-header=TRUE ! rtpH264depay ! video/x-h264, format=avc, alignment=au ! kvssink stream-name="YourStreamName" storage-size=512 access-key="YourAccessKey" secret-key="YourSecretKey" aws-region="YourAWSRegion"`
	guideUSB     = `gst-launch-1.0 v4l2src do-timestamp=TRUE device=/dev/video0 ! videoconvert ! video/x-raw, format=I420, width=640, height=480, framerate=30/1 ! x264enc bframes=0 key-int-max=45 bitrate=500 ! video/x-h264, stream-format=avc, alignment=au, profile=baseline ! kvssink stream-name="YourStreamName" storage-size=512 access-key="YourAccessKey" secret-key="YourSecretKey" aws-region="YourAWSRegion"`
	guideEncoded = `gst-launch-1.0 v4l2src do-timestamp=TRUE device=/dev/video0 ! h264parse ! video/x-h264, stream-format=avc, alignment=au ! kvssink stream-name="plugin" storage-size=512 access-key="YourAccessKey" secret-key="YourSecretKey" aws-region="YourAWSRegion"`
	guidePi6     = `gst-launch-1.0 v4l2src do-timestamp=TRUE device=/dev/video0 ! videoconvert ! video/x-raw, format=I420, width=640, height=480, framerate=30/1 ! omxh264enc control-rate=1 target-bitrate=5120000 periodicity-idr=45 inline-header=FALSE ! h264parse ! video/x-h264, stream-format=avc, alignment=au, width=640, height=480, framerate=30/1, profile=baseline ! kvssink stream-name="YourStreamName" frame-timestamp=pts-only access-key="YourAccessKey" secret-key="YourSecretKey" aws-region="YourAWSRegion"`
)

const (
	testCamera  = "videotestsrc is-live=true num-buffers=50 pattern=ball"
	encodedTest = testCamera + " ! video/x-raw,width=640,height=480,framerate=30/1 ! x264enc bframes=0 key-int-max=20 speed-preset=ultrafast ! video/x-h264,stream-format=byte-stream"
	omx         = "omxh264enc control-rate=1 target-bitrate=5120000 periodicity-idr=45 inline-header=FALSE"
	vtenc       = "vtenc_h264_hw allow-frame-reordering=FALSE realtime=TRUE max-keyframe-interval=45 bitrate=500"
	x264        = "x264enc bframes=0 key-int-max=45 bitrate=500 speed-preset=ultrafast"
)

var (
	// rtspMisprints of the guide; rtp264depay is its other spelling.
	rtspMisprints = []string{"rtpH264depay", "rtph264depay", "rtp264depay", "rtph264depay", "format=avc", "stream-format=avc"}
	camera        = []string{"v4l2src do-timestamp=TRUE device=/dev/video0", testCamera, omx, x264, vtenc, x264, "autovideosrc", testCamera, "ksvideosrc do-timestamp=TRUE", testCamera}
	encodedCamera = []string{"v4l2src do-timestamp=TRUE device=/dev/video0", encodedTest}
)

func TestGuideLaunchCommands(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	srv := sluicetest.Start(t)
	for _, c := range []struct {
		name, printed string
		replace       []string
	}{
		{"GettingStartedUbuntu", guideUbuntu, encodedCamera},
		{"GettingStartedMac", guideMac, camera},
		{"GettingStartedWindows", guideWindows, camera},
		{"GettingStartedPi", guidePi, camera},
		{"Example2", guideUSB, camera},
		{"Example3", guideEncoded, encodedCamera},
		{"Example6And7", guidePi6, camera},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			line := account(srv, c.name).Replace(strings.NewReplacer(c.replace...).Replace(c.printed))
			line = strings.TrimPrefix(line, "gst-launch-1.0 ")
			// What goes into the sink goes into a file too.
			ref := filepath.Join(t.TempDir(), "ref.mkv")
			line = strings.Replace(line, "kvssink ", "tee name=ref ! queue ! kvssink ", 1) + " ref. ! queue ! matroskamux ! filesink location=" + ref
			launch(t, srv, line)
			got, want := stored(t, srv, c.name), file(t, ref)
			same(t, "frames", got.of(true), want.of(true), true)
			if got, want := pictures(t, got.of(true)), decode(t, nil, "-i", ref); !slices.Equal(got, want) || len(got) != 50 {
				t.Errorf("%d pictures decoded differ from %d", len(got), len(want))
			}
			if age := time.Since(got.frames[0].pts); age < 0 || age > 2*stuck {
				t.Errorf("the first frame is %v old", age)
			}
		})
	}
}

// account fills in what the reader of the guide has to.
func account(srv *sluicetest.Server, stream string) *strings.Replacer {
	return strings.NewReplacer(
		"YourAccessKey", srv.Credentials.AccessKeyID, "YourSecretKey", srv.Credentials.SecretAccessKey, "YourAWSRegion", srv.Region,
		"your_accesskey_id", srv.Credentials.AccessKeyID, "your_secret_access_key", srv.Credentials.SecretAccessKey,
		"MyKinesisVideoStream", stream, "YourStreamName", stream, `"plugin"`, stream,
	)
}

// Examples 1, 4 and 5 are one command: an RTSP camera. It ends with Ctrl-C.
func TestGuideLaunchCommandRTSPAndCtrlC(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	srv := sluicetest.Start(t)
	cam := newRTSPCamera(t)
	line := strings.NewReplacer(rtspMisprints...).Replace(guideRTSP)
	line = strings.ReplaceAll(line, "rtsp://YourCameraRtspUrl", cam.url)
	line = strings.TrimPrefix(account(srv, "rtsp").Replace(line), "gst-launch-1.0 ")
	cmd := program(t, srv, "gst-launch-1.0", append([]string{"-e"}, words(line)...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cam.played(t, 60)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after Ctrl-C: %v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "Not all was acknowledged") || strings.Contains(out.String(), "ERROR") {
		t.Errorf("not a clean end:\n%s", out.String())
	}
	m := stored(t, srv, "rtsp")
	got := pictures(t, m.of(true))
	if len(got) < 30 {
		t.Fatalf("%d pictures, want 30 or more", len(got))
	}
	// The camera plays a recording in a loop; what arrived is a stretch of it.
	twice := append(slices.Clone(cam.hashes), cam.hashes...)
	for len(twice) < len(got)+len(cam.hashes) {
		twice = append(twice, cam.hashes...)
	}
	if !contains(twice, got) {
		t.Errorf("the %d pictures are no stretch of the camera's", len(got))
	}
	frames := m.of(true)
	for i := 1; i < len(frames); i++ {
		if d := frames[i].pts.Sub(frames[i-1].pts); d < 20*time.Millisecond || d > 80*time.Millisecond {
			t.Errorf("frame %d comes %v behind the one before, want about 40ms", i, d)
		}
	}
}

func contains(all, part []string) bool {
	for i := range all {
		if len(all)-i >= len(part) && slices.Equal(all[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// Examples 8 to 11 are links in the guide; these are the commands.
func TestAudioAndVideo(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t)
	for _, c := range []struct {
		name, video, audio string
		exact              bool
		frames             int
	}{
		{"H264AAC", "x264enc bframes=0 key-int-max=25 tune=zerolatency ! h264parse ! video/x-h264,stream-format=avc,alignment=au", "avenc_aac ! aacparse ! audio/mpeg,stream-format=raw", true, 60},
		{"H264ALaw", "x264enc bframes=0 key-int-max=25 tune=zerolatency ! h264parse ! video/x-h264,stream-format=avc,alignment=au", "audioresample ! audioconvert ! audio/x-raw,rate=8000,channels=1 ! alawenc", true, 60},
		{"H265MuLaw", "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=25 ! h265parse ! video/x-h265,stream-format=hvc1,alignment=au", "audioresample ! audioconvert ! audio/x-raw,rate=8000,channels=1 ! mulawenc", true, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ref := filepath.Join(t.TempDir(), "ref.mkv")
			launch(t, srv, fmt.Sprintf(`kvssink name=k stream-name=%s matroskamux name=m ! filesink location=%s
				videotestsrc is-live=true num-buffers=60 ! video/x-raw,width=320,height=240,framerate=30/1 ! queue ! %s ! tee name=v ! queue ! k. v. ! queue ! m.
				audiotestsrc is-live=true num-buffers=86 ! audio/x-raw,rate=44100,channels=1 ! queue ! audioconvert ! %s ! tee name=a ! queue ! k. a. ! queue ! m.`,
				c.name, ref, c.video, c.audio))
			got, want := stored(t, srv, c.name), file(t, ref)
			same(t, "pictures", got.of(true), want.of(true), c.exact)
			// A fragment begins with a key frame: sound before the first has no place.
			sound := want.of(false)
			for len(sound) > 0 && sound[0].pts.Before(want.of(true)[0].pts) {
				sound = sound[1:]
			}
			// The two muxers round times each in its way, so the packet at the very
			// edge may fall on either side.
			if edge := sound[0].pts.Sub(want.of(true)[0].pts); len(got.of(false)) == len(sound)-1 && edge < 30*time.Millisecond {
				sound = sound[1:]
			}
			same(t, "sound", got.of(false), sound, c.exact)
			gap := func(sound, pictures []frame) time.Duration { return sound[0].pts.Sub(pictures[0].pts) }
			if d := (gap(got.of(false), got.of(true)) - gap(sound, want.of(true))).Abs(); d > 20*time.Millisecond {
				t.Errorf("sound is %v off", d)
			}
			if len(got.of(true)) != c.frames {
				t.Errorf("%d pictures, want %d", len(got.of(true)), c.frames)
			}
		})
	}
}

func TestCodecs(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	srv := sluicetest.Start(t)
	const test = "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! "
	const sound = "audiotestsrc num-buffers=100 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=1 ! audioconvert ! "
	const tone = "audiotestsrc num-buffers=100 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! "
	for _, c := range []struct {
		name, pipeline, toFile, codec string
		frames                        int
		exact, video                  bool
	}{
		{"H264AVC", test + "x264enc bframes=0 key-int-max=20 ! video/x-h264,stream-format=avc", "", "V_MPEG4/ISO/AVC", 60, true, true},
		{"H264ByteStream", test + "x264enc bframes=0 key-int-max=20 ! video/x-h264,stream-format=byte-stream,alignment=au", "h264parse ! ", "V_MPEG4/ISO/AVC", 60, false, true},
		{"H264BFrames", test + "x264enc bframes=3 b-adapt=false key-int-max=20 ! video/x-h264,stream-format=avc", "", "V_MPEG4/ISO/AVC", 60, true, true},
		{"H264BFramesByteStream", test + "x264enc bframes=2 b-adapt=false b-pyramid=true key-int-max=20 ! video/x-h264,stream-format=byte-stream,alignment=au", "h264parse ! ", "V_MPEG4/ISO/AVC", 60, false, true},
		{"H265", test + "x265enc speed-preset=ultrafast key-int-max=20 ! h265parse ! video/x-h265,stream-format=hvc1,alignment=au", "", "V_MPEGH/ISO/HEVC", 60, true, true},
		{"H265ByteStream", test + "x265enc speed-preset=ultrafast key-int-max=20 ! h265parse ! video/x-h265,stream-format=byte-stream,alignment=au", "h265parse ! ", "V_MPEGH/ISO/HEVC", 60, false, true},
		{"AACRaw", sound + "avenc_aac ! aacparse ! audio/mpeg,stream-format=raw", "", "A_AAC", 101, true, false},
		{"AACADTS", sound + "avenc_aac ! aacparse ! audio/mpeg,stream-format=adts", "aacparse ! ", "A_AAC", 101, true, false},
		{"ALaw", tone + "alawenc", "", "A_MS/ACM", 100, true, false},
		{"MuLaw", tone + "mulawenc", "", "A_MS/ACM", 100, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ref := filepath.Join(t.TempDir(), "ref.mkv")
			launch(t, srv, c.pipeline+" ! tee name=t ! queue ! kvssink stream-name="+c.name+" t. ! queue ! "+c.toFile+"matroskamux ! filesink location="+ref)
			m, want := stored(t, srv, c.name), file(t, ref)
			got := m.of(c.video)
			same(t, "frames", got, want.of(c.video), c.exact)
			if len(got) != c.frames || got[0].info.CodecID != c.codec {
				t.Errorf("%d frames of %s, want %d of %s", len(got), got[0].info.CodecID, c.frames, c.codec)
			}
			if c.video {
				if got, want := pictures(t, got), decode(t, nil, "-i", ref); !slices.Equal(got, want) {
					t.Errorf("%d pictures decoded differ from %d", len(got), len(want))
				}
				if len(m.starts) != 3 {
					t.Errorf("%d fragments, want one a key frame: 3", len(m.starts))
				}
			}
		})
	}
}

// Two sinks in one pipeline share nothing.
func TestTwoSinks(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t)
	launch(t, srv, `videotestsrc num-buffers=40 ! x264enc bframes=0 key-int-max=20 ! tee name=t ! queue ! kvssink stream-name=one t. ! queue ! kvssink stream-name=two`)
	one, two := stored(t, srv, "one"), stored(t, srv, "two")
	same(t, "two sinks", one.of(true), two.of(true), true)
	if len(one.frames) != 40 {
		t.Errorf("%d frames, want 40", len(one.frames))
	}
}

// A recording: file-start-time says when it was made, offline loses nothing.
func TestFileStartTime(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t)
	launch(t, srv, `videotestsrc num-buffers=40 ! video/x-raw,framerate=20/1 ! x264enc bframes=0 key-int-max=20 ! kvssink stream-name=file streaming-type=offline file-start-time=1700000000`)
	m := stored(t, srv, "file")
	for i, f := range m.frames {
		if want := time.Unix(1700000000, 0).Add(time.Duration(i) * 50 * time.Millisecond); !f.pts.Equal(want) {
			t.Errorf("frame %d is of %v, want %v", i, f.pts, want)
		}
	}
	if len(m.frames) != 40 {
		t.Errorf("%d frames, want 40", len(m.frames))
	}
}

// The buffers have times since the epoch already: they are taken as they are.
func TestUseOriginalPTS(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t)
	launch(t, srv, `audiotestsrc num-buffers=150 samplesperbuffer=160 timestamp-offset=1700000000000000000 ! audio/x-raw,rate=8000,channels=1 ! alawenc !
		kvssink stream-name=original use-original-pts=true streaming-type=offline`)
	m := stored(t, srv, "original")
	for i, f := range m.frames {
		if want := time.Unix(1700000000, 0).Add(time.Duration(i) * 20 * time.Millisecond); !f.pts.Equal(want) {
			t.Fatalf("packet %d is of %v, want %v", i, f.pts, want)
		}
	}
	if len(m.frames) != 150 {
		t.Errorf("%d packets, want 150", len(m.frames))
	}
}

// Without -e, Ctrl-C goes straight to NULL: it still ends in a moment.
func TestCtrlCWithoutEOS(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	cmd := program(t, srv, "gst-launch-1.0", words("videotestsrc is-live=true ! x264enc tune=zerolatency key-int-max=15 ! kvssink name=k stream-name=interrupted -m")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, out, "kvs-connected")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	cmd.Wait()
	if took := time.Since(at); took > time.Minute {
		t.Errorf("it took %v to end", took)
	}
}
