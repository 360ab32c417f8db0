package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/seal"
)

var (
	streamKey = [32]byte{1, 2, 3}
	aad       = seal.AAD{
		Stream: "00112233445566778899aabbccddeeff", Number: sluice.MakeFragmentNumber(7, 1_700_000_000_000, 99),
		ProducerMs: 1_699_999_999_999, ServerMs: 1_700_000_000_000, LengthMs: 1960,
	}
)

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

// cut splits b at random places, empty pieces among them.
func cut(r *rand.Rand, b []byte) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		n := r.IntN(len(b) + 1)
		out, b = append(out, b[:n]), b[n:]
	}
	return out
}

// sizes are those around the borders of chunks.
var sizes = []int{0, 1, 15, 4096, seal.ChunkSize - 1, seal.ChunkSize, seal.ChunkSize + 1, 2 * seal.ChunkSize, 3*seal.ChunkSize + 777,
	8 * seal.ChunkSize, 8*seal.ChunkSize + 1, 19*seal.ChunkSize + 777}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range sizes {
		plain := noise(uint64(size), size)
		parts := cut(r, plain)
		lens := make([]int, len(parts))
		for i := range parts {
			lens[i] = len(parts[i])
		}
		sealed, err := seal.Seal(&streamKey, aad, parts...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range parts {
			if len(parts[i]) != lens[i] {
				t.Fatalf("size %d: the caller's pieces were changed", size)
			}
		}
		if int64(len(sealed)) != seal.SealedSize(int64(size)) || cap(sealed) > len(sealed)+len(sealed)/4+64 {
			t.Errorf("size %d: sealed %d, cap %d, want %d", size, len(sealed), cap(sealed), seal.SealedSize(int64(size)))
		}
		if n, err := seal.PlainSize(int64(len(sealed))); err != nil || n != int64(size) {
			t.Errorf("size %d: PlainSize %d %v", size, n, err)
		}
		rd, err := seal.Open(&streamKey, aad, bytes.NewReader(sealed), int64(len(sealed)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := rd.All(); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("size %d: All differs, %v", size, err)
		}
		for range 20 {
			if size == 0 {
				break
			}
			off := r.IntN(size)
			p := make([]byte, r.IntN(size+10))
			n, err := rd.ReadAt(p, int64(off))
			if want := min(len(p), size-off); n != want || (err == io.EOF) != (len(p) > size-off) || !bytes.Equal(p[:n], plain[off:off+n]) {
				t.Fatalf("size %d: ReadAt(%d bytes, %d) = %d %v", size, len(p), off, n, err)
			}
		}
	}
}

// counted notes what was read.
type counted struct {
	src  io.ReaderAt
	read int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.read += int64(len(p))
	return c.src.ReadAt(p, off)
}

func TestReadsOnlyWhatItNeeds(t *testing.T) {
	t.Parallel()
	sealed, err := seal.Seal(&streamKey, aad, noise(1, 10*seal.ChunkSize))
	if err != nil {
		t.Fatal(err)
	}
	src := &counted{src: bytes.NewReader(sealed)}
	rd, err := seal.Open(&streamKey, aad, src, int64(len(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rd.ReadAt(make([]byte, 100), 5*seal.ChunkSize+10); err != nil {
		t.Fatal(err)
	}
	if want := int64(seal.SaltSize + seal.ChunkSize + 16); src.read != want {
		t.Errorf("read %d bytes for 100, want %d: the salt and one chunk", src.read, want)
	}
}

func TestNothingChangedOpens(t *testing.T) {
	t.Parallel()
	plain := noise(3, seal.ChunkSize+500)
	sealed, err := seal.Seal(&streamKey, aad, plain)
	if err != nil {
		t.Fatal(err)
	}
	const c = seal.ChunkSize + 16
	swapped := append([]byte(nil), sealed...)
	copy(swapped[seal.SaltSize:], sealed[seal.SaltSize+c:])
	other := func(change func(*seal.AAD)) seal.AAD { a := aad; change(&a); return a }
	wrongKey := streamKey
	wrongKey[31] ^= 1
	flip := func(at int) []byte { b := append([]byte(nil), sealed...); b[at] ^= 0x10; return b }
	for name, tc := range map[string]struct {
		key *[32]byte
		aad seal.AAD
		b   []byte
	}{
		"key":                {&wrongKey, aad, sealed},
		"stream":             {&streamKey, other(func(a *seal.AAD) { a.Stream = "ff112233445566778899aabbccddeeff" }), sealed},
		"number":             {&streamKey, other(func(a *seal.AAD) { a.Number = sluice.MakeFragmentNumber(7, 1_700_000_000_000, 98) }), sealed},
		"producer time":      {&streamKey, other(func(a *seal.AAD) { a.ProducerMs++ }), sealed},
		"server time":        {&streamKey, other(func(a *seal.AAD) { a.ServerMs++ }), sealed},
		"length":             {&streamKey, other(func(a *seal.AAD) { a.LengthMs++ }), sealed},
		"version":            {&streamKey, other(func(a *seal.AAD) { a.Version = 2 }), sealed},
		"salt":               {&streamKey, aad, flip(3)},
		"first chunk":        {&streamKey, aad, flip(seal.SaltSize + 9)},
		"first tag":          {&streamKey, aad, flip(seal.SaltSize + c - 1)},
		"last chunk":         {&streamKey, aad, flip(seal.SaltSize + c)},
		"last tag":           {&streamKey, aad, flip(len(sealed) - 1)},
		"last chunk removed": {&streamKey, aad, sealed[:seal.SaltSize+c]},
		"chunk in chunk":     {&streamKey, aad, swapped},
		"cut":                {&streamKey, aad, sealed[:len(sealed)-1]},
	} {
		rd, err := seal.Open(tc.key, tc.aad, bytes.NewReader(tc.b), int64(len(tc.b)))
		if err == nil {
			_, err = rd.All()
		}
		if !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", name, err)
		}
	}
}

func TestEmptyRecordIsAuthenticated(t *testing.T) {
	t.Parallel()
	sealed, err := seal.Seal(&streamKey, aad)
	if err != nil {
		t.Fatal(err)
	}
	sealed[len(sealed)-1] ^= 1
	rd, err := seal.Open(&streamKey, aad, bytes.NewReader(sealed), int64(len(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rd.All(); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("%v, want ErrOpen", err)
	}
}

func TestSaltsDiffer(t *testing.T) {
	t.Parallel()
	a, _ := seal.Seal(&streamKey, aad, []byte("same"))
	b, _ := seal.Seal(&streamKey, aad, []byte("same"))
	if bytes.Equal(a, b) {
		t.Error("two records of the same text are equal")
	}
	if _, err := seal.Seal(&streamKey, seal.AAD{Stream: "../../etc"}, nil); err == nil {
		t.Error("a stream id that is no id was accepted")
	}
}

func FuzzOpen(f *testing.F) {
	for _, size := range []int{0, 1, 100} {
		b, err := seal.Seal(&streamKey, aad, noise(9, size))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rd, err := seal.Open(&streamKey, aad, bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		// Only what was sealed opens, and nobody can seal without the key.
		if plain, err := rd.All(); err == nil && int64(len(plain)) != rd.Size() {
			t.Fatalf("opened %d of %d", len(plain), rd.Size())
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{256 << 10, 4 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			plain := [][]byte{noise(1, 700), noise(2, size)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := seal.Seal(&streamKey, aad, plain...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	sealed, err := seal.Seal(&streamKey, aad, noise(2, 256<<10))
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 256<<10)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		rd, err := seal.Open(&streamKey, aad, bytes.NewReader(sealed), int64(len(sealed)))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := rd.ReadAt(dst, 0); err != nil {
			b.Fatal(err)
		}
	}
}
