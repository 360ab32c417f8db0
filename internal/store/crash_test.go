package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/store/crashfs"
)

// long reports whether the long versions of tests are asked for.
func long() bool { return os.Getenv("SLUICE_LONG") != "" }

// life is a store on a file system that can lose power, and what was promised.
type life struct {
	t     *testing.T
	fs    *crashfs.FS
	mount string
	lives int
	o     store.Options
	db    *db.DB
	s     *store.Store

	mu      sync.Mutex
	streams map[sluice.StreamID]*promise
}

// promise is what is known of a stream from outside.
type promise struct {
	epoch   store.Epoch
	counter int
	tried   map[sluice.FragmentNumber]store.Record // appended, acknowledged or not
	acked   map[sluice.FragmentNumber]uint64       // position
	// gone are fragments that a finished Trim took away; fading those that one
	// which was interrupted may have.
	gone, fading map[sluice.FragmentNumber]bool
	drop         int // 1: begun, 2: done
}

func newLife(t *testing.T, mount string, o store.Options) *life {
	l := &life{t: t, fs: crashfs.New(), mount: mount, o: o, streams: map[sluice.StreamID]*promise{}}
	if err := errors.Join(l.fs.Mkdir("/data"), l.fs.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return l
}

// open opens the store; an error means that the power went.
func (l *life) open() error {
	// Another name each time: a connection of the life before may still be closing.
	l.lives++
	mount := fmt.Sprintf("%s-%d", l.mount, l.lives%8)
	l.fs.Mount(mount)
	var err error
	l.db, err = db.Open(context.Background(), db.Options{Path: "/data/index.db", VFS: mount, Exclusive: true, ManualCheckpoint: true})
	if err != nil {
		return err
	}
	o := l.o
	o.Dir, o.Index, o.FS, o.Window, o.Checkpoint = "/data/media", l.db, l.fs, -1, -1
	if l.s, err = store.Open(context.Background(), o); err != nil {
		l.s = nil
	}
	return err
}

func (l *life) close() {
	if l.s != nil {
		l.s.Close()
	}
	if l.db != nil {
		l.db.Close()
	}
	l.s, l.db = nil, nil
}

func (l *life) promise(id sluice.StreamID) *promise {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.streams[id]
	if p == nil {
		p = &promise{
			tried: map[sluice.FragmentNumber]store.Record{}, acked: map[sluice.FragmentNumber]uint64{},
			gone: map[sluice.FragmentNumber]bool{}, fading: map[sluice.FragmentNumber]bool{},
		}
		l.streams[id] = p
	}
	return p
}

func (l *life) take(id sluice.StreamID) error {
	p := l.promise(id)
	e, _, err := l.s.Take(context.Background(), id)
	if err == nil {
		if e <= p.epoch {
			l.t.Errorf("epoch %d after %d", e, p.epoch)
		}
		p.epoch = e
	}
	return err
}

// put appends fragments of the sizes together and notes which were acknowledged.
func (l *life) put(id sluice.StreamID, sizes ...int) error {
	p := l.promise(id)
	tickets := make([]*store.Ticket, len(sizes))
	numbers := make([]sluice.FragmentNumber, len(sizes))
	for i, size := range sizes {
		r := record(id, p.epoch, p.counter, size)
		p.counter++
		p.tried[r.Number], numbers[i] = r, r.Number
		tickets[i] = l.s.Append(p.epoch, r)
	}
	var err error
	for i, k := range tickets {
		<-k.Done()
		if k.Err() != nil {
			err = k.Err()
			continue
		}
		p.acked[numbers[i]] = k.Entry().Position
	}
	return err
}

// trim removes what is older than the fragment of that counter.
func (l *life) trim(id sluice.StreamID, counter int) error {
	p := l.promise(id)
	before := time.UnixMilli(t0 + 1000*int64(counter))
	for n, r := range p.tried {
		if r.ServerMs < before.UnixMilli() && !p.gone[n] {
			p.fading[n] = true
		}
	}
	if err := l.s.Trim(context.Background(), id, before); err != nil {
		return err
	}
	there := map[sluice.FragmentNumber]bool{}
	for e, err := range l.s.List(context.Background(), id, store.Query{}) {
		if err != nil {
			return err
		}
		there[e.Number] = true
	}
	for n := range p.fading {
		if !there[n] {
			p.gone[n] = true
		}
	}
	clear(p.fading)
	return nil
}

func (l *life) drop(id sluice.StreamID) error {
	p := l.promise(id)
	p.drop = 1
	err := l.s.Drop(context.Background(), id)
	if err == nil {
		p.drop = 2
	}
	return err
}

// check compares what the store has with what was promised.
func (l *life) check() {
	l.t.Helper()
	for id, p := range l.streams {
		var got []store.Entry
		for e, err := range l.s.List(context.Background(), id, store.Query{Order: store.ByNumber}) {
			if err != nil {
				l.t.Fatalf("listing: %v", err)
			}
			got = append(got, e)
		}
		there := map[sluice.FragmentNumber]bool{}
		for i, e := range got {
			r, known := p.tried[e.Number]
			pos, acked := p.acked[e.Number]
			there[e.Number] = true
			switch b, err := readBlob(context.Background(), l.s, e); {
			case !known:
				l.t.Fatalf("fragment %v was never appended", e.Number)
			case p.gone[e.Number]:
				l.t.Errorf("fragment %v was deleted and is back", e.Number)
			case errors.Is(err, store.ErrNone) && p.fading[e.Number]: // just deleted
			case err != nil:
				l.t.Errorf("fragment %v (acknowledged: %v): %v", e.Number, acked, err)
			case !bytes.Equal(b, body(r)) || e.Meta != r.Meta:
				l.t.Errorf("fragment %v (acknowledged: %v) is not what was appended", e.Number, acked)
			case acked && pos != e.Position:
				l.t.Errorf("fragment %v is at position %d, was acknowledged at %d", e.Number, e.Position, pos)
			case i > 0 && e.Position <= got[i-1].Position:
				l.t.Errorf("position %d follows %d", e.Position, got[i-1].Position)
			}
			if i > 0 {
				for pos := got[i-1].Position + 1; pos < e.Position; pos++ {
					if !p.trimmedAt(pos) {
						l.t.Errorf("position %d is missing", pos)
					}
				}
			}
		}
		if p.drop > 0 && len(got) == 0 {
			continue
		}
		if p.drop == 2 {
			l.t.Errorf("a dropped stream has %d fragments", len(got))
		}
		for n := range p.acked {
			if !there[n] && !p.gone[n] && !p.fading[n] {
				l.t.Errorf("fragment %v was acknowledged and is lost", n)
			}
		}
		for n := range p.tried {
			if !there[n] { // and what is gone stays gone
				p.gone[n] = true
			}
		}
	}
}

// trimmedAt reports whether the fragment of that position was deleted.
func (p *promise) trimmedAt(pos uint64) bool {
	for n := range p.tried {
		if p.gone[n] || p.fading[n] {
			if at, acked := p.acked[n]; !acked || at == pos {
				return true
			}
		}
	}
	return false
}

// script is a life in short: create, put, roll, trim, delete, restart, retention.
func (l *life) script() error {
	a, b, c := streamID(0), streamID(1), streamID(2)
	ctx := context.Background()
	steps := []func() error{
		l.open,
		func() error { return l.take(a) },
		func() error { return l.put(a, 100) },
		func() error { return l.put(a, 9000, 20_000) },
		func() error { return l.take(b) },
		func() error { return l.put(b, 30_000) },
		func() error { return l.put(a, 40_000) }, // the file is left here
		func() error { return l.put(a, 5000, 70) },
		func() error { return l.s.CheckpointNow(ctx) },
		func() error { return l.trim(a, 4) },
		func() error { return l.put(b, 100) },
		func() error { return l.drop(b) },
		func() error { return l.put(a, 12_000) },
		func() error { return l.take(a) }, // a new epoch
		func() error { return l.put(a, 100) },
		func() error { l.close(); return l.open() },
		func() error { return errors.Join(l.take(a), l.take(c)) },
		func() error { return l.put(c, 1000, 2000) },
		func() error { return l.put(a, 33_000) },
		func() error { return l.trim(a, 100) },
		func() error { return l.put(a, 500) },
		func() error { return l.s.CheckpointNow(ctx) },
		func() error { return l.put(c, 1) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if l.fs.Dead() {
			return crashfs.ErrPower
		}
	}
	l.close()
	return nil
}

// powerCut goes on after a cut: recovered, checked, used again, checked.
func (l *life) powerCut(seed uint64) {
	l.t.Helper()
	next := l.fs.PowerCut(seed)
	l.close()
	l.fs = next
	if err := l.open(); err != nil {
		l.t.Fatalf("opening after the cut: %v", err)
	}
	l.check()
}

// goOn uses the store after a cut.
func (l *life) goOn() {
	l.t.Helper()
	for id, p := range l.streams {
		if p.drop > 0 {
			if err := l.drop(id); err != nil {
				l.t.Errorf("dropping again: %v", err)
			}
			continue
		}
		if err := errors.Join(l.take(id), l.put(id, 3000, 10)); err != nil {
			l.t.Errorf("going on: %v", err)
		}
	}
	l.check()
}

var crashOptions = store.Options{MaxFile: 48 << 10, Handles: 4, LowWater: -1}

func TestPowerCutAtEveryOperation(t *testing.T) {
	t.Parallel()
	count := newLife(t, "crash-count", crashOptions)
	if err := count.script(); err != nil {
		t.Fatal(err)
	}
	ops := count.fs.Ops()
	// How background work falls between the steps differs from run to run, so
	// there may be a few more operations.
	ops += 10
	each := 1
	if long() {
		each = 20
	}
	workers(t, ops*each, func(worker, i int) {
		cut, seed := i%ops+1, uint64(i)
		l := newLife(t, fmt.Sprintf("crash-every-%d", worker), crashOptions)
		defer l.close()
		l.fs.CutAt(cut)
		if err := l.script(); err != nil && !l.fs.Dead() {
			t.Errorf("cut %d: an error with power: %v", cut, err)
			return
		}
		l.powerCut(seed)
		l.goOn()
		if t.Failed() {
			t.Logf("that was the cut before operation %d, seed %d", cut, seed)
		}
	})
	t.Logf("%d operations, %d power cuts", ops, ops*each)
}

// workers runs n cases, some side by side, until one fails.
func workers(t *testing.T, n int, fn func(worker, i int)) {
	var next, wg = make(chan int), sync.WaitGroup{}
	for w := range 2 {
		wg.Go(func() {
			for i := range next {
				fn(w, i)
			}
		})
	}
	for i := range n {
		if t.Failed() {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
}

// TestPowerCutsAtRandom has several writers at once, and several cuts in a life.
func TestPowerCutsAtRandom(t *testing.T) {
	t.Parallel()
	cuts := 150
	if long() {
		cuts = 10_000
	}
	workers(t, cuts/3, func(worker, i int) {
		r := rand.New(rand.NewPCG(uint64(i), 99))
		o := crashOptions
		o.SideBySide = []int{0, 1, -1}[r.IntN(3)]
		l := newLife(t, fmt.Sprintf("crash-random-%d", worker), o)
		defer l.close()
		if err := l.open(); err != nil {
			t.Error(err)
			return
		}
		for range 3 {
			l.fs.CutAt(1 + r.IntN(150))
			var wg sync.WaitGroup
			for w := range 3 {
				rw := rand.New(rand.NewPCG(r.Uint64(), 1))
				wg.Go(func() {
					id := streamID(w)
					p := l.promise(id)
					if p.drop > 0 || l.take(id) != nil {
						return
					}
					for range 40 {
						var err error
						switch rw.IntN(12) {
						case 0:
							err = l.trim(id, p.counter-rw.IntN(10))
						case 1:
							err = l.take(id)
						case 2:
							if rw.IntN(20) == 0 {
								l.drop(id)
								return
							}
						case 3:
							err = l.s.CheckpointNow(context.Background())
						default:
							sizes := make([]int, 1+rw.IntN(3))
							for i := range sizes {
								sizes[i] = 1 + rw.IntN(1<<(4+rw.IntN(13)))
							}
							err = l.put(id, sizes...)
						}
						if err != nil {
							return
						}
					}
				})
			}
			wg.Wait()
			l.powerCut(r.Uint64())
			if t.Failed() {
				t.Logf("that was case %d", i)
				return
			}
		}
		l.goOn()
	})
}
