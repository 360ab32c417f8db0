package producer_test

import (
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
