package ingest_test

import (
	"bufio"
	"bytes"
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
)

// in runs a test with a clock of its own, over connections in memory.
func in(t *testing.T, run func(t *testing.T, s *server)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(o *settings) { o.pipe = true })
		s.Create("cam", 24*time.Hour)
		run(t, s)
	})
}

func since(t *testing.T, began time.Time, want time.Duration) {
	t.Helper()
	// Commits wait some milliseconds for company.
	if d := time.Since(began); (d - want).Abs() > 100*time.Millisecond {
		t.Errorf("after %v, want %v", d, want)
	}
}

// left checks what ListFragments and GetMedia show of kept fragments.
func (s *server) left(want ...int64) {
	s.T.Helper()
	s.leaves(want, len(want))
}

// leaves checks what is listed, and how many fragments GetMedia shows.
func (s *server) leaves(listed []int64, shown int) {
	s.T.Helper()
	if got := s.listed(); !slices.Equal(got, listed) {
		s.T.Errorf("listed %v, want %v", got, listed)
	}
	if got := s.shown(); got != shown {
		s.T.Errorf("shown: %d, want %d", got, shown)
	}
}

// A silent stream keeps its readers: nothing is sent, no time-out ends it.
func TestASilentStreamKeepsItsReaders(t *testing.T) {
	in(t, func(t *testing.T, s *server) {
		ctx, cancel := context.WithCancel(t.Context())
		media := bufio.NewReader(s.get(ctx, `{"StreamName":"cam","StartSelector":{"StartSelectorType":"NOW"}}`))
		arrived := make(chan error, 1)
		go func() {
			_, err := media.Peek(1)
			arrived <- err
		}()
		select {
		case err := <-arrived:
			t.Errorf("before there was anything: %v", err)
		case <-time.After(7 * 24 * time.Hour):
		}
		c := s.put(plainHead + "\r\n").accepted()
		at := time.Now().UnixMilli()
		c.send(join(header(1), cluster(uint64(at)), endOfFragment))
		c.expect(kept(at)...)
		if err := <-arrived; err != nil {
			t.Error(err)
		}
		// The lead, its tags, and the Cluster as it was sent.
		got := make([]byte, 4096)
		n := 0
		for !bytes.Contains(got[:n], cluster(uint64(at))) && n < len(got) {
			k, err := media.Read(got[n:])
			if n += k; err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
		c.finish()
		c.ends()
		cancel()
	})
}

func TestSilenceBetweenFragments(t *testing.T) {
	in(t, func(t *testing.T, s *server) {
		c := s.put(plainHead + "\r\n").accepted()
		c.send(join(header(1), cluster(now), endOfFragment))
		c.expect(kept(now)...)
		began := time.Now()
		for i := range 5 {
			c.expect(idleAck)
			since(t, began, time.Duration(i+1)*5*time.Second)
		}
		c.ends()
		since(t, began, 30*time.Second)
		s.left(now)
	})
}

func TestSilenceInsideAFragment(t *testing.T) {
	in(t, func(t *testing.T, s *server) {
		c := s.put(plainHead + "\r\n").accepted()
		c.send(join(header(1), cluster(now)))
		c.expect(ack("BUFFERING", now), idleAck, idleAck, idleAck, idleAck, idleAck, errorAck(sluice.InvalidMKVData, -1, false))
		c.ends()
		s.left()
	})
}

func TestSilenceIsCountedAnewAfterEachByte(t *testing.T) {
	in(t, func(t *testing.T, s *server) {
		c := s.put(plainHead + "\r\n").accepted()
		b := join(header(1), cluster(now), endOfFragment)
		for i := 0; i < len(b)-100; i += 100 {
			c.send(b[i : i+100])
			for range 5 {
				if a := plain([]string{c.ack()})[0]; a != idleAck && a != ack("BUFFERING", now) {
					t.Errorf("at %d of %d: %s", i, len(b), a)
				}
			}
		}
		c.send(b[len(b)/100*100:])
		c.finish()
		acks := plain(c.acks())
		if n := len(acks); n < 2 || acks[n-1] != ack("PERSISTED", now) {
			t.Errorf("acknowledgements %v", acks)
		}
		s.left(now)
	})
}

func TestAConnectionOf45Minutes(t *testing.T) {
	in(t, func(t *testing.T, s *server) {
		c := s.put(plainHead + "\r\n").accepted()
		c.send(join(header(1), cluster(now), endOfFragment))
		c.expect(kept(now)...)
		began := time.Now()
		at := uint64(now)
		all := []int64{now}
		for {
			time.Sleep(4 * time.Second)
			at += 4000
			c.send(join(cluster(at), endOfFragment))
			if time.Since(began) >= 45*time.Minute {
				break
			}
			c.expect(kept(int64(at))...)
			all = append(all, int64(at))
		}
		c.expect(errorAck(sluice.MaxConnectionDurationReached, int64(at), false))
		c.ends()
		s.left(all...)
	})
}

func TestTheEndOfNoFragment(t *testing.T) {
	in(t, func(t *testing.T, s *server) {
		// What the native producer sends when its last fragment was refused: it
		// waits for the answer to end.
		c := s.put(plainHead + "\r\n").accepted()
		c.send(join(header(1), endOfFragment))
		began := time.Now()
		c.ends()
		since(t, began, 5*time.Second)
		s.left()
	})
}

func TestAKeyDisabledDuringASession(t *testing.T) {
	in(t, func(t *testing.T, s *server) {
		key, err := s.Keyring.Create(t.Context(), "", "alias/mine")
		if err != nil {
			t.Fatal(err)
		}
		s.CreateUnder("locked", key.ARN)
		c := s.put("POST /putMedia HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nx-amzn-stream-name: locked\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n\r\n").accepted()
		c.send(join(header(1), cluster(now), endOfFragment))
		c.expect(kept(now)...)
		if _, err := s.Keyring.Disable(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		began, at := time.Now(), int64(now)
		for {
			time.Sleep(4 * time.Second)
			at += 4000
			c.send(join(cluster(uint64(at)), endOfFragment))
			a := plain([]string{c.ack()})[0]
			if a == errorAck(sluice.KMSKeyDisabled, at, false) {
				break
			}
			if a != ack("BUFFERING", at) {
				t.Fatalf("acknowledgement %s", a)
			}
			c.expect(kept(at)[1:]...)
			if time.Since(began) > 5*time.Minute {
				t.Fatal("not noticed within 5 minutes")
			}
		}
		c.ends()
		// The next one hears it at once; and so it is with a key that never was.
		s.CreateUnder("nokey", "arn:aws:kms:us-west-2:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab")
		for name, code := range map[string]sluice.AckErrorCode{"locked": sluice.KMSKeyDisabled, "nokey": sluice.KMSKeyNotFound} {
			c := s.put("POST /putMedia HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nx-amzn-stream-name: " + name + "\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n\r\n").accepted()
			c.expect(errorAck(code, -1, false))
			c.ends()
		}
	})
}
