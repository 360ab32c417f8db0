package gst_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// said is a line of host.py.
type said map[string]any

func parse(t *testing.T, out string) []said {
	t.Helper()
	var all []said
	for line := range strings.Lines(out) {
		if line[0] != '{' {
			continue // GStreamer's own words
		}
		var s said
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("the program said %q: %v", line, err)
		}
		all = append(all, s)
	}
	if len(all) == 0 || all[len(all)-1]["kind"] != "over" {
		t.Fatalf("the program did not come to its end:\n%s", tail([]byte(out)))
	}
	return all
}

func first(all []said, kind string) said {
	for _, s := range all {
		if s["kind"] == kind {
			return s
		}
	}
	return nil
}

func host(t *testing.T, srv *sluicetest.Server, args ...string) []said {
	t.Helper()
	all := parse(t, script(t, srv, "host.py", args...))
	if s := first(all, "timeout"); s != nil {
		t.Errorf("it waited in vain for %v; it said %v", s["want"], all)
	}
	return all
}

// count is how many buffers went into the sink's pad.
func count(t *testing.T, all []said, pad string) int {
	t.Helper()
	s := first(all, "stopped")
	if s == nil {
		t.Fatalf("never stopped: %v", all)
	}
	n, _ := s["counts"].(map[string]any)[pad].(float64)
	return int(n)
}

func TestSignalsAndMessages(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "signals", "signals")
	seen := first(all, "seen")
	for _, name := range []string{"fragment-ack", "ack", "stream-client-metric"} {
		if n, _ := seen[name].(float64); n < 3 {
			t.Errorf("signal %s: %v times, want 3 or more", name, seen[name])
		}
	}
	if seen["stream-error"] != nil {
		t.Errorf("stream-error %v times", seen["stream-error"])
	}
	for _, s := range all {
		if s["kind"] != "signal" {
			continue
		}
		f := s["fields"].(map[string]any)
		switch s["name"] {
		case "ack":
			if f["type"] == nil || f["timecode"] == nil {
				t.Errorf("ack: %v", f)
			}
		case "stream-client-metric":
			for _, name := range []string{"frame-pts", "on-first-frame", "current-view-duration", "content-store-size", "total-frame-rate"} {
				if f[name] == nil {
					t.Errorf("stream-client-metric has no %s: %v", name, f)
				}
			}
		}
	}
	for _, name := range []string{"kvs-connected", "kvs-ready", "kvs-disconnected"} {
		if first(all, name) == nil && name != "kvs-disconnected" {
			t.Errorf("no message %s", name)
		}
	}
	if got := len(stored(t, srv, "signals").frames); got != count(t, all, "video_0") {
		t.Errorf("%d frames stored, %d put", got, count(t, all, "video_0"))
	}
}

func TestMetadataAndMarkers(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "events", "events")
	warned := 0
	for _, s := range all {
		if s["kind"] == "warning" {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("%d warnings, want one for AWS_X: %v", warned, all)
	}
	m := stored(t, srv, "events")
	counts := map[string]int{}
	for _, tags := range m.tags {
		for _, tag := range tags {
			counts[tag.Name+"="+tag.Value]++
		}
	}
	for want, n := range map[string]int{
		"site=north": len(m.tags), "door=open": 1, "AWS_X=no": 0, "early=null": 0,
		"AWS_KINESISVIDEO_IMAGE_GENERATION=": 2, "AWS_KINESISVIDEO_IMAGE_PREFIX=cam7": 1, "AWS_KINESISVIDEO_NOTIFICATION=": 2,
	} {
		if counts[want] != n {
			t.Errorf("tag %s stands on %d fragments, want %d", want, counts[want], n)
		}
	}
}

func TestStreamErrorStopsThePipeline(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "failing", "nothere")
	if first(all, "error") == nil || first(all, "signal") == nil {
		t.Errorf("no error or no signal: %v", all)
	}
	all = host(t, srv, "tolerant", "nothere")
	if s := first(all, "went-on"); first(all, "error") != nil || first(all, "warning") == nil || s["frames"].(float64) < 10 {
		t.Errorf("with stop-on-error=false: %v", all)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "pause", "pause")
	m := stored(t, srv, "pause")
	if got, want := len(m.frames), count(t, all, "video_0"); got != want {
		t.Errorf("%d frames stored, %d put", got, want)
	}
	moment := func(kind string) time.Time {
		return time.Unix(0, int64(first(all, kind)["at"].(float64)*1e9))
	}
	paused := moment("resumed").Sub(moment("paused"))
	gaps := 0
	for i := 1; i < len(m.frames); i++ {
		if d := m.frames[i].pts.Sub(m.frames[i-1].pts); d > time.Second {
			gaps++
			if d < paused-500*time.Millisecond || d > paused+30*time.Second {
				t.Errorf("the gap is %v long, the pause was %v", d, paused)
			}
			if off := m.frames[i].pts.Sub(moment("resumed")); off < -time.Second || off > 30*time.Second {
				t.Errorf("the first frame after the pause is %v off its time", off)
			}
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps, want one", gaps)
	}
}

func TestPauseHoldsARecording(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "pausefile", "pausefile")
	if n := first(all, "held")["frames"].(float64); n > 1 {
		t.Errorf("%v frames went in while it was paused", n)
	}
	if got, want := len(stored(t, srv, "pausefile").frames), count(t, all, "video_0"); got != want {
		t.Errorf("%d frames stored, %d put", got, want)
	}
}

func TestFlush(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "flush", "flush")
	if first(all, "seek")["ok"] != true || first(all, "error") != nil || first(all, "eos") == nil {
		t.Fatal(all)
	}
	// What the flush caught on its way is gone; the rest is in order.
	m := stored(t, srv, "flush")
	if got, put := len(m.frames), count(t, all, "video_0"); got < put-3 {
		t.Errorf("%d frames stored, %d put", got, put)
	}
	for i := 1; i < len(m.frames); i++ {
		if d := m.frames[i].pts.Sub(m.frames[i-1].pts); d <= 0 || d > 3*time.Second {
			t.Errorf("frame %d comes %v behind the one before", i, d)
		}
	}
}

func TestGap(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "gap", "gap")
	m := stored(t, srv, "gap")
	if got, want := len(m.of(true)), count(t, all, "video_0"); got != want {
		t.Errorf("%d pictures stored, %d put", got, want)
	}
	// Sound has no place before the first picture, nor between its return and the
	// next key picture: that is told.
	skipped := 0
	for _, s := range all {
		if s["kind"] == "kvs-skipped" {
			skipped += int(s["frames"].(float64))
		}
	}
	got, want := len(m.of(false)), count(t, all, "audio_0")
	if got+skipped != want || got < want/4 {
		t.Errorf("%d packets of sound stored and %d skipped, %d put; it said %v", got, skipped, want, all)
	}
	if first(all, "error") != nil {
		t.Error(all)
	}
}

func TestCapsChange(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "caps", "caps")
	m := stored(t, srv, "caps")
	if got, want := len(m.frames), count(t, all, "video_0"); got != want {
		t.Errorf("%d frames stored, %d put", got, want)
	}
	widths := map[uint64]int{}
	for _, f := range m.frames {
		if f.info.Video != nil {
			widths[f.info.Video.Width]++
		}
	}
	if widths[320] < 30 || widths[640] < 30 {
		t.Errorf("widths %v, want 320 and 640", widths)
	}
	if got := len(pictures(t, m.frames)); got != len(m.frames) {
		t.Errorf("%d of %d frames decoded", got, len(m.frames))
	}
}

func TestEOSWaitsForBothPads(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "eos", "eos")
	m := stored(t, srv, "eos")
	if got := len(m.of(true)); got != 90 {
		t.Errorf("%d pictures stored, want 90", got)
	}
	if first(all, "warning") != nil || first(all, "error") != nil {
		t.Error(all)
	}
}

// away is a server that has a port of its own, which stays, and does not run.
func away(t *testing.T) *sluicetest.Server {
	t.Helper()
	addr := sluicetest.Address(t)
	srv := sluicetest.Start(t, "--listen="+addr)
	if srv.Endpoint != "http://"+addr {
		t.Fatalf("the server is at %s, want %s", srv.Endpoint, addr)
	}
	srv.Stop()
	return srv
}

func TestEOSDeadline(t *testing.T) {
	t.Parallel()
	srv := away(t)
	all := host(t, srv, "deadline", "deadline")
	if took := first(all, "waited")["took"].(float64); took < 2.5 || took > 100 {
		t.Errorf("EOS came after %v s, want the 3 of stop-stream-timeout", took)
	}
	if first(all, "warning") == nil || first(all, "kvs-undelivered") == nil {
		t.Errorf("nothing was said of what is lost: %v", all)
	}
}

// talking is a host program that is told when to go on.
type talking struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Writer
	lines chan string
	text  strings.Builder
}

func talk(t *testing.T, srv *sluicetest.Server, args ...string) *talking {
	t.Helper()
	c := &talking{t: t, cmd: pythonProgram(t, srv, "host.py", args...), lines: make(chan string, 1000)}
	c.in, _ = c.cmd.StdinPipe()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = c.cmd.Stdout
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	return c
}

// until reads to the nth line that holds a word.
func (c *talking) until(word string, n int) {
	c.t.Helper()
	for line := range c.lines {
		c.text.WriteString(line + "\n")
		if strings.Contains(line, word) {
			if n--; n == 0 {
				return
			}
		}
	}
	c.t.Fatalf("the output ended before %q:\n%s", word, tail([]byte(c.text.String())))
}

func (c *talking) say(line string) { io.WriteString(c.in, line+"\n") }

func (c *talking) end() []said {
	c.t.Helper()
	c.say("end")
	for line := range c.lines {
		c.text.WriteString(line + "\n")
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("%v\n%s", err, tail([]byte(c.text.String())))
	}
	return parse(c.t, c.text.String())
}

func TestServerAbsent(t *testing.T) {
	t.Parallel()
	srv := away(t)
	c := talk(t, srv, "absent", "absent")
	c.until("kvs-reconnect", 1)
	srv.Restart()
	c.say("go")
	all := c.end()
	if took := first(all, "playing")["took"].(float64); took > 30 {
		t.Errorf("NULL to PLAYING took %v s", took)
	}
	once(t, stored(t, srv, "absent").frames, count(t, all, "video_0"))
}

// The server restarts twice; nothing is lost and the pipeline never stops.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	srv := away(t)
	srv.Restart()
	c := talk(t, srv, "outage", "outage")
	for range 2 {
		c.until("kvs-connected", 1)
		c.say("frames")
		c.until(`"frames"`, 1)
		srv.Restart()
	}
	c.until("kvs-connected", 1)
	all := c.end()
	if first(all, "error") != nil || first(all, "kvs-disconnected") == nil && first(all, "kvs-reconnect") == nil {
		t.Errorf("no reconnect, or an error: %v", all)
	}
	once(t, stored(t, srv, "outage").frames, count(t, all, "video_0"))
}

// once checks that each frame is there, once.
func once(t *testing.T, frames []frame, want int) {
	t.Helper()
	seen := map[time.Time]int{}
	for _, f := range frames {
		seen[f.pts]++
	}
	if len(seen) != want || len(frames) != want {
		t.Errorf("%d frames with %d times stored, %d put", len(frames), len(seen), want)
	}
}

func TestLatePadAndRelease(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	all := host(t, srv, "latepad", "latepad")
	if first(all, "second")["refused"] != true {
		t.Error("a second audio pad was given")
	}
	m := stored(t, srv, "latepad")
	if got, want := len(m.of(true)), count(t, all, "video_0"); got != want {
		t.Errorf("%d pictures stored, %d put", got, want)
	}
	if len(m.of(false)) < 50 {
		t.Errorf("%d packets of sound stored", len(m.of(false)))
	}
	if first(all, "error") != nil || first(all, "eos") == nil {
		t.Error(all)
	}
}

func TestHandlerStopsItsPipeline(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	if s := first(host(t, srv, "selfstop", "selfstop"), "done"); s["ok"] != true {
		t.Error("it did not return")
	}
}

// leaks compares the tenth and the thirtieth cycle.
func leaks(t *testing.T, all []said) {
	t.Helper()
	var c []said
	for _, s := range all {
		if s["kind"] == "cycle" {
			c = append(c, s)
		}
	}
	if len(c) != 2 {
		t.Fatalf("%v", all)
	}
	rss, threads := c[1]["VmRSS"].(float64)-c[0]["VmRSS"].(float64), c[1]["Threads"].(float64)-c[0]["Threads"].(float64)
	t.Logf("20 more cycles: RSS %+.0f KB, threads %+.0f", rss, threads)
	if rss > 60_000 || threads > 15 {
		t.Errorf("20 more cycles: RSS %+.0f KB, threads %+.0f", rss, threads)
	}
}

func TestPythonCycles(t *testing.T) {
	t.Parallel()
	leaks(t, host(t, sluicetest.Start(t), "cycles", "cycles"))
}

func TestNoCredentials(t *testing.T) {
	t.Parallel()
	cmd := program(t, nil, "gst-launch-1.0", words("videotestsrc num-buffers=1 ! x264enc ! kvssink stream-name=x endpoint=http://127.0.0.1:1")...)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no credentials: set iot-certificate, or access-key") {
		t.Errorf("%v\n%s", err, out)
	}
}
