package fsys_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// A file system that refuses uncached files (ramfs has only its cache) is written
// through the page cache.
func TestAFileSystemWithoutDirectIO(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Skip("mounting a file system is not permitted")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	name := filepath.Join(dir, "a")
	if f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_DIRECT, 0o600); !errors.Is(err, syscall.EINVAL) {
		f.Close()
		t.Fatalf("ramfs takes uncached files: %v", err)
	}
	os.Remove(name)
	f, err := fsys.OS{}.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	appended(t, f, name, fsys.Aligned(fsys.BlockSize))
}

// One that takes the file and refuses a write, because its blocks are larger than
// ours, is written through the page cache from there on. A write of an odd length
// is refused by every one.
func TestAFileSystemThatRefusesAnUncachedWrite(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "a")
	f, err := fsys.OS{}.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	appended(t, f, name, []byte("not a whole block"))
}

// appended writes b twice and reads it back.
func appended(t *testing.T, f fsys.File, name string, b []byte) {
	t.Helper()
	for i := range b {
		b[i] ^= byte(i)
	}
	for i := range 2 {
		if n, err := f.WriteAt(b, int64(i*len(b))); n != len(b) || err != nil {
			t.Fatalf("write %d: %d %v", i, n, err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, append(bytes.Clone(b), b...)) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
}
