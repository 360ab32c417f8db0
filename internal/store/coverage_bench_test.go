package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// BenchmarkCoverage is what a timeline asks for, over a stream with 1,000,000
// fragments a second apart.
func BenchmarkCoverage(b *testing.B) {
	const rows, step = 1_000_000, 20_000
	h := newHouse(b, store.Options{Window: -1})
	id := streamID(0)
	e, _ := h.take(id)
	for at := 0; at < rows; at += step {
		if err := h.InsertRows(b.Context(), id, e, at, step, t0); err != nil {
			b.Fatal(err)
		}
	}
	end := time.UnixMilli(t0 + rows*1000)
	for _, span := range []time.Duration{10 * time.Minute, 2 * time.Hour, 48 * time.Hour, rows * time.Second} {
		for clock, name := range map[sluice.Clock]string{sluice.ServerClock: "server", sluice.ProducerClock: "producer"} {
			b.Run(fmt.Sprintf("%v/%s", span, name), func(b *testing.B) {
				for b.Loop() {
					got, err := h.Coverage(b.Context(), id, clock, end.Add(-span), end, span/2000, time.Time{})
					if err != nil || len(got) == 0 {
						b.Fatal(got, err)
					}
				}
			})
		}
	}
}
