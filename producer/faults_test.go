package producer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// recorder keeps events.
type recorder struct {
	mu      sync.Mutex
	all     []producer.Event
	changed chan struct{}
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) handle(e producer.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) events() []producer.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// await waits for an event of type E for which ok holds.
func await[E producer.Event](t testing.TB, r *recorder, ok func(E) bool) E {
	t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		r.mu.Lock()
		changed := r.changed
		for _, e := range r.all {
			if v, is := e.(E); is && (ok == nil || ok(v)) {
				r.mu.Unlock()
				return v
			}
		}
		r.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			var zero E
			t.Fatalf("stuck: no %T", zero)
		}
	}
}

func dropped(r *recorder) (out []producer.FragmentDropped) {
	for _, e := range r.events() {
		if d, ok := e.(producer.FragmentDropped); ok {
			out = append(out, d)
		}
	}
	return out
}

func newStream(t testing.TB, c *producer.Client, info producer.StreamInfo) *producer.Stream {
	t.Helper()
	if info.Name == "" {
		info.Name = "cam"
	}
	if info.Tracks == nil {
		info.Tracks = []sluice.Track{video()}
	}
	s, err := c.NewStream(info)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every error id: what is not the fragment's fault arrives; what is, is dropped
// and reported exactly, and everything else arrives.
func TestErrorAcknowledgements(t *testing.T) {
	t.Parallel()
	skipped := map[sluice.AckErrorCode]bool{4001: true, 4002: true, 4005: true, 4007: true, 4009: true, 4010: true, 4012: true}
	for _, code := range []sluice.AckErrorCode{
		4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4009, 4010, 4011, 4012,
		4500, 4501, 4502, 4503, 4504, 4505, 4506, 4507, 5000, 5001, 7000,
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d early %v", code, early), func(t *testing.T) {
				t.Parallel()
				d := newDouble(t)
				var n atomic.Int32
				if early {
					d.onBegin = func(*doubleSession, int64) sluice.AckErrorCode {
						if n.Add(1) == 3 {
							return code
						}
						return 0
					}
				} else {
					d.onComplete = func(*doubleSession, *stored) verdict {
						if n.Add(1) == 3 {
							return verdict{err: code}
						}
						return verdict{}
					}
				}
				r := newRecorder()
				s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle})
				put(t, s, 0, 150, 25)
				stop(t, s)
				got := payloads(d.fragments())
				e := await(t, r, func(e producer.StreamError) bool { return errors.Is(e.Err, code) })
				if !errors.Is(e.Err, producer.StatusOfAck(code)) {
					t.Errorf("error %v is not %v", e.Err, producer.StatusOfAck(code))
				}
				await[producer.StreamClosed](t, r, nil)
				drops := dropped(r)
				if !skipped[code] {
					if !slices.Equal(got, want(0, 150)) || len(drops) > 0 {
						t.Errorf("%d frames, dropped %v", len(got), drops)
					}
					return
				}
				if !slices.Equal(got, append(want(0, 50), want(75, 75)...)) {
					t.Errorf("%d frames: %v", len(got), got)
				}
				if len(drops) != 1 || !drops[0].Start.Equal(epoch.Add(2*time.Second)) || drops[0].Frames != 25 ||
					drops[0].Reason != producer.DropRefused || !errors.Is(drops[0].Err, code) {
					t.Errorf("dropped: %+v", drops)
				}
			})
		}
	}
}

// A live fragment that is refused while it is being put: the frames up to the
// next key frame go with it.
func TestRefusedWhileOpen(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onBegin = func(_ *doubleSession, tc int64) sluice.AckErrorCode {
		if tc == epoch.UnixMilli() {
			return sluice.MaxFragmentDurationReached
		}
		return 0
	}
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle})
	put(t, s, 0, 10, 25)
	await[producer.FragmentDropped](t, r, nil)
	put(t, s, 10, 40, 25)
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(25, 25)) {
		t.Errorf("frames: %v", got)
	}
	skip := await[producer.FramesSkipped](t, r, nil)
	if skip.Frames != 15 || skip.Reason != producer.SkipFragment || !skip.Start.Equal(epoch.Add(400*time.Millisecond)) {
		t.Errorf("skipped: %+v", skip)
	}
}

func TestStaleConnection(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onBegin = func(ds *doubleSession, _ int64) sluice.AckErrorCode {
		if ds.n <= 2 {
			return -1 // says nothing
		}
		return 0
	}
	d.onComplete = func(ds *doubleSession, _ *stored) verdict { return verdict{silent: ds.n <= 2} }
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle, ConnectionStaleness: 2 * time.Second})
	put(t, s, 0, 100, 25)
	d.wait(func(all []stored) bool { return len(all) >= 3 })
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 100)) {
		t.Errorf("frames: %v", got)
	}
	if n := s.Metrics().StaleEvents; n != 2 {
		t.Errorf("%d stale events, want 2: the detector has to arm again", n)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(func(o *producer.Options) { o.SessionLife = 200 * time.Millisecond }), producer.StreamInfo{})
	i := 0
	for d.session(3) == nil {
		put(t, s, i, 25, 25)
		i += 25
		n := i / 25
		d.wait(func(all []stored) bool { return len(all) >= n-1 })
		time.Sleep(20 * time.Millisecond) // the life of a session is by the clock
	}
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, i)) {
		t.Errorf("%d frames of %d", len(got), i)
	}
	if m := s.Metrics(); m.ResentFragments != 0 || m.APICallRetries != 0 {
		t.Errorf("rotation is no failure: %d sent again, %d reconnects", m.ResentFragments, m.APICallRetries)
	}
}

// With a store that is too small for an outage, what is reported is what is
// missing.
func TestStoreTooSmall(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	var down atomic.Bool
	down.Store(true)
	d.onPut = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		if down.Load() {
			refuse(w, 503, "ServiceUnavailableException")
			return true
		}
		return false
	}
	r := newRecorder()
	c := d.client(func(o *producer.Options) { o.StorageSize = producer.MinStorageSize; o.OnEvent = r.handle })
	s := newStream(t, c, producer.StreamInfo{OnEvent: r.handle})
	data := make([]byte, 100<<10)
	frames := map[time.Time]bool{}
	for i := range 500 {
		at := epoch.Add(time.Duration(i) * 40 * time.Millisecond)
		frames[at] = true
		if err := s.PutFrame(t.Context(), producer.FrameAt(at, i%10 == 0, data)); err != nil {
			t.Fatal(err)
		}
		if used := c.Metrics().ContentStoreAllocatedSize; used > producer.MinStorageSize {
			t.Fatalf("%d bytes allocated, more than the budget", used)
		}
	}
	down.Store(false)
	stop(t, s)
	await[producer.StreamClosed](t, r, nil)
	for _, f := range d.fragments() {
		for i, fr := range f.frames {
			at := f.producer.Add(time.Duration(i) * 40 * time.Millisecond).UTC()
			if !frames[at] {
				t.Errorf("frame %v arrived twice or was never put (%v)", at, fr.at)
			}
			delete(frames, at)
		}
	}
	lost := 0
	for _, drop := range dropped(r) {
		for at := range frames {
			if !at.Before(drop.Start) && at.Before(drop.End) {
				delete(frames, at)
				lost++
			}
		}
		if drop.Reason != producer.DropStorage || drop.Frames != 10 {
			t.Errorf("dropped: %+v", drop)
		}
	}
	if lost == 0 || len(frames) > 0 {
		t.Errorf("%d frames were reported; %d are missing and were not", lost, len(frames))
	}
	await[producer.StoragePressure](t, r, nil)
}

func TestBufferDuration(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onControl = func(w http.ResponseWriter, _ string) bool { refuse(w, 500, "InternalFailureException"); return true }
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle, BufferDuration: 20 * time.Second})
	put(t, s, 0, 25*60, 25)
	e := await(t, r, func(e producer.FragmentDropped) bool { return true })
	if e.Reason != producer.DropBuffer || !e.Start.Equal(epoch) || !e.End.Equal(epoch.Add(time.Second)) || e.Frames != 25 {
		t.Errorf("dropped: %+v", e)
	}
	await[producer.BufferPressure](t, r, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	report, err := s.Stop(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || len(report.Undelivered) < 20 || len(report.Undelivered) > 22 {
		t.Errorf("stop: %v, %d undelivered", err, len(report.Undelivered))
	}
	if last := report.Undelivered[len(report.Undelivered)-1]; !last.End.Equal(epoch.Add(60 * time.Second)) {
		t.Errorf("the last undelivered: %+v", last)
	}
}

func TestOfflineWaits(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	gate := make(chan struct{})
	d.onPut = func(http.ResponseWriter, *http.Request, int) bool { <-gate; return false }
	c := d.client(func(o *producer.Options) { o.StorageSize = producer.MinStorageSize })
	s := newStream(t, c, producer.StreamInfo{Type: producer.Offline})
	data := make([]byte, 100<<10)
	putAll := func(ctx context.Context, from int) (int, error) {
		for i := from; i < 300; i++ {
			if err := s.PutFrame(ctx, producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%10 == 0, data)); err != nil {
				return i, err
			}
		}
		return 300, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	i, err := putAll(ctx, 0)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("frame %d: %v, want the deadline: the store is full", i, err)
	}
	close(gate)
	if _, err := putAll(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	n := 0
	for _, f := range d.fragments() {
		n += len(f.frames)
	}
	if n != 300 {
		t.Errorf("%d frames arrived of 300", n)
	}
}

func TestRelativeTimecodes(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	n := 0
	d.onComplete = func(*doubleSession, *stored) verdict { n++; return verdict{drop: n == 2} }
	s := newStream(t, d.client(), producer.StreamInfo{Timecodes: sluice.TimecodeRelative, Start: epoch})
	for i := range 100 {
		at := time.Duration(i) * 40 * time.Millisecond
		if err := s.PutFrame(t.Context(), producer.Frame{PTS: at, DTS: at, Key: i%25 == 0, Data: fmt.Appendf(nil, "frame %d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, s)
	all := d.fragments()
	if got := payloads(all); !slices.Equal(got, want(0, 100)) {
		t.Fatalf("frames: %v", got)
	}
	for i, f := range all {
		if !f.producer.Equal(epoch.Add(time.Duration(i) * time.Second)) {
			t.Errorf("fragment %d at %v", i, f.producer)
		}
		if (i == 0 || i == 1) && f.timecode != 0 { // each the first of its session
			t.Errorf("fragment %d: timecode %d", i, f.timecode)
		}
	}
}

func TestNoRetentionLetsGoAtReceived(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{Retention: producer.NoRetention})
	put(t, s, 0, 100, 25)
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 100)) {
		t.Errorf("frames: %v", got)
	}
	if m := s.Metrics(); m.PersistedAcks != 0 || m.ReceivedAcks != 4 || m.OverallViewSize != 0 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestNoAcks(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{NoAcks: true})
	put(t, s, 0, 100, 25)
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 100)) {
		t.Errorf("frames: %v", got)
	}
}

// With RECEIVED and no PERSISTED, a host that is alive is trusted with what it
// has; one that is dead is not.
func TestRollBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  verdict
		want []string
	}{
		"alive": {verdict{err: sluice.InternalError}, want(50, 50)},
		"dead":  {verdict{drop: true}, want(0, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			d.onComplete = func(ds *doubleSession, _ *stored) verdict {
				switch {
				case ds.n > 1:
					return verdict{}
				case ds.fragments <= 2:
					return verdict{recvd: true}
				}
				return c.end
			}
			s := newStream(t, d.client(), producer.StreamInfo{})
			put(t, s, 0, 100, 25)
			stop(t, s)
			if got := payloads(d.fragments()); !slices.Equal(got, c.want) {
				t.Errorf("frames: %v", got)
			}
		})
	}
}

func TestThrottledAndRefusedCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		code   string
	}{
		"429": {429, "ClientLimitExceededException"}, "400 throttled": {400, "ClientLimitExceededException"}, "503": {503, ""},
		"403": {403, "AccessDeniedException"}, "500": {500, "InternalFailureException"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			d.onPut = func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n <= 3 {
					refuse(w, c.status, c.code)
					return true
				}
				return false
			}
			s := newStream(t, d.client(), producer.StreamInfo{})
			put(t, s, 0, 50, 25)
			stop(t, s)
			if got := payloads(d.fragments()); !slices.Equal(got, want(0, 50)) {
				t.Errorf("frames: %v", got)
			}
			if n := d.count("/describeStream"); n > 1 {
				t.Errorf("%d times described: nothing said that the stream is gone", n)
			}
		})
	}
}

func TestStreamDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onPut = func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if n == 1 {
			d.mu.Lock()
			d.exists = false
			d.mu.Unlock()
			refuse(w, 404, "ResourceNotFoundException")
			return true
		}
		return false
	}
	s := newStream(t, d.client(), producer.StreamInfo{})
	put(t, s, 0, 50, 25)
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 50)) || d.count("/createStream") != 2 {
		t.Errorf("%d frames, created %d times", len(got), d.count("/createStream"))
	}
}

func TestFinalErrors(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onControl = func(w http.ResponseWriter, path string) bool {
		if path == "/createStream" {
			refuse(w, 400, "InvalidArgumentException")
			return true
		}
		return false
	}
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle})
	put(t, s, 0, 1, 25)
	e := await[producer.StreamClosed](t, r, nil)
	if !errors.Is(e.Err, producer.StatusCreateStreamCallFailed) {
		t.Errorf("closed with %v", e.Err)
	}
	if err := s.PutFrame(t.Context(), producer.FrameAt(epoch, true, []byte{1})); !errors.Is(err, producer.StatusCreateStreamCallFailed) {
		t.Errorf("PutFrame: %v", err)
	}
}

func TestIdleSource(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{IdleTimeout: 200 * time.Millisecond})
	put(t, s, 0, 30, 25)
	d.wait(func(all []stored) bool { return len(all) == 2 })
	put(t, s, 30, 30, 25) // 30 to 49 belong to no fragment
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, append(want(0, 30), want(50, 10)...)) {
		t.Errorf("frames: %v", got)
	}
	if m := s.Metrics(); m.SkippedFrames != 20 || m.TotalSessions != 2 || m.ResentFragments != 0 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestSlowHandlerDoesNotStallTheStream(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	gate := make(chan struct{})
	defer close(gate)
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: func(producer.Event) { <-gate }})
	put(t, s, 0, 100, 25)
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 100)) {
		t.Errorf("frames: %v", got)
	}
}

// Handlers may call back: nothing is held while they run.
func TestHandlerCallsBack(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	var mu sync.Mutex
	var s *producer.Stream
	var c *producer.Client
	kinds := map[string]int{}
	handle := func(e producer.Event) {
		mu.Lock()
		defer mu.Unlock()
		kinds[fmt.Sprintf("%T", e)]++
		_, _ = s.Metrics(), c.Metrics()
		_ = s.PutMetadata("seen", "x", true)
		_ = s.EndFragment()
		if kinds["producer.AckReceived"] == 5 {
			s.ResetConnection()
		}
		if _, closed := e.(producer.StreamClosed); closed { // the name is free
			again, err := c.NewStream(producer.StreamInfo{Name: "cam", Tracks: []sluice.Track{video()}})
			if err != nil {
				t.Errorf("in StreamClosed: %v", err)
				return
			}
			_, _ = again.Stop(t.Context())
		}
	}
	mu.Lock()
	c = d.client(func(o *producer.Options) { o.OnEvent = handle })
	r := newRecorder()
	s = newStream(t, c, producer.StreamInfo{OnEvent: func(e producer.Event) { handle(e); r.handle(e) }})
	mu.Unlock()
	for i := range 10 {
		put(t, s, i*25, 25, 25)
	}
	stop(t, s)
	await[producer.StreamClosed](t, r, nil)
	mu.Lock()
	defer mu.Unlock()
	for _, kind := range []string{"ClientReady", "StreamReady", "SessionOpened", "AckReceived", "DataAvailable", "SessionClosed", "StreamClosed"} {
		if kinds["producer."+kind] == 0 {
			t.Errorf("no %s among %v", kind, kinds)
		}
	}
}

func TestResetConnection(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{})
	put(t, s, 0, 60, 25)
	d.wait(func(all []stored) bool { return len(all) == 2 })
	s.ResetConnection()
	put(t, s, 60, 40, 25)
	stop(t, s)
	got := payloads(d.fragments())
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 100 {
		t.Errorf("%d frames", n)
	}
}
