package bridge

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/sdp"
)

// fakeNow is a wall clock that the test moves.
type fakeNow struct{ t time.Time }

func (f *fakeNow) now() time.Time { return f.t }

func TestClockByArrival(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	wall := &fakeNow{start}
	c := clock{now: wall.now}
	var last time.Time
	for i := range 25 * 600 { // ten minutes; the camera's crystal is 100 ppm fast
		pts := time.Duration(i) * 40 * time.Millisecond
		jitter := time.Duration(i%7) * 10 * time.Millisecond
		wall.t = start.Add(pts - pts/10000 + jitter)
		at := c.at(pts, time.Time{}, false)
		if i > 0 && !at.After(last) {
			t.Fatalf("frame %d: %v does not follow %v", i, at, last)
		}
		if d := at.Sub(last) - 40*time.Millisecond; i > 0 && d.Abs() > time.Millisecond {
			t.Fatalf("frame %d: %v after the one before", i, at.Sub(last))
		}
		if d := at.Sub(wall.t); d.Abs() > 150*time.Millisecond {
			t.Fatalf("frame %d: %v from the wall clock", i, d)
		}
		last = at
	}
}

func TestClockFollowsTheCamera(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	wall := &fakeNow{}
	c := clock{source: TimeAuto, now: wall.now}
	for i := range 25 * 90 {
		pts := time.Duration(i) * 40 * time.Millisecond
		captured := start.Add(pts)
		wall.t = captured.Add(300 * time.Millisecond) // encoder and network
		// The first report comes after five seconds.
		at := c.at(pts, captured, i >= 125)
		if i > 125+25*65 && at.Sub(captured).Abs() > dead {
			t.Fatalf("frame %d: %v from when it was captured", i, at.Sub(captured))
		}
	}
	if !c.trusted || c.offset.Abs() > time.Second {
		t.Errorf("trusted %v, offset %v", c.trusted, c.offset)
	}
}

// A camera whose clock is an hour off is not believed, unless it has to be.
func TestClockAnHourOff(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for source, want := range map[TimeSource]time.Duration{TimeAuto: 0, TimeLocal: 0, TimeCamera: -time.Hour} {
		wall := &fakeNow{}
		c := clock{source: source, now: wall.now}
		var at time.Time
		for i := range 250 {
			pts := time.Duration(i) * 40 * time.Millisecond
			wall.t = start.Add(pts)
			at = c.at(pts, wall.t.Add(-time.Hour), true)
		}
		if d := at.Sub(wall.t); (d - want).Abs() > 100*time.Millisecond {
			t.Errorf("%s: %v from the wall clock, want %v", source, d, want)
		}
		if c.offset != -time.Hour {
			t.Errorf("%s: offset %v", source, c.offset)
		}
	}
}

func TestConfig(t *testing.T) {
	c, err := Parse(`
storage = "64MiB"
drain = "5s"
debug_listen = "off"
[defaults]
create = true
retention = "7d"
[listen]
address = ":8554"
user = "u"
password_env = "PW"
stream = "site-{path}"
[[camera]]
stream = "door"
url = "rtsp://u:p@192.0.2.1/s1"
transport = "tcp"
[[camera]]
stream = "yard"
url_env = "YARD"
retention = "0s"
time = "local"
`)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PW": "secret", "YARD": "rtsp://192.0.2.2/s"}
	if err := c.Resolve(func(k string) string { return env[k] }); err != nil {
		t.Fatal(err)
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	if c.Storage != 64<<20 || c.Drain != 5*time.Second || c.Listen.Password != "secret" || len(c.Cameras) != 2 {
		t.Errorf("%+v", c)
	}
	door, yard := c.Cameras[0].info("door", nil, nil), c.Cameras[1].info("yard", nil, nil)
	if door.NoCreate || door.Retention != 7*24*time.Hour || yard.Retention != -1 || c.Cameras[1].Time != TimeLocal {
		t.Errorf("door %+v, yard %+v", door, yard)
	}
	for text, want := range map[string]string{
		`[[camera]]
stream = "a/b"
url = "rtsp://x/y"`: "StreamName",
		`[[camera]]
stream = "a"
url = "http://x/y"`: "url",
		`[[camera]]
stream = "a"
url = "rtsp://x/y"
transport = "carrier pigeon"`: "transport",
		`[listen]
address = ":1"
user = "u"`: "password",
		`[[camera]]
stream = "a"
url = "rtsp://x"
tranport = "tcp"`: "tranport",
		``: "neither",
		`[[camera]]
stream = "a"
url_env = "NOPE"`: "NOPE",
	} {
		c, err := Parse(text)
		if err == nil {
			err = c.Resolve(func(string) string { return "" })
		}
		if err == nil {
			err = c.check()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something about %s", text, err, want)
		}
	}
	if _, err := Parse("[[camera]]\nurl = \"rtsp://u:s3cret@x"); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a broken file: %v", err)
	}
}

func TestSecretsAreTakenOut(t *testing.T) {
	c := Camera{URL: "rtsp://admin:s3cret%2Fx@192.0.2.1/live?token=t0ken"}
	for _, text := range []string{
		"dial rtsp://admin:s3cret%2Fx@192.0.2.1/live?token=t0ken: refused", "bad password s3cret/x", "bad query token=t0ken",
	} {
		if got := redact(errors.New(text), c.secrets()...).Error(); strings.Contains(got, "s3cret") || strings.Contains(got, "t0ken") {
			t.Errorf("%q", got)
		}
	}
	if s := c.safeURL(); s != "rtsp://192.0.2.1/live" {
		t.Errorf("safe URL %q", s)
	}
}

func FuzzSDP(f *testing.F) {
	f.Add("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n" +
		"a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOvjyyLA\r\na=control:1\r\n" +
		"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\na=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190\r\na=control:2\r\n")
	f.Add("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\nm=audio 0 RTP/AVP 0\r\n")
	f.Add("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 PCMA/16000/8\r\n")
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, text string) {
		var s sdp.SessionDescription
		if s.Unmarshal([]byte(text)) != nil {
			return
		}
		var d description.Session
		if d.Unmarshal(&s) != nil {
			return
		}
		media, err := choose(&d, true, log)
		if err == nil && (len(media) == 0 || len(media) > 2) {
			t.Fatalf("%d media", len(media))
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add("[[camera]]\nstream = \"a\"\nurl = \"rtsp://x/y\"\nretention = \"7d\"\n")
	f.Fuzz(func(_ *testing.T, text string) {
		c, err := Parse(text)
		if err != nil || c.Resolve(func(string) string { return "x" }) != nil {
			return
		}
		_ = c.check()
		for i := range c.Cameras {
			_ = c.Cameras[i].safeURL()
		}
	})
}
