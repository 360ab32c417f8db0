// Package db opens the server's SQLite files, runs migrations and owns
// transactions. It knows no table: each package that keeps something in a
// database owns its own tables and queries and hands its schema to Migrate.
//
// SQLite is the ncruces build: no cgo, so one static binary for every target,
// and its file system layer can be written in Go, so that the power-cut tests
// run under the database as well as under the media files. Statements keep to
// what PostgreSQL understands too, as far as that costs nothing.
//
// Each page of a file ends with a checksum (see checksum.go), so that a bit that
// flipped on the disk is an error and never an answer.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
)

// Options of Open. Path is all that is needed.
type Options struct {
	Path string // the database file; its directory must exist
	// VFS is the name of a registered SQLite file system; "" is the machine's.
	VFS string
	// Readers is how many reads may run side by side; 0 means 4.
	Readers int
	// ManualCheckpoint leaves moving the write-ahead log into the file to the
	// caller (see DB.Checkpoint), for writers whose commits must not wait for it.
	ManualCheckpoint bool
	// Secrets overwrites what is deleted or changed, so that a key that was erased
	// does not stay readable in a freed part of the file. See Scrub.
	Secrets bool
	// ReadOnly changes nothing, also when the file's own writer is another process
	// that is running; Update and Migrate fail. The file must be there.
	ReadOnly bool
	// Exclusive keeps the file locked by this process alone, which needs no
	// shared memory: file systems written in Go have none. Readers then share
	// the writer's one connection.
	Exclusive bool
}

// DB is an open database. A commit is durable when Update returns.
type DB struct {
	write *sql.DB
	read  *sql.DB
	mu    sync.Mutex // one write transaction at a time: SQLite has one writer, and waiting here is fair
	path  string
	lost  int64 // see Lost
}

// Open opens or creates the file.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Readers == 0 {
		o.Readers = 4
	}
	onMachine := o.VFS == ""
	if onMachine {
		o.VFS = unmapped()
	}
	dsn := func(readOnly bool) string {
		q := url.Values{}
		if o.VFS != "" {
			q.Set("vfs", o.VFS)
		}
		q.Add("_pragma", "busy_timeout(10000)")
		if o.ReadOnly {
			q.Set("mode", "ro")
			q.Add("_pragma", "temp_store(memory)")
			return "file:" + (&url.URL{Path: o.Path}).EscapedPath() + "?" + q.Encode()
		}
		if o.Exclusive {
			q.Add("_pragma", "locking_mode(exclusive)")
		}
		q.Add("_pragma", "journal_mode(wal)")
		// FULL: the write-ahead log is synced at every commit. NORMAL would
		// survive a crash of the process but not a power cut.
		q.Add("_pragma", "synchronous(full)")
		q.Add("_pragma", "foreign_keys(on)")
		q.Add("_pragma", "temp_store(memory)")
		q.Add("_pragma", "cache_size(-16384)")
		if o.Secrets {
			q.Add("_pragma", "secure_delete(on)")
		}
		if o.ManualCheckpoint {
			q.Add("_pragma", "wal_autocheckpoint(0)")
		}
		if readOnly {
			q.Add("_pragma", "query_only(on)")
		} else {
			q.Set("_txlock", "immediate")
		}
		return "file:" + (&url.URL{Path: o.Path}).EscapedPath() + "?" + q.Encode()
	}
	var begin []func(*sqlite3.Conn) error
	lost := int64(-1)
	if !o.ReadOnly {
		begin = append(begin, addChecksums)
		if onMachine {
			var err error
			if lost, err = damagedLog(o.Path); err != nil {
				return nil, fmt.Errorf("database %s: %w", o.Path, err)
			}
		}
	}
	write, err := driver.Open(dsn(false), begin...)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", o.Path, err)
	}
	write.SetMaxOpenConns(1)
	write.SetMaxIdleConns(1)
	d := &DB{write: write, read: write, path: o.Path, lost: lost}
	if err := write.PingContext(ctx); err != nil {
		write.Close()
		return nil, fmt.Errorf("database %s: %w", o.Path, err)
	}
	if !o.Exclusive {
		d.read, err = driver.Open(dsn(true))
		if err != nil {
			write.Close()
			return nil, fmt.Errorf("database %s: %w", o.Path, err)
		}
		d.read.SetMaxOpenConns(o.Readers)
		d.read.SetMaxIdleConns(o.Readers)
		d.read.SetConnMaxIdleTime(10 * time.Minute)
	}
	if o.ReadOnly {
		return d, nil
	}
	_, err = write.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migrations (
		component TEXT NOT NULL, step INTEGER NOT NULL, applied_ms INTEGER NOT NULL, PRIMARY KEY (component, step))`)
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("database %s: %w", o.Path, err)
	}
	return d, nil
}

// Path is the database's file.
func (d *DB) Path() string { return d.path }

// Lost reports that commits which were durable are missing, because the
// write-ahead log was damaged before it was opened, and where in it that begins.
func (d *DB) Lost() (file string, offset int64, lost bool) {
	return d.path + "-wal", d.lost, d.lost >= 0
}

// ErrNewer says that the file was written by a newer Sluice.
var ErrNewer = errors.New("written by a newer version of Sluice")

// Migrate brings the tables of one component up to date: steps are SQL scripts
// that are only ever added to, and each one not yet applied runs in a
// transaction of its own. It returns how many ran. A file that has more steps
// than we know is refused with ErrNewer.
func (d *DB) Migrate(ctx context.Context, component string, steps []string) (ran int, err error) {
	var have int
	row := d.write.QueryRowContext(ctx, `SELECT COALESCE(MAX(step), 0) FROM migrations WHERE component = ?`, component)
	if err := row.Scan(&have); err != nil {
		return 0, fmt.Errorf("database %s: migrations of %s: %w", d.path, component, err)
	}
	if have > len(steps) {
		return 0, fmt.Errorf("database %s: %s is at step %d, this version knows %d: %w", d.path, component, have, len(steps), ErrNewer)
	}
	for i := have; i < len(steps); i++ {
		err := d.Update(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, steps[i]); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO migrations (component, step, applied_ms) VALUES (?, ?, ?)`,
				component, i+1, time.Now().UnixMilli())
			return err
		})
		if err != nil {
			return ran, fmt.Errorf("database %s: migration %d of %s: %w", d.path, i+1, component, err)
		}
		ran++
	}
	return ran, nil
}

// Update runs fn in a write transaction; it is durable when Update returns nil,
// and nothing of it is there when it returns an error. One runs at a time: fn
// must not call Update again, nor wait for anything slow.
func (d *DB) Update(ctx context.Context, fn func(*sql.Tx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// View is for reads; they see what was committed when they began.
func (d *DB) View() *sql.DB { return d.read }

// Writer is the connection that Update uses, for preparing statements that run
// inside Update by tx.Stmt.
func (d *DB) Writer() *sql.DB { return d.write }

// Checkpoint moves what the write-ahead log holds into the file, as far as no
// reader needs it. For databases opened with ManualCheckpoint.
func (d *DB) Checkpoint(ctx context.Context) error {
	// PASSIVE never waits for readers and never blocks a commit for long.
	_, err := d.read.ExecContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`)
	return err
}

// Scrub returns when nothing that Update has deleted or changed is in the file or
// beside it any more, for databases opened with Secrets. It moves the whole
// write-ahead log into the file and empties it, and waits for readers for some
// seconds; it goes on when ctx ends.
func (d *DB) Scrub(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	// A log that the power cut shortens half-way must not be a beginning of the old
	// one, which would undo what came after it. So it is begun anew before it is
	// emptied: by a commit, which changes nothing.
	err := d.emptyLog(ctx, "RESTART")
	if err == nil {
		_, err = d.write.ExecContext(ctx, `PRAGMA user_version = 0`)
	}
	if err == nil {
		err = d.emptyLog(ctx, "TRUNCATE")
	}
	if err != nil {
		return fmt.Errorf("database %s: %w", d.path, err)
	}
	return nil
}

// emptyLog moves the whole log into the file.
func (d *DB) emptyLog(ctx context.Context, mode string) error {
	var busy, frames, moved int
	err := d.write.QueryRowContext(ctx, `PRAGMA wal_checkpoint(`+mode+`)`).Scan(&busy, &frames, &moved)
	if err == nil && busy != 0 {
		err = errors.New("a reader keeps what was deleted")
	}
	return err
}

// Close lets go of the file. It may be called twice.
func (d *DB) Close() error {
	var err error
	if d.read != d.write {
		err = d.read.Close()
	}
	return errors.Join(err, d.write.Close())
}

// IsDamaged reports whether err says that the file is not what was written. Which
// pages it is, Damaged tells.
func IsDamaged(err error) bool {
	return errors.Is(err, sqlite3.IOERR_DATA) || errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB)
}

// IsFull reports whether err says that the disk has no room.
func IsFull(err error) bool { return errors.Is(err, sqlite3.FULL) }

// IsUnique reports whether err says that a unique or primary key stands already.
func IsUnique(err error) bool {
	return errors.Is(err, sqlite3.CONSTRAINT_UNIQUE) || errors.Is(err, sqlite3.CONSTRAINT_PRIMARYKEY)
}
