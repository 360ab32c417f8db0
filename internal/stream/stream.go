// Package stream keeps the open streams of the server: sessions write into
// them, readers follow them, list them and get from them.
//
// A stream is one ordered log of fragments, and an open stream is one mutex
// around the newest part of it, the tail:
//
//	open ──► complete ──► durable        in the archive, and cached in the tail
//	  │          │                       while the server's memory budget allows
//	  └──────────┴─────► aborted         the number is never used again
//
// Per stream, fragments are decided, that is made durable or aborted, in the
// order of their numbers. So the archive grows only at its end, and a reader
// that finds the next fragment in neither tail nor archive is at the live end.
// Fragments of a stream without retention are never durable: they are complete,
// and stay in the tail for a while (see volatileTime).
//
// The mutex is held for microseconds: never over input or output, never
// together with another lock. There is no goroutine for a stream: readers keep
// their own place and wait on a channel that is closed when something changed.
// One goroutine a server settles what became durable, in order.
//
// Sealing happens here, on the goroutine of the session or reader, or beside it
// when the fragment is large, between the key management (internal/kms) and the
// store, which sees no plain byte. What a record holds is said in content.go and
// docs/format/record.md.
//
// Media bytes are kept as they were handed in, and are never reused: a pooled
// buffer would be another camera's picture.
package stream

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/store"
)

var (
	// ErrYield ends a session that should make room: for a newer session, or
	// because the server stops. What it sent so far is complete and decided.
	ErrYield = errors.New("the session takes no further fragment")
	// ErrAborted ends the parts of a fragment that will never be complete.
	ErrAborted = errors.New("fragment aborted")
	// ErrGone ends the parts of a fragment that is no longer anywhere: deleted by
	// retention, or dropped from the tail of a stream without retention.
	ErrGone = errors.New("fragment is gone")
	// ErrDeleted ends the readers of a deleted stream.
	ErrDeleted = errors.New("stream deleted")
	// ErrClosed ends readers when the server stops.
	ErrClosed = errors.New("server is stopping")
)

const (
	// stallTime: an open fragment without a byte for so long, while a later one
	// of another session waits for its decision, is aborted.
	stallTime = 5 * time.Second
	// returnTime is the least of it when the client of that session looks to be back
	// in the other one (see returned): then it is as long as what waits, so that the
	// first fragment of who was cut off and came back is decided within its own
	// length.
	returnTime = time.Second
	// volatileTime and volatileBytes bound what a stream without retention keeps
	// in its tail.
	volatileTime  = 5 * time.Minute
	volatileBytes = 200_000_000
	// maxFrames bounds a fragment's frame index: 20 s of three tracks at a
	// thousand frames a second.
	maxFrames = 1 << 16
)

// opened is a stream that somebody writes to or reads from.
type opened struct {
	r  *Registry
	id sluice.StreamID

	// io serialises taking the stream over from the store and making its data
	// key, which are slow; never taken while mu is held.
	io sync.Mutex

	// mu guards everything below.
	mu       sync.Mutex
	about    catalog.Stream // as of the last change
	gone     bool           // deleted
	taken    bool           // this process numbers its fragments
	epoch    store.Epoch
	next     sluice.Sequence       // of the next fragment
	last     sluice.FragmentNumber // highest number given out, or highest in the archive when it was taken
	archived sluice.FragmentNumber // the tail holds every durable fragment above it
	tail     []*frag               // in number order
	sessions []*Session            // in the order in which they joined
	group    group                 // the budget's
	changed  chan struct{}         // closed and replaced by nil at the next change; nil when nobody waits
	key      [32]byte
	keyUntil time.Time // monotonic; zero: no key
	draining bool      // somebody hands ready fragments to the store
	stall    *time.Timer
	leading  []byte // the last leading bytes read from the archive, so that equal ones share memory
	activity activity
}

type state uint8

const (
	stateOpen state = iota
	stateComplete
	stateDurable
	stateAborted
)

// frag is one fragment in a tail.
type frag struct {
	o         *opened
	s         *Session
	number    sluice.FragmentNumber
	server    time.Time // whole milliseconds, as producer
	producer  time.Time
	timecode  int64
	lead      []byte // the chunk's leading bytes
	header    *fragment.Header
	retention time.Duration // of the stream when it began
	volatile  bool          // it had none: never durable
	ticket    *Ticket
	charge    *charge // the budget's, as cachedAt
	cachedAt  *list.Element

	read int64 // bytes granted for; the session's goroutine's

	// Guarded by o.mu. Bytes and entries are only ever appended, so a reader may
	// keep what it has seen.
	state   state
	starved bool     // waits for memory
	shown   bool     // followers may see it
	runs    [][]byte // its bytes; pieces that lie behind each other in memory are one run
	size    int64
	frames  []fragment.Entry
	first   time.Duration // earliest and latest frame
	final   time.Duration
	tracks  uint32 // bit n-1: track n has a frame
	head    [13]byte
	headN   int
	span    time.Duration // set when it is complete: see length
	entry   store.Entry   // set when it is durable
	sealed  framed
	handed  bool  // given to the store
	cause   error // why it was aborted
	gone    bool  // dropped from the tail; runs and frames are nil
}

// length is the time from the earliest frame to the latest, without the last
// frame's own duration (wire-protocol §6.1).
func (f *frag) length() time.Duration {
	if len(f.frames) == 0 {
		return 0
	}
	return f.final - f.first
}

func lengthMs(d time.Duration) uint32 { return uint32(min(max(d.Milliseconds(), 0), 1<<32-1)) }

// now is the wall clock of the server timestamps, in whole milliseconds.
func (o *opened) now() time.Time { return o.r.o.Now().UTC().Truncate(time.Millisecond) }

// wakeLocked tells everybody who waits that something changed.
func (o *opened) wakeLocked() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// waitLocked gives a channel that the next change closes.
func (o *opened) waitLocked() <-chan struct{} {
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

// take makes this process the one that numbers the stream's fragments.
func (o *opened) take(ctx context.Context) error {
	o.mu.Lock()
	taken := o.taken
	o.mu.Unlock()
	if taken {
		return nil
	}
	o.io.Lock()
	defer o.io.Unlock()
	o.mu.Lock()
	taken = o.taken
	o.mu.Unlock()
	if taken {
		return nil
	}
	epoch, last, err := o.r.o.Store.Take(ctx, o.id)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken, o.epoch = true, epoch
	o.next = epoch.Sequence(1)
	o.last, o.archived = last.Number, last.Number
	return nil
}

// drop takes a fragment out of the tail. Who still reads it goes on from the
// archive, when it is there.
func (o *opened) drop(f *frag) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.removeLocked(f)
	f.gone = true
	f.runs, f.frames = nil, nil
	if f.state == stateDurable && f.number.Compare(o.archived) > 0 {
		o.archived = f.number
	}
}

func (o *opened) removeLocked(f *frag) {
	switch i := o.findLocked(f.number); {
	case i == len(o.tail) || o.tail[i] != f:
	case i == 0:
		// The usual case, in tails that may be long.
		o.tail[0] = nil
		o.tail = o.tail[1:]
	default:
		o.tail = slices.Delete(o.tail, i, i+1)
	}
}

// undecidedLocked is the end of the tail in which all undecided fragments are:
// what the store has, or has had, lies in front of it.
func (o *opened) undecidedLocked() []*frag {
	i := len(o.tail)
	for i > 0 && !o.tail[i-1].handed {
		i--
	}
	return o.tail[i:]
}

// findLocked is the place of the first fragment at or above n.
func (o *opened) findLocked(n sluice.FragmentNumber) int {
	i, _ := slices.BinarySearchFunc(o.tail, n, func(f *frag, n sluice.FragmentNumber) int { return f.number.Compare(n) })
	return i
}

// abortLocked decides that f will never be complete. Its charge must be given
// back by the caller, after mu.
func (o *opened) abortLocked(f *frag, cause error) {
	if f.state == stateAborted || f.state == stateDurable {
		return
	}
	f.state, f.cause = stateAborted, cause
	f.sealed = framed{}
	o.removeLocked(f)
	o.wakeLocked()
	if f.s.cur == f {
		f.s.cur = nil
		f.s.settledLocked()
	}
	f.ticket.complete(cause)
}

// abort is abortLocked and what follows from it.
func (o *opened) abort(f *frag, cause error) {
	o.mu.Lock()
	if f.state != stateOpen && !(f.state == stateComplete && !f.handed) {
		o.mu.Unlock()
		return
	}
	o.abortLocked(f, cause)
	o.mu.Unlock()
	o.r.budget.give(f.charge)
	o.drain()
}

// drain hands sealed fragments to the store, in number order and up to the
// first that is still undecided. Whoever completes or aborts a fragment calls
// it; one call at a time does the work, so the order holds although the store
// is called without the mutex.
func (o *opened) drain() {
	o.mu.Lock()
	if o.draining {
		o.mu.Unlock()
		return
	}
	o.draining = true
	for {
		ready := o.readyLocked()
		if len(ready) == 0 {
			break
		}
		epoch := o.epoch
		o.mu.Unlock()
		for _, f := range ready {
			t := o.r.o.Store.Append(epoch, f.record())
			f.s.queued = t
			o.r.settle.push(settlement{f: f, t: t})
		}
		o.mu.Lock()
	}
	o.draining = false
	o.watchStallLocked()
	o.mu.Unlock()
}

// readyLocked marks and returns the fragments that may go to the store now.
func (o *opened) readyLocked() (ready []*frag) {
	for _, f := range o.undecidedLocked() {
		if f.volatile {
			continue
		}
		if f.state != stateComplete || f.sealed.frame == nil {
			break
		}
		f.handed = true
		ready = append(ready, f)
	}
	return ready
}

// blockerLocked is the open fragment that others wait for: a later one of another
// session is complete, or waits for memory that it may only have when those
// before it are decided. patience is how long it may be silent.
func (o *opened) blockerLocked() (open *frag, patience time.Duration) {
	waited := false
	patience = stallTime
	for _, f := range o.undecidedLocked() {
		switch {
		case f.volatile:
		case open == nil:
			if f.state == stateOpen {
				open = f
			}
		case f.s == open.s:
		case f.state == stateComplete && !f.handed:
			waited = true
			if f.s.returned(open.s) {
				patience = min(patience, max(returnTime, f.span))
			}
		case f.starved:
			waited = true
		}
	}
	if !waited {
		return nil, 0
	}
	return open, patience
}

// returned reports whether the session looks like the one of the same client
// again, whose network was cut: it comes from the same address, and nothing has
// been heard of the older since before it began.
func (s *Session) returned(old *Session) bool {
	return s.info.Remote != "" && s.info.Remote == old.info.Remote && old.spoke.Load() < s.began
}

// watchStallLocked sets the timer that ends a stalled session.
func (o *opened) watchStallLocked() {
	f, patience := o.blockerLocked()
	if f == nil {
		if o.stall != nil {
			o.stall.Stop()
		}
		return
	}
	d := max(patience-f.s.Silence(), 0)
	if o.stall == nil {
		o.stall = time.AfterFunc(d, o.checkStall)
	} else {
		o.stall.Reset(d)
	}
}

func (o *opened) checkStall() {
	o.mu.Lock()
	f, patience := o.blockerLocked()
	if f == nil {
		o.mu.Unlock()
		return
	}
	if f.s.Silence() < patience {
		o.watchStallLocked()
		o.mu.Unlock()
		return
	}
	o.r.o.Logger.Info("session stalled", "stream", o.about.Name, "session", f.s.info.ID, "fragment", f.number.String(), "silent", f.s.Silence().Round(time.Millisecond))
	o.abortLocked(f, sluice.StreamReadError)
	f.s.endLocked(sluice.StreamReadError)
	o.mu.Unlock()
	o.r.budget.give(f.charge)
	o.drain()
}

// settled is called when the store has decided a fragment.
func (o *opened) settled(f *frag, t *store.Ticket) {
	if err := t.Err(); err != nil {
		o.mu.Lock()
		gone := o.gone
		f.state, f.cause, f.sealed = stateAborted, err, framed{}
		o.removeLocked(f)
		o.wakeLocked()
		o.mu.Unlock()
		o.r.budget.give(f.charge)
		if gone {
			err = sluice.StreamNotActive
		} else {
			err = errors.Join(sluice.ArchivalError, err)
		}
		f.ticket.complete(err)
		return
	}
	o.mu.Lock()
	sealed := f.sealed
	f.state, f.sealed, f.entry = stateDurable, framed{}, t.Entry()
	o.mu.Unlock()
	o.r.sealed.put(sealed.frame)
	o.keep(f)
	f.ticket.complete(nil)
}

// keep lets a decided fragment stay in the tail while there is room.
func (o *opened) keep(f *frag) {
	o.r.budget.cache(f, f.cost())
	o.mu.Lock()
	gone := o.gone
	o.mu.Unlock()
	if gone && o.r.budget.uncache(f) {
		o.drop(f)
	}
}

// fragCost is what a fragment in the tail holds beside its bytes and frames:
// itself, its ticket and what of its blocks is not used (measured with fragments
// of 60 bytes: 1.2 KB).
const fragCost = 1 << 10

// cost is what a fragment in the tail holds, in bytes.
func (f *frag) cost() int64 {
	return f.size + int64(len(f.frames))*entryCost + fragCost
}

// record is what the store gets of a sealed fragment. It is not kept when one
// before it in its session failed: the producer, told of that one, sends it and
// all behind it again.
func (f *frag) record() store.Record {
	return store.Record{Meta: f.meta(), Sealed: [][]byte{f.sealed.sealed}, Frame: f.sealed.frame, Sums: f.sealed.sums, Retention: f.retention, After: f.s.queued}
}

func (f *frag) meta() store.Meta {
	return store.Meta{
		Stream: f.o.id, Number: f.number,
		ProducerMs: f.producer.UnixMilli(), ServerMs: f.server.UnixMilli(),
		LengthMs: lengthMs(f.span), Bytes: uint32(f.size), Tracks: f.tracks, Header: headerSum(f.lead),
	}
}

// headerSum tells leading bytes apart. What differs gets another number but for
// one pair in four thousand million; 0 is none.
func headerSum(lead []byte) uint32 {
	sum := sha256.Sum256(lead)
	return max(binary.BigEndian.Uint32(sum[:]), 1)
}

// logger is the registry's, with the stream's name.
func (o *opened) logger() *slog.Logger { return o.r.o.Logger.With("stream", o.about.Name) }

// Ticket tells when a fragment is decided.
type Ticket struct {
	done chan struct{}
	err  error
	once sync.Once
}

func newTicket() *Ticket { return &Ticket{done: make(chan struct{})} }

func (t *Ticket) complete(err error) {
	t.once.Do(func() {
		t.err = err
		close(t.done)
	})
}

// Done is closed when the fragment is durable (or, without retention, complete),
// or has failed. Tickets of a stream are done in the order of their numbers.
func (t *Ticket) Done() <-chan struct{} { return t.done }

// Err is nil for a fragment that is durable; else it has the AckErrorCode in
// its chain that the producer should see. It must not be called before Done.
func (t *Ticket) Err() error { return t.err }
