package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/crashfs"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

func fileID(n int) disk.FileID {
	return disk.FileID{Stream: sluice.StreamID(fmt.Sprintf("%032x", n)), Number: uint64(n)}
}

func write(f *disk.File, text []byte) *disk.Write {
	h := segment.Header{Stream: f.ID.Stream, Number: sluice.MakeFragmentNumber(1, 2, 3)}
	h.Sum([][]byte{text})
	return &disk.Write{File: f, Header: h, Sealed: [][]byte{text}}
}

func read(v *disk.Volume, w *disk.Write) ([]byte, error) {
	rec, err := v.Read(w.File.ID, w.Offset)
	if err != nil {
		return nil, err
	}
	defer rec.Close()
	b := make([]byte, rec.Size())
	if _, err := rec.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// Batches of any number of files, by both ways of syncing, with fewer handles
// than files.
func TestCommitAndPowerCut(t *testing.T) {
	t.Parallel()
	for _, files := range []int{1, 5, 40} {
		for _, size := range []int{1, 5000, 3 << 20} {
			if files == 40 && size > 5000 {
				continue
			}
			f := crashfs.New()
			v, err := disk.Open(disk.Options{Dir: "/media", FS: f, Handles: 3, SideBySide: 10})
			if err != nil {
				t.Fatal(err)
			}
			var writes []*disk.Write
			for n := range files {
				file, err := v.Create(fileID(n))
				if err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					writes = append(writes, write(file, bytes.Repeat([]byte{byte(n*3 + i)}, size+i)))
				}
			}
			v.Commit(writes)
			g := f.PowerCut(uint64(files))
			if v, err = disk.Open(disk.Options{Dir: "/media", FS: g, Handles: 3}); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for _, w := range writes {
				wg.Go(func() {
					if w.Err != nil {
						t.Error(w.Err)
						return
					}
					if b, err := read(v, w); err != nil || !bytes.Equal(b, w.Sealed[0]) {
						t.Errorf("%d files of %d bytes: %v", files, size, err)
					}
				})
			}
			wg.Wait()
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Records in frames and others, little and large, in any order: all are where
// they were said to be, and what was in a frame before is not in the file.
func TestFrames(t *testing.T) {
	t.Parallel()
	sizes := []int{5000, 200 << 10, 200<<10 + 1, 300, 3 << 20, 128 << 10, 7, 9 << 20, 1 << 20}
	for framed := range 1 << len(sizes) {
		if framed%37 != 0 && framed != 1<<len(sizes)-1 {
			continue
		}
		f := crashfs.New()
		v, err := disk.Open(disk.Options{Dir: "/media", FS: f})
		if err != nil {
			t.Fatal(err)
		}
		file, err := v.Create(fileID(1))
		if err != nil {
			t.Fatal(err)
		}
		var writes []*disk.Write
		for i, size := range sizes {
			w := write(file, bytes.Repeat([]byte{byte(i + 1)}, size))
			if framed>>i&1 == 1 {
				w.Frame = fsys.Aligned(int(segment.RecordSize(int64(size))))
				for j := range w.Frame {
					w.Frame[j] = 0xee
				}
				n := copy(w.Frame[segment.HeaderSize(int64(size)):], w.Sealed[0])
				w.Sealed = [][]byte{w.Frame[segment.HeaderSize(int64(size)):][:n]}
			}
			writes = append(writes, w)
		}
		v.Commit(writes)
		g := f.PowerCut(uint64(framed))
		if v, err = disk.Open(disk.Options{Dir: "/media", FS: g}); err != nil {
			t.Fatal(err)
		}
		end := int64(segment.BlockSize)
		for i, w := range writes {
			if b, err := read(v, w); w.Err != nil || err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(i + 1)}, sizes[i])) {
				t.Errorf("%b: record %d: %v, %v", framed, i, w.Err, err)
			}
			if w.Offset != end {
				t.Errorf("%b: record %d at %d, want %d", framed, i, w.Offset, end)
			}
			end += segment.RecordSize(int64(sizes[i]))
		}
		plain, err := g.Open(v.Path(file.ID))
		if err != nil {
			t.Fatal(err)
		}
		all := make([]byte, end)
		if n, err := plain.ReadAt(all, 0); n != len(all) {
			t.Fatal(n, err)
		}
		for i, w := range writes {
			size := int64(sizes[i])
			pad := all[w.Offset+segment.HeaderSize(size)+size : w.Offset+segment.RecordSize(size)]
			if bytes.ContainsFunc(pad, func(r rune) bool { return r != 0 }) {
				t.Errorf("%b: record %d is not padded with zeros", framed, i)
			}
		}
		if err := errors.Join(plain.Close(), v.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestAFailedFileTakesNoMore(t *testing.T) {
	t.Parallel()
	for _, sideBySide := range []int{1, -1} {
		f := crashfs.New()
		v, err := disk.Open(disk.Options{Dir: "/media", FS: f, SideBySide: sideBySide})
		if err != nil {
			t.Fatal(err)
		}
		a, err := v.Create(fileID(1))
		b, err2 := v.Create(fileID(2))
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		first := write(a, []byte("first"))
		v.Commit([]*disk.Write{first})
		f.Fail(func(op crashfs.Op) error {
			if op.Kind == "syncfs" || op.Kind == "sync" && op.Name == v.Path(a.ID) {
				return syscall.EIO
			}
			return nil
		})
		second, other := write(a, []byte("second")), write(b, []byte("other"))
		v.Commit([]*disk.Write{second, other})
		f.Fail(nil)
		// One sync for all fails for all.
		if !errors.Is(second.Err, syscall.EIO) || (other.Err != nil) != (sideBySide == 1) {
			t.Errorf("%v, %v", second.Err, other.Err)
		}
		if !a.Failed() || !v.Full(a, 0) {
			t.Error("the file is still in use")
		}
		third := write(a, []byte("third"))
		v.Commit([]*disk.Write{third})
		if third.Err == nil {
			t.Error("the file was written again")
		}
		if got, err := read(v, first); err != nil || string(got) != "first" {
			t.Errorf("%q %v", got, err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDeleteUnderAReader(t *testing.T) {
	t.Parallel()
	v, err := disk.Open(disk.Options{Dir: t.TempDir() + "/media"})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	f, err := v.Create(fileID(7))
	if err != nil {
		t.Fatal(err)
	}
	w := write(f, []byte("text"))
	v.Commit([]*disk.Write{w})
	rec, err := v.Read(f.ID, w.Offset)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Delete(f.ID), v.Delete(f.ID), v.DeleteDir(f.ID.Stream)); err != nil {
		t.Error(err)
	}
	b := make([]byte, 4)
	if _, err := rec.ReadAt(b, 0); err != nil || string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
	if err := errors.Join(rec.Close(), rec.Close()); err != nil {
		t.Error(err)
	}
	if _, err := v.Read(f.ID, w.Offset); !disk.Gone(err) {
		t.Errorf("%v", err)
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{0, 1, 1<<64 - 1} {
		if m, ok := disk.ParseFileName(disk.FileName(n)); !ok || m != n {
			t.Errorf("%d: %d %v", n, m, ok)
		}
	}
	for _, bad := range []string{"", "x", "generation", "000000000000001.rec", "000000000000000A.rec", "+000000000000001.rec", "0000000000000001.rec.new"} {
		if _, ok := disk.ParseFileName(bad); ok {
			t.Errorf("%q is taken for a file", bad)
		}
	}
}
