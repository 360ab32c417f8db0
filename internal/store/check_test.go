package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

var quiet = slog.New(slog.DiscardHandler)

func (h *house) places() store.Places {
	return store.Places{Catalog: filepath.Join(h.dir, "catalog.db"), Index: filepath.Join(h.dir, "index.db"), Media: filepath.Join(h.dir, "media")}
}

// withCatalog puts something where the catalog is.
func (h *house) withCatalog() *house {
	d, err := db.Open(h.t.Context(), db.Options{Path: h.places().Catalog})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		h.t.Fatal(err)
	}
	return h
}

func (h *house) fill(id sluice.StreamID, from, n int) {
	h.t.Helper()
	e, _ := h.take(id)
	for c := from; c < from+n; c++ {
		wait(h.t, h.Append(e, record(id, e, c, 9000+c)))
	}
}

// fsck checks a directory as `sluice fsck` does, beside whoever uses it.
func fsck(t *testing.T, p store.Places, repair bool) (store.Checked, []store.Problem) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: p.Index, ReadOnly: !repair})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var found []store.Problem
	sums, err := store.Check(t.Context(), store.CheckOptions{Dir: p.Media, Index: d, Repair: repair, Found: func(p store.Problem) { found = append(found, p) }})
	if err != nil {
		t.Fatal(err)
	}
	return sums, found
}

func snapshotDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-shm") || strings.HasSuffix(path, "-wal") {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheck(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{MaxFile: 64 << 10})
	a, b := streamID(0), streamID(1)
	h.fill(a, 0, 20)
	h.fill(b, 0, 5)
	before := snapshotDir(t, h.dir)
	sums, found := fsck(t, h.places(), false)
	if len(found) != 0 || sums.Fragments != 25 || sums.Lost != 0 || sums.Unknown != 0 {
		t.Errorf("a sound store: %+v %v", sums, found)
	}
	after := snapshotDir(t, h.dir)
	if len(before) != len(after) {
		t.Errorf("%d files before, %d after", len(before), len(after))
	}
	for name, text := range before {
		if after[name] != text {
			t.Errorf("checking changed %s", name)
		}
	}

	// A record damaged, a file missing, a file too many.
	entries := h.list(a, store.Query{})
	flip := entries[2]
	damage(t, filepath.Join(h.dir, "media", string(a), fileName(flip)), flip.At.Offset+500)
	gone := entries[19]
	missing := 0
	for _, e := range entries {
		if e.At.File == gone.At.File {
			missing++
		}
	}
	h.close()
	if err := os.Remove(filepath.Join(h.dir, "media", string(a), fileName(gone))); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(h.dir, "media", string(b), "00000000000fffff.rec")
	if err := os.WriteFile(stray, []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	sums, found = fsck(t, h.places(), false)
	kinds := map[string]int{}
	for _, p := range found {
		kinds[p.Kind]++
		if p.Kind == "corrupt" && (p.Offset != flip.At.Offset || !strings.HasSuffix(p.File, fileName(flip)) || !strings.Contains(p.Text, flip.Number.String())) {
			t.Errorf("%+v, want file and offset of %+v", p, flip)
		}
	}
	if sums.Lost != 1+missing || sums.Unknown != 1 || kinds["corrupt"] != 1 || kinds["missing"] != 1 || kinds["unknown"] != 1 {
		t.Errorf("%+v %v", sums, found)
	}
	if sums, _ := fsck(t, h.places(), true); sums.Repaired != 1+missing {
		t.Errorf("repaired %+v", sums)
	}
	if sums, _ := fsck(t, h.places(), false); sums.Lost != 0 || sums.Unknown != 1 || sums.Fragments != 24-missing {
		t.Errorf("after repair %+v", sums)
	}
	h.open()
	h.fill(a, 30, 1)
	if got := h.list(a, store.Query{}); got[len(got)-1].Position != 20 {
		t.Errorf("position %d after a repair, want 20", got[len(got)-1].Position)
	}
	if _, err := os.Stat(stray); err != nil {
		t.Errorf("an unknown file was deleted: %v", err)
	}
}

func fileName(e store.Entry) string {
	const hex = "0123456789abcdef"
	b := []byte("0000000000000000.rec")
	for i, n := 15, e.At.File; n > 0; i, n = i-1, n/16 {
		b[i] = hex[n%16]
	}
	return string(b)
}

func damage(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestReindex(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{MaxFile: 64 << 10})
	a, b := streamID(0), streamID(1)
	for i := range 3 { // several openings, epochs and files
		h.fill(a, i*7, 7)
		h.fill(b, i, 1)
		h.reopen()
	}
	if err := h.Trim(t.Context(), a, time.UnixMilli(t0+8000)); err != nil {
		t.Fatal(err)
	}
	wantA, wantB := h.list(a, store.Query{}), h.list(b, store.Query{})
	epochA, _ := h.take(a)
	h.close()
	damage(t, filepath.Join(h.dir, "media", string(b), fileName(wantB[1])), wantB[1].At.Offset+300)
	if err := os.WriteFile(h.places().Index, []byte("this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	var found []store.Problem
	sums, err := store.ReplaceIndex(t.Context(), h.places(), quiet, func(p store.Problem) { found = append(found, p) })
	if err != nil {
		t.Fatal(err)
	}
	if sums.Streams != 2 || sums.Fragments != len(wantA)+2 || sums.Damaged != 1 || len(found) != 1 {
		t.Errorf("%+v %v", sums, found)
	}
	h.open()
	gotA, gotB := h.list(a, store.Query{}), h.list(b, store.Query{})
	if len(gotA) != len(wantA) || len(gotB) != 2 || gotB[0] != wantB[0] || gotB[1] != wantB[2] {
		t.Fatalf("%d of %d, %+v", len(gotA), len(wantA), gotB)
	}
	for i := range gotA {
		if gotA[i] != wantA[i] {
			t.Errorf("entry %d: %+v, was %+v", i, gotA[i], wantA[i])
		}
	}
	e, last := h.take(a)
	if e < epochA-1 || last.Next != 21 {
		t.Errorf("epoch %d after %d, next %d", e, epochA, last.Next)
	}
	h.fill(a, 40, 3)
	// The file whose one record was damaged is nobody's now, and stays.
	if sums, found := fsck(t, h.places(), false); len(found) != 1 || sums.Unknown != 1 {
		t.Errorf("%+v %v", sums, found)
	}
}

// TestIndexOfAnOlderVersion opens an index whose rows do not say which media
// header a fragment has: it is brought up to date, and old rows have none.
func TestIndexOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{})
	id := streamID(0)
	h.fill(id, 0, 3)
	want := h.list(id, store.Query{})
	for _, q := range []string{`ALTER TABLE store_fragment DROP COLUMN header`, `DELETE FROM migrations WHERE component = 'store' AND step > 1`} {
		if _, err := h.index.Writer().ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	h.reopen()
	h.fill(id, 3, 3)
	got := h.list(id, store.Query{})
	if len(got) != 6 || got[3].Header == 0 {
		t.Fatalf("%d fragments, %+v", len(got), got)
	}
	for i := range want {
		want[i].Header = 0
		if got[i] != want[i] {
			t.Errorf("%+v, was %+v", got[i], want[i])
		}
		h.read(got[i])
	}
}

func TestAnOldIndexIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{})
	h.fill(streamID(0), 0, 3)
	h.close()
	old, err := os.ReadFile(h.places().Index)
	if err != nil {
		t.Fatal(err)
	}
	h.open()
	h.fill(streamID(0), 3, 3)
	h.close()
	if err := os.WriteFile(h.places().Index, old, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(t.Context(), db.Options{Path: h.places().Index})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), store.Options{Dir: h.places().Media, Index: d})
	if !errors.Is(err, store.ErrOldIndex) || !strings.Contains(err.Error(), "sluice reindex") {
		t.Errorf("%v", err)
	}
	d.Close()
	if _, err := store.ReplaceIndex(t.Context(), h.places(), quiet, func(store.Problem) {}); err != nil {
		t.Fatal(err)
	}
	h.open()
	if got := h.list(streamID(0), store.Query{}); len(got) != 6 {
		t.Errorf("%d fragments after reindexing, want 6", len(got))
	}
}

func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{MaxFile: 128 << 10}).withCatalog()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type acked struct {
		id sluice.StreamID
		n  sluice.FragmentNumber
	}
	var mu sync.Mutex
	durable := map[acked][]byte{}
	var wg sync.WaitGroup
	for w := range 4 {
		id := streamID(w)
		e, _ := h.take(id)
		wg.Go(func() {
			for c := 0; ctx.Err() == nil; c++ {
				r := record(id, e, c, 2000+c%5000)
				b := body(r)
				k := h.Append(e, r)
				<-k.Done()
				if k.Err() != nil {
					t.Error(k.Err())
					return
				}
				mu.Lock()
				durable[acked{id, r.Number}] = b
				mu.Unlock()
				if w == 3 && c%50 == 49 { // one stream's media expires meanwhile
					before := r.ServerMs - 20_000
					mu.Lock()
					for k := range durable {
						if k.id == id && int64(k.n.ServerTimestamp()) < before {
							delete(durable, k)
						}
					}
					mu.Unlock()
					if err := h.Trim(context.Background(), id, time.UnixMilli(before)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	to := store.Places{Catalog: filepath.Join(h.dir, "backup", "catalog.db"), Index: filepath.Join(h.dir, "backup", "index.db"), Media: filepath.Join(h.dir, "backup", "media")}
	var last store.BackedUp
	promised := map[acked][]byte{}
	for i := range 4 {
		count := 0
		for deadline := time.Now().Add(5 * time.Minute); count < (i+1)*150; time.Sleep(time.Millisecond) {
			mu.Lock()
			count = len(durable)
			mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatal("the writers are stuck")
			}
		}
		mu.Lock()
		clear(promised)
		for k, b := range durable {
			promised[k] = b
		}
		mu.Unlock()
		sums, err := store.Backup(t.Context(), h.places(), to, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && sums.Kept == 0 {
			t.Errorf("backup %d copied all again: %+v", i, sums)
		}
		last = sums
	}
	cancel()
	wg.Wait()
	// What expired while the last backup ran is excused.
	mu.Lock()
	for k := range promised {
		if _, still := durable[k]; !still {
			delete(promised, k)
		}
	}
	mu.Unlock()

	r := &house{t: t, dir: filepath.Join(h.dir, "elsewhere"), o: h.o}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Restore(t.Context(), to, r.places(), quiet); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Restore(t.Context(), to, r.places(), quiet); err == nil {
		t.Error("restored over what is there")
	}
	sums, found := fsck(t, r.places(), false)
	if len(found) != 0 {
		t.Errorf("the restored store: %+v %v", sums, found)
	}
	r.open()
	defer r.close()
	for k, want := range promised {
		e, err := r.Get(t.Context(), k.id, k.n, time.Time{})
		if err != nil {
			t.Errorf("fragment %v was durable before the backup and is not in it: %v", k.n, err)
			continue
		}
		if !bytes.Equal(r.read(e), want) {
			t.Errorf("fragment %v differs", k.n)
		}
	}
	r.fill(streamID(0), 1_000_000, 3)
	t.Logf("%d fragments promised, last backup %+v", len(promised), last)
}

func TestScanFindsRecordsBehindDamage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{})
	h.fill(streamID(0), 0, 10)
	entries := h.list(streamID(0), store.Query{})
	name := filepath.Join(h.dir, "media", string(streamID(0)), fileName(entries[0]))
	damage(t, name, entries[3].At.Offset+20)  // a header
	damage(t, name, entries[6].At.Offset+600) // sealed bytes
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, _ := f.Stat()
	good, bad := 0, 0
	for rec, err := range segment.Scan(f, fi.Size()) {
		switch {
		case err == nil:
			good++
		case errors.Is(err, segment.ErrFormat):
			bad++
			if rec.Offset != entries[3].At.Offset && rec.Offset != entries[6].At.Offset {
				t.Errorf("damage at %d", rec.Offset)
			}
		default:
			t.Fatal(err)
		}
	}
	if good != 8 || bad != 2 {
		t.Errorf("%d good, %d bad", good, bad)
	}
}
