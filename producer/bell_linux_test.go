package producer

import (
	"runtime"
	"testing"
	"time"
)

// Who is heard late, because it computes after it has rung, gets the channel.
func TestBellHeardLate(t *testing.T) {
	b := newBell()
	defer b.close()
	if b.poller == nil {
		t.Fatal("no poller")
	}
	for i := range bellPatient {
		if b.late != i {
			t.Fatalf("late %d times of %d", b.late, i)
		}
		done := make(chan struct{})
		go func() { b.wait(); close(done) }()
		for b.state.Load() != bellPolls {
			runtime.Gosched()
		}
		b.state.Store(bellRung)
		b.rungAt.Store(1) // soon after it was made
		for time.Since(b.began) < 2*bellLate {
			runtime.Gosched()
		}
		b.poller.signal()
		<-done
	}
	go b.ring()
	b.wait()
	if b.late != bellPatient {
		t.Errorf("late %d times", b.late)
	}
}
