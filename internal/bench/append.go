package bench

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// Append is the simplest program that could do what a session asks of the
// server's disk: it appends batches of that size to one new file in dir, uncached
// and whole blocks as the server does, and syncs after each. It goes on for about
// that long and gives bytes a second.
func Append(ctx context.Context, dir string, batch int, length time.Duration) (rate float64, err error) {
	fs, name := fsys.OS{}, filepath.Join(dir, "sluice-bench-append")
	file, err := fs.Create(name)
	if err != nil {
		return 0, fmt.Errorf("plain appends: %w", err)
	}
	defer fs.Remove(name)
	defer file.Close()
	blocks := max((batch+fsys.BlockSize-1)/fsys.BlockSize, 1)
	b := fsys.Aligned(blocks * fsys.BlockSize)
	// In any order, so that its pages lie here and there, as those of a server that
	// runs for a while. Filled in order they lie in one piece in some runs, and a disk
	// then takes them half as fast again, or more.
	for _, i := range rand.Perm(blocks) {
		copy(b[i*fsys.BlockSize:][:fsys.BlockSize], noise()[i*fsys.BlockSize%len(noise()):])
	}
	var size int64
	began := time.Now()
	for time.Since(began) < length && ctx.Err() == nil {
		if _, err := file.WriteAt(b, size); err != nil {
			return 0, fmt.Errorf("plain appends: %w", err)
		}
		if err := file.Sync(); err != nil {
			return 0, fmt.Errorf("plain appends: %w", err)
		}
		size += int64(len(b))
	}
	return float64(size) / time.Since(began).Seconds(), ctx.Err()
}

// Commits is what a server has made durable since it started.
type Commits struct{ Bytes, Batches float64 }

// ReadCommits reads a server's metrics.
func ReadCommits(ctx context.Context, url string) (Commits, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Commits{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Commits{}, fmt.Errorf("the server's metrics: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return Commits{}, fmt.Errorf("the server's metrics: %w", err)
	}
	var c Commits
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "sluice_store_committed_bytes_total":
			c.Bytes, err = strconv.ParseFloat(value, 64)
		case "sluice_store_commit_seconds_count":
			c.Batches, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return Commits{}, fmt.Errorf("the server's metrics: %s: %w", name, err)
		}
	}
	return c, nil
}

// Mean is the size of a batch between two readings, in bytes; 0 when there was
// none.
func (c Commits) Mean(before Commits) int {
	if c.Batches <= before.Batches {
		return 0
	}
	return int((c.Bytes - before.Bytes) / (c.Batches - before.Batches))
}
