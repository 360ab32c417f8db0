package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/store"
)

// Fragment is a fragment as a reader has it: arriving, in the tail, or in the
// archive. What it hands out is read only.
type Fragment struct {
	Number   sluice.FragmentNumber
	Server   time.Time // whole milliseconds, UTC
	Producer time.Time
	// Leading is what its chunk begins with: the producer's bytes before its first
	// Cluster, with the Segment's size unknown, and what stood between
	// END_OF_FRAGMENT and this Cluster.
	Leading []byte
	Scale   time.Duration // length of a tick

	o     *opened
	f     *frag       // nil: in the archive only
	entry store.Entry // durable; else Number is zero
	rec   *record     // what was read from the archive
	buf   *[]byte     // the cursor's read buffer; nil: each read has its own
}

// Part is a piece of a fragment's elements, with the frames whose blocks are
// complete with it. A piece ends at the end of an element while the fragment
// arrives; a piece of an archived fragment may end anywhere.
type Part struct {
	Bytes  []byte
	Frames []fragment.Entry
}

// Entry is the durable fragment's place in the archive; false for one that is
// not durable yet.
func (f *Fragment) Entry() (store.Entry, bool) { return f.entry, !f.entry.Number.IsZero() }

// Archived reports whether bytes of it were read from the archive.
func (f *Fragment) Archived() bool { return f.rec != nil }

// Complete reports whether the fragment has all its bytes now.
func (f *Fragment) Complete() bool {
	if f.f == nil {
		return true
	}
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	return f.f.state != stateOpen && f.f.state != stateAborted
}

// Length is the time from the first frame to the last, of what is there so far.
func (f *Fragment) Length() time.Duration {
	if f.f == nil {
		return f.entry.Length()
	}
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	if f.f.state != stateOpen {
		return f.f.span
	}
	return f.f.length()
}

// Index is the frames of a complete fragment.
func (f *Fragment) Index(ctx context.Context) (fragment.Index, error) {
	if f.f != nil {
		f.o.mu.Lock()
		frames, gone, complete := f.f.frames, f.f.gone, f.f.state == stateComplete || f.f.state == stateDurable
		f.o.mu.Unlock()
		if complete && !gone {
			return frames, nil
		}
		if !complete {
			return nil, fmt.Errorf("fragment %s: not complete", f.Number)
		}
	}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	var x fragment.Index
	if err := x.UnmarshalBinary(f.rec.index); err != nil {
		// The bytes were authenticated, so this is ours.
		return nil, fmt.Errorf("%w: fragment %s: %w", sluice.InternalError, f.Number, err)
	}
	return x, nil
}

// Elements is all bytes of the fragment; it waits for those of an open one. The
// result may be kept.
func (f *Fragment) Elements(ctx context.Context) ([]byte, error) {
	if f.rec != nil && f.buf == nil && int64(len(f.rec.ahead())) == f.rec.size {
		return f.rec.ahead(), nil
	}
	var out []byte
	var total int64
	pieces := 0
	for p, err := range f.Parts(ctx) {
		if err != nil {
			return nil, err
		}
		pieces++
		if total += int64(len(p.Bytes)); pieces == 1 && f.rec == nil {
			out = p.Bytes[:len(p.Bytes):len(p.Bytes)] // one run in the tail: no copy
			continue
		}
		if pieces == 1 || pieces == 2 {
			out = slices.Grow(slices.Clone(out), int(max(int64(f.entry.Bytes)-int64(len(out)), int64(len(p.Bytes)))))
		}
		out = append(out, p.Bytes...)
	}
	return out, nil
}

// Parts is the fragment's elements in order: whole, or as they arrive. It ends
// with ErrAborted when the fragment will never be complete, with ErrGone when
// what is left of it is nowhere, with ErrDeleted, or with store.ErrCorrupt. The
// bytes of a part of a fragment that came from a Cursor are valid until the
// next part or the next fragment is asked for.
func (f *Fragment) Parts(ctx context.Context) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		for batch, err := range f.Batches(ctx) {
			for _, p := range batch {
				if !yield(p, nil) {
					return
				}
			}
			if err != nil {
				yield(Part{}, err)
				return
			}
		}
	}
}

// Batches is Parts for who writes to a connection: each step is all that is
// there now (of an archived fragment: the next piece), and asking for the next
// one may wait. The slice is valid during the step.
func (f *Fragment) Batches(ctx context.Context) iter.Seq2[[]Part, error] {
	return func(yield func([]Part, error) bool) {
		var off int64
		var parts []Part
		if f.f != nil {
			var err error
			var stopped bool
			off, stopped, err = f.tailParts(ctx, yield)
			switch {
			case stopped || err == nil:
				return
			case !errors.Is(err, errDropped):
				yield(nil, err)
				return
			}
		}
		if err := f.load(ctx); err != nil {
			yield(nil, err)
			return
		}
		parts = make([]Part, 1)
		for off < f.rec.size {
			b, err := f.read(ctx, off)
			if err != nil {
				yield(nil, err)
				return
			}
			parts[0] = Part{Bytes: b}
			if off == 0 && int64(len(b)) == f.rec.size {
				var x fragment.Index
				if x.UnmarshalBinary(f.rec.index) == nil {
					parts[0].Frames = x
				}
			}
			off += int64(len(b))
			if !yield(parts, nil) {
				return
			}
			if err := ctx.Err(); err != nil {
				yield(nil, context.Cause(ctx))
				return
			}
		}
	}
}

// errDropped says that a fragment left the tail while it was read.
var errDropped = errors.New("dropped from the tail")

// tailParts yields the fragment from the tail. It returns how far it came, and
// errDropped when the rest must come from the archive.
func (f *Fragment) tailParts(ctx context.Context, yield func([]Part, error) bool) (off int64, stopped bool, err error) {
	o, x := f.o, f.f
	var parts []Part
	frames := 0
	for {
		o.mu.Lock()
		st, gone := x.state, x.gone
		parts = parts[:0]
		var start int64
		for _, run := range x.runs {
			end := start + int64(len(run))
			if end > off {
				parts = append(parts, Part{Bytes: run[off-start:]})
				off = end
			}
			start = end
		}
		if n := len(parts); n > 0 && len(x.frames) > frames {
			// The frames go with the last piece: by then they are complete.
			parts[n-1].Frames = x.frames[frames:len(x.frames):len(x.frames)]
			frames = len(x.frames)
		}
		var wait <-chan struct{}
		if st == stateOpen && len(parts) == 0 {
			wait = o.waitLocked()
		}
		deleted := o.gone
		cause := x.cause
		if st == stateDurable {
			f.entry = x.entry
		}
		o.mu.Unlock()
		if gone && off < x.size {
			if st == stateDurable && !deleted {
				return off, false, errDropped
			}
			return off, false, ErrGone
		}
		if len(parts) > 0 && !yield(parts, nil) {
			return off, true, nil
		}
		switch {
		case st == stateAborted && deleted:
			return off, false, ErrDeleted
		case st == stateAborted:
			return off, false, fmt.Errorf("%w: %w", ErrAborted, cause)
		case st != stateOpen:
			if len(parts) == 0 || off == x.size {
				return off, false, nil
			}
			continue
		case len(parts) > 0:
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return off, false, context.Cause(ctx)
		}
	}
}

// load opens the archived record, once.
func (f *Fragment) load(ctx context.Context) error {
	if f.rec != nil {
		return nil
	}
	if f.entry.Number.IsZero() {
		return ErrGone
	}
	var buf []byte
	if f.buf != nil {
		buf = *f.buf
	}
	rec, err := f.o.openRecord(ctx, f.entry, buf)
	if err != nil {
		return f.readError(err)
	}
	f.rec = rec
	if f.buf != nil {
		*f.buf = rec.buf
	}
	if f.Leading == nil {
		f.Leading, f.Scale = f.o.intern(rec.lead), rec.scale
	}
	return nil
}

// read gives the next elements of the record from off.
func (f *Fragment) read(ctx context.Context, off int64) ([]byte, error) {
	var buf []byte
	if f.buf != nil {
		buf = *f.buf
	}
	b, err := f.o.readRecord(ctx, f.rec, off, buf)
	if err != nil {
		return nil, f.readError(err)
	}
	return b, nil
}

// readError gives the failures of reading the archive the names that readers
// know.
func (f *Fragment) readError(err error) error {
	f.o.mu.Lock()
	deleted := f.o.gone
	f.o.mu.Unlock()
	switch {
	case deleted:
		return ErrDeleted
	case errors.Is(err, store.ErrNone):
		return ErrGone
	case errors.Is(err, store.ErrCorrupt):
		f.o.logger().Error("fragment is corrupt", "fragment", f.Number.String(), "error", err)
	}
	return fmt.Errorf("fragment %s: %w", f.Number, err)
}
