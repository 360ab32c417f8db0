package mux_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/mux"
)

const ms = time.Millisecond

func TestSchedule(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		pts            []time.Duration
		last           time.Duration
		dts, durations []time.Duration
		shift          time.Duration
	}{
		{"in order", []time.Duration{0, 40 * ms, 80 * ms}, 0, []time.Duration{0, 40 * ms, 80 * ms}, []time.Duration{40 * ms, 40 * ms, 40 * ms}, 0},
		{"B-frames", []time.Duration{0, 120 * ms, 40 * ms, 80 * ms}, 0, []time.Duration{0, 40 * ms, 80 * ms, 120 * ms}, []time.Duration{40 * ms, 40 * ms, 40 * ms, 40 * ms}, 40 * ms},
		{"variable rate", []time.Duration{0, 10 * ms, 200 * ms}, 50 * ms, []time.Duration{0, 10 * ms, 200 * ms}, []time.Duration{10 * ms, 190 * ms, 50 * ms}, 0},
		{"alone", []time.Duration{5 * ms}, 7 * ms, []time.Duration{5 * ms}, []time.Duration{7 * ms}, 0},
		{"equal", []time.Duration{0, 0, 40 * ms}, 40 * ms, []time.Duration{0, 0, 40 * ms}, []time.Duration{0, 40 * ms, 40 * ms}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := make([]mux.Sample, len(tt.pts))
			for i, p := range tt.pts {
				s[i].PTS = p
			}
			mux.Schedule(s, tt.last)
			var dts, durations []time.Duration
			for _, v := range s {
				dts, durations = append(dts, v.DTS), append(durations, v.Duration)
			}
			if !slices.Equal(dts, tt.dts) || !slices.Equal(durations, tt.durations) || mux.Shift(s) != tt.shift {
				t.Errorf("got DTS %v, durations %v, shift %v", dts, durations, mux.Shift(s))
			}
		})
	}
}

func TestTicks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d    time.Duration
		rate uint32
		want int64
	}{
		{time.Second, 90000, 90000},
		{33 * ms, 90000, 2970},
		{-33 * ms, 90000, -2970},
		{21333333, 48000, 1024},
		{time.Duration(1_795_390_000_123) * ms, 90000, 1_795_390_000_123 * 90},
	} {
		if got := mux.Ticks(tt.d, tt.rate); got != tt.want {
			t.Errorf("%v at %d: got %d, want %d", tt.d, tt.rate, got, tt.want)
		}
	}
}
