package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/store/crashfs"
)

// stumble runs the script on a disk that fails some operations, going on after
// each failure as a server does, and checks that no promise is broken: at once,
// after a power cut, and when the store is used again.
func stumble(t *testing.T, mount string, seed uint64, fail func(crashfs.Op) error) {
	o := crashOptions
	o.FullWait = -1
	l := newLife(t, mount, o)
	defer l.close()
	l.fs.Fail(fail)
	a, b := streamID(0), streamID(1)
	ctx := context.Background()
	for range 8 { // a server is started again
		if l.open() == nil {
			break
		}
		l.close()
	}
	if l.s == nil {
		t.Error("the store does not open")
		return
	}
	for _, step := range []func() error{
		func() error { return l.take(a) },
		func() error { return l.put(a, 100, 20_000) },
		func() error { return l.take(b) },
		func() error { return l.put(b, 30_000) },
		func() error { return l.put(a, 40_000) },
		func() error { return l.put(a, 5000, 70) },
		func() error { return l.s.CheckpointNow(ctx) },
		func() error { return l.trim(a, 3) },
		func() error { return l.drop(b) },
		func() error { return l.put(a, 12_000) },
	} {
		if err := step(); err != nil && errors.Is(err, store.ErrCorrupt) {
			t.Error(err)
		}
	}
	l.fs.Fail(nil)
	// It resumes by itself.
	if err := errors.Join(l.take(a), l.put(a, 300, 3000)); err != nil {
		t.Errorf("after the fault: %v", err)
	}
	l.check()
	l.powerCut(seed)
	l.goOn()
}

func TestEIOOnEverySync(t *testing.T) {
	t.Parallel()
	each(t, "sync", func(n int) func(crashfs.Op) error {
		var syncs atomic.Int64
		return func(op crashfs.Op) error {
			if strings.HasPrefix(op.Kind, "sync") && syncs.Add(1) == int64(n) {
				return syscall.EIO
			}
			return nil
		}
	})
}

func TestNoSpaceAtEveryWrite(t *testing.T) {
	t.Parallel()
	each(t, "nospace", func(n int) func(crashfs.Op) error {
		var writes atomic.Int64
		return func(op crashfs.Op) error {
			switch op.Kind {
			case "write", "create", "mkdir", "truncate":
				// The disk stays full for a while.
				if w := writes.Add(1); w >= int64(n) && w < int64(n)+4 {
					return syscall.ENOSPC
				}
			}
			return nil
		}
	})
}

// each runs stumble with the fault at the first, second, ... of its operations,
// until there are no more.
func each(t *testing.T, name string, fault func(n int) func(crashfs.Op) error) {
	hits := 0
	for n := 1; !t.Failed(); n++ {
		hit := false
		fail := fault(n)
		stumble(t, "fault-"+name, uint64(n), func(op crashfs.Op) error {
			err := fail(op)
			hit = hit || err != nil
			return err
		})
		if t.Failed() {
			t.Logf("that was fault %d", n)
		}
		if !hit {
			t.Logf("%d faults", hits)
			return
		}
		hits++
	}
}

func TestAFlippedBitIsNeverReturnedAsGood(t *testing.T) {
	t.Parallel()
	flips := 400
	if long() {
		flips = 10_000
	}
	kinds := map[string]int{}
	found := map[string]int{}
	for i := range flips {
		r := rand.New(rand.NewPCG(uint64(i), 5))
		l := newLife(t, "flip", crashOptions)
		a, b := streamID(0), streamID(1)
		err := errors.Join(l.open(), l.take(a), l.put(a, 100, 9000), l.take(b), l.put(b, 70_000, 3), l.put(a, 30_000, 700), l.put(b, 1))
		if err == nil && i%2 == 0 {
			err = l.s.CheckpointNow(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%4 < 2 {
			l.close() // else it is flipped under a running server, too
		}
		files := l.fs.Files("/data")
		name := files[r.IntN(len(files))]
		fi, err := l.fs.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Size() == 0 {
			l.close()
			continue
		}
		l.fs.Flip(name, r.Int64N(fi.Size()*8))
		kind := name[strings.LastIndexByte(name, '/')+1:]
		if j := strings.LastIndexByte(kind, '.'); j >= 0 {
			kind = kind[j:]
		}
		kinds[kind]++
		bad := func(err error) { found[kind]++ }
		if l.s != nil {
			readAll(l, kind, bad)
		}
		l.close()
		if err := l.open(); err != nil {
			bad(err) // refused as a whole, with the reason
		} else {
			readAll(l, kind, bad)
		}
		l.close()
		if t.Failed() {
			t.Fatalf("case %d, %s", i, name)
		}
	}
	t.Logf("bits flipped: %v, noticed: %v (others lay in padding, headers of files, free pages)", kinds, found)
}

// readAll reads everything there is, by listing and by number.
func readAll(l *life, kind string, bad func(error)) {
	for id, p := range l.streams {
		var entries []store.Entry
		for e, err := range l.s.List(context.Background(), id, store.Query{}) {
			if err != nil {
				bad(err)
				break
			}
			entries = append(entries, e)
		}
		for n := range p.acked {
			if e, err := l.s.Get(context.Background(), id, n, time.Time{}); err == nil {
				entries = append(entries, e)
			}
		}
		for _, e := range entries {
			b, err := readBlob(context.Background(), l.s, e)
			if err != nil {
				bad(err)
				var c *store.CorruptError
				if kind == ".rec" && (!errors.As(err, &c) || !strings.HasSuffix(c.File, ".rec") || c.Offset != e.At.Offset) {
					l.t.Errorf("the error does not name the place: %v", err)
				}
				continue
			}
			r, known := p.tried[e.Number]
			if !known || !bytes.Equal(b, body(r)) || e.Meta != r.Meta {
				l.t.Errorf("fragment %v was given out and is not what was appended: %+v", e.Number, e)
			}
		}
		// The others are not harmed.
		if kind == ".rec" && len(entries) < 2*len(p.acked) {
			l.t.Errorf("%d of %d fragments are listed", len(entries)/2, len(p.acked))
		}
	}
}

func TestNoRoom(t *testing.T) {
	t.Parallel()
	o := crashOptions
	o.LowWater, o.FullWait = 1<<20, 300*time.Millisecond
	l := newLife(t, "room", o)
	defer l.close()
	id := streamID(0)
	if err := errors.Join(l.open(), l.take(id), l.put(id, 5000)); err != nil {
		t.Fatal(err)
	}
	l.fs.SetSpace(1<<20, 1<<30)
	room, mark, err := l.s.Room()
	if err != nil || room != 0 || mark != 1<<20 {
		t.Errorf("room %d mark %d %v", room, mark, err)
	}
	begin := time.Now()
	if err := l.put(id, 5000); !errors.Is(err, store.ErrFull) {
		t.Errorf("below the mark: %v", err)
	}
	if waited := time.Since(begin); waited < o.FullWait {
		t.Errorf("refused after %v, want it held back for %v", waited, o.FullWait)
	}
	// Reads go on, and room that comes back in time is enough.
	l.check()
	p := l.promise(id)
	r := record(id, p.epoch, p.counter, 100)
	p.counter++
	p.tried[r.Number] = r
	k := l.s.Append(p.epoch, r)
	l.fs.SetSpace(2<<20, 1<<30)
	wait(t, k)
	if err := l.put(id, 100); err != nil {
		t.Errorf("with room again: %v", err)
	}
	l.check()
}

// Deleting makes room also when there is none.
func TestTrimOnAFullDisk(t *testing.T) {
	t.Parallel()
	o := crashOptions
	o.FullWait = -1
	l := newLife(t, "full", o)
	defer l.close()
	id := streamID(0)
	if err := errors.Join(l.open(), l.take(id), l.put(id, 60_000), l.put(id, 60_000), l.put(id, 60_000)); err != nil {
		t.Fatal(err)
	}
	l.fs.Fail(func(op crashfs.Op) error {
		if op.Kind == "write" && strings.HasSuffix(op.Name, ".rec") {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := l.put(id, 100); !errors.Is(err, store.ErrFull) || !errors.Is(err, store.ErrVolume) {
		t.Errorf("%v", err)
	}
	if err := l.trim(id, 2); err != nil {
		t.Errorf("trimming: %v", err)
	}
	if files := l.fs.Files("/data/media/" + string(id)); len(files) > 3 {
		t.Errorf("%d files left: %v", len(files), files)
	}
	l.fs.Fail(nil)
	if err := l.put(id, 100); err != nil {
		t.Error(err)
	}
	l.check()
	if t.Failed() {
		fmt.Println(l.fs.Files("/"))
	}
}

// What is queued behind a record that fails, and is not to be kept without it, is
// not; what does not depend on it is.
func TestWhatFollowsAFailureIsWithdrawn(t *testing.T) {
	t.Parallel()
	o := crashOptions
	o.FullWait = -1
	l := newLife(t, "after", o)
	defer l.close()
	id := streamID(0)
	if err := errors.Join(l.open(), l.take(id), l.put(id, 100)); err != nil {
		t.Fatal(err)
	}
	hangs, release := make(chan struct{}), make(chan struct{})
	var syncs atomic.Int64
	l.fs.Fail(func(op crashfs.Op) error {
		if strings.HasPrefix(op.Kind, "sync") && strings.HasSuffix(op.Name, ".rec") && syncs.Add(1) == 1 {
			close(hangs)
			<-release
			return syscall.EIO
		}
		return nil
	})
	p := l.promise(id)
	appended := func(after *store.Ticket) *store.Ticket {
		r := record(id, p.epoch, p.counter, 1000)
		p.counter++
		p.tried[r.Number] = r
		r.After = after
		return l.s.Append(p.epoch, r)
	}
	first := appended(nil)
	<-hangs
	second := appended(first) // waits in the queue
	other := appended(nil)
	third := appended(second)
	close(release)
	for i, k := range []*store.Ticket{first, second, third} {
		if <-k.Done(); !errors.Is(k.Err(), store.ErrVolume) {
			t.Errorf("record %d: %v", i, k.Err())
		}
	}
	wait(t, other)
	fourth := appended(third) // comes when all is decided
	if <-fourth.Done(); !errors.Is(fourth.Err(), store.ErrVolume) {
		t.Errorf("the last: %v", fourth.Err())
	}
	wait(t, appended(other))
	l.check()
	got := 0
	for range l.s.List(t.Context(), id, store.Query{}) {
		got++
	}
	if got != 3 {
		t.Errorf("%d listed, want the first, the one that depends on nothing, and the one behind it", got)
	}
}
