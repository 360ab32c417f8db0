package ingest_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/streamtest"
	"github.com/sluicevideo/sluice/mkv"
)

// What follows the explicit end of a fragment stands in front of the next Cluster,
// in that chunk only; what a producer wrote before its first Cluster stands in front
// of all. From memory and from the disk.
func TestWhatFollowsAnEnd(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	between := mkv.AppendTags(nil, sluice.Tag{Name: "between", Value: "the first and the second"})
	c := s.put(plainHead + "\r\n").accepted()
	c.send(join(header(1), cluster(now), endOfFragment, between, cluster(now+1000), endOfFragment, cluster(now+2000), endOfFragment))
	c.finish()
	c.acks()
	check := func(s *server, where string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		media := s.get(ctx, `{"StreamName":"cam","StartSelector":{"StartSelectorType":"EARLIEST"}}`)
		var got []byte
		for buf := make([]byte, 4096); !bytes.Contains(got, cluster(now+2000)); {
			n, err := media.Read(buf)
			if got = append(got, buf[:n]...); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
		}
		var at []int
		for i, part := range [][]byte{cluster(now), between, cluster(now + 1000), cluster(now + 2000)} {
			if n := bytes.Count(got, part); n != 1 {
				t.Fatalf("%s: part %d is there %d times", where, i, n)
			}
			at = append(at, bytes.Index(got, part))
		}
		if at[0] > at[1] || at[1] > at[2] || at[2] > at[3] {
			t.Errorf("%s: parts at %v", where, at)
		}
		// The second chunk's header comes before what stands in front of its Cluster.
		tracks := mkv.AppendTracks(nil, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC"}})
		if n := bytes.Count(got, tracks); n != 3 || bytes.LastIndex(got[:at[1]], tracks) < at[0] || bytes.LastIndex(got[:at[2]], tracks) > at[1] {
			t.Errorf("%s: headers in the wrong places, %d of them", where, n)
		}
	}
	check(s, "memory")
	check(start(t, func(o *settings) {
		s.Close()
		o.parts = append(o.parts, func(p *streamtest.Settings) { p.Dir, p.Root = s.Dir, s.Root })
	}), "disk")
}
