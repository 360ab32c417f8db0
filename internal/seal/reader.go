package seal

import (
	"fmt"
	"io"
	"sync"
)

// Reader opens a sealed record, chunk by chunk. It may be used by several
// goroutines at once.
type Reader struct {
	src   io.ReaderAt
	s     sealer
	plain int64
}

// sealedChunks lends buffers for encrypted chunks to all readers. It is safe to
// share them, and only them: they never hold plain text, chunks are opened into
// fresh memory or the caller's, and stale bytes in one would not authenticate.
var sealedChunks = sync.Pool{New: func() any { return new([sealedSize]byte) }}

// Open takes hold of a sealed record of size bytes in src. It reads the salt and
// nothing else; a wrong key or AAD shows at the first ReadAt as ErrOpen.
func Open(key *[32]byte, aad AAD, src io.ReaderAt, size int64) (*Reader, error) {
	plain, err := PlainSize(size)
	if err != nil {
		return nil, err
	}
	var salt [SaltSize]byte
	if err := readFull(src, salt[:], 0); err != nil {
		return nil, fmt.Errorf("record's salt: %w", err)
	}
	s, err := newSealer(key, salt[:], aad, chunksOf(plain))
	if err != nil {
		return nil, err
	}
	return &Reader{src: src, s: s, plain: plain}, nil
}

// Size is the length of the plain text.
func (r *Reader) Size() int64 { return r.plain }

// All opens the whole record into fresh memory.
func (r *Reader) All() ([]byte, error) {
	b := make([]byte, r.plain)
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if r.plain == 0 { // ReadAt had nothing to open: authenticate the one empty chunk
		if _, err := r.chunk(0, nil); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// ReadAt opens plain bytes into p as io.ReaderAt says. Nothing is put into p
// that was not authenticated; a chunk that does not open gives ErrOpen with its
// place in the sealed record.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("record: offset %d", off)
	}
	if off >= r.plain {
		return 0, io.EOF
	}
	var short error
	if int64(len(p)) > r.plain-off {
		p, short = p[:r.plain-off], io.EOF
	}
	done := 0
	for done < len(p) {
		i := (off + int64(done)) / ChunkSize
		skip := int(off + int64(done) - i*ChunkSize)
		size := r.chunkSize(i)
		if skip == 0 && len(p)-done >= size {
			if _, err := r.chunk(i, p[done:done:done+size]); err != nil {
				return done, err
			}
			done += size
			continue
		}
		b, err := r.chunk(i, nil)
		if err != nil {
			return done, err
		}
		done += copy(p[done:], b[skip:])
	}
	return done, short
}

// chunkSize is how many plain bytes chunk i holds.
func (r *Reader) chunkSize(i int64) int {
	return int(min(ChunkSize, r.plain-i*ChunkSize))
}

// chunk opens chunk i into dst's spare room, or into new memory when it has none.
func (r *Reader) chunk(i int64, dst []byte) ([]byte, error) {
	n := r.chunkSize(i) + tagSize
	buf := sealedChunks.Get().(*[sealedSize]byte)
	defer sealedChunks.Put(buf)
	b := buf[:n]
	at := SaltSize + i*sealedSize
	if err := readFull(r.src, b, at); err != nil {
		return nil, fmt.Errorf("record's chunk %d: %w", i, err)
	}
	nonce := r.s.nonce(i)
	out, err := r.s.gcm.Open(dst, nonce[:], b, r.s.aad)
	if err != nil {
		return nil, fmt.Errorf("%w: chunk %d at %d", ErrOpen, i, at)
	}
	return out, nil
}

func readFull(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
