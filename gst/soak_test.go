package gst_test

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// A camera for SLUICE_SOAK_MINUTES, with sound, and a restart of the server every
// two minutes: no frame is lost, the pipeline never stops, memory stays flat.
func TestSoak(t *testing.T) {
	minutes, _ := strconv.Atoi(os.Getenv("SLUICE_SOAK_MINUTES"))
	if minutes == 0 {
		t.Skip("SLUICE_SOAK_MINUTES is not set: scripts/soak-kvssink.sh sets it")
	}
	srv := away(t)
	srv.Restart()
	c := &talking{t: t, cmd: soakProgram(t, srv), lines: make(chan string, 10000)}
	c.in, _ = c.cmd.StdinPipe()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = c.cmd.Stdout
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	c.until("kvs-connected", 1)
	var rss []int // the least of each minute: garbage comes and goes
	for m := range minutes {
		least := math.MaxInt
		for range 6 {
			time.Sleep(10 * time.Second)
			least = min(least, resident(t, c.cmd.Process.Pid))
		}
		rss = append(rss, least)
		if m%2 == 1 && m+1 < minutes {
			srv.Restart()
			c.until("kvs-connected", 1)
		}
	}
	all := c.end()
	if first(all, "error") != nil || first(all, "kvs-dropped") != nil || first(all, "kvs-undelivered") != nil {
		t.Errorf("errors or losses: %v", all)
	}
	m := stored(t, srv, "soak")
	once(t, m.of(true), count(t, all, "video_0"))
	early := count(t, all, "audio_0") - len(m.of(false))
	if early < 0 || early > 25 {
		t.Errorf("%d packets of sound are missing", early)
	}
	if third := len(rss) / 3; third > 0 {
		settled, last := mean(rss[third:2*third]), mean(rss[len(rss)-third:])
		if last > settled+2000 {
			t.Errorf("RSS grew from %d to %d KB between the second and the last third", settled, last)
		}
	}
	fmt.Printf("soak of kvssink: %d minutes, %d restarts, %d pictures put and stored, %d packets of sound (%d before the first picture), RSS %v KB\n",
		minutes, (minutes-1)/2, len(m.of(true)), len(m.of(false)), early, rss)
}

func mean(all []int) int {
	sum := 0
	for _, n := range all {
		sum += n
	}
	return sum / len(all)
}

// soakProgram is not killed when it takes long.
func soakProgram(t *testing.T, srv *sluicetest.Server) *exec.Cmd {
	t.Helper()
	cmd := pythonProgram(t, srv, "host.py", "soak", "soak")
	long := exec.CommandContext(t.Context(), cmd.Path, cmd.Args[1:]...)
	long.Env, long.Dir = cmd.Env, cmd.Dir
	return long
}

func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(line, "VmRSS: %d", &n); err == nil {
			return n
		}
	}
	return 0
}
