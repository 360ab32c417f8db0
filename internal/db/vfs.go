package db

import (
	"sync"

	"github.com/ncruces/go-sqlite3/vfs"
)

// unmapped gives the name of the machine's file system without memory-mapped
// database files: pages with checksums are not mapped, and the library must know
// that when it opens the file, before it has read that there are checksums.
var unmapped = sync.OnceValue(func() string {
	const name = "sluice"
	system, ok := vfs.Find("").(vfs.VFSFilename)
	if !ok {
		return ""
	}
	vfs.Register(name, unmappedFS{system})
	return name
})

type unmappedFS struct{ vfs.VFSFilename }

func (u unmappedFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := u.VFSFilename.Open(name, flags)
	return unmap(f, flags, err)
}

func (u unmappedFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := u.VFSFilename.OpenFilename(name, flags)
	return unmap(f, flags, err)
}

func unmap(f vfs.File, flags vfs.OpenFlag, err error) (vfs.File, vfs.OpenFlag, error) {
	if shared, ok := f.(vfs.FileSharedMemory); ok && err == nil && flags&vfs.OPEN_MAIN_DB != 0 {
		return unmappedFile{shared}, flags, nil
	}
	return f, flags, err
}

// unmappedFile hides that the file can be mapped.
type unmappedFile struct{ vfs.FileSharedMemory }
