package bridge_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/bridge"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// TestGrowthBridge is the bridge of TestNoGrowth, in a process of its own.
func TestGrowthBridge(t *testing.T) {
	url := os.Getenv("SLUICE_GROWTH_CAMERA")
	if url == "" {
		return
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	client, err := producer.New(context.Background(), producer.Options{Service: kvsapi.Options{}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	c := bridge.Config{Cameras: []bridge.Camera{{Stream: "door", URL: url, Transport: "tcp"}}}
	yes := true
	c.Defaults.Create = &yes
	if err := c.Resolve(func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	c.Drain = 10 * time.Second
	b, err := bridge.New(bridge.Options{Config: c, Client: client, Logger: log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	in := bufio.NewReader(os.Stdin)
	go func() {
		for {
			if _, err := in.ReadString('\n'); err != nil {
				cancel() // the other end is closed
				return
			}
			s := b.Status().Streams[0]
			fmt.Printf("STATUS %d %d %d %d\n", s.Frames, s.Persisted, s.Dropped, s.Connections)
		}
	}()
	if err := b.Run(ctx, nil); err != nil {
		t.Fatal(err)
	}
	over, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	_ = client.Close(over)
}

// TestNoGrowth pulls from one camera for 30 minutes: the process must not grow.
// SLUICE_RTSP_MINUTES asks for another time.
func TestNoGrowth(t *testing.T) {
	minutes, _ := strconv.Atoi(os.Getenv("SLUICE_RTSP_MINUTES"))
	if minutes == 0 {
		if os.Getenv("SLUICE_LONG") == "" {
			t.Skip("SLUICE_LONG is not set")
		}
		minutes = 30
	}
	path := film(t, "a.mkv", 20, "-c:v", "libx264", "-g", "25", "-bf", "2", "-b:v", "100k", "-pix_fmt", "yuv420p", "-c:a", "aac")
	cam := newCameraServer(t, false, "127.0.0.1:0")
	cam.feed(t, path)
	srv := sluicetest.Start(t)
	child := exec.Command(os.Args[0], "-test.run=^TestGrowthBridge$", "-test.timeout=2h")
	child.Env = append(append(os.Environ(), srv.Environ()...), "SLUICE_GROWTH_CAMERA="+cam.url(""))
	child.Stderr = os.Stderr
	ask, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { ask.Close(); _ = child.Wait() }()
	lines := bufio.NewScanner(answer)
	var frames, persisted, dropped, connections int64
	var sizes []int64
	for minute := range minutes {
		time.Sleep(time.Minute) // growth is by the clock
		if _, err := io.WriteString(ask, "?\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatal("the bridge has ended")
		}
		if _, err := fmt.Sscanf(lines.Text(), "STATUS %d %d %d %d", &frames, &persisted, &dropped, &connections); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		sizes = append(sizes, residentKB(t, child.Process.Pid))
		t.Logf("minute %d: %d KB resident, %d frames, %d fragments persisted", minute+1, sizes[minute], frames, persisted)
	}
	// 25 pictures and 48000/1024 packets of sound a second.
	if want := int64(minutes) * 60 * (25 + 46); frames < want*95/100 || dropped > 0 || connections != 1 {
		t.Errorf("%d frames of about %d, %d fragments dropped, %d connections", frames, want, dropped, connections)
	}
	fifth := max(len(sizes)/5, 1)
	early, late := mean(sizes[min(fifth, len(sizes)-1):min(2*fifth+1, len(sizes))]), mean(sizes[len(sizes)-fifth:])
	t.Logf("%d minutes: %d KB early, %d KB late", minutes, early, late)
	if late > early+4096 {
		t.Errorf("the process grew from %d to %d KB: %v", early, late, sizes)
	}
}

func mean(v []int64) (sum int64) {
	for _, n := range v {
		sum += n
	}
	return sum / int64(len(v))
}

func residentKB(t testing.TB, pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
