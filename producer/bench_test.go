package producer_test

import (
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
	for b.Loop() {
		data := small
		if i%50 == 0 {
			data = large
		}
		if err := s.PutFrame(b.Context(), producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%50 == 0, data)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
