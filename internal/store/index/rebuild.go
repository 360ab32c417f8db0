package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// Rebuilt is a file and what is in it, for an index made from files.
type Rebuilt struct {
	Stream sluice.StreamID
	File   uint64
	Size   int64
	Rows   []Row // in number order; positions are as the records say
	Epoch  uint64
}

// Rebuild adds a file's rows to an index that is being made anew. Files of a
// stream come in the order of their numbers. Positions are kept where they
// follow each other, and moved up where records that were never acknowledged
// have taken them twice; rows that are there already are passed over.
func (x *Index) Rebuild(ctx context.Context, f Rebuilt) (added int, err error) {
	err = x.update(ctx, func(tx *sql.Tx) error {
		added = 0
		if _, err := tx.ExecContext(ctx, `INSERT INTO store_stream (id) VALUES (?) ON CONFLICT (id) DO NOTHING`, string(f.Stream)); err != nil {
			return err
		}
		var n, next int64
		if err := tx.QueryRowContext(ctx, `SELECT n, position FROM store_stream WHERE id = ?`, string(f.Stream)).Scan(&n, &next); err != nil {
			return err
		}
		insert, err := tx.PrepareContext(ctx, `INSERT INTO store_fragment
			(stream, sequence, low, server, producer, length, bytes, tracks, position, file, block, sealed, header)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
		if err != nil {
			return err
		}
		defer insert.Close()
		var longest, newest, bytes int64
		for _, r := range f.Rows {
			position := max(next, int64(r.Position))
			res, err := insert.ExecContext(ctx, n, int64(r.Number.Sequence()), int64(r.Number.Low()), r.serverMs(), r.ProducerMs,
				int64(r.LengthMs), int64(r.Bytes), int64(r.Tracks), position, int64(f.File), r.Offset/segment.BlockSize, r.Sealed, int64(r.Header))
			if err != nil {
				return err
			}
			if put, err := res.RowsAffected(); err != nil || put == 0 {
				if err != nil {
					return err
				}
				continue
			}
			added++
			next = position + 1
			longest, newest, bytes = max(longest, int64(r.LengthMs)), max(newest, r.serverMs()), bytes+int64(r.Bytes)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE store_stream SET position = ?, longest = MAX(longest, ?), epoch = MAX(epoch, ?) WHERE n = ?`,
			next, longest, int64(f.Epoch), n); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO store_meta (key, value) VALUES ('files', ?1)
			ON CONFLICT (key) DO UPDATE SET value = MAX(value, ?1)`, int64(f.File)); err != nil {
			return err
		}
		if added == 0 {
			return nil
		}
		first, last := f.Rows[0].Number.Sequence(), f.Rows[len(f.Rows)-1].Number.Sequence()
		_, err = tx.ExecContext(ctx, `INSERT INTO store_file (n, stream, state, first, last, size, fragments, bytes, newest)
			VALUES (?, ?, 2, ?, ?, ?, ?, ?, ?)`, int64(f.File), n, int64(first), int64(last), f.Size, added, bytes, newest)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("index: rows of file %d: %w", f.File, err)
	}
	return added, nil
}

// Reserve keeps file numbers up to n from being given out.
func (x *Index) Reserve(ctx context.Context, n uint64) error {
	return x.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO store_meta (key, value) VALUES ('files', ?1)
			ON CONFLICT (key) DO UPDATE SET value = MAX(value, ?1)`, int64(n))
		return err
	})
}

// Rows gives the rows of a file in number order.
func (x *Index) Rows(ctx context.Context, f File) ([]Row, error) {
	if f.First < 0 {
		return nil, nil
	}
	rows, err := x.db.View().QueryContext(ctx, `SELECT `+columns+` FROM store_fragment WHERE stream = ?1 AND sequence >= ?2 AND file = ?3
		AND sequence < COALESCE((SELECT MIN(first) FROM store_file WHERE stream = ?1 AND n > ?3 AND first >= ?2), 9223372036854775807)
		ORDER BY sequence`, f.StreamN, f.First, int64(f.File))
	if err != nil {
		return nil, fmt.Errorf("index: rows of file %d: %w", f.File, err)
	}
	defer rows.Close()
	var out []Row
	for rows.Next() {
		r, err := scanRow(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// File gives a file's row, or ErrNone.
func (x *Index) File(ctx context.Context, n uint64) (File, error) {
	files, err := x.files(ctx, `WHERE f.n = ?`, int64(n))
	if err != nil {
		return File{}, err
	}
	if len(files) == 0 {
		return File{}, ErrNone
	}
	return files[0], nil
}

// Homeless counts rows of fragments whose file has no row: there are none in a
// sound index.
func (x *Index) Homeless(ctx context.Context) (n int64, err error) {
	err = x.db.View().QueryRowContext(ctx, `SELECT COUNT(*) FROM store_fragment WHERE file NOT IN (SELECT n FROM store_file)`).Scan(&n)
	return n, err
}

// Unlist removes the rows of fragments whose records are lost, so that nothing
// names them any more.
func (x *Index) Unlist(ctx context.Context, stream int64, lost []sluice.FragmentNumber) error {
	return x.update(ctx, func(tx *sql.Tx) error {
		for _, n := range lost {
			var position int64
			err := tx.QueryRowContext(ctx, `DELETE FROM store_fragment WHERE stream = ? AND sequence = ? RETURNING position`,
				stream, int64(n.Sequence())).Scan(&position)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `UPDATE store_stream SET position = MAX(position, ?) WHERE n = ?`, position+1, stream); err != nil {
				return err
			}
		}
		return nil
	})
}
