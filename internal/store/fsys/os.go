package fsys

import (
	"io/fs"
	"os"
)

// OS is the machine's file system. Its zero value writes uncached where the
// file system allows it, and through the page cache elsewhere.
type OS struct {
	Buffered bool // write through the page cache everywhere
}

var _ FS = OS{}

func (OS) Mkdir(name string) error                    { return os.Mkdir(name, 0o700) }
func (OS) Remove(name string) error                   { return os.Remove(name) }
func (OS) Rename(oldName, name string) error          { return os.Rename(oldName, name) }
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (OS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }

func (o OS) Create(name string) (File, error) {
	return o.openUncached(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
}

func (o OS) Append(name string) (File, error) {
	return o.openUncached(name, os.O_WRONLY)
}

func (OS) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return syncDir(d)
}

// defaultOpen is how many open files are assumed where that is not known.
const defaultOpen = 2048

type osFile struct {
	f *os.File
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }
func (f *osFile) Close() error                            { return f.f.Close() }

func (f *osFile) Size() (int64, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}
