package ingest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/mediatest"
)

var recordings = []struct {
	name  string
	count int
}{{"video-h264-01", 15}, {"av-h264-aac-01", 13}, {"video-h264-relative-01", 6}}

// cut gives each fragment's bytes of a recorded body.
func cut(t *testing.T, body []byte) (header *fragment.Header, clusters [][]byte, timecodes []int64) {
	t.Helper()
	r := fragment.NewReader(fragment.Options{})
	r.Feed(body)
	r.Close()
	for {
		ev, err := r.Next()
		if errors.Is(err, io.EOF) {
			return header, clusters, timecodes
		}
		if err != nil {
			t.Fatal(err)
		}
		switch ev.Kind {
		case fragment.HeaderComplete:
			header = ev.Header
		case fragment.Begin:
			clusters, timecodes = append(clusters, nil), append(timecodes, ev.Timecode)
		case fragment.Elements:
			last := len(clusters) - 1
			clusters[last] = append(clusters[last], ev.Bytes...)
		}
	}
}

// chunks gives when and how large each HTTP chunk of a recording was.
func chunks(t *testing.T, name string) (at []time.Duration, size []int) {
	t.Helper()
	for line := range strings.Lines(string(mediatest.File(t, "putmedia-captures/"+name+".chunks.txt"))) {
		var sec float64
		var n int
		if _, err := fmt.Sscan(line, &sec, &n); err != nil {
			t.Fatal(err)
		}
		at, size = append(at, time.Duration(sec*float64(time.Second))), append(size, n)
	}
	return at, size
}

// requestHead is the recorded head, for the stream cam.
func requestHead(t *testing.T, name string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(string(mediatest.File(t, "putmedia-captures/"+name+".request-head.http"))) {
		if strings.HasPrefix(line, "x-amzn-stream-name:") {
			line = "x-amzn-stream-name: cam\r\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

// chunk is what GetMedia must send for a fragment, up to its trailing tags.
func leading(h *fragment.Header, first bool, n sluice.FragmentNumber, producer time.Time) []byte {
	lead := h.Rest
	if first {
		lead = h.First
	}
	return fragment.AppendLeadingTags(bytes.Clone(lead), n, n.ServerTime(), producer)
}

// TestRecordings replays each recorded call with its own request head and its
// own HTTP chunks, in a tenth of its time (in the long form, in its time), and reads
// it back.
func TestRecordings(t *testing.T) {
	t.Parallel()
	faster := time.Duration(10)
	if os.Getenv("SLUICE_LONG") != "" {
		faster = 1
	}
	for _, rec := range recordings {
		t.Run(rec.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.Create("cam", 24*time.Hour)
			body := mediatest.File(t, "putmedia-captures/"+rec.name+".body.mkv")
			at, size := chunks(t, rec.name)
			c := s.put(requestHead(t, rec.name))
			if status, _ := c.head(); status != "HTTP/1.1 100 Continue" {
				t.Fatalf("first answer: %s", status)
			}
			c.accepted()
			answers := make(chan []string, 1)
			go func() { answers <- c.acks() }()
			began := time.Now()
			rest := body
			for i, n := range size {
				time.Sleep(time.Until(began.Add(at[i] / faster)))
				c.send(rest[:n])
				rest = rest[n:]
			}
			c.finish()
			acks := <-answers

			header, clusters, timecodes := cut(t, body)
			if len(clusters) != rec.count {
				t.Fatalf("%d fragments in the recording, want %d", len(clusters), rec.count)
			}
			var numbers []sluice.FragmentNumber
			seen := map[sluice.AckEvent][]int64{}
			for _, line := range acks {
				a, err := sluice.ParseAck([]byte(line))
				if err != nil {
					t.Fatal(err)
				}
				if a.Event == sluice.AckPersisted {
					numbers = append(numbers, a.Number)
				}
				seen[a.Event] = append(seen[a.Event], a.Timecode)
			}
			for _, e := range []sluice.AckEvent{sluice.AckBuffering, sluice.AckReceived, sluice.AckPersisted} {
				if fmt.Sprint(seen[e]) != fmt.Sprint(timecodes) {
					t.Errorf("%s for %v, want %v", e, seen[e], timecodes)
				}
			}
			if len(seen[sluice.AckError]) != 0 || t.Failed() {
				t.Fatalf("acknowledgements: %v", acks)
			}

			start := time.Unix(0, 0)
			if strings.Contains(rec.name, "relative") {
				start = time.UnixMilli(1795353347553)
			}
			r := bufio.NewReader(s.get(t.Context(), `{"StreamName":"cam","StartSelector":{"StartSelectorType":"EARLIEST"}}`))
			for i, cl := range clusters {
				want := append(leading(header, i == 0, numbers[i], start.Add(time.Duration(timecodes[i])*time.Millisecond)), cl...)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(r, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("chunk %d differs", i)
				}
				tags := make([]byte, len(fragment.AppendTrailingTags(nil, 0, numbers[i])))
				if _, err := io.ReadFull(r, tags[:1]); err != nil {
					t.Fatal(err)
				}
				// The trailing tags: skip to the token, which is the chunk's own number.
				token := []byte(numbers[i].String())
				for tail := []byte{}; !bytes.HasSuffix(tail, token); {
					b, err := r.ReadByte()
					if err != nil {
						t.Fatal(err)
					}
					if tail = append(tail, b); len(tail) > 400 {
						t.Fatalf("no trailing tags after chunk %d", i)
					}
				}
			}
		})
	}
}

// TestLiveReplayInLockStep sends the next frame only when the reader has the one
// before: nothing on the way may wait for more.
func TestLiveReplayInLockStep(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	body := mediatest.File(t, "putmedia-captures/av-h264-aac-01.body.mkv")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	media := s.get(ctx, `{"StreamName":"cam","StartSelector":{"StartSelectorType":"NOW"}}`)
	c := s.put(plainHead + "\r\n").accepted()
	go io.Copy(io.Discard, c.r)

	// The places in the body where blocks end, and how much of the fragments the
	// reader has by then.
	r := fragment.NewReader(fragment.Options{})
	header, _, _ := cut(t, body)
	sent, owed := 0, int64(0)
	buf := make([]byte, 64<<10)
	got, want := int64(0), int64(0)
	frames := 0
	for i := range body {
		r.Feed(body[i : i+1 : i+1])
		for {
			ev, err := r.Next()
			if err != nil {
				break
			}
			switch ev.Kind {
			case fragment.Begin:
				lead := header.Rest
				if want == 0 {
					lead = header.First
				}
				owed += int64(len(fragment.AppendLeadingTags(bytes.Clone(lead), sluice.MakeFragmentNumber(1, 1, 1), time.UnixMilli(1795353347553), time.UnixMilli(1795353347553))))
			case fragment.End:
				// The trailing tags have a length that depends on how late it is:
				// they are not counted, so more may come than is owed.
			case fragment.Elements:
				owed += int64(len(ev.Bytes))
				want += int64(len(ev.Bytes))
				if len(ev.Frames) == 0 {
					continue
				}
				frames++
				c.send(body[sent : i+1])
				sent = i + 1
				for got < owed {
					n, err := media.Read(buf)
					if err != nil {
						t.Fatalf("frame %d: %d of %d bytes: %v", frames, got, owed, err)
					}
					got += int64(n)
				}
			}
		}
	}
	if frames != 750+1155 {
		t.Errorf("%d frames", frames)
	}
}
