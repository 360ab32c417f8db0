package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/sluicevideo/sluice"
)

// File is a file's row.
type File struct {
	Stream    sluice.StreamID
	StreamN   int64
	File      uint64
	State     int
	First     int64 // sequence; -1 when no row names anything in it
	Last      int64
	Size      int64
	Fragments int
	Bytes     uint64
	NewestMs  int64
}

const fileColumns = `s.id, f.stream, f.n, f.state, COALESCE(f.first, -1), COALESCE(f.last, -1), f.size, f.fragments, f.bytes, f.newest`

// Files gives rows of files: where is a condition on f (store_file) and s
// (store_stream), with an order and a limit of its own.
func (x *Index) files(ctx context.Context, where string, args ...any) ([]File, error) {
	rows, err := x.db.View().QueryContext(ctx, `SELECT `+fileColumns+` FROM store_file f JOIN store_stream s ON s.n = f.stream `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("index: files: %w", err)
	}
	defer rows.Close()
	var out []File
	for rows.Next() {
		var f File
		var id string
		var number, bytes int64
		if err := rows.Scan(&id, &f.StreamN, &number, &f.State, &f.First, &f.Last, &f.Size, &f.Fragments, &bytes, &f.NewestMs); err != nil {
			return nil, fmt.Errorf("index: files: %w", err)
		}
		f.Stream, f.File, f.Bytes = sluice.StreamID(id), uint64(number), uint64(bytes)
		out = append(out, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("index: files: %w", err)
	}
	return out, nil
}

// Files gives up to limit files above the number after, in number order.
func (x *Index) Files(ctx context.Context, after uint64, limit int) ([]File, error) {
	return x.files(ctx, `WHERE f.n > ? ORDER BY f.n LIMIT ?`, int64(after), limit)
}

// StreamFiles gives up to limit of a stream's files above the number after.
func (x *Index) StreamFiles(ctx context.Context, stream int64, after uint64, limit int) ([]File, error) {
	return x.files(ctx, `WHERE f.stream = ? AND f.n > ? ORDER BY f.n LIMIT ?`, stream, int64(after), limit)
}

// Unfinished gives the files that are not closed: what an earlier process left
// open or half deleted, when called before this one makes any.
func (x *Index) Unfinished(ctx context.Context) ([]File, error) {
	return x.files(ctx, `WHERE f.state <> 2 ORDER BY f.n`)
}

// StreamUnfinished is Unfinished for one stream.
func (x *Index) StreamUnfinished(ctx context.Context, stream int64) ([]File, error) {
	return x.files(ctx, `WHERE f.state <> 2 AND f.stream = ? ORDER BY f.n`, stream)
}

// Expired gives up to limit closed files of the stream whose fragments all lie
// before the horizon (server timestamp, ms), the longest expired first.
func (x *Index) Expired(ctx context.Context, stream int64, horizon int64, limit int) ([]File, error) {
	return x.files(ctx, `WHERE f.stream = ? AND f.newest < ? AND f.state = 2 ORDER BY f.newest, f.n LIMIT ?`, stream, clampMs(horizon), limit)
}

// Oldest gives up to limit closed files, of the stream or, with stream 0, of
// all, the longest ended first.
func (x *Index) Oldest(ctx context.Context, stream int64, limit int) ([]File, error) {
	if stream != 0 {
		return x.files(ctx, `WHERE f.stream = ? AND f.state = 2 ORDER BY f.newest, f.n LIMIT ?`, stream, limit)
	}
	return x.files(ctx, `WHERE f.state = 2 ORDER BY f.newest, f.n LIMIT ?`, limit)
}

// Used is the size of all closed files of the stream or, with stream 0, of all.
func (x *Index) Used(ctx context.Context, stream int64) (bytes int64, err error) {
	err = x.db.View().QueryRowContext(ctx, `SELECT COALESCE(SUM(size), 0) FROM store_file WHERE state = 2 AND (?1 = 0 OR stream = ?1)`, stream).Scan(&bytes)
	return bytes, err
}

// CloseAbandoned closes a file that an earlier process left open, with sums made
// from its rows; size is the file's on the disk.
func (x *Index) CloseAbandoned(ctx context.Context, f File, size int64) error {
	err := x.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE store_file SET state = 2, size = ?3,
			(last, fragments, bytes, newest) = (
				SELECT COALESCE(MAX(sequence), -1), COUNT(*), COALESCE(SUM(bytes), 0), COALESCE(MAX(server), 0)
				FROM store_fragment WHERE stream = ?2 AND file = ?1 AND sequence >= ?4 AND sequence <= ?5)
			WHERE n = ?1 AND state = 1`, int64(f.File), f.StreamN, size, f.First, x.before(ctx, tx, f))
		return err
	})
	if err != nil {
		return fmt.Errorf("index: closing file %d: %w", f.File, err)
	}
	return nil
}

// before is the last sequence that can be in the file: a stream fills one file
// after the other, so it is what lies before the next one's first.
func (x *Index) before(ctx context.Context, tx *sql.Tx, f File) int64 {
	var next sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT MIN(first) FROM store_file WHERE stream = ? AND n > ? AND first >= ?`, f.StreamN, int64(f.File), f.First).Scan(&next)
	if err != nil || !next.Valid {
		return math.MaxInt64
	}
	return next.Int64 - 1
}

// Mark says that a file is being deleted. An open one must be nobody's any more.
func (x *Index) Mark(ctx context.Context, f File) error {
	err := x.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE store_file SET state = 3 WHERE n = ?`, int64(f.File))
		return err
	})
	if err != nil {
		return fmt.Errorf("index: file %d: %w", f.File, err)
	}
	return nil
}

// Unname removes up to limit rows of the file's fragments and reports whether
// none is left. The stream's next position is kept.
func (x *Index) Unname(ctx context.Context, f File, limit int) (done bool, err error) {
	if f.First < 0 {
		return true, nil
	}
	err = x.update(ctx, func(tx *sql.Tx) error {
		var last, position sql.NullInt64
		var n int
		row := tx.QueryRowContext(ctx, `SELECT MAX(sequence), MAX(position), COUNT(*) FROM (
			SELECT sequence, position FROM store_fragment WHERE stream = ? AND sequence >= ? AND sequence <= ? AND file = ? ORDER BY sequence LIMIT ?)`,
			f.StreamN, f.First, x.before(ctx, tx, f), int64(f.File), limit)
		if err := row.Scan(&last, &position, &n); err != nil {
			return err
		}
		done = n < limit
		if n == 0 {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM store_fragment WHERE stream = ? AND sequence >= ? AND sequence <= ? AND file = ?`,
			f.StreamN, f.First, last, int64(f.File)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE store_stream SET position = MAX(position, ?) WHERE n = ?`, position.Int64+1, f.StreamN)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("index: file %d: %w", f.File, err)
	}
	return done, nil
}

// Forget removes the row of a file that is gone.
func (x *Index) Forget(ctx context.Context, file uint64) error {
	err := x.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM store_file WHERE n = ?`, int64(file))
		return err
	})
	if err != nil {
		return fmt.Errorf("index: file %d: %w", file, err)
	}
	return nil
}

// Drop says that the stream's rows do not count any more and fences whoever
// appends; ErrNone when the stream is not known.
func (x *Index) Drop(ctx context.Context, id sluice.StreamID) (n int64, err error) {
	err = x.update(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, `SELECT n FROM store_stream WHERE id = ?`, string(id)).Scan(&n); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE store_stream SET gone = 1, epoch = epoch + 1 WHERE n = ?`, n)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNone
	}
	if err != nil {
		return 0, fmt.Errorf("index: dropping stream %s: %w", id, err)
	}
	return n, nil
}

// Dropped removes the row of a stream without files.
func (x *Index) Dropped(ctx context.Context, n int64) error {
	err := x.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM store_stream WHERE n = ? AND gone = 1
			AND NOT EXISTS (SELECT 1 FROM store_file WHERE stream = ?1)`, n)
		return err
	})
	if err != nil {
		return fmt.Errorf("index: stream %d: %w", n, err)
	}
	return nil
}

// Meta reads a number kept under a name; 0 when there is none.
func (x *Index) Meta(ctx context.Context, key string) (v int64, err error) {
	err = x.db.View().QueryRowContext(ctx, `SELECT value FROM store_meta WHERE key = ?`, key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return v, err
}

// SetMeta keeps a number under a name, durably.
func (x *Index) SetMeta(ctx context.Context, key string, v int64) error {
	return x.SetMetas(ctx, map[string]int64{key: v})
}

// SetMetas is SetMeta for several at once: all or none.
func (x *Index) SetMetas(ctx context.Context, values map[string]int64) error {
	return x.update(ctx, func(tx *sql.Tx) error {
		for key, v := range values {
			if _, err := tx.ExecContext(ctx, `INSERT INTO store_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Newest is the latest server timestamp of all rows, in ms; 0 when there are
// none.
func (x *Index) Newest(ctx context.Context) (ms int64, err error) {
	err = x.db.View().QueryRowContext(ctx, `SELECT COALESCE(MAX((SELECT MAX(server) FROM store_fragment f WHERE f.stream = s.n)), 0) FROM store_stream s WHERE s.gone = 0`).Scan(&ms)
	return ms, err
}
