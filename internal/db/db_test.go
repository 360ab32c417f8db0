package db_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
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
