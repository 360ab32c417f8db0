package compat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/demo"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/store/index"
	"github.com/sluicevideo/sluice/kvsapi"
)

// TestConsoleAtSize measures the console over 10,000 streams, of which one has
// 1,000,000 fragments in 30 days and a camera that plays: docs/benchmarks.md has
// the figures. SLUICE_CONSOLE_STREAMS and SLUICE_CONSOLE_FRAGMENTS make it smaller.
func TestConsoleAtSize(t *testing.T) {
	if os.Getenv("SLUICE_LONG") == "" {
		t.Skip("a million fragments take a minute to make; SLUICE_LONG is not set")
	}
	browser(t)
	number := func(name string, otherwise int) int {
		n := otherwise
		if text := os.Getenv(name); text != "" {
			if _, err := fmt.Sscan(text, &n); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	streams, fragments := number("SLUICE_CONSOLE_STREAMS", 10_000), number("SLUICE_CONSOLE_FRAGMENTS", 1_000_000)
	s := sluicetest.Start(t)
	const camera = "demo-camera"
	s.CreateStream(camera, 31*24*time.Hour)
	begin := time.Now()
	manyStreams(t, s, streams-1)
	t.Logf("%d streams in %v", streams, time.Since(begin).Round(time.Second))
	s.Stop()
	begin = time.Now()
	manyFragments(t, s.Data, camera, fragments)
	t.Logf("%d fragments in %v", fragments, time.Since(begin).Round(time.Second))
	s.Restart()
	play(t, s, camera, &demo.Camera{})
	// The rows before have no media, so nothing plays until the camera's first.
	for {
		if list, _, err := s.Client().ListFragments(t.Context(), &kvsapi.ListFragmentsInput{Stream: sluice.StreamRef{Name: camera}, From: time.Now().Add(-30 * time.Minute), To: time.Now(), Max: 3}); err != nil {
			t.Fatal(err)
		} else if len(list) == 3 {
			break
		}
		sleep(t.Context(), 100*time.Millisecond)
	}
	b, err := json.Marshal(map[string]any{
		"url": s.Endpoint, "key": s.Credentials.AccessKeyID, "secret": s.Credentials.SecretAccessKey, "streams": streams, "fragments": fragments,
	})
	if err != nil {
		t.Fatal(err)
	}
	browse(t, "measure.js", string(b), "measured")
}

// manyStreams makes n streams, some with tags.
func manyStreams(t *testing.T, s *sluicetest.Server, n int) {
	t.Helper()
	c := s.Client().Control()
	next := make(chan int)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range next {
				in := &kinesisvideo.CreateStreamInput{StreamName: aws.String(fmt.Sprintf("cam-%05d", i)), DataRetentionInHours: aws.Int32(24), MediaType: aws.String("video/h264")}
				if i%100 == 0 {
					in.Tags = map[string]string{"site": fmt.Sprint("house-", i/1000)}
				}
				if _, err := c.CreateStream(t.Context(), in); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// manyFragments puts the rows of n fragments of two seconds into the index of a
// server that is stopped: 30 days up to an hour ago, with a gap each hour. No
// media stands behind them, which only who plays them would notice.
func manyFragments(t *testing.T, data, stream string, n int) {
	t.Helper()
	ctx := context.Background()
	cat, err := db.Open(ctx, db.Options{Path: filepath.Join(data, datadir.CatalogFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	var id sluice.StreamID
	if err := cat.View().QueryRowContext(ctx, `SELECT id FROM streams WHERE name = ?`, stream).Scan(&id); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(ctx, db.Options{Path: filepath.Join(data, datadir.IndexFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	x, err := index.Open(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	taken, err := x.Take(ctx, id, uint64(time.Now().Add(-31*24*time.Hour).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	const length = 2000 // ms
	start := time.Now().Add(-30 * 24 * time.Hour).UnixMilli()
	hours := int64(30*24 - 1)
	each := (int64(n) + hours - 1) / hours // fragments an hour, the rest of it is a gap
	const inFile, size = 256, 500_000
	for done := 0; done < n; {
		rows := make([]*index.Insert, min(80*inFile, n-done))
		of := make([]int64, (len(rows)+inFile-1)/inFile)
		for i := range of {
			of[i] = taken.N
		}
		files, err := x.NewFiles(ctx, of)
		if err != nil {
			t.Fatal(err)
		}
		closing := make([]index.Closing, len(files))
		for i := range rows {
			c := int64(done + i)
			at := start + c/each*3_600_000 + c%each*length
			f := &closing[i/inFile]
			f.File, f.Last, f.NewestMs = files[i/inFile], store.Epoch(taken.Epoch).Sequence(uint64(c)), at
			f.Size, f.Fragments, f.Bytes = f.Size+503_808, f.Fragments+1, f.Bytes+size
			rows[i] = &index.Insert{Stream: taken.N, Epoch: taken.Epoch, Longer: length, First: i%inFile == 0, Row: index.Row{
				Number:     sluice.MakeFragmentNumber(store.Epoch(taken.Epoch).Sequence(uint64(c)), uint64(at), uint32(c*2654435761)),
				ProducerMs: at - 40, LengthMs: length - 40, Bytes: size, Tracks: 2, Position: uint64(c), File: f.File, Offset: c % inFile * 503_808, Sealed: 501_000,
			}}
		}
		if err := x.Commit(ctx, rows, closing); err != nil {
			t.Fatal(err)
		}
		done += len(rows)
	}
}
