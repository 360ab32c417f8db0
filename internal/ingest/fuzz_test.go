package ingest_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/ingest"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

// FuzzPutMedia puts any bytes into a session: it ends, its acknowledgements are
// well formed, what was BUFFERING is kept or not and nothing else, and no memory
// stays behind.
func FuzzPutMedia(f *testing.F) {
	f.Add(join(header(1), cluster(now), endOfFragment, cluster(now+1000)), 7)
	f.Add(join(header(2), cluster(now, frame{1, 0, 5}, frame{2, 1, 5}), header(1)), 1000)
	f.Add(join(header(1), cluster(now, frame{1, 0, 70_000})), 4096)
	f.Add(header(4), 3)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 2)
	p := streamtest.Start(f)
	p.Create("cam", 24*time.Hour)
	s := ingest.New(ingest.Options{Streams: p.Streams})
	f.Fuzz(func(t *testing.T, body []byte, step int) {
		if step <= 0 {
			step = 1
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/putMedia", io.NopCloser(&stepReader{b: body, n: step}))
		r.Header.Set("x-amzn-stream-name", "cam")
		r.Header.Set("x-amzn-fragment-timecode-type", "ABSOLUTE")
		if err := s.Serve(w, r, ingest.Request{Ref: streamtest.Ref("cam")}); err != nil {
			t.Fatal(err)
		}
		open := map[sluice.FragmentNumber]bool{}
		ended := false
		for line := range bytes.Lines(w.Body.Bytes()) {
			if ended {
				t.Fatalf("after an ERROR: %s", line)
			}
			a, err := sluice.ParseAck(line)
			if err != nil {
				t.Fatal(err)
			}
			switch a.Event {
			case sluice.AckBuffering:
				open[a.Number] = true
			case sluice.AckPersisted:
				if !open[a.Number] {
					t.Errorf("%s was never BUFFERING", line)
				}
				delete(open, a.Number)
			case sluice.AckError:
				if a.Code == sluice.InternalError { // a panic is told so
					t.Error(line)
				}
				delete(open, a.Number)
				ended = true
			}
		}
		if len(open) != 0 {
			t.Errorf("neither kept nor refused: %v\n%s", open, w.Body)
		}
		if m := p.Streams.Memory(); m.Used != m.Cached {
			t.Errorf("memory left: %+v", m)
		}
	})
}

// stepReader gives n bytes at a time.
type stepReader struct {
	b []byte
	n int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(r.n, len(p))], r.b)
	r.b = r.b[n:]
	return n, nil
}
