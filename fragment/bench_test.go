package fragment_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/mkv"
)

// BenchmarkReader is the ingest path: a minute of a 2 Mbit/s, 30 fps camera in
// pieces of 32 KiB, cut into fragments with their indices.
func BenchmarkReader(b *testing.B) {
	in := bytes.Clone(ordinary)
	payload := make([]byte, 46_152)
	frames := 0
	for n := range 1800 {
		at := n * 1000 / 30
		f := sluice.Frame{Track: 1, Data: payload[:7692]}
		if n%60 == 0 {
			in = mkv.AppendCluster(in, uint64(at))
			f.Key, f.Data = true, payload
		}
		in = mkv.AppendSimpleBlock(in, int16(at%2000), &f)
		frames++
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		r := fragment.NewReader(fragment.Options{})
		got := 0
		for rest := in; len(rest) > 0; {
			n := min(32<<10, len(rest))
			r.Feed(rest[:n:n])
			rest = rest[n:]
			for {
				ev, err := r.Next()
				if errors.Is(err, fragment.ErrMore) {
					break
				}
				if err != nil {
					b.Fatal(err)
				}
				got += len(ev.Frames)
			}
		}
		if got != frames {
			b.Fatalf("%d frames, want %d", got, frames)
		}
		total += got
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "frames/s")
}

func BenchmarkIndex(b *testing.B) {
	s := run(cat(ordinary, cluster(0, bytes.Repeat(block(5, "payload"), 60))), 1<<20, true, fragment.Options{})
	x := fragment.Index(s.parts[0].frames)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = x.AppendBinary(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf))/60, "bytes/frame")
}
