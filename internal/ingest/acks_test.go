package ingest_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/streamtest"
	"github.com/sluicevideo/sluice/mkv"
)

// now is a cluster's timecode: producer timestamps must not lie far ahead.
const now = 946_684_800_000 // 2000-01-01, where the clock of a bubble begins

// far is in the year 2200.
const far = 7_258_118_400_000

// at is a clock that stands.
func at(ms int64) func() time.Time { return func() time.Time { return time.UnixMilli(ms) } }

func ack(event string, ms int64) string {
	return fmt.Sprintf(`{"EventType":"%s","FragmentTimecode":%d,#}`, event, ms)
}

func errorAck(id sluice.AckErrorCode, ms int64, numbered bool) string {
	out := `{"EventType":"ERROR"`
	if ms >= 0 {
		out += fmt.Sprintf(`,"FragmentTimecode":%d`, ms)
	}
	if numbered {
		out += ",#"
	}
	return out + fmt.Sprintf(`,"ErrorCode":"%s","ErrorId":%d}`, id.String(), int(id))
}

const idleAck = `{"EventType":"IDLE"}`

// kept is what is acknowledged of a fragment that was kept.
func kept(ms int64) []string {
	return []string{ack("BUFFERING", ms), ack("RECEIVED", ms), ack("PERSISTED", ms)}
}

// expect reads as many acknowledgements as it is given and compares.
func (c *client) expect(want ...string) {
	c.t.Helper()
	var got []string
	for range want {
		a := c.ack()
		got = append(got, a)
		if a == "" {
			break
		}
	}
	if got := plain(got); !slices.Equal(got, want) {
		c.t.Fatalf("acknowledgements\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// ends reads the end of the answer.
func (c *client) ends() {
	c.t.Helper()
	if a := c.ack(); a != "" {
		c.t.Fatalf("acknowledgement %s, want the end", a)
	}
}

// listed is the producer times of the stream's fragments, in ms.
func (s *server) listed() (out []int64) {
	s.T.Helper()
	st, err := s.Streams.Resolve(s.T.Context(), streamtest.Ref("cam"))
	if sluice.CodeOf(err) == sluice.ResourceNotFound {
		return nil
	}
	if err != nil {
		s.T.Fatal(err)
	}
	for e, err := range s.Streams.List(s.T.Context(), st.ID, store.Query{Order: store.ByNumber}) {
		if err != nil {
			s.T.Fatal(err)
		}
		out = append(out, e.ProducerMs)
	}
	return out
}

// shown counts what GetMedia shows from the beginning up to the last fragment
// that was complete.
func (s *server) shown() (n int) {
	s.T.Helper()
	st, err := s.Streams.Resolve(s.T.Context(), streamtest.Ref("cam"))
	if err != nil {
		return 0
	}
	last := s.Streams.Activity(st.ID).LastFragment
	if last.IsZero() {
		return 0
	}
	c, err := s.Streams.Follow(s.T.Context(), streamtest.Ref("cam"), sluice.StartSelector{Type: sluice.SelectEarliest})
	if err != nil {
		s.T.Fatal(err)
	}
	for c.Position() != last {
		f, err := c.Next(s.T.Context())
		if err != nil {
			s.T.Fatal(err)
		}
		if _, err := f.Elements(s.T.Context()); err != nil {
			s.T.Fatal(err)
		}
		n++
	}
	return n
}

// TestAcknowledgements drives a raw connection through what a session can be
// told, and looks at what is left of it.
func TestAcknowledgements(t *testing.T) {
	t.Parallel()
	const second = now + 1000
	cases := []struct {
		name    string
		none    bool   // no retention
		headers string // besides the usual
		rules   func(*limits.Rules)
		now     func() time.Time // ingest's clock
		run     func(*server, *client)
		listed  []int64
	}{
		{
			name: "two fragments and the end of the body",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now)))
				c.expect(ack("BUFFERING", now))
				c.send(cluster(second))
				// The second begins before the first is durable.
				c.expect(ack("BUFFERING", second), ack("RECEIVED", now), ack("PERSISTED", now))
				c.finish()
				c.expect(ack("RECEIVED", second), ack("PERSISTED", second))
				c.ends()
			},
			listed: []int64{now, second},
		},
		{
			name: "an explicit end is answered without another byte",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), endOfFragment))
				c.expect(kept(now)...)
				c.send(endOfFragment) // nothing is open: passed over
				c.send(join(cluster(second), endOfFragment))
				c.expect(kept(second)...)
				c.finish()
				c.ends()
			},
			listed: []int64{now, second},
		},
		{
			name: "without retention",
			none: true,
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), endOfFragment))
				c.expect(ack("BUFFERING", now), ack("RECEIVED", now))
				c.finish()
				c.ends()
			},
		},
		{
			name:    "no acknowledgements wanted",
			headers: "x-amzn-fragment-acknowledgment-required: 0\r\n",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), cluster(second), endOfFragment))
				c.finish()
				c.ends()
			},
			listed: []int64{now, second},
		},
		{
			name:    "no acknowledgements wanted, but errors",
			headers: "x-amzn-fragment-acknowledgment-required: 0\r\n",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), cluster(now)))
				c.expect(errorAck(sluice.FragmentTimecodeLesserThanBefore, now, false))
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name:    "any content type, any codec, any private data",
			headers: "Content-Type: text/html; charset=utf-8\r\n",
			run: func(_ *server, c *client) {
				b := mkv.AppendInfo(mkv.AppendSegment(mkv.AppendHeader(nil)), mkv.Info{Scale: time.Millisecond})
				c.send(mkv.AppendTracks(b, []sluice.Track{
					{Number: 1, UID: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC", CodecPrivate: []byte("no avcC at all")},
					{Number: 2, UID: 2, Type: sluice.TrackSubtitle, CodecID: "X_NOBODY/KNOWS"},
				}))
				c.send(join(cluster(now, frame{1, 0, 10}, frame{2, 0, 10}), endOfFragment))
				c.expect(kept(now)...)
				c.finish()
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "another session may have the same times again, or older ones",
			run: func(s *server, c *client) {
				for _, ms := range []int64{second, second, now} {
					x := s.put(plainHead + "\r\n").accepted()
					x.send(join(header(1), cluster(uint64(ms)), endOfFragment))
					x.expect(kept(ms)...)
					x.finish()
					x.ends()
				}
				c.finish()
				c.ends()
			},
			listed: []int64{second, second, now},
		},
		{
			name: "a header alone",
			run: func(_ *server, c *client) {
				c.send(header(1))
				c.finish()
				c.ends()
			},
		},
		{
			name: "nothing at all",
			run: func(_ *server, c *client) {
				c.finish()
				c.ends()
			},
		},
		{
			name: "4000, a body that breaks off",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), endOfFragment))
				c.expect(kept(now)...)
				c.send(cluster(second))
				c.expect(ack("BUFFERING", second))
				c.conn.(*net.TCPConn).CloseWrite()
				c.expect(errorAck(sluice.StreamReadError, second, true))
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "BUFFERING at the Cluster's timecode, before any frame",
			run: func(_ *server, c *client) {
				c.send(header(1))
				head := mkv.AppendCluster(nil, now)
				c.send(head[:len(head)-1])
				c.send(head[len(head)-1:])
				c.expect(ack("BUFFERING", now))
				c.send(join(block(1, 0, 10), endOfFragment))
				c.expect(kept(now)[1:]...)
				c.finish()
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name:  "as large as may be",
			rules: func(r *limits.Rules) { r.FragmentBytes = int64(len(cluster(now))) },
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now)))
				c.finish()
				c.expect(kept(now)...)
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name:  "4001, a byte too large",
			rules: func(r *limits.Rules) { r.FragmentBytes = int64(len(cluster(now))) - 1 },
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now)))
				c.expect(ack("BUFFERING", now), errorAck(sluice.MaxFragmentSizeReached, now, true))
				c.ends()
			},
		},
		{
			name: "as many tracks as may be",
			run: func(_ *server, c *client) {
				c.send(join(header(3), cluster(now, frame{1, 0, 10}, frame{2, 0, 10}, frame{3, 0, 10}), endOfFragment))
				c.expect(kept(now)...)
				c.finish()
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name:  "4001, too large",
			rules: func(r *limits.Rules) { r.FragmentBytes = 10_000 },
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now, frame{track: 1, size: 6000})))
				c.expect(ack("BUFFERING", now))
				c.send(block(1, 1, 6000))
				c.expect(errorAck(sluice.MaxFragmentSizeReached, now, true))
				c.ends()
			},
		},
		{
			name: "4002, too long: said when the line is crossed",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now, frame{track: 1, size: 10}, frame{track: 1, after: 20_000, size: 10})))
				c.expect(ack("BUFFERING", now))
				c.send(block(1, 20_001, 10))
				c.expect(errorAck(sluice.MaxFragmentDurationReached, now, true))
				c.ends()
			},
		},
		{
			name: "4004, the same timecode again",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), endOfFragment))
				c.expect(kept(now)...)
				c.send(cluster(now))
				c.expect(errorAck(sluice.FragmentTimecodeLesserThanBefore, now, false))
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "4004, frames that overlap",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now, frame{1, 0, 10}, frame{1, 500, 10}), endOfFragment))
				c.expect(kept(now)...)
				c.send(cluster(now + 500))
				c.expect(ack("BUFFERING", now+500), errorAck(sluice.FragmentTimecodeLesserThanBefore, now+500, true))
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "interleaved tracks overlap as ffmpeg's do",
			run: func(_ *server, c *client) {
				c.send(join(header(2), cluster(now, frame{1, 0, 10}, frame{2, 0, 10}, frame{1, 980, 10})))
				c.send(join(cluster(now+960, frame{1, 40, 10}, frame{2, 0, 10}), endOfFragment))
				c.finish()
				if got := c.acks(); len(got) != 6 || strings.Contains(strings.Join(got, ""), "ERROR") {
					c.t.Errorf("acknowledgements %v", got)
				}
			},
			listed: []int64{now, now + 960},
		},
		{
			name:  "4004 by the guide's rule, over all tracks",
			rules: func(r *limits.Rules) { r.FragmentOrder = true },
			run: func(_ *server, c *client) {
				c.send(join(header(2), cluster(now, frame{1, 0, 10}, frame{2, 0, 10}, frame{1, 980, 10}), endOfFragment))
				c.expect(kept(now)...)
				c.send(cluster(now+960, frame{1, 40, 10}, frame{2, 0, 10}))
				c.expect(errorAck(sluice.FragmentTimecodeLesserThanBefore, now+960, false))
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "4006, not Matroska",
			run: func(_ *server, c *client) {
				c.send([]byte("<html>this is not Matroska at all, whatever one may think of it</html>"))
				c.expect(errorAck(sluice.InvalidMKVData, -1, false))
				c.ends()
			},
		},
		{
			name: "4006, broken inside a fragment",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now)))
				c.expect(ack("BUFFERING", now))
				c.send(join([]byte{0xa3, 0x83, 0x81, 0, 0}, []byte{0, 0, 0, 0, 0, 0, 0, 0}))
				c.expect(errorAck(sluice.InvalidMKVData, now, true))
				c.ends()
			},
		},
		{
			name: "4006, a second header: what came before it is kept",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now)))
				c.expect(ack("BUFFERING", now))
				c.send(join(header(1), cluster(second)))
				c.expect(ack("RECEIVED", now), ack("PERSISTED", now), errorAck(sluice.InvalidMKVData, -1, false))
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "4007, far ahead",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(far)))
				c.expect(errorAck(sluice.InvalidProducerTimestamp, far, false))
				c.ends()
			},
		},
		{
			name: "4007, just beyond 24 hours ahead",
			now:  at(now),
			run: func(_ *server, c *client) {
				const day = now + 24*3600*1000
				c.send(join(header(1), cluster(now+3600*1000), endOfFragment)) // an hour off is taken
				c.expect(kept(now + 3600*1000)...)
				c.send(join(cluster(day), endOfFragment))
				c.expect(kept(day)...)
				c.send(cluster(day + 1))
				c.expect(errorAck(sluice.InvalidProducerTimestamp, day+1, false))
				c.ends()
			},
			listed: []int64{now + 3600*1000, now + 24*3600*1000},
		},
		{
			name:  "any time at all without that rule",
			rules: func(r *limits.Rules) { r.ProducerAhead = 0 },
			now:   at(now),
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(far), endOfFragment))
				c.expect(kept(far)...)
				c.finish()
				c.ends()
			},
			listed: []int64{far},
		},
		{
			name: "4006, a timecode beyond all times",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(1<<62)))
				c.expect(errorAck(sluice.InvalidMKVData, -1, false))
				c.ends()
			},
		},
		{
			name: "4008, deleted",
			run: func(s *server, c *client) {
				c.send(join(header(1), cluster(now), endOfFragment))
				c.expect(kept(now)...)
				c.send(cluster(second))
				c.expect(ack("BUFFERING", second))
				if _, err := s.Catalog.Delete(s.T.Context(), streamtest.Ref("cam"), ""); err != nil {
					s.T.Fatal(err)
				}
				c.expect(errorAck(sluice.StreamNotActive, second, true))
				c.ends()
			},
		},
		{
			name: "4008, deleted between fragments",
			run: func(s *server, c *client) {
				c.send(join(header(1), cluster(now), endOfFragment))
				c.expect(kept(now)...)
				if _, err := s.Catalog.Delete(s.T.Context(), streamtest.Ref("cam"), ""); err != nil {
					s.T.Fatal(err)
				}
				c.expect(errorAck(sluice.StreamNotActive, -1, false))
				c.ends()
			},
		},
		{
			name: "4009, too many tags",
			run: func(_ *server, c *client) {
				tags := make([]sluice.Tag, 11)
				for i := range tags {
					tags[i] = sluice.Tag{Name: fmt.Sprint("tag", i), Value: "v"}
				}
				c.send(join(header(1), cluster(now), mkv.AppendTags(nil, tags...)))
				c.expect(ack("BUFFERING", now), errorAck(sluice.FragmentMetadataLimitReached, now, true))
				c.ends()
			},
		},
		{
			name: "4009, a name that is too long",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), mkv.AppendTags(nil, sluice.Tag{Name: strings.Repeat("n", 129), Value: "v"})))
				c.expect(ack("BUFFERING", now), errorAck(sluice.FragmentMetadataLimitReached, now, true))
				c.ends()
			},
		},
		{
			name: "4009, a value that is too long",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), mkv.AppendTags(nil, sluice.Tag{Name: "n", Value: strings.Repeat("v", 257)})))
				c.expect(ack("BUFFERING", now), errorAck(sluice.FragmentMetadataLimitReached, now, true))
				c.ends()
			},
		},
		{
			name: "as many tags, and as long, as may be",
			run: func(_ *server, c *client) {
				tags := make([]sluice.Tag, 10)
				for i := range tags {
					tags[i] = sluice.Tag{Name: strings.Repeat("n", 127) + fmt.Sprint(i), Value: strings.Repeat("v", 256)}
				}
				c.send(join(header(1), cluster(now), mkv.AppendTags(nil, tags...), endOfFragment))
				c.expect(kept(now)...)
				c.finish()
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "4010, an unknown track",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now, frame{1, 0, 10}, frame{5, 1, 10})))
				c.expect(ack("BUFFERING", now), errorAck(sluice.TrackNumberMismatch, now, true))
				c.ends()
			},
		},
		{
			name: "4011, a track without a frame",
			run: func(_ *server, c *client) {
				c.send(join(header(2), cluster(now), endOfFragment))
				c.expect(ack("BUFFERING", now), errorAck(sluice.FramesMissingForTrack, now, true))
				c.ends()
			},
		},
		{
			name: "4012, too many tracks",
			run: func(_ *server, c *client) {
				c.send(join(header(4), cluster(now)))
				c.expect(errorAck(sluice.MoreThanAllowedTracksFound, -1, false))
				c.ends()
			},
		},
		{
			name: "5000, a fault of the server between fragments",
			now:  faulty(now, 2),
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), endOfFragment))
				c.expect(kept(now)...)
				c.send(cluster(second))
				c.expect(errorAck(sluice.InternalError, -1, false))
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "5000, what was complete is acknowledged before it",
			now:  faulty(now, 2),
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), cluster(second)))
				c.expect(append(kept(now), errorAck(sluice.InternalError, -1, false))...)
				c.ends()
			},
			listed: []int64{now},
		},
		{
			name: "an error waits for what is complete",
			run: func(_ *server, c *client) {
				c.send(join(header(1), cluster(now), cluster(second), cluster(second)))
				got := plain(c.acks())
				if len(got) != 7 || got[6] != errorAck(sluice.FragmentTimecodeLesserThanBefore, second, false) {
					c.t.Errorf("acknowledgements %v", got)
				}
			},
			listed: []int64{now, second},
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(o *settings) {
				o.ingest.Now = tc.now
				if tc.rules != nil {
					rules := o.limits.Rules()
					tc.rules(&rules)
					o.limits.Set(rules, limits.Rates{})
				}
			})
			retention := 24 * time.Hour
			if tc.none {
				retention = 0
			}
			s.Create("cam", retention)
			c := s.put(plainHead + tc.headers + "\r\n").accepted()
			tc.run(s, c)
			// Whatever ended it, the session has left nothing behind.
			if st, err := s.Streams.Resolve(t.Context(), streamtest.Ref("cam")); err == nil {
				if a := s.Streams.Activity(st.ID); len(a.Sessions) != 0 {
					t.Errorf("sessions left: %+v", a.Sessions)
				}
			}
			if m := s.Streams.Memory(); m.Used != m.Cached || m.Waiting != 0 {
				t.Errorf("memory left: %+v", m)
			}
			if got := s.listed(); !slices.Equal(got, tc.listed) {
				t.Errorf("listed: %v, want %v", got, tc.listed)
			}
			want := len(tc.listed)
			if tc.none {
				want = 1
			}
			if got := s.shown(); got != want {
				t.Errorf("shown: %d, want %d", got, want)
			}
		})
	}
}
