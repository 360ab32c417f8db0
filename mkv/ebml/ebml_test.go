package ebml_test

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/mkv/ebml"
)

var headerCases = []struct {
	wire string
	h    ebml.Header
}{
	{"\xEC\x80", ebml.Header{ID: 0xEC, Size: 0, Len: 2}},
	{"\x80\x81", ebml.Header{ID: 0x80, Size: 1, Len: 2}},
	{"\xEC\x85", ebml.Header{ID: 0xEC, Size: 5, Len: 2}},
	{"\xEC\xFF", ebml.Header{ID: 0xEC, Size: ebml.UnknownSize, Len: 2}},
	{"\xEC\x40\x05", ebml.Header{ID: 0xEC, Size: 5, Len: 3}},
	{"\x42\x86\x20\x00\x05", ebml.Header{ID: 0x4286, Size: 5, Len: 5}},
	{"\x2A\xD7\xB1\x10\x00\x00\x05", ebml.Header{ID: 0x2AD7B1, Size: 5, Len: 7}},
	{"\x1F\x43\xB6\x75\x08\x00\x00\x00\x05", ebml.Header{ID: 0x1F43B675, Size: 5, Len: 9}},
	{"\xA3\x04\x00\x00\x00\x00\x05", ebml.Header{ID: 0xA3, Size: 5, Len: 7}},
	{"\xA3\x02\x00\x00\x00\x00\x00\x05", ebml.Header{ID: 0xA3, Size: 5, Len: 8}},
	{"\xA3\x01\x00\x00\x00\x00\x00\x00\x05", ebml.Header{ID: 0xA3, Size: 5, Len: 9}},
	{"\xA3\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFE", ebml.Header{ID: 0xA3, Size: 1<<56 - 2, Len: 9}},
	{"\x18\x53\x80\x67\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF", ebml.Header{ID: 0x18538067, Size: ebml.UnknownSize, Len: 12}},
	{"\x18\x53\x80\x67\x1F\xFF\xFF\xFF", ebml.Header{ID: 0x18538067, Size: ebml.UnknownSize, Len: 8}},
}

func TestHeaderBothWays(t *testing.T) {
	t.Parallel()
	for _, c := range headerCases {
		for _, tail := range []string{"", "0123456789abcdef"} { // the slow way and the fast
			h, err := ebml.ParseHeader([]byte(c.wire + tail))
			if err != nil || h != c.h {
				t.Errorf("%x: %+v, %v", c.wire, h, err)
			}
		}
		width := c.h.Len - c.h.ID.Len()
		if got := ebml.AppendHeader(nil, c.h.ID, c.h.Size, width); string(got) != c.wire {
			t.Errorf("%+v: %x, want %x", c.h, got, c.wire)
		}
		for n := range len(c.wire) {
			h, err := ebml.ParseHeader([]byte(c.wire[:n]))
			if !errors.Is(err, ebml.ErrShort) || h.Len <= n || h.Len > len(c.wire) {
				t.Errorf("%x cut at %d: %+v, %v", c.wire, n, h, err)
			}
		}
	}
	for wire, want := range map[string]error{
		"\x00\x80": ebml.ErrID, "\x08\x80": ebml.ErrID, "\xFF\x80": ebml.ErrID,
		"\x7F\xFF\x80": ebml.ErrID, "\x1F\xFF\xFF\xFF\x80": ebml.ErrID, "\xEC\x00": ebml.ErrSize,
	} {
		if _, err := ebml.ParseHeader([]byte(wire)); !errors.Is(err, want) {
			t.Errorf("%x: %v", wire, err)
		}
	}
}

func TestSmallestSize(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]int{0: 1, 126: 1, 127: 2, 1<<14 - 2: 2, 1<<14 - 1: 3, 1<<28 - 1: 5, 1<<56 - 2: 8} {
		b := ebml.AppendSize(nil, size, 0)
		v, n, err := ebml.ParseSize(b)
		if len(b) != want || v != size || n != want || err != nil {
			t.Errorf("%d: %x, read back %d, %v", size, b, v, err)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	for _, v := range []uint64{0, 1, 255, 256, 1 << 40, math.MaxUint64} {
		b := ebml.AppendUint(nil, ebml.IDVersion, v)
		if got, err := ebml.Uint(b[3:]); got != v || err != nil {
			t.Errorf("%d: %d, %v", v, got, err)
		}
	}
	for wire, want := range map[string]int64{"": 0, "\xFF": -1, "\x7F": 127, "\xFF\x00": -256, "\x80\x00\x00\x00\x00\x00\x00\x00": math.MinInt64} {
		if got, err := ebml.Int([]byte(wire)); got != want || err != nil {
			t.Errorf("%x: %d, %v", wire, got, err)
		}
	}
	if got, err := ebml.Float(ebml.AppendFloat(nil, 0x4489, 1.5)[3:]); got != 1.5 || err != nil {
		t.Error(got, err)
	}
	if got, err := ebml.Float([]byte{0x3F, 0xC0, 0, 0}); got != 1.5 || err != nil {
		t.Error(got, err)
	}
	if got, err := ebml.Date([]byte{0, 0, 0, 0, 0x3B, 0x9A, 0xCA, 0}); !got.Equal(time.Date(2001, 1, 1, 0, 0, 1, 0, time.UTC)) || err != nil {
		t.Error(got, err)
	}
	if got := ebml.String([]byte("a\x00b\x00\x00")); got != "a\x00b" {
		t.Errorf("%q", got)
	}
	for total := 2; total < 300; total++ {
		b := ebml.AppendVoid(nil, total)
		h, err := ebml.ParseHeader(b)
		if len(b) != total || err != nil || h.Len+int(h.Size) != total {
			t.Fatalf("Void of %d: %d bytes, %+v, %v", total, len(b), h, err)
		}
	}
}

func FuzzElement(f *testing.F) {
	for _, c := range headerCases {
		f.Add([]byte(c.wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ebml.ParseHeader(b)
		if errors.Is(err, ebml.ErrShort) && (h.Len <= len(b) || h.Len > ebml.MaxHeader) {
			t.Fatalf("of %d bytes, %d wanted", len(b), h.Len)
		}
		if err != nil {
			return
		}
		if again := ebml.AppendHeader(nil, h.ID, h.Size, h.Len-h.ID.Len()); !bytes.HasPrefix(b, again) {
			t.Fatalf("%x became %+v became %x", b, h, again)
		}
		slow, err := ebml.ParseHeader(b[:h.Len:h.Len])
		if slow != h || err != nil {
			t.Fatalf("%+v, and with nothing behind it %+v, %v", h, slow, err)
		}
	})
}
