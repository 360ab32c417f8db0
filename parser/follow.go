package parser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/aws/smithy-go"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/kvsapi"
)

// MediaGetter is the part of kvsapi.Client that a Follower calls.
type MediaGetter interface {
	GetMedia(ctx context.Context, stream sluice.StreamRef, from sluice.StartSelector) (*kvsapi.Media, error)
}

// Follower reads a stream for as long as its context lives: one GetMedia after
// the other, each going on behind the last whole fragment. Every fragment comes
// whole, in order, and once. (ContinuousGetMediaWorker.)
//
// A connection that breaks off in the middle of a fragment costs nothing: the
// fragment is fetched again. A fragment that the service gave up is left out.
// With NOW as the start, what passed while no fragment had begun on any
// connection is not made up for: there is no place yet to go on from.
type Follower struct {
	Client MediaGetter
	Stream sluice.StreamRef
	From   sluice.StartSelector // zero: NOW
	Reader Options

	// MinDelay and MaxDelay bound the wait before a new try when the one before
	// gave no fragment; it doubles from try to try, less up to a half at
	// random. Defaults: 500 ms and 30 s.
	MinDelay, MaxDelay time.Duration
	Logger             *slog.Logger // nil: none
}

// Fragments is the stream. An error is the last of the sequence: ctx's, or one
// that trying again cannot mend, such as a stream that is not there, or a
// *fragment.ChunkError that the service sent in the stream.
func (f *Follower) Fragments(ctx context.Context) iter.Seq2[*Fragment, error] {
	return func(yield func(*Fragment, error) bool) {
		p := place{from: f.From}
		if p.from.Type == "" {
			p.from.Type = sluice.SelectNow
		}
		log := f.Logger
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		log = log.With("stream", f.Stream.String())
		failures := 0
		for {
			before := p.last
			more, err := f.connection(ctx, &p, log, yield)
			if !more {
				return
			}
			if ctx.Err() != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			if err != nil && !WorthRetrying(err) {
				yield(nil, err)
				return
			}
			if p.last != before {
				failures = 0
			}
			wait := f.delay(failures)
			failures++
			log.Info("GetMedia ended", "error", err, "again_in", wait)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	}
}

// place is where a Follower goes on.
type place struct {
	from sluice.StartSelector
	last sluice.FragmentNumber // the last fragment handed out
}

// connection follows one GetMedia to its end. more is false when the consumer
// has had enough.
func (f *Follower) connection(ctx context.Context, p *place, log *slog.Logger, yield func(*Fragment, error) bool) (more bool, err error) {
	media, err := f.Client.GetMedia(ctx, f.Stream, p.from)
	if err != nil {
		return true, err
	}
	defer media.Close()
	log.Debug("GetMedia begins", "request_id", media.RequestID, "from", p.from.Type, "after", p.last.String())
	r := NewReader(media, f.Reader)
	c := collector{max: r.o.MaxFragment}
	for e, err := range r.Elements(ctx) {
		if err != nil {
			p.resume(c.open)
			return true, err
		}
		got, err := c.take(e)
		if err != nil {
			return true, err
		}
		if got == nil {
			continue
		}
		switch {
		case got.Err != nil:
			return true, got.Err
		case !got.Complete:
			log.Warn("the service gave up a fragment", "fragment", got.Number.String())
		case got.Number.Compare(p.last) <= 0:
			log.Debug("a fragment came again", "fragment", got.Number.String())
		default:
			p.last = got.Number
			p.from = sluice.StartSelector{Type: sluice.SelectFragmentNumber, After: got.Number}
			if !yield(got, nil) {
				return false, nil
			}
		}
	}
	p.resume(c.open)
	if got := c.finish(); got != nil && got.Err != nil {
		return true, got.Err
	}
	return true, io.EOF
}

// resume keeps the place when a connection that began with NOW ended inside a
// fragment, open, and no whole one was had yet: the next one starts at that
// fragment's own time, so that NOW does not move on past it. Every other
// selector means the same place when it is asked again, and is more exact: of
// fragments that lie over each other in time, a time finds the newest.
func (p *place) resume(open *Fragment) {
	if p.from.Type == sluice.SelectNow && open != nil && !open.Server.IsZero() {
		p.from = sluice.StartSelector{Type: sluice.SelectServerTimestamp, Time: open.Server}
	}
}

func (f *Follower) delay(failures int) time.Duration {
	return backOff(failures, f.MinDelay, f.MaxDelay)
}

// backOff is the wait before try failures+2.
func backOff(failures int, low, high time.Duration) time.Duration {
	if low <= 0 {
		low = 500 * time.Millisecond
	}
	if high <= 0 {
		high = 30 * time.Second
	}
	d := min(low<<min(failures, 20), high)
	return d - rand.N(d/2+1)
}

// WorthRetrying reports whether what failed may go well when it is tried again: a
// connection that broke, a limit, an error of the service's own. What was refused
// for good, such as an unknown key or a stream that is not there, may not, whether
// the refusal came from looking the endpoint up or from the call.
func WorthRetrying(err error) bool {
	var chunk *fragment.ChunkError
	if errors.As(err, &chunk) {
		return chunk.ID == sluice.InternalError || chunk.ID == sluice.ErrorWritingToStream
	}
	if errors.Is(err, ErrFragmentSize) {
		return false
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return true // the network, a connection that broke off
	}
	switch sluice.Code(api.ErrorCode()) {
	case sluice.ClientLimitExceeded, sluice.ConnectionLimitExceeded, sluice.InvalidEndpoint, sluice.InternalFailure,
		"ThrottlingException", "ServiceUnavailableException", "ExpiredTokenException", "RequestTimeout":
		return true
	}
	return api.ErrorFault() == smithy.FaultServer
}

// Lister is the part of kvsapi.Client that List calls.
type Lister interface {
	ListFragments(ctx context.Context, in *kvsapi.ListFragmentsInput) ([]kvsapi.FragmentInfo, string, error)
}

// List is every fragment that in selects, page after page, in the order in
// which the service lists them, which is none in particular.
// (ListFragmentWorker.)
func List(ctx context.Context, c Lister, in kvsapi.ListFragmentsInput) iter.Seq2[kvsapi.FragmentInfo, error] {
	return func(yield func(kvsapi.FragmentInfo, error) bool) {
		for {
			page, next, err := c.ListFragments(ctx, &in)
			if err != nil {
				yield(kvsapi.FragmentInfo{}, err)
				return
			}
			for _, f := range page {
				if !yield(f, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			if next == in.NextToken {
				yield(kvsapi.FragmentInfo{}, fmt.Errorf("ListFragments: the token of the next page is that of this one"))
				return
			}
			in.NextToken = next
		}
	}
}
