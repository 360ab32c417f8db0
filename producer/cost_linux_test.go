package producer_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// TestCostServer is the server of TestCostPerStream, in a process of its own.
func TestCostServer(t *testing.T) {
	if os.Getenv("SLUICE_COST_SERVER") == "" {
		return
	}
	srv := sluicetest.Start(t)
	fmt.Printf("SERVER %s %s %s\n", srv.Endpoint, srv.Credentials.AccessKeyID, srv.Credentials.SecretAccessKey)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the other end is closed
}

// costClient is a client of a server in a process of its own, so that what is
// measured is the producer.
func costClient(t testing.TB, change func(*producer.Options)) *producer.Client {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestCostServer$", "-test.v", "-test.timeout=6h")
	child.Env = append(os.Environ(), "SLUICE_COST_SERVER=1")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var endpoint, key, secret string
	lines := bufio.NewScanner(stdout)
	for endpoint == "" && lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "SERVER %s %s %s", &endpoint, &key, &secret)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() { //nolint:revive // its output is not wanted
		}
	}()
	t.Cleanup(func() { stdin.Close(); <-drained; _ = child.Wait() })
	o := producer.Options{
		Service: kvsapi.Options{
			Endpoint: endpoint, Region: "us-west-2", Getenv: func(string) string { return "" },
			Credentials: producer.StaticCredentials(key, secret, "", time.Time{}),
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	change(&o)
	c, err := producer.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// TestCostPerStream measures what streams of 2 Mbit/s and 25 frames/s cost in one
// process: SLUICE_COST_STREAMS=100 SLUICE_COST_SECONDS=20 go test -run
// TestCostPerStream -v ./producer. Streams have no retention, so that the disk is
// not measured.
func TestCostPerStream(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SLUICE_COST_STREAMS"))
	if n == 0 {
		return
	}
	seconds, _ := strconv.Atoi(os.Getenv("SLUICE_COST_SECONDS"))
	seconds = max(seconds, 10)
	c := costClient(t, func(o *producer.Options) { o.StorageSize, o.MaxStreams = 2<<30, 10_000 })
	key1, rest := make([]byte, 60_000), make([]byte, 8_000) // 25 fps, key frame each second: 252 kB/s
	runtime.GC()
	debug.FreeOSMemory()
	idle := rss(t)
	before := cpu(t)
	began := time.Now()
	var wg sync.WaitGroup
	puts := make([][]time.Duration, n)
	for i := range n {
		s, err := c.NewStream(producer.StreamInfo{Name: fmt.Sprintf("cost-%d", i), Tracks: []sluice.Track{video()}, Retention: producer.NoRetention})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			tick := time.NewTicker(40 * time.Millisecond)
			defer tick.Stop()
			time.Sleep(time.Duration(i) * 40 * time.Millisecond / time.Duration(n)) // cameras are not in step
			for f := range seconds * 25 {
				data := rest
				if (f+i)%25 == 0 {
					data = key1
				}
				at := time.Now()
				if err := s.PutFrame(context.Background(), producer.FrameAt(at, (f+i)%25 == 0, data)); err != nil {
					t.Error(err)
					return
				}
				puts[i] = append(puts[i], time.Since(at))
				<-tick.C
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	used := cpu(t) - before
	buffered := c.Metrics().ContentStoreAllocatedSize
	runtime.GC()
	debug.FreeOSMemory()
	grown := rss(t) - idle
	var all []time.Duration
	for _, p := range puts {
		all = append(all, p...)
	}
	slices.Sort(all)
	var dropped int64
	for _, s := range c.Streams() {
		dropped += s.Metrics().DroppedFragments
	}
	t.Logf("%d streams for %v: %.3f %% of a core a stream, RSS %d KB a stream beyond %d KB buffered, PutFrame p50 %v p99 %v, %d goroutines, %d fragments dropped",
		n, took.Round(time.Second), 100*used.Seconds()/took.Seconds()/float64(n), (grown-buffered)/1024/int64(n), buffered/1024/int64(n),
		all[len(all)/2], all[len(all)*99/100], runtime.NumGoroutine(), dropped)
}

func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss(t testing.TB) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n * 1024
		}
	}
	return 0
}

// TestCostOfWaking measures what any program pays that is woken 25 times a second
// to hand 8 KB from one goroutine to another that writes them to a pipe: what
// one stream costs beyond its share of many. SLUICE_COST_SECONDS says for how long.
func TestCostOfWaking(t *testing.T) {
	seconds, _ := strconv.Atoi(os.Getenv("SLUICE_COST_SECONDS"))
	if seconds == 0 {
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	sink := exec.Command("dd", "of=/dev/null", "bs=64k", "status=none")
	sink.Stdin = r
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	before, began := cpu(t), time.Now()
	work := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		data := make([]byte, 8_000)
		for range work {
			if _, err := w.Write(data); err != nil {
				t.Error(err)
				return
			}
		}
	})
	tick := time.NewTicker(40 * time.Millisecond)
	for range seconds * 25 {
		<-tick.C
		work <- struct{}{}
	}
	tick.Stop()
	close(work)
	wg.Wait()
	w.Close()
	used := cpu(t) - before
	_ = sink.Wait()
	t.Logf("woken 25 times a second for %ds: %.3f %% of a core", seconds, 100*used.Seconds()/time.Since(began).Seconds())
}

// TestDayOfMedia pushes a day of media at top speed through one stream: memory must
// not grow with it.
func TestDayOfMedia(t *testing.T) {
	hours := 1
	if os.Getenv("SLUICE_LONG") != "" {
		hours = 24
	} else if testing.Short() {
		t.Skip("go test -short")
	}
	c := costClient(t, func(*producer.Options) {})
	s, err := c.NewStream(producer.StreamInfo{Name: "day", Tracks: []sluice.Track{video()}, Type: producer.Offline})
	if err != nil {
		t.Fatal(err)
	}
	const perHour = 25 * 3600
	data := make([]byte, 400)
	began := time.Now()
	var sizes []int64 // KB resident beside what is buffered, hour by hour
	for h := range hours {
		for i := range perHour {
			n := h*perHour + i
			if err := s.PutFrame(t.Context(), producer.FrameAt(epoch.Add(time.Duration(n)*40*time.Millisecond), n%50 == 0, data)); err != nil {
				t.Fatal(err)
			}
		}
		buffered := c.Metrics().ContentStoreAllocatedSize
		runtime.GC()
		debug.FreeOSMemory()
		sizes = append(sizes, (rss(t)-buffered)/1024)
	}
	// The first hours fill what is kept to be used again.
	early := sizes[min(4, len(sizes)-1)]
	t.Logf("%d hours of media in %v: KB resident beside what is buffered, hour by hour: %v", hours, time.Since(began).Round(time.Second), sizes)
	if late := sizes[len(sizes)-1]; late > early+(16<<10) {
		t.Errorf("%d KB resident after %d hours of media, %d after the first", late, hours, early)
	}
	stop(t, s)
	if m := s.Metrics(); m.PersistedAcks != int64(hours)*perHour/50 || m.DroppedFragments > 0 {
		t.Errorf("%d hours: %d fragments persisted, %d dropped", hours, m.PersistedAcks, m.DroppedFragments)
	}
}
