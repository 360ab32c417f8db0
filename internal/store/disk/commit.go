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
	Header segment.Header // Sealed is set, and Sums may be; Commit sets File, and Sums where there are none
	Sealed [][]byte
	// Frame, unless nil, is the aligned memory of the whole record, in which Sealed
	// lies behind room for the header.
	Frame []byte

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
	out := newWriter(h.file, g[0].Offset, f.End-g[0].Offset)
	for _, w := range g {
		if err = out.record(w); err != nil {
			break
		}
	}
	// Records share writes, so one that fails may take the ones before it along.
	if at, ferr := out.finish(); err != nil || ferr != nil {
		return fmt.Errorf("%s at %d: %w", v.path(f.ID), at, errors.Join(err, ferr))
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

// stageSize is how much is written at once of records that must be copied
// together: enough that the number of writes does not matter, little enough for
// Options.Writers of them. One file that gets much more is written in larger
// steps, of which the disk has several in hand.
const (
	stageSize = 1 << 20
	largeSize = 4 << 20
	// frameSize is from where on a record that lies in a frame is a write of its
	// own; many little ones are copied together.
	frameSize = 128 << 10
)

// staging lends aligned buffers. What goes through them is sealed, or plain to
// read by design, so they are shared.
var (
	staging = sync.Pool{New: func() any { b := fsys.Aligned(stageSize); return &b }}
	large   = sync.Pool{New: func() any { b := fsys.Aligned(largeSize); return &b }}
)

// writer writes the records of one file: those in frames from where they lie,
// of the others it gathers headers, sealed pieces and padding into aligned memory.
// While one write is going on the next is made ready.
type writer struct {
	file fsys.File
	size int64  // of all records
	at   int64  // where what is ready goes
	head []byte // memory for headers

	ready []byte  // whole blocks, to be written next: a frame, or the beginning of buf
	buf   *[]byte // being filled; nil until the first record without a frame
	other *[]byte // the one that was written last, or is being written
	done  chan error
}

func newWriter(f fsys.File, at, size int64) *writer {
	return &writer{file: f, size: size, at: at}
}

// record adds a record. Checksums that are missing are made here, side by side
// with other files' and with the write that is going on.
func (o *writer) record(w *Write) error {
	size := w.Header.Sealed
	if w.Header.Sums == nil {
		if w.Header.Sum(w.Sealed); w.Header.Sealed != size {
			return fmt.Errorf("a record of %d sealed bytes was announced with %d", w.Header.Sealed, size)
		}
	}
	if w.Frame != nil && (size >= frameSize || segment.RecordSize(size) == o.size) {
		return o.frame(w)
	}
	var err error
	if o.head, err = w.Header.AppendBinary(o.head[:0]); err != nil {
		return err
	}
	if err := o.add(o.head); err != nil {
		return err
	}
	for _, p := range w.Sealed {
		if err := o.add(p); err != nil {
			return err
		}
	}
	n := len(o.ready)
	pad := -n & (segment.BlockSize - 1)
	o.ready = o.ready[:n+pad] // the buffer is whole blocks, so the padding fits
	clear(o.ready[n:])
	return nil
}

// frame adds a record that lies in a frame.
func (o *writer) frame(w *Write) error {
	size := w.Header.Sealed
	if int64(len(w.Frame)) != segment.RecordSize(size) {
		return fmt.Errorf("a frame of %d bytes for %d sealed bytes", len(w.Frame), size)
	}
	if err := o.begin(); err != nil {
		return err
	}
	if _, err := w.Header.AppendBinary(w.Frame[:0:segment.HeaderSize(size)]); err != nil {
		return err
	}
	clear(w.Frame[segment.HeaderSize(size)+size:])
	o.ready = w.Frame
	return nil
}

// add copies p behind what is ready.
func (o *writer) add(p []byte) error {
	for len(p) > 0 {
		if !o.filling() || len(o.ready) == len(*o.buf) {
			if err := o.begin(); err != nil {
				return err
			}
			o.fill()
		}
		n := copy((*o.buf)[len(o.ready):], p)
		o.ready, p = (*o.buf)[:len(o.ready)+n], p[n:]
	}
	return nil
}

// filling reports whether what is ready is the beginning of buf.
func (o *writer) filling() bool {
	return o.buf != nil && len(o.ready) > 0 && &o.ready[0] == &(*o.buf)[0]
}

// fill takes up a buffer that nothing is written from.
func (o *writer) fill() {
	o.buf, o.other = o.other, o.buf
	if o.buf == nil {
		o.buf = o.pool().Get().(*[]byte)
	}
	o.ready = (*o.buf)[:0]
}

func (o *writer) pool() *sync.Pool {
	if o.size >= 2*largeSize {
		return &large
	}
	return &staging
}

// begin begins to write what is ready, once the write before it is done.
func (o *writer) begin() error {
	if err := o.wait(); err != nil || len(o.ready) == 0 {
		return err
	}
	full, at := o.ready, o.at
	o.at, o.ready = o.at+int64(len(full)), nil
	o.done = make(chan error, 1)
	go func() {
		_, err := o.file.WriteAt(full, at)
		o.done <- err
	}()
	return nil
}

// wait waits for the write that is going on.
func (o *writer) wait() error {
	if o.done == nil {
		return nil
	}
	err := <-o.done
	o.done = nil
	return err
}

// finish writes what is left and gives back the buffers. On a failure at is about
// where.
func (o *writer) finish() (at int64, err error) {
	if err = o.wait(); err == nil && len(o.ready) > 0 {
		_, err = o.file.WriteAt(o.ready, o.at)
	}
	for _, b := range []*[]byte{o.buf, o.other} {
		if b != nil {
			o.pool().Put(b)
		}
	}
	return o.at, err
}
