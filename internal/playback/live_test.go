package playback_test

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice/internal/playback"
)

// TestHeaderChangeAndBack: one fragment with another header among many that join
// is found, wherever it lies.
func TestHeaderChangeAndBack(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	changed := slices.Clone(c.header.Tracks)
	changed[0].CodecPrivate = append(slices.Clone(changed[0].CodecPrivate), 0)
	m := newMemory()
	const n, odd = 1000, 517
	for i := range n {
		tracks := c.header.Tracks
		if i == odd {
			tracks = changed
		}
		m.add(&c.fragments[i%8], tracks, m.Now(), m.Now())
		m.pass(1280 * time.Millisecond)
	}
	p := newPlayer(t, m)
	r := onDemand("PRODUCER_TIMESTAMP")
	r.To = m.Now()
	l := read(t, p.media(p.mustOpen(r), 1, ""))
	if len(l.segments) != n {
		t.Fatalf("%d segments, want %d", len(l.segments), n)
	}
	for i, s := range l.segments {
		if want := i == odd || i == odd+1; s.discontinuity != want || i > 0 && (s.init != l.segments[i-1].init) != want {
			t.Errorf("segment %d: discontinuity %v, %s", i, s.discontinuity, s.init)
		}
	}
}

// TestLiveAfterFailure: a fragment that could not be looked at for one request is
// listed for the next.
func TestLiveAfterFailure(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 8)
	first := start.Add(-time.Second)
	for _, r := range []playback.Request{
		{Selector: "PRODUCER_TIMESTAMP"},
		{PlaybackMode: "LIVE_REPLAY", Selector: "PRODUCER_TIMESTAMP", HasSelector: true, HasRange: true, From: first, To: first.Add(time.Hour), MaxResults: 5},
	} {
		p := newPlayer(t, m)
		token := p.mustOpen(r)
		before := read(t, p.media(token, 1, ""))
		m.play(c, 1)
		m.broken = errors.New("the disk did not answer")
		if _, err := p.get(playback.MediaPlaylist + "?TrackNumber=1&SessionToken=" + token); err == nil {
			t.Fatal("no error")
		}
		m.broken = nil
		after := read(t, p.media(token, 1, ""))
		if got, want := after.numbers(), before.numbers(); after.sequence != before.sequence+1 || got[4] != want[4]+1 {
			t.Errorf("%q: %v from %d, before %v from %d", r.PlaybackMode, got, after.sequence, want, before.sequence)
		}
	}
}

var element = regexp.MustCompile(`<S t="(\d+)" d="(\d+)"`)

// TestManifestsAgree: what one live manifest says of a fragment the next ones say
// too, elements touch each other, and a player that is late by a minute still
// finds what it was told of.
func TestManifestsAgree(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	p := newPlayer(t, m)
	token := p.mustOpen(playback.Request{Protocol: playback.DASH, Selector: "PRODUCER_TIMESTAMP"})
	type span struct{ t, d float64 }
	seen := map[int]span{}
	jitter := []time.Duration{0, 12, -9, 33, -40, 5, 49, -21}
	for k := range 60 {
		m.add(&c.fragments[len(m.entries)%8], c.header.Tracks, m.Now(), m.Now().Add((jitter[k%8]-30)*time.Millisecond))
		m.pass(1280 * time.Millisecond)
		text := p.text(playback.Manifest + "?SessionToken=" + token)
		first := int(number(t, text, `startNumber="(\d+)"`))
		var end float64
		for i, e := range element.FindAllStringSubmatch(text, -1)[:min(5, len(m.entries))] {
			var s span
			fmt.Sscan(e[1]+" "+e[2], &s.t, &s.d)
			if was, ok := seen[first+i]; ok && was != s {
				t.Errorf("fragment %d: %v, was %v", first+i, s, was)
			}
			if i > 0 && s.t != end {
				t.Errorf("fragment %d begins at %v, the one before ends at %v", first+i, s.t, end)
			}
			seen[first+i], end = s, s.t+s.d
		}
	}
	if len(seen) < 60 {
		t.Errorf("%d fragments were listed", len(seen))
	}
	for n := range seen {
		if _, err := p.get(fmt.Sprintf("%s?SessionToken=%s&TrackNumber=1&Number=%d", playback.MediaFragment, token, n)); err != nil {
			t.Errorf("fragment %d of %d: %v", n, len(seen), err)
		}
	}
}

// TestTuneIn: a live player that comes when the next fragment is about to be there
// waits for it, as it would be late by a fragment for good; others do not wait.
func TestTuneIn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		after, waits time.Duration // after the last fragment was listed
		stalls       bool
	}{
		{"just listed", 100 * time.Millisecond, 0, false},
		{"soon", 700 * time.Millisecond, 580 * time.Millisecond, false},
		{"overdue", 1400 * time.Millisecond, 0, false},
		{"it does not come", 700 * time.Millisecond, 900 * time.Millisecond, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := loadClip(t)
				m := newMemory()
				m.play(c, 6)
				m.flows = time.Now()
				p := newPlayer(t, m)
				token := p.mustOpen(playback.Request{Selector: "PRODUCER_TIMESTAMP"})
				begun := m.Now()
				time.Sleep(tt.after)
				asked := m.Now()
				got := p.wait(playback.MasterPlaylist + "?SessionToken=" + token)
				if !tt.stalls {
					time.Sleep(1280*time.Millisecond - tt.after)
					m.add(&c.fragments[6], c.header.Tracks, begun, begun)
				}
				a := <-got
				waited := m.Now().Sub(asked)
				if tt.waits == 0 {
					waited = 0
				}
				if a.err != nil || waited < tt.waits || waited > tt.waits+20*time.Millisecond {
					t.Errorf("waited %v, want %v: %v", waited, tt.waits, a.err)
				}
				if tt.waits == 0 && time.Until(a.at) > 0 {
					t.Error("waited")
				}
			})
		})
	}
}

// TestLowLatencyBegins: the first playlist of all already has the parts of the
// open fragment that are there and those of the whole ones before it, when nobody
// has watched before.
func TestLowLatencyBegins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m, p, token := low(t)
		f := &c.fragments[3]
		a := m.begin(f, c.header.Tracks, m.Now(), m.Now().Add(-30*time.Millisecond))
		a.grow(f, 40)
		got := p.wait(reload(token, ""))
		synctest.Wait()
		begun := time.Now()
		r := <-got
		if r.err != nil || r.at.Sub(begun) != 0 || len(partsOf(r.text, a.head.Number)) < 3 {
			t.Errorf("after %v: %v\n%s", r.at.Sub(begun), r.err, r.text)
		}
		for i, s := range read(t, r.text).segments {
			if len(partsOf(r.text, s.number)) < 10 {
				t.Errorf("whole segment %d is listed without its parts", i)
			}
		}
		a.end(f, io.EOF)
		// A camera that is away holds nobody up for long.
		time.Sleep(time.Minute)
		begun = time.Now()
		if r := <-p.wait(reload(token, "")); r.err != nil || r.at.Sub(begun) > 500*time.Millisecond {
			t.Errorf("after %v: %v", r.at.Sub(begun), r.err)
		}
	})
}
