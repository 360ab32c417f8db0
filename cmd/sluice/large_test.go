package main_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
)

// large is a fragment that is made while it is sent, so that fifty of them need no
// memory here.
type large struct {
	camera  int
	at      int64
	payload []byte // of every frame, but for its first bytes
}

func (l large) head() []byte { return mkv.AppendCluster(nil, uint64(l.at)) }

func (l large) frame(i int) []byte {
	b := mkv.AppendSimpleBlock(nil, int16(100*i), &sluice.Frame{Track: 1, Key: i == 0, Data: l.payload})
	data := b[len(b)-len(l.payload):]
	binary.BigEndian.PutUint64(data, uint64(l.camera))
	binary.BigEndian.PutUint64(data[8:], uint64(i))
	return b
}

// TestFiftyLargeFragmentsAtOnce: fifty fragments of 45 MB are open at once, and
// memory is for 256 MiB of media. (A tenth of all sizes but in the long form.) All
// of them get through, whole, and the process stays small.
func TestFiftyLargeFragmentsAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("go test -short")
	}
	const cameras, frames = 50, 90
	size, budget, most := 50_000, int64(256<<20/10), 5<<20
	if os.Getenv("SLUICE_LONG") != "" {
		size, budget, most = 500_000, 256<<20, 50<<20
	}
	payload := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(payload)
	p := start(t, filepath.Join(t.TempDir(), "data"), fmt.Sprint("--memory=", budget), fmt.Sprint("--limit-fragment-bytes=", most))
	c := p.client()
	status := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		return string(b)
	}
	linux := status() != ""
	before := int64(0)
	if linux {
		before = number(t, currentMemory, status()) << 10
	}
	at := time.Now().UnixMilli()
	name := func(camera int) string { return fmt.Sprint("cam-", camera) }
	for i := range cameras {
		create(t, c, name(i))
	}
	var begun, all sync.WaitGroup
	begun.Add(cameras)
	var sent atomic.Int64
	numbers := make([]sluice.FragmentNumber, cameras)
	began := time.Now()
	for i := range cameras {
		body, media := io.Pipe()
		begins := sync.OnceFunc(begun.Done)
		all.Go(func() {
			// The first frame of all fifty, and then the rest as it is taken.
			f := large{camera: i, at: at, payload: payload}
			defer media.Close()
			if _, err := media.Write(append(append(sluicetest.Camera{}.Header(), f.head()...), f.frame(0)...)); err != nil {
				return
			}
			begun.Wait()
			for n := 1; n < frames; n++ {
				k, err := media.Write(f.frame(n))
				if sent.Add(int64(k)); err != nil {
					return
				}
			}
		})
		all.Go(func() {
			defer begins()
			defer body.Close()
			session, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: name(i)}, Body: body})
			if err != nil {
				t.Errorf("camera %d: %v", i, err)
				return
			}
			defer session.Close()
			for {
				a, err := session.Next()
				switch {
				case err == io.EOF:
					return
				case err != nil || a.Event == sluice.AckError:
					t.Errorf("camera %d: %v, %v", i, a, err)
					return
				case a.Event == sluice.AckBuffering:
					begins()
				case a.Event == sluice.AckPersisted:
					numbers[i] = a.Number
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		all.Wait()
	}()
	var memory struct {
		Memory struct{ Used, Cached, Waiting int64 }
	}
	var waiting, firm int64
	// Stuck is who takes nothing in, however slow the machine.
	for last, since, busy := int64(-1), time.Now(), true; busy; {
		if err := json.Unmarshal([]byte(p.debug("/debug/streams")), &memory); err != nil {
			t.Fatal(err)
		}
		waiting, firm = max(waiting, memory.Memory.Waiting), max(firm, memory.Memory.Used-memory.Memory.Cached)
		if now := sent.Load(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > 3*time.Minute {
			t.Fatalf("it stands still: %+v\n%s", memory, p.debug("/debug/pprof/goroutine?debug=1"))
		}
		select {
		case <-finished:
			busy = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	took := time.Since(began)
	if t.Failed() {
		return
	}
	if waiting == 0 {
		t.Error("nobody ever waited for memory")
	}
	if firm > budget+budget/4 {
		t.Errorf("fragments that are not durable held %d bytes, the budget is %d", firm, budget)
	}
	if linux {
		peak := number(t, peakMemory, status()) << 10
		t.Logf("%d fragments of %.1f MB at once, budget %d MiB, %v: resident %d MiB before, at most %d MiB; media at most %d MiB; up to %d sessions waited",
			cameras, float64(size*frames)/1e6, budget>>20, took.Round(100*time.Millisecond), before>>20, peak>>20, firm>>20, waiting)
		if peak > before+budget+200<<20 {
			t.Errorf("resident memory rose from %d to %d bytes with a budget of %d", before, peak, budget)
		}
	}
	for i := range cameras {
		f := large{camera: i, at: at, payload: payload}
		want := f.head()
		for n := range frames {
			want = append(want, f.frame(n)...)
		}
		m, err := c.GetMediaForFragmentList(t.Context(), sluice.StreamRef{Name: name(i)}, []sluice.FragmentNumber{numbers[i]})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(m)
		m.Close()
		if err != nil || !bytes.Contains(got, want) {
			t.Errorf("camera %d: %d bytes, %v: its fragment is not among them", i, len(got), err)
		}
	}
	p.stop()
}
