package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

// failingFS is the machine's file system until its syncs fail: the next one when
// its turn comes, and then no more.
type failingFS struct {
	fsys.OS
	fault *syncFault
}

type syncFault struct {
	next    atomic.Bool
	release chan struct{}
}

func (f *syncFault) meet() error {
	if !f.next.Swap(false) {
		return nil
	}
	<-f.release
	return errors.New("input/output error")
}

func (f failingFS) Create(name string) (fsys.File, error) {
	file, err := f.OS.Create(name)
	return failingFile{file, f.fault}, err
}

type failingFile struct {
	fsys.File
	fault *syncFault
}

func (f failingFile) Sync() error {
	if err := f.fault.meet(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f failingFile) SyncFS() error {
	if err := f.fault.meet(); err != nil {
		return err
	}
	return f.File.SyncFS()
}

// What a session has queued behind a fragment that could not be kept is not kept
// either: its producer sends all of it again.
func TestAFragmentThatCannotBeKept(t *testing.T) {
	t.Parallel()
	fault := &syncFault{release: make(chan struct{})}
	s := start(t, func(o *settings) {
		o.parts = append(o.parts, func(p *streamtest.Settings) { p.Store.FS = failingFS{fault: fault} })
	})
	s.Create("cam", 24*time.Hour)
	c := s.put(plainHead + "\r\n").accepted()
	c.send(join(header(1), cluster(now), endOfFragment))
	c.expect(kept(now)...)
	fault.next.Store(true)
	c.send(join(cluster(now+1000), endOfFragment))
	c.expect(ack("BUFFERING", now+1000))
	for fault.next.Load() { // until the sync hangs
		runtime.Gosched()
	}
	c.send(join(cluster(now+2000), endOfFragment, cluster(now+3000), endOfFragment, cluster(now+4000)))
	c.expect(ack("BUFFERING", now+2000), ack("BUFFERING", now+3000), ack("BUFFERING", now+4000))
	// Another session's wait behind them, and fare better.
	other := s.put(plainHead + "\r\n").accepted()
	other.send(join(header(1), cluster(now+100), endOfFragment))
	other.expect(ack("BUFFERING", now+100))
	close(fault.release)
	c.expect(errorAck(sluice.ArchivalError, now+1000, true))
	c.ends()
	other.expect(ack("RECEIVED", now+100), ack("PERSISTED", now+100))
	other.finish()
	other.ends()
	// The producer comes back with them, and the disk is well again.
	c = s.put(plainHead + "\r\n").accepted()
	c.send(header(1))
	want := []int64{now, now + 100}
	for ms := int64(now + 1000); ms <= now+4000; ms += 1000 {
		c.send(join(cluster(uint64(ms)), endOfFragment))
		c.expect(kept(ms)...)
		want = append(want, ms)
	}
	c.finish()
	c.ends()
	if got := s.listed(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	if a := s.Streams.Activity(s.id()); len(a.Errors) != 1 || a.Errors[0].Ack.Code != sluice.ArchivalError {
		t.Errorf("errors kept for who looks: %+v", a.Errors)
	}
}

// A session ends cleanly between the end of its last fragment and the commit. The
// official producers never send again what they have seen RECEIVED when a session
// ended so: nothing is said until it is decided, and a fragment that is lost after
// all is refused, so that they do.
func TestACleanEndBeforeTheCommit(t *testing.T) {
	t.Parallel()
	fault := &syncFault{release: make(chan struct{})}
	s := start(t, func(o *settings) {
		o.parts = append(o.parts, func(p *streamtest.Settings) { p.Store.FS = failingFS{fault: fault} })
	})
	s.Create("cam", 24*time.Hour)
	c := s.put(plainHead + "\r\n").accepted()
	c.send(join(header(1), cluster(now), endOfFragment))
	c.expect(kept(now)...)
	fault.next.Store(true)
	c.send(cluster(now + 1000))
	c.finish()
	c.expect(ack("BUFFERING", now+1000))
	for fault.next.Load() { // until the sync hangs: the body has ended long before
		runtime.Gosched()
	}
	close(fault.release)
	c.expect(errorAck(sluice.ArchivalError, now+1000, true))
	c.ends()
	c = s.put(plainHead + "\r\n").accepted()
	c.send(join(header(1), cluster(now+1000)))
	c.finish()
	c.expect(kept(now + 1000)...)
	c.ends()
	if got := s.listed(); fmt.Sprint(got) != fmt.Sprint([]int64{now, now + 1000}) {
		t.Errorf("listed %v", got)
	}
}

func (s *server) id() sluice.StreamID {
	s.T.Helper()
	st, err := s.Streams.Resolve(s.T.Context(), streamtest.Ref("cam"))
	if err != nil {
		s.T.Fatal(err)
	}
	return st.ID
}

// A producer that does not read its acknowledgements goes on until so many wait
// that it must, and neither blocks another nor grows.
func TestAcknowledgementsThatNobodyReads(t *testing.T) {
	t.Parallel()
	// Connections in memory have no buffer that could hide anything.
	s := start(t, func(o *settings) { o.pipe = true })
	s.Create("cam", 24*time.Hour)
	const count = 8000
	deaf := s.put(plainHead + "\r\n").accepted()
	other := s.put(plainHead + "\r\n").accepted()
	other.send(header(1))
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := header(1)
		for i := range count {
			b = append(b, cluster(uint64(now+i), frame{1, 0, 1})...)
			b = append(b, endOfFragment...)
			if _, err := fmt.Fprintf(deaf.conn, "%x\r\n%s\r\n", len(b), b); err != nil {
				return
			}
			sent.Add(1)
			b = b[:0]
		}
		io.WriteString(deaf.conn, "0\r\n\r\n")
	}()
	for i, last, same := 0, int64(-1), 0; same < 5; i++ {
		ms := int64(now + 100_000 + i)
		other.send(join(cluster(uint64(ms)), endOfFragment))
		other.expect(kept(ms)...)
		if n := sent.Load(); n == last {
			same++
		} else {
			last, same = n, 0
		}
	}
	if n := sent.Load(); n >= count || n < 2000 {
		t.Errorf("stopped after %d fragments", n)
	}
	other.finish()
	other.ends()
	// Then it reads after all: RECEIVED and PERSISTED of every fragment are there,
	// in order, whatever BUFFERING was dropped.
	buffering := 0
	next := int64(now)
	for a := deaf.ack(); a != ""; a = deaf.ack() {
		x, err := sluice.ParseAck([]byte(a))
		if err != nil {
			t.Fatal(err)
		}
		switch x.Event {
		case sluice.AckBuffering:
			buffering++
		case sluice.AckPersisted:
			if x.Timecode != next {
				t.Fatalf("PERSISTED of %d, want %d", x.Timecode, next)
			}
			next++
		}
	}
	<-done
	if next != now+count || buffering >= count {
		t.Errorf("PERSISTED of %d, BUFFERING of %d, of %d", next-now, buffering, count)
	}
}

// The oldest of three sessions ends without an error when the limit is two.
func TestTheOldestSessionYieldsOnTheWire(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *settings) {
		o.parts = append(o.parts, func(p *streamtest.Settings) { p.Stream.MaxSessions = func() int { return 2 } })
	})
	s.Create("cam", 24*time.Hour)
	a := s.put(plainHead + "\r\n").accepted()
	a.send(join(header(1), cluster(now)))
	a.expect(ack("BUFFERING", now))
	b := s.put(plainHead + "\r\n").accepted()
	b.send(join(header(1), cluster(now+5000)))
	b.expect(ack("BUFFERING", now+5000))
	c := s.put(plainHead + "\r\n").accepted()
	// It may finish what it has begun, and takes no further Cluster.
	a.send(cluster(now + 1000))
	a.expect(ack("RECEIVED", now), ack("PERSISTED", now))
	a.ends()
	b.finish()
	b.expect(ack("RECEIVED", now+5000), ack("PERSISTED", now+5000))
	b.ends()
	c.finish()
	c.ends()
}

// The server stops: an open fragment gets two seconds, what is complete is
// acknowledged, readers end at the end of a chunk.
func TestShutdownOnTheWire(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	finishes := s.put(plainHead + "\r\n").accepted()
	finishes.send(join(header(1), cluster(now)))
	finishes.expect(ack("BUFFERING", now))
	hangs := s.put(plainHead + "\r\n").accepted()
	hangs.send(join(header(1), cluster(now+9000)))
	hangs.expect(ack("BUFFERING", now+9000))
	idle := s.put(plainHead + "\r\n").accepted()
	media := s.get(t.Context(), `{"StreamName":"cam","StartSelector":{"StartSelectorType":"NOW"}}`)
	closed := make(chan error, 1)
	go func() { closed <- s.Streams.Close(context.Background()) }()
	idle.ends()
	finishes.send(endOfFragment)
	finishes.expect(ack("RECEIVED", now), ack("PERSISTED", now))
	finishes.ends()
	hangs.expect(errorAck(sluice.StreamReadError, now+9000, true))
	hangs.ends()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(media); err != nil {
		t.Errorf("the reader's answer: %v", err)
	}
}

// Nothing of a frame and no secret is found in any file; and when the stream is
// deleted, what is left opens no more.
func TestNothingInTheClearOnDisk(t *testing.T) {
	t.Parallel()
	s := start(t)
	st := s.Create("cam", 24*time.Hour)
	payload := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{7}).Read(payload)
	c := s.put(plainHead + "\r\n").accepted()
	c.send(join(header(1), cluster(now)))
	c.send(blockOf(payload))
	c.send(endOfFragment)
	c.expect(kept(now)...)
	c.finish()
	c.ends()
	about, err := s.Catalog.ByID(t.Context(), st.ID)
	if err != nil || len(about.WrappedKey) == 0 {
		t.Fatalf("no data key: %v", err)
	}
	key, err := s.Keyring.Unwrap(t.Context(), about.KeyARN, about.WrappedKey, map[string]string{"aws:kinesisvideo:stream": st.ARN.String(), "sluice:stream": string(st.ID)})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{"data key": key[:], "root key": []byte(strings.Fields(s.Root.Text())[1])}
	for i := 0; i+32 <= len(payload); i += 997 {
		secrets[fmt.Sprint("payload at ", i)] = payload[i : i+32]
	}
	scan := func() {
		err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			for what, secret := range secrets {
				if bytes.Contains(b, secret) {
					t.Errorf("%s is in %s", what, path)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	scan()
	if _, err := s.Catalog.Delete(t.Context(), streamtest.Ref("cam"), ""); err != nil {
		t.Fatal(err)
	}
	if about, err = s.Catalog.ByID(t.Context(), st.ID); err != nil || about.WrappedKey != nil {
		t.Errorf("after the deletion: key %x, %v", about.WrappedKey, err)
	}
	for _, f := range []string{"catalog.db", "catalog.db-wal"} {
		if b, _ := os.ReadFile(filepath.Join(s.Dir, f)); f == "catalog.db" && bytes.Contains(b, about.WrappedKey) && len(about.WrappedKey) > 0 {
			t.Errorf("the wrapped key is still in %s", f)
		}
	}
	scan()
}

func blockOf(payload []byte) []byte {
	b := block(1, 1, len(payload))
	copy(b[len(b)-len(payload):], payload)
	return b
}

// Producers and consumers that are slow, stall, are cut off, or send a byte at a
// time leave nothing behind.
func TestFaultyClientsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *settings) {
		o.parts = append(o.parts, func(p *streamtest.Settings) { p.Stream.Budget, p.Stream.MaxFragment = 32<<20, 8<<20 })
	})
	s.Create("cam", 24*time.Hour)
	count := 120
	if testing.Short() {
		count = 20
	}
	before := runtime.NumGoroutine()
	body := join(header(1), cluster(now), cluster(now+1000), cluster(now+2000, frame{1, 0, 100_000}), endOfFragment)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for i := range count {
		conn, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
			rnd := rand.New(rand.NewPCG(uint64(i), 9))
			if i%3 == 0 { // a consumer that stops reading
				text := `{"StreamName":"cam","StartSelector":{"StartSelectorType":"EARLIEST"}}`
				fmt.Fprintf(conn, "POST /getMedia HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
				io.CopyN(io.Discard, conn, int64(rnd.IntN(50_000)))
				if i%2 == 0 {
					<-ctx.Done()
				}
				return
			}
			io.WriteString(conn, plainHead+"\r\n")
			b := body[:rnd.IntN(len(body))]
			switch i % 3 {
			case 1: // bytes one by one, then a reset
				for j := 0; j < len(b) && j < 400 && ctx.Err() == nil; j++ {
					fmt.Fprintf(conn, "1\r\n%s\r\n", b[j:j+1])
				}
				if c, ok := conn.(*net.TCPConn); ok {
					c.SetLinger(0)
				}
			case 2: // half, then nothing until it is cut
				fmt.Fprintf(conn, "%x\r\n%s\r\n", len(b), b)
				<-ctx.Done()
			}
		})
	}
	wg.Wait()
	// The server notices at once: all connections are closed.
	deadline := time.Now().Add(2 * time.Minute)
	for {
		a := s.Streams.Activity(s.id())
		m := s.Streams.Memory()
		s.client.CloseIdleConnections()
		if len(a.Sessions) == 0 && m.Used == m.Cached && m.Waiting == 0 && runtime.NumGoroutine() <= before+5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %d sessions, %+v, %d goroutines more", len(a.Sessions), m, runtime.NumGoroutine()-before)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// The bandwidth limit slows reading down and loses nothing; waiting for it is not
// silence.
func TestBandwidthIsPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(o *settings) {
			o.pipe = true
			o.limits.Set(o.limits.Rules(), limits.Rates{PutMediaBandwidth: 10_000})
		})
		s.Create("cam", 24*time.Hour)
		c := s.put(plainHead + "\r\n").accepted()
		began := time.Now()
		go func() {
			c.send(join(header(1), cluster(now, frame{1, 0, 600_000}), endOfFragment))
			c.finish()
		}()
		c.expect(kept(now)...)
		c.ends()
		if d := time.Since(began); d < 58*time.Second || d > 62*time.Second {
			t.Errorf("600 kB at 10 kB/s took %v", d)
		}
	})
}
