package disk_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// BenchmarkCommit is a batch of one record of 32 KiB for each of some files: the
// ways of writing and of syncing (docs/benchmarks.md has the table).
func BenchmarkCommit(b *testing.B) {
	for _, buffered := range []bool{false, true} {
		for _, sync := range []struct {
			name       string
			sideBySide int
		}{{"fdatasync", -1}, {"syncfs", 1}} {
			for _, files := range []int{1, 8, 32, 100, 400, 1000} {
				if files == 1 && sync.name == "syncfs" {
					continue
				}
				b.Run(fmt.Sprintf("%s/%s/files=%d", map[bool]string{false: "direct", true: "buffered"}[buffered], sync.name, files), func(b *testing.B) {
					commit(b, buffered, sync.sideBySide, files)
				})
			}
		}
	}
}

func commit(b *testing.B, buffered bool, sideBySide, n int) {
	v, err := disk.Open(disk.Options{Dir: b.TempDir() + "/media", FS: fsys.OS{Buffered: buffered}, SideBySide: sideBySide, Handles: 2000})
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	files := make([]*disk.File, n)
	body := make([]byte, 32<<10)
	batch := func() []*disk.Write {
		writes := make([]*disk.Write, n)
		for i, f := range files {
			h := segment.Header{Stream: f.ID.Stream, Number: sluice.MakeFragmentNumber(1, 1, 1)}
			h.Sum([][]byte{body})
			writes[i] = &disk.Write{File: f, Header: h, Sealed: [][]byte{body}}
		}
		return writes
	}
	for i := range files {
		id := disk.FileID{Stream: sluice.StreamID(fmt.Sprintf("%032x", i)), Number: uint64(i + 1)}
		if files[i], err = v.Create(id); err != nil {
			b.Fatal(err)
		}
	}
	v.Commit(batch()) // the files' names too
	b.SetBytes(int64(n * len(body)))
	var worst time.Duration
	for b.Loop() {
		start := time.Now()
		writes := batch()
		v.Commit(writes)
		worst = max(worst, time.Since(start))
		for _, w := range writes {
			if w.Err != nil {
				b.Fatal(w.Err)
			}
		}
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}
