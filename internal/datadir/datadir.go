// Package datadir takes hold of the server's data directory: it makes it,
// readable by its owner only, and keeps a second process from using it. What
// lies inside is the business of the packages that put it there; the names of
// the common files are here, so that server and tools agree, and the directory's
// format: an older one is brought up to date, a newer one refused.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The files of a data directory.
const (
	LockFile    = "sluice.lock" // held while a process uses the directory; holds its process id
	CatalogFile = "catalog.db"  // streams, keys, users: cannot be made again
	IndexFile   = "index.db"    // rows of fragments: can be rebuilt from media
	MediaDir    = "media"       // the fragments
	TLSDir      = "tls"         // CA and certificate of --tls-self-signed
)

// ErrInUse is in the chain of Open's error when another process has the
// directory.
var ErrInUse = errors.New("data directory is in use")

// Dir is a data directory that is this process's until Close.
type Dir struct {
	Path string
	Note string // not "": what was done to a directory of an older format
	lock *os.File
}

// Open makes the directory if it is not there and locks it. The lock ends with
// the process, however it ends.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return Lock(path)
}

// Lock is Open of a directory that must exist.
func Lock(path string) (*Dir, error) {
	name := filepath.Join(path, LockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := lock(f); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("data directory: lock %s: %w", name, err)
		}
		by := "another process"
		if pid, err := strconv.Atoi(strings.TrimSpace(string(holder))); err == nil {
			by = "process " + strconv.Itoa(pid)
		}
		return nil, fmt.Errorf("%w: %s belongs to %s; stop that one, or use another directory (--data)", ErrInUse, path, by)
	}
	// The id is for the message above only, so a failure here is not one.
	if f.Truncate(0) == nil {
		f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	note, err := migrate(path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Dir{Path: path, Note: note, lock: f}, nil
}

// File is the path of a file in the directory.
func (d *Dir) File(name string) string { return filepath.Join(d.Path, name) }

// Close lets the directory go. It may be called twice.
func (d *Dir) Close() error {
	if d == nil || d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}
