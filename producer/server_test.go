package producer_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// serverClient is a producer's client of a real server, through endpoint.
func serverClient(t testing.TB, srv *sluicetest.Server, endpoint string, change ...func(*producer.Options)) *producer.Client {
	t.Helper()
	o := producer.Options{
		Service: kvsapi.Options{
			Endpoint: endpoint, Region: srv.Region, Getenv: func(string) string { return "" },
			Credentials: producer.StaticCredentials(srv.Credentials.AccessKeyID, srv.Credentials.SecretAccessKey, "", time.Time{}),
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&o)
	}
	c, err := producer.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

func TestAgainstTheServer(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	for name, info := range map[string]producer.StreamInfo{
		"absolute":     {},
		"relative":     {Timecodes: sluice.TimecodeRelative, Start: time.Unix(0, 0)},
		"100us":        {TimecodeScale: 100 * time.Microsecond},
		"no-retention": {Retention: producer.NoRetention},
		"no-acks":      {NoAcks: true},
		"by-duration":  {ByDuration: true, FragmentDuration: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serverClient(t, srv, srv.Endpoint)
			info.Name, info.Tracks = name, []sluice.Track{video()}
			s, err := c.NewStream(info)
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, 0, 250, 25)
			if err := s.PutMetadata("k", "v", false); err != nil {
				t.Fatal(err)
			}
			if r := stop(t, s); len(r.Undelivered) > 0 {
				t.Errorf("undelivered: %v", r.Undelivered)
			}
			if name == "no-retention" {
				return
			}
			var got []string
			all := srv.Stored(name)
			for i, f := range all {
				step := time.Second
				if info.ByDuration {
					step = 2 * time.Second
				}
				if !f.Producer.Equal(epoch.Add(time.Duration(i) * step)) {
					t.Errorf("fragment %d: producer time %v", i, f.Producer)
				}
				for _, fr := range f.Frames {
					got = append(got, string(fr.Data))
				}
			}
			if !slices.Equal(got, want(0, 250)) {
				t.Errorf("%d frames in %d fragments", len(got), len(all))
			}
			if last := all[len(all)-1]; !slices.Contains(last.Tags, sluice.Tag{Name: "k", Value: "v"}) {
				t.Errorf("tags of the last fragment: %v", last.Tags)
			}
		})
	}
}

// schedules is how many random fault schedules are played.
func schedules(t testing.TB) int {
	if v := os.Getenv("SLUICE_FAULT_SCHEDULES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch {
	case os.Getenv("SLUICE_LONG") != "":
		return 1000
	case testing.Short():
		return 5
	}
	return 50
}

// Random faults between the producer and a real server. With room enough every
// frame arrives once, or once more in a whole fragment that is reported as sent
// again; nothing is dropped, nothing is ever stuck.
func TestFaultSchedules(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	p := strings.TrimPrefix(srv.Endpoint, "http://")
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for seed := range schedules(t) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			playFaults(t, srv, p, uint64(seed))
		})
	}
	wg.Wait()
}

func playFaults(t *testing.T, srv *sluicetest.Server, target string, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	px := newProxy(t, target)
	name := fmt.Sprintf("faults-%d", seed)
	r := newRecorder()
	c := serverClient(t, srv, px.url())
	s, err := c.NewStream(producer.StreamInfo{
		Name: name, Tracks: []sluice.Track{video()}, ConnectionStaleness: 600 * time.Millisecond, OnEvent: r.handle, BufferDuration: time.Hour,
	})
	if err != nil {
		t.Error(err)
		return
	}
	var script []string
	faulty, cancel := context.WithCancel(t.Context())
	var faults sync.WaitGroup
	faults.Go(func() {
		for faulty.Err() == nil {
			lasts := time.Duration(50+rnd.IntN(400)) * time.Millisecond
			kind := rnd.IntN(6)
			script = append(script, fmt.Sprintf("%d for %v", kind, lasts))
			switch kind {
			case 0:
				px.reset()
			case 1:
				px.set(func() { px.refuse = true })
				px.reset()
			case 2:
				px.stall()
			case 3:
				px.set(func() { px.delay = time.Duration(rnd.IntN(40)) * time.Millisecond })
			case 4:
				px.set(func() { px.rate = 20_000 + rnd.IntN(50_000) })
			case 5: // a half-open connection: nothing moves, and then it is gone
				px.stall()
				select {
				case <-faulty.Done():
				case <-time.After(lasts):
				}
				px.reset()
			}
			select {
			case <-faulty.Done():
			case <-time.After(lasts):
			}
			px.heal()
			select {
			case <-faulty.Done():
			case <-time.After(time.Duration(rnd.IntN(300)) * time.Millisecond):
			}
		}
	})
	const frames = 500
	data := strings.Repeat("x", 2000)
	for i := range frames {
		f := producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%25 == 0, fmt.Appendf(nil, "frame %d %s", i, data))
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Errorf("schedule %d: frame %d: %v", seed, i, err)
			break
		}
		time.Sleep(4 * time.Millisecond) // ten times as fast as the media
	}
	cancel()
	faults.Wait()
	px.heal()
	over, done := context.WithTimeout(context.Background(), 30*time.Second)
	defer done()
	report, err := s.Stop(over)
	if err != nil || len(report.Undelivered) > 0 {
		t.Errorf("schedule %d: stuck after the faults: %v, undelivered %v\n%v\n%+v", seed, err, report.Undelivered, script, s.Metrics())
		return
	}
	if d := dropped(r); len(d) > 0 {
		t.Errorf("schedule %d: dropped %+v", seed, d)
	}
	resent := s.Metrics().ResentFragments
	times := map[string]int{}
	extra := 0
	for _, f := range srv.Stored(name) {
		var first, n int
		for i, fr := range f.Frames {
			text, _, _ := strings.Cut(string(fr.Data), " x")
			if _, err := fmt.Sscanf(text, "frame %d", &n); err != nil {
				t.Errorf("schedule %d: %q", seed, text)
			}
			if i == 0 {
				first = n
			}
			if n != first+i {
				t.Errorf("schedule %d: frame %d at place %d of the fragment of %d", seed, n, i, first)
			}
			times[text]++
		}
		if len(f.Frames) != 25 {
			t.Errorf("schedule %d: a fragment of %d frames", seed, len(f.Frames))
		}
		if times[fmt.Sprintf("frame %d", first)] > 1 {
			extra++
		}
	}
	if len(times) != frames {
		t.Errorf("schedule %d: %d frames of %d arrived\n%v", seed, len(times), frames, script)
	}
	if int64(extra) > resent {
		t.Errorf("schedule %d: %d fragments arrived twice, %d were reported as sent again", seed, extra, resent)
	}
}
