// Package egress serves what reads a stream as Matroska: GetMedia, which follows
// it from a start selector into the present and on, GetMediaForFragmentList,
// which gets durable fragments by their numbers, and ListFragments, which finds
// them.
//
// There is no archive mode and no live mode: a Cursor (internal/stream) gives
// one fragment after the other, whole or while it arrives, and each becomes a
// chunk (package fragment; wire-protocol §5). A slow client slows its own reading
// and nothing else: no queue belongs to a reader.
package egress

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/event"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
)

// ContentType is that of all media answers, whatever the codecs (wire-protocol
// §5).
const ContentType = "video/webm"

// Options of New. Streams must be given.
type Options struct {
	Streams *stream.Registry
	Limits  *limits.Limits // nil: no limits
	// TokenKey authenticates the paging tokens of ListFragments. Tokens outlive a
	// restart when it does.
	TokenKey [32]byte
	Logger   *slog.Logger
	Now      func() time.Time
	Events   *event.Sink // nil: nobody counts
}

// Server serves readers.
type Server struct{ o Options }

// New makes a Server.
func New(o Options) *Server {
	if o.Limits == nil {
		o.Limits = limits.New(limits.Rules{}, limits.Rates{})
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{o: o}
}

// Request is what the door knows of a media call.
type Request struct {
	Ref    sluice.StreamRef
	Key    limits.Key // Session must tell connections apart
	Logger *slog.Logger
}

// output is the answer of a media call.
type output struct {
	ctx       context.Context
	s         *Server
	w         http.ResponseWriter
	conn      *http.ResponseController
	pace      limits.Pacer
	operation string
	log       *slog.Logger
	buf       []byte
}

// begin starts the answer, before there is anything to send.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, class limits.Class, operation string, q Request) *output {
	log := q.Logger
	if log == nil {
		log = s.o.Logger
	}
	o := &output{ctx: r.Context(), s: s, w: w, conn: http.NewResponseController(w), pace: s.o.Limits.Pace(class, q.Key), operation: operation, log: log}
	// An answer may last for days.
	o.conn.SetWriteDeadline(time.Time{})
	w.Header()["Content-Type"] = []string{ContentType}
	w.WriteHeader(http.StatusOK)
	o.conn.Flush()
	s.o.Events.ReaderOpened()
	return o
}

func (o *output) end() { o.s.o.Events.ReaderClosed() }

// errClient says that the client is gone or was cut off.
var errClient = errors.New("client gone")

func (o *output) write(p []byte) error {
	if err := o.pace.WaitN(o.ctx, len(p)); err != nil {
		return errClient
	}
	if _, err := o.w.Write(p); err != nil {
		return errClient
	}
	o.s.o.Events.MediaSent(len(p))
	return nil
}

func (o *output) flush() error {
	if o.conn.Flush() != nil {
		return errClient
	}
	return nil
}

// chunk sends a fragment up to its trailing tags. Everything that is there is
// flushed before it waits for more.
func (o *output) chunk(f *stream.Fragment) error {
	first := true
	for parts, err := range f.Batches(o.ctx) {
		if first && len(parts) > 0 {
			o.buf = append(o.buf[:0], f.Leading...)
			o.buf = fragment.AppendLeadingTags(o.buf, f.Number, f.Server, f.Producer)
			if err := o.write(o.buf); err != nil {
				return err
			}
			first = false
		}
		for _, p := range parts {
			if err := o.write(p.Bytes); err != nil {
				return err
			}
		}
		if len(parts) > 0 && !f.Complete() {
			if err := o.flush(); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// GetMedia sends a stream from a place on, until the client leaves, the stream
// is deleted or the server stops. It returns a *sluice.Error when nothing was
// answered yet. Trouble with the stream's key and with single fragments is told
// in the answer, as chunks of error tags.
func (s *Server) GetMedia(w http.ResponseWriter, r *http.Request, q Request, from sluice.StartSelector) error {
	release, err := s.o.Limits.Connect(limits.GetMedia, q.Key)
	if err != nil {
		return err
	}
	defer release()
	cursor, err := s.o.Streams.Follow(r.Context(), q.Ref, from)
	code := kms.CodeOf(err)
	if err != nil && code == 0 {
		return err
	}
	o := s.begin(w, r, limits.GetMedia, "GetMedia", q)
	defer o.end()
	if err != nil {
		o.fail(from.After, code, err)
		return nil
	}
	defer cursor.Attend()()
	for {
		f, err := cursor.Next(o.ctx)
		if err != nil {
			if !o.survives(cursor.Position(), err) {
				return nil
			}
			continue
		}
		if err := o.chunk(f); err != nil {
			if !o.survives(f.Number, err) {
				return nil
			}
			continue
		}
		behind := max(s.o.Now().Sub(f.Server), 0)
		o.buf = fragment.AppendTrailingTags(o.buf[:0], behind, f.Number)
		if o.write(o.buf) != nil || o.flush() != nil {
			return nil
		}
		s.o.Events.FragmentSent(f.Archived())
	}
}

// survives tells the client what went wrong with fragment n and reports whether
// reading goes on behind it.
func (o *output) survives(n sluice.FragmentNumber, err error) bool {
	switch {
	case errors.Is(err, errClient), o.ctx.Err() != nil, errors.Is(err, stream.ErrClosed), errors.Is(err, stream.ErrDeleted):
		return false
	case errors.Is(err, stream.ErrAborted), errors.Is(err, stream.ErrGone):
		// The chunk just ends, without its trailing tags, and the next one begins.
		return o.flush() == nil
	}
	if errors.Is(err, store.ErrCorrupt) {
		o.s.o.Events.CorruptRecord()
	}
	if code := kms.CodeOf(err); code != 0 {
		o.fail(n, code, err)
		return false
	}
	var one *stream.FragmentError
	alone := errors.As(err, &one) || errors.Is(err, store.ErrCorrupt)
	// A fragment that cannot be read is told and passed over: a client that came
	// back behind the one before would only meet it again.
	return o.fail(n, sluice.InternalError, err) == nil && alone
}

// fail sends a chunk of error tags.
func (o *output) fail(n sluice.FragmentNumber, code sluice.AckErrorCode, err error) error {
	o.log.Warn("reader got an error", "operation", o.operation, "fragment", n.String(), "error", err)
	if n.IsZero() {
		// The official parser wants a number beside an error: the position below
		// every fragment.
		n = sluice.MakeFragmentNumber(0, 0, 0)
	}
	o.buf = fragment.AppendErrorTags(o.buf[:0], n, code)
	if err := o.write(o.buf); err != nil {
		return err
	}
	return o.flush()
}
