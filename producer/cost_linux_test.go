package producer_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
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

// costServer starts a server in a process of its own, so that what is measured is
// the producer.
func costServer(t testing.TB) kvsapi.Options {
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
	return kvsapi.Options{
		Endpoint: endpoint, Region: "us-west-2", Getenv: func(string) string { return "" },
		Credentials: producer.StaticCredentials(key, secret, "", time.Time{}),
	}
}

func costClient(t testing.TB, service kvsapi.Options, change func(*producer.Options)) *producer.Client {
	t.Helper()
	o := producer.Options{Service: service, Logger: slog.New(slog.DiscardHandler)}
	change(&o)
	c, err := producer.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeCost(t, c) })
	return c
}

func closeCost(t testing.TB, c *producer.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestCostPacer says when to put a frame, in a process of its own: a camera's
// frames come through a socket, and a timer of this process would cost more than
// the stream does. It writes the number of the stream whose frame is due.
func TestCostPacer(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SLUICE_COST_PACER"))
	if n == 0 {
		return
	}
	out := os.NewFile(3, "ticks")
	began := time.Now()
	for i := 0; ; i++ {
		time.Sleep(time.Until(began.Add(time.Duration(i) * 40 * time.Millisecond / time.Duration(n))))
		if _, err := out.Write([]byte{byte(i % n >> 8), byte(i % n)}); err != nil {
			return // the other end is closed
		}
	}
}

// costPacer is the other end of TestCostPacer.
func costPacer(t testing.TB, n int) *bufio.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestCostPacer$", "-test.timeout=6h")
	child.Env = append(os.Environ(), "SLUICE_COST_PACER="+strconv.Itoa(n))
	child.ExtraFiles = []*os.File{w}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { r.Close(); _ = child.Wait() })
	return bufio.NewReader(r)
}

// TestCostPerStream measures what streams of 2 Mbit/s and 25 frames/s cost in one
// process: SLUICE_COST_STREAMS=100 SLUICE_COST_SECONDS=20 go test -run
// TestCostPerStream -v ./producer. Streams have no retention, so that the disk is
// not measured. What they cost is what the process uses beyond what it uses when it
// is woken as often and puts nothing, and, in memory, beyond a process that has sent
// a stream before.
func TestCostPerStream(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SLUICE_COST_STREAMS"))
	if n == 0 {
		return
	}
	seconds, _ := strconv.Atoi(os.Getenv("SLUICE_COST_SECONDS"))
	seconds = max(seconds, 10)
	service := costServer(t)
	ticks := costPacer(t, n)
	key, rest := make([]byte, 60_000), make([]byte, 8_000) // 25 fps, key frame each second: 252 kB/s
	var streams []*producer.Stream
	frames := make([]int, n)
	took := make([]time.Duration, 0, seconds*25*n)
	play := func(seconds int, put bool) time.Duration {
		before, began := cpu(t), time.Now()
		for range seconds * 25 * n {
			hi, err1 := ticks.ReadByte()
			lo, err2 := ticks.ReadByte()
			if err1 != nil || err2 != nil {
				t.Fatal("the pacer has ended")
			}
			i := int(hi)<<8 | int(lo)
			if !put || i >= len(streams) {
				continue
			}
			f := (frames[i] + i) % 25
			frames[i]++
			data := rest
			if f == 0 {
				data = key
			}
			at := time.Now()
			if err := streams[i].PutFrame(context.Background(), producer.FrameAt(at, f == 0, data)); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(at))
		}
		return time.Duration(float64(cpu(t)-before) / time.Since(began).Seconds()) // a second
	}
	open := func(c *producer.Client, name string) {
		s, err := c.NewStream(producer.StreamInfo{Name: name, Tracks: []sluice.Track{video()}, Retention: producer.NoRetention})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	resident := func() int64 { runtime.GC(); debug.FreeOSMemory(); return rss(t) }

	bare := resident()
	c := costClient(t, service, func(*producer.Options) {})
	open(c, "first")
	play(2, true)
	closeCost(t, c)
	streams = nil

	c = costClient(t, service, func(o *producer.Options) { o.StorageSize, o.MaxStreams = 2<<30, 10_000 })
	idle := resident()
	woken := play(seconds/2, false)
	for i := range n {
		open(c, fmt.Sprintf("cost-%d", i))
	}
	play(3, true) // sessions are opened
	took = took[:0]
	used := play(seconds, true)
	buffered := c.Metrics().ContentStoreAllocatedSize
	grown := resident() - idle
	slices.Sort(took)
	var dropped int64
	for _, s := range streams {
		dropped += s.Metrics().DroppedFragments
	}
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / float64(n) }
	t.Logf("%d streams for %ds: CPU a stream %.3f %% of a core, %.3f %% of it without frames, %.3f %% for them; RSS %d KB a stream beyond %d KB buffered, %d KB before the first; PutFrame p50 %v p99 %v; %d goroutines, %d fragments dropped",
		n, seconds, percent(used), percent(woken), percent(used-woken), (grown-buffered)/1024/int64(n), buffered/1024/int64(n), (idle-bare)/1024,
		took[len(took)/2], took[len(took)*99/100], runtime.NumGoroutine(), dropped)
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

// TestCostOfWaking measures what any program pays that is woken as one stream's is,
// 25 times a second by another process: for being woken alone, and for handing 8 KB
// each time to another goroutine that writes them to a socket. SLUICE_COST_SECONDS
// says for how long.
func TestCostOfWaking(t *testing.T) {
	seconds, _ := strconv.Atoi(os.Getenv("SLUICE_COST_SECONDS"))
	if seconds == 0 || os.Getenv("SLUICE_COST_STREAMS") != "" {
		return
	}
	conn := costSink(t)
	ticks := costPacer(t, 1)
	work := make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(work)
	wg.Go(func() {
		data := make([]byte, 8_000)
		for range work {
			if _, err := conn.Write(data); err != nil {
				t.Error(err)
				return
			}
		}
	})
	took := make([]time.Duration, 0, seconds*25)
	run := func(write bool) float64 {
		before, began := cpu(t), time.Now()
		for range seconds * 25 {
			if _, err := ticks.Discard(2); err != nil {
				t.Fatal(err)
			}
			if write {
				at := time.Now()
				work <- struct{}{}
				took = append(took, time.Since(at))
			}
		}
		return 100 * (cpu(t) - before).Seconds() / time.Since(began).Seconds()
	}
	woken, written := run(false), run(true)
	slices.Sort(took)
	t.Logf("woken 25 times a second for %ds: %.3f %% of a core; writing 8 KB each time: %.3f %%, of which the hand-over took p50 %v p99 %v",
		seconds, woken, written, took[len(took)/2], took[len(took)*99/100])
}

// costSink is a connection to a process that reads and does nothing else.
func costSink(t testing.TB) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	file, err := other.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sink := exec.Command("dd", "of=/dev/null", "bs=64k", "status=none")
	sink.Stdin = file
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); _ = sink.Wait() })
	return conn
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
	c := costClient(t, costServer(t), func(*producer.Options) {})
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
