package producer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// video is a track whose frames are passed on as they are.
func video() sluice.Track {
	return sluice.Track{Type: sluice.TrackVideo, CodecID: "V_TEST", Name: "v"}
}

func audio() sluice.Track {
	return sluice.Track{Type: sluice.TrackAudio, CodecID: "A_TEST", Name: "a"}
}

// put puts n frames of 40 ms, a key frame every gop, from frame number from on.
func put(t testing.TB, s *producer.Stream, from, n, gop int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		f := producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%gop == 0, fmt.Appendf(nil, "frame %d", i))
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
}

func stop(t testing.TB, s *producer.Stream) producer.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := s.Stop(ctx)
	if err != nil {
		t.Fatalf("stop: %v", err)
	}
	return r
}

// payloads are the frames of all fragments, in order.
func payloads(all []stored) (out []string) {
	for _, f := range all {
		for _, fr := range f.frames {
			out = append(out, fr.data)
		}
	}
	return out
}

func want(from, n int) (out []string) {
	for i := from; i < from+n; i++ {
		out = append(out, fmt.Sprintf("frame %d", i))
	}
	return out
}

func TestPutFrames(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	c := d.client()
	s, err := c.NewStream(producer.StreamInfo{Name: "cam", Tracks: []sluice.Track{video()}, Tags: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, 0, 100, 25)
	if r := stop(t, s); len(r.Undelivered) > 0 {
		t.Errorf("undelivered: %v", r.Undelivered)
	}
	all := d.fragments()
	if len(all) != 4 {
		t.Fatalf("%d fragments, want 4", len(all))
	}
	if got := payloads(all); !slices.Equal(got, want(0, 100)) {
		t.Errorf("frames: %v", got)
	}
	for i, f := range all {
		at := epoch.Add(time.Duration(i) * time.Second)
		if !f.producer.Equal(at) {
			t.Errorf("fragment %d: producer time %v, want %v", i, f.producer, at)
		}
		if !f.frames[0].key || f.frames[1].key {
			t.Errorf("fragment %d: key flags", i)
		}
	}
	if !all[3].explicit {
		t.Error("the last fragment is not ended explicitly")
	}
	if d.tags["a"] != "b" || d.count("/createStream") != 1 {
		t.Error("the stream was not created and tagged")
	}
	m := s.Metrics()
	if m.PersistedAcks != 4 || m.PutFrames != 100 || m.TotalSessions != 1 || m.OverallViewSize != 0 {
		t.Errorf("metrics: %+v", m)
	}
	if used := c.Metrics().ContentStoreAllocatedSize; used != 0 {
		t.Errorf("%d bytes are still allocated", used)
	}
}

func TestMetadataStaysWithItsFragment(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s, err := d.client().NewStream(producer.StreamInfo{Name: "cam", Tracks: []sluice.Track{video()}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		f := producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%25 == 0, fmt.Appendf(nil, "frame %d", i))
		if i == 100 { // a key frame: the first of its fragment
			f.Tags = []sluice.Tag{{Name: "motion", Value: "true"}}
		}
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if i == 60 {
			if err := s.PutMetadata("lat", "47.6", true); err != nil {
				t.Fatal(err)
			}
		}
		if i == 130 {
			if err := s.PutMetadata("lat", "", true); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop(t, s)
	for _, f := range d.fragments() {
		var tags []string
		for _, tag := range f.tags {
			if !strings.HasPrefix(tag.Name, "AWS_") {
				tags = append(tags, tag.Name+"="+tag.Value)
			}
		}
		var first int
		fmt.Sscanf(f.frames[0].data, "frame %d", &first)
		wantTags := []string(nil)
		if first >= 50 && first < 125 {
			wantTags = append(wantTags, "lat=47.6")
		}
		if first == 100 {
			wantTags = append(wantTags, "motion=true")
		}
		if !slices.Equal(tags, wantTags) {
			t.Errorf("fragment of frame %d: tags %v, want %v", first, tags, wantTags)
		}
	}
}

func TestMarkersOfTheService(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s, err := d.client().NewStream(producer.StreamInfo{Name: "cam", Tracks: []sluice.Track{video()}})
	if err != nil {
		t.Fatal(err)
	}
	f := producer.FrameAt(epoch, true, []byte("frame"))
	for _, name := range []string{"AWS_KINESISVIDEO_FRAGMENT_NUMBER", "AWS", "AWSOME"} {
		f.Tags = []sluice.Tag{{Name: name}}
		if err := s.PutFrame(t.Context(), f); !errors.Is(err, producer.StatusInvalidMetadataName) {
			t.Errorf("tag %s: %v, want %v", name, err, producer.StatusInvalidMetadataName)
		}
	}
	if err := s.PutMetadata(producer.MarkNotification, "", false); !errors.Is(err, producer.StatusInvalidMetadataName) {
		t.Errorf("PutMetadata of a marker: %v", err)
	}
	want := []sluice.Tag{{Name: producer.MarkImage}, {Name: producer.MarkImagePrefix, Value: "door"}, {Name: producer.MarkNotification}}
	f.Tags = want
	if err := s.PutFrame(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	got := d.fragments()
	if len(got) != 1 {
		t.Fatalf("%d fragments, want 1", len(got))
	}
	for _, tag := range want {
		if !slices.Contains(got[0].tags, tag) {
			t.Errorf("tags %v, want %v among them", got[0].tags, tag)
		}
	}
}

func TestLostConnection(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]verdict{
		"before stored": {drop: true}, "after stored": {dropOK: true}, "5001": {err: sluice.ArchivalError}, "4000": {err: sluice.StreamReadError},
		"4004": {err: sluice.FragmentTimecodeLesserThanBefore}, "4006": {err: sluice.InvalidMKVData},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			n := 0
			d.onComplete = func(ds *doubleSession, f *stored) verdict {
				if n++; n == 3 {
					return v
				}
				return verdict{}
			}
			s, err := d.client().NewStream(producer.StreamInfo{Name: "cam", Tracks: []sluice.Track{video()}})
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, 0, 250, 25)
			stop(t, s)
			got := payloads(d.fragments())
			if v.dropOK {
				if len(got) != 275 {
					t.Errorf("%d frames, want 250 and one fragment twice", len(got))
				}
				got = slices.CompactFunc(got, func(a, b string) bool { return a == b })
				seen := map[string]bool{}
				for _, g := range got {
					seen[g] = true
				}
				if len(seen) != 250 {
					t.Errorf("%d different frames", len(seen))
				}
				return
			}
			if !slices.Equal(got, want(0, 250)) {
				t.Errorf("%d frames: %v", len(got), got)
			}
		})
	}
}
