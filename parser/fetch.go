package parser

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// Fetcher is the part of kvsapi.Client that FetchList calls.
type Fetcher interface {
	GetMediaForFragmentList(ctx context.Context, stream sluice.StreamRef, fragments []sluice.FragmentNumber) (*kvsapi.Media, error)
}

// FetchOptions say how FetchList asks. The zero value is good.
type FetchOptions struct {
	Parallel int // calls at the same time; default 4
	Batch    int // fragments a call, 1 to 1000; default 10
	Attempts int // calls without a fragment before it gives up; default 3
	// MinDelay and MaxDelay as of a Follower.
	MinDelay, MaxDelay time.Duration
	Reader             Options
}

// ErrMissing means that the service sent no chunk for a fragment asked for.
var ErrMissing = errors.New("not sent by the service")

// FetchList is the fragments with these numbers, in this order, fetched with
// GetMediaForFragmentList by several calls at once. At most Parallel times Batch
// fragments are in memory. A fragment that the service refuses has Err set and
// no media; an error that no further try mends ends the sequence.
// (GetMediaForFragmentListWorker.)
func FetchList(ctx context.Context, c Fetcher, stream sluice.StreamRef, numbers []sluice.FragmentNumber, o FetchOptions) iter.Seq2[*Fragment, error] {
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Batch <= 0 {
		o.Batch = 10
	}
	o.Batch = min(o.Batch, 1000)
	if o.Attempts <= 0 {
		o.Attempts = 3
	}
	return func(yield func(*Fragment, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		batches := slices.Collect(slices.Chunk(numbers, o.Batch))
		results := make([]chan batch, len(batches))
		start := func(i int) {
			if i >= len(batches) {
				return
			}
			results[i] = make(chan batch, 1)
			wg.Go(func() {
				var b batch
				b.fragments, b.err = fetch(ctx, c, stream, batches[i], o)
				results[i] <- b
			})
		}
		for i := range o.Parallel {
			start(i)
		}
		for i := range batches {
			b := <-results[i]
			results[i] = nil
			for _, f := range b.fragments {
				if !yield(f, nil) {
					return
				}
			}
			if b.err != nil {
				yield(nil, b.err)
				return
			}
			start(i + o.Parallel)
		}
	}
}

type batch struct {
	fragments []*Fragment
	err       error
}

// fetch gets one batch, with as many calls as that takes.
func fetch(ctx context.Context, c Fetcher, stream sluice.StreamRef, want []sluice.FragmentNumber, o FetchOptions) ([]*Fragment, error) {
	var got []*Fragment
	for failures := 0; len(got) < len(want); {
		before := len(got)
		var err error
		got, err = fetchOnce(ctx, c, stream, want, got, o.Reader)
		switch {
		case len(got) > before:
			failures = 0
		case ctx.Err() != nil:
			return got, context.Cause(ctx)
		default:
			failures++
		}
		if err != nil && (!WorthRetrying(err) || failures >= o.Attempts) {
			return got, err
		}
		if failures == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return got, context.Cause(ctx)
		case <-time.After(backOff(failures-1, o.MinDelay, o.MaxDelay)):
		}
	}
	return got, nil
}

// fetchOnce asks for what is not in got yet, and appends what comes.
func fetchOnce(ctx context.Context, c Fetcher, stream sluice.StreamRef, want []sluice.FragmentNumber, got []*Fragment, o Options) ([]*Fragment, error) {
	media, err := c.GetMediaForFragmentList(ctx, stream, want[len(got):])
	if err != nil {
		return got, err
	}
	defer media.Close()
	for f, err := range NewReader(media, o).Fragments(ctx) {
		switch {
		case err != nil:
			return got, err
		case len(got) == len(want):
			return got, fmt.Errorf("GetMediaForFragmentList: fragment %v was not asked for", f.Number)
		case f.Number.IsZero() && f.Err != nil:
			f.Number = want[len(got)] // an error without a name is about the next one
		case f.Number != want[len(got)]:
			return got, &missingError{want[len(got)]}
		}
		got = append(got, f)
	}
	if len(got) < len(want) {
		return got, &missingError{want[len(got)]}
	}
	return got, nil
}

// missingError names the fragment that ErrMissing is about.
type missingError struct{ number sluice.FragmentNumber }

func (e *missingError) Error() string { return fmt.Sprintf("fragment %v: %v", e.number, ErrMissing) }
func (e *missingError) Unwrap() error { return ErrMissing }
