// Package disk is the volume of files: where the store's records lie on a local
// file system.
//
// A file belongs to one stream and lies in the stream's directory, which is
// named by the stream's random id. A stream has one file that grows at a time;
// it is left for the next when it is large or old enough, when a write or a sync
// of it failed (nobody knows then what is in it), and when the process ends. A
// file that was left is never written again.
//
// Writes are uncached and whole blocks, so that media on its way to the disk
// does not push anything out of memory and a sync has little left to do. Up to
// Options.SideBySide files of a batch are synced side by side; for more, one
// sync of the whole file system is faster.
//
// The volume has no index and decides nothing about it: which files exist, and
// which bytes of them mean something, is the index's word alone.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// Options of Open. Dir is all that is needed.
type Options struct {
	Dir string  // made when it is not there; its parent must be
	FS  fsys.FS // nil: the machine's, uncached

	MaxFile    int64 // a file is left at this size; 0: 64 MiB
	SideBySide int   // more files in a batch than this are synced by one SyncFS; 0: 16, below 0: never SyncFS
	Handles    int   // files kept open for reading, and as many for writing; 0: 4096, or a quarter of what the process may have open
	Writers    int   // files of a batch written at the same time; 0: 16
	Logger     *slog.Logger
	Now        func() time.Time
}

// FileID names one file. Numbers are given out by the index and never again.
type FileID struct {
	Stream sluice.StreamID
	Number uint64
}

// Volume is the files under one directory. Commit is called by one goroutine at
// a time, the rest by any.
type Volume struct {
	o    Options
	root fsys.File // open since the start: SyncFS reports failures since then

	mu      sync.Mutex
	made    map[sluice.StreamID]bool // directories known to be there and durable
	noSync  bool                     // SyncFS is not supported
	reading *handles
	writing *handles
}

// Open takes hold of the directory.
func Open(o Options) (*Volume, error) {
	if o.FS == nil {
		o.FS = fsys.OS{}
	}
	if o.MaxFile == 0 {
		o.MaxFile = 64 << 20
	}
	if o.SideBySide == 0 {
		o.SideBySide = 16
	}
	if o.Handles == 0 {
		o.Handles = min(4096, max(fsys.MaxOpen()/4, 64))
	}
	if o.Writers == 0 {
		o.Writers = 16
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := o.FS.Mkdir(o.Dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("media directory: %w", err)
	}
	// Also when it was there: whoever made it may have crashed before this.
	if err := o.FS.SyncDir(filepath.Dir(o.Dir)); err != nil {
		return nil, fmt.Errorf("media directory: %w", err)
	}
	root, err := o.FS.Open(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("media directory: %w", err)
	}
	v := &Volume{o: o, root: root, made: make(map[sluice.StreamID]bool), noSync: o.SideBySide < 0}
	v.reading = newHandles(o.Handles, func(id FileID) (fsys.File, error) { return o.FS.Open(v.path(id)) })
	v.writing = newHandles(o.Handles, func(id FileID) (fsys.File, error) { return o.FS.Append(v.path(id)) })
	return v, nil
}

// Close lets go of all files. Reads that go on keep theirs until they end.
func (v *Volume) Close() error {
	return errors.Join(v.writing.close(), v.reading.close(), v.root.Close())
}

// Dir is the stream's directory.
func (v *Volume) Dir(id sluice.StreamID) string { return filepath.Join(v.o.Dir, string(id)) }

func (v *Volume) path(id FileID) string { return filepath.Join(v.Dir(id.Stream), FileName(id.Number)) }

// Path is where the file lies, for messages.
func (v *Volume) Path(id FileID) string { return v.path(id) }

const suffix = ".rec"

// FileName is the name of a file in its stream's directory: 16 hex digits, so
// that names sort as numbers do.
func FileName(n uint64) string { return fmt.Sprintf("%016x%s", n, suffix) }

// ParseFileName is FileName's way back; ok is false for any other name.
func ParseFileName(name string) (n uint64, ok bool) {
	if len(name) != 16+len(suffix) || name[16:] != suffix {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)
	return n, err == nil && FileName(n) == name
}

// Space is what the file system has left, and has in all, in bytes.
func (v *Volume) Space() (free, total int64, err error) { return v.o.FS.Space(v.o.Dir) }

// File is a file that records are added to.
type File struct {
	ID FileID
	// What was put into it, whether or not its writes have succeeded yet.
	End       int64 // where the next record begins; also the file's size
	Fragments int
	started   time.Time // when the first was put into it
	fresh     bool      // its name is not durable yet
	failed    bool      // a write or sync failed: it takes no more
}

// Failed reports whether the file takes no more because a write or a sync of it
// failed.
func (f *File) Failed() bool { return f.failed }

// Full reports whether the file should be left, at that size or age.
func (v *Volume) Full(f *File, maxAge time.Duration) bool {
	return f.failed || f.End >= v.o.MaxFile || maxAge > 0 && f.Fragments > 0 && v.o.Now().Sub(f.started) >= maxAge
}

// NearlyFull reports whether it is time to make the file that follows.
func (v *Volume) NearlyFull(f *File) bool { return f.End >= v.o.MaxFile/2 }

// Create makes the file and, first, its stream's directory. Its header is
// written; nothing is durable before Ready or a Commit that writes to it.
func (v *Volume) Create(id FileID) (*File, error) {
	if !segment.ValidStream(id.Stream) {
		return nil, fmt.Errorf("file %d: stream id %q is no id", id.Number, id.Stream)
	}
	f := &File{ID: id, End: segment.BlockSize, fresh: true}
	block, err := segment.FileHeader{Stream: id.Stream, File: id.Number, Created: v.o.Now()}.AppendBlock(fsys.Aligned(segment.BlockSize)[:0])
	if err != nil {
		return nil, err
	}
	if err := v.o.FS.Mkdir(v.Dir(id.Stream)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	file, err := v.o.FS.Create(v.path(id))
	if err != nil {
		return nil, err
	}
	if _, err := file.WriteAt(block, 0); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", v.path(id), err)
	}
	v.writing.put(id, file)
	return f, nil
}

// Ready makes a new file durable: its header, its name, its directory's name.
func (v *Volume) Ready(f *File) error {
	h, err := v.writing.get(f.ID)
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.file.Sync(); err != nil {
		f.failed = true
		return fmt.Errorf("%s: %w", v.path(f.ID), err)
	}
	return v.syncNames(f)
}

// syncNames makes the names on the way to a new file durable.
func (v *Volume) syncNames(f *File) error {
	if !f.fresh {
		return nil
	}
	v.mu.Lock()
	made := v.made[f.ID.Stream]
	v.mu.Unlock()
	if !made {
		if err := v.o.FS.SyncDir(v.o.Dir); err != nil {
			return fmt.Errorf("%s: %w", v.o.Dir, err)
		}
	}
	if err := v.o.FS.SyncDir(v.Dir(f.ID.Stream)); err != nil {
		return fmt.Errorf("%s: %w", v.Dir(f.ID.Stream), err)
	}
	v.named(f)
	return nil
}

func (v *Volume) named(f *File) {
	f.fresh = false
	v.mu.Lock()
	v.made[f.ID.Stream] = true
	v.mu.Unlock()
}

// Leave says that the file takes no more, so that its handle can be closed.
func (v *Volume) Leave(f *File) { v.writing.drop(f.ID) }

// Delete removes the file, durably; it is no error when it is gone already.
// Reads that have it open go on.
func (v *Volume) Delete(id FileID) error {
	v.writing.drop(id)
	v.reading.drop(id)
	if err := v.o.FS.Remove(v.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Otherwise a power cut could bring a file back that the index forgot.
	if err := v.o.FS.SyncDir(v.Dir(id.Stream)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", v.Dir(id.Stream), err)
	}
	return nil
}

// DeleteDir removes a stream's empty directory, durably. A directory that still
// has something in it stays: that is not ours.
func (v *Volume) DeleteDir(id sluice.StreamID) error {
	v.mu.Lock()
	delete(v.made, id)
	v.mu.Unlock()
	if names, err := v.o.FS.ReadDir(v.Dir(id)); err == nil && len(names) > 0 {
		v.o.Logger.Warn("a deleted stream's directory holds a file that is not ours and stays", "dir", v.Dir(id), "file", names[0].Name())
		return nil
	}
	if err := v.o.FS.Remove(v.Dir(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := v.o.FS.SyncDir(v.o.Dir); err != nil {
		return fmt.Errorf("%s: %w", v.o.Dir, err)
	}
	return nil
}
