package crashfs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// Mount makes the file system known to SQLite under that name, in place of the
// one before. A database on it must be opened with an exclusive lock: there is
// no shared memory.
func (f *FS) Mount(name string) { vfs.Register(name, sqliteFS{f}) }

type sqliteFS struct{ fs *FS }

func (s sqliteFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f := s.fs
	if name == "" {
		return nil, flags, sqlite3.CANTOPEN // temporary files stay in memory
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, flags, sqlite3.CANTOPEN
	}
	name = filepath.Clean(name)
	n := f.names[name]
	fresh := n == nil
	if fresh {
		if flags&vfs.OPEN_CREATE == 0 {
			return nil, flags, sqlite3.CANTOPEN
		}
		var err error
		if n, err = f.create(name); err != nil {
			return nil, flags, code(err, sqlite3.CANTOPEN)
		}
	}
	// As SQLite's own layer does on Unix: the first sync of a journal syncs the
	// directory too.
	journal := flags&(vfs.OPEN_MAIN_JOURNAL|vfs.OPEN_SUPER_JOURNAL|vfs.OPEN_WAL) != 0
	return &sqliteFile{file: file{fs: f, node: n, name: name}, syncDir: journal && flags&vfs.OPEN_CREATE != 0}, flags, nil
}

func (s sqliteFS) Delete(name string, syncDir bool) error {
	if err := s.fs.Remove(name); errors.Is(err, fs.ErrNotExist) {
		return sqlite3.IOERR_DELETE_NOENT
	} else if err != nil {
		return sqlite3.IOERR_DELETE
	}
	if syncDir && s.fs.SyncDir(filepath.Dir(name)) != nil {
		return sqlite3.IOERR_DIR_FSYNC
	}
	return nil
}

func (s sqliteFS) Access(name string, _ vfs.AccessFlag) (bool, error) {
	_, err := s.fs.Stat(name)
	return err == nil, nil
}

func (s sqliteFS) FullPathname(name string) (string, error) { return filepath.Abs(name) }

type sqliteFile struct {
	file
	syncDir bool
	lock    vfs.LockLevel
}

// code is what SQLite is told of a failure.
func code(err, otherwise error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return sqlite3.FULL
	}
	return otherwise
}

func (f *sqliteFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.file.WriteAt(p, off)
	if err != nil {
		err = code(err, sqlite3.IOERR_WRITE)
	}
	return n, err
}

func (f *sqliteFile) Truncate(size int64) error {
	if err := f.file.Truncate(size); err != nil {
		return sqlite3.IOERR_TRUNCATE
	}
	return nil
}

func (f *sqliteFile) Sync(vfs.SyncFlag) error {
	if err := f.file.Sync(); err != nil {
		return code(err, sqlite3.IOERR_FSYNC)
	}
	if f.syncDir {
		f.syncDir = false
		if err := f.fs.SyncDir(filepath.Dir(f.name)); err != nil {
			return sqlite3.IOERR_DIR_FSYNC
		}
	}
	return nil
}

func (f *sqliteFile) Lock(l vfs.LockLevel) error {
	f.lock = l
	return nil
}

func (f *sqliteFile) Unlock(l vfs.LockLevel) error {
	f.lock = l
	return nil
}

func (f *sqliteFile) CheckReservedLock() (bool, error) { return f.lock >= vfs.LOCK_RESERVED, nil }
func (f *sqliteFile) SectorSize() int                  { return blockSize }

// DeviceCharacteristics promises what SQLite assumes of every disk by default:
// bytes outside of a write are not harmed by it.
func (f *sqliteFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_POWERSAFE_OVERWRITE
}
