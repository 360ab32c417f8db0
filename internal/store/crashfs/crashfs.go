// Package crashfs is a file system in memory that can lose power, for tests. What
// was synced survives a cut; of what was not, a random part does: blocks of 4096
// bytes appear whole, torn between sectors of 512 bytes, or not at all and in any
// order, lengths lie anywhere between the old and the new, and names that were
// made, changed or removed without a sync of their directory may or may not be.
// It can also fail a chosen operation, the way a disk does: after a failed sync
// the bytes in question are gone from the cache's list of work, so that a later
// sync succeeds without writing them.
//
// It serves the store's files (fsys.FS) and, as a SQLite VFS, the index.
//
// The fault model is that of docs/durability.md; what is not in it: a disk that
// says "synced" and lies, and bytes that change while at rest (tests flip those
// with Flip).
package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// ErrPower is what every operation gives when the power is gone.
var ErrPower = errors.New("crashfs: the power is gone")

const (
	blockSize  = 4096
	sectorSize = 512
)

// Op is one operation that changes something, as Fail sees it.
type Op struct {
	Kind string // "write", "truncate", "sync", "syncdir", "syncfs", "create", "mkdir", "remove", "rename"
	Name string
	N    int // counts the operations of the file system from 1
}

// FS is the file system. Its methods may be called side by side.
type FS struct {
	mu      sync.Mutex
	names   map[string]*node // as programs see them
	durable map[string]*node // as they are after a power cut at best
	pending []nameOp         // since the last sync of their directories
	ops     int
	cutAt   int // the power goes before this operation; 0: never
	dead    bool
	fail    func(Op) error
	rnd     *rand.Rand // what a failed sync leaves
	free    int64
	total   int64
}

// nameOp is a change of names that is not durable yet: one node appears under
// name (nil: it is removed), and from, when not "", stops being there with it.
type nameOp struct {
	dir, name, from string
	node            *node
}

// node is a file or a directory.
type node struct {
	dir   bool
	now   content
	disk  content
	dirty map[int64]bool // blocks written since the last sync
	cut   bool           // and it was made shorter
}

type content struct {
	blocks map[int64][]byte // whole blocks, never changed in place; a missing one is zeros
	size   int64
}

func newNode(dir bool) *node {
	return &node{dir: dir, now: content{blocks: map[int64][]byte{}}, disk: content{blocks: map[int64][]byte{}}, dirty: map[int64]bool{}}
}

// New makes an empty file system with the directory "/", and plenty of room.
func New() *FS {
	root := newNode(true)
	return &FS{
		names: map[string]*node{"/": root}, durable: map[string]*node{"/": root},
		rnd: rand.New(rand.NewPCG(1, 1)), free: 1 << 40, total: 2 << 40,
	}
}

var _ fsys.FS = (*FS)(nil)

// CutAt has the power go before the n-th operation from now, 1 being the next.
func (f *FS) CutAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt = f.ops + n
}

// Cut has the power go now.
func (f *FS) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// Dead reports whether the power is gone.
func (f *FS) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// Ops is how many operations there were.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Fail has each operation ask fn first; an error is the operation's. nil: none.
func (f *FS) Fail(fn func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fn
}

// SetSpace sets what Space says.
func (f *FS) SetSpace(free, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free, f.total = free, total
}

// Flip changes one bit of a file, now and on the disk, behind everybody's back.
func (f *FS) Flip(name string, bit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[filepath.Clean(name)]
	i := bit / 8 / blockSize
	for _, c := range []*content{&n.now, &n.disk} {
		b := c.block(i)
		b[bit/8%blockSize] ^= 1 << (bit % 8)
		c.blocks[i] = b
	}
}

// Files are the names of all files below dir, sorted.
func (f *FS) Files(dir string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for name, n := range f.names {
		if !n.dir && strings.HasPrefix(name, filepath.Clean(dir)+"/") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// PowerCut ends this file system and gives what is there when the power is back.
func (f *FS) PowerCut(seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	r := rand.New(rand.NewPCG(seed, 77))
	// How much of what was not synced survives differs from cut to cut.
	odds := []float64{0, 0.1, 0.5, 0.9, 1}[r.IntN(5)]
	survives := func() bool { return r.Float64() < odds }

	names := make(map[string]*node, len(f.durable))
	for k, n := range f.durable {
		names[k] = n
	}
	for _, op := range f.pending {
		if survives() {
			op.apply(names)
		}
	}
	g := New()
	g.free, g.total = f.free, f.total
	g.rnd = r
	copies := map[*node]*node{}
	for _, name := range slices.Sorted(mapKeys(names)) {
		if !reachable(names, name) {
			continue
		}
		n := names[name]
		if copies[n] == nil {
			copies[n] = n.survive(r, survives)
		}
		g.names[name], g.durable[name] = copies[n], copies[n]
	}
	return g
}

func mapKeys(m map[string]*node) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// reachable reports whether all directories above name are there.
func reachable(names map[string]*node, name string) bool {
	for name != "/" {
		name = filepath.Dir(name)
		if n := names[name]; n == nil || !n.dir {
			return false
		}
	}
	return true
}

func (op nameOp) apply(names map[string]*node) {
	if op.from != "" {
		delete(names, op.from)
	}
	if op.node == nil {
		delete(names, op.name)
	} else {
		names[op.name] = op.node
	}
}

// survive makes what is left of a file.
func (n *node) survive(r *rand.Rand, survives func() bool) *node {
	m := newNode(n.dir)
	size := n.disk.size
	if n.now.size != size && survives() {
		// Anywhere between the two lengths.
		lo, hi := min(size, n.now.size), max(size, n.now.size)
		switch r.IntN(3) {
		case 0:
			size = n.now.size
		case 1:
			size = lo + (hi-lo)*r.Int64N(1001)/1000
		case 2:
			size = min(hi, (lo+(hi-lo)*r.Int64N(1001)/1000+blockSize-1)/blockSize*blockSize)
		}
	}
	for i, b := range n.disk.blocks {
		m.now.blocks[i] = b
	}
	for i := range n.dirty {
		if !survives() {
			continue
		}
		b := n.now.block(i)
		if r.IntN(4) == 0 { // torn
			old := n.disk.block(i)
			for s := 0; s < blockSize; s += sectorSize {
				if r.IntN(2) == 0 {
					copy(b[s:s+sectorSize], old[s:s+sectorSize])
				}
			}
		}
		m.now.blocks[i] = b
	}
	m.now.resize(size)
	m.disk = m.now.clone()
	return m
}

// block is a copy of block i.
func (c *content) block(i int64) []byte {
	b := make([]byte, blockSize)
	copy(b, c.blocks[i])
	return b
}

func (c *content) clone() content {
	d := content{blocks: make(map[int64][]byte, len(c.blocks)), size: c.size}
	for i, b := range c.blocks {
		d.blocks[i] = b
	}
	return d
}

// resize cuts or extends with zeros.
func (c *content) resize(size int64) {
	c.size = size
	for i := range c.blocks {
		switch start := i * blockSize; {
		case start >= size:
			delete(c.blocks, i)
		case start+blockSize > size:
			b := c.block(i)
			clear(b[size-start:])
			c.blocks[i] = b
		}
	}
}

func (c *content) readAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) && off+int64(done) < c.size {
		at := off + int64(done)
		n := int(min(int64(len(p)-done), blockSize-at%blockSize, c.size-at))
		if b := c.blocks[at/blockSize]; b != nil {
			copy(p[done:done+n], b[at%blockSize:])
		} else {
			clear(p[done : done+n])
		}
		done += n
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// begin counts an operation and says whether it may happen; f.mu is held.
func (f *FS) begin(kind, name string) error {
	if f.dead {
		return ErrPower
	}
	f.ops++
	if f.cutAt != 0 && f.ops >= f.cutAt {
		f.dead = true
		return ErrPower
	}
	if f.fail != nil {
		return f.fail(Op{Kind: kind, Name: name, N: f.ops})
	}
	return nil
}

func perr(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// change makes names different, not durably yet; f.mu is held.
func (f *FS) change(op nameOp) {
	op.apply(f.names)
	f.pending = append(f.pending, op)
}

func (f *FS) parent(name string) error {
	if n := f.names[filepath.Dir(name)]; n == nil || !n.dir {
		return fs.ErrNotExist
	}
	return nil
}

// Mkdir makes a directory.
func (f *FS) Mkdir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = filepath.Clean(name)
	if f.names[name] != nil && !f.dead {
		return perr("mkdir", name, fs.ErrExist)
	}
	if err := errors.Join(f.begin("mkdir", name), f.parent(name)); err != nil {
		return perr("mkdir", name, err)
	}
	f.change(nameOp{dir: filepath.Dir(name), name: name, node: newNode(true)})
	return nil
}

// Create makes a file that takes whole blocks only.
func (f *FS) Create(name string) (fsys.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = filepath.Clean(name)
	if f.names[name] != nil {
		return nil, perr("create", name, fs.ErrExist)
	}
	n, err := f.create(name)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, node: n, name: name, direct: true}, nil
}

func (f *FS) create(name string) (*node, error) {
	if err := errors.Join(f.begin("create", name), f.parent(name)); err != nil {
		return nil, perr("create", name, err)
	}
	n := newNode(false)
	f.change(nameOp{dir: filepath.Dir(name), name: name, node: n})
	return n, nil
}

func (f *FS) open(name string, direct bool) (*file, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = filepath.Clean(name)
	if f.dead {
		return nil, perr("open", name, ErrPower)
	}
	n := f.names[name]
	if n == nil {
		return nil, perr("open", name, fs.ErrNotExist)
	}
	return &file{fs: f, node: n, name: name, direct: direct}, nil
}

// Append opens a file that takes whole blocks only.
func (f *FS) Append(name string) (fsys.File, error) { return f.wrap(f.open(name, true)) }

// Open opens a file or directory.
func (f *FS) Open(name string) (fsys.File, error) { return f.wrap(f.open(name, false)) }

func (f *FS) wrap(file *file, err error) (fsys.File, error) {
	if err != nil {
		return nil, err
	}
	return file, nil
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = filepath.Clean(name)
	if f.dead {
		return perr("remove", name, ErrPower)
	}
	n := f.names[name]
	if n == nil {
		return perr("remove", name, fs.ErrNotExist)
	}
	if n.dir {
		for other := range f.names {
			if strings.HasPrefix(other, name+"/") {
				return perr("remove", name, errors.New("directory not empty"))
			}
		}
	}
	if err := f.begin("remove", name); err != nil {
		return perr("remove", name, err)
	}
	f.change(nameOp{dir: filepath.Dir(name), name: name})
	return nil
}

// Rename renames a file, which replaces one that is there.
func (f *FS) Rename(oldName, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldName, name = filepath.Clean(oldName), filepath.Clean(name)
	n := f.names[oldName]
	if n == nil {
		return perr("rename", oldName, fs.ErrNotExist)
	}
	if err := errors.Join(f.begin("rename", name), f.parent(name)); err != nil {
		return perr("rename", name, err)
	}
	f.change(nameOp{dir: filepath.Dir(name), name: name, from: oldName, node: n})
	return nil
}

// SyncDir makes the names in a directory durable.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = filepath.Clean(name)
	if err := f.begin("syncdir", name); err != nil {
		return perr("sync", name, err)
	}
	if n := f.names[name]; n == nil || !n.dir {
		return perr("sync", name, fs.ErrNotExist)
	}
	f.pending = slices.DeleteFunc(f.pending, func(op nameOp) bool {
		if op.dir == name {
			op.apply(f.durable)
		}
		return op.dir == name
	})
	return nil
}

// Space is what SetSpace set.
func (f *FS) Space(string) (free, total int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.free, f.total, nil
}

// ReadDir lists a directory, sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = filepath.Clean(name)
	if n := f.names[name]; n == nil || !n.dir {
		return nil, perr("readdir", name, fs.ErrNotExist)
	}
	var out []fs.DirEntry
	for path, n := range f.names {
		if path != "/" && filepath.Dir(path) == name {
			out = append(out, info{name: filepath.Base(path), dir: n.dir, size: n.now.size})
		}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// Stat describes a file or directory.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = filepath.Clean(name)
	n := f.names[name]
	if n == nil {
		return nil, perr("stat", name, fs.ErrNotExist)
	}
	return info{name: filepath.Base(name), dir: n.dir, size: n.now.size}, nil
}

type info struct {
	name string
	dir  bool
	size int64
}

func (i info) Name() string               { return i.name }
func (i info) Size() int64                { return i.size }
func (i info) IsDir() bool                { return i.dir }
func (i info) ModTime() time.Time         { return time.Time{} }
func (i info) Sys() any                   { return nil }
func (i info) Type() fs.FileMode          { return i.Mode().Type() }
func (i info) Info() (fs.FileInfo, error) { return i, nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
