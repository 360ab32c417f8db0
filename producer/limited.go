package producer

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// limitedBody reads media no faster than a rate, and notes how it ended.
type limitedBody struct {
	ctx    context.Context
	r      io.Reader
	limit  *rate.Limiter // nil: not bounded
	n      atomic.Int64
	ended  atomic.Bool
	failed atomic.Pointer[error]
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.limit != nil {
		p = p[:min(len(p), b.limit.Burst())]
	}
	n, err := b.r.Read(p)
	b.n.Add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
	case err != nil:
		b.failed.Store(&err)
	}
	if n > 0 && b.limit != nil {
		if err := b.limit.WaitN(b.ctx, n); err != nil {
			return 0, err
		}
	}
	return n, err
}
