package egress_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/egress"
	"github.com/sluicevideo/sluice/internal/leaktest"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/stream"
	"github.com/sluicevideo/sluice/internal/streamtest"
	"github.com/sluicevideo/sluice/mkv"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// house is a server of readers, a stream "cam" and a pen to write it with.
type house struct {
	*streamtest.Parts
	t      *testing.T
	egress *egress.Server
	cam    catalog.Stream
	x      *stream.Session
	header *fragment.Header
	url    string
	client *http.Client
	from   sluice.StartSelector
	list   []sluice.FragmentNumber
}

func open(t *testing.T, rates limits.Rates, change ...func(*streamtest.Settings)) *house {
	t.Helper()
	rules, err := limits.RulesOf("current")
	if err != nil {
		t.Fatal(err)
	}
	l := limits.New(rules, rates)
	h := &house{Parts: streamtest.Start(t, change...), t: t}
	h.egress = egress.New(egress.Options{Streams: h.Streams, Limits: l, TokenKey: [32]byte{1}})
	h.cam = h.Create("cam", 24*time.Hour)
	h.join()
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendTracks(mkv.AppendInfo(b, mkv.Info{Scale: time.Millisecond}), []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: "V_VP8"}})
	h.header = &fragment.Header{First: b, Rest: b, Scale: time.Millisecond}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := egress.Request{Ref: streamtest.Ref("cam"), Key: limits.Key{Stream: "cam", Session: r.RemoteAddr}}
		var err error
		switch r.URL.Path {
		case "/media":
			err = h.egress.GetMedia(w, r, q, h.from)
		case "/list":
			err = h.egress.FragmentList(w, r, q, h.list)
		}
		if err != nil {
			http.Error(w, err.Error(), 400)
		}
	}))
	h.url, h.client = srv.URL, srv.Client()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if h.x != nil {
			h.x.Leave(nil)
		}
		h.Streams.Close(ctx)
		srv.Close()
	})
	return h
}

func (h *house) join() {
	h.t.Helper()
	var err error
	if h.x, err = h.Streams.Join(h.t.Context(), streamtest.Ref("cam"), stream.SessionInfo{}); err != nil {
		h.t.Fatal(err)
	}
}

// begin opens a fragment at a producer time, with one frame of so many bytes.
func (h *house) begin(at time.Time, size int) (*stream.Open, []byte) {
	h.t.Helper()
	o, err := h.x.Begin(h.t.Context(), stream.FragmentHeader{Lead: h.header.Rest, Header: h.header, Producer: at})
	if err != nil {
		h.t.Fatal(err)
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i) ^ byte(at.UnixMilli())
	}
	b := mkv.AppendSimpleBlock(mkv.AppendCluster(nil, uint64(at.UnixMilli())), 0, &sluice.Frame{Track: 1, Key: true, Data: data})
	d := time.Duration(at.UnixMilli()) * time.Millisecond
	if err := o.Append(h.t.Context(), b, []fragment.Entry{{Offset: uint32(len(b) - size), Size: uint32(size), Track: 1, Key: true, Timecode: d}}); err != nil {
		h.t.Fatal(err)
	}
	return o, b
}

// put writes a whole fragment; a second frame makes it so long.
func (h *house) put(at time.Time, length time.Duration, size int) (sluice.FragmentNumber, []byte) {
	h.t.Helper()
	o, b := h.begin(at, size)
	if length > 0 {
		more := mkv.AppendSimpleBlock(nil, int16(length.Milliseconds()), &sluice.Frame{Track: 1, Data: []byte{1}})
		d := time.Duration(at.UnixMilli())*time.Millisecond + length
		if err := o.Append(h.t.Context(), more, []fragment.Entry{{Offset: uint32(len(b) + len(more) - 1), Size: 1, Track: 1, Timecode: d}}); err != nil {
			h.t.Fatal(err)
		}
		b = append(b, more...)
	}
	k := o.Commit(h.t.Context())
	<-k.Done()
	if k.Err() != nil {
		h.t.Fatal(k.Err())
	}
	return o.Number(), b
}

// reader is the answer of a media call.
type reader struct {
	t      testing.TB
	body   io.ReadCloser
	c      *fragment.ChunkReader
	chunks int // given out
}

func (h *house) call(path string) *reader {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	h.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "video/webm" {
		b, _ := io.ReadAll(resp.Body)
		h.t.Fatalf("%s: %s %s", path, resp.Status, b)
	}
	return &reader{t: h.t, body: resp.Body, c: fragment.NewChunkReader(mkv.Options{})}
}

func (h *house) media(from sluice.StartSelector) *reader {
	h.from = from
	return h.call("/media")
}

// chunk reads up to the end of the next complete or erroneous chunk.
func (r *reader) chunk() (*fragment.Chunk, []byte) {
	r.t.Helper()
	var raw []byte
	buf := make([]byte, 4096)
	for {
		ev, err := r.c.Next()
		switch {
		case errors.Is(err, mkv.ErrMore):
			n, rerr := r.body.Read(buf)
			if n > 0 {
				r.c.Feed(bytes.Clone(buf[:n]))
				continue
			}
			if rerr != nil {
				r.c.Close()
			}
		case err != nil:
			return nil, raw
		default:
			raw = append(raw, ev.Raw...)
			c := *r.c.Chunk()
			if c.Index >= r.chunks && (c.Complete || c.Err != nil && ev.ID == mkv.IDTags && ev.Kind != mkv.Start && ev.Level == 1) {
				r.chunks = c.Index + 1
				return &c, raw
			}
		}
	}
}

func at(ms int64) time.Time { return time.UnixMilli(ms) }

func (r *reader) want(n sluice.FragmentNumber) []byte {
	r.t.Helper()
	c, raw := r.chunk()
	if c == nil || c.Number != n || c.Err != nil || c.Token != n {
		r.t.Fatalf("chunk %+v, want fragment %v", c, n)
	}
	return raw
}

func TestAChunkByteForByte(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{})
	n, b := h.put(at(5000), time.Second, 1000)
	r := h.media(sluice.StartSelector{Type: sluice.SelectEarliest})
	c, raw := r.chunk()
	want := append(bytes.Clone(h.header.Rest), fragment.AppendLeadingTags(nil, n, n.ServerTime(), at(5000))...)
	want = append(want, b...)
	want = fragment.AppendTrailingTags(want, c.Behind, n)
	if !bytes.Equal(raw, want) {
		t.Errorf("chunk\n%x\nwant\n%x", raw, want)
	}
	if c.Behind < 0 || c.Behind > time.Minute {
		t.Errorf("behind by %v", c.Behind)
	}
}

// TestStartSelectors is the boundaries of every selector, where all is in memory
// and where it comes from the disk.
func TestStartSelectors(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"tail", "archive"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			testStartSelectors(t, where == "archive")
		})
	}
}

func testStartSelectors(t *testing.T, archive bool) {
	wall := at(1_700_000_000_000)
	clock := func(o *streamtest.Settings) { o.Now = func() time.Time { return wall } }
	h := open(t, limits.Rates{}, clock)
	// Fragments of one second at producer times 1000, 3000, 2000 (in that order)
	// and 6000; by server time a minute apart.
	var n []sluice.FragmentNumber
	for _, ms := range []int64{1000, 3000, 2000, 6000} {
		x, _ := h.put(at(ms), time.Second, 100)
		n = append(n, x)
		wall = wall.Add(time.Minute)
	}
	follow := func(from sluice.StartSelector) *stream.Cursor {
		t.Helper()
		c, err := h.Streams.Follow(t.Context(), streamtest.Ref("cam"), from)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	next := func(c *stream.Cursor) sluice.FragmentNumber {
		t.Helper()
		f, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f.Archived() != (archive && slices.Contains(n, f.Number)) {
			t.Errorf("fragment %v from the archive: %v", f.Number, f.Archived())
		}
		return f.Number
	}
	var quiet *stream.Cursor
	if archive {
		h.x.Leave(nil)
		h.x = nil
		h.reopen(clock)
		quiet = follow(sluice.StartSelector{Type: sluice.SelectNow}) // nobody has written since the start
		h.join()
		defer h.x.Leave(nil)
	} else {
		quiet = follow(sluice.StartSelector{Type: sluice.SelectNow})
	}
	// The server's clock stands behind the last one; one more is arriving.
	arriving, _ := h.begin(at(8000), 100)
	below := func(x sluice.FragmentNumber) sluice.FragmentNumber {
		return sluice.MakeFragmentNumber(x.Sequence(), x.ServerTimestamp(), x.Low()-1)
	}
	producer := func(ms int64) sluice.StartSelector {
		return sluice.StartSelector{Type: sluice.SelectProducerTimestamp, Time: at(ms)}
	}
	server := func(i int, d time.Duration) sluice.StartSelector {
		return sluice.StartSelector{Type: sluice.SelectServerTimestamp, Time: n[i].ServerTime().Add(d)}
	}
	after := func(x sluice.FragmentNumber) sluice.StartSelector {
		return sluice.StartSelector{Type: sluice.SelectFragmentNumber, After: x}
	}
	a := arriving.Number()
	for _, c := range []struct {
		name string
		from sluice.StartSelector
		want sluice.FragmentNumber
	}{
		{"NOW, inside what arrives", sluice.StartSelector{Type: sluice.SelectNow}, a},
		{"EARLIEST", sluice.StartSelector{Type: sluice.SelectEarliest}, n[0]},
		{"after the first", after(n[0]), n[1]},
		{"after a number just below", after(below(n[1])), n[1]},
		{"after a number just above", after(sluice.MakeFragmentNumber(n[1].Sequence(), n[1].ServerTimestamp(), n[1].Low()+1)), n[2]},
		{"after nothing", after(sluice.FragmentNumber{}), n[0]},
		{"after a number of another epoch", after(sluice.MakeFragmentNumber(5, 0, 0)), n[0]},
		{"after the last durable", after(n[3]), a},
		{"token", sluice.StartSelector{Type: sluice.SelectContinuationToken, After: n[2]}, n[3]},
		{"producer, before everything", producer(0), n[0]},
		{"producer, at a start", producer(1000), n[0]},
		{"producer, inside", producer(1500), n[0]},
		{"producer, an end that is a start: the newest-numbered that contains it", producer(2000), n[2]},
		{"producer, both contain it", producer(3000), n[2]},
		{"producer, inside the second-numbered alone", producer(3001), n[1]},
		{"producer, in a gap: the first that starts later", producer(4001), n[3]},
		{"producer, in the last gap", producer(7001), a},
		{"producer, inside what arrives", producer(8000), a},
		{"server, before everything", server(0, -time.Hour), n[0]},
		{"server, at a start", server(1, 0), n[1]},
		{"server, at an end", server(1, time.Second), n[1]},
		{"server, in a gap", server(1, 1001*time.Millisecond), n[2]},
		{"server, now", sluice.StartSelector{Type: sluice.SelectServerTimestamp, Time: wall}, a},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := next(follow(c.from)); got != c.want {
				t.Errorf("starts at %v, want %v", got, c.want)
			}
		})
	}
	if got := next(quiet); got != a {
		t.Errorf("NOW while nothing arrives: starts at %v, want the next one, %v", got, a)
	}
	// A time to come waits, and passes over what begins before it.
	cur := follow(sluice.StartSelector{Type: sluice.SelectServerTimestamp, Time: wall.Add(90 * time.Second)})
	got := make(chan sluice.FragmentNumber)
	go func() {
		f, err := cur.Next(t.Context())
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		got <- f.Number
	}()
	<-arriving.Commit(t.Context()).Done()
	wall = wall.Add(time.Minute)
	h.put(at(9000), time.Second, 100)
	wall = wall.Add(time.Minute)
	want, _ := h.put(at(10_000), time.Second, 100)
	if x := <-got; x != want {
		t.Errorf("a time to come: starts at %v, want %v", x, want)
	}
	// After the last one nothing comes, and that is no error.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cur = follow(after(sluice.MaxFragmentNumber))
	if f, err := cur.Next(ctx); err == nil {
		t.Errorf("after the highest number comes %v", f.Number)
	}
}

func TestFromArchiveToLiveWithoutGapOrRepeat(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{}, func(o *streamtest.Settings) { o.Stream.Budget, o.Stream.MaxFragment = 1<<20, 64<<10 })
	var want []sluice.FragmentNumber
	for i := range 100 {
		n, _ := h.put(at(int64(i)*1000), time.Second, 20_000)
		want = append(want, n)
	}
	r := h.media(sluice.StartSelector{Type: sluice.SelectEarliest})
	for i := range 50 {
		r.want(want[i])
	}
	for i := range 50 {
		n, _ := h.put(at(int64(i+100)*1000), time.Second, 20_000)
		want = append(want, n)
	}
	for _, n := range want[50:] {
		r.want(n)
	}
	// At the live end now: what arrives is there before it is complete.
	o, _ := h.begin(at(200_000), 10)
	for {
		ev, err := r.c.Next()
		if errors.Is(err, mkv.ErrMore) {
			buf := make([]byte, 4096)
			n, err := r.body.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			r.c.Feed(buf[:n])
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if ev.ID == mkv.IDSimpleBlock && r.c.Chunk().Number == o.Number() {
			break
		}
	}
	<-o.Commit(t.Context()).Done()
	if c, _ := r.chunk(); c == nil || c.Token != o.Number() {
		t.Errorf("the end of the live one: %+v", c)
	}
}

func TestNewLeadingBytesWithANewHeader(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{})
	n1, b1 := h.put(at(1000), 0, 10)
	first := h.header.Rest
	h.x.Leave(nil)
	h.join()
	other := append(bytes.Clone(first), mkv.AppendTags(nil, sluice.Tag{Name: "a", Value: "b"})...)
	h.header = &fragment.Header{First: other, Rest: other, Scale: time.Millisecond}
	n2, b2 := h.put(at(2000), 0, 10)
	for _, where := range []string{"tail", "archive"} {
		if where == "archive" {
			h.x.Leave(nil)
			h.x = nil
			h.reopen()
		}
		r := h.media(sluice.StartSelector{Type: sluice.SelectEarliest})
		for _, c := range []struct {
			n    sluice.FragmentNumber
			lead []byte
			b    []byte
		}{{n1, first, b1}, {n2, other, b2}} {
			raw := r.want(c.n)
			if !bytes.HasPrefix(raw, c.lead) || !bytes.Contains(raw, c.b) || bytes.HasPrefix(raw, other) != (len(c.lead) == len(other)) {
				t.Errorf("%s: fragment %v has other leading bytes", where, c.n)
			}
		}
	}
}

func TestAnAbortedChunkHasNoTrailingTags(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{})
	r := h.media(sluice.StartSelector{Type: sluice.SelectNow})
	o, b := h.begin(at(1000), 500)
	got := make([]byte, len(h.header.Rest)+len(fragment.AppendLeadingTags(nil, o.Number(), o.Number().ServerTime(), at(1000)))+len(b))
	if _, err := io.ReadFull(r.body, got); err != nil {
		t.Fatal(err)
	}
	o.Abort(sluice.InvalidMKVData)
	n, b2 := h.put(at(2000), 0, 600)
	want := append(bytes.Clone(h.header.Rest), fragment.AppendLeadingTags(nil, n, n.ServerTime(), at(2000))...)
	next := make([]byte, len(want)+len(b2))
	if _, err := io.ReadFull(r.body, next); err != nil || !bytes.Equal(next, append(want, b2...)) {
		t.Errorf("after the aborted one comes %x, %v", next, err)
	}
}

// A fragment that is damaged on the disk is told with its number, and passed over.
func TestADamagedFragmentInTheAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{})
	var n []sluice.FragmentNumber
	for i := range 3 {
		number, _ := h.put(at(1000*int64(i+1)), 500*time.Millisecond, 30_000)
		n = append(n, number)
	}
	h.x.Leave(nil)
	h.x = nil
	h.Close()
	files, err := filepath.Glob(filepath.Join(h.Dir, "media", string(h.cam.ID), "*.rec"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[4096+(len(b)-4096)/2] ^= 1 // of three records as long as each other
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	r := h.media(sluice.StartSelector{Type: sluice.SelectEarliest})
	r.want(n[0])
	if c, _ := r.chunk(); c == nil || c.Number != n[1] || c.Err == nil || c.Err.ID != sluice.InternalError {
		t.Errorf("GetMedia: chunk %+v, want error %v of fragment %v", c, sluice.InternalError, n[1])
	}
	r.want(n[2])
	h.list = n
	if all, err := io.ReadAll(h.call("/list").body); err != nil || bytes.Count(all, []byte(fragment.TagFragmentNumber)) != 3 || !bytes.Contains(all, []byte("The fragment could not be read.")) {
		t.Errorf("GetMediaForFragmentList: %d bytes, %v", len(all), err)
	}
}

// reopen opens the parts again, as a start of the server does.
func (h *house) reopen(change ...func(*streamtest.Settings)) {
	h.Parts = h.Again(change...)
	h.egress = egress.New(egress.Options{Streams: h.Streams, Limits: limits.New(limits.Rules{}, limits.Rates{}), TokenKey: [32]byte{1}})
}

// Keys that cannot be used are told in the answer, also where nothing is kept.
func TestErrorsInTheAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{})
	key, err := h.Keyring.Create(t.Context(), "", "alias/mine")
	if err != nil {
		t.Fatal(err)
	}
	const never = "arn:aws:kms:us-west-2:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	for name, s := range map[string]catalog.New{
		"locked": {KMSKeyID: key.ARN, Retention: time.Hour}, "locked-live": {KMSKeyID: key.ARN},
		"nokey": {KMSKeyID: never, Retention: time.Hour}, "nokey-live": {KMSKeyID: never},
	} {
		s.Name = name
		if _, err := h.Catalog.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "locked") {
			x, err := h.Streams.Join(t.Context(), streamtest.Ref(name), stream.SessionInfo{})
			if err != nil {
				t.Fatal(err)
			}
			x.Leave(nil)
		}
	}
	if _, err := h.Keyring.Disable(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	h.x.Leave(nil)
	h.x = nil
	h.reopen() // so that no key is known any more
	for name, id := range map[string]sluice.AckErrorCode{
		"locked": sluice.KMSKeyDisabled, "locked-live": sluice.KMSKeyDisabled, "nokey": sluice.KMSKeyNotFound, "nokey-live": sluice.KMSKeyNotFound,
	} {
		if _, err := h.Streams.Join(t.Context(), streamtest.Ref(name), stream.SessionInfo{}); stream.AckCode(err) != id {
			t.Errorf("%s: PutMedia: %v, want %v", name, err, id)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		if err := h.egress.GetMedia(w, r, egress.Request{Ref: streamtest.Ref(name)}, sluice.StartSelector{Type: sluice.SelectEarliest}); err != nil {
			t.Fatal(err)
		}
		c := &reader{t: t, body: io.NopCloser(w.Body), c: fragment.NewChunkReader(mkv.Options{})}
		if got, _ := c.chunk(); got == nil || got.Err == nil || got.Err.ID != id {
			t.Errorf("%s: chunk %+v, want error %v", name, got, id)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	err = h.egress.GetMedia(w, r, egress.Request{Ref: streamtest.Ref("nobody")}, sluice.StartSelector{Type: sluice.SelectEarliest})
	if sluice.CodeOf(err) != sluice.ResourceNotFound {
		t.Errorf("no such stream: %v", err)
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{GetMediaConnections: 2})
	for range 2 {
		h.media(sluice.StartSelector{Type: sluice.SelectNow})
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	q := egress.Request{Ref: streamtest.Ref("cam"), Key: limits.Key{Stream: "cam"}}
	if err := h.egress.GetMedia(w, r, q, sluice.StartSelector{Type: sluice.SelectNow}); sluice.CodeOf(err) != sluice.ConnectionLimitExceeded {
		t.Errorf("the third: %v", err)
	}
}

func TestFragmentList(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{})
	var numbers []sluice.FragmentNumber
	var bodies [][]byte
	for i := range 4 {
		n, b := h.put(at(int64(i)*1000), time.Second, 100+i*300_000)
		numbers, bodies = append(numbers, n), append(bodies, b)
	}
	missing := sluice.MakeFragmentNumber(7, 7, 7)
	h.list = []sluice.FragmentNumber{numbers[3], missing, numbers[0], numbers[0], numbers[2]}
	r := h.call("/list")
	all, err := io.ReadAll(r.body)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, i := range []int{3, -1, 0, 0, 2} {
		if i < 0 {
			want = fragment.AppendListErrorTags(want, missing, sluice.StreamReadError, "4000", "The fragment was not found.")
			continue
		}
		want = append(want, h.header.Rest...)
		want = fragment.AppendLeadingTags(want, numbers[i], numbers[i].ServerTime(), at(int64(i)*1000))
		want = append(want, bodies[i]...)
	}
	if !bytes.Equal(all, want) {
		t.Errorf("%d bytes, want %d", len(all), len(want))
	}
	w := httptest.NewRecorder()
	q := egress.Request{Ref: streamtest.Ref("cam")}
	for _, count := range []int{0, 1001} {
		err := h.egress.FragmentList(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil), q, make([]sluice.FragmentNumber, count))
		if sluice.CodeOf(err) != sluice.InvalidArgument {
			t.Errorf("%d numbers: %v", count, err)
		}
	}
}

func TestListFragments(t *testing.T) {
	t.Parallel()
	wall := at(1_700_000_000_000)
	h := open(t, limits.Rates{}, func(o *streamtest.Settings) { o.Now = func() time.Time { return wall } })
	var numbers []sluice.FragmentNumber
	for i := range 25 {
		// Producer times run backward.
		n, _ := h.put(at(100_000-int64(i)*1000), 900*time.Millisecond, 50)
		numbers = append(numbers, n)
		wall = wall.Add(time.Second)
	}
	first := numbers[0].ServerTime()
	list := func(q egress.ListQuery) (out []int, tokens int) {
		t.Helper()
		for {
			p, err := h.egress.ListFragments(t.Context(), h.cam.ID, q, limits.Key{})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.Fragments {
				out = append(out, slices.Index(numbers, e.Number))
				if e.LengthMs != 900 || e.Bytes == 0 {
					t.Errorf("entry %+v", e)
				}
			}
			if p.Next == "" {
				return out, tokens
			}
			tokens++
			// Only the token: it has the selector and the page size.
			q = egress.ListQuery{Token: p.Next}
		}
	}
	seq := func(from, to int) (out []int) {
		for i := from; i <= to; i++ {
			out = append(out, i)
		}
		return out
	}
	back := func(from, to int) (out []int) {
		for i := from; i >= to; i-- {
			out = append(out, i)
		}
		return out
	}
	for _, c := range []struct {
		name   string
		q      egress.ListQuery
		want   []int
		tokens int
	}{
		{"everything", egress.ListQuery{}, seq(0, 24), 0},
		{"everything, in pages", egress.ListQuery{Max: 7}, seq(0, 24), 3},
		{"pages that end with the list", egress.ListQuery{Max: 5}, seq(0, 24), 4},
		{"one at a time", egress.ListQuery{Max: 1}, seq(0, 24), 24},
		{"server time, both ends inclusive", egress.ListQuery{Selected: true, From: first.Add(3 * time.Second), To: first.Add(6 * time.Second), Max: 2}, seq(3, 6), 1},
		{"server time, a start just outside", egress.ListQuery{Selected: true, From: first.Add(3*time.Second + time.Millisecond), To: first.Add(6*time.Second - time.Millisecond)}, seq(4, 5), 0},
		{"producer time", egress.ListQuery{Selected: true, Clock: sluice.ProducerClock, From: at(90_000), To: at(95_000), Max: 4}, back(10, 5), 1},
		{"one moment", egress.ListQuery{Selected: true, Clock: sluice.ProducerClock, From: at(90_000), To: at(90_000)}, seq(10, 10), 0},
		{"nothing", egress.ListQuery{Selected: true, Clock: sluice.ProducerClock, From: at(1), To: at(2)}, nil, 0},
	} {
		if got, tokens := list(c.q); !slices.Equal(got, c.want) || tokens != c.tokens {
			t.Errorf("%s: %v and %d tokens, want %v and %d", c.name, got, tokens, c.want, c.tokens)
		}
	}
	other := h.Create("other", time.Hour)
	p, err := h.egress.ListFragments(t.Context(), h.cam.ID, egress.ListQuery{Max: 3}, limits.Key{})
	if err != nil {
		t.Fatal(err)
	}
	changed := []byte(p.Next)
	if changed[20]++; p.Next[20] == 'z' {
		changed[20] = 'a'
	}
	for name, c := range map[string]struct {
		id sluice.StreamID
		q  egress.ListQuery
	}{
		"a token of another stream": {other.ID, egress.ListQuery{Token: p.Next}},
		"a changed token":           {h.cam.ID, egress.ListQuery{Token: string(changed)}},
		"a cut token":               {h.cam.ID, egress.ListQuery{Token: p.Next[:len(p.Next)-4]}},
		"not a token":               {h.cam.ID, egress.ListQuery{Token: "hello"}},
		"a range that ends first":   {h.cam.ID, egress.ListQuery{Selected: true, From: at(2), To: at(1)}},
	} {
		if _, err := h.egress.ListFragments(t.Context(), c.id, c.q, limits.Key{}); sluice.CodeOf(err) != sluice.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if q := p.Next; len(q)%4 != 0 || bytes.ContainsAny([]byte(q), "-_") {
		t.Errorf("token %q is not standard base64", q)
	}
}

func FuzzToken(f *testing.F) {
	s := egress.New(egress.Options{})
	for _, seed := range []string{"", "AAAA", "AQAAAA==", fmt.Sprintf("%096d", 0), "not base64"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return
		}
		// No token that we did not make is taken: Streams is nil, so one that was
		// would panic.
		if _, err := s.ListFragments(context.Background(), "00112233445566778899aabbccddeeff", egress.ListQuery{Token: text}, limits.Key{}); sluice.CodeOf(err) != sluice.InvalidArgument {
			t.Errorf("token %q: %v", text, err)
		}
	})
}

// What is sent is paced by the bandwidth limit, and all of it comes.
func TestBandwidthOfReaders(t *testing.T) {
	t.Parallel()
	h := open(t, limits.Rates{GetMediaBandwidth: 200_000, FragmentListBandwidth: 200_000})
	var n []sluice.FragmentNumber
	for i := range 5 {
		number, _ := h.put(at(1000*int64(i+1)), 0, 100_000)
		n = append(n, number)
	}
	began := time.Now()
	r := h.media(sluice.StartSelector{Type: sluice.SelectEarliest})
	for _, n := range n {
		r.want(n)
	}
	// A second's worth may pass at once.
	if d := time.Since(began); d < 1400*time.Millisecond {
		t.Errorf("GetMedia: 500 kB at 200 kB/s took %v", d)
	}
	h.list = n
	began = time.Now()
	if all, err := io.ReadAll(h.call("/list").body); err != nil || len(all) < 500_000 {
		t.Errorf("GetMediaForFragmentList: %d bytes, %v", len(all), err)
	}
	if d := time.Since(began); d < 1400*time.Millisecond {
		t.Errorf("GetMediaForFragmentList: 500 kB at 200 kB/s took %v", d)
	}
}
