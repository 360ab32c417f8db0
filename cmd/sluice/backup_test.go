package main_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// TestBackup makes backups of a server under load. What was acknowledged before
// a backup began is in it, and a server on the restored directory serves it and
// goes on with higher numbers; so does the first one when its catalog is an
// older copy.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, backup, restored := filepath.Join(dir, "data"), filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
	p := start(t, data)
	c := p.client()
	var writers []*writer
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 8 {
		w := newWriter(fmt.Sprintf("cam-%d", i), sluicetest.Camera{Seed: uint64(i), Frames: 5, Size: 5000, Every: 20 * time.Millisecond})
		w.pace, w.acked = 10*time.Millisecond, make(chan struct{}, 1000)
		writers = append(writers, w)
		wg.Go(func() { w.write(t, ctx, c) })
	}
	// Twice, as it is done every night: the second copies what is new.
	promised := make([]map[sluice.FragmentNumber]int64, len(writers))
	for range 2 {
		for i, w := range writers {
			for range 20 {
				select {
				case <-w.acked:
				case <-time.After(5 * time.Minute):
					t.Fatalf("%s is not acknowledged", w.stream)
				}
			}
			promised[i] = w.acknowledged()
		}
		t.Log(strings.TrimSpace(p.run("backup", "--data", data, "--to", backup)))
	}
	cancel()
	wg.Wait()
	late := newWriter("late", sluicetest.Camera{Size: 100})
	late.most = 3
	late.write(t, t.Context(), c)

	p.run("restore", "--from", backup, "--data", restored)
	key, err := os.ReadFile(filepath.Join(data, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(restored, "root.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("fsck", "--data", restored)
	r := start(t, restored)
	rc := r.client()
	total, more := 0, 0
	for i, w := range writers {
		// Of what came after the backup nothing is promised, but its numbers are not
		// given out again: last is the highest that the camera was told.
		after := &writer{stream: w.stream, cam: w.cam, next: w.next, last: w.last, persisted: promised[i], checked: map[sluice.FragmentNumber]bool{}, most: 3}
		after.verify(t, rc)
		total, more = total+len(after.persisted), more+len(after.checked)-len(after.persisted)
		after.write(t, t.Context(), rc)
		after.verify(t, rc)
		after.readAll(t, rc)
	}
	r.stop()

	// An older catalog over newer media.
	p.stop()
	old, err := os.ReadFile(filepath.Join(backup, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		os.Remove(filepath.Join(data, "catalog.db"+suffix))
	}
	if err := os.WriteFile(filepath.Join(data, "catalog.db"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	p = start(t, data)
	c = p.client()
	all := 0
	for _, w := range writers {
		w.most = 3
		w.write(t, t.Context(), c)
		w.verify(t, c)
		all += len(w.persisted)
	}
	// The stream made since is unknown. Its media is not touched, and its name can
	// be used again.
	if _, err := c.Control().DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: &late.stream.Name}); err == nil {
		t.Error("a stream that the older catalog cannot know is there")
	}
	if dirs, err := filepath.Glob(filepath.Join(data, "media", strings.Repeat("?", 32))); err != nil || len(dirs) != len(writers)+1 {
		t.Errorf("%d directories of media, want %d: %v", len(dirs), len(writers)+1, err)
	}
	late.persisted = map[sluice.FragmentNumber]int64{}
	late.write(t, t.Context(), c)
	late.verify(t, c)
	if len(late.persisted) != 3 {
		t.Errorf("%d fragments acknowledged in the stream made anew, want 3", len(late.persisted))
	}
	t.Logf("%d fragments acknowledged before the backup began, 0 lost; %d more were in it, whole; %d with the older catalog, 0 lost", total, more, all)
	p.stop()
}

// acknowledged is a copy of what was, up to now.
func (w *writer) acknowledged() map[sluice.FragmentNumber]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.persisted)
}
