package producer_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// A stream that may not be created is waited for.
func TestNoCreate(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{NoCreate: true, OnEvent: r.handle})
	put(t, s, 0, 50, 25)
	await(t, r, func(e producer.Reconnecting) bool {
		return errors.Is(e.Err, producer.StatusServiceCallResourceNotFound)
	})
	d.mu.Lock()
	d.exists = true
	d.mu.Unlock()
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 50)) || d.count("/createStream") != 0 {
		t.Errorf("%d frames, created %d times", len(got), d.count("/createStream"))
	}
}

// With ClockTimes a frame has the time at which it was put, whatever it says.
func TestClockTimes(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]sluice.TimecodeType{"absolute": sluice.TimecodeAbsolute, "relative": sluice.TimecodeRelative} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			s := newStream(t, d.client(), producer.StreamInfo{ClockTimes: true, Timecodes: kind})
			began := time.Now().Truncate(time.Millisecond)
			put(t, s, 0, 50, 25)
			ended := time.Now()
			stop(t, s)
			all := d.fragments()
			if got := payloads(all); !slices.Equal(got, want(0, 50)) {
				t.Errorf("frames: %v", got)
			}
			for i, f := range all {
				// A relative session's start is sent in milliseconds, and frames of one
				// moment are moved apart by one.
				if f.producer.Before(began.Add(-2*time.Millisecond)) || f.producer.After(ended.Add(100*time.Millisecond)) {
					t.Errorf("fragment %d is of %v, put from %v to %v", i, f.producer, began, ended)
				}
			}
		})
	}
}

// NoMetrics leaves the rates out and nothing else.
func TestNoMetrics(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	c := d.client()
	s := newStream(t, c, producer.StreamInfo{NoMetrics: true})
	put(t, s, 0, 50, 25)
	stop(t, s)
	m := s.Metrics()
	if m.CurrentFrameRate != 0 || m.ElementaryFrameRate != 0 || m.CurrentTransferRate != 0 {
		t.Errorf("rates: %v, %v, %v", m.CurrentFrameRate, m.ElementaryFrameRate, m.CurrentTransferRate)
	}
	if m.PutFrames != 50 || m.PersistedAcks != 2 || m.TransferredBytes == 0 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestSegmentUUID(t *testing.T) {
	t.Parallel()
	uuid := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	element := append([]byte{0x73, 0xa4, 0x90}, uuid[:]...)
	d := newDouble(t)
	d.onComplete = func(ds *doubleSession, _ *stored) verdict { return verdict{drop: ds.n == 1} }
	s := newStream(t, d.client(), producer.StreamInfo{SegmentUUID: uuid})
	put(t, s, 0, 50, 25)
	stop(t, s)
	for n := 1; n <= 2; n++ { // that of every session
		if ss := d.session(n); ss == nil || bytes.Count(ss.body, element) != 1 {
			t.Errorf("session %d has not the UUID", n)
		}
	}
}

// What was RECEIVED before ReplayDuration is not sent again to another host, and
// is reported.
func TestReplayDuration(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onComplete = func(ds *doubleSession, _ *stored) verdict {
		switch {
		case ds.n > 1:
			return verdict{}
		case ds.fragments <= 4:
			return verdict{recvd: true}
		}
		return verdict{drop: true}
	}
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{ReplayDuration: 2 * time.Second, OnEvent: r.handle})
	put(t, s, 0, 125, 25)
	stop(t, s)
	got, lost := payloads(d.fragments()), dropped(r)
	frames := 0
	for i, l := range lost {
		frames += l.Frames
		if l.Reason != producer.DropReplay || !l.Sent || !l.Start.Equal(epoch.Add(time.Duration(i)*time.Second)) {
			t.Errorf("dropped: %+v", l)
		}
	}
	// The fifth second was being sent: two seconds and the fragment that they begin in.
	if frames < 50 || frames > 75 || !slices.Equal(got, want(frames, 125-frames)) {
		t.Errorf("%d frames reported, arrived: %v", frames, got)
	}
	for i := frames; i < 100; i += 25 {
		at := epoch.Add(time.Duration(i) * 40 * time.Millisecond)
		await(t, r, func(e producer.FragmentResent) bool { return e.Start.Equal(at) && e.Frames == 25 })
	}
}

func TestLongestFragment(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{LongestFragment: 2 * time.Second})
	put(t, s, 0, 250, 1000)
	stop(t, s)
	all := d.fragments()
	if got := payloads(all); !slices.Equal(got, want(0, 250)) || len(all) != 5 {
		t.Errorf("%d frames in %d fragments", len(got), len(all))
	}
	for i, f := range all {
		if !f.producer.Equal(epoch.Add(time.Duration(i) * 2 * time.Second)) {
			t.Errorf("fragment %d is of %v", i, f.producer)
		}
	}
}

func TestStorageFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		streams, bits int
		buffer        time.Duration
		want          int64
	}{
		{10, 2_000_000, 120 * time.Second, 360_000_000}, // 10 × 250 kB/s × 120 s, and a fifth
		{1, 64_000, 20 * time.Second, producer.MinStorageSize},
		{500, 20_000_000, time.Hour, producer.MaxStorageSize},
	} {
		if got := producer.StorageFor(c.streams, c.bits, c.buffer); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// Runs of repaired times are reported, that of the end too; tracks that change are.
func TestRepairsAreReported(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	r := newRecorder()
	track := video()
	track.CodecPrivate = []byte("one")
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle, Tracks: []sluice.Track{track}})
	ms := func(v int) time.Duration { return time.Duration(epoch.UnixNano()) + time.Duration(v)*time.Millisecond }
	for i, dts := range []int{0, 40, 30, 10, 160, 200, 190} {
		if i == 4 {
			if err := s.SetCodecPrivate(1, []byte("two")); err != nil {
				t.Fatal(err)
			}
		}
		f := producer.Frame{PTS: ms(i * 40), DTS: ms(dts), Key: i%4 == 0, Data: fmt.Appendf(nil, "frame %d", i)}
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, s)
	await(t, r, func(e producer.TimestampRepaired) bool {
		return e.Track == 1 && e.Frames == 2 && e.By == 30*time.Millisecond
	})
	await(t, r, func(e producer.TimestampRepaired) bool {
		return e.Track == 1 && e.Frames == 1 && e.By == 10*time.Millisecond
	})
	await(t, r, func(e producer.TracksChanged) bool {
		return len(e.Tracks) == 1 && string(e.Tracks[0].CodecPrivate) == "two"
	})
}

// A handler that is too slow is told how many events it missed: the oldest.
func TestEventsLost(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	r := newRecorder()
	gate := make(chan struct{})
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: func(e producer.Event) { <-gate; r.handle(e) }})
	put(t, s, 0, 600, 1) // three acknowledgements each, and DataAvailable while no session is open
	stop(t, s)
	close(gate)
	await[producer.StreamClosed](t, r, nil)
	var acks, lost int
	for i, e := range r.events() {
		switch e := e.(type) {
		case producer.AckReceived:
			acks++
		case producer.EventsLost:
			lost += e.Count
			if i > 1 {
				t.Errorf("told after %d events", i)
			}
		}
	}
	if m := s.Metrics(); m.PersistedAcks != 600 || lost == 0 || acks+lost < 1800 || acks+lost > 2500 {
		t.Errorf("%d acknowledgements told of and %d events lost, of %d persisted fragments", acks, lost, m.PersistedAcks)
	}
}
