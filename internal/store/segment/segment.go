// Package segment is the format of the store's files, byte by byte: what a
// record looks like, how a file of them begins, and how a file is read when no
// index says what is in it. It opens no files and holds no keys: a record's
// media is sealed before it comes here (package seal).
//
// A file is a sequence of 4096-byte blocks: one block of file header, then
// records, each beginning at a block. Integers are big-endian.
//
//	file header                         record
//	 0  8  "sluicefl"                    0  4  "SLrc"
//	 8  2  version, 1                    4  1  version, 1
//	10  2  0                             5  3  0
//	12  4  block size, 4096              8 16  stream id
//	16 16  stream id                    24  8  sequence
//	32  8  file number                  32  8  server timestamp, ms
//	40  8  time of making, ms           40  4  the number's 28 low bits
//	48 12  0                            44  4  length, ms
//	60  4  CRC-32C of 0-59              48  8  producer timestamp, ms
//	                                    56  4  size of the fragment's elements
//	                                    60  4  tracks, bit n-1 for track n
//	                                    64  8  position
//	                                    72  8  size of the sealed bytes
//	                                    80  8  file number
//	                                    88  4  media header, see Header
//	                                    92  4  CRC-32C of 0-91 and of the sums
//	                                    96 4n  CRC-32C of each 65536 sealed bytes
//	                                     ..    the sealed bytes, then zeros to the block's end
//
// Because a record says everything of itself, the index can be rebuilt from
// files alone. docs/format/file.md and docs/format/record.md have the reasons.
package segment

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/sluicevideo/sluice"
)

const (
	// BlockSize is the alignment of records.
	BlockSize = 4096
	// SumSize is how many sealed bytes one checksum covers.
	SumSize = 64 << 10
	// Version of file and record.
	Version = 1
	// MaxSealed bounds the sealed bytes of one record.
	MaxSealed = 1 << 31

	fileHeaderSize   = 64
	recordHeaderSize = 96
	fileMagic        = "sluicefl"
	recordMagic      = "SLrc"
)

// ErrFormat is wrapped when bytes are not what the format says: no header, a
// checksum that does not fit, a size that can't be.
var ErrFormat = errors.New("not in the format of a Sluice file")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// FileHeader is the first block of a file.
type FileHeader struct {
	Stream  sluice.StreamID
	File    uint64
	Created time.Time
}

// AppendBlock appends the header as one block.
func (h FileHeader) AppendBlock(b []byte) ([]byte, error) {
	id, err := streamBytes(h.Stream)
	if err != nil {
		return nil, err
	}
	start := len(b)
	b = append(b, fileMagic...)
	b = binary.BigEndian.AppendUint16(b, Version)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, BlockSize)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, h.File)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Created.UnixMilli()))
	b = append(b, make([]byte, 12)...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, make([]byte, BlockSize-fileHeaderSize)...), nil
}

// ParseFileHeader reads a file's first block (64 bytes of it are enough).
func ParseFileHeader(b []byte) (FileHeader, error) {
	if len(b) < fileHeaderSize || string(b[:8]) != fileMagic {
		return FileHeader{}, fmt.Errorf("%w: no file header", ErrFormat)
	}
	if v := binary.BigEndian.Uint16(b[8:]); v != Version {
		return FileHeader{}, fmt.Errorf("%w: file version %d, this program reads %d", ErrFormat, v, Version)
	}
	if binary.BigEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return FileHeader{}, fmt.Errorf("%w: checksum of the file header", ErrFormat)
	}
	if n := binary.BigEndian.Uint32(b[12:]); n != BlockSize {
		return FileHeader{}, fmt.Errorf("%w: block size %d", ErrFormat, n)
	}
	return FileHeader{
		Stream:  streamID(b[16:32]),
		File:    binary.BigEndian.Uint64(b[32:]),
		Created: time.UnixMilli(int64(binary.BigEndian.Uint64(b[40:]))).UTC(),
	}, nil
}

// Header is what a record says of itself.
type Header struct {
	Stream     sluice.StreamID
	Number     sluice.FragmentNumber // its server timestamp is the record's
	ProducerMs int64
	LengthMs   uint32
	Bytes      uint32 // size of the fragment's own elements, plain
	Tracks     uint32
	Position   uint64
	Sealed     int64 // size of the sealed bytes
	File       uint64
	Header     uint32   // tells the media headers of fragments apart; 0 in records from before it was kept
	Sums       []uint32 // CRC-32C of each SumSize sealed bytes
}

// sumsOf is how many checksums cover that many sealed bytes.
func sumsOf(sealed int64) int64 { return (sealed + SumSize - 1) / SumSize }

// HeaderSize is the length of the header of a record with that many sealed
// bytes, that is where in the record they begin.
func HeaderSize(sealed int64) int64 { return recordHeaderSize + 4*sumsOf(sealed) }

// RecordSize is what a record with that many sealed bytes takes in a file.
func RecordSize(sealed int64) int64 {
	return (HeaderSize(sealed) + sealed + BlockSize - 1) &^ (BlockSize - 1)
}

// Summer makes the checksums of sealed bytes that lie in one piece, while they
// are being sealed: a checksum of bytes that are in the processor's cache costs a
// third of one that must fetch them.
type Summer struct {
	sealed []byte
	sums   []uint32
	made   []bool
}

// NewSummer is for bytes that will be in sealed.
func NewSummer(sealed []byte) *Summer {
	n := sumsOf(int64(len(sealed)))
	return &Summer{sealed: sealed, sums: make([]uint32, n), made: make([]bool, n)}
}

// Add says that the bytes [from, to) are there. Several goroutines may call it,
// each with a from of its own and a growing to, for bytes that do not overlap.
func (s *Summer) Add(from, to int) {
	first, end := (from+SumSize-1)/SumSize, to/SumSize
	for i := end - 1; i >= first && !s.made[i]; i-- {
		s.make(i)
	}
}

func (s *Summer) make(i int) {
	at := i * SumSize
	s.sums[i], s.made[i] = crc32.Checksum(s.sealed[at:min(at+SumSize, len(s.sealed))], castagnoli), true
}

// Sums is all checksums, when all bytes are there.
func (s *Summer) Sums() []uint32 {
	for i := range s.made {
		if !s.made[i] {
			s.make(i)
		}
	}
	return s.sums
}

// Sum sets Sealed and Sums from the sealed bytes, given in pieces.
func (h *Header) Sum(pieces [][]byte) {
	h.Sealed, h.Sums = 0, nil
	var sum uint32
	room := SumSize
	for _, p := range pieces {
		h.Sealed += int64(len(p))
		for len(p) > 0 {
			n := min(room, len(p))
			sum = crc32.Update(sum, castagnoli, p[:n])
			p, room = p[n:], room-n
			if room == 0 {
				h.Sums, sum, room = append(h.Sums, sum), 0, SumSize
			}
		}
	}
	if room < SumSize {
		h.Sums = append(h.Sums, sum)
	}
}

// AppendBinary appends the header, HeaderSize(h.Sealed) bytes.
func (h *Header) AppendBinary(b []byte) ([]byte, error) {
	id, err := streamBytes(h.Stream)
	if err != nil {
		return nil, err
	}
	if h.Sealed < 0 || h.Sealed > MaxSealed || int64(len(h.Sums)) != sumsOf(h.Sealed) {
		return nil, fmt.Errorf("record of %d sealed bytes with %d sums can't be written", h.Sealed, len(h.Sums))
	}
	start := len(b)
	b = append(b, recordMagic...)
	b = append(b, Version, 0, 0, 0)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Number.Sequence()))
	b = binary.BigEndian.AppendUint64(b, h.Number.ServerTimestamp())
	b = binary.BigEndian.AppendUint32(b, h.Number.Low())
	b = binary.BigEndian.AppendUint32(b, h.LengthMs)
	b = binary.BigEndian.AppendUint64(b, uint64(h.ProducerMs))
	b = binary.BigEndian.AppendUint32(b, h.Bytes)
	b = binary.BigEndian.AppendUint32(b, h.Tracks)
	b = binary.BigEndian.AppendUint64(b, h.Position)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Sealed))
	b = binary.BigEndian.AppendUint64(b, h.File)
	b = binary.BigEndian.AppendUint32(b, h.Header)
	b = append(b, 0, 0, 0, 0)
	for _, s := range h.Sums {
		b = binary.BigEndian.AppendUint32(b, s)
	}
	binary.BigEndian.PutUint32(b[start+92:], headerSum(b[start:]))
	return b, nil
}

// headerSum is the checksum of everything in a header but the checksum.
func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:92], castagnoli), castagnoli, b[recordHeaderSize:])
}

// ParseHeader reads a record's header from b, which must begin with it. When b
// is too short for the sums, need says how many bytes are wanted and h is not
// valid yet; a caller with more to give reads them and calls again.
func ParseHeader(b []byte) (h Header, need int64, err error) {
	if len(b) < recordHeaderSize {
		return Header{}, recordHeaderSize, nil
	}
	if string(b[:4]) != recordMagic {
		return Header{}, 0, fmt.Errorf("%w: no record", ErrFormat)
	}
	if b[4] != Version {
		return Header{}, 0, fmt.Errorf("%w: record version %d, this program reads %d", ErrFormat, b[4], Version)
	}
	sealed := binary.BigEndian.Uint64(b[72:])
	if sealed > MaxSealed {
		return Header{}, 0, fmt.Errorf("%w: record of %d sealed bytes", ErrFormat, sealed)
	}
	size := HeaderSize(int64(sealed))
	if int64(len(b)) < size {
		return Header{}, size, nil
	}
	b = b[:size]
	if binary.BigEndian.Uint32(b[92:]) != headerSum(b) {
		return Header{}, 0, fmt.Errorf("%w: checksum of the record's header", ErrFormat)
	}
	h = Header{
		Stream: streamID(b[8:24]),
		Number: sluice.MakeFragmentNumber(sluice.Sequence(binary.BigEndian.Uint64(b[24:])),
			binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint32(b[40:])),
		LengthMs:   binary.BigEndian.Uint32(b[44:]),
		ProducerMs: int64(binary.BigEndian.Uint64(b[48:])),
		Bytes:      binary.BigEndian.Uint32(b[56:]),
		Tracks:     binary.BigEndian.Uint32(b[60:]),
		Position:   binary.BigEndian.Uint64(b[64:]),
		Sealed:     int64(sealed),
		File:       binary.BigEndian.Uint64(b[80:]),
		Header:     binary.BigEndian.Uint32(b[88:]),
	}
	for s := b[recordHeaderSize:]; len(s) > 0; s = s[4:] {
		h.Sums = append(h.Sums, binary.BigEndian.Uint32(s))
	}
	return h, 0, nil
}

func streamBytes(id sluice.StreamID) (b [16]byte, err error) {
	if len(id) != 32 {
		return b, fmt.Errorf("stream id %q is not 32 hex digits", id)
	}
	if _, err := hex.Decode(b[:], []byte(id)); err != nil {
		return b, fmt.Errorf("stream id %q is not 32 hex digits", id)
	}
	if hex.EncodeToString(b[:]) != string(id) {
		return b, fmt.Errorf("stream id %q has upper-case digits", id)
	}
	return b, nil
}

func streamID(b []byte) sluice.StreamID { return sluice.StreamID(hex.EncodeToString(b)) }

// ValidStream reports whether id is one: 32 lower-case hex digits, and so safe
// as a directory's name.
func ValidStream(id sluice.StreamID) bool {
	_, err := streamBytes(id)
	return err == nil
}
