package stream

import "testing"

// TestBlocks: every size fits, what comes back is used for sizes it holds, and
// little is wasted.
func TestBlocks(t *testing.T) {
	t.Parallel()
	var b blocks
	for n := range 1 << 16 {
		p := b.get(n)
		if len(p) != n {
			t.Fatalf("%d bytes for %d", len(p), n)
		}
		if n > 1<<minShift && cap(p) > n+n/8 {
			t.Fatalf("%d bytes hold %d", cap(p), n)
		}
		b.put(p)
	}
	for _, n := range []int{1 << 20, 1<<20 + 1, 50 << 20, 1 << 30} {
		i, size := class(n)
		if size < n || size > n+n/8 {
			t.Errorf("%d for %d", size, n)
		}
		if j, again := class(size); j != i || again != size {
			t.Errorf("%d: %d %d, then %d %d", n, i, size, j, again)
		}
	}
	b.put(make([]byte, 5000, 5001)) // not one of its own
}
