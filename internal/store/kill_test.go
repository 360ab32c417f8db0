package store_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

const victimEnv = "SLUICE_STORE_VICTIM"

// TestVictim is not a test of its own: TestKill runs it as a process to be
// killed. It appends with 20 writers and prints each acknowledged fragment.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimEnv)
	if dir == "" {
		t.Skip("run by TestKill")
	}
	h := &house{t: t, dir: dir, o: store.Options{MaxFile: 256 << 10}}
	h.open()
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 20 {
		id := streamID(w)
		e, _ := h.take(id)
		wg.Go(func() {
			for c := range 1_000_000 {
				// Past the fragments of processes before, so that contents differ.
				counter := c + int(e%1000)*100_000
				r := record(id, e, counter, 500+counter%3000)
				k := h.Append(e, r)
				<-k.Done()
				if k.Err() != nil {
					fmt.Println("error", k.Err())
					os.Exit(1)
				}
				mu.Lock()
				fmt.Fprintf(out, "acked %s %v %d %d\n", id, r.Number, counter, e)
				out.Flush()
				mu.Unlock()
				if c%40 == 39 {
					if err := h.Trim(context.Background(), id, time.UnixMilli(r.ServerMs-20_000)); err != nil {
						fmt.Println("error", err)
						os.Exit(1)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 20
	if long() {
		rounds = 200
	}
	self, err := os.Executable()
	if err != nil {
		t.Skip("the test's own binary is not known: ", err)
	}
	dir := t.TempDir()
	type acked struct {
		counter int
		epoch   store.Epoch
	}
	promised := map[sluice.StreamID]map[sluice.FragmentNumber]acked{}
	newest := map[sluice.StreamID]int64{}
	r := rand.New(rand.NewPCG(4, 9))
	total := 0
	for round := range rounds {
		cmd := exec.Command(self, "-test.run=^TestVictim$")
		cmd.Env = append(os.Environ(), victimEnv+"="+dir)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It is killed after so many acknowledgements, that is at any moment.
		left := 1 + r.IntN(300)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			var id, number string
			var a acked
			if n, _ := fmt.Sscanf(lines.Text(), "acked %s %s %d %d", &id, &number, &a.counter, &a.epoch); n != 4 {
				if bytes.HasPrefix(lines.Bytes(), []byte("error")) {
					t.Errorf("round %d: %s", round, lines.Text())
				}
				continue
			}
			n, err := sluice.ParseFragmentNumber(number)
			if err != nil {
				t.Fatal(err)
			}
			s := sluice.StreamID(id)
			if promised[s] == nil {
				promised[s] = map[sluice.FragmentNumber]acked{}
			}
			promised[s][n] = a
			newest[s] = max(newest[s], int64(n.ServerTimestamp()))
			total++
			if left--; left == 0 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if t.Failed() {
			return
		}
		h := &house{t: t, dir: dir}
		h.open()
		for id, fragments := range promised {
			for n, a := range fragments {
				e, err := h.Get(t.Context(), id, n, time.Time{})
				// It trims what is 20 s older; every fragment is a second.
				if expired := int64(n.ServerTimestamp()) < newest[id]-15_000; err != nil && expired {
					delete(fragments, n)
					continue
				}
				if err != nil {
					t.Errorf("round %d: fragment %v was acknowledged: %v", round, n, err)
					continue
				}
				if !bytes.Equal(h.read(e), body(record(id, a.epoch, a.counter, 500+a.counter%3000))) {
					t.Errorf("round %d: fragment %v differs", round, n)
				}
			}
		}
		h.close()
	}
	left, err := filepath.Glob(filepath.Join(dir, "media", "*", "*.rec"))
	t.Logf("%d rounds, %d fragments acknowledged, %d files at the end, %v", rounds, total, len(left), err)
}
