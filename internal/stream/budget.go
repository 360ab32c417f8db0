package stream

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// budget is the one pool of memory for media of the whole server.
//
// What is open or not yet durable is firm: it cannot be let go. What is durable
// and still in a tail is cached: it goes as soon as somebody needs the room, the
// oldest first, and media of streams without retention before all other. A
// grant waits while the firm part is too large; waiting grants are served in the
// order in which their fragments began.
//
// Fifty half-read fragments could fill the pool with none able to finish. So a
// part of it, enough for one largest fragment and its sealed copy, is kept back
// for one fragment at a time, the holder. It keeps that right until it is
// decided; then the next has its turn, and what the others hold always leaves
// room for it. The holder must not depend on anybody who waits for memory: it is
// chosen for the oldest that waits, and is the lowest-numbered of that one's
// stream that is still arriving, for a stream decides its fragments in order.
//
// What sessions hold beside their fragments counts too: all of it against what is
// cached, so that with many sessions the tails are shorter, and half of it against
// what is firm, the holder's apart.
type budget struct {
	age atomic.Uint64 // given out at each Begin, so in number order within a stream

	mu       sync.Mutex // never held together with a stream's
	total    int64
	reserve  int64
	used     int64 // all that is held, cached included
	cached   int64
	joined   int   // sessions
	beside   int64 // what they hold beside fragments, as far as it counts
	holder   *charge
	waiting  []*waiter // oldest charge first
	volatile list.List // of *frag: cached, of streams without retention
	durable  list.List // of *frag: cached
}

// charge is what one fragment holds.
type charge struct {
	age   uint64
	group *group
	held  int64
}

// group is the charges of a stream's fragments that are still arriving, oldest
// first.
type group struct{ arriving []*charge }

type waiter struct {
	c     *charge
	n     int64
	ready chan struct{} // closed when granted
}

// reserveSlack covers what a fragment holds beside its bytes: the frame index
// and the leading bytes, twice.
const reserveSlack = 2 * (maxFrames*entryCost + 2<<20)

// sessionCost is what a session holds beside its fragments: the block that is
// being filled, buffers of its connection, two stacks.
const sessionCost = 96 << 10

// sessions says that n sessions more are there.
func (b *budget) sessions(n int) {
	b.mu.Lock()
	b.joined += n
	b.beside = min(int64(b.joined)*sessionCost, b.total/4)
	victims := b.squeezeLocked()
	b.mu.Unlock()
	dropAll(victims)
}

// entryCost is what a frame's index entry holds, in bytes.
const entryCost = 48

func newBudget(total, maxFragment int64) (*budget, error) {
	if total < 4*maxFragment {
		return nil, fmt.Errorf("memory budget: %d bytes, must hold at least four of the largest fragments (%d bytes each): %d", total, maxFragment, 4*maxFragment)
	}
	return &budget{total: total, reserve: min(2*maxFragment+reserveSlack, total/4*3)}, nil
}

// enter says that a fragment has begun to arrive, with its age and group set.
func (b *budget) enter(c *charge) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := c.group
	at, _ := slices.BinarySearchFunc(g.arriving, c.age, func(x *charge, age uint64) int { return cmp.Compare(x.age, age) })
	g.arriving = slices.Insert(g.arriving, at, c)
	if h := b.holder; h != nil && h.group == g && h.age > c.age {
		// Somebody that must wait for c was faster to enter.
		b.holder = c
	}
}

func (b *budget) arrivedLocked(c *charge) {
	if i := slices.Index(c.group.arriving, c); i >= 0 {
		c.group.arriving = slices.Delete(c.group.arriving, i, i+1)
	}
}

// tryTake lets c hold n bytes in all when there is room now; took says that it
// held less before. Fragments that had to be let go for it are dropped from their
// tails before it returns.
func (b *budget) tryTake(c *charge, n int64) (took, ok bool) {
	b.mu.Lock()
	n -= c.held
	if n <= 0 || len(b.waiting) > 0 || !b.fitsLocked(c, n) {
		b.mu.Unlock()
		return false, n <= 0
	}
	victims := b.grantLocked(c, n)
	b.mu.Unlock()
	dropAll(victims)
	return true, true
}

// take waits until c may hold n bytes in all, until ctx ends, or until stop is
// closed, which gives ErrYield.
func (b *budget) take(ctx context.Context, stop <-chan struct{}, c *charge, n int64) error {
	b.mu.Lock()
	if n -= c.held; n <= 0 {
		b.mu.Unlock()
		return nil
	}
	w := &waiter{c: c, n: n, ready: make(chan struct{})}
	at, _ := slices.BinarySearchFunc(b.waiting, c.age, func(x *waiter, age uint64) int { return cmp.Compare(x.c.age, age) })
	b.waiting = slices.Insert(b.waiting, at, w)
	victims := b.serveLocked()
	b.mu.Unlock()
	dropAll(victims)
	err := ErrYield
	select {
	case <-w.ready:
		return nil
	case <-stop:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	b.mu.Lock()
	if i := slices.Index(b.waiting, w); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else { // granted in the meantime
		b.used -= n
		c.held -= n
	}
	victims = b.serveLocked()
	b.mu.Unlock()
	dropAll(victims)
	return err
}

func (b *budget) fitsLocked(c *charge, n int64) bool {
	limit := b.total
	if c != b.holder {
		limit -= b.reserve + b.beside/2
	}
	return b.used-b.cached+n <= limit
}

func (b *budget) grantLocked(c *charge, n int64) []*frag {
	b.used += n
	c.held += n
	return b.squeezeLocked()
}

// serveLocked grants what can be granted now.
func (b *budget) serveLocked() (victims []*frag) {
	for len(b.waiting) > 0 {
		i := 0
		if w := b.waiting[0]; !b.fitsLocked(w.c, w.n) {
			if b.holder == nil {
				b.holder = w.c
				if a := w.c.group.arriving; len(a) > 0 {
					b.holder = a[0]
				}
				continue
			}
			// Nobody passes the oldest, the holder apart: all wait for it.
			i = slices.IndexFunc(b.waiting, func(w *waiter) bool { return w.c == b.holder })
			if i < 0 || !b.fitsLocked(b.holder, b.waiting[i].n) {
				return victims
			}
		}
		w := b.waiting[i]
		b.waiting = slices.Delete(b.waiting, i, i+1)
		victims = append(victims, b.grantLocked(w.c, w.n)...)
		close(w.ready)
	}
	return victims
}

// squeezeLocked takes cached fragments out until the pool is no longer
// overdrawn. The caller drops them when it has let go of the mutex.
func (b *budget) squeezeLocked() (victims []*frag) {
	for b.used+b.beside > b.total {
		l := &b.volatile
		if l.Len() == 0 {
			l = &b.durable
		}
		e := l.Front()
		if e == nil {
			return victims
		}
		victims = append(victims, b.uncacheLocked(e.Value.(*frag)))
	}
	return victims
}

func (b *budget) uncacheLocked(f *frag) *frag {
	l := &b.durable
	if f.volatile {
		l = &b.volatile
	}
	l.Remove(f.cachedAt)
	f.cachedAt = nil
	b.cached -= f.charge.held
	b.used -= f.charge.held
	f.charge.held = 0
	return f
}

// adjust says that c's fragment has arrived and holds n bytes from now on. It
// does not wait: what was taken ahead is more or, by a little, less.
func (b *budget) adjust(c *charge, n int64) {
	b.mu.Lock()
	b.arrivedLocked(c)
	b.used += n - c.held
	c.held = n
	victims := append(b.squeezeLocked(), b.serveLocked()...)
	b.mu.Unlock()
	dropAll(victims)
}

// give ends a charge: its fragment was aborted.
func (b *budget) give(c *charge) {
	b.mu.Lock()
	b.arrivedLocked(c)
	b.used -= c.held
	c.held = 0
	if b.holder == c {
		b.holder = nil
	}
	victims := b.serveLocked()
	b.mu.Unlock()
	dropAll(victims)
}

// cache says that f is decided and holds n bytes that can be let go from now on.
func (b *budget) cache(f *frag, n int64) {
	b.mu.Lock()
	c := f.charge
	b.arrivedLocked(c)
	b.used += n - c.held
	c.held = n
	b.cached += n
	if b.holder == c {
		b.holder = nil
	}
	if f.volatile {
		f.cachedAt = b.volatile.PushBack(f)
	} else {
		f.cachedAt = b.durable.PushBack(f)
	}
	victims := append(b.squeezeLocked(), b.serveLocked()...)
	b.mu.Unlock()
	dropAll(victims)
}

// uncache takes f out when it is still cached; the caller drops it then.
func (b *budget) uncache(f *frag) bool {
	b.mu.Lock()
	if f.cachedAt == nil {
		b.mu.Unlock()
		return false
	}
	b.uncacheLocked(f)
	victims := b.serveLocked()
	b.mu.Unlock()
	dropAll(victims)
	return true
}

// Memory is how the server's media memory is used, in bytes.
type Memory struct {
	Budget  int64
	Used    int64 // open, waiting to be durable, and cached
	Cached  int64 // of it: can be let go at once
	Waiting int   // sessions that wait for room
}

func (b *budget) stats() Memory {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Memory{Budget: b.total, Used: b.used, Cached: b.cached, Waiting: len(b.waiting)}
}

// dropAll takes fragments out of their tails; the budget has let go of them.
func dropAll(victims []*frag) {
	for _, f := range victims {
		f.o.drop(f)
	}
}
