package producer

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBell(t *testing.T) {
	for name, change := range map[string]func(*bell){
		"poller":  func(*bell) {},
		"channel": func(b *bell) { b.late = bellPatient },
		"files closed": func(b *bell) {
			if b.poller != nil {
				b.poller.close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBell()
			defer b.close()
			change(b)
			hearEach(t, b)
		})
	}
}

// hearEach lets several goroutines count and ring, and one hear, until it has seen
// all that was counted: a ring that is lost leaves it waiting.
func hearEach(t *testing.T, b *bell) {
	const ringers, each = 4, 5000
	var n atomic.Int64
	var wg sync.WaitGroup
	for range ringers {
		wg.Go(func() {
			for i := range each {
				n.Add(1)
				b.ring()
				for i%64 == 0 && b.state.Load() == bellRung {
					runtime.Gosched() // so that the other comes to wait
				}
			}
		})
	}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for n.Load() < ringers*each {
			b.wait()
		}
	}()
	wg.Wait()
	select {
	case <-heard:
	case <-time.After(time.Minute):
		t.Fatalf("a ring was not heard: state %d", b.state.Load())
	}
}

// A ring in vain is kept for the next wait, and close is one for a wait that goes on.
func TestBellKeepsARing(t *testing.T) {
	b := newBell()
	b.ring()
	b.ring()
	b.wait()
	waits := make(chan struct{})
	go func() { b.wait(); close(waits) }()
	for b.state.Load() == bellSilent {
		runtime.Gosched()
	}
	b.close()
	select {
	case <-waits:
	case <-time.After(time.Minute):
		t.Fatal("close did not end the wait")
	}
	b.close()
	b.ring()
}

func BenchmarkBell(b *testing.B) {
	bell := newBell()
	defer bell.close()
	b.ReportAllocs()
	for b.Loop() {
		bell.ring()
		bell.wait()
	}
}
