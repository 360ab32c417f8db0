package fsys

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openUncached opens with O_DIRECT and falls back to the page cache on file
// systems that refuse it (some network and overlay ones).
func (o OS) openUncached(name string, flags int) (File, error) {
	if !o.Buffered {
		f, err := os.OpenFile(name, flags|unix.O_DIRECT, 0o600)
		if err == nil {
			return &osFile{f: f}, nil
		}
		if !errors.Is(err, syscall.EINVAL) {
			return nil, err
		}
		// Some file systems make the file before they refuse the flag.
		flags &^= os.O_EXCL
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

// WriteAt writes; when a file system took O_DIRECT but refuses this write (its
// blocks are larger than BlockSize), the file is buffered from here on.
func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	if n > 0 || !errors.Is(err, syscall.EINVAL) {
		return n, err
	}
	fd := int(f.f.Fd())
	flags, ferr := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if ferr != nil || flags&unix.O_DIRECT == 0 {
		return n, err
	}
	if _, ferr = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&^unix.O_DIRECT); ferr != nil {
		return n, err
	}
	return f.f.WriteAt(p, off)
}

func (f *osFile) Sync() error {
	for {
		// fdatasync: it writes the length when that changed, and spares the times.
		if err := unix.Fdatasync(int(f.f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func (f *osFile) SyncFS() error {
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.f.Fd())))
}

func syncDir(d *os.File) error { return d.Sync() }

func (OS) Space(name string) (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(name, &s); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: name, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}

// MaxOpen is about how many files the process may have open, sockets included.
func MaxOpen() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return defaultOpen
	}
	return int(min(r.Cur, 1<<20))
}
