package disk

import (
	"errors"
	"fmt"
	"sync"

	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// Write is one record of a batch, and what became of it.
type Write struct {
	File   *File
	Header segment.Header // Sums are set; File is set by Commit
	Sealed [][]byte

	Offset int64 // set by Commit: where the record begins
	Err    error // set by Commit: nil means durable
}

// Commit writes a batch and makes it durable: each write without Err survives a
// power cut when Commit returns. A failure is one of all the batch's writes to
// that file, and the file takes no more.
func (v *Volume) Commit(batch []*Write) {
	groups := make([][]*Write, 0, 16)
	at := make(map[*File]int, 16)
	for _, w := range batch {
		i, ok := at[w.File]
		if !ok {
			i = len(groups)
			at[w.File] = i
			groups = append(groups, nil)
		}
		w.Offset = w.File.End
		w.Header.File = w.File.ID.Number
		w.File.End += segment.RecordSize(w.Header.Sealed)
		if w.File.Fragments++; w.File.Fragments == 1 {
			w.File.started = v.o.Now()
		}
		groups[i] = append(groups[i], w)
	}
	v.mu.Lock()
	together := len(groups) > v.o.SideBySide && !v.noSync
	v.mu.Unlock()

	v.each(groups, func(g []*Write) error {
		return v.write(g, !together)
	})
	if !together {
		return
	}
	err := v.root.SyncFS()
	if errors.Is(err, fsys.ErrUnsupported) {
		v.mu.Lock()
		v.noSync = true
		v.mu.Unlock()
		v.each(groups, v.sync)
		return
	}
	v.each(groups, func(g []*Write) error {
		if err == nil {
			v.named(g[0].File)
			return nil
		}
		return fmt.Errorf("%s: %w", v.o.Dir, err)
	})
}

// each runs fn on the groups, some at a time, and marks those that failed.
func (v *Volume) each(groups [][]*Write, fn func(g []*Write) error) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, v.o.Writers)
	for _, g := range groups {
		if g[0].Err != nil {
			continue // nothing of it was written
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := fn(g); err != nil {
				fail(g, err)
			}
		})
	}
	wg.Wait()
}

// fail ends the group's file and all that was to go into it.
func fail(g []*Write, err error) {
	g[0].File.failed = true
	for _, w := range g {
		w.Err = err
	}
}

// write puts the records of one file where they belong, and syncs them if asked.
func (v *Volume) write(g []*Write, sync bool) error {
	f := g[0].File
	if f.failed {
		return fmt.Errorf("%s: an earlier write failed", v.path(f.ID))
	}
	h, err := v.writing.get(f.ID)
	if err != nil {
		return err
	}
	defer h.release()
	s := staging.Get().(*stage)
	defer staging.Put(s)
	s.start(h.file, g[0].Offset)
	for _, w := range g {
		// Records share writes, so one that fails may take the ones before it along.
		if err := s.record(w); err != nil {
			return fmt.Errorf("%s at %d: %w", v.path(f.ID), s.at, err)
		}
	}
	if err := s.flush(); err != nil {
		return fmt.Errorf("%s at %d: %w", v.path(f.ID), s.at, err)
	}
	if !sync {
		return nil
	}
	if err := h.file.Sync(); err != nil {
		return v.sunk(g, err)
	}
	return v.syncNames(f)
}

// sync syncs the file of a group that was written.
func (v *Volume) sync(g []*Write) error {
	h, err := v.writing.get(g[0].File.ID)
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.file.Sync(); err != nil {
		return v.sunk(g, err)
	}
	return v.syncNames(g[0].File)
}

func (v *Volume) sunk(g []*Write, err error) error {
	return fmt.Errorf("%s: sync: %w", v.path(g[0].File.ID), err)
}

// stageSize is how much is written at once: enough that the number of writes
// does not matter, little enough for Options.Writers of them.
const stageSize = 512 << 10

// stage gathers headers, sealed pieces and padding into aligned memory and
// writes whole blocks of it. What goes through it is sealed or plain to read by
// design, so stages are shared.
type stage struct {
	buf  []byte // aligned
	n    int    // bytes gathered
	file fsys.File
	at   int64  // where buf goes
	head []byte // memory for headers
}

var staging = sync.Pool{New: func() any { return &stage{buf: fsys.Aligned(stageSize)} }}

func (s *stage) start(f fsys.File, at int64) { s.file, s.at, s.n = f, at, 0 }

func (s *stage) record(w *Write) error {
	var err error
	if s.head, err = w.Header.AppendBinary(s.head[:0]); err != nil {
		return err
	}
	if err := s.add(s.head); err != nil {
		return err
	}
	for _, p := range w.Sealed {
		if err := s.add(p); err != nil {
			return err
		}
	}
	pad := (segment.BlockSize - s.n%segment.BlockSize) % segment.BlockSize
	clear(s.buf[s.n : s.n+pad]) // the buffer is whole blocks, so the padding fits
	s.n += pad
	return nil
}

func (s *stage) add(p []byte) error {
	for len(p) > 0 {
		if s.n == len(s.buf) {
			if err := s.flush(); err != nil {
				return err
			}
		}
		n := copy(s.buf[s.n:], p)
		s.n, p = s.n+n, p[n:]
	}
	return nil
}

func (s *stage) flush() error {
	if s.n == 0 {
		return nil
	}
	n, err := s.file.WriteAt(s.buf[:s.n], s.at)
	s.at += int64(n)
	if err != nil {
		return err
	}
	s.n = 0
	return nil
}
