package producer_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// double stands in for the service where a test needs it to misbehave in a
// chosen way. It reads sessions with the server's own reader, and stores a
// fragment when it is complete.
type double struct {
	t      testing.TB
	server *httptest.Server

	mu        sync.Mutex
	exists    bool
	retention int
	tags      map[string]string
	sessions  []*doubleSession
	stored    []stored
	calls     map[string]int
	changed   chan struct{}
	number    sluice.Sequence

	// Hooks, each may be nil. They are called without mu.
	onPut      func(w http.ResponseWriter, r *http.Request, n int) bool // true: answered
	onBegin    func(d *doubleSession, timecode int64) sluice.AckErrorCode
	onComplete func(d *doubleSession, f *stored) verdict
	onControl  func(w http.ResponseWriter, path string) bool
}

type verdict struct {
	err    sluice.AckErrorCode // answer with it, and end the session
	silent bool                // say nothing, store nothing
	drop   bool                // break the connection before storing
	dropOK bool                // store, break the connection before saying so
	recvd  bool                // RECEIVED only, and not stored
}

type stored struct {
	session  int
	number   sluice.FragmentNumber // in the order in which they began
	timecode int64                 // as sent
	producer time.Time
	header   *fragment.Header
	frames   []storedFrame
	tags     []sluice.Tag
	bytes    []byte
	explicit bool
	lead     []byte
}

type storedFrame struct {
	track uint64
	at    time.Duration
	key   bool
	data  string
}

type doubleSession struct {
	d         *double
	n         int
	start     time.Time
	relative  bool
	header    http.Header
	body      []byte
	ended     bool
	fragments int
}

func newDouble(t testing.TB) *double {
	d := &double{t: t, retention: 24, calls: map[string]int{}, changed: make(chan struct{}), number: 1}
	d.server = httptest.NewUnstartedServer(d)
	d.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	d.server.Start()
	t.Cleanup(func() {
		d.server.CloseClientConnections()
		d.server.Close()
	})
	return d
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.calls[r.URL.Path]++
	d.mu.Unlock()
	if r.URL.Path == "/putMedia" {
		d.putMedia(w, r)
		return
	}
	if d.onControl != nil && d.onControl(w, r.URL.Path) {
		return
	}
	body, _ := io.ReadAll(r.Body)
	var in struct {
		StreamName           string
		DataRetentionInHours int
		Tags                 map[string]string
	}
	_ = json.Unmarshal(body, &in)
	d.mu.Lock()
	defer d.mu.Unlock()
	arn := "arn:aws:kinesisvideo:us-west-2:123456789012:stream/" + in.StreamName + "/1700000000000"
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	switch r.URL.Path {
	case "/describeStream":
		if !d.exists {
			refuse(w, 404, "ResourceNotFoundException")
			return
		}
		answer(map[string]any{"StreamInfo": map[string]any{
			"StreamName": in.StreamName, "StreamARN": arn, "Status": "ACTIVE", "DataRetentionInHours": d.retention, "CreationTime": 1700000000.0,
		}})
	case "/createStream":
		d.exists, d.retention = true, in.DataRetentionInHours
		answer(map[string]any{"StreamARN": arn})
	case "/tagStream":
		d.tags = in.Tags
		answer(map[string]any{})
	case "/getDataEndpoint":
		answer(map[string]any{"DataEndpoint": d.server.URL})
	default:
		refuse(w, 404, "UnknownOperationException")
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Amzn-Errortype", code)
	w.Header().Set("Connection", "close") // else net/http waits for a body that waits for the answer
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"Message":"by the test"}`)
}

func (d *double) putMedia(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	ds := &doubleSession{d: d, n: len(d.sessions) + 1, header: r.Header.Clone(), relative: r.Header.Get("X-Amzn-Fragment-Timecode-Type") == "RELATIVE"}
	d.sessions = append(d.sessions, ds)
	d.mu.Unlock()
	if d.onPut != nil && d.onPut(w, r, ds.n) {
		return
	}
	var at float64
	_ = json.Unmarshal([]byte(r.Header.Get("X-Amzn-Producer-Start-Timestamp")), &at)
	ds.start = time.UnixMilli(int64(at*1000 + 0.5))
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	w.WriteHeader(200)
	_ = rc.Flush()
	acks := r.Header.Get("X-Amzn-Fragment-Acknowledgment-Required") != "0"
	say := func(a sluice.Ack) {
		if acks || a.Event == sluice.AckError {
			_, _ = w.Write(a.Append(nil))
			_ = rc.Flush()
		}
	}
	rd := fragment.NewReader(fragment.Options{})
	var header *fragment.Header
	var cur *stored
	var number sluice.FragmentNumber
	refuseFragment := func(code sluice.AckErrorCode) {
		a := sluice.Ack{Event: sluice.AckError, Code: code, Number: number}
		if cur != nil {
			a.Timecode, a.HasTimecode = cur.timecode, true
		}
		say(a)
	}
	for {
		ev, err := rd.Next()
		switch {
		case errors.Is(err, fragment.ErrMore):
			p := make([]byte, 32<<10)
			n, err := r.Body.Read(p)
			d.mu.Lock()
			ds.body = append(ds.body, p[:n]...)
			d.mu.Unlock()
			rd.Feed(p[:n])
			if errors.Is(err, io.EOF) {
				d.mu.Lock()
				ds.ended = true
				d.mu.Unlock()
				d.notify()
				rd.Close()
			} else if err != nil {
				return
			}
			continue
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			d.t.Logf("session %d: %v", ds.n, err)
			refuseFragment(sluice.InvalidMKVData)
			return
		}
		switch ev.Kind {
		case fragment.HeaderComplete:
			header = ev.Header
		case fragment.Begin:
			d.mu.Lock()
			d.number++
			number = sluice.MakeFragmentNumber(d.number, uint64(time.Now().UnixMilli()), 0)
			d.mu.Unlock()
			cur = &stored{session: ds.n, number: number, timecode: ev.Timecode, header: header, tags: ev.Tags, lead: ev.Lead}
			ticks := time.Duration(ev.Timecode) * header.Scale
			cur.producer = time.Unix(0, int64(ticks))
			if ds.relative {
				cur.producer = ds.start.Add(ticks)
			}
			ds.fragments++
			if d.onBegin != nil {
				if code := d.onBegin(ds, ev.Timecode); code == -1 {
					continue // silent
				} else if code != 0 {
					refuseFragment(code)
					return
				}
			}
			say(sluice.Ack{Event: sluice.AckBuffering, Timecode: cur.timecode, HasTimecode: true, Number: number})
		case fragment.Elements:
			start := len(cur.bytes)
			cur.bytes = append(cur.bytes, ev.Bytes...)
			_ = start
			for _, f := range ev.Frames {
				cur.frames = append(cur.frames, storedFrame{uint64(f.Track), f.Timecode, f.Key, string(cur.bytes[f.Offset : f.Offset+f.Size])})
			}
			cur.tags = append(cur.tags, ev.Tags...)
		case fragment.End:
			cur.explicit = ev.Explicit
			var v verdict
			if d.onComplete != nil {
				v = d.onComplete(ds, cur)
			}
			ack := sluice.Ack{Event: sluice.AckReceived, Timecode: cur.timecode, HasTimecode: true, Number: number}
			switch {
			case v.err != 0:
				refuseFragment(v.err)
				return
			case v.silent:
				continue
			case v.drop:
				panic(http.ErrAbortHandler)
			case v.recvd:
				say(ack)
				continue
			}
			d.mu.Lock()
			d.stored = append(d.stored, *cur)
			retention := d.retention
			d.mu.Unlock()
			d.notify()
			if v.dropOK {
				panic(http.ErrAbortHandler)
			}
			say(ack)
			if retention > 0 {
				ack.Event = sluice.AckPersisted
				say(ack)
			}
			cur = nil
		}
	}
}

func (d *double) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// wait waits until ok says so of what was stored.
func (d *double) wait(ok func(all []stored) bool) []stored {
	d.t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		d.mu.Lock()
		all, changed := append([]stored(nil), d.stored...), d.changed
		d.mu.Unlock()
		if ok(all) {
			return all
		}
		select {
		case <-changed:
		case <-deadline:
			d.t.Fatalf("stuck: %d fragments stored", len(all))
		}
	}
}

func (d *double) count(path string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[path]
}

// fragments are those stored, in the order of their numbers.
func (d *double) fragments() []stored {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := append([]stored(nil), d.stored...)
	slices.SortFunc(all, func(a, b stored) int { return a.number.Compare(b.number) })
	return all
}

func (d *double) session(n int) *doubleSession {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > len(d.sessions) {
		return nil
	}
	return d.sessions[n-1]
}

func (d *double) options() producer.Options {
	return producer.Options{
		Service: kvsapi.Options{
			Endpoint: d.server.URL, Region: "us-west-2", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
			Getenv: func(string) string { return "" },
		},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// client makes a client of the double that is closed at the end of the test.
func (d *double) client(change ...func(*producer.Options)) *producer.Client {
	d.t.Helper()
	o := d.options()
	for _, f := range change {
		f(&o)
	}
	c, err := producer.New(context.Background(), o)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}
