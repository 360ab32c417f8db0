package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/store"
)

// Options of New. Catalog, Store and Keyring must be given.
type Options struct {
	Catalog *catalog.Catalog
	Store   *store.Store
	Keyring *kms.Keyring
	// Budget is the memory for media of the whole server, in bytes; 0 is
	// DefaultBudget. MaxFragment is the largest fragment that is taken; 0 is 50
	// MiB. The budget must hold four of them.
	Budget      int64
	MaxFragment int64
	// MaxSessions is how many PutMedia sessions a stream may have before the
	// oldest yields; nil or a result of 0: any number. It is asked at each Join.
	MaxSessions func() int
	Logger      *slog.Logger
	Now         func() time.Time // the wall clock, for server timestamps and retention; nil: time.Now
}

// DefaultBudget is the memory for media when Options name none.
const DefaultBudget = 512 << 20

const defaultMaxFragment = 50 << 20

// Registry is all open streams. All methods may be called side by side.
type Registry struct {
	o      Options
	budget *budget
	settle *settler
	sealed blocks
	start  time.Time

	mu      sync.Mutex // guards what follows; never held together with a stream's
	streams map[sluice.StreamID]*opened
	closed  bool
	busy    int           // sessions that have not left
	idle    chan struct{} // closed when closed and busy is 0
	closing chan struct{} // closed by Close at once: readers end

	stop chan struct{} // ends the housekeeper
	wg   sync.WaitGroup
}

// New makes a registry and starts its two goroutines. It adds a hook to the
// catalog, so it must be called before the catalog is used.
func New(o Options) (*Registry, error) {
	if o.Budget == 0 {
		o.Budget = DefaultBudget
	}
	if o.MaxFragment == 0 {
		o.MaxFragment = defaultMaxFragment
	}
	if o.MaxSessions == nil {
		o.MaxSessions = func() int { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b, err := newBudget(o.Budget, o.MaxFragment)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		o: o, budget: b, settle: newSettler(), start: time.Now(),
		streams: map[sluice.StreamID]*opened{},
		idle:    make(chan struct{}), closing: make(chan struct{}), stop: make(chan struct{}),
	}
	o.Catalog.OnChange(r.streamChanged)
	r.wg.Go(r.settle.run)
	r.wg.Go(r.housekeep)
	return r, nil
}

// MaxFragment is the largest fragment that is taken, in bytes.
func (r *Registry) MaxFragment() int64 { return r.o.MaxFragment }

// Memory is how the memory budget is used.
func (r *Registry) Memory() Memory { return r.budget.stats() }

// mono is monotonic time in ns since the registry was made.
func (r *Registry) mono() int64 { return int64(time.Since(r.start)) }

func notActive() error {
	// The text of the service (wire-protocol §1.1).
	return &sluice.Error{Code: sluice.ResourceNotFound, Msg: "The requested stream is not found or not active."}
}

// Resolve finds the stream that a media call names. It returns the catalog's
// errors, and ResourceNotFoundException for a stream that is being deleted.
func (r *Registry) Resolve(ctx context.Context, ref sluice.StreamRef) (catalog.Stream, error) {
	st, err := r.o.Catalog.Describe(ctx, ref)
	switch {
	case sluice.CodeOf(err) == sluice.ResourceNotFound, err == nil && st.Status != catalog.Active:
		return catalog.Stream{}, notActive()
	case err != nil:
		return catalog.Stream{}, err
	}
	return st, nil
}

func (r *Registry) resolve(ctx context.Context, ref sluice.StreamRef) (*opened, error) {
	st, err := r.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	return r.open(ctx, st.ID)
}

// open gives the stream's open form.
func (r *Registry) open(ctx context.Context, id sluice.StreamID) (*opened, error) {
	r.mu.Lock()
	o := r.streams[id]
	r.mu.Unlock()
	if o != nil {
		return o, nil
	}
	// Into the map first, then read: a change in between reaches it either way.
	r.mu.Lock()
	o = r.streams[id]
	if o == nil {
		o = &opened{r: r, id: id}
		r.streams[id] = o
	}
	r.mu.Unlock()
	st, err := r.o.Catalog.ByID(ctx, id)
	if err == nil && st.Status != catalog.Active {
		err = notActive()
	}
	if err != nil {
		r.mu.Lock()
		if r.streams[id] == o {
			delete(r.streams, id)
		}
		r.mu.Unlock()
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		return nil, notActive()
	}
	if o.about.ID == "" {
		o.about = st
	}
	return o, nil
}

// peek gives a stream that is open already, or nil.
func (r *Registry) peek(id sluice.StreamID) *opened {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams[id]
}

// streamChanged is the catalog's hook.
func (r *Registry) streamChanged(st catalog.Stream) {
	o := r.peek(st.ID)
	if o == nil {
		return
	}
	if st.Status == catalog.Active {
		o.mu.Lock()
		o.about = st
		o.wakeLocked() // the horizon may have moved
		o.mu.Unlock()
		return
	}
	r.mu.Lock()
	if r.streams[st.ID] == o {
		delete(r.streams, st.ID)
	}
	r.mu.Unlock()
	o.delete(st)
}

// delete ends sessions and readers and drops key and tail.
func (o *opened) delete(st catalog.Stream) {
	o.mu.Lock()
	o.about, o.gone = st, true
	o.key, o.keyUntil = [32]byte{}, time.Time{}
	var aborted, cached []*frag
	for _, f := range append([]*frag(nil), o.tail...) {
		switch {
		case f.state == stateOpen, f.state == stateComplete && !f.volatile && !f.handed:
			o.abortLocked(f, sluice.StreamNotActive)
			aborted = append(aborted, f)
		default:
			cached = append(cached, f)
		}
	}
	for _, s := range o.sessions {
		s.endLocked(sluice.StreamNotActive)
	}
	if o.stall != nil {
		o.stall.Stop()
	}
	o.wakeLocked()
	o.mu.Unlock()
	for _, f := range aborted {
		o.r.budget.give(f.charge)
	}
	for _, f := range cached {
		if o.r.budget.uncache(f) {
			o.drop(f)
		}
	}
}

// enter counts a session in; false when the server stops.
func (r *Registry) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.busy++
	return true
}

// stay enters for what goes on after its caller may have left, who has entered.
func (r *Registry) stay() {
	r.mu.Lock()
	r.busy++
	r.mu.Unlock()
}

func (r *Registry) isClosing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func (r *Registry) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	if r.closed && r.busy == 0 {
		close(r.idle)
	}
}

// closeTime is what an open fragment gets to become complete when the server
// stops.
const closeTime = 2 * time.Second

// Close stops taking media and lets go of the streams: sessions take no further
// fragment, an open one gets two seconds and is aborted then with 4000, what is
// complete becomes durable, and readers end after the fragment they are in. It
// returns when all sessions have left, or ctx's error when that ends first. The
// store is the caller's to close, after it.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.closing)
	if r.busy == 0 {
		close(r.idle)
	}
	all := make([]*opened, 0, len(r.streams))
	for _, o := range r.streams {
		all = append(all, o)
	}
	r.mu.Unlock()
	for _, o := range all {
		o.mu.Lock()
		for _, s := range append([]*Session(nil), o.sessions...) {
			s.yieldLocked()
		}
		o.wakeLocked()
		o.mu.Unlock()
	}
	late := time.NewTimer(closeTime)
	defer late.Stop()
	var err error
	select {
	case <-r.idle:
	case <-late.C:
		for _, o := range all {
			o.cutOff()
		}
		select {
		case <-r.idle:
		case <-ctx.Done():
			err = fmt.Errorf("streams: sessions did not leave: %w", context.Cause(ctx))
		}
	case <-ctx.Done():
		err = fmt.Errorf("streams: sessions did not leave: %w", context.Cause(ctx))
	}
	close(r.stop)
	r.settle.close()
	r.wg.Wait()
	for _, o := range all {
		o.mu.Lock()
		o.key, o.keyUntil = [32]byte{}, time.Time{}
		if o.stall != nil {
			o.stall.Stop()
		}
		o.mu.Unlock()
	}
	return err
}

// cutOff aborts what is open when the server stops.
func (o *opened) cutOff() {
	o.mu.Lock()
	var aborted []*frag
	for _, s := range append([]*Session(nil), o.sessions...) {
		if f := s.cur; f != nil {
			s.endLocked(sluice.StreamReadError)
			o.abortLocked(f, sluice.StreamReadError)
			aborted = append(aborted, f)
		}
	}
	o.mu.Unlock()
	for _, f := range aborted {
		o.r.budget.give(f.charge)
	}
	o.drain()
}

// housekeep forgets keys and media whose time is over.
func (r *Registry) housekeep() {
	t := time.NewTicker(30 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-r.stop:
			return
		case now := <-t.C:
			r.mu.Lock()
			all := make([]*opened, 0, len(r.streams))
			for _, o := range r.streams {
				all = append(all, o)
			}
			r.mu.Unlock()
			for _, o := range all {
				o.forgetKey(now)
				o.trimVolatile()
			}
		}
	}
}

// trimVolatile drops media that a stream without retention keeps no longer.
func (o *opened) trimVolatile() {
	var old []*frag
	var bytes int64
	now := o.now()
	o.mu.Lock()
	for i := len(o.tail) - 1; i >= 0; i-- {
		f := o.tail[i]
		if !f.volatile || f.state != stateComplete {
			continue
		}
		bytes += f.size
		if bytes > volatileBytes || now.Sub(f.server) > volatileTime {
			old = append(old, f)
		}
	}
	o.mu.Unlock()
	for i := len(old) - 1; i >= 0; i-- {
		if o.r.budget.uncache(old[i]) {
			o.drop(old[i])
		}
	}
}
