package limits_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	current, err := limits.RulesOf("current")
	if err != nil || current.FragmentDuration != 20*time.Second || current.FragmentBytes != 50<<20 || current.Streams != 10000 || current.RetentionReplaces {
		t.Errorf("current rules: %+v, %v", current, err)
	}
	guide, err := limits.RulesOf("guide")
	if err != nil || guide.FragmentDuration != 10*time.Second || guide.Streams != 100 || !guide.RetentionReplaces || guide.PlaylistFragments != 1000 {
		t.Errorf("guide rules: %+v, %v", guide, err)
	}
	if none, err := limits.RulesOf("none"); err != nil || none != (limits.Rules{}) {
		t.Errorf("none: %+v, %v", none, err)
	}
	if off, err := limits.RatesOf("off"); err != nil || off != (limits.Rates{}) {
		t.Errorf("off: %+v, %v", off, err)
	}
	for _, p := range []string{"", "off", "strict"} {
		if _, err := limits.RulesOf(p); err == nil {
			t.Errorf("rules %q were accepted", p)
		}
	}
	if _, err := limits.RatesOf("none"); err == nil {
		t.Error("rates none were accepted")
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	var rules limits.Rules
	var rates limits.Rates
	for name, value := range map[string]string{"fragment-duration": "30s", "fragment-bytes": "1048576", "retention-replaces": "true", "streams": "0", "hls-range": "0"} {
		if err := rules.Set(name, value); err != nil {
			t.Error(err)
		}
	}
	if rules.FragmentDuration != 30*time.Second || rules.FragmentBytes != 1<<20 || !rules.RetentionReplaces {
		t.Errorf("set to %+v", rules)
	}
	if err := rates.Set("stream-calls", "0.5"); err != nil || rates.StreamCalls != 0.5 {
		t.Errorf("set to %v, %v", rates.StreamCalls, err)
	}
	for name, value := range map[string]string{"fragment-duration": "30", "fragment-bytes": "-1", "retention-replaces": "maybe", "streams": "many", "no-such": "1"} {
		if err := rules.Set(name, value); err == nil {
			t.Errorf("%s %s was accepted", name, value)
		}
	}
	if err := rates.Set("stream-calls", "NaN"); err == nil {
		t.Error("NaN was accepted")
	}
	// Every figure has a name of its own, a text, and values that it reads.
	seen := map[string]bool{}
	for _, f := range append(rules.Figures(), rates.Figures()...) {
		if f.Name == "" || f.Doc == "" || seen[f.Name] {
			t.Errorf("figure %+v", f)
		}
		seen[f.Name] = true
		for _, v := range []string{f.Guide, f.Current, f.Value} {
			if rules.Set(f.Name, v) != nil && rates.Set(f.Name, v) != nil {
				t.Errorf("figure %s does not read %q", f.Name, v)
			}
		}
	}
}

// TestFigureNames: what is documented as a class's figure is the one that bounds it.
func TestFigureNames(t *testing.T) {
	t.Parallel()
	for c := limits.CreateStream; c <= limits.MediaPoints; c++ {
		account, each := c.FigureNames()
		for i, name := range []string{account, each} {
			if name == "" {
				continue
			}
			var r limits.Rates
			if err := errors.Join(r.Set(name, "0.01"), r.Set("hls-burst", "1")); err != nil {
				t.Errorf("class %d: %v", c, err)
				continue
			}
			l := limits.New(limits.Rules{}, r)
			k := limits.Key{Operation: "X", Account: "a", Stream: "cam"}
			if n := allowed(l, c, k, 5); n != 1 {
				t.Errorf("class %d with %s 0.01: %d of 5 calls passed", c, name, n)
			}
			k.Stream = "other"
			if n := allowed(l, c, k, 1); n != i {
				t.Errorf("class %d, %s: another stream's call passed: %d, want %d", c, name, n, i)
			}
		}
	}
}

// allowed counts how many of n calls at once pass.
func allowed(l *limits.Limits, c limits.Class, k limits.Key, n int) int {
	passed := 0
	for range n {
		if l.Allow(c, k) == nil {
			passed++
		}
	}
	return passed
}

// TestRates proves the figure of every class, for one stream and for the
// account: what passes at once, and what passes in ten seconds of steady calls.
func TestRates(t *testing.T) {
	t.Parallel()
	type want struct{ burst, perSecond int } // 0: no limit
	for _, tc := range []struct {
		profile       string
		class         limits.Class
		name          string
		each, account want
	}{
		{"guide", limits.CreateStream, "CreateStream", want{5, 5}, want{50, 50}},
		{"guide", limits.UpdateStream, "UpdateStream", want{5, 5}, want{50, 50}},
		{"guide", limits.DeleteStream, "DeleteStream", want{5, 5}, want{50, 50}},
		{"guide", limits.Describe, "DescribeStream", want{5, 5}, want{300, 300}},
		{"guide", limits.ListStreams, "ListStreams", want{}, want{300, 300}},
		{"guide", limits.Endpoint, "GetDataEndpoint", want{5, 5}, want{300, 300}},
		{"guide", limits.Tags, "TagStream", want{5, 5}, want{}},
		{"guide", limits.Retention, "UpdateDataRetention", want{5, 5}, want{}},
		{"guide", limits.PutMedia, "PutMedia", want{5, 5}, want{}},
		{"guide", limits.GetMedia, "GetMedia", want{5, 5}, want{}},
		{"guide", limits.ListFragments, "ListFragments", want{5, 5}, want{}},
		{"guide", limits.FragmentList, "GetMediaForFragmentList", want{5, 5}, want{}},
		{"guide", limits.HLSSession, "GetHLSStreamingSessionURL", want{5, 1}, want{}},
		{"guide", limits.DASHSession, "GetDASHStreamingSessionURL", want{25, 25}, want{}},
		{"guide", limits.Playlist, "GetHLSMediaPlaylist", want{5, 5}, want{}},
		{"guide", limits.Segment, "GetMP4MediaFragment", want{10, 10}, want{}},
		{"guide", limits.MetadataPoints, "", want{}, want{}},
		{"guide", limits.MediaPoints, "", want{}, want{}},
		{"current", limits.CreateStream, "CreateStream", want{}, want{50, 50}},
		{"current", limits.UpdateStream, "UpdateStream", want{5, 5}, want{50, 50}},
		{"current", limits.DeleteStream, "DeleteStream", want{5, 5}, want{50, 50}},
		{"current", limits.Describe, "DescribeStream", want{5, 5}, want{300, 300}},
		{"current", limits.ListStreams, "ListStreams", want{}, want{50, 50}},
		{"current", limits.Endpoint, "GetDataEndpoint", want{5, 5}, want{300, 300}},
		{"current", limits.Tags, "TagStream", want{5, 5}, want{50, 50}},
		{"current", limits.Retention, "UpdateDataRetention", want{5, 5}, want{50, 50}},
		{"current", limits.PutMedia, "PutMedia", want{5, 5}, want{}},
		{"current", limits.GetMedia, "GetMedia", want{5, 5}, want{}},
		{"current", limits.ListFragments, "ListFragments", want{}, want{}},
		{"current", limits.FragmentList, "GetMediaForFragmentList", want{}, want{}},
		{"current", limits.HLSSession, "GetHLSStreamingSessionURL", want{25, 25}, want{}},
		{"current", limits.DASHSession, "GetDASHStreamingSessionURL", want{25, 25}, want{}},
		{"current", limits.Playlist, "GetHLSMediaPlaylist", want{5, 5}, want{}},
		{"current", limits.Segment, "GetMP4MediaFragment", want{20, 20}, want{}},
		{"current", limits.MetadataPoints, "", want{10000, 10000}, want{}},
		{"current", limits.MediaPoints, "", want{500, 500}, want{}},
		{"off", limits.Describe, "DescribeStream", want{}, want{}},
		{"off", limits.PutMedia, "PutMedia", want{}, want{}},
		{"current", limits.Free, "OPTIONS", want{}, want{}},
	} {
		t.Run(fmt.Sprintf("%s/%s%d", tc.profile, tc.name, tc.class), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rates, err := limits.RatesOf(tc.profile)
				if err != nil {
					t.Fatal(err)
				}
				const steps, seconds = 200, 10
				check := func(what string, w want, key func(i int) limits.Key) {
					t.Helper()
					l := limits.New(limits.Rules{}, rates)
					first, each := 2*w.burst+10, 2*w.perSecond/steps+1
					burst, i := 0, 0
					for range first {
						if l.Allow(tc.class, key(i)) == nil {
							burst++
						}
						i++
					}
					total := 0
					for range seconds * steps {
						time.Sleep(time.Second / steps)
						for range each {
							if l.Allow(tc.class, key(i)) == nil {
								total++
							}
							i++
						}
					}
					if w == (want{}) {
						w = want{first, each * steps}
					}
					if burst != w.burst || total < seconds*w.perSecond-1 || total > seconds*w.perSecond {
						t.Errorf("%s: %d at once, then %d in %d s; want %d, %d/s", what, burst, total, seconds, w.burst, w.perSecond)
					}
				}
				one := limits.Key{Operation: tc.name, Account: "a", Stream: "cam", Session: "s"}
				if tc.each != (want{}) {
					check("one stream", tc.each, func(int) limits.Key { return one })
				}
				// The account is counted over streams that are each called once.
				check("account", tc.account, func(i int) limits.Key {
					k := one
					k.Stream, k.Session = fmt.Sprint("cam", i), fmt.Sprint("s", i)
					return k
				})
			})
		})
	}
}

func TestRefusalSaysWhatAndWhom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // no time passes
		l := limits.New(limits.Rules{}, limits.Rates{StreamCalls: 1, DescribeCalls: 2})
		k := limits.Key{Operation: "DescribeStream", Account: "a", Stream: "cam"}
		if err := l.Allow(limits.Describe, k); err != nil {
			t.Fatal(err)
		}
		err := l.Allow(limits.Describe, k)
		var e *sluice.Error
		want := "Limit exceeded on number of requests for DescribeStream API for resource 'cam': at most 1 a second"
		if !errors.As(err, &e) || e.Code != sluice.ClientLimitExceeded || e.Msg != want {
			t.Errorf("got %v", err)
		}
		// The refused call did not use up the account's second one.
		k.Stream = "other"
		if err := l.Allow(limits.Describe, k); err != nil {
			t.Error(err)
		}
		k.Stream = "third"
		if err := l.Allow(limits.Describe, k); sluice.CodeOf(err) != sluice.ClientLimitExceeded {
			t.Errorf("the account's third call: %v", err)
		}
	})
}

func TestPointsAreSharedAndOwed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limits.New(limits.Rules{}, limits.Rates{MediaPoints: 500})
		clip := limits.Key{Operation: "GetClip", Stream: "cam"}
		list := limits.Key{Operation: "GetMediaForFragmentList", Stream: "cam"}
		if err := l.Take(limits.MediaPoints, list, 1000); err != nil {
			t.Fatalf("a list of 1000 from a full bucket: %v", err)
		}
		time.Sleep(900 * time.Millisecond)
		if err := l.Take(limits.MediaPoints, clip, 1); sluice.CodeOf(err) != sluice.ClientLimitExceeded {
			t.Errorf("while 50 points are owed: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
		if err := l.Take(limits.MediaPoints, clip, 1); err != nil {
			t.Errorf("when the debt is paid: %v", err)
		}
		if err := l.Take(limits.MediaPoints, list, 1000); err == nil {
			t.Error("1000 points were granted from a bucket that is not full")
		}
	})
}

func TestPlaybackCountsForTheSessionOrTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // no time passes
		for _, perSession := range []bool{false, true} {
			l := limits.New(limits.Rules{}, limits.Rates{PlaylistCalls: 5, PlaybackPerSession: perSession})
			passed := 0
			for _, session := range []string{"one", "two"} {
				passed += allowed(l, limits.Playlist, limits.Key{Operation: "GetHLSMediaPlaylist", Stream: "cam", Session: session}, 10)
			}
			if want := map[bool]int{false: 5, true: 10}[perSession]; passed != want {
				t.Errorf("per session %v: %d calls passed, want %d", perSession, passed, want)
			}
		}
	})
}

func TestConnections(t *testing.T) {
	t.Parallel()
	rates, _ := limits.RatesOf("current")
	for _, tc := range []struct {
		class limits.Class
		most  int
	}{{limits.GetMedia, 3}, {limits.FragmentList, 5}} {
		l := limits.New(limits.Rules{}, rates)
		k := limits.Key{Operation: "GetMedia", Stream: "cam"}
		var release []func()
		for range tc.most {
			r, err := l.Connect(tc.class, k)
			if err != nil {
				t.Fatal(err)
			}
			release = append(release, r)
		}
		if _, err := l.Connect(tc.class, k); sluice.CodeOf(err) != sluice.ConnectionLimitExceeded {
			t.Errorf("connection %d: %v", tc.most+1, err)
		}
		if _, err := l.Connect(tc.class, limits.Key{Stream: "other"}); err != nil {
			t.Errorf("another stream: %v", err)
		}
		release[0]()
		release[0]() // twice is once
		if _, err := l.Connect(tc.class, k); err != nil {
			t.Errorf("after one ended: %v", err)
		}
		if _, err := l.Connect(tc.class, k); err == nil {
			t.Error("a release that was called twice counted twice")
		}
	}
}

func TestPacing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		class     limits.Class
		profile   string
		perSecond int
		shared    bool
	}{
		{"PutMedia", limits.PutMedia, "guide", 12_500_000, true},
		{"GetMedia", limits.GetMedia, "guide", 25_000_000, false},
		{"GetMediaForFragmentList", limits.FragmentList, "current", 25_000_000, false},
		{"segments", limits.Segment, "guide", 25_000_000, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rates, _ := limits.RatesOf(tc.profile)
				l := limits.New(limits.Rules{}, rates)
				p := l.Pace(tc.class, limits.Key{Stream: "cam", Session: "one"})
				q := l.Pace(tc.class, limits.Key{Stream: "cam", Session: "two"})
				begin := time.Now()
				for range 110 { // eleven seconds' worth; the first second's is there at once
					if err := p.WaitN(t.Context(), tc.perSecond/10); err != nil {
						t.Fatal(err)
					}
				}
				if took := time.Since(begin); took < 9900*time.Millisecond || took > 10100*time.Millisecond {
					t.Errorf("eleven seconds' bytes took %v beyond the first", took)
				}
				begin = time.Now()
				if err := q.WaitN(t.Context(), tc.perSecond); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(begin) > 500*time.Millisecond; waited != tc.shared {
					t.Errorf("another session of the stream waited: %v, want %v", waited, tc.shared)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				if err := q.WaitN(ctx, 100*tc.perSecond); err == nil {
					t.Error("WaitN outlived its context")
				}
			})
		})
	}
	if err := limits.New(limits.Rules{}, limits.Rates{}).Pace(limits.GetMedia, limits.Key{}).WaitN(t.Context(), 1<<40); err != nil {
		t.Error(err)
	}
}

func TestSetChangesFigures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // no time passes
		l := limits.New(limits.Rules{}, limits.Rates{})
		k := limits.Key{Operation: "PutMedia", Stream: "cam"}
		if n := allowed(l, limits.PutMedia, k, 100); n != 100 {
			t.Errorf("without rates %d of 100 passed", n)
		}
		l.Set(limits.Rules{Streams: 7}, limits.Rates{PutMediaCalls: 2})
		if n := allowed(l, limits.PutMedia, k, 100); n != 2 || l.Rules().Streams != 7 {
			t.Errorf("with a rate of 2, %d passed; rules %+v", n, l.Rules())
		}
	})
}

func BenchmarkAllow(b *testing.B) {
	rates, _ := limits.RatesOf("current")
	for name, r := range map[string]limits.Rates{"off": {}, "current": rates} {
		b.Run(name, func(b *testing.B) {
			l := limits.New(limits.Rules{}, r)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				k := limits.Key{Operation: "DescribeStream", Account: "a", Stream: "cam"}
				for pb.Next() {
					l.Allow(limits.Describe, k)
				}
			})
		})
	}
}
