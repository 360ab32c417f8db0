package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// ErrNone says that there is no such row.
var ErrNone = errors.New("no such fragment")

// ErrFenced says that another process, or a later opening by this one, has
// taken the stream.
var ErrFenced = errors.New("the stream was taken by another owner")

// Row is a durable fragment.
type Row struct {
	Number     sluice.FragmentNumber // its server timestamp is the fragment's
	ProducerMs int64
	LengthMs   uint32
	Bytes      uint32
	Tracks     uint32
	Header     uint32 // as the record has it
	Position   uint64
	File       uint64
	Offset     int64
	Sealed     int64
}

// Index is the rows in one database.
type Index struct {
	db *db.DB
	// Prepared once: the commit path compiles no SQL.
	insert, openFile, closeFile, lengthen *sql.Stmt
}

// Open brings the tables up to date and prepares what commits use.
func Open(ctx context.Context, d *db.DB) (*Index, error) {
	if _, err := d.Migrate(ctx, "store", steps); err != nil {
		return nil, err
	}
	x := &Index{db: d}
	for _, s := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&x.insert, `INSERT INTO store_fragment
			(stream, sequence, low, server, producer, length, bytes, tracks, position, file, block, sealed, header)
			SELECT n, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14 FROM store_stream WHERE n = ?1 AND epoch = ?2 AND gone = 0`},
		{&x.openFile, `UPDATE store_file SET state = 1, first = ? WHERE n = ? AND state = 0`},
		{&x.closeFile, `UPDATE store_file SET state = 2, last = ?, size = ?, fragments = ?, bytes = ?, newest = ? WHERE n = ? AND state = 1`},
		{&x.lengthen, `UPDATE store_stream SET longest = MAX(longest, ?) WHERE n = ?`},
	} {
		var err error
		if *s.to, err = d.Writer().PrepareContext(ctx, s.text); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
	}
	return x, nil
}

// OpenReadOnly reads the tables as they are, in a database that may belong to a
// running server. Only reading methods work.
func OpenReadOnly(ctx context.Context, d *db.DB) (*Index, error) {
	var step int
	err := d.View().QueryRowContext(ctx, `SELECT COALESCE(MAX(step), 0) FROM migrations WHERE component = 'store'`).Scan(&step)
	if err == nil && step != len(steps) {
		err = fmt.Errorf("its tables are at step %d, this program reads step %d", step, len(steps))
	}
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", d.Path(), err)
	}
	return &Index{db: d}, nil
}

// Close lets go of what Open prepared; the database is its owner's.
func (x *Index) Close() error {
	if x.insert == nil {
		return nil
	}
	return errors.Join(x.insert.Close(), x.openFile.Close(), x.closeFile.Close(), x.lengthen.Close())
}

// update runs a write transaction that, once begun, is not cancelled: they are all
// short, and cancelling one costs the writer's connection.
func (x *Index) update(ctx context.Context, fn func(*sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return x.db.Update(context.WithoutCancel(ctx), fn)
}

// Stream is what the index knows of a stream.
type Stream struct {
	N       int64 // stands for the stream in rows
	Epoch   uint64
	Next    uint64 // position of the next fragment
	Longest uint32 // no fragment is longer, ms
	Last    Row    // the newest fragment; Last.Number is zero when there is none
}

// Take makes a new epoch for the stream, at least now and above all before it.
func (x *Index) Take(ctx context.Context, id sluice.StreamID, now uint64) (Stream, error) {
	var s Stream
	err := x.update(ctx, func(tx *sql.Tx) error {
		s = Stream{}
		if _, err := tx.ExecContext(ctx, `INSERT INTO store_stream (id) VALUES (?) ON CONFLICT (id) DO NOTHING`, string(id)); err != nil {
			return err
		}
		var gone bool
		var epoch, position int64
		row := tx.QueryRowContext(ctx, `SELECT n, epoch, position, longest, gone FROM store_stream WHERE id = ?`, string(id))
		if err := row.Scan(&s.N, &epoch, &position, &s.Longest, &gone); err != nil {
			return err
		}
		if gone {
			return fmt.Errorf("stream %s is being dropped: %w", id, ErrFenced)
		}
		s.Epoch, s.Next = max(uint64(epoch)+1, now), uint64(position)
		if _, err := tx.ExecContext(ctx, `UPDATE store_stream SET epoch = ? WHERE n = ?`, int64(s.Epoch), s.N); err != nil {
			return err
		}
		last, err := scanRow(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM store_fragment WHERE stream = ? ORDER BY sequence DESC LIMIT 1`, s.N))
		if errors.Is(err, ErrNone) {
			return nil
		}
		s.Last, s.Next = last, max(s.Next, last.Position+1)
		return err
	})
	if err != nil {
		return Stream{}, fmt.Errorf("index: taking stream %s: %w", id, err)
	}
	return s, nil
}

// Find gives the stream's number in rows, or ErrNone.
func (x *Index) Find(ctx context.Context, id sluice.StreamID) (n int64, err error) {
	err = x.db.View().QueryRowContext(ctx, `SELECT n FROM store_stream WHERE id = ? AND gone = 0`, string(id)).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNone
	}
	return n, err
}

// NewFiles makes an empty file's row for each stream number, durably, and gives
// the files' numbers. The row comes before the file, so that after a crash every
// file is known.
func (x *Index) NewFiles(ctx context.Context, streams []int64) (files []uint64, err error) {
	err = x.update(ctx, func(tx *sql.Tx) error {
		files = files[:0]
		var next int64
		row := tx.QueryRowContext(ctx, `INSERT INTO store_meta (key, value) VALUES ('files', ?1)
			ON CONFLICT (key) DO UPDATE SET value = value + ?1 RETURNING value`, len(streams))
		if err := row.Scan(&next); err != nil {
			return err
		}
		next -= int64(len(streams)) - 1
		for i, s := range streams {
			if _, err := tx.ExecContext(ctx, `INSERT INTO store_file (n, stream, state) VALUES (?, ?, 0)`, next+int64(i), s); err != nil {
				return err
			}
			files = append(files, uint64(next)+uint64(i))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("index: new files: %w", err)
	}
	return files, nil
}

// Insert is one row of a commit.
type Insert struct {
	Stream int64
	Epoch  uint64
	Row    Row
	First  bool   // the file's first
	Longer uint32 // not 0: the stream's longest becomes at least this, ms
	Err    error  // set by Commit: ErrFenced
}

// Closing is the sums of a file that takes no more.
type Closing struct {
	File      uint64
	Last      sluice.Sequence
	Size      int64
	Fragments int
	Bytes     uint64
	NewestMs  int64
}

// Commit makes the rows exist, all that are not fenced, in one transaction that
// is durable when Commit returns nil; on an error none exists. Rows of one stream
// follow each other, and after a fenced one its stream's others are fenced too.
func (x *Index) Commit(ctx context.Context, rows []*Insert, closing []Closing) error {
	err := x.update(ctx, func(tx *sql.Tx) error {
		insert, openFile := tx.StmtContext(ctx, x.insert), tx.StmtContext(ctx, x.openFile)
		for _, r := range rows {
			r.Err = nil
			n := r.Row.Number
			res, err := insert.ExecContext(ctx, r.Stream, int64(r.Epoch),
				int64(n.Sequence()), int64(n.Low()), int64(n.ServerTimestamp()), r.Row.ProducerMs,
				int64(r.Row.LengthMs), int64(r.Row.Bytes), int64(r.Row.Tracks), int64(r.Row.Position),
				int64(r.Row.File), r.Row.Offset/segment.BlockSize, r.Row.Sealed, int64(r.Row.Header))
			if err != nil {
				return err
			}
			if put, err := res.RowsAffected(); err != nil {
				return err
			} else if put == 0 {
				r.Err = ErrFenced
				continue
			}
			if r.First {
				if _, err := openFile.ExecContext(ctx, int64(n.Sequence()), int64(r.Row.File)); err != nil {
					return err
				}
			}
			if r.Longer > 0 {
				if _, err := tx.StmtContext(ctx, x.lengthen).ExecContext(ctx, int64(r.Longer), r.Stream); err != nil {
					return err
				}
			}
		}
		for _, c := range closing {
			_, err := tx.StmtContext(ctx, x.closeFile).ExecContext(ctx, int64(c.Last), c.Size, c.Fragments, int64(c.Bytes), c.NewestMs, int64(c.File))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index: commit: %w", err)
	}
	return nil
}

const columns = `sequence, low, server, producer, length, bytes, tracks, position, file, block, sealed, header`

type scanner interface{ Scan(...any) error }

func scanRow(s scanner) (Row, error) {
	var sequence, low, server, position, file, block int64
	var r Row
	err := s.Scan(&sequence, &low, &server, &r.ProducerMs, &r.LengthMs, &r.Bytes, &r.Tracks, &position, &file, &block, &r.Sealed, &r.Header)
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, ErrNone
	}
	if err != nil {
		return Row{}, fmt.Errorf("index: %w", err)
	}
	r.Number = sluice.MakeFragmentNumber(sluice.Sequence(sequence), uint64(server), uint32(low))
	r.Position, r.File, r.Offset = uint64(position), uint64(file), block*segment.BlockSize
	return r, nil
}

// serverMs is the fragment's server timestamp as rows hold it.
func (r Row) serverMs() int64 { return int64(r.Number.ServerTimestamp()) }

// clampMs is a time in ms that fits a row, so that no arithmetic overflows.
func clampMs(ms int64) int64 { return min(max(ms, math.MinInt64/4), math.MaxInt64/4) }
