package ingest

import (
	"fmt"
	"time"
)

// order holds a session's fragments to their order. The guide: "The earliest
// frame timestamp in a fragment must be after the latest frame timestamp in the
// previous fragment". Taken over all tracks together that refuses what ffmpeg and
// others write, whose Clusters begin with the key frame of a picture while sound
// of a moment before is still to come; so each track is held to it by itself,
// and Clusters to their own timecodes, unless the rules ask for all.
type order struct {
	any    bool          // there was a fragment
	begun  time.Duration // its Cluster
	latest time.Duration // its latest frame
	tracks []trackOrder
}

type trackOrder struct {
	track          uint32
	before, latest time.Duration // latest frame of the fragments before, and of all
	any, anyBefore bool
}

// cluster takes in a Cluster that begins at at.
func (o *order) cluster(at time.Duration, all bool) error {
	if o.any && at <= o.begun {
		return fmt.Errorf("timecode %v, the fragment before has %v", at, o.begun)
	}
	if o.any && all && at <= o.latest {
		return fmt.Errorf("timecode %v, the fragment before reaches %v", at, o.latest)
	}
	o.begun = at
	return nil
}

// frame takes in a frame of the fragment that began last.
func (o *order) frame(track uint32, at time.Duration, all bool) error {
	t := o.track(track)
	if t.anyBefore && at <= t.before {
		return fmt.Errorf("a frame of track %d at %v, the fragment before reaches %v", track, at, t.before)
	}
	if o.any && all && at <= o.latest {
		return fmt.Errorf("a frame at %v, the fragment before reaches %v", at, o.latest)
	}
	if !t.any || at > t.latest {
		t.latest, t.any = at, true
	}
	return nil
}

// end says that the fragment is complete.
func (o *order) end() {
	for i := range o.tracks {
		t := &o.tracks[i]
		t.before, t.anyBefore = t.latest, t.any
		if i == 0 || t.latest > o.latest {
			o.latest = t.latest
		}
	}
	o.any = true
}

func (o *order) track(n uint32) *trackOrder {
	for i := range o.tracks {
		if o.tracks[i].track == n {
			return &o.tracks[i]
		}
	}
	o.tracks = append(o.tracks, trackOrder{track: n})
	return &o.tracks[len(o.tracks)-1]
}
