package playback_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
)

// TestViewers lets many live HLS viewers follow one camera of 2 Mbit/s with
// fragments of a second, each a real HTTP client on a connection of its own that
// asks for the playlist each second and loads what is new. A segment is late when
// it is not complete a second after the viewer saw it listed. With SLUICE_LONG it
// runs; SLUICE_VIEWERS (1000) and SLUICE_VIEWER_SECONDS (60) change it. With
// SLUICE_VIEWERS_STEP so many more watch in each next round, until one is late.
func TestViewers(t *testing.T) {
	if os.Getenv("SLUICE_LONG") == "" {
		t.Skip("SLUICE_LONG is not set")
	}
	count := func(name string, value int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return value
	}
	viewers, seconds, step := count("SLUICE_VIEWERS", 1000), count("SLUICE_VIEWER_SECONDS", 60), count("SLUICE_VIEWERS_STEP", 0)
	s := sluicetest.Start(t)
	stop := camera(t, s, "cam")
	defer stop()
	time.Sleep(6 * time.Second) // a full window
	late := watch(t, s, viewers, seconds)
	if late > 0 {
		t.Errorf("%d segments were late", late)
	}
	if step == 0 || late > 0 {
		return
	}
	for watch(t, s, viewers+step, seconds) == 0 {
		viewers += step
	}
	t.Logf("at most %d viewers without a late segment: %d a core", viewers, viewers/runtime.NumCPU())
}

// watch lets viewers follow the camera and counts late segments.
func watch(t *testing.T, s *sluicetest.Server, viewers, seconds int) int64 {
	t.Helper()
	c := s.Client()
	var sessions []string
	for range min(viewers, 50) {
		u, err := c.GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: sluice.StreamRef{Name: "cam"}, Clock: sluice.ProducerClock, Expires: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, strings.Replace(u, "getHLSMasterPlaylist.m3u8?", "getHLSMediaPlaylist.m3u8?TrackNumber=1&", 1))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	var late, loaded, failed atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range viewers {
		wg.Go(func() {
			v := viewer{url: sessions[i%len(sessions)], client: &http.Client{Transport: &http.Transport{MaxIdleConns: 1}}, start: time.Duration(i) * time.Second / time.Duration(viewers)}
			v.run(ctx, func(d time.Duration, err error) {
				switch {
				case ctx.Err() != nil:
				case err != nil:
					if failed.Add(1) == 1 {
						t.Error(err)
					}
				default:
					loaded.Add(1)
					if d > time.Second {
						late.Add(1)
					}
					mu.Lock()
					took = append(took, d)
					mu.Unlock()
				}
			})
		})
	}
	wg.Wait()
	slices.Sort(took)
	at := func(q float64) time.Duration {
		if len(took) == 0 {
			return 0
		}
		return took[min(int(q*float64(len(took))), len(took)-1)].Round(100 * time.Microsecond)
	}
	t.Logf("%d viewers, %v, %d cores: %d segments (%.1f MB/s), %d late, %d failed; loaded in p50 %v, p99 %v, max %v",
		viewers, time.Since(begun).Round(time.Second), runtime.NumCPU(), loaded.Load(), float64(loaded.Load())*0.25/time.Since(begun).Seconds(), late.Load(), failed.Load(), at(0.5), at(0.99), at(1))
	if want := int64(viewers) * int64(seconds-5); loaded.Load() < want {
		t.Logf("%d segments, want at least %d", loaded.Load(), want)
		return want - loaded.Load() // they were so late that they never came
	}
	return late.Load()
}

// viewer is an HLS player without a picture.
type viewer struct {
	url    string
	client *http.Client
	start  time.Duration
	last   string
}

func (v *viewer) run(ctx context.Context, done func(time.Duration, error)) {
	defer v.client.CloseIdleConnections()
	tick := time.NewTimer(v.start)
	defer tick.Stop()
	buf := make([]byte, 64<<10)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		tick.Reset(time.Second)
		text, err := v.get(ctx, v.url, nil)
		if err != nil {
			done(0, err)
			continue
		}
		listed := time.Now()
		for _, uri := range v.fresh(text) {
			_, err := v.get(ctx, v.url[:strings.LastIndex(v.url, "/")+1]+uri, buf)
			done(time.Since(listed), err)
		}
	}
}

// fresh are the segments behind the last one loaded; at first the newest.
func (v *viewer) fresh(text string) (out []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	if len(out) == 0 {
		return nil
	}
	i := slices.Index(out, v.last)
	v.last = out[len(out)-1]
	if i < 0 {
		return out[len(out)-1:]
	}
	return out[i+1:]
}

// get loads a URL; into buf, and forgets it, when there is one.
func (v *viewer) get(ctx context.Context, url string, buf []byte) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := v.client.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", res.StatusCode)
	}
	if buf != nil {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, res.Body, buf)
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// camera sends a stream of 2 Mbit/s, 25 pictures a second, a key frame each
// second, by the clock.
func camera(t *testing.T, s *sluicetest.Server, name string) (stop func()) {
	t.Helper()
	clip := loadClip(t)
	c := s.Client()
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: &name, DataRetentionInHours: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	session, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: name}, Body: r})
	if err != nil {
		t.Fatal(err)
	}
	acks := make(chan struct{})
	go func() {
		defer close(acks)
		for {
			if _, err := session.Next(); err != nil {
				return
			}
		}
	}()
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer w.Close()
		b := mkv.AppendTracks(mkv.AppendInfo(mkv.AppendSegment(mkv.AppendHeader(nil)), mkv.Info{}), clip.header.Tracks[:1])
		frame := sluice.Frame{Track: 1, Data: make([]byte, 10_000)}
		frame.Data[2], frame.Data[3], frame.Data[4] = (10_000-4)>>8, (10_000-4)&0xff, 0x41
		tick := time.NewTimer(0)
		defer tick.Stop()
		begin := time.Now().Truncate(time.Millisecond)
		for n := 0; ; n++ {
			// Not a Ticker: that drops ticks, and the camera would fall behind.
			tick.Reset(time.Until(begin.Add(time.Duration(n) * 40 * time.Millisecond)))
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			at := begin.Add(time.Duration(n/25) * time.Second)
			if frame.Key = n%25 == 0; frame.Key {
				b = mkv.AppendCluster(b, uint64(at.UnixMilli()))
			}
			b = mkv.AppendSimpleBlock(b, int16(n%25*40), &frame)
			if _, err := w.Write(b); err != nil {
				return
			}
			b = b[:0]
		}
	}()
	return func() {
		close(quit)
		<-ended
		<-acks
		session.Close()
	}
}
