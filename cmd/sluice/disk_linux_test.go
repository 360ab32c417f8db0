package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// TestDiskFull fills a file system of its own. The camera waits, then learns
// which fragment was not kept; what was kept is read meanwhile; and when the
// disk grows, cameras that come back are served again without any help.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
		t.Skip("mounting a file system is not permitted")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	p := start(t, filepath.Join(disk, "data"))
	c := p.client()
	w := newWriter("cam", sluicetest.Camera{Frames: 4, Size: 250 << 10, Every: 100 * time.Millisecond})
	w.faulty = true
	create(t, c, "cam")
	w.write(t, t.Context(), c) // until the session ends
	kept := len(w.persisted)
	if len(w.failed) != 1 || kept < 20 {
		t.Fatalf("%d fragments acknowledged, then %v", kept, w.failed)
	}
	full := w.failed[0]
	t.Logf("%d fragments of 1 MB kept on a disk of 96 MiB, then %v", kept, full)
	if full.Code != sluice.ArchivalError || !full.HasTimecode || full.Number == (sluice.FragmentNumber{}) {
		t.Errorf("%v: want %v with the fragment's timecode and number", full, sluice.ArchivalError)
	}
	if _, ok := w.persisted[full.Number]; ok {
		t.Errorf("fragment %v was PERSISTED and then refused", full.Number)
	}
	if room := p.debug("/debug/store"); !strings.Contains(room, "room_bytes") {
		t.Error(room)
	}
	w.verify(t, c)
	w.readAll(t, c)
	// A camera that comes while it is full is told, not kept waiting for ever.
	// (The database's log may have shrunk meanwhile: one more may fit.)
	w.failed = nil
	for range 3 {
		if w.write(t, t.Context(), c); len(w.failed) > 0 {
			break
		}
	}
	if len(w.failed) != 1 || w.failed[0].Code != sluice.ArchivalError || len(w.persisted) > kept+5 {
		t.Errorf("on a full disk: %d more fragments, %v", len(w.persisted)-kept, w.failed)
	}
	kept = len(w.persisted)

	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	w.failed, w.most = nil, 10
	for stuck := time.After(5 * time.Minute); ; {
		w.write(t, t.Context(), c)
		if len(w.persisted) >= kept+10 {
			break
		}
		select {
		case <-stuck:
			t.Fatalf("the disk has room again: %d more fragments, %v\n%s", len(w.persisted)-kept, w.failed, p.log.tail())
		default:
		}
	}
	w.verify(t, c)
	w.readAll(t, c)

	// Others can fill a disk to the last byte, low-water mark or not. Reading goes
	// on. A server that is killed then cannot start, and says why.
	kept = len(w.persisted)
	filler := fill(t, disk)
	w.failed, w.most = nil, 0
	w.write(t, t.Context(), c)
	if len(w.failed) != 1 || w.failed[0].Code != sluice.ArchivalError || len(w.persisted) > kept+5 {
		t.Errorf("on a disk without a byte: %d more fragments, %v", len(w.persisted)-kept, w.failed)
	}
	w.verify(t, c)
	kept = len(w.persisted)
	p.cmd.Process.Kill()
	p.end()
	if out, err := sluiceCommand("server", "--data", p.data, "--listen=127.0.0.1:0", "--debug-listen=off").CombinedOutput(); err == nil || !strings.Contains(string(out), "is full") {
		t.Errorf("start on a full disk: %v\n%s", err, out)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	p = start(t, p.data)
	c = p.client()
	w.verify(t, c)
	w.readAll(t, c)
	w.failed, w.most = nil, 10
	for stuck := time.After(5 * time.Minute); ; {
		w.write(t, t.Context(), c)
		if len(w.persisted) >= kept+10 {
			break
		}
		select {
		case <-stuck:
			t.Fatalf("the disk has room again: %d more fragments, %v\n%s", len(w.persisted)-kept, w.failed, p.log.tail())
		default:
		}
	}
	w.verify(t, c)
	if len(w.checked) != len(w.persisted) {
		t.Errorf("%d fragments are stored, %d were acknowledged: what waited behind a refused one must not be kept", len(w.checked), len(w.persisted))
	}
	p.stop()
	t.Log(fmt.Sprint(len(w.persisted)), "fragments acknowledged, 0 lost")
}

// fill takes all that is left of a disk.
func fill(t *testing.T, disk string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 1<<20); len(b) > 0; {
		if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
			b = b[:len(b)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}
