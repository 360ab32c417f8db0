package index

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluicevideo/sluice"
)

// Stretch is a stretch of time with fragments, ms.
type Stretch struct {
	Start, End int64
	Fragments  int64
	Bytes      int64 // about: by the sizes at its edges
}

// coverage has a row for each step of the range in which a fragment begins: time,
// position and size of the first and the last of them. It hops from step to step
// inside SQLite: thousands of statements would take ten times as long. The places
// are ?1 stream, ?2 from, ?3 to, ?4 step, ?5 horizon.
const coverage = `WITH RECURSIVE hop(t) AS (
	SELECT (SELECT COLUMN FROM store_fragment INDEXED BY store_fragment_COLUMN WHERE stream = ?1 AND COLUMN >= ?2 AND server >= ?5 ORDER BY COLUMN LIMIT 1)
	UNION ALL
	SELECT (SELECT COLUMN FROM store_fragment INDEXED BY store_fragment_COLUMN
		WHERE stream = ?1 AND COLUMN >= ?2 + ((t - ?2) / ?4 + 1) * ?4 AND server >= ?5 ORDER BY COLUMN LIMIT 1)
	FROM hop WHERE t <= ?3
)
SELECT t, f.position, f.bytes, l.COLUMN, l.length, l.position, l.bytes FROM hop
	CROSS JOIN store_fragment f ON f.stream = ?1 AND f.sequence = (
		SELECT sequence FROM store_fragment INDEXED BY store_fragment_COLUMN
		WHERE stream = ?1 AND COLUMN = t AND server >= ?5 ORDER BY sequence LIMIT 1)
	CROSS JOIN store_fragment l ON l.stream = ?1 AND l.sequence = (
		SELECT sequence FROM store_fragment INDEXED BY store_fragment_COLUMN
		WHERE stream = ?1 AND COLUMN <= MIN(?2 + ((t - ?2) / ?4 + 1) * ?4 - 1, ?3) AND server >= ?5 ORDER BY COLUMN DESC, sequence DESC LIMIT 1)
WHERE t <= ?3`

// Coverage gives where the range has fragments, in steps: within a step only its
// edges are looked at, so gaps shorter than a step may not show, and the cost
// depends on the number of steps and not of fragments. Fragments are counted by
// their positions, which is exact on the server's clock and about right on the
// producer's.
func (x *Index) Coverage(ctx context.Context, stream int64, c sluice.Clock, from, to, step, horizon int64) ([]Stretch, error) {
	from, to, step, horizon = clampMs(from), clampMs(to), max(step, 1), clampMs(horizon)
	if c == sluice.ServerClock && horizon > from {
		// What lies before the horizon is passed over at once. The steps stay
		// where they are.
		from += (horizon - from) / step * step
	}
	column, _ := clockColumn(c)
	rows, err := x.db.View().QueryContext(ctx, strings.ReplaceAll(coverage, "COLUMN", column), stream, from, to, step, horizon)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	var out []Stretch
	for rows.Next() {
		var start, end, firstPosition, firstBytes, length, lastPosition, lastBytes int64
		if err := rows.Scan(&start, &firstPosition, &firstBytes, &end, &length, &lastPosition, &lastBytes); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		s := Stretch{Start: start, End: end + length}
		s.Fragments = max(1, lastPosition-firstPosition+1)
		s.Bytes = s.Fragments * (firstBytes + lastBytes) / 2
		// A fragment's length leaves out its last frame, so neighbours never
		// quite touch: half a second, or a step, is no gap.
		if n := len(out); n > 0 && s.Start-out[n-1].End <= max(500, step) {
			out[n-1].End = max(out[n-1].End, s.End)
			out[n-1].Fragments += s.Fragments
			out[n-1].Bytes += s.Bytes
		} else {
			out = append(out, s)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return out, nil
}
