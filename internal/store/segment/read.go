package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"sync"
)

// Record reads the sealed bytes of one record and checks each byte it gives
// out. It may be used by several goroutines at once.
type Record struct {
	Header
	src  io.ReaderAt
	body int64 // where in src the sealed bytes begin
}

// Open reads and checks the header of the record at offset at.
func Open(src io.ReaderAt, at int64) (*Record, error) {
	// One read serves the headers of records up to 62 MiB.
	b := make([]byte, BlockSize)
	n, err := src.ReadAt(b, at)
	if err != nil && err != io.EOF {
		return nil, err
	}
	h, need, err := ParseHeader(b[:n])
	if err == nil && need > 0 {
		if n < recordHeaderSize {
			return nil, fmt.Errorf("%w: the file ends inside a record's header", ErrFormat)
		}
		b = make([]byte, need)
		if n, err := src.ReadAt(b, at); n < len(b) {
			if err == nil || err == io.EOF {
				err = fmt.Errorf("%w: the file ends inside a record's header", ErrFormat)
			}
			return nil, err
		}
		h, _, err = ParseHeader(b)
	}
	if err != nil {
		return nil, err
	}
	return &Record{Header: h, src: src, body: at + HeaderSize(h.Sealed)}, nil
}

// Size is the length of the sealed bytes.
func (r *Record) Size() int64 { return r.Sealed }

// scratch lends buffers for whole checked stretches. What goes through them is
// sealed; a stale byte would not pass its checksum, and then not its key.
var scratch = sync.Pool{New: func() any { return new([6 * SumSize]byte) }}

// ReadAt reads sealed bytes as io.ReaderAt says. Each stretch of SumSize bytes
// that it touches is read whole and checked first, so that nothing wrong is ever
// given out: ErrFormat names the stretch's offset in the file.
func (r *Record) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("record: offset %d", off)
	}
	if off >= r.Sealed {
		return 0, io.EOF
	}
	var short error
	if int64(len(p)) > r.Sealed-off {
		p, short = p[:r.Sealed-off], io.EOF
	}
	buf := scratch.Get().(*[6 * SumSize]byte)
	defer scratch.Put(buf)
	done := 0
	for done < len(p) {
		from := (off + int64(done)) / SumSize * SumSize
		end := (off + int64(len(p)) + SumSize - 1) / SumSize * SumSize
		end = min(end, from+int64(len(buf)), r.Sealed)
		b := buf[:end-from]
		if n, err := r.src.ReadAt(b, r.body+from); n < len(b) {
			if err == nil || err == io.EOF {
				err = fmt.Errorf("%w: the file ends at %d, inside a record", ErrFormat, r.body+from+int64(n))
			}
			return done, err
		}
		for i := int64(0); i < int64(len(b)); i += SumSize {
			if crc32.Checksum(b[i:min(i+SumSize, int64(len(b)))], castagnoli) != r.Sums[(from+i)/SumSize] {
				return done, fmt.Errorf("%w: checksum of the bytes at %d", ErrFormat, r.body+from+i)
			}
		}
		done += copy(p[done:], b[off+int64(done)-from:])
	}
	return done, short
}

// Verify reads all sealed bytes and checks them.
func (r *Record) Verify() error {
	var b [4 * SumSize]byte
	for off := int64(0); off < r.Sealed; off += int64(len(b)) {
		if _, err := r.ReadAt(b[:min(int64(len(b)), r.Sealed-off)], off); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// Found is a record met while scanning a file.
type Found struct {
	Offset int64
	Header Header
}

// Scan walks the records of a file of size bytes, without an index. A record is
// yielded when its header and all of its sealed bytes are whole. Blocks that are
// part of no whole record are passed over block by block, and each stretch of
// them is yielded once as an error that wraps ErrFormat, with Found.Offset where
// it begins; the walk goes on after it. Another error ends the walk.
func Scan(src io.ReaderAt, size int64) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		bad := int64(-1)
		for at := int64(BlockSize); at < size; {
			step := int64(BlockSize)
			rec, err := Open(src, at)
			if err == nil {
				// A header that checks out tells where the next record is, whatever
				// became of the bytes behind it.
				step = RecordSize(rec.Sealed)
				err = rec.Verify()
			}
			if err == nil {
				bad = -1
				if !yield(Found{Offset: at, Header: rec.Header}, nil) {
					return
				}
				at += step
				continue
			}
			if !errors.Is(err, ErrFormat) {
				yield(Found{Offset: at}, err)
				return
			}
			if bad < 0 {
				bad = at
				if !yield(Found{Offset: at}, err) {
					return
				}
			}
			at += step
		}
	}
}
