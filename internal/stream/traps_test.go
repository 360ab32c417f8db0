package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

// Each test here is a trap of docs/architecture.md: a failure that was found in
// a design and that this one must not have.

func bubble(t *testing.T, run func(t *testing.T, s *server), change ...func(*streamtest.Settings)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { run(t, start(t, change...)) })
}

func code(err error) sluice.AckErrorCode {
	var c sluice.AckErrorCode
	errors.As(err, &c)
	return c
}

// A session ends cleanly between the end of a fragment and its commit: what is
// complete is decided all the same, and its ticket tells.
func TestTrapSessionEndsBeforeItsCommit(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *streamtest.Settings) { o.Store.Window = 200 * time.Millisecond })
	st := s.Create("cam", 24*time.Hour)
	x := s.join("cam")
	o := s.begin(x, 1000)
	s.add(o, elements(100, 1), 1000)
	k := o.Commit(t.Context())
	x.Leave(nil)
	if err := wait(t, k); err != nil {
		t.Fatal(err)
	}
	if _, err := s.reg.Get(t.Context(), st.ID, o.Number()); err != nil {
		t.Error(err)
	}
}

// Two sessions overlap and the older one stalls in a fragment: the newer's waits
// for its decision, five seconds after the older's last byte, and not longer.
func TestTrapOlderSessionStalls(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.Create("cam", 24*time.Hour)
		old, young := s.join("cam"), s.join("cam")
		stuck := s.begin(old, 1000)
		s.add(stuck, elements(100, 1), 1000)
		began := time.Now()
		o := s.begin(young, 2000)
		s.add(o, elements(100, 2), 2000)
		k := o.Commit(t.Context())
		select {
		case <-k.Done():
			t.Error("decided before the older one")
		case <-time.After(4900 * time.Millisecond):
		}
		if err := wait(t, k); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 5*time.Second || d > 5100*time.Millisecond {
			t.Errorf("decided after %v, want 5 s", d)
		}
		<-old.Context().Done()
		if got := code(old.Err()); got != sluice.StreamReadError {
			t.Errorf("the stalled session ended with %v", old.Err())
		}
		if err := stuck.Append(t.Context(), elements(10, 3), nil); code(err) != sluice.StreamReadError {
			t.Errorf("append to the aborted fragment: %v", err)
		}
		if err := wait(t, stuck.Commit(t.Context())); code(err) != sluice.StreamReadError {
			t.Errorf("commit of it: %v", err)
		}
	})
}

// An older session that is slow, and not silent, is waited for.
func TestTrapOlderSessionIsSlow(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.Create("cam", 24*time.Hour)
		old, young := s.join("cam"), s.join("cam")
		slow := s.begin(old, 1000)
		s.add(slow, elements(100, 1), 1000)
		o := s.begin(young, 2000)
		s.add(o, elements(100, 2), 2000)
		k := o.Commit(t.Context())
		for i := range 10 {
			time.Sleep(3 * time.Second)
			s.add(slow, elements(10, 1), 1001+int64(i))
		}
		first := slow.Commit(t.Context())
		if err := wait(t, k); err != nil {
			t.Fatal(err)
		}
		select {
		case <-first.Done():
		default:
			t.Error("the later fragment was decided first")
		}
		if err := wait(t, first); err != nil {
			t.Error(err)
		}
	})
}

// A network that is cut without a word, and the producer back at once: its first
// fragment is decided within its own length, whether it comes as the camera makes
// it or in one go, and whatever the length; a second at least, lest a stutter of
// an older session is taken for its end. Someone else waits for five.
func TestTrapReconnectAfterAnUnnoticedCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		length   time.Duration // of the first fragment
		remote   string
		live     bool          // else all of it at once
		within   time.Duration // from its begin
		stutters bool          // the older session speaks once more
	}{
		{"a second", time.Second, "10.0.0.7", true, time.Second, false},
		{"two seconds", 2 * time.Second, "10.0.0.7", true, 2 * time.Second, false},
		{"six seconds", 6 * time.Second, "10.0.0.7", true, 6 * time.Second, false},
		{"a second in one go", time.Second, "10.0.0.7", false, time.Second, false},
		{"three seconds in one go", 3 * time.Second, "10.0.0.7", false, 3 * time.Second, false},
		{"ten seconds in one go", 10 * time.Second, "10.0.0.7", false, 5 * time.Second, false},
		{"a single frame", 0, "10.0.0.7", false, time.Second, false},
		{"somebody else", time.Second, "10.0.0.8", false, 5 * time.Second, false},
		{"nobody knows who", time.Second, "", false, 5 * time.Second, false},
		{"not cut off", time.Second, "10.0.0.7", false, 5 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				s.Create("cam", 24*time.Hour)
				join := func(remote string) *stream.Session {
					x, err := s.reg.Join(t.Context(), ref("cam"), stream.SessionInfo{ID: "test", Remote: remote})
					if err != nil {
						t.Fatal(err)
					}
					return x
				}
				dead := join("10.0.0.7")
				defer dead.Leave(nil)
				cut := s.begin(dead, 1000)
				s.add(cut, elements(100, 1), 1000)
				time.Sleep(100 * time.Millisecond)
				x := join(c.remote)
				defer x.Leave(nil)
				if time.Sleep(time.Millisecond); c.stutters {
					s.add(cut, elements(100, 1), 1001)
				}
				began := time.Now()
				o := s.begin(x, 2000)
				for at := time.Duration(0); at <= c.length; at += 100 * time.Millisecond {
					s.add(o, elements(100, 2), 2000+at.Milliseconds())
					if c.live && at < c.length {
						time.Sleep(100 * time.Millisecond)
					}
				}
				if err := wait(t, o.Commit(t.Context())); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); d > c.within+20*time.Millisecond || d < c.within-110*time.Millisecond {
					t.Errorf("decided %v after its begin, want %v", d, c.within)
				}
				if code(dead.Err()) != sluice.StreamReadError {
					t.Errorf("the older session: %v", dead.Err())
				}
			})
		})
	}
}

// Ten sessions on one stream: each number once, in order, and tickets done in
// that order.
func TestTrapTenSessions(t *testing.T) {
	t.Parallel()
	s := start(t)
	st := s.Create("cam", 24*time.Hour)
	var mu sync.Mutex
	var done []sluice.FragmentNumber
	var wg sync.WaitGroup
	for n := range 10 {
		x := s.join("cam")
		wg.Go(func() {
			for i := range 20 {
				o, err := x.Begin(t.Context(), stream.FragmentHeader{Lead: header.Rest, Header: header, Producer: time.UnixMilli(int64(i))})
				if err != nil {
					t.Error(err)
					return
				}
				if err := o.Append(t.Context(), elements(50+n, byte(n)), nil); err != nil {
					t.Error(err)
				}
				k := o.Commit(t.Context())
				<-k.Done()
				mu.Lock()
				if k.Err() != nil {
					t.Error(k.Err())
				}
				done = append(done, o.Number())
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	seen := 0
	var last sluice.FragmentNumber
	var position uint64
	for e, err := range s.reg.List(t.Context(), st.ID, store.Query{Order: store.ByNumber}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Number.Compare(last) <= 0 || e.Position != position {
			t.Fatalf("fragment %v at position %d after %v", e.Number, e.Position, last)
		}
		last = e.Number
		position++
		seen++
	}
	if seen != 200 || len(done) != 200 {
		t.Errorf("%d listed, %d tickets, want 200", seen, len(done))
	}
}

// Over the limit the oldest session takes no further fragment, finishes the one
// it has, and ends.
func TestTrapOldestYields(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *streamtest.Settings) { o.Stream.MaxSessions = func() int { return 2 } })
	s.Create("cam", 24*time.Hour)
	idle, busy := s.join("cam"), s.join("cam")
	o := s.begin(busy, 1000)
	s.add(o, elements(100, 1), 1000)
	third := s.join("cam")
	<-idle.Context().Done()
	if !errors.Is(idle.Err(), stream.ErrYield) {
		t.Errorf("idle session: %v", idle.Err())
	}
	idle.Leave(nil)
	s.join("cam")
	if busy.Err() != nil {
		t.Errorf("busy session ended inside its fragment: %v", busy.Err())
	}
	if err := wait(t, o.Commit(t.Context())); err != nil {
		t.Error(err)
	}
	<-busy.Context().Done()
	if _, err := busy.Begin(t.Context(), stream.FragmentHeader{}); !errors.Is(err, stream.ErrYield) {
		t.Errorf("begun after that: %v", err)
	}
	s.put(third, 2000, 50)
}

// An abort after followers have half of a fragment, while another session goes
// on: the follower meets the end of the half and then the next fragment.
func TestTrapAbortUnderManyFollowers(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	x := s.join("cam")
	o := s.begin(x, 1000)
	s.add(o, elements(500, 1), 1000)
	var wg sync.WaitGroup
	for range 50 {
		c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectNow})
		f := next(t, c)
		wg.Go(func() {
			got := 0
			var last error
			for p, err := range f.Parts(t.Context()) {
				got += len(p.Bytes)
				last = err
			}
			if got != 500 || !errors.Is(last, stream.ErrAborted) {
				t.Errorf("%d bytes, then %v", got, last)
			}
			f, err := c.Next(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := f.Elements(t.Context()); err != nil || len(b) != 700 {
				t.Errorf("the next: %d bytes, %v", len(b), err)
			}
		})
	}
	o.Abort(sluice.StreamReadError)
	s.put(x, 2000, 700)
	wg.Wait()
}

// A Cluster of known size is shown when it is complete: cut off, it would swallow
// the chunk after it.
func TestTrapKnownSizeIsShownWhenComplete(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	x := s.join("cam")
	c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectNow})
	b := elements(500, 1)
	b[4] = 0x41 // two bytes of size
	o := s.begin(x, 1000)
	s.add(o, b[:200], 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if f, err := c.Next(ctx); err == nil {
		t.Fatalf("shown while it arrives: %v", f.Number)
	}
	s.add(o, b[200:], 1001)
	if err := wait(t, o.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if f := next(t, c); !bytes.Equal(read(t, f), b) {
		t.Error("other bytes")
	}
}

// Fifty fragments of 45 MB at once under 256 MiB: all become durable, none waits
// for ever, and the memory used stays under the budget.
func TestTrapFiftyLargeFragmentsUnderASmallBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 450 MB")
	}
	t.Parallel()
	// A tenth of the sizes, and of the budget, but in the long form.
	const count = 50
	size, budget, most := 4_500_000, int64(256<<20/10), int64(5<<20)
	if os.Getenv("SLUICE_LONG") != "" {
		size, budget, most = 45_000_000, 256<<20, 50_000_000
	}
	s := start(t, func(o *streamtest.Settings) { o.Stream.Budget, o.Stream.MaxFragment = budget, most })
	block := elements(64<<10, 1)
	var wg sync.WaitGroup
	for n := range count {
		name := fmt.Sprint("cam", n)
		s.Create(name, 24*time.Hour)
		x := s.join(name)
		wg.Go(func() {
			o, err := x.Begin(t.Context(), stream.FragmentHeader{Lead: header.Rest, Header: header, Producer: time.UnixMilli(1)})
			if err != nil {
				t.Error(err)
				return
			}
			for sent := 0; sent < size; sent += len(block) {
				if err := x.Grant(t.Context(), len(block)); err != nil {
					t.Error(err)
					return
				}
				if err := o.Append(t.Context(), block, nil); err != nil {
					t.Error(err)
					return
				}
				if m := s.reg.Memory(); m.Used > m.Budget {
					t.Errorf("%d of %d bytes used", m.Used, m.Budget)
				}
			}
			k := o.Commit(t.Context())
			<-k.Done()
			if k.Err() != nil {
				t.Error(k.Err())
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(2 * time.Minute):
		t.Fatalf("stuck: %+v", s.reg.Memory())
	}
	if m := s.reg.Memory(); m.Used != m.Cached || m.Waiting != 0 {
		t.Errorf("left: %+v", m)
	}
}

// Streams that hold memory and are aborted, deleted or left give it back.
func TestTrapMemoryComesBack(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i, end := range []func(x *stream.Session, o *stream.Open, name string){
		func(_ *stream.Session, o *stream.Open, _ string) { o.Abort(sluice.InvalidMKVData) },
		func(x *stream.Session, _ *stream.Open, _ string) { x.Leave(nil) },
		func(_ *stream.Session, _ *stream.Open, name string) {
			if _, err := s.Catalog.Delete(t.Context(), ref(name), ""); err != nil {
				t.Error(err)
			}
		},
	} {
		name := fmt.Sprint("cam", i)
		s.Create(name, 24*time.Hour)
		x := s.join(name)
		if err := x.Grant(t.Context(), 5000); err != nil {
			t.Fatal(err)
		}
		o := s.begin(x, 1000)
		s.add(o, elements(4000, 1), 1000)
		if err := x.Grant(t.Context(), 6000); err != nil {
			t.Fatal(err)
		}
		end(x, o, name)
		x.Leave(nil)
		if m := s.reg.Memory(); m.Used != 0 {
			t.Errorf("end %d: %+v", i, m)
		}
	}
}

// A stream is deleted and made again under readers and writers.
func TestTrapDeleteAndCreateAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	for round := range 5 {
		st := s.Create("cam", 24*time.Hour)
		x := s.join("cam")
		n, _ := s.put(x, 1000, 100)
		live := s.follow("cam", sluice.StartSelector{Type: sluice.SelectNow})
		archive := s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})
		if f := next(t, archive); f.Number != n {
			t.Errorf("round %d: the earliest is %v, want %v", round, f.Number, n)
		}
		o := s.begin(x, 2000)
		s.add(o, elements(100, 1), 2000)
		half := next(t, live)
		ended := make(chan error, 1)
		go func() {
			_, err := archive.Next(t.Context())
			if err == nil {
				_, err = archive.Next(t.Context())
			}
			ended <- err
		}()
		if _, err := s.Catalog.Delete(t.Context(), ref("cam"), ""); err != nil {
			t.Fatal(err)
		}
		if _, err := half.Elements(t.Context()); !errors.Is(err, stream.ErrDeleted) {
			t.Errorf("the half: %v", err)
		}
		if err := <-ended; !errors.Is(err, stream.ErrDeleted) {
			t.Errorf("a waiting reader: %v", err)
		}
		if code(x.Err()) != sluice.StreamNotActive {
			t.Errorf("the session: %v", x.Err())
		}
		if _, err := s.reg.Get(t.Context(), st.ID, n); err == nil {
			t.Error("a fragment of the deleted stream is given out")
		}
		for range s.reg.List(t.Context(), st.ID, store.Query{}) {
			break
		}
		if _, err := s.reg.Join(t.Context(), ref("cam"), stream.SessionInfo{}); sluice.CodeOf(err) != sluice.ResourceNotFound {
			t.Errorf("joined: %v", err)
		}
		if err := s.Store.Drop(t.Context(), st.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.Catalog.Forget(t.Context(), st.ID); err != nil {
			t.Fatal(err)
		}
		x.Leave(nil)
	}
}

// A reader from EARLIEST under writers, paused at random, and one that comes back
// by token a thousand times, see each number once and in order.
func TestTrapReadersSeeEachNumberOnce(t *testing.T) {
	t.Parallel()
	const writers, each, resumes = 20, 62, 1000
	// A small budget, so that most is read from the archive and much is dropped
	// from the tail under the readers.
	s := start(t, func(o *streamtest.Settings) { o.Stream.Budget, o.Stream.MaxFragment = 1<<20, 64<<10 })
	s.Create("cam", 24*time.Hour)
	first := s.join("cam")
	s.put(first, 1, 2000)
	var wg sync.WaitGroup
	for w := range writers {
		x := s.join("cam")
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				o, err := x.Begin(t.Context(), stream.FragmentHeader{Lead: header.Rest, Header: header, Producer: time.UnixMilli(int64(i))})
				if err != nil {
					t.Error(err)
					return
				}
				b := elements(100+rnd.IntN(20_000), byte(w))
				half := len(b) / 2
				o.Append(t.Context(), b[:half], nil)
				if rnd.IntN(10) == 0 {
					o.Abort(sluice.StreamReadError)
					continue
				}
				o.Append(t.Context(), b[half:], nil)
				k := o.Commit(t.Context())
				<-k.Done()
				if k.Err() != nil {
					t.Error(k.Err())
				}
			}
		})
	}
	// Readers note what they could read whole: an aborted fragment is met by some
	// and not by others.
	const last = 1 << 40 // the producer time of the last fragment
	reader := func(again int) (got []sluice.FragmentNumber, resumed int) {
		c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})
		rnd := rand.New(rand.NewPCG(uint64(again), 2))
		for n := 1; ; n++ {
			f, err := c.Next(t.Context())
			if err != nil {
				t.Error(err)
				return got, resumed
			}
			if rnd.IntN(8) == 0 {
				time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
			}
			if _, err := f.Elements(t.Context()); err == nil {
				got = append(got, f.Number)
			} else if !errors.Is(err, stream.ErrAborted) {
				t.Errorf("fragment %v: %v", f.Number, err)
			}
			if f.Producer.UnixMilli() == last {
				return got, resumed
			}
			if again > 0 && n%again == 0 {
				c = s.follow("cam", sluice.StartSelector{Type: sluice.SelectContinuationToken, After: f.Number})
				resumed++
			}
		}
	}
	results := make([][]sluice.FragmentNumber, 4)
	var readers sync.WaitGroup
	for i := range results {
		readers.Go(func() {
			again := []int{0, 0, 1, 3}[i]
			got, n := reader(again)
			if results[i] = got; again == 1 && n < resumes {
				t.Errorf("resumed %d times, want %d", n, resumes)
			}
		})
	}
	wg.Wait()
	s.put(first, last, 500)
	readers.Wait()
	var want []sluice.FragmentNumber
	st, err := s.reg.Resolve(t.Context(), ref("cam"))
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.reg.List(t.Context(), st.ID, store.Query{Order: store.ByNumber}) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, e.Number)
	}
	for i, got := range results {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("reader %d saw %d fragments, want %d", i, len(got), len(want))
		}
	}
}

// Numbers go on ascending over restarts, also with a clock that was set back.
func TestTrapNumbersAscendOverRestarts(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	p := start(t).Parts
	p.Create("cam", 100*365*24*time.Hour/12)
	var last sluice.FragmentNumber
	for i, jump := range []time.Duration{0, time.Hour, -time.Hour, -10 * 365 * 24 * time.Hour, 20 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour} {
		clock = clock.Add(jump)
		at := clock
		p = p.Again(func(o *streamtest.Settings) { o.Now = func() time.Time { return at } })
		s := of(t, p)
		x := s.join("cam")
		n, _ := s.put(x, 1000, 50)
		if n.Compare(last) <= 0 || len(n.String()) != 47 {
			t.Errorf("start %d: %v after %v", i, n, last)
		}
		if n.ServerTimestamp() != uint64(at.UnixMilli()) {
			t.Errorf("start %d: server timestamp %d, want %d", i, n.ServerTimestamp(), at.UnixMilli())
		}
		last = n
		x.Leave(nil)
	}
}

// Without retention nothing is on the disk, the tail has it for five minutes, and
// the clock of that is the server's.
func TestTrapNoRetention(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		st := s.Create("cam", 0)
		x := s.join("cam")
		n, b := s.put(x, 1000, 500)
		if f := next(t, s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})); f.Number != n || !bytes.Equal(read(t, f), b) {
			t.Error("not in the tail")
		}
		if _, err := s.reg.Get(t.Context(), st.ID, n); !errors.Is(err, store.ErrNone) {
			t.Errorf("Get: %v", err)
		}
		for e := range s.reg.List(t.Context(), st.ID, store.Query{}) {
			t.Errorf("listed: %v", e)
		}
		time.Sleep(4 * time.Minute)
		second, _ := s.put(x, 2000, 500)
		time.Sleep(90 * time.Second)
		if f := next(t, s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})); f.Number != second {
			t.Errorf("the earliest after 5:30 is %v", f.Number)
		}
		time.Sleep(5 * time.Minute)
		if m := s.reg.Memory(); m.Used != 0 {
			t.Errorf("left in memory: %+v", m)
		}
	})
}

// Retention goes from none to a day and back during a session: what begins under
// one stays what it is.
func TestTrapRetentionChangesDuringASession(t *testing.T) {
	t.Parallel()
	s := start(t)
	st := s.Create("cam", 0)
	x := s.join("cam")
	c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})
	volatile, _ := s.put(x, 1000, 100)
	o := s.begin(x, 2000) // begun without, completed with
	s.add(o, elements(100, 1), 2000)
	s.retain("cam", 24)
	if o.Durable() {
		t.Error("begun without retention and yet durable")
	}
	if err := wait(t, o.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	durable, _ := s.put(x, 3000, 100)
	var listed []sluice.FragmentNumber
	for e := range s.reg.List(t.Context(), st.ID, store.Query{}) {
		listed = append(listed, e.Number)
	}
	if len(listed) != 1 || listed[0] != durable {
		t.Errorf("listed %v, want %v alone", listed, durable)
	}
	for _, want := range []sluice.FragmentNumber{volatile, o.Number(), durable} {
		if f := next(t, c); f.Number != want {
			t.Errorf("followed %v, want %v", f.Number, want)
		}
	}
	s.retain("cam", 0)
	for e := range s.reg.List(t.Context(), st.ID, store.Query{}) {
		t.Errorf("listed with no retention: %v", e.Number)
	}
	if _, err := s.reg.Get(t.Context(), st.ID, durable); !errors.Is(err, store.ErrNone) {
		t.Errorf("got with no retention: %v", err)
	}
	s.retain("cam", 24)
	if _, err := s.reg.Get(t.Context(), st.ID, durable); err != nil {
		t.Errorf("raised again: %v", err)
	}
}

// Producer times that are equal, run backward or lie in the past change nothing:
// only the number orders.
func TestTrapProducerTimesOfAnyKind(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	x := s.join("cam")
	var want []sluice.FragmentNumber
	for _, ms := range []int64{5000, 5000, 4000, 1, 4_000_000_000_000, 5000} {
		n, _ := s.put(x, ms, 60)
		want = append(want, n)
	}
	c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})
	for i, n := range want {
		if f := next(t, c); f.Number != n {
			t.Errorf("fragment %d is %v, want %v", i, f.Number, n)
		}
	}
	// The newest-numbered of those that contain a time.
	if f := next(t, s.follow("cam", sluice.StartSelector{Type: sluice.SelectProducerTimestamp, Time: time.UnixMilli(5000)})); f.Number != want[5] {
		t.Errorf("at 5000: %v, want the last", f.Number)
	}
}

// Retention passes over fragments under a reader: it goes on with what is left.
func TestTrapRetentionUnderAReader(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		st := s.Create("cam", time.Hour)
		x := s.join("cam")
		for i := range 10 {
			s.put(x, int64(i+1)*1000, 100)
			time.Sleep(10*time.Minute - 3*time.Second)
		}
		// Ten, from nearly 100 to 10 minutes old: six are inside the hour.
		c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})
		if f := next(t, c); f.Producer.UnixMilli() != 5000 {
			t.Errorf("the earliest is of %d", f.Producer.UnixMilli())
		}
		time.Sleep(25 * time.Minute)
		if err := s.Store.Trim(t.Context(), st.ID, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if f := next(t, c); f.Producer.UnixMilli() != 8000 {
			t.Errorf("the next after a pause is of %d", f.Producer.UnixMilli())
		}
		s.retain("cam", 24) // hidden ones come back as far as they are there
		if f := next(t, s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})); f.Producer.UnixMilli() > 8000 {
			t.Errorf("raised: the earliest is of %d", f.Producer.UnixMilli())
		}
	})
}

// The server stops: what is complete is kept, what is open gets two seconds.
func TestTrapShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.Create("cam", 24*time.Hour)
		s.Create("quiet", 24*time.Hour)
		x, idle := s.join("cam"), s.join("quiet")
		s.put(idle, 1000, 100)
		reader := s.follow("quiet", sluice.StartSelector{Type: sluice.SelectNow})
		o := s.begin(x, 1000)
		s.add(o, elements(100, 1), 1000)
		read := make(chan error, 1)
		go func() {
			_, err := reader.Next(t.Context())
			read <- err
		}()
		began := time.Now()
		closed := make(chan error, 1)
		go func() { closed <- s.reg.Close(context.Background()) }()
		<-idle.Context().Done()
		idle.Leave(nil)
		if err := <-read; !errors.Is(err, stream.ErrClosed) {
			t.Errorf("reader: %v", err)
		}
		<-x.Context().Done()
		if d := time.Since(began); d != 2*time.Second || code(x.Err()) != sluice.StreamReadError {
			t.Errorf("the open fragment had %v, then %v", d, x.Err())
		}
		if _, err := s.reg.Join(t.Context(), ref("cam"), stream.SessionInfo{}); !errors.Is(err, stream.ErrClosed) {
			t.Errorf("joined while stopping: %v", err)
		}
		x.Leave(nil)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}
