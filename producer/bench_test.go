package producer_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// BenchmarkPutFrame puts frames of 8 KiB, a key frame of 100 KiB every 50, while a
// session takes them.
func BenchmarkPutFrame(b *testing.B) {
	d := newDouble(b)
	d.onComplete = func(_ *doubleSession, f *stored) verdict { f.bytes, f.frames = nil, nil; return verdict{} }
	s := newStream(b, d.client(), producer.StreamInfo{Tracks: []sluice.Track{video()}, BufferDuration: time.Hour})
	small, large := make([]byte, 8<<10), make([]byte, 100<<10)
	b.SetBytes(8 << 10)
	b.ReportAllocs()
	i := 0
	took := make([]time.Duration, 1<<16) // of the newest
	for b.Loop() {
		data := small
		if i%50 == 0 {
			data = large
		}
		began := time.Now()
		if err := s.PutFrame(b.Context(), producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%50 == 0, data)); err != nil {
			b.Fatal(err)
		}
		took[i%len(took)] = time.Since(began)
		i++
	}
	took = took[:min(i, len(took))]
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

// PutFrame allocates nothing for a frame: memory is taken for a fragment, and 32 KiB
// at a time.
func TestPutFrameDoesNotAllocate(t *testing.T) {
	d := newDouble(t)
	d.onControl = func(w http.ResponseWriter, _ string) bool { refuse(w, 503, ""); return true } // few sessions beside
	s := newStream(t, d.client(), producer.StreamInfo{})
	data, i := make([]byte, 400), 0
	allocs := testing.AllocsPerRun(5000, func() {
		if err := s.PutFrame(context.Background(), producer.FrameAt(epoch.Add(time.Duration(i)*10*time.Millisecond), i%100 == 0, data)); err != nil {
			t.Fatal(err)
		}
		i++
	})
	if allocs != 0 {
		t.Errorf("%v allocations a frame", allocs)
	}
}
