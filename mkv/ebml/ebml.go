// Package ebml reads and writes the atoms of EBML (RFC 8794): element ids,
// element sizes, and the values of integer, float, string and date elements.
// It works on slices handed in; it has no reader, no schema and no state. What
// the elements mean is the business of package mkv.
//
// An element on the wire:
//
//	+-----------+-------------+------------------+
//	| id        | size        | data             |
//	| 1–4 bytes | 1–8 bytes   | size bytes       |
//	+-----------+-------------+------------------+
//
// The number of leading zero bits of the first byte, plus one, is the length of
// an id or of a size. An id keeps its marker bit; a size is without it, and a
// size with all value bits set means "unknown".
package ebml

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"
)

// ID is an element id with its marker bit, as specifications print it: the
// EBML header is 0x1A45DFA3.
type ID uint32

func (id ID) String() string { return fmt.Sprintf("0x%X", uint32(id)) }

// Len is the number of bytes the id takes.
func (id ID) Len() int {
	switch {
	case id < 1<<8:
		return 1
	case id < 1<<16:
		return 2
	case id < 1<<24:
		return 3
	}
	return 4
}

// Ids that may stand in any document (RFC 8794, Global Elements and EBML Header).
const (
	IDHeader             ID = 0x1A45DFA3
	IDVersion            ID = 0x4286
	IDReadVersion        ID = 0x42F7
	IDMaxIDLength        ID = 0x42F2
	IDMaxSizeLength      ID = 0x42F3
	IDDocType            ID = 0x4282
	IDDocTypeVersion     ID = 0x4287
	IDDocTypeReadVersion ID = 0x4285
	IDVoid               ID = 0xEC
	IDCRC32              ID = 0xBF
)

// UnknownSize is the Size of an element that ends where something stands that
// cannot be inside it (RFC 8794, Unknown Data Size).
const UnknownSize int64 = -1

// MaxHeader is the longest element header in bytes: a 4-byte id and an 8-byte size.
const MaxHeader = 12

var (
	// ErrShort means that the bytes end before the atom does: more are needed.
	ErrShort = errors.New("more bytes are needed")
	// ErrID means that no valid id of 1 to 4 bytes stands here.
	ErrID = errors.New("not an element id")
	// ErrSize means that no valid size of 1 to 8 bytes stands here.
	ErrSize = errors.New("not an element size")
	// ErrValue means that a value has a length its type does not allow.
	ErrValue = errors.New("value has a wrong length")
)

// Header is an element's id and size as they stand on the wire.
type Header struct {
	ID   ID
	Size int64 // of the data, or UnknownSize
	Len  int   // bytes of id and size together
}

// ParseHeader reads the element header at the start of b.
//
// When b ends too early the error is ErrShort and Len is the number of bytes
// that must be there before it is worth trying again. ErrID and ErrSize mean
// that no further byte can make it a header.
func ParseHeader(b []byte) (Header, error) {
	if len(b) == 0 {
		return Header{Len: 2}, ErrShort
	}
	n := bits.LeadingZeros8(b[0]) + 1
	if n > 4 {
		return Header{}, ErrID
	}
	if len(b) <= n {
		return Header{Len: n + 1}, ErrShort
	}
	m := bits.LeadingZeros8(b[n]) + 1
	if m > 8 {
		return Header{}, ErrSize
	}
	if len(b) < n+m {
		return Header{Len: n + m}, ErrShort
	}
	h := Header{Len: n + m}
	if len(b) >= MaxHeader { // the fast way: two loads instead of two loops
		h.ID = ID(binary.BigEndian.Uint32(b) >> (8 * (4 - n)))
		v := binary.BigEndian.Uint64(b[n:]) >> (8 * (8 - m))
		mask := uint64(1)<<(7*m) - 1
		v &= mask
		h.Size = int64(v)
		if v == mask {
			h.Size = UnknownSize
		}
	} else {
		for _, c := range b[:n] {
			h.ID = h.ID<<8 | ID(c)
		}
		h.Size, _, _ = ParseSize(b[n:])
	}
	// All value bits one is reserved (RFC 8794, Element ID). All zero is too,
	// but Matroska's ChapterDisplay is 0x80.
	if h.ID == 1<<(7*n+1)-1 {
		return Header{}, ErrID
	}
	return h, nil
}

// ParseSize reads the variable-size integer at the start of b, with its length
// in bytes; UnknownSize when all its value bits are set. The error is ErrShort,
// with n the length that is needed, or ErrSize.
func ParseSize(b []byte) (v int64, n int, err error) {
	if len(b) == 0 {
		return 0, 1, ErrShort
	}
	n = bits.LeadingZeros8(b[0]) + 1
	if n > 8 {
		return 0, 0, ErrSize
	}
	if len(b) < n {
		return 0, n, ErrShort
	}
	u := uint64(b[0])
	for _, c := range b[1:n] {
		u = u<<8 | uint64(c)
	}
	mask := uint64(1)<<(7*n) - 1
	u &= mask
	if u == mask {
		return UnknownSize, n, nil
	}
	return int64(u), n, nil
}

// AppendID appends an id.
func AppendID(b []byte, id ID) []byte {
	for i := id.Len() - 1; i >= 0; i-- {
		b = append(b, byte(id>>(8*i)))
	}
	return b
}

// SizeLen is the smallest number of bytes that hold size as a size.
func SizeLen(size int64) int {
	n := 1
	for n < 8 && uint64(size) >= 1<<(7*n)-1 {
		n++
	}
	return n
}

// AppendSize appends a size in exactly width bytes; width 0 takes the smallest.
// UnknownSize is width bytes of the unknown form (width 0: one byte).
// A size that does not fit is a mistake in the program and panics.
func AppendSize(b []byte, size int64, width int) []byte {
	if width == 0 {
		width = 1
		if size != UnknownSize {
			width = SizeLen(size)
		}
	}
	v := uint64(size)
	mask := uint64(1)<<(7*width) - 1
	if size == UnknownSize {
		v = mask
	} else if v >= mask {
		panic(fmt.Sprintf("ebml: size %d does not fit %d bytes", size, width))
	}
	v |= mask + 1
	for i := width - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// AppendHeader appends an id and a size of the given width (see AppendSize).
func AppendHeader(b []byte, id ID, size int64, width int) []byte {
	return AppendSize(AppendID(b, id), size, width)
}

// AppendUint appends an unsigned integer element with the fewest data bytes
// (at least one) and a one-byte size.
func AppendUint(b []byte, id ID, v uint64) []byte {
	return AppendUintN(b, id, v, max(1, (bits.Len64(v)+7)/8))
}

// AppendUintN appends an unsigned integer element with n data bytes.
func AppendUintN(b []byte, id ID, v uint64, n int) []byte {
	b = AppendHeader(b, id, int64(n), 1)
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// AppendFloat appends a float element of 8 data bytes.
func AppendFloat(b []byte, id ID, v float64) []byte {
	return binary.BigEndian.AppendUint64(AppendHeader(b, id, 8, 1), math.Float64bits(v))
}

// AppendBytes appends an element with data and a size of the given width.
func AppendBytes(b []byte, id ID, data []byte, width int) []byte {
	return append(AppendHeader(b, id, int64(len(data)), width), data...)
}

// AppendString is AppendBytes for text.
func AppendString(b []byte, id ID, s string, width int) []byte {
	return append(AppendHeader(b, id, int64(len(s)), width), s...)
}

// AppendVoid appends a Void element of exactly total bytes, header included;
// total is at least 2.
func AppendVoid(b []byte, total int) []byte {
	width := 1
	if total-2 >= 127 {
		width = 8
	}
	b = AppendHeader(b, IDVoid, int64(total-1-width), width)
	return append(b, make([]byte, total-1-width)...)
}

// Uint reads an unsigned integer of 0 to 8 bytes; no bytes are 0.
func Uint(b []byte) (uint64, error) {
	if len(b) > 8 {
		return 0, ErrValue
	}
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v, nil
}

// Int reads a signed integer of 0 to 8 bytes; no bytes are 0.
func Int(b []byte) (int64, error) {
	v, err := Uint(b)
	if err != nil || len(b) == 0 {
		return 0, err
	}
	shift := 64 - 8*len(b)
	return int64(v<<shift) >> shift, nil
}

// Float reads a float of 0, 4 or 8 bytes; no bytes are 0.
func Float(b []byte) (float64, error) {
	switch len(b) {
	case 0:
		return 0, nil
	case 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b))), nil
	case 8:
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	}
	return 0, ErrValue
}

// String reads a text without the NULs that may pad its end.
func String(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// epoch is where EBML dates count from.
var epoch = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)

// Date reads a date of 0 or 8 bytes: nanoseconds from 2001-01-01T00:00:00 UTC.
func Date(b []byte) (time.Time, error) {
	if len(b) != 0 && len(b) != 8 {
		return time.Time{}, ErrValue
	}
	v, err := Int(b)
	return epoch.Add(time.Duration(v)), err
}
