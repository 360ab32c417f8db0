package crashfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"syscall"
	"testing"

	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store/crashfs"
	"github.com/sluicevideo/sluice/internal/store/fsys"
)

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func block(c byte, n int) []byte { return bytes.Repeat([]byte{c}, 4096*n) }

func contents(t *testing.T, f fsys.FS, name string) ([]byte, error) {
	t.Helper()
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, must[int64](t)(file.Size()))
	if _, err := file.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return b, nil
}

func TestWhatWasSyncedSurvives(t *testing.T) {
	t.Parallel()
	missing, torn, whole, named := 0, 0, 0, 0
	for seed := range uint64(200) {
		f := crashfs.New()
		ok(t, f.Mkdir("/d"))
		ok(t, f.SyncDir("/"))
		file := must[fsys.File](t)(f.Create("/d/a"))
		must[int](t)(file.WriteAt(block('a', 3), 0))
		ok(t, file.Sync())
		ok(t, f.SyncDir("/d"))
		must[int](t)(file.WriteAt(block('b', 2), 4096))
		must[fsys.File](t)(f.Create("/d/unsynced"))
		g := f.PowerCut(seed)

		if _, err := file.WriteAt(block('c', 1), 0); !errors.Is(err, crashfs.ErrPower) {
			t.Fatalf("a write without power: %v", err)
		}
		b, err := contents(t, g, "/d/a")
		if err != nil || len(b) != 3*4096 || !bytes.Equal(b[:4096], block('a', 1)) {
			t.Fatalf("seed %d: %d bytes, %v", seed, len(b), err)
		}
		for i := range 2 {
			switch p := b[4096*(i+1) : 4096*(i+2)]; {
			case bytes.Equal(p, block('a', 1)):
				missing++
			case bytes.Equal(p, block('b', 1)):
				whole++
			default:
				torn++
			}
		}
		if _, err := g.Stat("/d/unsynced"); err == nil {
			named++
		}
	}
	if missing == 0 || torn == 0 || whole == 0 || named == 0 || named == 200 {
		t.Errorf("of what was not synced: %d missing, %d torn, %d whole blocks, %d names", missing, torn, whole, named)
	}
}

func TestNamesNeedTheirDirectories(t *testing.T) {
	t.Parallel()
	back := 0
	for seed := range uint64(100) {
		f := crashfs.New()
		ok(t, f.Mkdir("/d"))
		file := must[fsys.File](t)(f.Create("/d/a"))
		ok(t, file.Sync())
		ok(t, f.SyncDir("/d")) // but not "/"
		g := f.PowerCut(seed)
		_, err := g.Stat("/d/a")
		if _, derr := g.Stat("/d"); (derr == nil) != (err == nil) {
			t.Fatalf("seed %d: %v %v", seed, derr, err)
		}
		if err == nil {
			back++
		}
	}
	if back == 0 || back == 100 {
		t.Errorf("the directory survived %d of 100 times", back)
	}
	f := crashfs.New()
	file := must[fsys.File](t)(f.Create("/a"))
	must[int](t)(file.WriteAt(block('a', 1), 0))
	ok(t, file.SyncFS())
	ok(t, f.Rename("/a", "/b"))
	for seed := range uint64(50) {
		g := f.PowerCut(seed)
		_, a := g.Stat("/a")
		_, b := g.Stat("/b")
		if (a == nil) == (b == nil) {
			t.Fatalf("seed %d: a rename is not one step: %v %v", seed, a, b)
		}
	}
	if err := f.Remove("/b"); !errors.Is(err, crashfs.ErrPower) {
		t.Errorf("%v", err)
	}
}

func TestAFailedSyncIsFinal(t *testing.T) {
	t.Parallel()
	lost := 0
	f := crashfs.New()
	file := must[fsys.File](t)(f.Create("/a"))
	ok(t, file.SyncFS())
	must[int](t)(file.WriteAt(block('a', 64), 0))
	f.Fail(func(op crashfs.Op) error {
		if op.Kind == "sync" {
			return syscall.EIO
		}
		return nil
	})
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	f.Fail(nil)
	ok(t, file.Sync()) // it lies, as disks do
	b, err := contents(t, f.PowerCut(1), "/a")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 4096 {
		if b[i] == 0 {
			lost++
		}
	}
	if lost == 0 || lost == 64 {
		t.Errorf("%d of 64 blocks lost", lost)
	}
}

func TestAlignmentAndCutAt(t *testing.T) {
	t.Parallel()
	f := crashfs.New()
	file := must[fsys.File](t)(f.Create("/a"))
	if _, err := file.WriteAt([]byte("x"), 0); err == nil {
		t.Error("an uncached write of one byte")
	}
	f.CutAt(2)
	must[int](t)(file.WriteAt(block('a', 1), 0))
	if err := file.Sync(); !errors.Is(err, crashfs.ErrPower) || !f.Dead() {
		t.Errorf("%v", err)
	}
	if _, err := f.Append("/a"); !errors.Is(err, crashfs.ErrPower) {
		t.Errorf("%v", err)
	}
	if _, err := crashfs.New().Open("/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A database on it keeps what it has committed.
func TestSQLiteSurvives(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		f := crashfs.New()
		f.Mount("crashfs-test")
		o := db.Options{Path: "/x.db", VFS: "crashfs-test", Exclusive: true}
		d := must[*db.DB](t)(db.Open(t.Context(), o))
		_, err := d.Writer().Exec(`CREATE TABLE a (v INTEGER)`)
		ok(t, err)
		f.CutAt(int(seed) + 1)
		done := 0
		for i := range 100 {
			if _, err := d.Writer().Exec(`INSERT INTO a VALUES (?)`, i); err != nil {
				break
			}
			done++
		}
		if !f.Dead() {
			t.Fatal("the power did not go")
		}
		g := f.PowerCut(seed)
		d.Close()
		g.Mount("crashfs-test")
		d = must[*db.DB](t)(db.Open(t.Context(), o))
		var n int
		ok(t, d.Writer().QueryRow(`SELECT COUNT(*) FROM a`).Scan(&n))
		if n != done && n != done+1 {
			t.Errorf("seed %d: %d rows, %d were committed", seed, n, done)
		}
		d.Close()
	}
}
