package producer

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// MediaSource puts frames into a stream by itself: a camera, a file, a log. Its
// life is that of the guide: make it, register it with a client, start it, stop
// it, let it go.
type MediaSource interface {
	// Configure says what the source will put. Fields that stay zero are those of
	// the StreamInfo that was given at registration; Tracks are the source's. It
	// is called once, by Register.
	Configure(ctx context.Context) (StreamInfo, error)
	// Run puts frames until ctx ends or the source is exhausted, which is no
	// error. It is called again when the source is started again.
	Run(ctx context.Context, s *Stream) error
}

// Registration is a media source with its stream.
type Registration struct {
	client *Client
	source MediaSource
	stream *Stream

	mu      sync.Mutex
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
	running bool
}

// Register gives a source a stream of the client, under a name. info may be nil;
// its zero fields are filled in from the source.
func (c *Client) Register(ctx context.Context, name string, source MediaSource, info *StreamInfo) (*Registration, error) {
	from, err := source.Configure(ctx)
	if err != nil {
		return nil, fmt.Errorf("media source for stream %s: %w", name, err)
	}
	in := from
	if info != nil {
		in = *info
		if len(in.Tracks) == 0 {
			in.Tracks = from.Tracks
		}
		if in.ContentType == "" {
			in.ContentType = from.ContentType
		}
		if in.NALs == AdaptAuto {
			in.NALs = from.NALs
		}
		in.ByDuration = in.ByDuration || from.ByDuration
		if in.Start.IsZero() {
			in.Start = from.Start
		}
		if in.Retention != NoRetention && !in.NoAcks {
			in.Type = max(in.Type, from.Type) // what is not paced has to wait for room
		}
		if in.FragmentDuration == 0 {
			in.FragmentDuration = from.FragmentDuration
		}
	}
	in.Name = name
	s, err := c.NewStream(in)
	if err != nil {
		return nil, err
	}
	r := &Registration{client: c, source: source, stream: s}
	c.mu.Lock()
	c.sources[r] = struct{}{}
	c.mu.Unlock()
	return r, nil
}

// Stream is the source's stream.
func (r *Registration) Stream() *Stream { return r.stream }

// Start lets the source put frames, in the background. Starting a source that
// runs does nothing.
func (r *Registration) Start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		return
	}
	ctx, r.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	r.done, r.err, r.running = done, nil, true
	go func() {
		err := r.source.Run(ctx, r.stream)
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = nil // that is how Stop ends it
		}
		r.mu.Lock()
		r.err, r.running = err, false
		r.mu.Unlock()
		close(done)
	}()
}

// Wait returns once the source has stopped by itself or was stopped, with its
// error.
func (r *Registration) Wait() error {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done != nil {
		<-done
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Stop ends the source and its open fragment. The stream goes on sending what is
// buffered, and the source may be started again.
func (r *Registration) Stop() error {
	r.mu.Lock()
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	err := r.Wait()
	_ = r.stream.EndFragment() // of a stream that is stopped there is none
	return err
}

// Free stops the source and its stream; see Stream.Stop.
func (r *Registration) Free(ctx context.Context) (Report, error) {
	err := r.Stop()
	report, stopErr := r.stream.Stop(ctx)
	r.client.mu.Lock()
	delete(r.client.sources, r)
	r.client.mu.Unlock()
	return report, errors.Join(err, stopErr)
}
