package bridge_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/bridge"
)

// GStreamer pushes, over TCP and UDP, with B-frames and with its own parameter
// sets in band.
func TestGStreamerPushes(t *testing.T) {
	t.Parallel()
	need(t, "gst-launch-1.0")
	for name, c := range map[string]struct {
		pipeline string
		udp      bool
		media    string
	}{
		"h264 aac": {"videotestsrc num-buffers=100 is-live=true ! video/x-raw,width=320,height=240,format=I420,framerate=25/1 ! x264enc key-int-max=25 bframes=0 ! video/x-h264,profile=baseline ! h264parse config-interval=-1 ! s. " +
			"audiotestsrc num-buffers=180 is-live=true ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! s. rtspclientsink name=s protocols=tcp latency=0 location=", false, "H264 MPEG-4 Audio LATM"},
		"h264 b-frames": {"videotestsrc num-buffers=100 is-live=true ! video/x-raw,width=320,height=240,format=I420,framerate=25/1 ! x264enc key-int-max=25 bframes=2 ! video/x-h264,profile=main ! h264parse config-interval=-1 ! rtspclientsink protocols=tcp latency=0 location=", false, "H264"},
		"h264 alaw udp": {"videotestsrc num-buffers=100 is-live=true ! video/x-raw,width=320,height=240,format=I420,framerate=25/1 ! x264enc tune=zerolatency key-int-max=25 bframes=0 ! video/x-h264,profile=baseline ! s. " +
			"audiotestsrc num-buffers=32 is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc ! s. rtspclientsink name=s protocols=udp latency=0 location=", true, "H264 G711"},
		"h265": {"videotestsrc num-buffers=100 is-live=true ! video/x-raw,width=320,height=240,format=I420,framerate=25/1 ! x265enc key-int-max=25 speed-preset=ultrafast tune=zerolatency ! h265parse config-interval=-1 ! rtspclientsink protocols=tcp latency=0 location=", false, "H265"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(c.pipeline, "x265enc") && exec.Command("gst-inspect-1.0", "x265enc").Run() != nil {
				t.Skip("needs GStreamer's x265enc")
			}
			set := bridge.Listen{Address: "127.0.0.1:0"}
			if c.udp {
				set.UDP = evenPort(t)
			}
			r := run(t, bridge.Config{Listen: set})
			url := "rtsp://" + r.address() + "/cam"
			began := time.Now()
			gst := exec.Command("gst-launch-1.0", append([]string{"-q"}, strings.Fields(c.pipeline+url)...)...)
			if err := gst.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { defer close(ended); _ = gst.Wait() }()
			t.Cleanup(func() { _ = gst.Process.Kill(); <-ended })
			// On a busy machine rtspclientsink may not come to its end by itself: then
			// nothing has come for ten seconds.
			last, since := int64(0), time.Now()
			r.await("cam", func(s bridge.SourceStatus) bool {
				if last != s.Frames || s.Frames <= 25 {
					last, since = s.Frames, time.Now()
				}
				select {
				case <-ended:
					return true
				default:
					return time.Since(since) > 10*time.Second
				}
			})
			_ = gst.Process.Kill()
			<-ended
			fragments := int64(3)
			if c.udp {
				fragments = 1 // a busy machine loses packets
			}
			s := r.await("cam", func(s bridge.SourceStatus) bool {
				return !s.Connected && s.BufferBytes == 0 && s.Persisted >= fragments
			})
			if s.Media != c.media || s.DecodeErrors > 0 && !c.udp {
				t.Errorf("media %q, want %q; %d decode errors: %s", s.Media, c.media, s.DecodeErrors, s.SourceError)
			}
			// A sender that began late makes up for it: its four seconds may come at once.
			if off := s.LastFrame.Sub(began); off < 2*time.Second && !c.udp || off < 0 || off > time.Since(began)+5*time.Second {
				t.Errorf("the last frame is of %v after the push began", off)
			}
			pictures, sound := 0, 0
			for _, f := range r.frames("cam") {
				if f.Track == 1 {
					pictures++
				} else {
					sound++
				}
			}
			if c.udp && pictures >= 25 && sound > 0 {
				// What a busy machine left of it.
			} else if pictures < 95 || strings.Contains(c.media, " ") && sound < 20 {
				t.Errorf("%d pictures of 100, %d packets of sound", pictures, sound)
			}
			hashes(t, r.get("cam"), "v") // ffmpeg decodes it without complaint
		})
	}
}

// What GStreamer sends of a recording decodes to the recording's pictures.
func TestGStreamerPushesARecording(t *testing.T) {
	t.Parallel()
	need(t, "gst-launch-1.0")
	for name, c := range map[string]struct {
		args  []string
		parse string
		sound string
	}{
		"h264":          {h264, "h264parse config-interval=-1", ""},
		"h264 b-frames": {[]string{"-c:v", "libx264", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p"}, "h264parse config-interval=-1", ""},
		"h264 sdp sets": {h264, "h264parse config-interval=0", ""},
		"h265":          {h265, "h265parse config-interval=-1", ""},
		"h264 aac":      {append(slices.Clone(h264), "-c:a", "aac"), "h264parse config-interval=-1", "aacparse"},
		"h264 g711":     {append(slices.Clone(h264), "-c:a", "pcm_alaw"), "h264parse config-interval=-1", "identity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := film(t, "a.mkv", 5, c.args...)
			r := run(t, bridge.Config{Listen: bridge.Listen{Address: "127.0.0.1:0"}})
			args := "-q filesrc location=" + path + " ! matroskademux name=d d.video_0 ! queue ! " + c.parse + " ! s."
			if c.sound != "" {
				args += " d.audio_0 ! queue ! " + c.sound + " ! s."
			}
			args += " rtspclientsink name=s protocols=tcp latency=0 location=rtsp://" + r.address() + "/cam"
			gst := exec.Command("gst-launch-1.0", strings.Fields(args)...)
			if err := gst.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = gst.Process.Kill() })
			r.await("cam", func(s bridge.SourceStatus) bool { return s.Frames >= 120 })
			_ = gst.Process.Kill()
			_ = gst.Wait()
			r.await("cam", func(s bridge.SourceStatus) bool { return !s.Connected && s.BufferBytes == 0 })
			least := 115
			if c.sound != "" { // many of the frames are no pictures
				least = 25
				r.sameSound("cam", path, 8)
			}
			if got, want := settled(hashes(t, r.get("cam"), "v"), c.args), hashes(t, path, "v"); len(got) < least || !within(want, got) {
				t.Errorf("%d pictures of %d: %v", len(got), len(want), places(got, want))
			}
		})
	}
}

var lastPort atomic.Int64

// evenPort is an address with an even port that is free, and so is the next. It
// gives none twice, and none that the system gives to connections: who asked
// binds it later.
func evenPort(t testing.TB) string {
	t.Helper()
	lastPort.CompareAndSwap(0, int64(os.Getpid())%500*20)
	for range 5_000 {
		port := 10_000 + lastPort.Add(2)%10_000
		a, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		b, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port+1))
		a.Close()
		if err == nil {
			b.Close()
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	t.Fatal("no even port is free")
	return ""
}
