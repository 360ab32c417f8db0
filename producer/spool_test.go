package producer_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// outage makes the double refuse sessions until ended is set.
func outage(d *double) (ended *atomic.Bool) {
	ended = new(atomic.Bool)
	d.onPut = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		if !ended.Load() {
			refuse(w, 503, "ServiceUnavailableException")
			return true
		}
		return false
	}
	return ended
}

// A stream that is stopped in an outage leaves its media on disk; the next one of
// its name sends it first, in order, and then its own.
func TestSpoolSurvivesRestart(t *testing.T) {
	t.Parallel()
	for _, timecodes := range []sluice.TimecodeType{sluice.TimecodeAbsolute, sluice.TimecodeRelative} {
		t.Run(timecodes.String(), func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			ended := outage(d)
			dir := t.TempDir()
			info := producer.StreamInfo{Spool: &producer.Spool{Dir: dir}, Timecodes: timecodes, Start: time.Unix(0, 0)}
			s := newStream(t, d.client(), info)
			put(t, s, 0, 100, 25)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			r, err := s.Stop(ctx)
			if err == nil || len(r.Undelivered) != 4 || r.Spooled != 4 {
				t.Fatalf("%+v, %v", r, err)
			}
			s = newStream(t, d.client(), info)
			if m := s.Metrics(); m.SpooledFragments != 4 || m.SpooledBytes == 0 {
				t.Errorf("found in the spool: %d fragments, %d bytes", m.SpooledFragments, m.SpooledBytes)
			}
			put(t, s, 100, 50, 25)
			ended.Store(true)
			stop(t, s)
			all := d.fragments()
			if got := payloads(all); !slices.Equal(got, want(0, 150)) {
				t.Errorf("%d frames: %v", len(got), got)
			}
			for i, f := range all {
				if !f.producer.Equal(epoch.Add(time.Duration(i) * time.Second)) {
					t.Errorf("fragment %d: producer time %v", i, f.producer)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*", "*.spool")); len(left) > 0 {
				t.Errorf("left on disk: %v", left)
			}
		})
	}
}

// With Always a program that is killed loses the open fragment only: here the
// files are taken as they are in mid-flight.
func TestSpoolAlways(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	ended := outage(d)
	dir := t.TempDir()
	s := newStream(t, d.client(), producer.StreamInfo{Spool: &producer.Spool{Dir: dir, Always: true}})
	put(t, s, 0, 110, 25)
	deadline := time.Now().Add(2 * time.Minute)
	for s.Metrics().SpooledFragments < 4 {
		if time.Now().After(deadline) {
			t.Fatal("stuck: not written")
		}
		time.Sleep(5 * time.Millisecond)
	}
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(killed, "*", "*.spool"))
	if len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
	// Half a record at the end, as a kill leaves it.
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{0, 0, 16, 0, 1, 2, 3, 4, 2, 0, 0}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s.Discard()
	stop(t, s)
	s = newStream(t, d.client(), producer.StreamInfo{Spool: &producer.Spool{Dir: killed, Always: true}})
	ended.Store(true)
	d.wait(func(all []stored) bool { return len(all) == 4 })
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 100)) {
		t.Errorf("%d frames: %v", len(got), got)
	}
}

// An outage that is longer than memory lasts: nothing is lost, and memory stays
// within its budget.
func TestSpoolTakesWhatMemoryCannot(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	ended := outage(d)
	c := d.client(func(o *producer.Options) { o.StorageSize = producer.MinStorageSize })
	r := newRecorder()
	s := newStream(t, c, producer.StreamInfo{Spool: &producer.Spool{Dir: t.TempDir()}, OnEvent: r.handle})
	data := make([]byte, 100<<10)
	const frames = 600 // 60 MB through 10 MiB
	for i := range frames {
		f := producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%10 == 0, data)
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if used := c.Metrics().ContentStoreAllocatedSize; used > producer.MinStorageSize {
			t.Fatalf("%d bytes of memory", used)
		}
	}
	ended.Store(true)
	stop(t, s)
	n := 0
	for i, f := range d.fragments() {
		if !f.producer.Equal(epoch.Add(time.Duration(i) * 400 * time.Millisecond)) {
			t.Errorf("fragment %d at %v: out of order", i, f.producer)
		}
		n += len(f.frames)
	}
	if n != frames || len(dropped(r)) > 0 {
		t.Errorf("%d frames of %d, dropped %v", n, frames, dropped(r))
	}
}

func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	ended := outage(d)
	r := newRecorder()
	c := d.client(func(o *producer.Options) { o.StorageSize = producer.MinStorageSize })
	s := newStream(t, c, producer.StreamInfo{Spool: &producer.Spool{Dir: t.TempDir(), MaxBytes: 20 << 20, Always: true}, OnEvent: r.handle})
	data := make([]byte, 100<<10)
	for i := range 400 {
		f := producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%10 == 0, data)
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, func(e producer.FragmentDropped) bool { return e.Reason == producer.DropSpool && e.Start.Equal(epoch) })
	ended.Store(true)
	stop(t, s)
	await[producer.StreamClosed](t, r, nil)
	n := 0
	for _, f := range d.fragments() {
		n += len(f.frames)
	}
	lost := 0
	for _, e := range dropped(r) {
		lost += e.Frames
	}
	if n+lost != 400 || n < 150 {
		t.Errorf("%d frames arrived, %d were reported as lost, of 400", n, lost)
	}
}

func TestSpoolIsOneProcesss(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	info := producer.StreamInfo{Name: "cam", Tracks: []sluice.Track{video()}, Spool: &producer.Spool{Dir: t.TempDir()}}
	newStream(t, d.client(), info)
	if _, err := d.client().NewStream(info); err == nil {
		t.Error("two clients share a spool")
	}
	info.Spool = &producer.Spool{}
	if _, err := d.client().NewStream(info); err == nil {
		t.Error("a spool without a directory is taken")
	}
}
