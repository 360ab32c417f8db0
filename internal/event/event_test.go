package event_test

import (
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/event"
)

func TestSinkCounts(t *testing.T) {
	t.Parallel()
	var s event.Sink
	var none *event.Sink
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for _, s := range []*event.Sink{&s, none} {
				s.SessionOpened()
				s.FragmentBegun()
				s.MediaRead(100)
				s.FragmentDone(25, 3*time.Millisecond)
				s.ErrorAck(4001)
				s.Called("PutMedia", 200)
				s.SessionEnded("end")
			}
		})
	}
	wg.Wait()
	if s.Sessions.Load() != 0 || s.FragmentsBegun.Load() != 10 || s.BytesIn.Load() != 1000 || s.Frames.Load() != 250 {
		t.Errorf("sessions %d, begun %d, bytes %d, frames %d", s.Sessions.Load(), s.FragmentsBegun.Load(), s.BytesIn.Load(), s.Frames.Load())
	}
	if rows := s.ErrorAcks.Rows(); len(rows) != 1 || rows[0] != (event.Row{Key: event.Key{Code: 4001}, Count: 10}) {
		t.Errorf("error acks %v", rows)
	}
	atMost, count, sum := s.Persist.Snapshot()
	if count != 10 || sum != 30*time.Millisecond || atMost[2*time.Millisecond] != 0 || atMost[5*time.Millisecond] != 10 || atMost[10*time.Second] != 10 {
		t.Errorf("persist: %v, %d, %v", atMost, count, sum)
	}
}

func TestTableIsBounded(t *testing.T) {
	t.Parallel()
	var table event.Table
	for i := range 3000 {
		table.Add("x", i)
	}
	if n := len(table.Rows()); n > 1001 {
		t.Errorf("%d rows", n)
	}
}
