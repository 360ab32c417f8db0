package gst_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

var cHost = sync.OnceValues(func() (string, error) {
	dir, err := built()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "host")
	if b, err := exec.Command("sh", "-c", "cc -Wall -o "+out+" testdata/host.c $(pkg-config --cflags --libs gstreamer-1.0)").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc: %w\n%s", err, b)
	}
	return out, nil
})

func inC(t *testing.T, srv *sluicetest.Server, scenario string) string {
	t.Helper()
	need(t)
	path, err := cHost()
	if err != nil {
		t.Fatal(err)
	}
	return run(t, program(t, srv, path, scenario))
}

// cycled reads what a host said of its tenth and its last cycle.
func cycled(t *testing.T, out string) {
	t.Helper()
	var n, rss, threads [2]int
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, line := range lines {
		if _, err := fmt.Sscanf(line, "cycle %d rss=%d threads=%d", &n[i&1], &rss[i&1], &threads[i&1]); err != nil || len(lines) != 2 {
			t.Fatalf("%q: %v", out, err)
		}
	}
	t.Logf("20 more cycles: RSS %+d KB, threads %+d", rss[1]-rss[0], threads[1]-threads[0])
	if rss[1]-rss[0] > 40_000 || threads[1]-threads[0] > 10 {
		t.Errorf("20 more cycles: RSS %+d KB, threads %+d", rss[1]-rss[0], threads[1]-threads[0])
	}
}

func TestCCycles(t *testing.T) {
	t.Parallel()
	need(t)
	cycled(t, inC(t, sluicetest.Start(t), "cycles"))
}

func TestGoCycles(t *testing.T) {
	t.Parallel()
	dir := need(t)
	path := filepath.Join(dir, "gohost")
	if out, err := exec.Command("go", "build", "-o", path, "./testdata/gohost").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cycled(t, run(t, program(t, sluicetest.Start(t), path)))
}

// The layout of what fragment-ack points to is that of the official element.
func TestFragmentAckInC(t *testing.T) {
	t.Parallel()
	need(t)
	out := inC(t, sluicetest.Start(t), "ack")
	types := map[int]bool{}
	for line := range strings.Lines(out) {
		var version, result uint32
		var kind int
		var timestamp uint64
		var number string
		if _, err := fmt.Sscanf(line, "ack version=%d type=%d timestamp=%d number=%s result=%d", &version, &kind, &timestamp, &number, &result); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		types[kind] = true
		if timestamp < 1_600_000_000_000 || len(number) < 40 || result != 200 || version != 0 {
			t.Errorf("%s", line)
		}
	}
	if !types[1] || !types[2] || !types[3] {
		t.Errorf("types %v, want 1, 2 and 3", types)
	}
}

// A program may fork as long as no element is in READY.
func TestForkBeforeReady(t *testing.T) {
	t.Parallel()
	need(t)
	inC(t, sluicetest.Start(t), "fork")
}

// The thin plugin itself leaves nothing behind and touches nothing it should not.
func TestValgrind(t *testing.T) {
	t.Parallel()
	need(t, "valgrind")
	path, err := cHost()
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, nil, "valgrind", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=none", "--num-callers=20", path, "null")
	cmd.Env = append(cmd.Env, "G_SLICE=always-malloc", "GST_REGISTRY_UPDATE=no")
	out := run(t, cmd)
	if i := strings.Index(out, "libgstkvssink"); i >= 0 {
		t.Errorf("valgrind names the plugin:\n%s", out[max(0, i-3000):min(len(out), i+500)])
	}
}
