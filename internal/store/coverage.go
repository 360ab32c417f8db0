package store

import (
	"context"
	"errors"
	"time"

	"github.com/sluicevideo/sluice"
)

// Stretch is a stretch of time in which a stream has durable fragments.
type Stretch struct {
	Start, End time.Time
	Fragments  int64
	Bytes      int64 // about
}

// Coverage gives the stretches of [from, to] that have fragments, in time order,
// at a resolution: gaps shorter than a step may not show. Its cost depends on
// the number of steps, not of fragments.
func (s *Store) Coverage(ctx context.Context, id sluice.StreamID, clock sluice.Clock, from, to time.Time, step time.Duration, notBefore time.Time) ([]Stretch, error) {
	n, err := s.number(ctx, id)
	if errors.Is(err, ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := s.index.Coverage(ctx, n, clock, from.UnixMilli(), to.UnixMilli(), step.Milliseconds(), horizon(notBefore))
	if err != nil {
		return nil, err
	}
	out := make([]Stretch, len(found))
	for i, f := range found {
		out[i] = Stretch{Start: time.UnixMilli(f.Start).UTC(), End: time.UnixMilli(f.End).UTC(), Fragments: f.Fragments, Bytes: f.Bytes}
	}
	return out, nil
}
