package ingest

import "testing"

// TestWithin: a piece of the block can grow in it; what is not one stays as it is.
func TestWithin(t *testing.T) {
	t.Parallel()
	block := make([]byte, 100, 200)
	for _, c := range []struct {
		name string
		part []byte
		room int
	}{
		{"from the beginning", block[:10:10], 200},
		{"in the middle", block[40:60:60], 160},
		{"to the end", block[90:100:100], 110},
		{"all", block[:100:100], 200},
		{"behind what was read", block[:200][100:110:110], 10},
		{"over the end of what was read", block[:200][90:110:110], 20},
		{"elsewhere", make([]byte, 10), 10},
		{"nothing", nil, 0},
	} {
		got := within(block, c.part)
		if len(got) != len(c.part) || len(got) > 0 && &got[0] != &c.part[0] {
			t.Errorf("%s: other bytes", c.name)
		}
		if cap(got) != c.room {
			t.Errorf("%s: room for %d, want %d", c.name, cap(got), c.room)
		}
	}
	if got := within(nil, block[:5:5]); cap(got) != 5 {
		t.Error("no block")
	}
}
