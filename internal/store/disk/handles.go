package disk

import (
	"container/list"
	"errors"
	"io/fs"
	"sync"

	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// handles keeps files open: those in use, and the most recently used others, up
// to a limit. A file dropped while in use is closed by its last user.
type handles struct {
	open func(FileID) (fsys.File, error)
	max  int

	mu     sync.Mutex
	byFile map[FileID]*handle
	recent list.List // of *handle, the least recently used at the back
	closed bool
}

type handle struct {
	id   FileID
	file fsys.File
	set  *handles
	// Under set.mu:
	refs int
	at   *list.Element // nil: dropped
}

func newHandles(limit int, open func(FileID) (fsys.File, error)) *handles {
	return &handles{open: open, max: limit, byFile: make(map[FileID]*handle)}
}

// get gives the file's handle, opening it when need be; release it after use.
func (s *handles) get(id FileID) (*handle, error) {
	s.mu.Lock()
	if h := s.byFile[id]; h != nil {
		h.refs++
		s.recent.MoveToFront(h.at)
		s.mu.Unlock()
		return h, nil
	}
	s.mu.Unlock()
	file, err := s.open(id)
	if err != nil {
		return nil, err
	}
	return s.add(id, file, 1)
}

// put takes over a file opened elsewhere.
func (s *handles) put(id FileID, file fsys.File) { s.add(id, file, 0) }

func (s *handles) add(id FileID, file fsys.File, refs int) (*handle, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		file.Close()
		return nil, fs.ErrClosed
	}
	if h := s.byFile[id]; h != nil { // another goroutine was faster
		h.refs += refs
		s.recent.MoveToFront(h.at)
		s.mu.Unlock()
		file.Close()
		return h, nil
	}
	h := &handle{id: id, file: file, set: s, refs: refs}
	h.at = s.recent.PushFront(h)
	s.byFile[id] = h
	var idle []fsys.File
	for e := s.recent.Back(); e != nil && s.recent.Len() > s.max; {
		old := e.Value.(*handle)
		e = e.Prev()
		if old.refs == 0 && old != h {
			s.removeLocked(old)
			idle = append(idle, old.file)
		}
	}
	s.mu.Unlock()
	for _, f := range idle {
		f.Close() // what was written was synced, or its error told
	}
	return h, nil
}

func (s *handles) removeLocked(h *handle) {
	s.recent.Remove(h.at)
	h.at = nil
	delete(s.byFile, h.id)
}

func (h *handle) release() {
	h.set.mu.Lock()
	h.refs--
	last := h.refs == 0 && h.at == nil
	h.set.mu.Unlock()
	if last {
		h.file.Close()
	}
}

// drop forgets the file, which is closed as soon as nobody uses it.
func (s *handles) drop(id FileID) {
	s.mu.Lock()
	h := s.byFile[id]
	idle := false
	if h != nil {
		s.removeLocked(h)
		idle = h.refs == 0
	}
	s.mu.Unlock()
	if idle {
		h.file.Close()
	}
}

func (s *handles) close() error {
	s.mu.Lock()
	s.closed = true
	var idle []fsys.File
	for _, h := range s.byFile {
		s.removeLocked(h)
		if h.refs == 0 {
			idle = append(idle, h.file)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, f := range idle {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
