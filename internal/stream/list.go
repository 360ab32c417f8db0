package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// horizonLocked is the oldest server timestamp that readers see. none says that
// nothing in the archive is to be seen.
func (o *opened) horizonLocked(now time.Time) (horizon time.Time, none bool) {
	if o.about.Retention <= 0 {
		return now, true
	}
	return now.Add(-o.about.Retention), false
}

func (o *opened) horizon() (horizon time.Time, none bool) {
	now := o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.horizonLocked(now)
}

// List gives the durable fragments of a stream inside its retention, as the
// store lists them. It is durable only: what is in it can be read with Get.
func (r *Registry) List(ctx context.Context, id sluice.StreamID, q store.Query) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		o, err := r.open(ctx, id)
		if err != nil {
			yield(store.Entry{}, err)
			return
		}
		horizon, none := o.horizon()
		if none {
			return
		}
		if horizon.After(q.NotBefore) {
			q.NotBefore = horizon
		}
		for e, err := range r.o.Store.List(ctx, id, q) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// Get gives a durable fragment, from the tail when it is there, else from the
// archive. It returns store.ErrNone when there is none of that number inside the
// retention, store.ErrCorrupt, and key errors with their AckErrorCode.
func (r *Registry) Get(ctx context.Context, id sluice.StreamID, n sluice.FragmentNumber) (*Fragment, error) {
	o, err := r.open(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := o.streamKey(ctx); err != nil {
		return nil, err
	}
	horizon, none := o.horizon()
	if none {
		return nil, fmt.Errorf("fragment %s: %w", n, store.ErrNone)
	}
	o.mu.Lock()
	if i := o.findLocked(n); i < len(o.tail) {
		if f := o.tail[i]; f.number == n && f.state == stateDurable && !f.server.Before(horizon) {
			x := o.viewLocked(f)
			o.mu.Unlock()
			return x, nil
		}
	}
	o.mu.Unlock()
	e, err := r.o.Store.Get(ctx, id, n, horizon)
	if err != nil {
		return nil, fmt.Errorf("fragment %s: %w", n, err)
	}
	f := o.archivedFragment(e, nil)
	if err := f.load(ctx); err != nil {
		if errors.Is(err, ErrGone) {
			err = fmt.Errorf("fragment %s: %w", n, store.ErrNone)
		}
		return nil, err
	}
	return f, nil
}

// Span gives a stream's oldest and newest durable fragment inside its retention;
// store.ErrNone when there is none.
func (r *Registry) Span(ctx context.Context, id sluice.StreamID) (first, last store.Entry, err error) {
	o, err := r.open(ctx, id)
	if err != nil {
		return first, last, err
	}
	horizon, none := o.horizon()
	if none {
		return first, last, store.ErrNone
	}
	first, err = r.o.Store.After(ctx, id, sluice.FragmentNumber{}, horizon)
	if err != nil {
		return first, last, err
	}
	_, last, _, _, err = r.o.Store.Span(ctx, id)
	if err == nil && last.Server().Before(horizon) {
		last = first
	}
	return first, last, err
}

// Holdings are what a stream has that is durable and inside its retention. The
// figures are those of the archive, which may still have some that are past it.
type Holdings struct {
	First, Last      store.Entry
	Fragments, Bytes uint64
}

// Holdings gives what a stream has; store.ErrNone when that is nothing.
func (r *Registry) Holdings(ctx context.Context, id sluice.StreamID) (h Holdings, err error) {
	if h.First, h.Last, err = r.Span(ctx, id); err != nil {
		return h, err
	}
	_, _, h.Fragments, h.Bytes, err = r.o.Store.Span(ctx, id)
	return h, err
}

// Coverage gives the stretches of [from, to] that have fragments inside the
// retention, as the store gives them.
func (r *Registry) Coverage(ctx context.Context, id sluice.StreamID, clock sluice.Clock, from, to time.Time, step time.Duration) ([]store.Stretch, error) {
	o, err := r.open(ctx, id)
	if err != nil {
		return nil, err
	}
	horizon, none := o.horizon()
	if none {
		return nil, nil
	}
	return r.o.Store.Coverage(ctx, id, clock, from, to, step, horizon)
}

func (o *opened) archivedFragment(e store.Entry, buf *[]byte) *Fragment {
	return &Fragment{Number: e.Number, Server: e.Server(), Producer: e.Producer(), o: o, entry: e, buf: buf}
}

func (o *opened) viewLocked(f *frag) *Fragment {
	x := &Fragment{Number: f.number, Server: f.server, Producer: f.producer, Leading: f.lead, o: o, f: f}
	if f.header != nil {
		x.Scale = f.header.Scale
	}
	if f.state == stateDurable {
		x.entry = f.entry
	}
	return x
}
