package kvsapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
)

// PutMediaInput is what a PutMedia request says before its media.
type PutMediaInput struct {
	Stream sluice.StreamRef // a name or an ARN
	// TimecodeType says what the Clusters' timecodes count from.
	TimecodeType sluice.TimecodeType
	// ProducerStart is the time that relative timecodes count from. Zero: not
	// sent, and the server takes the time it received the request.
	ProducerStart time.Time
	// NoAcks asks for no acknowledgements but errors (the header
	// x-amzn-fragment-acknowledgment-required, in no published API reference).
	NoAcks bool
	// Body is the Matroska stream. It is read on a goroutine of the transport as
	// fast as the server takes it, from before PutMedia returns until it ends,
	// fails, or the session does; each Read is one chunk on the wire at most.
	// io.EOF ends the request properly; any other error breaks it off. When it is
	// an io.Closer it is closed at the end, whatever the end is, and its Close must
	// make a Read that waits return.
	Body io.Reader
}

// PutMedia opens a session. It returns once the server has accepted the request,
// which it does before any media; until then answerTimeout bounds the wait. The
// session lives until ctx ends, Close is called or the server ends it; it must be
// closed in any case.
//
// The error is an *APIError when the server refused. Nothing is tried again here,
// because part of Body may have been read.
func (c *Client) PutMedia(ctx context.Context, in *PutMediaInput) (*PutMediaSession, error) {
	body := mediaBody(in.Body)
	s, err := c.putMedia(ctx, in, body)
	if err != nil {
		c.forgetEndpoint(in.Stream, apiPutMedia, err)
		body.Close()
	}
	return s, err
}

// mediaBody makes a body whose Close ends a Read that waits. The transport
// returns from a request that was cancelled only when its body's Read has.
func mediaBody(r io.Reader) io.ReadCloser {
	if rc, ok := r.(io.ReadCloser); ok {
		return rc
	}
	// A reader that can't be closed is read by a goroutine that stays behind, until
	// its Read returns, should the session end first.
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	return pr
}

// answerTimeout is how long PutMedia waits for the head of the answer: as the
// official Java producer does.
const answerTimeout = 10 * time.Second

var errNoAnswer = errors.New("no answer within " + answerTimeout.String())

func (c *Client) putMedia(ctx context.Context, in *PutMediaInput, body io.ReadCloser) (*PutMediaSession, error) {
	endpoint, err := c.dataEndpoint(ctx, in.Stream, apiPutMedia)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() { body.Close() })
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/putMedia", body)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("PutMedia: %w", err)
	}
	// Media of known length would be sent with a Content-Length; the API wants
	// chunks, and the server reads the end of the media from the last one.
	r.ContentLength, r.GetBody = -1, nil
	r.Header.Set("User-Agent", c.agent)
	if in.Stream.Name != "" {
		r.Header.Set("X-Amzn-Stream-Name", in.Stream.Name)
	} else {
		r.Header.Set("X-Amzn-Stream-Arn", in.Stream.ARN)
	}
	r.Header.Set("X-Amzn-Fragment-Timecode-Type", in.TimecodeType.String())
	if !in.ProducerStart.IsZero() {
		ms := in.ProducerStart.UnixMilli()
		r.Header.Set("X-Amzn-Producer-Start-Timestamp", fmt.Sprintf("%d.%03d", ms/1000, ms%1000))
	}
	acks := 1
	if in.NoAcks {
		acks = 0
	}
	r.Header.Set("X-Amzn-Fragment-Acknowledgment-Required", strconv.Itoa(acks))
	if err := c.sign(ctx, r, emptyHash); err != nil {
		cancel(nil)
		return nil, fmt.Errorf("PutMedia: %w", err)
	}
	late := time.AfterFunc(answerTimeout, func() { cancel(errNoAnswer) })
	resp, err := c.http.Do(r)
	if !late.Stop() && err == nil {
		resp.Body.Close()
		err = errNoAnswer
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, &connectionError{"PutMedia", err}
	}
	if resp.StatusCode != http.StatusOK {
		answer := readError("PutMedia", resp)
		c.learnClock(resp, answer)
		cancel(nil)
		return nil, answer
	}
	return &PutMediaSession{
		requestID: resp.Header.Get("X-Amzn-Requestid"),
		body:      resp.Body,
		lines:     bufio.NewReaderSize(resp.Body, maxAck),
		cancel:    cancel,
	}, nil
}

// maxAck bounds one acknowledgement: the native producers refuse one of more
// than 1024 bytes, so no server sends it.
const maxAck = 4096

// PutMediaSession is the answer to a PutMedia request: its acknowledgements.
type PutMediaSession struct {
	requestID string
	body      io.ReadCloser
	lines     *bufio.Reader
	cancel    context.CancelCauseFunc
	once      sync.Once
}

// RequestID is the server's name for the session.
func (s *PutMediaSession) RequestID() string { return s.requestID }

// Next is the next acknowledgement. It waits for one; io.EOF is the proper end
// of the session, after all that was sent has been decided, and
// io.ErrUnexpectedEOF or another error a connection that broke. An ERROR
// acknowledgement is an Ack like the others: the server ends the session after
// it. One goroutine at a time.
func (s *PutMediaSession) Next() (sluice.Ack, error) {
	for {
		line, err := s.lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return sluice.Ack{}, fmt.Errorf("PutMedia: an acknowledgement of more than %d bytes", maxAck)
		}
		if len(line) == 0 || len(line) == 1 && err == nil { // nothing left, or an empty line
			if err != nil {
				return sluice.Ack{}, err
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return sluice.Ack{}, err
		}
		a, err := sluice.ParseAck(line)
		if err != nil {
			return sluice.Ack{}, fmt.Errorf("PutMedia: %w", err)
		}
		return a, nil
	}
}

// Close breaks the session off if it has not ended, and lets go of its
// connection. A Next that waits returns an error.
func (s *PutMediaSession) Close() error {
	s.once.Do(func() {
		s.cancel(context.Canceled)
		s.body.Close()
	})
	return nil
}
