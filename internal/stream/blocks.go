package stream

import (
	"math/bits"
	"sync"

	"github.com/sluicevideo/sluice/internal/store"
)

// blocks lends memory for sealed records between their sealing and the moment
// they are durable: as many bytes a second as all cameras send, which would make
// the garbage collector run twice as often. Only what is sealed is ever used
// again: mixed up it would not open, while a block of media would be another
// camera's picture.
type blocks struct{ classes [classes]sync.Pool }

const (
	// Sizes are rounded up to an eighth of a power of two, from minShift on.
	minShift = 12
	classes  = 8 * (31 - minShift)
)

// class is the index of the smallest size that holds n, and that size.
func class(n int) (i, size int) {
	shift := max(bits.Len(uint(max(n-1, 0)))-1, minShift)
	step := 1 << (shift - 3)
	eighths := (max(n-1<<shift, 0) + step - 1) / step
	return 8*(shift-minShift) + eighths, 1<<shift + eighths*step
}

func (b *blocks) get(n int) []byte {
	i, size := class(n)
	if i >= len(b.classes) {
		return store.NewFrame(n)
	}
	if p, ok := b.classes[i].Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return store.NewFrame(size)[:n]
}

// put takes back what get lent; nobody may use it any more.
func (b *blocks) put(p []byte) {
	if i, size := class(cap(p)); i < len(b.classes) && size == cap(p) {
		b.classes[i].Put(&p)
	}
}
