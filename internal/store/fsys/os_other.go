//go:build !linux

package fsys

import (
	"os"
	"runtime"
)

func (o OS) openUncached(name string, flags int) (File, error) {
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }

// Sync asks the drive to empty its cache too where the system tells the two
// apart (macOS: F_FULLFSYNC, which os.File.Sync uses).
func (f *osFile) Sync() error { return f.f.Sync() }

func (f *osFile) SyncFS() error { return ErrUnsupported }

func syncDir(d *os.File) error {
	if runtime.GOOS == "windows" {
		return nil // directories can't be synced there; NTFS journals names
	}
	return d.Sync()
}

// Space is unknown here: the mark below which appends are refused is then off.
func (OS) Space(string) (free, total int64, err error) { return 0, 0, ErrUnsupported }

// MaxOpen is about how many files the process may have open, sockets included.
func MaxOpen() int { return defaultOpen }
