package index

import (
	"context"
	"errors"

	"github.com/sluicevideo/sluice"
)

// Edge gives the first row that starts at or after t on the clock (forward), or
// the last one that starts at or before it (not forward), or ErrNone. It is one
// step down the clock's index, however many rows there are.
func (x *Index) Edge(ctx context.Context, stream int64, c sluice.Clock, t, horizon int64, forward bool) (Row, error) {
	column, by := clockColumn(c)
	compare, order := " <= ?2", " DESC, sequence DESC"
	if forward {
		compare, order = " >= ?2", ", sequence"
	}
	return scanRow(x.db.View().QueryRowContext(ctx, `SELECT `+columns+` FROM store_fragment INDEXED BY `+by+`
		WHERE stream = ?1 AND `+column+compare+` AND server >= ?3 ORDER BY `+column+order+` LIMIT 1`, stream, clampMs(t), horizon))
}

// Stretch is a stretch of time with fragments, ms.
type Stretch struct {
	Start, End int64
	Fragments  int64
	Bytes      int64 // about: by the sizes at its edges
}

// Coverage gives where the range has fragments, in steps: within a step only its
// edges are looked at, so gaps shorter than a step may not show, and the cost
// depends on the number of steps and not of fragments. Fragments are counted by
// their positions, which is exact on the server's clock and about right on the
// producer's.
func (x *Index) Coverage(ctx context.Context, stream int64, c sluice.Clock, from, to, step, horizon int64) ([]Stretch, error) {
	var out []Stretch
	step = max(step, 1)
	for at := from; at <= to; {
		first, err := x.Edge(ctx, stream, c, at, horizon, true)
		if errors.Is(err, ErrNone) || err == nil && first.Start(c) > to {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		// The step that the row lies in; empty ones are passed over.
		begin := from + (first.Start(c)-from)/step*step
		end := min(begin+step-1, to)
		last, err := x.Edge(ctx, stream, c, end, horizon, false)
		if errors.Is(err, ErrNone) { // trimmed between the two looks
			at = end + 1
			continue
		}
		if err != nil {
			return nil, err
		}
		s := Stretch{Start: first.Start(c), End: last.Start(c) + int64(last.LengthMs)}
		s.Fragments = max(1, int64(last.Position)-int64(first.Position)+1)
		s.Bytes = s.Fragments * (int64(first.Bytes) + int64(last.Bytes)) / 2
		// A fragment's length leaves out its last frame, so neighbours never
		// quite touch: half a second, or a step, is no gap.
		if n := len(out); n > 0 && s.Start-out[n-1].End <= max(500, step) {
			out[n-1].End = max(out[n-1].End, s.End)
			out[n-1].Fragments += s.Fragments
			out[n-1].Bytes += s.Bytes
		} else {
			out = append(out, s)
		}
		at = end + 1
	}
	return out, nil
}
