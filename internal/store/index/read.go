package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/sluicevideo/sluice"
)

// Get gives the row of that number. What lies before the horizon (server
// timestamp, ms) is not there.
func (x *Index) Get(ctx context.Context, stream int64, n sluice.FragmentNumber, horizon int64) (Row, error) {
	r, err := scanRow(x.db.View().QueryRowContext(ctx, `SELECT `+columns+` FROM store_fragment WHERE stream = ? AND sequence = ?`,
		stream, int64(n.Sequence())))
	if err == nil && (r.Number != n || r.serverMs() < horizon) {
		return Row{}, ErrNone
	}
	return r, err
}

// firstAbove gives the sequence of the position n, and whether a fragment of
// that very sequence may lie above n; the ones of larger sequences do.
func firstAbove(n sluice.FragmentNumber) (sequence int64, equal bool) {
	if n.Compare(sluice.MakeFragmentNumber(math.MaxInt64, math.MaxUint64, math.MaxUint32)) > 0 {
		return math.MaxInt64, false
	}
	if n.Compare(sluice.MakeFragmentNumber(0, 0, 0)) < 0 {
		return 0, false
	}
	return int64(n.Sequence()), true
}

// After gives the first row above the position n and not before the horizon.
func (x *Index) After(ctx context.Context, stream int64, n sluice.FragmentNumber, horizon int64) (Row, error) {
	from, equal := firstAbove(n)
	if equal {
		// A position may have the sequence of a fragment and other low bits.
		r, err := x.afterSequence(ctx, stream, from-1, from, horizon)
		if err == nil && r.Number.Compare(n) > 0 {
			return r, nil
		}
		if err != nil && !errors.Is(err, ErrNone) {
			return Row{}, err
		}
	} else {
		from--
	}
	if from == math.MaxInt64 {
		return Row{}, ErrNone
	}
	r, err := x.afterSequence(ctx, stream, from, from+64, horizon)
	if !errors.Is(err, ErrNone) {
		return r, err
	}
	// Nothing near: pass over files that the horizon has left behind as a whole
	// instead of over their rows.
	if skip, err := x.skip(ctx, stream, from, horizon); err != nil {
		return Row{}, err
	} else if skip > from {
		from = skip - 1
	}
	return x.afterSequence(ctx, stream, from, math.MaxInt64, horizon)
}

func (x *Index) afterSequence(ctx context.Context, stream, from, to, horizon int64) (Row, error) {
	return scanRow(x.db.View().QueryRowContext(ctx, `SELECT `+columns+` FROM store_fragment
		WHERE stream = ? AND sequence > ? AND sequence <= ? AND server >= ? ORDER BY sequence LIMIT 1`, stream, from, to, horizon))
}

// skip gives a sequence at or after from below which nothing is inside the
// horizon, or from.
func (x *Index) skip(ctx context.Context, stream, from, horizon int64) (int64, error) {
	var first sql.NullInt64
	err := x.db.View().QueryRowContext(ctx, `SELECT MIN(first) FROM store_file WHERE stream = ? AND newest >= ?`, stream, horizon).Scan(&first)
	if err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	if !first.Valid {
		return from, nil
	}
	return max(from, first.Int64), nil
}

// clockColumn is the column, and the index on it, of a clock.
func clockColumn(c sluice.Clock) (column, by string) {
	if c == sluice.ProducerClock {
		return "producer", "store_fragment_producer"
	}
	return "server", "store_fragment_server"
}

// AtTime is GetMedia's choice: the newest-numbered fragment that contains t
// (start ≤ t ≤ end), else the first that starts later (of equal starts, the
// smallest number), else ErrNone. longest is the stream's.
func (x *Index) AtTime(ctx context.Context, stream int64, c sluice.Clock, t, longest, horizon int64) (Row, error) {
	t = clampMs(t)
	column, by := clockColumn(c)
	// One start time after the other, going back; of fragments that start
	// together the largest number that is long enough. Cameras give each fragment
	// its own start, so this looks at a handful of rows; one that repeats a start
	// a million times still costs a few rows a start.
	query := `SELECT ` + columns + ` FROM store_fragment INDEXED BY ` + by + `
		WHERE stream = ?1 AND ` + column + ` <= ?2 AND ` + column + ` >= ?3 AND server >= ?4
		ORDER BY ` + column + ` DESC, sequence DESC`
	var best Row
	found := false
	for upTo, more := t, true; more; {
		more = false
		rows, err := x.db.View().QueryContext(ctx, query, stream, upTo, t-longest, horizon)
		if err != nil {
			return Row{}, fmt.Errorf("index: %w", err)
		}
		for looked := 0; rows.Next(); looked++ {
			r, err := scanRow(rows)
			if err != nil {
				rows.Close()
				return Row{}, err
			}
			start := r.Start(c)
			if start > upTo { // of a start that is settled
				if looked > 64 {
					more = true // there are many of it: ask again below it
					break
				}
				continue
			}
			if start+int64(r.LengthMs) >= t {
				if !found || r.Number.Compare(best.Number) > 0 {
					best, found = r, true
				}
				upTo = start - 1 // others of this start have smaller numbers
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return Row{}, fmt.Errorf("index: %w", err)
		}
	}
	if found {
		return best, nil
	}
	return scanRow(x.db.View().QueryRowContext(ctx, `SELECT `+columns+` FROM store_fragment INDEXED BY `+by+`
		WHERE stream = ? AND `+column+` >= ? AND server >= ? ORDER BY `+column+`, sequence LIMIT 1`, stream, t, horizon))
}

// Start is when the fragment begins by that clock, ms.
func (r Row) Start(c sluice.Clock) int64 {
	if c == sluice.ProducerClock {
		return r.ProducerMs
	}
	return r.serverMs()
}

// Range is a part of a stream's rows. Times are ms.
type Range struct {
	Clock    sluice.Clock
	From, To int64 // starts from From to To, both included
	EndFrom  int64 // and ends at EndFrom or later
	Horizon  int64 // server timestamps from here
	// ByNumber orders by number instead of by start and number.
	ByNumber bool
	// Rows after this place in the order; AfterStart is not looked at with ByNumber.
	AfterStart    int64
	AfterSequence int64 // -1: from the beginning
	Limit         int
}

// All is the range of everything.
func All() Range {
	return Range{From: math.MinInt64 / 4, To: math.MaxInt64 / 4, EndFrom: math.MinInt64 / 4, AfterStart: math.MinInt64 / 2, AfterSequence: -1}
}

// List appends up to q.Limit rows to out, in order.
func (x *Index) List(ctx context.Context, stream int64, q Range, out []Row) ([]Row, error) {
	column, by := clockColumn(q.Clock)
	from, to := clampMs(q.From), clampMs(q.To)
	if q.Clock == sluice.ServerClock {
		from = max(from, q.Horizon)
	}
	var query string
	args := []any{stream, from, to, q.Horizon, clampMs(q.EndFrom), q.AfterSequence, q.Limit}
	if q.ByNumber {
		query = `SELECT ` + columns + ` FROM store_fragment
			WHERE stream = ?1 AND sequence > ?6 AND ` + column + ` >= ?2 AND ` + column + ` <= ?3
			AND server >= ?4 AND ` + column + ` + length >= ?5 ORDER BY sequence LIMIT ?7`
	} else {
		query = `SELECT ` + columns + ` FROM store_fragment INDEXED BY ` + by + `
			WHERE stream = ?1 AND ` + column + ` >= ?2 AND ` + column + ` <= ?3
			AND (` + column + `, sequence) > (?8, ?6)
			AND server >= ?4 AND ` + column + ` + length >= ?5 ORDER BY ` + column + `, sequence LIMIT ?7`
		args = append(args, q.AfterStart)
	}
	rows, err := x.db.View().QueryContext(ctx, query, args...)
	if err != nil {
		return out, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanRow(rows)
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return out, fmt.Errorf("index: %w", err)
	}
	return out, nil
}

// spanBytes adds up a stream. Closed files have sums; the rows of the few that are
// open are added up. CROSS keeps SQLite from beginning with the rows of all files,
// which takes seconds for a million.
const spanBytes = `SELECT
	COALESCE((SELECT SUM(bytes) FROM store_file WHERE stream = ?1 AND state = 2), 0) +
	COALESCE((SELECT SUM(g.bytes) FROM store_file f CROSS JOIN store_fragment g ON g.stream = ?1 AND g.sequence >= f.first AND g.file = f.n
		WHERE f.stream = ?1 AND f.state = 1 AND f.newest = 9223372036854775807), 0)`

// Span gives the stream's oldest and newest row, or ErrNone.
func (x *Index) Span(ctx context.Context, stream int64) (first, last Row, bytes uint64, err error) {
	v := x.db.View()
	first, err = scanRow(v.QueryRowContext(ctx, `SELECT `+columns+` FROM store_fragment WHERE stream = ? ORDER BY sequence LIMIT 1`, stream))
	if err != nil {
		return Row{}, Row{}, 0, err
	}
	last, err = scanRow(v.QueryRowContext(ctx, `SELECT `+columns+` FROM store_fragment WHERE stream = ? ORDER BY sequence DESC LIMIT 1`, stream))
	if err != nil {
		return Row{}, Row{}, 0, err
	}
	var sum int64
	err = v.QueryRowContext(ctx, spanBytes, stream).Scan(&sum)
	if err != nil {
		return Row{}, Row{}, 0, fmt.Errorf("index: %w", err)
	}
	return first, last, uint64(sum), nil
}

// Longest bounds the length of the stream's fragments, ms.
func (x *Index) Longest(ctx context.Context, stream int64) (ms int64, err error) {
	err = x.db.View().QueryRowContext(ctx, `SELECT longest FROM store_stream WHERE n = ?`, stream).Scan(&ms)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNone
	}
	return ms, err
}

// Position is the sequence of a position for Range.AfterSequence.
func Position(n sluice.FragmentNumber) int64 {
	s, _ := firstAbove(n)
	return s
}
