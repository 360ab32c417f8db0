// Package fsys is the few file operations that durable media needs, as an
// interface, and the machine's own file system behind it. Tests put a file
// system that can lose power in its place (package crashfs).
//
// It knows nothing of records: it says which operation makes what durable.
package fsys

import (
	"errors"
	"io"
	"io/fs"
	"unsafe"
)

// BlockSize is what a file open for uncached writing wants offsets, lengths and
// buffers to be multiples of.
const BlockSize = 4096

// ErrUnsupported says that the machine can't do an operation at all.
var ErrUnsupported = errors.New("not supported by this system")

// FS is a file system. Names are paths as the machine spells them. Nothing is
// durable until a sync says so: a file's bytes by File.Sync, its name (a new
// one, a changed one, one that is gone) by SyncDir of the directory.
type FS interface {
	Mkdir(name string) error           // one level; fs.ErrExist when it is there
	Create(name string) (File, error)  // a new file for uncached writing; fs.ErrExist when it is there
	Append(name string) (File, error)  // an existing file for uncached writing
	Open(name string) (File, error)    // a file for reading, or a directory for SyncFS
	Remove(name string) error          // a file or an empty directory
	Rename(oldName, name string) error // replaces
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	SyncDir(name string) error
	Space(name string) (free, total int64, err error) // bytes, of the file system that holds name
}

// File is an open file. Its methods may be called side by side.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the bytes and the length durable. After it has failed nobody
	// knows what is on the disk: a later success says nothing of earlier bytes.
	Sync() error
	// SyncFS does for the whole file system what Sync does for a file and
	// SyncDir for a directory, or gives ErrUnsupported. It reports failures since
	// the file was opened, whoever's bytes they met.
	SyncFS() error
	Size() (int64, error)
}

// Aligned is new memory that begins at a block's border, as uncached writes want.
func Aligned(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (BlockSize - 1))
	return b[skip : skip+n : skip+n]
}
