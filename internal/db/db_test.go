package db_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluicevideo/sluice/internal/db"
)

func open(t *testing.T, path string, o db.Options) *db.DB {
	t.Helper()
	o.Path = path
	d, err := db.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

var steps = []string{`CREATE TABLE a (k INTEGER PRIMARY KEY, v TEXT)`, `ALTER TABLE a ADD COLUMN w TEXT`}

func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x y?.db") // characters that would end a URI early
	d := open(t, path, db.Options{})
	for want, s := range [][]string{steps[:1], steps[:1], steps} {
		ran, err := d.Migrate(t.Context(), "a", s)
		if err != nil || ran != []int{1, 0, 1}[want] {
			t.Fatalf("call %d: ran %d, %v", want, ran, err)
		}
	}
	if _, err := d.Migrate(t.Context(), "a", steps[:1]); !errors.Is(err, db.ErrNewer) {
		t.Errorf("an older program opened it: %v", err)
	}
	if _, err := d.Migrate(t.Context(), "b", []string{`CREATE TABLE b (x)`, `nonsense`}); err == nil {
		t.Error("nonsense was accepted")
	}
	d.Close()
	d = open(t, path, db.Options{})
	if ran, err := d.Migrate(t.Context(), "a", steps); err != nil || ran != 0 {
		t.Errorf("after reopening: ran %d, %v", ran, err)
	}
}

func TestUpdateIsAllOrNothingAndOneAtATime(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		d := open(t, filepath.Join(t.TempDir(), "x.db"), db.Options{Exclusive: exclusive})
		if _, err := d.Migrate(t.Context(), "a", steps); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		err := d.Update(t.Context(), func(tx *sql.Tx) error {
			if _, err := tx.Exec(`INSERT INTO a (k, v) VALUES (1, 'x')`); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				err := d.Update(context.Background(), func(tx *sql.Tx) error {
					_, err := tx.Exec(`INSERT INTO a (k, v) VALUES (?, 'x')`, 100+i)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var n int
		if err := d.View().QueryRow(`SELECT COUNT(*) FROM a`).Scan(&n); err != nil || n != 50 {
			t.Errorf("exclusive=%v: %d rows, %v", exclusive, n, err)
		}
		err = d.Update(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.Exec(`INSERT INTO a (k, v) VALUES (100, 'x')`)
			return err
		})
		if !db.IsUnique(err) {
			t.Errorf("second row with one key: %v", err)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "x.db"), db.Options{ManualCheckpoint: true})
	if _, err := d.Migrate(t.Context(), "a", steps); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(t.Context()); err != nil {
		t.Error(err)
	}
}

// A bit that flips anywhere in the file is noticed when its page is read, and Check
// says which; Copy's result has checksums too.
func TestAFlippedBitIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, filepath.Join(dir, "x.db"), db.Options{})
	if _, err := d.Migrate(t.Context(), "a", steps); err != nil {
		t.Fatal(err)
	}
	const rows = 5000
	err := d.Update(t.Context(), func(tx *sql.Tx) error {
		for k := range rows {
			if _, err := tx.Exec(`INSERT INTO a (k, v, w) VALUES (?, ?, ?)`, k, fmt.Sprint("value ", k), strings.Repeat("w", k%500)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy.db")
	if err := db.Copy(t.Context(), d.Path(), copied); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{d.Path(), copied} {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(good) < 100*4096 {
			t.Fatalf("%s: %d bytes", path, len(good))
		}
		noticed := 0
		for n := range 24 {
			at := (n*len(good)/24 + n*37) % len(good)
			if n == 0 {
				at = -1 // nothing flips
			}
			name := filepath.Join(dir, fmt.Sprint("flipped", n, ".db"))
			bad := bytes.Clone(good)
			if at >= 0 {
				bad[at] ^= 1 << (n % 8)
			}
			if err := os.WriteFile(name, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readRows(t, name)
			switch {
			case at < 0 && (err != nil || got != rows):
				t.Fatalf("%s, whole: %d rows, %v", path, got, err)
			case err != nil:
				noticed++
			case at >= 4096 && got == rows:
				// In a page that holds no rows.
			case at >= 0 && got != rows:
				t.Errorf("%s: a bit at %d flipped: %d rows and no error", path, at, got)
			}
			d, err := db.Open(t.Context(), db.Options{Path: name, ReadOnly: true})
			if err != nil {
				continue // refused as a whole
			}
			faults, err := d.Check(t.Context())
			if named := slices.ContainsFunc(faults, func(f db.Fault) bool { return f.Offset == int64(at&^4095) }); err != nil || named != (at >= 4096) && at >= 4096 || at < 0 && len(faults) > 0 {
				t.Errorf("%s: a bit at %d flipped: %v, %v", path, at, faults, err)
			}
			d.Close()
		}
		if noticed < 18 {
			t.Errorf("%s: %d of 23 flipped bits were noticed by reading", path, noticed)
		}
	}
}

// readRows reads all rows and compares them with what was written.
func readRows(t *testing.T, path string) (n int, err error) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: path})
	if err != nil {
		return 0, err
	}
	defer d.Close()
	rows, err := d.View().QueryContext(t.Context(), `SELECT k, v, w FROM a`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var k int
		var v, w string
		if err := rows.Scan(&k, &v, &w); err != nil {
			return n, err
		}
		if v != fmt.Sprint("value ", k) || w != strings.Repeat("w", k%500) {
			t.Errorf("row %d is %q, %d bytes", k, v, len(w))
		}
		n++
	}
	return n, rows.Err()
}

// A bit that flips in a write-ahead log takes commits with it that were durable.
// That is noticed when the log is opened; a last commit that was half written, as
// by a power cut, is none of it.
func TestADamagedLogIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, filepath.Join(dir, "x.db"), db.Options{ManualCheckpoint: true})
	if _, err := d.Migrate(t.Context(), "a", steps); err != nil {
		t.Fatal(err)
	}
	if err := d.Scrub(t.Context()); err != nil { // the log begins anew
		t.Fatal(err)
	}
	const commits = 12
	var ends []int64
	for k := range commits {
		err := d.Update(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.Exec(`INSERT INTO a (k, v) VALUES (?, ?)`, k, strings.Repeat("v", 9000))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		about, err := os.Stat(d.Path() + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, about.Size())
	}
	main, err := os.ReadFile(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(d.Path() + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	for n, c := range []struct {
		name   string
		change func(wal []byte) []byte
		rows   int
		lost   bool
	}{
		{"whole", func(b []byte) []byte { return b }, commits, false},
		{"a bit in the header", func(b []byte) []byte { b[9] ^= 4; return b }, 0, true},
		{"a bit in the first commit", func(b []byte) []byte { b[500] ^= 1; return b }, 0, true},
		{"a bit in the middle", func(b []byte) []byte { b[ends[5]+100] ^= 64; return b }, 6, true},
		{"a bit in a frame's salt", func(b []byte) []byte { b[ends[5]+10] ^= 64; return b }, 6, true},
		{"a bit in the last but one", func(b []byte) []byte { b[ends[9]+5000] ^= 1; return b }, 10, true},
		{"the last half written", func(b []byte) []byte { return b[:ends[10]+3000] }, 11, false},
		{"the last in part", func(b []byte) []byte { copy(b[ends[10]+4000:], bytes.Repeat([]byte{0xaa}, 1000)); return b }, 11, false},
	} {
		name := filepath.Join(dir, fmt.Sprint("damaged", n, ".db"))
		if err := errors.Join(os.WriteFile(name, main, 0o600), os.WriteFile(name+"-wal", c.change(bytes.Clone(wal)), 0o600)); err != nil {
			t.Fatal(err)
		}
		d := open(t, name, db.Options{})
		file, at, lost := d.Lost()
		var rows int
		if err := d.View().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM a`).Scan(&rows); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if rows != c.rows || lost != c.lost || lost && (file != name+"-wal" || at > ends[c.rows]) {
			t.Errorf("%s: %d rows, want %d; lost %v at %d of %s", c.name, rows, c.rows, lost, at, file)
		}
		d.Close()
	}
}
