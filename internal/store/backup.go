package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/store/index"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// Places are the parts of a data directory that a backup copies.
type Places struct {
	Catalog, Index string // database files
	Media          string // directory
}

// BackedUp is what Backup did.
type BackedUp struct {
	Files, Fragments int
	Copied, Kept     int64 // bytes of media copied now, and found in the backup already
	Removed          int   // files of the backup that had expired
	Expired          int   // files that were deleted while the backup ran
}

// Backup copies a data directory, also one that a server is using, into another
// place (sluice backup). It is consistent: it holds every fragment that was
// durable before it began, and nothing that refers to what it does not hold. It
// is incremental: media that is in the place already is not copied again.
//
// The order matters. The index is copied first and says which media there is;
// media only ever grows at the end of files, so what the index names does not
// change under the copy. The catalog comes after it, so that a stream's key is
// there for all media that is. Only when everything is durable do the databases
// take their names, and then what has expired goes.
func Backup(ctx context.Context, from, to Places, log *slog.Logger) (BackedUp, error) {
	var sums BackedUp
	if err := os.MkdirAll(to.Media, 0o700); err != nil {
		return sums, fmt.Errorf("backup: %w", err)
	}
	if err := snapshot(ctx, from.Index, to.Index+".new"); err != nil {
		return sums, err
	}
	if err := snapshot(ctx, from.Catalog, to.Catalog+".new"); err != nil {
		return sums, err
	}
	copied, err := db.Open(ctx, db.Options{Path: to.Index + ".new"})
	if err != nil {
		return sums, err
	}
	doubt, err := beginCopying(to.Media)
	if err != nil {
		return sums, errors.Join(fmt.Errorf("backup: %w", err), copied.Close())
	}
	wanted, err := backupMedia(ctx, from, to, copied, doubt, &sums, log)
	if err = errors.Join(err, copied.Close()); err != nil {
		return sums, err
	}
	if err := os.Remove(filepath.Join(to.Media, copyingFile)); err != nil {
		return sums, fmt.Errorf("backup: %w", err)
	}
	for _, name := range []string{to.Catalog, to.Index} {
		if err := takeName(name); err != nil {
			return sums, fmt.Errorf("backup: %w", err)
		}
	}
	err = eachFile(fsys.OS{}, to.Media, func(id disk.FileID, name string) error {
		if id.Number == 0 || wanted[id] {
			return nil
		}
		sums.Removed++
		if err := os.Remove(name); err != nil {
			return err
		}
		// The directory goes with its last file.
		if err := os.Remove(filepath.Dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Debug("a directory of the backup stays", "dir", filepath.Dir(name))
		}
		return nil
	})
	return sums, err
}

// copyingFile is in the backup while media is being copied to it. Where it is
// found at the start, a backup was interrupted, perhaps by a power cut, and what
// was written since it was made is not to be trusted.
const copyingFile = "copying"

func beginCopying(dir string) (doubt time.Time, err error) {
	name := filepath.Join(dir, copyingFile)
	if fi, err := os.Stat(name); err == nil {
		return fi.ModTime(), nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return time.Time{}, err
	}
	return time.Time{}, errors.Join(f.Sync(), f.Close(), (fsys.OS{}).SyncDir(dir))
}

// backupMedia copies what the copied index names and gives the files that the
// backup consists of.
func backupMedia(ctx context.Context, from, to Places, copied *db.DB, doubt time.Time, sums *BackedUp, log *slog.Logger) (map[disk.FileID]bool, error) {
	x, err := index.Open(ctx, copied)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	live, err := db.Open(ctx, db.Options{Path: from.Index, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer live.Close()
	now, err := index.OpenReadOnly(ctx, live)
	if err != nil {
		return nil, err
	}
	wanted := map[disk.FileID]bool{}
	for after := uint64(0); ; {
		files, err := x.Files(ctx, after, 256)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			after = f.File
			if f.State == index.FileEmpty || f.State == index.FileDeleting {
				continue // no row names anything in it that counts
			}
			id := disk.FileID{Stream: f.Stream, Number: f.File}
			wanted[id] = true
			rows, err := x.Rows(ctx, f)
			if err != nil {
				return nil, err
			}
			var size int64
			for _, r := range rows {
				size = max(size, r.Offset+segment.RecordSize(r.Sealed))
			}
			name := filepath.Join(string(id.Stream), disk.FileName(id.Number))
			n, err := grow(ctx, filepath.Join(from.Media, name), filepath.Join(to.Media, name), size, doubt)
			if errors.Is(err, fs.ErrNotExist) {
				current, ierr := now.File(ctx, f.File)
				if ierr != nil && !errors.Is(ierr, index.ErrNone) {
					return nil, ierr
				}
				if ierr == nil && current.State != index.FileDeleting {
					return nil, fmt.Errorf("backup: %w (run sluice fsck)", err)
				}
				// Expired since: the backup does not name it either.
				sums.Expired++
				delete(wanted, id)
				if err := expire(ctx, x, f); err != nil {
					return nil, err
				}
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("backup: %w", err)
			}
			sums.Files++
			sums.Fragments += len(rows)
			sums.Copied += n
			sums.Kept += size - n
			log.Debug("file backed up", "file", name, "copied", n)
		}
		if len(files) < 256 {
			break
		}
	}
	generation, err := x.Meta(ctx, generationKey)
	if err != nil {
		return nil, err
	}
	return wanted, writeGeneration(fsys.OS{Buffered: true}, to.Media, generation)
}

func expire(ctx context.Context, x *index.Index, f index.File) error {
	if err := x.Mark(ctx, f); err != nil {
		return err
	}
	for done := false; !done; {
		var err error
		if done, err = x.Unname(ctx, f, 4096); err != nil {
			return err
		}
	}
	return x.Forget(ctx, f.File)
}

// grow brings the copy of a file to that size, durably, and gives how many bytes
// it copied. Files only grow, so what the copy has is right, unless it was
// written after doubt (the zero time: no doubt).
func grow(ctx context.Context, from, to string, size int64, doubt time.Time) (int64, error) {
	src, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dir := filepath.Dir(to)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return 0, err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer dst.Close()
	fi, err := dst.Stat()
	if err != nil {
		return 0, err
	}
	have := fi.Size()
	if !doubt.IsZero() && !fi.ModTime().Before(doubt) {
		have = 0
	}
	if have >= size {
		return 0, nil
	}
	if _, err := src.Seek(have, io.SeekStart); err != nil {
		return 0, err
	}
	if _, err := dst.Seek(have, io.SeekStart); err != nil {
		return 0, err
	}
	for at := have; at < size; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := io.CopyN(dst, src, min(8<<20, size-at))
		at += n
		if err != nil {
			return 0, fmt.Errorf("%s: %w", from, err)
		}
	}
	if err := dst.Sync(); err != nil {
		return 0, err
	}
	return size - have, errors.Join((fsys.OS{}).SyncDir(dir), (fsys.OS{}).SyncDir(filepath.Dir(dir)))
}

// snapshot writes what is committed in a database to a new file.
func snapshot(ctx context.Context, from, to string) error {
	for _, name := range []string{to, to + "-wal", to + "-shm", to + "-journal"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("backup: %w", err)
		}
	}
	if err := db.Copy(ctx, from, to); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// takeName gives a database its name, durably, in place of the one before.
func takeName(name string) error {
	f, err := os.OpenFile(name+".new", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	// A log left beside the old database would be taken for the new one's.
	for _, old := range []string{name + "-wal", name + "-shm"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return (fsys.OS{}).SyncDir(filepath.Dir(name))
}

// ReplaceIndex makes an index from the media directory and puts it in the place
// of the one there is (sluice reindex). The old one stays until the new one is
// complete. No server may be running.
func ReplaceIndex(ctx context.Context, p Places, log *slog.Logger, found func(Problem)) (Reindexed, error) {
	for _, name := range []string{p.Index + ".new", p.Index + ".new-wal", p.Index + ".new-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Reindexed{}, fmt.Errorf("reindex: %w", err)
		}
	}
	d, err := db.Open(ctx, db.Options{Path: p.Index + ".new"})
	if err != nil {
		return Reindexed{}, err
	}
	sums, err := Reindex(ctx, p.Media, d, nil, log, found)
	if err == nil {
		err = emptyLog(ctx, d)
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return sums, err
	}
	if err := takeName(p.Index); err != nil {
		return sums, fmt.Errorf("reindex: %w", err)
	}
	return sums, nil
}

// emptyLog moves all of a database's log into its file.
func emptyLog(ctx context.Context, d *db.DB) error {
	var busy, frames, moved sql.NullInt64
	err := d.Writer().QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &moved)
	if err == nil && busy.Int64 != 0 {
		err = fmt.Errorf("%s is in use", d.Path())
	}
	return err
}

// Restore copies a backup to a place where there is nothing yet (sluice restore).
func Restore(ctx context.Context, from, to Places, log *slog.Logger) (files int, bytes int64, err error) {
	for _, name := range []string{from.Catalog, from.Index, from.Media} {
		if _, err := os.Stat(name); err != nil {
			return 0, 0, fmt.Errorf("restore: this is no backup: %w", err)
		}
	}
	for _, name := range []string{to.Catalog, to.Index, to.Media} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return 0, 0, fmt.Errorf("restore: %s is there already; restore into an empty directory", name)
		}
	}
	if err := os.Mkdir(to.Media, 0o700); err != nil {
		return 0, 0, fmt.Errorf("restore: %w", err)
	}
	err = eachFile(fsys.OS{}, from.Media, func(id disk.FileID, name string) error {
		fi, err := os.Stat(name)
		if err != nil {
			return err
		}
		n, err := grow(ctx, name, filepath.Join(to.Media, string(id.Stream), filepath.Base(name)), fi.Size(), time.Time{})
		files++
		bytes += n
		log.Debug("file restored", "file", name)
		return err
	})
	if err != nil {
		return files, bytes, fmt.Errorf("restore: %w", err)
	}
	generation, err := readGeneration(fsys.OS{}, from.Media)
	if err == nil {
		err = writeGeneration(fsys.OS{Buffered: true}, to.Media, generation)
	}
	if err != nil {
		return files, bytes, fmt.Errorf("restore: %w", err)
	}
	// The databases last: a directory without them is seen to be unfinished.
	for _, d := range [][2]string{{from.Index, to.Index}, {from.Catalog, to.Catalog}} {
		if err := snapshot(ctx, d[0], d[1]+".new"); err != nil {
			return files, bytes, err
		}
		if err := takeName(d[1]); err != nil {
			return files, bytes, fmt.Errorf("restore: %w", err)
		}
	}
	return files, bytes, nil
}
