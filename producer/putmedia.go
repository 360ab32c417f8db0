package producer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// PutMediaInput is a PutMedia request for media that is Matroska already (the
// guide's PutMediaClient).
type PutMediaInput struct {
	// Client calls the service.
	Client *kvsapi.Client
	// Stream that exists.
	Stream sluice.StreamRef
	// Media is sent as it is, to its end.
	Media io.Reader
	// Timecodes says what its clusters count from, and Start the time that
	// relative ones count from; zero: now.
	Timecodes sluice.TimecodeType
	Start     time.Time
	// MaxKbps bounds the upload, in 1000 bits a second. 0: not bounded.
	MaxKbps int
	// OnAck is told of every acknowledgement, in order, on the goroutine that reads
	// them: when it is slow, they wait. It may be nil.
	OnAck func(sluice.Ack)
}

// PutMediaSummary counts what a request brought.
type PutMediaSummary struct {
	Bytes                          int64
	Buffering, Received, Persisted int
	Errors                         []sluice.Ack
	Last                           sluice.FragmentNumber // of the newest acknowledgement
	RequestID                      string
	FirstAck, LastAck              time.Time
}

// PutMedia sends the media and returns when all of it was answered. The error is
// the first ERROR acknowledgement's sluice.AckErrorCode, if there was one.
//
// It is one request and nothing more: it does not reconnect, and a session lasts
// 45 minutes at most. A Stream does more.
func PutMedia(ctx context.Context, in PutMediaInput) (PutMediaSummary, error) {
	u, err := StartPutMedia(ctx, in)
	if err != nil {
		return PutMediaSummary{}, err
	}
	return u.Wait()
}

// Upload is a PutMedia request in the background.
type Upload struct {
	session *kvsapi.PutMediaSession
	body    *limitedBody
	done    chan struct{}
	summary PutMediaSummary
	err     error
}

// StartPutMedia begins a request in the background. It returns once the service
// has accepted it.
func StartPutMedia(ctx context.Context, in PutMediaInput) (*Upload, error) {
	if in.Start.IsZero() {
		in.Start = time.Now()
	}
	body := &limitedBody{ctx: ctx, r: in.Media}
	if in.MaxKbps > 0 {
		bytes := float64(in.MaxKbps) * 1000 / 8
		body.limit = rate.NewLimiter(rate.Limit(bytes), max(int(bytes/4), 1<<10))
	}
	session, err := in.Client.PutMedia(ctx, &kvsapi.PutMediaInput{
		Stream: in.Stream, TimecodeType: in.Timecodes, ProducerStart: in.Start, Body: body,
	})
	if err != nil {
		return nil, serviceError(StatusPutStreamCallFailed, err)
	}
	u := &Upload{session: session, body: body, done: make(chan struct{})}
	u.summary.RequestID = session.RequestID()
	go u.run(in.OnAck)
	return u, nil
}

func (u *Upload) run(onAck func(sluice.Ack)) {
	defer close(u.done)
	defer u.session.Close()
	sum := &u.summary
	for {
		a, err := u.session.Next()
		if err != nil {
			sum.Bytes = u.body.n.Load()
			switch {
			case len(sum.Errors) > 0:
				u.err = ackError{sum.Errors[0].Code}
			case !errors.Is(err, io.EOF):
				u.err = fmt.Errorf("PutMedia: %w", err)
			case u.body.failed.Load() != nil:
				u.err = *u.body.failed.Load()
			case !u.body.ended.Load():
				u.err = errEarly
			}
			return
		}
		now := time.Now()
		if sum.FirstAck.IsZero() {
			sum.FirstAck = now
		}
		sum.LastAck = now
		if !a.Number.IsZero() {
			sum.Last = a.Number
		}
		switch a.Event {
		case sluice.AckBuffering:
			sum.Buffering++

		case sluice.AckReceived:
			sum.Received++
		case sluice.AckPersisted:
			sum.Persisted++

		case sluice.AckError:
			if len(sum.Errors) < 16 {
				sum.Errors = append(sum.Errors, a)
			}
		}
		if onAck != nil {
			onAck(a)
		}
	}
}

// Wait returns when all was answered; see PutMedia.
func (u *Upload) Wait() (PutMediaSummary, error) {
	<-u.done
	return u.summary, u.err
}

// Close breaks the request off and waits for its end.
func (u *Upload) Close() error {
	err := u.session.Close()
	<-u.done
	return err
}
