package demo_test

import (
	"testing"

	"github.com/sluicevideo/sluice/internal/demo"
)

func TestLoad(t *testing.T) {
	tracks, frames, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(tracks) != 2 || tracks[0].CodecID != "V_MPEG4/ISO/AVC" || tracks[1].CodecID != "A_AAC" || len(tracks[0].CodecPrivate) == 0 {
		t.Errorf("tracks %+v", tracks)
	}
	if !frames[0].Key || frames[0].Track != 1 {
		t.Errorf("it begins with %+v", frames[0].Track)
	}
	for i, f := range frames {
		if f.Timecode < 0 || f.Timecode >= demo.Length || len(f.Data) == 0 {
			t.Errorf("frame %d: %v, %d bytes", i, f.Timecode, len(f.Data))
		}
	}
}
