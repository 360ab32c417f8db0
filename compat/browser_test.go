package compat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/demo"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/parser"
	"github.com/sluicevideo/sluice/producer"
)

// playerCase is a case of browser/players.test.js.
type playerCase struct {
	Name     string         `json:"name"`
	Player   string         `json:"player"`
	URL      string         `json:"url"`
	File     string         `json:"file,omitempty"` // a clip that is downloaded as far as 60 %
	Options  map[string]any `json:"options,omitempty"`
	Jump     bool           `json:"jump,omitempty"`    // to the live end once the picture moves
	Expires  int64          `json:"expires,omitempty"` // when the session ends, ms
	Live     bool           `json:"live"`
	Seconds  int            `json:"seconds"`
	Duration float64        `json:"duration,omitempty"` // of a recording, seconds
	Sound    bool           `json:"sound"`
	Seeks    [][2]float64   `json:"seeks,omitempty"`   // time, picture number
	Begin    *int64         `json:"begin,omitempty"`   // when the camera played picture 0, ms
	Loop     int            `json:"loop,omitempty"`    // length of the camera's clip, ms; 10240
	Latency  int            `json:"latency,omitempty"` // ms, at most, of 99 in 100
}

// TestPlayers plays recordings and a live camera with hls.js, video.js and
// shaka-player in Chromium. SLUICE_PLAYER_SECONDS is how long each live case
// plays, 12 when not set; SLUICE_PLAYER_CASE is a pattern for the cases' names.
func TestPlayers(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	if _, err := os.Stat("browser/node_modules/hls.js"); err != nil {
		t.Skip("compat/browser/node_modules is missing (npm ci)")
	}
	if _, err := os.Stat("/usr/bin/chromium"); err != nil {
		t.Skip("chromium is not installed")
	}
	seconds, _ := strconv.Atoi(os.Getenv("SLUICE_PLAYER_SECONDS"))
	if seconds == 0 {
		seconds = 12
	}
	s := sluicetest.Start(t)
	only := os.Getenv("SLUICE_PLAYER_CASE")
	var cases []playerCase
	for _, g := range []struct {
		names string // what the cases' names begin with
		make  func() []playerCase
	}{
		{"recorded", func() []playerCase { return recordedCases(t, s) }},
		{"live", func() []playerCase { return liveCases(t, s, seconds) }},
		{"cut", func() []playerCase { return []playerCase{cutCase(t, s, max(seconds, 25))} }},
		{"second", func() []playerCase { return secondCases(t, s, seconds) }},
		{"expires", func() []playerCase { return expiresCase(t, s) }},
	} {
		// Cameras that nobody watches only keep the machine busy.
		if word, _, _ := strings.Cut(strings.TrimRight(only, "*"), " "); !strings.ContainsAny(word, "*?[") && !strings.HasPrefix(g.names, word) {
			continue
		}
		for _, c := range g.make() {
			if ok, _ := filepath.Match(only, c.Name); ok || only == "" {
				cases = append(cases, c)
			}
		}
	}
	b, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, results := filepath.Join(dir, "cases.json"), filepath.Join(dir, "measured.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--test", "players.test.js")
	cmd.Dir = "browser"
	cmd.Env = append(os.Environ(), "SLUICE_BROWSER_CASES="+file, "SLUICE_BROWSER_MEASURED="+results)
	out, err := cmd.CombinedOutput()
	measured, _ := os.ReadFile(results)
	t.Logf("%s", measured)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// recordedCases put two recordings and play them on demand.
func recordedCases(t *testing.T, s *sluicetest.Server) []playerCase {
	t.Helper()
	clip, err := os.ReadFile("../internal/demo/clip.mkv")
	if err != nil {
		t.Fatal(err)
	}
	var cases []playerCase
	for _, r := range []struct {
		name     string
		body     []byte
		relative bool
		duration float64
		seeks    [][2]float64
	}{
		{"clip", clip, true, 10.24, [][2]float64{{7.02, 175}, {1.5, 37}, {9.3, 232}}},
		{"recording", mediatest.File(t, "putmedia-captures/av-h264-aac-01.body.mkv"), false, 0, nil},
	} {
		in := kvsapi.PutMediaInput{}
		if r.relative {
			in.TimecodeType, in.ProducerStart = sluice.TimecodeRelative, time.Now().Add(-time.Hour).Truncate(time.Second)
		}
		upload(t, s, r.name, r.body, in)
		c := s.Client()
		ref := sluice.StreamRef{Name: r.name}
		list, _, err := c.ListFragments(t.Context(), &kvsapi.ListFragmentsInput{Stream: ref, Clock: sluice.ProducerClock, From: time.Unix(0, 0), To: time.Now().Add(time.Hour), Max: 1000})
		if err != nil || len(list) == 0 {
			t.Fatalf("%s: %d fragments, %v", r.name, len(list), err)
		}
		from, to := list[0].ProducerTimestamp, list[0].ProducerTimestamp
		var last kvsapi.FragmentInfo
		for _, f := range list {
			if f.ProducerTimestamp.Before(from) {
				from = f.ProducerTimestamp
			}
			if !f.ProducerTimestamp.Before(to) {
				to, last = f.ProducerTimestamp, f
			}
		}
		if r.duration == 0 {
			r.duration = to.Sub(from).Seconds() + last.Length.Seconds() + 0.04
		}
		hls := func(container string) string {
			u, err := c.GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: ref, Mode: kvsapi.OnDemand, Clock: sluice.ProducerClock, From: from, To: to.Add(time.Second), Container: container})
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		dash, err := c.GetDASHStreamingSessionURL(t.Context(), &kvsapi.DASHInput{Stream: ref, Mode: kvsapi.OnDemand, Clock: sluice.ProducerClock, From: from, To: to.Add(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		clip, err := c.GetClip(t.Context(), ref, sluice.ProducerClock, from, to.Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), r.name+".mp4")
		b, err := io.ReadAll(clip)
		clip.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, playerCase{Name: "recorded " + r.name + " clip, downloaded in part", Player: "native", File: file, Seconds: 3, Duration: r.duration, Sound: true})
		for _, p := range []struct{ player, kind, url string }{
			{"hls.js", "HLS", hls("")}, {"hls.js", "HLS TS", hls("MPEG_TS")}, {"video.js", "HLS", hls("")}, {"video.js", "HLS TS", hls("MPEG_TS")},
			{"shaka", "HLS", hls("")}, {"shaka", "DASH", dash},
		} {
			cases = append(cases, playerCase{Name: "recorded " + r.name + " " + p.player + " " + p.kind, Player: p.player, URL: p.url, Seconds: 4, Duration: r.duration, Sound: true, Seeks: r.seeks})
		}
	}
	return cases
}

// upload makes a stream and sends a Matroska body into it.
func upload(t *testing.T, s *sluicetest.Server, name string, body []byte, in kvsapi.PutMediaInput) {
	t.Helper()
	c := s.Client()
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: &name, DataRetentionInHours: aws.Int32(24)}); err != nil {
		t.Fatal(err)
	}
	in.Stream, in.Body = sluice.StreamRef{Name: name}, bytes.NewReader(body)
	session, err := c.PutMedia(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for {
		ack, err := session.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || ack.Event == sluice.AckError {
			t.Fatalf("PutMedia: %s, %v", ack, err)
		}
	}
}

// liveCases let the demo camera play into a stream and watch it.
func liveCases(t *testing.T, s *sluicetest.Server, seconds int) []playerCase {
	t.Helper()
	const name = "live"
	c := s.Client()
	client, err := producer.New(t.Context(), producer.Options{Service: kvsapi.Options{Endpoint: s.Endpoint, Credentials: s.AWSConfig().Credentials, Region: s.Region}})
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan time.Time, 1)
	var once sync.Once
	camera := &demo.Camera{OnFrame: func(picture int, at time.Time) {
		if picture == 0 {
			once.Do(func() { begun <- at })
		}
	}}
	registration, err := client.Register(t.Context(), name, camera, &producer.StreamInfo{Retention: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := registration.Free(ctx); err != nil {
			t.Logf("camera: %v", err)
		}
		if err := client.Close(ctx); err != nil {
			t.Logf("camera: %v", err)
		}
	})
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String(name), DataRetentionInHours: aws.Int32(24)}); err != nil {
		t.Fatal(err)
	}
	registration.Start(context.WithoutCancel(t.Context()))
	begin := (<-begun).UnixMilli()
	ref := sluice.StreamRef{Name: name}
	open := func(in kvsapi.HLSInput) string {
		in.Stream = ref
		return openLive(t, c, in)
	}
	plain := open(kvsapi.HLSInput{})
	producerClock := open(kvsapi.HLSInput{Clock: sluice.ProducerClock})
	ts := open(kvsapi.HLSInput{Clock: sluice.ProducerClock, Container: "MPEG_TS"})
	dash, err := c.GetDASHStreamingSessionURL(t.Context(), &kvsapi.DASHInput{Stream: ref, Clock: sluice.ProducerClock, Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return []playerCase{
		{Name: "live hls.js HLS by server time", Player: "hls.js", URL: plain, Live: true, Seconds: seconds, Sound: true, Begin: &begin},
		{Name: "live hls.js HLS", Player: "hls.js", URL: producerClock, Live: true, Seconds: seconds, Sound: true, Begin: &begin},
		{Name: "live hls.js HLS TS", Player: "hls.js", URL: ts, Live: true, Seconds: seconds, Sound: true, Begin: &begin},
		{Name: "live hls.js low latency", Player: "hls.js", URL: producerClock + "&LowLatency=1", Options: map[string]any{"maxLiveSyncPlaybackRate": 1.5}, Live: true, Seconds: seconds, Sound: true, Begin: &begin},
		{Name: "live video.js HLS", Player: "video.js", URL: producerClock, Live: true, Seconds: seconds, Sound: true, Begin: &begin},
		{Name: "live shaka HLS", Player: "shaka", URL: producerClock, Live: true, Seconds: seconds, Sound: true, Begin: &begin},
		{Name: "live shaka DASH", Player: "shaka", URL: dash, Live: true, Seconds: seconds, Sound: true, Begin: &begin},
	}
}

// openLive opens a session of a camera whose first fragments may be on their way.
func openLive(t *testing.T, c *kvsapi.Client, in kvsapi.HLSInput) string {
	t.Helper()
	in.Expires = time.Hour
	for {
		u, err := c.GetHLSStreamingSessionURL(t.Context(), &in)
		if err == nil {
			return u
		}
		var e *kvsapi.APIError
		if !errors.As(err, &e) || e.Code != sluice.ResourceNotFound {
			t.Fatal(err)
		}
		if sleep(t.Context(), 200*time.Millisecond); t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// cutCase is a camera whose connection breaks in the middle of a fragment each ten
// seconds, and comes back a second later: whoever has loaded parts of the fragment
// that never became one plays on.
func cutCase(t *testing.T, s *sluicetest.Server, seconds int) playerCase {
	t.Helper()
	const name = "cut"
	c := s.Client()
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String(name), DataRetentionInHours: aws.Int32(24)}); err != nil {
		t.Fatal(err)
	}
	tracks, frames, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cutSession(ctx, c, name, tracks, frames)
			sleep(ctx, time.Second)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	u := openLive(t, c, kvsapi.HLSInput{Stream: sluice.StreamRef{Name: name}, Clock: sluice.ProducerClock})
	return playerCase{Name: "cut hls.js low latency", Player: "hls.js", URL: u + "&LowLatency=1", Live: true, Seconds: seconds, Sound: true}
}

// expiresCase is a session that ends while it is watched. None is shorter than five
// minutes, so it runs with SLUICE_LONG only.
func expiresCase(t *testing.T, s *sluicetest.Server) []playerCase {
	if os.Getenv("SLUICE_LONG") == "" {
		return nil
	}
	c := cutCase(t, s, 0)
	u, err := s.Client().GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: sluice.StreamRef{Name: "cut"}, Clock: sluice.ProducerClock, Expires: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(5 * time.Minute)
	c.Name, c.URL, c.Expires, c.Seconds = "expires hls.js HLS", u, ends.UnixMilli(), 320
	return []playerCase{c}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// cutSession sends the clip by the clock, and breaks off half a second into the
// fragment that would come next.
func cutSession(ctx context.Context, c *kvsapi.Client, name string, tracks []sluice.Track, frames []sluice.Frame) {
	var some []sluice.Frame
	for _, f := range frames {
		if f.Timecode <= 9500*time.Millisecond {
			some = append(some, f)
		}
	}
	sendByClock(ctx, c, name, tracks, time.Now().Truncate(time.Millisecond), func(yield func(sluice.Frame) bool) {
		for _, f := range some {
			if !yield(f) {
				return
			}
		}
	})
}

// sendByClock is one PutMedia session whose frames go out when their time, counted
// from begin, has come. It is broken off at the end.
func sendByClock(ctx context.Context, c *kvsapi.Client, name string, tracks []sluice.Track, begin time.Time, frames iter.Seq[sluice.Frame]) {
	r, w := io.Pipe()
	session, err := c.PutMedia(ctx, &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: name}, Body: r})
	if err != nil {
		return
	}
	defer session.Close()
	go func() {
		for {
			if _, err := session.Next(); err != nil {
				return
			}
		}
	}()
	b := mkv.AppendTracks(mkv.AppendInfo(mkv.AppendSegment(mkv.AppendHeader(nil)), mkv.Info{}), tracks)
	var cluster time.Duration
	for f := range frames {
		sleep(ctx, time.Until(begin.Add(f.Timecode)))
		if ctx.Err() != nil {
			break
		}
		if f.Track == 1 && f.Key {
			cluster = f.Timecode.Truncate(time.Millisecond)
			b = mkv.AppendCluster(b, uint64(begin.Add(cluster).UnixMilli()))
		}
		f.Key = f.Key && f.Track == 1
		b = mkv.AppendSimpleBlock(b, int16((f.Timecode - cluster).Milliseconds()), &f)
		if _, err := w.Write(b); err != nil {
			return
		}
		b = b[:0]
	}
	w.CloseWithError(errors.New("cut off"))
}

// secondCases watch a camera with fragments of one second, the clip encoded anew:
// what latency is measured by. With SLUICE_PLAYER_LATENCY, for a machine that does
// nothing else, it is held against the targets.
func secondCases(t *testing.T, s *sluicetest.Server, seconds int) []playerCase {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed")
	}
	const name, loop = "second", 10 * time.Second
	path := filepath.Join(t.TempDir(), "second.mkv")
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-loglevel", "error", "-i", "../internal/demo/clip.mkv", "-map", "0:v", "-frames:v", "250",
		"-c:v", "libx264", "-profile:v", "main", "-preset", "veryfast", "-bf", "0", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-b:v", "2M", "-maxrate", "2M", "-bufsize", "2M", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	header, fragments := muxtest.Read(t, path)
	var frames []sluice.Frame
	for i := range fragments {
		for _, e := range fragments[i].Frames {
			f := e.Frame(fragments[i].Bytes[e.Offset : e.Offset+e.Size])
			f.Timecode = time.Duration(len(frames)) * 40 * time.Millisecond
			frames = append(frames, f)
		}
	}
	c := s.Client()
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String(name), DataRetentionInHours: aws.Int32(24)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	begin := time.Now().Truncate(time.Millisecond)
	go func() {
		defer close(ended)
		sendByClock(ctx, c, name, header.Tracks, begin, func(yield func(sluice.Frame) bool) {
			for round := time.Duration(0); ; round += loop {
				for _, f := range frames {
					f.Timecode += round
					if !yield(f) {
						return
					}
				}
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	sleep(t.Context(), 6*time.Second)
	u := openLive(t, c, kvsapi.HLSInput{Stream: sluice.StreamRef{Name: name}, Clock: sluice.ProducerClock})
	ms := begin.UnixMilli()
	cases := []playerCase{
		{Name: "second hls.js HLS", Player: "hls.js", URL: u, Live: true, Seconds: seconds, Begin: &ms, Loop: int(loop.Milliseconds())},
		{Name: "second hls.js low latency", Player: "hls.js", URL: u + "&LowLatency=1", Live: true, Seconds: seconds, Begin: &ms, Loop: int(loop.Milliseconds())},
		// As docs/playback.md says for those who want the least.
		{Name: "second hls.js low latency, tuned", Player: "hls.js", URL: u + "&LowLatency=1", Options: map[string]any{"liveSyncDuration": 0.35}, Jump: true, Live: true, Seconds: seconds, Begin: &ms, Loop: int(loop.Milliseconds())},
	}
	if os.Getenv("SLUICE_PLAYER_LATENCY") != "" {
		cases[0].Latency, cases[1].Latency, cases[2].Latency = 3500, 600, 600
		watchMedia(t, c, name)
	}
	return cases
}

// watchMedia follows the camera with GetMedia and says at the end how old frames
// were when they came.
func watchMedia(t *testing.T, c *kvsapi.Client, name string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	var ages []time.Duration
	go func() {
		defer close(ended)
		m, err := c.GetMedia(ctx, sluice.StreamRef{Name: name}, sluice.StartSelector{Type: sluice.SelectNow})
		if err != nil {
			return
		}
		defer m.Close()
		for f, err := range parser.NewReader(m).Frames(ctx) {
			if err != nil {
				return
			}
			ages = append(ages, time.Since(time.Unix(0, 0).Add(f.Timecode)))
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		// What had arrived before the reader came is no measure.
		if ages = ages[min(len(ages), 50):]; len(ages) == 0 {
			return
		}
		slices.Sort(ages)
		at := func(q float64) time.Duration {
			return ages[int(q*float64(len(ages)-1))].Round(100 * time.Microsecond)
		}
		t.Logf("GetMedia: %d frames, p50 %v, p99 %v, max %v", len(ages), at(0.5), at(0.99), at(1))
	})
}
