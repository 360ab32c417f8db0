package parser_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/parser"
)

// breaking is a connection that breaks off after so many bytes were read.
type breaking struct {
	net.Conn
	left int
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.Conn.Close()
		return 0, errors.New("connection reset by test")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// badNetwork is a client whose connections break off.
func badNetwork(s *sluicetest.Server) *kvsapi.Client {
	cfg := s.AWSConfig()
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, addr)
			return &breaking{c, 1000 + rand.IntN(20_000)}, err
		},
	}}
	return kvsapi.NewFromConfig(cfg, s.Endpoint)
}

// put sends fragments first to last-1 of a relative stream and returns when the
// last is persisted.
func put(t *testing.T, s *sluicetest.Server, stream sluice.StreamRef, first, last int) {
	t.Helper()
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendTracks(b, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC"}})
	for i := first; i < last; i++ {
		b = mkv.AppendCluster(b, uint64(i)*100)
		for j := range 4 {
			b = mkv.AppendSimpleBlock(b, int16(j*20), &sluice.Frame{Track: 1, Key: j == 0, Data: bytes.Repeat([]byte{byte(i)}, 500)})
		}
	}
	session, err := s.Client().PutMedia(t.Context(), &kvsapi.PutMediaInput{
		Stream: stream, TimecodeType: sluice.TimecodeRelative, ProducerStart: time.Now(), Body: bytes.NewReader(b),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for {
		ack, err := session.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || ack.Event == sluice.AckError {
			t.Fatal(ack, err)
		}
	}
}

// The workers against the server itself, over a network on which no connection
// lives long.
func TestWorkersOnAServer(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	stream := s.CreateStream("cam", 24*time.Hour)
	const total = 120
	put(t, s, stream, 0, total/2)
	client := badNetwork(s)

	follower := &parser.Follower{
		Client: client, Stream: stream, From: sluice.StartSelector{Type: sluice.SelectEarliest},
		MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond,
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var numbers []sluice.FragmentNumber
	for f, err := range follower.Fragments(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		i := len(numbers)
		if len(f.Frames) != 4 || f.Frames[0].Data[0] != byte(i) || f.Timecode != int64(i)*100 {
			t.Fatalf("fragment %d: timecode %d, %d frames", i, f.Timecode, len(f.Frames))
		}
		numbers = append(numbers, f.Number)
		if len(numbers) == total/2 {
			put(t, s, stream, total/2, total) // live now
		}
		if len(numbers) == total {
			break
		}
	}

	listed := map[sluice.FragmentNumber]bool{}
	for f, err := range parser.List(ctx, s.Client(), kvsapi.ListFragmentsInput{
		Stream: stream, Clock: sluice.ServerClock, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour), Max: 7,
	}) {
		if err != nil {
			t.Fatal(err)
		}
		if listed[f.Number] {
			t.Errorf("%v is listed twice", f.Number)
		}
		listed[f.Number] = true
	}
	if len(listed) != total {
		t.Errorf("%d fragments listed", len(listed))
	}

	// Any order, and one that is not there.
	want := append([]sluice.FragmentNumber(nil), numbers...)
	rand.Shuffle(len(want), func(i, j int) { want[i], want[j] = want[j], want[i] })
	at := map[sluice.FragmentNumber]int{}
	for i, n := range numbers {
		at[n] = i
	}
	i := 0
	for f, err := range parser.FetchList(ctx, client, stream, want, parser.FetchOptions{
		Parallel: 3, Batch: 4, Attempts: 50, MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond,
	}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Number != want[i] || f.Err != nil || f.Frames[0].Data[0] != byte(at[f.Number]) {
			t.Fatalf("%d: %+v, want %v", i, f.Chunk, want[i])
		}
		i++
	}
	if i != total {
		t.Errorf("%d fragments fetched", i)
	}
	gone := sluice.MakeFragmentNumber(numbers[0].Sequence()-1, 1, 1)
	for f, err := range parser.FetchList(ctx, s.Client(), stream, []sluice.FragmentNumber{gone}, parser.FetchOptions{MinDelay: time.Millisecond}) {
		if err == nil && (f.Err == nil || f.Err.ID != sluice.StreamReadError) {
			t.Errorf("a fragment that is not there: %+v", f.Chunk)
		}
	}
}
