package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

var (
	peakMemory    = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
	currentMemory = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
)

// TestOverload: fifty cameras send fragments nearly as large as they may be, as
// fast as they can, to a server whose memory holds five. All is taken in: they
// wait, one fragment after the other gets through, and the process stays small.
func TestOverload(t *testing.T) {
	if testing.Short() {
		t.Skip("go test -short")
	}
	const cameras, each, most, budget = 50, 3, 2 << 20, 10 << 20
	p := start(t, filepath.Join(t.TempDir(), "data"), "--limit-fragment-bytes="+fmt.Sprint(most), "--memory="+fmt.Sprint(budget))
	c := p.client()
	var writers []*writer
	for i := range cameras {
		w := newWriter(fmt.Sprintf("cam-%d", i), sluicetest.Camera{Seed: uint64(i), Frames: 6, Size: 300 << 10, Every: 100 * time.Millisecond})
		w.most = each
		create(t, c, w.stream.Name)
		writers = append(writers, w)
	}
	status := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		return string(b)
	}
	linux := status() != ""
	before := int64(0)
	if linux {
		before = number(t, currentMemory, status()) << 10
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for _, w := range writers {
			wg.Go(func() { w.write(t, t.Context(), c) })
		}
		wg.Wait()
	}()
	var memory struct {
		Memory struct{ Budget, Used, Cached, Waiting int64 }
	}
	var waiting, firm int64
	for stuck, busy := time.After(5*time.Minute), true; busy; {
		if err := json.Unmarshal([]byte(p.debug("/debug/streams")), &memory); err != nil {
			t.Fatal(err)
		}
		waiting, firm = max(waiting, memory.Memory.Waiting), max(firm, memory.Memory.Used-memory.Memory.Cached)
		select {
		case <-done:
			busy = false
		case <-stuck:
			t.Fatalf("it stands still: %+v\n%s", memory, p.debug("/debug/pprof/goroutine?debug=1"))
		case <-time.After(50 * time.Millisecond):
		}
	}
	bytes := int64(0)
	for _, w := range writers {
		if len(w.persisted) != each {
			t.Errorf("%s: %d fragments acknowledged of %d", w.stream, len(w.persisted), each)
		}
		w.verify(t, c)
		bytes += int64(len(w.checked) * len(w.cam.Fragment(0, 0)))
	}
	if waiting == 0 {
		t.Error("nobody ever waited: this was no overload")
	}
	if firm > budget+budget/4 {
		t.Errorf("fragments that are not durable held %d bytes, the budget is %d", firm, budget)
	}
	if linux {
		peak := number(t, peakMemory, status()) << 10
		t.Logf("%d cameras, %d MiB in fragments of %.1f MB, budget %d MiB: resident %d MiB before, at most %d MiB; up to %d sessions waited",
			cameras, bytes>>20, float64(bytes)/cameras/each/1e6, budget>>20, before>>20, peak>>20, waiting)
		if peak > before+budget+200<<20 {
			t.Errorf("resident memory rose from %d to %d bytes with a budget of %d", before, peak, budget)
		}
	}
	p.stop()
}
