package fragment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Index places the frames of a fragment, in the order in which they are stored
// (decode order).
type Index []Entry

// ErrIndex is wrapped by every failure of UnmarshalBinary.
var ErrIndex = errors.New("frame index is broken")

// The binary form. All numbers are varints of encoding/binary, u unsigned and
// s signed:
//
//	u version (1) | u count | u unit (ns) | entries
//	entry: 1 byte flags | [u track] | u gap | u size | s time | [u duration]
//
// unit is the greatest common divisor of all times and durations, so that a
// millisecond stays one byte. gap counts from the end of the payload before to
// this payload; time is the difference to the entry before, in units.
const (
	indexVersion = 1

	entryKey         = 1 << 0
	entryDiscardable = 1 << 1
	entryInvisible   = 1 << 2
	entryTrack       = 1 << 3 // the track differs from the entry before
	entryDuration    = 1 << 4
)

// AppendBinary appends the compact form to b; about 6 bytes a frame. Entries
// must be in the order of their offsets.
func (x Index) AppendBinary(b []byte) ([]byte, error) {
	unit := uint64(0)
	last := time.Duration(0)
	for i := range x {
		unit = gcd(unit, magnitude(x[i].Timecode-last))
		unit = gcd(unit, magnitude(x[i].Duration))
		last = x[i].Timecode
	}
	unit = max(unit, 1)
	b = binary.AppendUvarint(b, indexVersion)
	b = binary.AppendUvarint(b, uint64(len(x)))
	b = binary.AppendUvarint(b, unit)
	var before Entry
	end := uint64(0)
	for i := range x {
		e := &x[i]
		if uint64(e.Offset) < end {
			return nil, fmt.Errorf("%w: entry %d lies before the end of the one before", ErrIndex, i)
		}
		flags := byte(0)
		for bit, on := range [...]bool{e.Key, e.Discardable, e.Invisible, e.Track != before.Track, e.Duration != 0} {
			if on {
				flags |= 1 << bit
			}
		}
		b = append(b, flags)
		if flags&entryTrack != 0 {
			b = binary.AppendUvarint(b, uint64(e.Track))
		}
		b = binary.AppendUvarint(b, uint64(e.Offset)-end)
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = binary.AppendVarint(b, int64(e.Timecode-before.Timecode)/int64(unit))
		if flags&entryDuration != 0 {
			b = binary.AppendUvarint(b, uint64(e.Duration)/unit)
		}
		end = uint64(e.Offset) + uint64(e.Size)
		before = *e
	}
	return b, nil
}

// MarshalBinary is AppendBinary to nothing.
func (x Index) MarshalBinary() ([]byte, error) { return x.AppendBinary(nil) }

// UnmarshalBinary reads what AppendBinary wrote, all of b and nothing else.
func (x *Index) UnmarshalBinary(b []byte) error {
	r := indexReader{b: b}
	if v := r.u(math.MaxUint64); v != indexVersion || r.bad {
		return fmt.Errorf("%w: version %d", ErrIndex, v)
	}
	// An entry is at least four bytes, so the count cannot make us allocate
	// much more than arrived.
	count := r.u(uint64(len(b)) / 4)
	unit := r.u(math.MaxInt64)
	if r.bad || unit == 0 {
		return fmt.Errorf("%w: count or unit", ErrIndex)
	}
	out := make(Index, 0, count)
	var e Entry
	end := uint64(0)
	for i := range count {
		flags := r.byte()
		if flags&entryTrack != 0 {
			e.Track = uint32(r.u(math.MaxUint32))
		}
		offset := end + r.u(math.MaxUint32)
		size := r.u(math.MaxUint32)
		end = offset + size
		step := r.s()
		at := int64(e.Timecode) + step*int64(unit)
		e.Duration = 0
		if flags&entryDuration != 0 {
			e.Duration = time.Duration(r.u(math.MaxInt64/unit) * unit)
		}
		if r.bad || end > math.MaxUint32 || step > math.MaxInt64/int64(unit) || step < math.MinInt64/int64(unit) {
			return fmt.Errorf("%w: entry %d", ErrIndex, i)
		}
		e.Offset, e.Size, e.Timecode = uint32(offset), uint32(size), time.Duration(at)
		e.Key, e.Discardable, e.Invisible = flags&entryKey != 0, flags&entryDiscardable != 0, flags&entryInvisible != 0
		out = append(out, e)
	}
	if len(r.b) != 0 {
		return fmt.Errorf("%w: %d bytes after the last entry", ErrIndex, len(r.b))
	}
	*x = out
	return nil
}

// indexReader reads varints and remembers that one was bad.
type indexReader struct {
	b   []byte
	bad bool
}

func (r *indexReader) u(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *indexReader) s() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *indexReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func magnitude(d time.Duration) uint64 {
	if d < 0 {
		return uint64(-d)
	}
	return uint64(d)
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
