package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// TestKill kills the server in the middle of control calls and media, again and
// again, and starts it on the same data and port. Whatever was answered must be
// there afterwards: every change, and every fragment that was acknowledged as
// PERSISTED, byte for byte. What was not acknowledged may be there, but whole;
// and numbers go on where they were.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("go test -short")
	}
	t.Parallel()
	rounds, writers := 20, 20
	if os.Getenv("SLUICE_LONG") != "" {
		rounds = 200
	}
	data, address := filepath.Join(t.TempDir(), "data"), sluicetest.Address(t)
	k := &killTest{t: t, tags: map[string]string{}}
	for w := range writers {
		// Small, so that many fragments are decided between two kills.
		k.writers = append(k.writers, newWriter(fmt.Sprintf("writer-%d", w),
			sluicetest.Camera{Seed: uint64(w), Frames: 5, Size: 2000, Every: 20 * time.Millisecond}))
	}
	p := start(t, data, "--listen="+address)
	client := p.client() // one for all rounds, as its connections break and its server comes back
	for range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, w := range k.writers {
			wg.Go(func() { w.write(t, ctx, client) })
		}
		wg.Go(func() { k.change(ctx, client.Control()) })
		time.Sleep(time.Duration(50+rand.IntN(700)) * time.Millisecond) // the moment of the kill, no synchronisation
		p.cmd.Process.Kill()
		p.end()
		cancel()
		wg.Wait()
		p = start(t, data, "--listen="+address)
		k.verify(client)
		if t.Failed() {
			t.FailNow()
		}
	}
	acknowledged, whole := 0, 0
	for _, w := range k.writers {
		w.readAll(t, client)
		acknowledged += len(w.persisted)
		whole += len(w.checked)
	}
	t.Logf("%d rounds, %d fragments acknowledged, 0 lost; %d more were there, whole; %d answered changes, 0 lost",
		rounds, acknowledged, whole-acknowledged, k.changes)
	if k.changes == 0 || acknowledged == 0 {
		t.Error("nothing was tested")
	}
	p.stop()
}

type killTest struct {
	t       *testing.T
	writers []*writer
	tags    map[string]string
	// maybe are the tags of a change that was not answered: it may or may not
	// have happened.
	maybe   map[string]string
	changes int
}

// writer is a producer of one stream, and what it was told. The timecode of a
// fragment is also its number in the camera's sequence, and never used twice.
type writer struct {
	stream    sluice.StreamRef
	cam       sluicetest.Camera
	next      int64
	last      sluice.FragmentNumber           // the highest it was told, whatever became of it
	mu        sync.Mutex                      // guards persisted while it writes
	persisted map[sluice.FragmentNumber]int64 // number -> timecode
	checked   map[sluice.FragmentNumber]bool  // has been read back, equal

	faulty bool          // its network is: ERROR is no news, and what was under way may come late
	pace   time.Duration // between fragments; 0: as fast as they are taken
	most   int           // fragments of a session, which then ends properly; 0: any number
	failed []sluice.Ack  // ERROR acknowledgements
	acked  chan struct{} // gets one for each PERSISTED, unless it is full; may be nil
}

func newWriter(name string, cam sluicetest.Camera) *writer {
	return &writer{
		stream: sluice.StreamRef{Name: name}, cam: cam, next: time.Now().UnixMilli(),
		persisted: map[sluice.FragmentNumber]int64{}, checked: map[sluice.FragmentNumber]bool{},
	}
}

// write sends fragments until the server is gone or ctx ends.
func (w *writer) write(t *testing.T, ctx context.Context, c *kvsapi.Client) {
	c.Control().CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &w.stream.Name, DataRetentionInHours: aws.Int32(24)}) // or it is there
	body, media := io.Pipe()
	session, err := c.PutMedia(ctx, &kvsapi.PutMediaInput{Stream: w.stream, Body: body})
	if err != nil {
		return // killed before it began
	}
	defer session.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := media.Write(w.cam.Header())
		for n := 0; err == nil; n++ {
			if n == w.most && n > 0 {
				media.Close()
				return
			}
			at := w.next
			w.next += w.cam.Length().Milliseconds()
			_, err = media.Write(w.cam.Fragment(int(at), at))
			if w.pace > 0 && err == nil {
				time.Sleep(w.pace) // a camera's
			}
		}
	})
	for {
		a, err := session.Next()
		if err != nil {
			break
		}
		switch a.Event {
		case sluice.AckBuffering:
			if a.Number.Compare(w.last) <= 0 {
				t.Errorf("%s: fragment %v begins after %v", w.stream, a.Number, w.last)
			}
			w.last = a.Number
		case sluice.AckPersisted:
			w.mu.Lock()
			w.persisted[a.Number] = a.Timecode
			w.mu.Unlock()
			select {
			case w.acked <- struct{}{}:
			default:
			}
		case sluice.AckError:
			if w.failed = append(w.failed, a); !w.faulty {
				t.Errorf("%s: %v", w.stream, a)
			}
		}
	}
	body.CloseWithError(io.ErrClosedPipe)
	wg.Wait()
}

// verify compares what is listed with what was acknowledged, and the bytes of
// what is new with what was sent.
func (w *writer) verify(t *testing.T, c *kvsapi.Client) {
	t.Helper()
	if w.last == (sluice.FragmentNumber{}) {
		return // there may be no stream yet
	}
	at := map[sluice.FragmentNumber]int64{}
	for f, err := range parser.List(t.Context(), c, kvsapi.ListFragmentsInput{Stream: w.stream, From: time.Unix(1, 0), To: time.Now().Add(48 * time.Hour), Max: 1000}) {
		if err != nil {
			t.Fatalf("%s: %v", w.stream, err)
		}
		at[f.Number] = f.ProducerTimestamp.UnixMilli()
	}
	for n, timecode := range w.persisted {
		if got, ok := at[n]; !ok || got != timecode {
			t.Errorf("%s: fragment %v was PERSISTED with the timecode %d; listed %v with %d", w.stream, n, timecode, ok, got)
		}
	}
	numbers := slices.SortedFunc(maps.Keys(at), sluice.FragmentNumber.Compare)
	for i := 1; i < len(numbers) && !w.faulty; i++ {
		if at[numbers[i-1]] >= at[numbers[i]] {
			t.Errorf("%s: fragment %v of %d is numbered above %v of %d", w.stream, numbers[i], at[numbers[i]], numbers[i-1], at[numbers[i-1]])
		}
	}
	if n := len(numbers); n > 0 && numbers[n-1].Compare(w.last) > 0 {
		// The BUFFERING of the last may not have come through.
		w.last = numbers[n-1]
	}
	numbers = slices.DeleteFunc(numbers, func(n sluice.FragmentNumber) bool { return w.checked[n] })
	for f, err := range parser.FetchList(t.Context(), c, w.stream, numbers, parser.FetchOptions{Batch: 100}) {
		if err != nil {
			t.Fatalf("%s: %v", w.stream, err)
		}
		w.compare(t, f, at[f.Number])
	}
}

// compare compares a fragment with what was sent.
func (w *writer) compare(t *testing.T, f *parser.Fragment, at int64) {
	t.Helper()
	_, after, ok := bytes.Cut(f.Bytes, w.cam.Fragment(int(at), at))
	switch {
	case f.Err != nil:
		t.Errorf("%s: fragment %v: %v", w.stream, f.Number, f.Err)
	case !ok, len(after) > 0 && !bytes.HasPrefix(after, []byte{0x12, 0x54, 0xc3, 0x67}): // the service's Tags
		t.Errorf("%s: fragment %v did not come back as sent", w.stream, f.Number)
	}
	w.checked[f.Number] = true
}

// readAll reads the whole stream by GetMedia: what is listed, once, in order.
func (w *writer) readAll(t *testing.T, c *kvsapi.Client) {
	t.Helper()
	if len(w.checked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	media, err := c.GetMedia(ctx, w.stream, sluice.StartSelector{Type: sluice.SelectEarliest})
	if err != nil {
		t.Fatal(err)
	}
	defer media.Close()
	want := slices.SortedFunc(maps.Keys(w.checked), sluice.FragmentNumber.Compare)
	i := 0
	for f, err := range parser.NewReader(media).Fragments(ctx) {
		if err != nil {
			t.Fatalf("%s: after %d of %d fragments: %v", w.stream, i, len(want), err)
		}
		if f.Number != want[i] {
			t.Fatalf("%s: GetMedia gave fragment %v, want %v", w.stream, f.Number, want[i])
		}
		w.compare(t, f, f.Producer.UnixMilli())
		if i++; i == len(want) {
			break
		}
	}
}

// change tags and untags one stream, and remembers what was answered.
func (k *killTest) change(ctx context.Context, c *kinesisvideo.Client) {
	name := "changed"
	c.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &name})
	for {
		key, value := fmt.Sprint("k", rand.IntN(20)), fmt.Sprint(rand.Uint64())
		wanted := maps.Clone(k.tags)
		var err error
		if rand.IntN(3) == 0 {
			delete(wanted, key)
			_, err = c.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamName: &name, TagKeyList: []string{key}})
		} else {
			wanted[key] = value
			_, err = c.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &name, Tags: map[string]string{key: value}})
		}
		if err != nil {
			k.maybe = wanted
			return
		}
		k.tags, k.maybe = wanted, nil
		k.changes++
	}
}

// verify compares what is there with what was answered.
func (k *killTest) verify(c *kvsapi.Client) {
	t := k.t
	t.Helper()
	if k.changes > 0 {
		out, err := c.Control().ListTagsForStream(t.Context(), &kinesisvideo.ListTagsForStreamInput{StreamName: aws.String("changed")})
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(out.Tags, k.tags) && (k.maybe == nil || !maps.Equal(out.Tags, k.maybe)) {
			t.Fatalf("tags %v\nwant %v\nor   %v", out.Tags, k.tags, k.maybe)
		}
		k.tags, k.maybe = out.Tags, nil
		if k.tags == nil {
			k.tags = map[string]string{}
		}
	}
	for _, w := range k.writers {
		w.verify(t, c)
	}
}
