package segment_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

const stream = sluice.StreamID("00112233445566778899aabbccddeeff")

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// headers are records around the borders of checksums and blocks.
var sizes = []int{0, 1, 3900, 4000, 4096, segment.SumSize - 1, segment.SumSize, segment.SumSize + 1, 5*segment.SumSize + 99, 64 << 20 / 50}

func header(size int, sealed []byte) segment.Header {
	h := segment.Header{
		Stream: stream, Number: sluice.MakeFragmentNumber(9, 1_800_000_000_000, 77), ProducerMs: -5, LengthMs: 960,
		Bytes: uint32(size), Tracks: 0b11, Position: 1 << 40, File: 42, Header: 0xfedcba98,
	}
	h.Sum([][]byte{sealed[:size/2], nil, sealed[size/2:]})
	return h
}

// file makes a whole file of records.
func file(t testing.TB, sizes ...int) []byte {
	b, err := segment.FileHeader{Stream: stream, File: 42, Created: time.UnixMilli(1_800_000_000_000)}.AppendBlock(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes {
		sealed := noise(uint64(i), size)
		h := header(size, sealed)
		start := len(b)
		if b, err = h.AppendBinary(b); err != nil {
			t.Fatal(err)
		}
		if int64(len(b)-start) != segment.HeaderSize(int64(size)) {
			t.Fatalf("header of %d bytes, want %d", len(b)-start, segment.HeaderSize(int64(size)))
		}
		b = append(b, sealed...)
		b = append(b, make([]byte, segment.RecordSize(int64(size))-int64(len(b)-start))...)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	b := file(t, sizes...)
	fh, err := segment.ParseFileHeader(b)
	if err != nil || fh.Stream != stream || fh.File != 42 || fh.Created.UnixMilli() != 1_800_000_000_000 {
		t.Errorf("%+v %v", fh, err)
	}
	at := int64(segment.BlockSize)
	for i, size := range sizes {
		if at%segment.BlockSize != 0 {
			t.Fatalf("record at %d", at)
		}
		sealed := noise(uint64(i), size)
		rec, err := segment.Open(bytes.NewReader(b), at)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if want := header(size, sealed); !reflect.DeepEqual(rec.Header, want) {
			t.Errorf("size %d: %+v, want %+v", size, rec.Header, want)
		}
		got := make([]byte, size)
		if n, err := rec.ReadAt(got, 0); n != size || err != nil && err != io.EOF || !bytes.Equal(got, sealed) {
			t.Errorf("size %d: read %d %v", size, n, err)
		}
		r := rand.New(rand.NewPCG(uint64(size), 1))
		for range 30 {
			if size == 0 {
				break
			}
			off, p := r.IntN(size), make([]byte, r.IntN(size+100))
			n, err := rec.ReadAt(p, int64(off))
			if want := min(len(p), size-off); n != want || (err == io.EOF) != (len(p) > size-off) || !bytes.Equal(p[:n], sealed[off:off+n]) {
				t.Fatalf("size %d: ReadAt(%d, %d) = %d %v", size, len(p), off, n, err)
			}
		}
		at += segment.RecordSize(int64(size))
	}
	found := 0
	for f, err := range segment.Scan(bytes.NewReader(b), int64(len(b))) {
		if err != nil || f.Header.Sealed != int64(sizes[found]) {
			t.Fatalf("record %d: %+v %v", found, f, err)
		}
		found++
	}
	if found != len(sizes) {
		t.Errorf("found %d of %d", found, len(sizes))
	}
}

// Every bit of a record counts: flipped, it is noticed when what it lies in is
// read, or it lies in padding.
func TestEveryByteIsChecked(t *testing.T) {
	t.Parallel()
	const size = segment.SumSize + 3000
	b := file(t, size)
	end := segment.BlockSize + segment.HeaderSize(size) + size
	for at := int64(0); at < int64(len(b)); at++ {
		if at > 300 && at < 4090 || at > segment.BlockSize+200 && at < end-5 && at%997 != 0 {
			continue
		}
		c := bytes.Clone(b)
		c[at] ^= 0x20
		var err error
		if at < segment.BlockSize {
			_, err = segment.ParseFileHeader(c)
			if (err != nil) != (at < 64) {
				t.Errorf("byte %d of the file header: %v", at, err)
			}
			continue
		}
		rec, err := segment.Open(bytes.NewReader(c), segment.BlockSize)
		if err == nil {
			err = rec.Verify()
		}
		if noticed := errors.Is(err, segment.ErrFormat); noticed != (at < end) {
			t.Errorf("byte %d: %v, record ends at %d", at, err, end)
		}
	}
	for cut := range int64(len(b)) {
		if cut%509 != 0 || cut <= segment.BlockSize {
			continue
		}
		rec, err := segment.Open(bytes.NewReader(b[:cut]), segment.BlockSize)
		if err == nil {
			err = rec.Verify()
		}
		if (cut < end) != errors.Is(err, segment.ErrFormat) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

func TestStreamIDs(t *testing.T) {
	t.Parallel()
	for id, want := range map[sluice.StreamID]bool{
		stream: true, "": false, "..": false, "0011": false, "../../../../../../../etc/passwd00": false,
		"00112233445566778899AABBCCDDEEFF": false, "0011223344556677/899aabbccddeeff": false,
	} {
		if segment.ValidStream(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
		if _, err := (segment.FileHeader{Stream: id}).AppendBlock(nil); (err == nil) != want {
			t.Errorf("header of %q: %v", id, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, size := range []int{0, 100, 3 * segment.SumSize} {
		h := header(size, noise(1, size))
		b, err := h.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, need, err := segment.ParseHeader(b)
		if err != nil || need > 0 {
			if need > segment.HeaderSize(segment.MaxSealed) {
				t.Fatalf("wants %d bytes", need)
			}
			return
		}
		again, err := h.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		g, _, err := segment.ParseHeader(again)
		if err != nil || !reflect.DeepEqual(g, h) {
			t.Fatalf("lost meaning: %+v %+v %v", h, g, err)
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add(file(f, 10, 5000), uint16(5000), byte(3))
	f.Add(file(f, 0, 1), uint16(4100), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte) {
		if len(b) == 0 || len(b) > 1<<20 {
			return
		}
		b = bytes.Clone(b)
		b[int(at)%len(b)] ^= flip
		last := int64(-1)
		for rec, err := range segment.Scan(bytes.NewReader(b), int64(len(b))) {
			if rec.Offset <= last || rec.Offset >= int64(len(b)) || rec.Offset%segment.BlockSize != 0 {
				t.Fatalf("place %d after %d of %d", rec.Offset, last, len(b))
			}
			last = rec.Offset
			if err != nil && !errors.Is(err, segment.ErrFormat) {
				t.Fatal(err)
			}
		}
		segment.ParseFileHeader(b)
	})
}

// Checksums that several goroutines make as the bytes come are those of the whole.
func TestSummer(t *testing.T) {
	for _, size := range []int{1, segment.SumSize - 1, segment.SumSize, segment.SumSize + 1, 3*segment.SumSize + 77, 40 * segment.SumSize} {
		sealed := noise(uint64(size), size)
		var want segment.Header
		want.Sum([][]byte{sealed})
		for workers := 1; workers <= 4; workers++ {
			s := segment.NewSummer(sealed)
			each := (size + workers - 1) / workers
			var wg sync.WaitGroup
			for from := 0; from < size; from += each {
				wg.Go(func() {
					end := min(from+each, size)
					for to := from; to < end; {
						to = min(to+50_001, end)
						s.Add(from, to)
					}
				})
			}
			wg.Wait()
			if got := s.Sums(); !slices.Equal(got, want.Sums) {
				t.Errorf("%d bytes, %d goroutines: %x, want %x", size, workers, got, want.Sums)
			}
		}
	}
}
