package bench

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/parser"
)

// Verified is what was read back of fragments that were PERSISTED.
type Verified struct {
	Fragments, Lost int
	Bytes           int64
}

// verify reads back what was acknowledged, and compares every byte with what was
// sent.
func (p *Put) verify(ctx context.Context, t *Target, cameras []*camera, bad *failure) Verified {
	var good, lost, read atomic.Int64
	client := t.Client()
	next := make(chan *camera)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for c := range next {
				numbers := make([]sluice.FragmentNumber, len(c.kept))
				for i, k := range c.kept {
					numbers[i] = k.number
				}
				i := 0
				for f, err := range parser.FetchList(ctx, client, sluice.StreamRef{Name: c.stream}, numbers, parser.FetchOptions{Parallel: 1}) {
					if err == nil {
						err = p.same(f, c.kept[i])
					}
					if err != nil {
						lost.Add(1)
						bad.add(fmt.Errorf("stream %s: an acknowledged fragment: %w", c.stream, err))
					} else {
						good.Add(1)
						read.Add(int64(len(f.Bytes)))
					}
					i++
				}
				if i < len(numbers) {
					lost.Add(int64(len(numbers) - i))
					bad.add(fmt.Errorf("stream %s: %d of %d acknowledged fragments came back", c.stream, i, len(numbers)))
				}
			}
		})
	}
	for _, c := range cameras {
		next <- c
	}
	close(next)
	wg.Wait()
	return Verified{Fragments: int(good.Load()), Lost: int(lost.Load()), Bytes: read.Load()}
}

// same reports how a fragment differs from what was sent.
func (p *Put) same(f *parser.Fragment, k kept) error {
	switch {
	case f.Err != nil:
		return fmt.Errorf("%v: %w", k.number, f.Err)
	case f.Number != k.number:
		return fmt.Errorf("%v came for %v", f.Number, k.number)
	case len(f.Frames) != k.frames:
		return fmt.Errorf("%v: %d frames of %d", k.number, len(f.Frames), k.frames)
	}
	for i, frame := range f.Frames {
		if len(frame.Data) != p.frameSize() || !bytes.HasPrefix(frame.Data, marker) || !bytes.Equal(frame.Data[len(marker)+8:], p.payload(k.first+i)) {
			return fmt.Errorf("%v: frame %d differs", k.number, i)
		}
	}
	return nil
}
