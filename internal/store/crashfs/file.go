package crashfs

import (
	"errors"
	"fmt"

	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// file is an open file.
type file struct {
	fs     *FS
	node   *node
	name   string
	direct bool // whole blocks only
}

var _ fsys.File = (*file)(nil)

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.dead {
		return 0, perr("read", f.name, ErrPower)
	}
	return f.node.now.readAt(p, off)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.direct && (off%blockSize != 0 || len(p)%blockSize != 0) {
		return 0, perr("write", f.name, fmt.Errorf("%d bytes at %d are no whole blocks", len(p), off))
	}
	if err := f.fs.begin("write", f.name); err != nil {
		return 0, perr("write", f.name, err)
	}
	n := f.node
	n.now.size = max(n.now.size, off+int64(len(p)))
	for done := 0; done < len(p); {
		at := off + int64(done)
		b := n.now.block(at / blockSize)
		done += copy(b[at%blockSize:], p[done:])
		n.now.blocks[at/blockSize] = b
		n.dirty[at/blockSize] = true
	}
	return len(p), nil
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.begin("truncate", f.name); err != nil {
		return perr("truncate", f.name, err)
	}
	if size < f.node.now.size {
		f.node.cut = true
	}
	f.node.now.resize(size)
	return nil
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.begin("sync", f.name)
	if err == nil {
		f.node.sync()
		return nil
	}
	if !errors.Is(err, ErrPower) {
		f.node.lose(f.fs)
	}
	return perr("sync", f.name, err)
}

func (n *node) sync() {
	if n.cut {
		n.disk, n.cut = n.now.clone(), false
	} else {
		for i := range n.dirty {
			n.disk.blocks[i] = n.now.blocks[i]
		}
		n.disk.size = n.now.size
	}
	clear(n.dirty)
}

// lose is what a failed sync does: some blocks reached the disk, the others are
// taken for written, and no later sync tries them again.
func (n *node) lose(f *FS) {
	for i := range n.dirty {
		if f.rnd.IntN(2) == 0 {
			n.disk.blocks[i] = n.now.block(i)
		}
	}
	clear(n.dirty)
}

// SyncFS makes everything durable, names too.
func (f *file) SyncFS() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.begin("syncfs", f.name)
	for _, n := range f.fs.names {
		switch {
		case err == nil:
			n.sync()
		case !errors.Is(err, ErrPower):
			n.lose(f.fs)
		}
	}
	if err != nil {
		return perr("syncfs", f.name, err)
	}
	for _, op := range f.fs.pending {
		op.apply(f.fs.durable)
	}
	f.fs.pending = nil
	return nil
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.now.size, nil
}

func (f *file) Close() error { return nil }
