package disk

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/sluicevideo/sluice/internal/store/segment"
)

// Record is a record open for reading; Close it after use.
type Record struct {
	*segment.Record
	h *handle
}

// Read opens the record at that place. fs.ErrNotExist is in the chain when the
// file is gone; segment.ErrFormat when no whole record header is there.
func (v *Volume) Read(id FileID, offset int64) (*Record, error) {
	h, err := v.reading.get(id)
	if err != nil {
		return nil, err
	}
	rec, err := segment.Open(h.file, offset)
	if err != nil {
		h.release()
		return nil, fmt.Errorf("%s at %d: %w", v.path(id), offset, err)
	}
	if rec.Stream != id.Stream || rec.File != id.Number {
		h.release()
		return nil, fmt.Errorf("%s at %d: %w: the record is of stream %s, file %d", v.path(id), offset, segment.ErrFormat, rec.Stream, rec.File)
	}
	return &Record{Record: rec, h: h}, nil
}

// Close lets go of the file. It may be called twice.
func (r *Record) Close() error {
	if r.h != nil {
		r.h.release()
		r.h = nil
	}
	return nil
}

// Gone reports whether an error of Read says that the file is not there.
func Gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
