package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

func TestCoverage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{})
	id := streamID(1)
	e, _ := h.take(id)
	base := time.UnixMilli(1_700_000_000_000).UTC()
	// 60 fragments a second apart, a gap of 10 minutes, 30 more.
	var tickets []*store.Ticket
	add := func(n int, at time.Time) {
		r := record(id, e, n, 100)
		r.ServerMs, r.ProducerMs, r.LengthMs, r.Bytes = at.UnixMilli(), at.UnixMilli(), 960, 100
		r.Number = sluice.MakeFragmentNumber(e.Sequence(uint64(n)), uint64(r.ServerMs), 1)
		tickets = append(tickets, h.Append(e, r))
	}
	for n := range 60 {
		add(n, base.Add(time.Duration(n)*time.Second))
	}
	for n := range 30 {
		add(60+n, base.Add(11*time.Minute+time.Duration(n)*time.Second))
	}
	wait(t, tickets...)
	for _, c := range []struct {
		from, to, step time.Duration
		horizon        time.Duration
		want           string
	}{
		{-time.Hour, time.Hour, time.Second, -time.Hour, "0-59.96(60) 660-689.96(30)"},
		{-time.Hour, time.Hour, 10 * time.Second, -time.Hour, "0-59.96(60) 660-689.96(30)"},
		{0, 20 * time.Second, time.Second, -time.Hour, "0-20.96(21)"},
		{2 * time.Minute, 10 * time.Minute, time.Second, -time.Hour, ""},
		{-time.Hour, time.Hour, time.Second, 30 * time.Second, "30-59.96(30) 660-689.96(30)"},
		{-time.Hour, time.Hour, 30 * time.Minute, -time.Hour, "0-689.96(90)"}, // the gap is shorter than a step
	} {
		for _, clock := range []sluice.Clock{sluice.ServerClock, sluice.ProducerClock} {
			got, err := h.Coverage(t.Context(), id, clock, base.Add(c.from), base.Add(c.to), c.step, base.Add(c.horizon))
			if err != nil {
				t.Fatal(err)
			}
			var text []string
			for _, s := range got {
				text = append(text, fmt.Sprintf("%v-%v(%d)", s.Start.Sub(base).Seconds(), s.End.Sub(base).Seconds(), s.Fragments))
			}
			if s := strings.Join(text, " "); s != c.want {
				t.Errorf("%v to %v by %v: %s, want %s", c.from, c.to, c.step, s, c.want)
			}
		}
	}
	if got, err := h.Coverage(t.Context(), streamID(9), sluice.ServerClock, base, base, time.Second, base); err != nil || got != nil {
		t.Errorf("a stream that is not there: %v %v", got, err)
	}
}
