package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// errNoSpace is what a file system says when it is full.
const errNoSpace = syscall.ENOSPC

// ErrOldIndex says that index.db is older than the media beside it, as after
// copying an old one back: it does not know all files, and would take unknown
// ones for unused. `sluice reindex` makes a new one.
var ErrOldIndex = errors.New("index.db is older than the media files; run: sluice reindex")

const (
	generationFile = "generation"
	generationKey  = "generation"
	generationText = "sluice media generation %d\n"
)

// generation counts the openings in both the index and the media directory, the
// index first, so that an index from before is noticed.
func (s *Store) generation(ctx context.Context) error {
	inIndex, err := s.index.Meta(ctx, generationKey)
	if err != nil {
		return err
	}
	inDir, err := readGeneration(s.o.FS, s.o.Dir)
	if err != nil {
		return err
	}
	switch {
	case inIndex < inDir:
		return fmt.Errorf("%s: the index is of opening %d, the media of %d: %w", s.o.Dir, inIndex, inDir, ErrOldIndex)
	case inIndex > inDir+1:
		s.o.Logger.Warn("the media directory is older than the index: fragments may be missing, see sluice fsck", "dir", s.o.Dir, "index", inIndex, "media", inDir)
	}
	next := max(inIndex, inDir) + 1
	if err := s.index.SetMeta(ctx, generationKey, next); err != nil {
		return err
	}
	return writeGeneration(s.o.FS, s.o.Dir, next)
}

// readGeneration gives 0 where there is none.
func readGeneration(f fsys.FS, dir string) (n int64, err error) {
	name := filepath.Join(dir, generationFile)
	file, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	b := make([]byte, 64)
	if _, err := file.ReadAt(b, 0); err != nil && err != io.EOF {
		return 0, err
	}
	if _, err := fmt.Sscanf(string(b), generationText, &n); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

func writeGeneration(f fsys.FS, dir string, n int64) error {
	return replaceFile(f, filepath.Join(dir, generationFile), fmt.Sprintf(generationText, n))
}

// replaceFile puts a short text into a file, all or nothing, durably. The text is
// padded to a block with spaces.
func replaceFile(f fsys.FS, name, text string) error {
	if err := f.Remove(name + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.Create(name + ".new")
	if err != nil {
		return err
	}
	if err := errors.Join(writeBlock(file, text), file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := f.Rename(name+".new", name); err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(name))
}

func writeBlock(file fsys.File, text string) error {
	b := fsys.Aligned(fsys.BlockSize)
	for i := copy(b, text); i < len(b); i++ {
		b[i] = ' '
	}
	b[len(b)-1] = '\n'
	_, err := file.WriteAt(b, 0)
	return err
}
