package playback

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// cache keeps values under a bound of bytes, the least recently used going
// first, and makes each once however many ask for it at the same time.
//
// What is made is shared: a live segment is read and packaged for the first of a
// thousand viewers.
type cache struct {
	max int64

	mu      sync.Mutex
	entries map[any]*list.Element // of *cached
	order   list.List             // most recently used in front
	size    int64
}

type cached struct {
	key   any
	cost  int64
	ready chan struct{} // closed when value or err is set
	value any
	err   error
}

func newCache(max int64) *cache {
	return &cache{max: max, entries: make(map[any]*list.Element)}
}

// get returns the value of key, loading it when it is not there; load says what
// keeping it costs. load runs on the goroutine of the first that asks and is not
// cancelled with its ctx, as others wait for it; who waits stops waiting when its
// own ctx ends. Errors are not kept.
func get[V any](ctx context.Context, c *cache, key any, load func(context.Context) (V, int64, error)) (V, error) {
	var none V
	c.mu.Lock()
	if e, ok := c.entries[key]; ok {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		entry := e.Value.(*cached)
		select {
		case <-entry.ready:
		case <-ctx.Done():
			return none, ctx.Err()
		}
		if entry.err != nil {
			return none, entry.err
		}
		return entry.value.(V), nil
	}
	entry := &cached{key: key, ready: make(chan struct{}), err: errLoad}
	c.entries[key] = c.order.PushFront(entry)
	c.mu.Unlock()

	var cost int64
	defer func() { // also when load panics: nobody may wait for ever
		c.mu.Lock()
		defer c.mu.Unlock()
		close(entry.ready)
		if entry.err != nil {
			c.removeLocked(key, entry)
			return
		}
		c.addLocked(entry, cost)
	}()
	v, cost, err := load(context.WithoutCancel(ctx))
	entry.value, entry.err = v, err
	return v, err
}

var errLoad = errors.New("loading broke off")

func (c *cache) addLocked(entry *cached, cost int64) {
	if _, ok := c.entries[entry.key]; !ok {
		return // others have pushed it out while it was loaded
	}
	entry.cost = cost
	c.size += cost
	for c.size > c.max {
		old := c.order.Back().Value.(*cached)
		c.removeLocked(old.key, old)
	}
}

func (c *cache) removeLocked(key any, entry *cached) {
	if e, ok := c.entries[key]; ok && e.Value.(*cached) == entry {
		delete(c.entries, key)
		c.order.Remove(e)
		c.size -= entry.cost
	}
}
