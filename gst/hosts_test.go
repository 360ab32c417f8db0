package gst_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
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
	if rss[1]-rss[0] > 60_000 || threads[1]-threads[0] > 15 {
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

// ours are the sources of the plugin, as valgrind names them.
var ours = regexp.MustCompile(`\((kvssink|kvssrc|sink_data|sink_props|props|core|plugin)\.c:|libgstkvssink`)

// The plugin leaves nothing behind and touches nothing it should not: both elements
// play, pause, seek, end and are stopped in the middle. A Go runtime is nothing that
// valgrind can follow, so a core in C stands in for it.
func TestValgrind(t *testing.T) {
	t.Parallel()
	need(t, "valgrind")
	path, err := cHost()
	if err != nil {
		t.Fatal(err)
	}
	plugin, dir := need(t), t.TempDir()
	for _, line := range []string{
		"cp " + plugin + "/libgstkvssink.so " + dir,
		"cc -g -Wall -shared -fPIC -o " + dir + "/libsluicekvs.so.1 testdata/fakecore.c -lpthread",
	} {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	env := []string{"G_SLICE=always-malloc", "GST_PLUGIN_PATH=" + dir, "GST_REGISTRY=" + filepath.Join(dir, "registry.bin")}
	scan := program(t, nil, "gst-inspect-1.0", "kvssink")
	scan.Env = append(scan.Env, env...)
	run(t, scan)
	for _, scenario := range []string{"null", "plays"} {
		cmd := program(t, nil, "valgrind", "--fair-sched=yes", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect",
			"--errors-for-leak-kinds=none", "--num-callers=25", path, scenario)
		cmd.Env = append(append(cmd.Env, env...), "GST_REGISTRY_UPDATE=no")
		out := run(t, cmd)
		if i := ours.FindStringIndex(out); i != nil {
			t.Errorf("valgrind names the plugin:\n%s", out[max(0, i[0]-3000):min(len(out), i[0]+500)])
		}
		if !strings.Contains(out, "ERROR SUMMARY: 0 errors") || scenario == "plays" && !strings.Contains(out, "played") {
			t.Errorf("%s: errors, or not played:\n%s", scenario, tail([]byte(out)))
		}
	}
}

var alive = regexp.MustCompile(`object-alive, type-name=\(string\)[^%].*`)

// GStreamer's own tracer: every object that an element made is gone when the
// program ends.
func TestNoObjectIsLeaked(t *testing.T) {
	t.Parallel()
	path, err := cHost()
	if err != nil {
		t.Fatal(err)
	}
	for _, scenario := range []string{"null", "plays"} {
		cmd := program(t, sluicetest.Start(t), path, scenario)
		cmd.Env = append(cmd.Env, "GST_TRACERS=leaks", "GST_DEBUG=GST_TRACER:7", "GST_DEBUG_NO_COLOR=1")
		out := run(t, cmd)
		if all := alive.FindAllString(out, -1); len(all) > 0 {
			t.Errorf("%s: %q", scenario, all)
		}
		if !strings.Contains(out, "object-alive.class") { // the tracer tells what it is going to tell of
			t.Errorf("%s: the tracer is not there:\n%s", scenario, tail([]byte(out)))
		}
	}
}
