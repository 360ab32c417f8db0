package playback_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/playback"
)

// TestConformance follows 30 minutes of a live stream with gaps, restarts, header
// changes, equal and backward times, a look each second, and holds every playlist
// against the one before.
func TestConformance(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	changed := slices.Clone(c.header.Tracks)
	changed[0].CodecPrivate = append(slices.Clone(changed[0].CodecPrivate), 0)
	for _, clock := range []string{"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"} {
		for _, mode := range []string{"", "ON_DISCONTINUITY"} {
			t.Run(clock+" "+mode, func(t *testing.T) {
				t.Parallel()
				m := newMemory()
				m.play(c, 3)
				p := newPlayer(t, m)
				token := p.mustOpen(playback.Request{Selector: clock, DiscontinuityMode: mode, Expires: 43200})
				type known struct {
					number        sluice.FragmentNumber
					discontinuity int
				}
				seen := map[int]known{}
				sequence, seamless := 0, 0
				var decoded int64 // where the last segment ended
				next := m.Now()
				for tick := range 1800 {
					m.pass(time.Second)
					for !next.After(m.Now()) {
						k := len(m.entries)
						tracks, producer := c.header.Tracks, next
						if tick/300%2 == 1 {
							tracks = changed // a restart with another header every five minutes
						}
						switch {
						case k%97 == 0:
							producer = producer.Add(-10 * time.Second) // the camera's clock goes back
						case k%89 == 0:
							producer = m.entries[k-1].Producer() // equal
						}
						m.add(&c.fragments[k%8], tracks, next, producer)
						next = next.Add(1280 * time.Millisecond)
						if k%71 == 0 {
							next = next.Add(7 * time.Second) // the camera is away
						}
					}
					if tick%450 == 449 {
						p = newPlayer(t, m) // the server restarts
					}
					l := read(t, p.media(token, 1, ""))
					if l.sequence < sequence || len(l.segments) > 5 {
						t.Fatalf("after %d s: sequence %d after %d, %d segments", tick, l.sequence, sequence, len(l.segments))
					}
					sequence = l.sequence
					discontinuity := l.discontinuities
					for i, s := range l.segments {
						if s.discontinuity {
							discontinuity++
						}
						if s.duration > float64(l.target)+0.5 {
							t.Fatalf("segment of %v s, target duration %d", s.duration, l.target)
						}
						now := known{s.number, discontinuity}
						was, ok := seen[l.sequence+i]
						if _, ok := seen[l.sequence+i]; !ok && clock == "PRODUCER_TIMESTAMP" {
							base, end := decodeTimes(t, []byte(p.text(s.uri)))
							if gap := base - decoded; i > 0 && !s.discontinuity && decoded > 0 && mode == "ON_DISCONTINUITY" && (gap < -4500 || gap > 4500) {
								t.Fatalf("segment %d decodes from %d on, the one before ended at %d", l.sequence+i, base, decoded)
							} else if gap == 0 {
								seamless++
							}
							if d := s.duration - float64(end-base)/90000; d > 0.002 || d < -0.002 {
								t.Fatalf("segment %d is listed with %v s and decodes for %v", l.sequence+i, s.duration, float64(end-base)/90000)
							}
							decoded = end
						}
						// A restart may lose count of discontinuities that nobody can
						// see any more, where nothing but they would have to be counted.
						if ok && was.number != now.number || ok && was.discontinuity != now.discontinuity && tick < 449 {
							t.Fatalf("after %d s: segment %d is %v, was %v", tick, l.sequence+i, now, was)
						}
						seen[l.sequence+i] = now
					}
				}
				for i := range len(seen) {
					if _, ok := seen[i]; !ok {
						t.Fatalf("segment %d was never listed", i)
					}
					if i > 0 && seen[i].number.Compare(seen[i-1].number) <= 0 {
						t.Fatalf("segment %d is fragment %v after %v", i, seen[i].number, seen[i-1].number)
					}
				}
				if clock == "PRODUCER_TIMESTAMP" && seamless < 1200 {
					t.Errorf("%d segments begin exactly where the one before ends", seamless)
				}
				if len(seen) < 1200 {
					t.Errorf("%d segments in 30 minutes", len(seen))
				}
			})
		}
	}
}

// decodeTimes is where a segment's decoding begins and ends, in ticks.
func decodeTimes(t *testing.T, b []byte) (base, end int64) {
	t.Helper()
	at := bytes.Index(b, []byte("tfdt"))
	base = int64(binary.BigEndian.Uint64(b[at+8:]))
	at = bytes.Index(b, []byte("trun"))
	end = base
	for i := range int(binary.BigEndian.Uint32(b[at+8:])) {
		end += int64(binary.BigEndian.Uint32(b[at+16+16*i:]))
	}
	return base, end
}
