// Package seal encrypts and opens records: what the store keeps of a fragment.
//
// A sealed record is
//
//	32 bytes   salt, random
//	chunk 0    262144 bytes of plain text encrypted, then a 16-byte tag
//	chunk 1    the same
//	...
//	chunk n-1  the last: 0 to 262144 bytes encrypted, then a 16-byte tag
//
// The record key is HKDF-SHA256(stream key, salt, "sluice record v1"), used for
// this record alone; each chunk is AES-256-GCM under it. The nonce counts the
// chunks and marks the last one, so chunks can't be swapped, left out or cut off
// at the end; every chunk authenticates the record's AAD. Because chunks stand
// alone, a reader of a few frames opens only the chunks they lie in.
//
// The package knows no store and no key management: it takes a stream key, and
// it hands out and takes back bytes. Memory that holds plain text is never used
// again; memory that holds a sealed record may be (SealInto). docs/format/record.md specifies the format.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/sluicevideo/sluice"
)

// Version is the version of the format, the first byte of every AAD.
const Version = 1

const (
	// ChunkSize is how many plain bytes a chunk holds, the last one apart.
	ChunkSize = 256 << 10
	// SaltSize is the length of the salt at the record's beginning.
	SaltSize = 32

	tagSize    = 16
	sealedSize = ChunkSize + tagSize
	keyInfo    = "sluice record v1"
	// maxChunks keeps the chunk counter inside its four bytes of the nonce.
	maxChunks = 1<<32 - 1
)

// ErrOpen is wrapped when a record, or a chunk of it, does not open: another
// key, another AAD, or bytes that changed. Which one it is can't be told.
var ErrOpen = errors.New("record does not open")

// AAD is what a record authenticates beside its media: nothing in it changes when
// a record is moved from one place to another.
type AAD struct {
	Version    uint8 // 0 means Version
	Stream     sluice.StreamID
	Number     sluice.FragmentNumber
	ProducerMs int64
	ServerMs   int64
	LengthMs   uint32
}

// bytes is the binary form: version 1, stream 16, sequence 8, server time of the
// number 8, its low bits 4, producer ms 8, server ms 8, length 4; big-endian.
func (a AAD) bytes() ([]byte, error) {
	id, err := hex.DecodeString(string(a.Stream))
	if err != nil || len(id) != 16 {
		return nil, fmt.Errorf("stream id %q is not 32 hex digits", a.Stream)
	}
	v := a.Version
	if v == 0 {
		v = Version
	}
	b := make([]byte, 0, 57)
	b = append(b, v)
	b = append(b, id...)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Number.Sequence()))
	b = binary.BigEndian.AppendUint64(b, a.Number.ServerTimestamp())
	b = binary.BigEndian.AppendUint32(b, a.Number.Low())
	b = binary.BigEndian.AppendUint64(b, uint64(a.ProducerMs))
	b = binary.BigEndian.AppendUint64(b, uint64(a.ServerMs))
	return binary.BigEndian.AppendUint32(b, a.LengthMs), nil
}

// chunksOf is how many chunks hold plain bytes. A record of nothing has one, so
// that it is authenticated like any other.
func chunksOf(plain int64) int64 {
	return max(1, (plain+ChunkSize-1)/ChunkSize)
}

// SealedSize is the length of the sealed form of that many plain bytes.
func SealedSize(plain int64) int64 {
	return SaltSize + plain + tagSize*chunksOf(plain)
}

// PlainSize is how many plain bytes a sealed record of that length holds. It
// fails with ErrOpen for a length that no record has.
func PlainSize(sealed int64) (int64, error) {
	body := sealed - SaltSize
	chunks := (body + sealedSize - 1) / sealedSize
	plain := body - chunks*tagSize
	if body < tagSize || plain < 0 || SealedSize(plain) != sealed || chunks > maxChunks {
		return 0, fmt.Errorf("%w: no record is %d bytes long", ErrOpen, sealed)
	}
	return plain, nil
}

// sealer holds what is the same for all chunks of a record.
type sealer struct {
	gcm    cipher.AEAD
	aad    []byte
	chunks int64
}

func newSealer(key *[32]byte, salt []byte, aad AAD, chunks int64) (sealer, error) {
	text, err := aad.bytes()
	if err != nil {
		return sealer{}, err
	}
	recordKey, err := hkdf.Key(sha256.New, key[:], salt, keyInfo, 32)
	if err != nil {
		return sealer{}, fmt.Errorf("record key: %w", err)
	}
	defer clear(recordKey)
	block, err := aes.NewCipher(recordKey)
	if err != nil {
		return sealer{}, fmt.Errorf("record key: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return sealer{}, fmt.Errorf("record key: %w", err)
	}
	return sealer{gcm: gcm, aad: text, chunks: chunks}, nil
}

// nonce of chunk i: 7 zero bytes, the counter in 4, and 1 in the last chunk. The
// key is the record's own, so a counter is all that keeps nonces apart.
func (s sealer) nonce(i int64) (n [12]byte) {
	binary.BigEndian.PutUint32(n[7:11], uint32(i))
	if i == s.chunks-1 {
		n[11] = 1
	}
	return n
}

// Seal encrypts the pieces of plain, one after the other as one text, for the
// stream key. The pieces are read, neither kept nor joined first; the result is
// freshly made, exactly SealedSize long, and the caller's.
func Seal(key *[32]byte, aad AAD, plain ...[]byte) ([]byte, error) {
	var size int64
	for _, p := range plain {
		size += int64(len(p))
	}
	out := make([]byte, SealedSize(size))
	if err := SealInto(out, key, aad, func(int, int) {}, plain...); err != nil {
		return nil, err
	}
	return out, nil
}

// SealInto is Seal into memory of the caller's, which must be SealedSize long.
// What was in it is written over. On an error it may hold plain text and must not
// be used again.
//
// After each chunk it calls sealed: the bytes [from, to) of out are final, and the
// last of them still in the processor's cache. Large records are sealed by several
// goroutines, each of which has a from of its own and a to that grows.
func SealInto(out []byte, key *[32]byte, aad AAD, sealed func(from, to int), plain ...[]byte) error {
	var size int64
	for _, p := range plain {
		size += int64(len(p))
	}
	chunks := chunksOf(size)
	if chunks > maxChunks {
		return fmt.Errorf("a record of %d bytes is too large to seal", size)
	}
	if int64(len(out)) != SealedSize(size) {
		return fmt.Errorf("%d bytes given for a sealed record of %d", len(out), SealedSize(size))
	}
	salt := out[:SaltSize]
	if _, err := rand.Read(salt); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	s, err := newSealer(key, salt, aad, chunks)
	if err != nil {
		return err
	}
	workers := 1
	if size >= parallelSize {
		workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	var wg sync.WaitGroup
	each := (chunks + int64(workers) - 1) / int64(workers)
	for from := each; from < chunks; from += each {
		wg.Go(func() { s.seal(out, plain, size, from, min(from+each, chunks), sealed) })
	}
	s.seal(out, plain, size, 0, each, sealed)
	wg.Wait()
	return nil
}

const (
	// parallelSize is from where on a record is sealed on several processors: one
	// alone would keep the camera waiting for milliseconds.
	parallelSize = 2 << 20
	maxWorkers   = 4
)

// seal makes the chunks from up to, and without, to in their places in out.
func (s sealer) seal(out []byte, plain [][]byte, size, from, to int64, sealed func(from, to int)) {
	begin := int(SaltSize + from*sealedSize)
	if from == 0 {
		begin = 0 // the salt is there
	}
	rest := pieces{left: plain}
	rest.skip(int(from * ChunkSize))
	for i := from; i < to; i++ {
		n := int(min(size-i*ChunkSize, ChunkSize))
		at := int(SaltSize + i*sealedSize)
		place := out[at:][:n]
		nonce := s.nonce(i)
		src := rest.whole(n)
		if src == nil {
			// The chunk spans pieces: gather it where its encrypted form goes and
			// encrypt in place.
			src = place
			rest.copy(src)
		}
		s.gcm.Seal(place[:0:n+tagSize], nonce[:], src, s.aad)
		sealed(begin, at+n+tagSize)
	}
}

// pieces reads the plain text's pieces one after the other.
type pieces struct {
	left [][]byte
	off  int // taken of left[0]
}

// skipEmpty puts the first piece with bytes left at the front.
func (p *pieces) skipEmpty() {
	for len(p.left) > 0 && p.off == len(p.left[0]) {
		p.left, p.off = p.left[1:], 0
	}
}

// skip passes over n bytes.
func (p *pieces) skip(n int) {
	for n > 0 {
		p.skipEmpty()
		k := min(n, len(p.left[0])-p.off)
		p.off, n = p.off+k, n-k
	}
}

// whole takes the next n bytes when they lie in one piece, else takes nothing
// and gives nil.
func (p *pieces) whole(n int) []byte {
	p.skipEmpty()
	if len(p.left) == 0 || len(p.left[0])-p.off < n {
		return nil
	}
	b := p.left[0][p.off : p.off+n]
	p.off += n
	return b
}

// copy takes as many bytes as dst holds.
func (p *pieces) copy(dst []byte) {
	for len(dst) > 0 {
		p.skipEmpty()
		n := copy(dst, p.left[0][p.off:])
		dst, p.off = dst[n:], p.off+n
	}
}
