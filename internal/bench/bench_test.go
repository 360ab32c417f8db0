package bench_test

import (
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/bench"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// TestEveryBenchmarkRuns is small: what is measured is not looked at, only that
// nothing fails and that all is counted.
func TestEveryBenchmarkRuns(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	target := &bench.Target{Config: s.AWSConfig(), Endpoint: s.Endpoint}
	names, err := target.Streams(t.Context(), "bench", 3, 24)
	if err != nil {
		t.Fatal(err)
	}
	load := bench.Put{Streams: names, Bitrate: 800_000, FPS: 20, Fragment: 500 * time.Millisecond, Length: 2 * time.Second, Verify: true}
	frames, put := (&bench.Latency{Put: load, Readers: 2}).Run(t.Context(), target)
	if put.Err != nil {
		t.Fatal(put.Err)
	}
	if put.Streams != 3 || put.Fragments == 0 || put.Acks.Count != put.Fragments || put.Bytes == 0 {
		t.Errorf("put: %+v", put)
	}
	if v := put.Verified; v.Fragments < put.Fragments || v.Lost != 0 || put.Errors != 0 {
		t.Errorf("read back: %+v", put)
	}
	if frames.Count == 0 || frames.P50 <= 0 {
		t.Errorf("frames: %v", frames)
	}
	if get := bench.Archive(t.Context(), target, names, 3, time.Second); get.Err != nil || get.Fragments == 0 {
		t.Errorf("archive: %+v", get)
	}
	if list, err := bench.List(t.Context(), target, names, 10); err != nil || list.Count != 10 {
		t.Errorf("list: %v, %v", list, err)
	}
	if rate, err := bench.Append(t.Context(), t.TempDir(), 100_000, 50*time.Millisecond); err != nil || rate <= 0 {
		t.Errorf("plain appends: %v, %v", rate, err)
	}
	if err := target.Remove(t.Context(), names); err != nil {
		t.Error(err)
	}
}
