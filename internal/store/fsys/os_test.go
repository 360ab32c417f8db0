package fsys_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// On a disk, on a memory file system (which may refuse uncached writing), and
// buffered.
func TestOS(t *testing.T) {
	t.Parallel()
	dirs := map[string]string{"disk": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "fsys"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		dirs["memory"] = dir
	}
	for where, dir := range dirs {
		for _, o := range []fsys.OS{{}, {Buffered: true}} {
			sub := filepath.Join(dir, map[bool]string{true: "buffered", false: "direct"}[o.Buffered])
			if err := o.Mkdir(sub); err != nil {
				t.Fatal(err)
			}
			if err := o.Mkdir(sub); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: second Mkdir: %v", where, err)
			}
			name := filepath.Join(sub, "a")
			f, err := o.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.Create(name); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: second Create: %v", where, err)
			}
			b := fsys.Aligned(2 * fsys.BlockSize)
			for i := range b {
				b[i] = byte(i)
			}
			if n, err := f.WriteAt(b, 0); n != len(b) || err != nil {
				t.Errorf("%s: %d %v", where, n, err)
			}
			if err := errors.Join(f.Sync(), o.SyncDir(sub), f.Close()); err != nil {
				t.Errorf("%s: %v", where, err)
			}
			if f, err = o.Append(name); err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(b[:fsys.BlockSize], 2*fsys.BlockSize); err != nil {
				t.Errorf("%s: %v", where, err)
			}
			if err := f.SyncFS(); err != nil && !errors.Is(err, fsys.ErrUnsupported) {
				t.Errorf("%s: %v", where, err)
			}
			f.Close()
			if f, err = o.Open(name); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 3*fsys.BlockSize)
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, append(bytes.Clone(b), b[:fsys.BlockSize]...)) {
				t.Errorf("%s: read back different, %v", where, err)
			}
			if size, err := f.Size(); size != 3*fsys.BlockSize || err != nil {
				t.Errorf("%s: size %d %v", where, size, err)
			}
			f.Close()
			if free, total, err := o.Space(sub); !errors.Is(err, fsys.ErrUnsupported) && (err != nil || free <= 0 || total < free) {
				t.Errorf("%s: %d of %d, %v", where, free, total, err)
			}
			if err := errors.Join(o.Rename(name, name+"b"), o.Remove(name+"b")); err != nil {
				t.Errorf("%s: %v", where, err)
			}
			if _, err := o.Append(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", where, err)
			}
		}
	}
}
