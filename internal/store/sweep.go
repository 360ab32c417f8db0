package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/index"
)

// unnameStep is how many rows one transaction removes: the committer waits for
// it at most a few milliseconds.
const unnameStep = 256

// later has a job done off the commit path, one after the other. Jobs that are
// left when the store closes are not lost: what they do is in the index, and the
// next opening finds it.
func (s *Store) later(job func()) {
	s.mu.Lock()
	s.jobs = append(s.jobs, job)
	s.mu.Unlock()
	select {
	case s.job <- struct{}{}:
	default:
	}
}

func (s *Store) work() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.job:
		}
		for s.ctx.Err() == nil {
			s.mu.Lock()
			var job func()
			if len(s.jobs) > 0 {
				job, s.jobs = s.jobs[0], s.jobs[1:]
			}
			s.mu.Unlock()
			if job == nil {
				break
			}
			job()
		}
	}
}

// discard removes, in the background, a file that no row names anything in.
func (s *Store) discard(id disk.FileID) {
	s.later(func() {
		if err := s.remove(s.ctx, index.File{Stream: id.Stream, File: id.Number, First: -1}); err != nil && s.ctx.Err() == nil {
			s.o.Logger.Error("an unused file was not removed", "file", s.volume.Path(id), "error", err)
		}
	})
}

// finish completes what an earlier process left: it closes its open files and
// removes its empty and half-deleted ones.
func (s *Store) finish(left []index.File) {
	for _, f := range left {
		if s.ctx.Err() != nil {
			return
		}
		err := error(nil)
		if f.State == index.FileOpen {
			err = s.closeAbandoned(s.ctx, f)
		} else {
			err = s.remove(s.ctx, f)
		}
		if err != nil && s.ctx.Err() == nil {
			s.o.Logger.Error("a file that an earlier run left was not finished", "stream", f.Stream, "file", f.File, "error", err)
		}
	}
}

func (s *Store) closeAbandoned(ctx context.Context, f index.File) error {
	var size int64
	if fi, err := s.o.FS.Stat(s.volume.Path(disk.FileID{Stream: f.Stream, Number: f.File})); err == nil {
		size = fi.Size()
	}
	return s.index.CloseAbandoned(ctx, f, size)
}

// settle brings the stream's files that nothing is written to any more out of
// the states in between: closed, or gone when their deletion had begun.
func (s *Store) settle(ctx context.Context, n int64, l *lane) error {
	files, err := s.index.StreamUnfinished(ctx, n)
	if err != nil || len(files) == 0 {
		return err
	}
	var growing uint64
	if l != nil {
		// Asked after the index: what is not the lane's file now was left before.
		s.mu.Lock()
		for l.busy {
			s.idle.Wait()
		}
		if l.file != nil {
			growing = l.file.ID.Number
		}
		s.mu.Unlock()
	}
	for _, f := range files {
		switch {
		case f.State == index.FileDeleting:
			err = s.remove(ctx, f)
		case f.State == index.FileOpen && f.File != growing:
			err = s.closeAbandoned(ctx, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a file: marked, its rows removed in steps, unlinked, forgotten.
// After a crash in between, finish goes on with it.
func (s *Store) remove(ctx context.Context, f index.File) error {
	if f.State != index.FileDeleting {
		if err := s.index.Mark(ctx, f); err != nil {
			return err
		}
	}
	for done := false; !done; {
		var err error
		if done, err = s.index.Unname(ctx, f, unnameStep); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := s.volume.Delete(disk.FileID{Stream: f.Stream, Number: f.File}); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return s.index.Forget(ctx, f.File)
}

// leave takes the lane's file off it, when nothing is being written to it and
// the lane is as want says, and closes it in the index.
func (s *Store) leave(l *lane, want func(*lane) bool) error {
	s.mu.Lock()
	for l.busy {
		s.idle.Wait()
	}
	var closing []index.Closing
	var unused []disk.FileID
	var left *disk.File
	if l.file != nil && want(l) {
		f, sums := l.file, l.sums
		l.file, l.sums, left = nil, index.Closing{}, f
		if sums.Fragments == 0 {
			unused = append(unused, f.ID)
		} else {
			sums.File, sums.Size = f.ID.Number, f.End
			closing = append(closing, sums)
		}
		if l.spare != nil {
			unused = append(unused, l.spare.ID)
			l.spare = nil
		}
	}
	s.mu.Unlock()
	if left != nil {
		s.volume.Leave(left)
	}
	for _, id := range unused {
		s.discard(id)
	}
	if len(closing) == 0 {
		return nil
	}
	if err := s.index.Commit(context.WithoutCancel(s.ctx), nil, closing); err != nil {
		s.owe(closing)
		return err
	}
	return nil
}

// Trim removes the stream's files whose fragments all have server timestamps
// before that time, in small steps. A file that still grows is left first when
// all in it is that old.
func (s *Store) Trim(ctx context.Context, id sluice.StreamID, before time.Time) error {
	n, err := s.number(ctx, id)
	if errors.Is(err, ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	l := s.lanes[id]
	s.mu.Unlock()
	if l != nil {
		err := s.leave(l, func(l *lane) bool { return l.sums.Fragments > 0 && l.sums.NewestMs < before.UnixMilli() })
		if err != nil {
			return err
		}
	}
	if err := s.settle(ctx, n, l); err != nil {
		return err
	}
	for {
		files, err := s.index.Expired(ctx, n, before.UnixMilli(), 16)
		if err != nil || len(files) == 0 {
			return err
		}
		for _, f := range files {
			if err := s.remove(ctx, f); err != nil {
				return err
			}
		}
	}
}

// Drop removes all of a stream. From its first moment the stream has no
// fragments and takes none; the files go in small steps, and an interrupted Drop
// is to be called again. A stream that is not known is dropped already.
func (s *Store) Drop(ctx context.Context, id sluice.StreamID) error {
	s.mu.Lock()
	if l := s.lanes[id]; l != nil {
		l.dropped = true
	}
	delete(s.numbers, id)
	s.mu.Unlock()
	n, err := s.index.Drop(ctx, id)
	if errors.Is(err, ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.numbers, id)
	l := s.lanes[id]
	for l != nil && l.making {
		s.idle.Wait()
	}
	s.mu.Unlock()
	if l != nil {
		if err := s.leave(l, func(*lane) bool { return true }); err != nil {
			return err
		}
	}
	for {
		files, err := s.index.StreamFiles(ctx, n, 0, 64)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			break
		}
		for _, f := range files {
			if err := s.remove(ctx, f); err != nil {
				return err
			}
		}
	}
	if err := s.volume.DeleteDir(id); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := s.index.Dropped(ctx, n); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.lanes, id)
	s.mu.Unlock()
	return nil
}

// Capped is what Cap removed.
type Capped struct {
	Files     int
	Fragments int
	Bytes     int64     // on the disk
	Newest    time.Time // server timestamp of the newest fragment removed
}

// Cap removes closed files, the longest ended first, until the stream's files
// (with id "": all files) take at most that many bytes on the disk. What still
// grows is not removed; it is left when it has become a large part of the cap, so
// that little goes at a time.
func (s *Store) Cap(ctx context.Context, id sluice.StreamID, maxBytes int64) (Capped, error) {
	var n int64
	if id != "" {
		var err error
		if n, err = s.number(ctx, id); errors.Is(err, ErrNone) {
			return Capped{}, nil
		} else if err != nil {
			return Capped{}, err
		}
	}
	used, err := s.Used(ctx, id)
	if err != nil {
		return Capped{}, err
	}
	var c Capped
	if err := s.leaveLarge(id, maxBytes/capParts); err != nil {
		return c, err
	}
	for used > maxBytes {
		files, err := s.index.Oldest(ctx, n, 8)
		if err != nil || len(files) == 0 {
			return c, err
		}
		for _, f := range files {
			if used <= maxBytes {
				break
			}
			if err := s.remove(ctx, f); err != nil {
				return c, err
			}
			used -= f.Size
			c.Files++
			c.Fragments += f.Fragments
			c.Bytes += f.Size
			if t := time.UnixMilli(f.NewestMs).UTC(); t.After(c.Newest) {
				c.Newest = t
			}
		}
	}
	return c, nil
}

// capParts is into how many files what lies under a small cap is cut, at least.
const capParts = 8

// leaveLarge leaves the files (with id "": of all streams) that are longer than
// that many bytes.
func (s *Store) leaveLarge(id sluice.StreamID, size int64) error {
	var lanes []*lane
	s.mu.Lock()
	for _, l := range s.lanes {
		if l.file != nil && (id == "" || l.id == id) && l.sums.Size > size {
			lanes = append(lanes, l)
		}
	}
	s.mu.Unlock()
	for _, l := range lanes {
		if err := s.leave(l, func(l *lane) bool { return l.sums.Fragments > 0 }); err != nil {
			return err
		}
	}
	return nil
}

// Used is how many bytes the stream's files (with id "": all files) take on the
// disk.
func (s *Store) Used(ctx context.Context, id sluice.StreamID) (int64, error) {
	var n int64
	if id != "" {
		var err error
		if n, err = s.number(ctx, id); errors.Is(err, ErrNone) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
	}
	used, err := s.index.Used(ctx, n)
	if err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.file != nil && (id == "" || l.id == id) {
			used += l.sums.Size
		}
	}
	return used, nil
}

// checkpoints moves the index's log into its file, off the commit path.
func (s *Store) checkpoints() {
	t := time.NewTicker(s.o.Checkpoint)
	defer t.Stop()
	var resting int64
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		// A little work waits a while: one checkpoint then serves many commits.
		rows := s.rows.Load()
		if rows == 0 || rows < 1000 && resting < 30 {
			resting++
			continue
		}
		resting = 0
		s.rows.Add(-rows)
		if err := s.checkpoint(s.ctx); err != nil && s.ctx.Err() == nil {
			s.o.Logger.Error("moving the index's log into its file", "error", err)
		}
	}
}

// restartFrames is the length of the index's log, in pages, from which it is
// begun anew.
const restartFrames = 8192

func (s *Store) checkpoint(ctx context.Context) error {
	// On a reader's connection: commits go on meanwhile.
	if err := s.o.Index.Checkpoint(ctx); err != nil {
		return err
	}
	// The log is begun anew only by a commit that finds all of it moved, and under
	// steady commits something always is left. So, once it has grown, move the
	// little that came in meanwhile while no commit can run.
	var busy, frames, moved int64
	row := s.o.Index.View().QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`)
	if err := row.Scan(&busy, &frames, &moved); err != nil || frames < restartFrames {
		return err
	}
	_, err := s.o.Index.Writer().ExecContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`)
	return err
}

// isFull reports whether an error says that the disk has no room.
func isFull(err error) bool { return db.IsFull(err) || errors.Is(err, errNoSpace) }
