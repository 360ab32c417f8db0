package producer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/producer"
)

// schedules is how many random fault schedules are played, and the number of the
// first: SLUICE_FAULT_SCHEDULES=COUNT or FIRST+COUNT.
func schedules(t testing.TB) (first, n int) {
	if v := os.Getenv("SLUICE_FAULT_SCHEDULES"); v != "" {
		from, count, ok := strings.Cut(v, "+")
		if !ok {
			from, count = "0", v
		}
		first, err := strconv.Atoi(from)
		if err == nil {
			n, err = strconv.Atoi(count)
		}
		if err != nil {
			t.Fatal(err)
		}
		return first, n
	}
	switch {
	case os.Getenv("SLUICE_LONG") != "":
		return 0, 1000
	case testing.Short():
		return 0, 8
	}
	return 0, 50
}

// Random faults between the producer and a real server. With room enough, in
// memory or on disk, every frame arrives once, or once more in a whole fragment
// that is reported as sent again. With too little, what is missing is what was
// reported. Nothing is ever stuck.
func TestFaultSchedules(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	var sum tally
	first, n := schedules(t)
	for seed := first; seed < first+n; seed++ {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			playFaults(t, srv, uint64(seed), &sum)
		})
	}
	wg.Wait()
	t.Logf("%d schedules from %d on: %d frames put, %d reported as lost, %d fragments twice", n, first, sum.put.Load(), sum.lost.Load(), sum.twice.Load())
}

// tally counts over all schedules.
type tally struct{ put, lost, twice atomic.Int64 }

// A schedule's number decides how much room there is.
const (
	roomy   = iota // 128 MiB
	rotates        // the same, with sessions and credentials that live half a second
	spools         // 10 MiB and a spool
	tight          // 10 MiB
)

func playFaults(t *testing.T, srv *sluicetest.Server, seed uint64, sum *tally) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	px := newProxy(t, strings.TrimPrefix(srv.Endpoint, "http://"))
	name := fmt.Sprintf("faults-%d", seed)
	r := newRecorder()
	info := producer.StreamInfo{
		Name: name, Tracks: []sluice.Track{video()}, ConnectionStaleness: 600 * time.Millisecond, OnEvent: r.handle, BufferDuration: time.Hour,
	}
	size, kind := 2_000, int(seed%4)
	c := serverClient(t, srv, px.url(), func(o *producer.Options) {
		switch kind {
		case rotates:
			o.SessionLife = 500 * time.Millisecond
			o.Service.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				c := srv.Credentials
				c.CanExpire, c.Expires = true, time.Now().Add(time.Second)
				return c, nil
			})
		case spools:
			info.Spool = &producer.Spool{Dir: t.TempDir()}
			o.StorageSize, size = producer.MinStorageSize, 40_000
		case tight:
			o.StorageSize, size = producer.MinStorageSize, 40_000
		}
	})
	s, err := c.NewStream(info)
	if err != nil {
		t.Error(err)
		return
	}
	var script []string
	faulty, cancel := context.WithCancel(t.Context())
	pause := func(d time.Duration) {
		select {
		case <-faulty.Done():
		case <-time.After(d):
		}
	}
	var faults sync.WaitGroup
	faults.Go(func() {
		if size > 2_000 { // an outage that 10 MiB do not last for
			px.set(func() { px.refuse = true })
			px.reset()
			pause(1500 * time.Millisecond)
			px.heal()
		}
		for faulty.Err() == nil {
			lasts := time.Duration(50+rnd.IntN(400)) * time.Millisecond
			kind := rnd.IntN(8)
			script = append(script, fmt.Sprintf("%d for %v", kind, lasts))
			switch kind {
			case 0:
				px.reset()
			case 1:
				px.set(func() { px.refuse = true })
				px.reset()
			case 2:
				px.stall()
			case 3:
				px.set(func() { px.delay = time.Duration(rnd.IntN(40)) * time.Millisecond })
			case 4:
				px.set(func() { px.rate = size * (10 + rnd.IntN(25)) })
			case 5: // a half-open connection: nothing moves, and then it is gone
				px.stall()
				pause(lasts)
				px.reset()
			case 6:
				px.set(func() { px.loss = 0.05 })
			case 7: // half the bitrate
				px.set(func() { px.rate = size * 250 / 2 })
			}
			pause(lasts)
			px.heal()
			pause(time.Duration(rnd.IntN(300)) * time.Millisecond)
		}
	})
	const frames = 500
	data := strings.Repeat("x", size)
	for i := range frames {
		f := producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%25 == 0, fmt.Appendf(nil, "frame %d %s", i, data))
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Errorf("schedule %d: frame %d: %v", seed, i, err)
			break
		}
		time.Sleep(4 * time.Millisecond) // ten times as fast as the media
	}
	cancel()
	faults.Wait()
	px.heal()
	over, done := context.WithTimeout(context.Background(), 5*time.Minute)
	defer done()
	report, err := s.Stop(over)
	if err != nil || len(report.Undelivered) > 0 {
		t.Errorf("schedule %d: stuck after the faults: %v, undelivered %v\n%v\n%+v", seed, err, report.Undelivered, script, s.Metrics())
		return
	}
	await[producer.StreamClosed](t, r, nil)
	drops := dropped(r)
	if len(drops) > 0 && kind != tight {
		t.Errorf("schedule %d: dropped %+v", seed, drops)
	}
	resent := s.Metrics().ResentFragments
	times := map[int]int{} // how often a frame arrived
	extra := 0
	for _, f := range srv.Stored(name) {
		var first, n int
		for i, fr := range f.Frames {
			text, _, _ := strings.Cut(string(fr.Data), " x")
			if _, err := fmt.Sscanf(text, "frame %d", &n); err != nil {
				t.Errorf("schedule %d: %q", seed, text)
			}
			if i == 0 {
				first = n
			}
			if n != first+i {
				t.Errorf("schedule %d: frame %d at place %d of the fragment of %d", seed, n, i, first)
			}
			times[n]++
		}
		if len(f.Frames) != 25 {
			t.Errorf("schedule %d: a fragment of %d frames", seed, len(f.Frames))
		}
		if times[first] > 1 {
			extra++
		}
	}
	checkGaps(t, seed, frames, times, drops, sum)
	if t.Failed() {
		t.Logf("schedule %d: %v", seed, script)
	}
	if int64(extra) > resent {
		t.Errorf("schedule %d: %d fragments arrived twice, %d were reported as sent again", seed, extra, resent)
	}
	sum.put.Add(frames)
	sum.twice.Add(int64(extra))
}

// checkGaps compares the frames that are missing with those that were reported:
// all that is missing was, and nothing that was not sent has arrived.
func checkGaps(t *testing.T, seed uint64, frames int, times map[int]int, drops []producer.FragmentDropped, sum *tally) {
	reported := map[int]bool{}
	for _, d := range drops {
		from := int(d.Start.Sub(epoch) / (40 * time.Millisecond))
		if to := int(d.End.Sub(epoch) / (40 * time.Millisecond)); to-from != d.Frames {
			t.Errorf("schedule %d: %d frames from %v to %v are reported", seed, d.Frames, d.Start, d.End)
		}
		for i := from; i < from+d.Frames; i++ {
			reported[i] = true
			if times[i] > 0 && !d.Sent {
				t.Errorf("schedule %d: frame %d was reported as lost and not sent, and is there", seed, i)
			}
		}
	}
	var missing []int
	for i := range frames {
		if times[i] > 0 {
			continue
		}
		sum.lost.Add(1)
		if !reported[i] {
			missing = append(missing, i)
		}
	}
	if len(missing) > 0 {
		t.Errorf("schedule %d: %d frames are missing and not reported: %v", seed, len(missing), missing)
	}
}

// Random answers of the service: any error id early or late, connections that
// break before or after a fragment is stored, refused requests, a full disk for a
// while. What is not refused for good arrives; what is, is reported.
func TestAnswerSchedules(t *testing.T) {
	t.Parallel()
	first, n := schedules(t)
	slots := make(chan struct{}, 64) // they mostly wait
	var wg sync.WaitGroup
	var sum tally
	for seed := first; seed < first+n; seed++ {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			playAnswers(t, uint64(seed), &sum)
		})
	}
	wg.Wait()
	t.Logf("%d schedules from %d on: %d frames put, %d reported as lost", n, first, sum.put.Load(), sum.lost.Load())
}

var allCodes = []sluice.AckErrorCode{
	4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4009, 4010, 4011, 4012, 4500, 4501, 4502, 4503, 4504, 4505, 4506, 4507, 5000, 5001, 7000,
}

func playAnswers(t *testing.T, seed uint64, sum *tally) {
	d := newDouble(t)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 2))
	faults, full := 6, 0 // how many answers go wrong; how many more say that the disk is full
	var script []string
	d.onBegin = func(_ *doubleSession, at int64) sluice.AckErrorCode {
		mu.Lock()
		defer mu.Unlock()
		if faults == 0 || rnd.IntN(6) > 0 {
			return 0
		}
		faults--
		code := allCodes[rnd.IntN(len(allCodes))]
		script = append(script, fmt.Sprintf("%d: begin %d", at, code))
		return code
	}
	d.onComplete = func(_ *doubleSession, f *stored) (v verdict) {
		mu.Lock()
		defer mu.Unlock()
		if full > 0 {
			full--
			return verdict{err: sluice.ArchivalError}
		}
		if faults == 0 || rnd.IntN(4) > 0 {
			return verdict{}
		}
		faults--
		switch rnd.IntN(5) {
		case 0:
			v.drop = true
		case 1:
			v.dropOK = true
		case 2:
			full = 3
			v.err = sluice.ArchivalError
		default:
			v.err = allCodes[rnd.IntN(len(allCodes))]
		}
		script = append(script, fmt.Sprintf("%d: end %+v", f.timecode, v))
		return v
	}
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle})
	const frames = 500
	put(t, s, 0, frames, 25)
	over, done := context.WithTimeout(context.Background(), 5*time.Minute) // some are tried again slowly
	defer done()
	report, err := s.Stop(over)
	if err != nil || len(report.Undelivered) > 0 {
		t.Errorf("answers %d: stuck: %v, undelivered %v\n%v\n%+v", seed, err, report.Undelivered, script, s.Metrics())
		return
	}
	await[producer.StreamClosed](t, r, nil)
	times := map[int]int{}
	for _, f := range d.fragments() {
		var last int
		for i, fr := range f.frames {
			var n int
			if _, err := fmt.Sscanf(fr.data, "frame %d", &n); err != nil || i > 0 && n != last+1 {
				t.Errorf("answers %d: %q follows frame %d", seed, fr.data, last)
			}
			last = n
			times[n]++
		}
	}
	for _, e := range dropped(r) {
		if e.Reason != producer.DropRefused {
			t.Errorf("answers %d: dropped %+v", seed, e)
		}
	}
	checkGaps(t, seed, frames, times, dropped(r), sum)
	for n, count := range times {
		if count > 1+6 {
			t.Errorf("answers %d: frame %d arrived %d times", seed, n, count)
		}
	}
	if t.Failed() {
		t.Logf("answers %d: %v", seed, script)
	}
	sum.put.Add(frames)
}

// Ten minutes of media are put while the network is gone: every frame arrives
// once, in order, when it is back.
func TestTenMinutesOfOutage(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	px := newProxy(t, strings.TrimPrefix(srv.Endpoint, "http://"))
	r := newRecorder()
	s := newStream(t, serverClient(t, srv, px.url()), producer.StreamInfo{OnEvent: r.handle, BufferDuration: 15 * time.Minute})
	put(t, s, 0, 100, 25)
	await(t, r, func(e producer.AckReceived) bool { return e.Ack.Event == sluice.AckPersisted })
	px.set(func() { px.refuse = true })
	px.reset()
	const frames = 100 + 10*60*25
	put(t, s, 100, frames-100, 25)
	await(t, r, func(e producer.Reconnecting) bool { return e.Attempt >= 3 })
	px.heal()
	stop(t, s)
	var got []string
	for _, f := range srv.Stored("cam") {
		for _, fr := range f.Frames {
			got = append(got, string(fr.Data))
		}
	}
	resent := s.Metrics().ResentFragments
	if once := slices.Compact(slices.Clone(got)); len(dropped(r)) > 0 || len(once) < frames || int64(len(got)-frames) > 25*resent {
		t.Errorf("%d frames of %d, %d fragments sent again, dropped %v", len(got), frames, resent, dropped(r))
	}
	if n := len(got); n < 14_000 || !slices.Equal(got[n-14_000:], want(frames-14_000, 14_000)) {
		t.Error("what was put in the outage is not in order")
	}
}
