package sluice

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"time"
)

// Sequence orders the fragments of a stream and nothing else does. Sluice makes
// it as epoch·2^26 + counter, so it is below 2^60.
type Sequence uint64

// FragmentNumber is a fragment's name on the wire: a decimal text of 47 digits,
// which is a 157-bit number
//
//	bit 156      always 1, so that the width is constant and text order is number order
//	bits 92–155  sequence
//	bits 28–91   server timestamp, ms since the epoch
//	bits 0–27    random
//
// In a request it is a position: any decimal is accepted, and reading goes on at
// the first fragment above it. The zero value is below every fragment.
// FragmentNumbers compare with == and with Compare.
type FragmentNumber struct {
	hi      uint32 // bits 128–159
	mid, lo uint64 // bits 64–127, 0–63
}

const fragmentNumberDigits = 47

// MaxFragmentNumber is above every fragment.
var MaxFragmentNumber = FragmentNumber{hi: 1<<32 - 1, mid: 1<<64 - 1, lo: 1<<64 - 1}

// ErrFragmentNumber is wrapped by every failure of ParseFragmentNumber.
var ErrFragmentNumber = errors.New("not a fragment number")

// MakeFragmentNumber puts a number together. serverMs is the server timestamp
// in ms since the epoch; of low the lowest 28 bits count.
func MakeFragmentNumber(seq Sequence, serverMs uint64, low uint32) FragmentNumber {
	// sequence << 92, serverMs << 28, low: laid over three words.
	s := uint64(seq)
	return FragmentNumber{
		hi:  1<<28 | uint32(s>>36),
		mid: s<<28 | serverMs>>36,
		lo:  serverMs<<28 | uint64(low&(1<<28-1)),
	}
}

// Sequence is the number's place in the stream's order.
func (n FragmentNumber) Sequence() Sequence {
	return Sequence(uint64(n.hi)<<36 | n.mid>>28)
}

// ServerTimestamp is the server time inside the number, in ms since the epoch.
func (n FragmentNumber) ServerTimestamp() uint64 { return n.mid<<36 | n.lo>>28 }

// ServerTime is ServerTimestamp as a time, in UTC.
func (n FragmentNumber) ServerTime() time.Time {
	return time.UnixMilli(int64(n.ServerTimestamp())).UTC()
}

// Low is the number's 28 random bits.
func (n FragmentNumber) Low() uint32 { return uint32(n.lo) & (1<<28 - 1) }

// IsZero reports whether n is the zero value, which names no fragment.
func (n FragmentNumber) IsZero() bool { return n == FragmentNumber{} }

// Compare orders numbers: -1 when n is below m, 0 when equal, +1 when above.
func (n FragmentNumber) Compare(m FragmentNumber) int {
	switch {
	case n == m:
		return 0
	case n.hi != m.hi:
		return order(uint64(n.hi), uint64(m.hi))
	case n.mid != m.mid:
		return order(n.mid, m.mid)
	}
	return order(n.lo, m.lo)
}

func order(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

// String is the wire form: at least 47 digits, with leading zeros for the
// positions below the first real number.
func (n FragmentNumber) String() string { return string(n.Append(nil)) }

// AppendText appends the wire form to b; it allocates nothing when b has room.
func (n FragmentNumber) AppendText(b []byte) ([]byte, error) { return n.Append(b), nil }

// Append appends the wire form to b; it allocates nothing when b has room.
func (n FragmentNumber) Append(b []byte) []byte {
	// 160 bits in base 10^19 is at most three digits of that base.
	var limbs [3]uint64
	hi, mid, lo := uint64(n.hi), n.mid, n.lo
	const base = 10_000_000_000_000_000_000
	for i := range limbs {
		var r uint64
		hi, r = hi/base, hi%base
		mid, r = bits.Div64(r, mid, base)
		lo, r = bits.Div64(r, lo, base)
		limbs[i] = r
	}
	var text [57]byte
	for i := range limbs {
		v := limbs[i]
		for d := range 19 {
			text[len(text)-1-19*i-d] = byte('0' + v%10)
			v /= 10
		}
	}
	start := 0
	for start < len(text)-fragmentNumberDigits && text[start] == '0' {
		start++
	}
	return append(b, text[start:]...)
}

// MarshalText is the wire form.
func (n FragmentNumber) MarshalText() ([]byte, error) { return n.Append(nil), nil }

// UnmarshalText reads the wire form; see ParseFragmentNumber.
func (n *FragmentNumber) UnmarshalText(b []byte) error {
	v, err := ParseFragmentNumber(string(b))
	if err == nil {
		*n = v
	}
	return err
}

// ParseFragmentNumber reads 1 to 128 decimal digits (the model's pattern). What
// lies above every number that can be becomes MaxFragmentNumber: as a position
// it means the same.
func ParseFragmentNumber(s string) (FragmentNumber, error) {
	if s == "" || len(s) > 128 {
		return FragmentNumber{}, fmt.Errorf("%w: %d characters, must be 1 to 128 digits", ErrFragmentNumber, len(s))
	}
	var n FragmentNumber
	over := false
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return FragmentNumber{}, fmt.Errorf("%w: %q has a character that is not a digit at %d", ErrFragmentNumber, clip(s), i)
		}
		// n = n*10 + digit, over 160 bits.
		carry, lo := bits.Mul64(n.lo, 10)
		lo, c1 := bits.Add64(lo, uint64(c-'0'), 0)
		carry += c1
		carry2, mid := bits.Mul64(n.mid, 10)
		mid, c2 := bits.Add64(mid, carry, 0)
		carry2 += c2
		hi := uint64(n.hi)*10 + carry2
		if hi>>32 != 0 {
			over = true
		}
		n = FragmentNumber{hi: uint32(hi), mid: mid, lo: lo}
	}
	if over {
		return MaxFragmentNumber, nil
	}
	return n, nil
}

// Big is the number as a big integer, for callers that do arithmetic on it.
func (n FragmentNumber) Big() *big.Int {
	v := new(big.Int).SetUint64(uint64(n.hi))
	v.Lsh(v, 64).Or(v, new(big.Int).SetUint64(n.mid))
	return v.Lsh(v, 64).Or(v, new(big.Int).SetUint64(n.lo))
}
