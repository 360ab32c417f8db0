package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/store/index"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// Problem is something that Check found.
type Problem struct {
	// Kind is "corrupt" and "missing" for media that is lost, "index" and "catalog"
	// for a database that is not sound, "unknown" for a file that no row names. Only unknown files
	// mean no harm.
	Kind     string                `json:"kind"`
	Stream   sluice.StreamID       `json:"stream,omitempty"`
	File     string                `json:"file,omitempty"`
	Offset   int64                 `json:"offset,omitempty"`
	Fragment sluice.FragmentNumber `json:"-"`
	Text     string                `json:"text"`
}

// Checked is what Check looked at.
type Checked struct {
	Files     int   `json:"files"`
	Fragments int   `json:"fragments"`
	Bytes     int64 `json:"bytes"`   // of sealed media read and found good
	Unnamed   int64 `json:"unnamed"` // bytes in known files that no row names: what a crash or a failed write left
	Lost      int   `json:"lost"`    // fragments with a row and no good record
	Unknown   int   `json:"unknown"` // files that no row names
	Repaired  int   `json:"repaired"`
}

// CheckOptions of Check. Dir and Index are needed.
type CheckOptions struct {
	Dir   string
	Index *db.DB // may be read-only and the index of a running server
	FS    fsys.FS
	// Repair removes the rows of lost fragments. Nothing on the disk is removed. No
	// server may be running, and Index must be writable.
	Repair bool
	Found  func(Problem) // told each problem
}

// Check reads every record that the index names and compares it with its row and
// its checksums (sluice fsck). Beside a running server, what is deleted meanwhile
// is no problem. The error is one of looking; what was found wrong goes to Found
// and into the sums.
func Check(ctx context.Context, o CheckOptions) (Checked, error) {
	if o.FS == nil {
		o.FS = fsys.OS{}
	}
	if o.Found == nil {
		o.Found = func(Problem) {}
	}
	sound, err := CheckDatabase(ctx, o.Index, "index", o.Found)
	if err != nil {
		return Checked{}, err
	}
	c := checker{CheckOptions: o}
	if err = c.media(ctx); !sound && db.IsDamaged(err) {
		o.Found(Problem{Kind: "index", File: o.Index.Path(), Text: "the media cannot be compared with it; sluice reindex makes a new one from the media"})
		err = nil
	}
	return c.sums, err
}

// CheckDatabase reads a whole database and reports what is wrong with it.
func CheckDatabase(ctx context.Context, d *db.DB, kind string, found func(Problem)) (sound bool, err error) {
	faults, err := d.Check(ctx)
	for _, f := range faults {
		found(Problem{Kind: kind, File: d.Path(), Offset: max(f.Offset, 0), Text: f.Text})
	}
	return len(faults) == 0, err
}

// media compares the rows of the index with the files.
func (c *checker) media(ctx context.Context) error {
	open := index.OpenReadOnly
	if c.Repair {
		open = index.Open
	}
	x, err := open(ctx, c.Index)
	if err != nil {
		return err
	}
	defer x.Close()
	c.x = x
	if n, err := x.Homeless(ctx); err != nil {
		return err
	} else if n > 0 {
		c.Found(Problem{Kind: "index", File: c.Index.Path(), Text: fmt.Sprintf("%d fragments lie in files that are not known", n)})
	}
	for after := uint64(0); ; {
		files, err := x.Files(ctx, after, 256)
		if err != nil {
			return err
		}
		for _, f := range files {
			after = f.File
			if err := c.file(ctx, f); err != nil {
				return err
			}
		}
		if len(files) < 256 {
			break
		}
	}
	return c.unknown(ctx)
}

type checker struct {
	CheckOptions
	x    *index.Index
	sums Checked
}

// file checks one file and the records in it that rows name.
func (c *checker) file(ctx context.Context, f index.File) error {
	if f.State == index.FileEmpty || f.State == index.FileDeleting {
		return nil
	}
	rows, err := c.x.Rows(ctx, f)
	if err != nil {
		return err
	}
	name := filepath.Join(c.Dir, string(f.Stream), disk.FileName(f.File))
	file, err := c.FS.Open(name)
	if err != nil {
		// A server that runs may have deleted it since.
		if now, ierr := c.x.File(ctx, f.File); errors.Is(ierr, index.ErrNone) || now.State == index.FileDeleting {
			return nil
		}
		kind := "missing"
		if !errors.Is(err, fs.ErrNotExist) {
			kind = "corrupt"
		}
		return c.lost(ctx, f, rows, Problem{Kind: kind, Stream: f.Stream, File: name, Text: fmt.Sprintf("%v; %d fragments are lost", err, len(rows))})
	}
	defer file.Close()
	c.sums.Files++
	size, err := file.Size()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	head := make([]byte, segment.BlockSize)
	n, _ := file.ReadAt(head, 0)
	if h, err := segment.ParseFileHeader(head[:n]); err != nil {
		c.Found(Problem{Kind: "corrupt", Stream: f.Stream, File: name, Text: err.Error() + " (its records are looked at all the same)"})
	} else if h.Stream != f.Stream || h.File != f.File {
		c.Found(Problem{Kind: "corrupt", Stream: f.Stream, File: name, Text: fmt.Sprintf("the header says stream %s, file %d", h.Stream, h.File)})
	}
	named := int64(segment.BlockSize)
	for _, r := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, err := segment.Open(file, r.Offset)
		if err == nil {
			if err = agree(f.Stream, r, rec.Header); err == nil {
				err = rec.Verify()
			}
		}
		if err != nil {
			p := Problem{Kind: "corrupt", Stream: f.Stream, File: name, Offset: r.Offset, Fragment: r.Number, Text: fmt.Sprintf("fragment %v: %v", r.Number, err)}
			if err := c.lost(ctx, f, []index.Row{r}, p); err != nil {
				return err
			}
			continue
		}
		c.sums.Fragments++
		c.sums.Bytes += r.Sealed
		named += segment.RecordSize(r.Sealed)
	}
	if f.State == index.FileClosed {
		c.sums.Unnamed += max(0, size-named)
	}
	return nil
}

// lost reports fragments that are, and unlists them when asked to repair.
func (c *checker) lost(ctx context.Context, f index.File, rows []index.Row, p Problem) error {
	c.sums.Lost += len(rows)
	c.Found(p)
	if !c.Repair {
		return nil
	}
	numbers := make([]sluice.FragmentNumber, len(rows))
	for i, r := range rows {
		numbers[i] = r.Number
	}
	c.sums.Repaired += len(rows)
	return c.x.Unlist(ctx, f.StreamN, numbers)
}

// agree compares a row with its record's header. Positions are the index's own:
// one made anew may have moved them.
func agree(id sluice.StreamID, r index.Row, h segment.Header) error {
	switch {
	case h.Stream != id:
		return fmt.Errorf("%w: the record is of stream %s", segment.ErrFormat, h.Stream)
	case h.Number != r.Number:
		return fmt.Errorf("%w: the record is of fragment %v", segment.ErrFormat, h.Number)
	case h.File != r.File, h.Sealed != r.Sealed, h.ProducerMs != r.ProducerMs, h.LengthMs != r.LengthMs, h.Bytes != r.Bytes, h.Tracks != r.Tracks, h.Header != r.Header:
		return fmt.Errorf("%w: the record and its row in the index differ", segment.ErrFormat)
	}
	return nil
}

// unknown looks for files that no row names.
func (c *checker) unknown(ctx context.Context) error {
	return eachFile(c.FS, c.Dir, func(id disk.FileID, name string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if id.Number != 0 {
			f, err := c.x.File(ctx, id.Number)
			if err == nil && f.Stream == id.Stream {
				return nil
			}
			if err != nil && !errors.Is(err, index.ErrNone) {
				return err
			}
			if _, err := c.FS.Stat(name); err != nil {
				return nil // deleted meanwhile
			}
		}
		c.sums.Unknown++
		c.Found(Problem{Kind: "unknown", Stream: id.Stream, File: name, Text: "no row of the index names this file"})
		return nil
	})
}

// eachFile calls fn for all that lies in the streams' directories, streams and
// files in the order of their names; Number is 0 for a file whose name is not
// one of ours.
func eachFile(f fsys.FS, dir string, fn func(id disk.FileID, name string) error) error {
	streams, err := f.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("media directory: %w", err)
	}
	for _, s := range streams {
		id := sluice.StreamID(s.Name())
		if !s.IsDir() || !segment.ValidStream(id) {
			continue
		}
		files, err := f.ReadDir(filepath.Join(dir, s.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("media directory: %w", err)
		}
		for _, e := range files {
			n, ok := disk.ParseFileName(e.Name())
			if !ok {
				n = 0
			}
			if err := fn(disk.FileID{Stream: id, Number: n}, filepath.Join(dir, s.Name(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reindexed is what Reindex found.
type Reindexed struct {
	Streams, Files, Fragments int
	Damaged                   int // stretches that are no whole record
}

// Reindex fills an empty index from the records of the media directory (sluice
// reindex). Each record is read and checked; what is no whole record is told to
// found and left out. A record that was written but never acknowledged is taken
// in: nothing tells it from the others. No server may be running.
func Reindex(ctx context.Context, dir string, empty *db.DB, f fsys.FS, log *slog.Logger, found func(Problem)) (Reindexed, error) {
	if f == nil {
		f = fsys.OS{}
	}
	x, err := index.Open(ctx, empty)
	if err != nil {
		return Reindexed{}, err
	}
	defer x.Close()
	var sums Reindexed
	streams := map[sluice.StreamID]bool{}
	err = eachFile(f, dir, func(id disk.FileID, name string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if id.Number == 0 {
			found(Problem{Kind: "unknown", Stream: id.Stream, File: name, Text: "not a file of records"})
			return nil
		}
		r, damaged, err := scan(f, id, name, found)
		if err != nil {
			return err
		}
		sums.Damaged += damaged
		sums.Files++
		if err := x.Reserve(ctx, id.Number); err != nil {
			return err
		}
		added, err := x.Rebuild(ctx, r)
		if err != nil {
			return err
		}
		streams[id.Stream] = true
		sums.Streams = len(streams)
		sums.Fragments += added
		log.Debug("file indexed", "file", name, "fragments", added)
		return nil
	})
	if err != nil {
		return sums, err
	}
	generation, err := readGeneration(f, dir)
	if err != nil {
		return sums, err
	}
	return sums, x.SetMeta(ctx, generationKey, generation)
}

// scan reads one file's records.
func scan(f fsys.FS, id disk.FileID, name string, found func(Problem)) (r index.Rebuilt, damaged int, err error) {
	file, err := f.Open(name)
	if err != nil {
		return r, 0, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return r, 0, err
	}
	r = index.Rebuilt{Stream: id.Stream, File: id.Number, Size: size}
	for rec, err := range segment.Scan(file, size) {
		if err == nil && (rec.Header.Stream != id.Stream || rec.Header.File != id.Number) {
			err = fmt.Errorf("%w: the record is of stream %s, file %d", segment.ErrFormat, rec.Header.Stream, rec.Header.File)
		}
		if err != nil {
			if !errors.Is(err, segment.ErrFormat) {
				return r, damaged, fmt.Errorf("%s: %w", name, err)
			}
			damaged++
			found(Problem{Kind: "corrupt", Stream: id.Stream, File: name, Offset: rec.Offset, Text: err.Error()})
			continue
		}
		h := rec.Header
		if len(r.Rows) > 0 && h.Number.Sequence() <= r.Rows[len(r.Rows)-1].Number.Sequence() {
			continue // numbers ascend in a file; a repeated one is no other fragment
		}
		r.Rows = append(r.Rows, index.Row{
			Number: h.Number, ProducerMs: h.ProducerMs, LengthMs: h.LengthMs, Bytes: h.Bytes, Tracks: h.Tracks, Header: h.Header,
			Position: h.Position, File: id.Number, Offset: rec.Offset, Sealed: h.Sealed,
		})
		r.Epoch = max(r.Epoch, uint64(h.Number.Sequence())>>CounterBits)
	}
	return r, damaged, nil
}
