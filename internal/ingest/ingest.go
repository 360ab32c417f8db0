// Package ingest serves PutMedia: it reads a session's Matroska as it arrives,
// holds it to the rules of the API reference, puts its fragments into the
// stream, and writes the acknowledgements.
//
// A session is two goroutines. The request's own reads the body and decides
// what happens; the other writes acknowledgements, so that a client which does
// not read them never stops one that sends. Between them is a bounded queue
// (acks.go). Time is watched by a timer, and what comes from outside, such as the
// deletion of the stream, interrupts the read.
//
// The order of things on the connection is wire-protocol §3.2: the answer begins
// before a byte of the body was read, because two of the official producers wait
// for it; acknowledgements and media flow at the same time; after the last
// acknowledgement come the terminating chunk, by itself, and the end of the
// connection.
package ingest

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/event"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/stream"
)

const (
	// idleEvery is how often IDLE is sent while the producer is silent, and
	// idleEnd how long it may be (guide, PutMedia: "within the 30 seconds").
	idleEvery = 5 * time.Second
	idleEnd   = 30 * time.Second
	// connectionAge is how long a session may last (wire-protocol §3.4).
	connectionAge = 45 * time.Minute
	// farewell is how long the end of a session may take on a connection whose
	// client no longer reads, or still sends.
	farewell = time.Second
)

// Options of New. Streams must be given.
type Options struct {
	Streams *stream.Registry
	Limits  *limits.Limits // nil: no limits
	Logger  *slog.Logger
	Now     func() time.Time
	Events  *event.Sink // nil: nobody counts
}

// Server serves PutMedia sessions.
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

// Request is what the door knows of a PutMedia call.
type Request struct {
	Ref       sluice.StreamRef
	RequestID string
	Remote    string
	Key       limits.Key // whose bandwidth it is
	Logger    *slog.Logger
}

// Serve takes one PutMedia call from its headers to the end of its answer. It
// returns a *sluice.Error when nothing was answered yet: then the door answers.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, q Request) error {
	h, err := parseHead(r.Header, s.o.Now())
	if err != nil {
		return err
	}
	began := time.Now()
	sess, refused := s.o.Streams.Join(r.Context(), q.Ref, stream.SessionInfo{ID: q.RequestID, Remote: q.Remote, Agent: r.UserAgent()})
	if refused != nil && kms.CodeOf(refused) == 0 {
		if errors.Is(refused, stream.ErrClosed) {
			return &sluice.Error{Code: sluice.InternalFailure, Msg: "the server is stopping", Err: refused}
		}
		return refused
	}
	if q.Logger == nil {
		q.Logger = s.o.Logger
	}
	p := &put{
		s: s, sess: sess, head: h, body: r.Body, conn: http.NewResponseController(w),
		log:   q.Logger.With("session", q.RequestID),
		pace:  s.o.Limits.Pace(limits.PutMedia, q.Key),
		began: began,
	}
	p.answer(w, r)
	p.acks = newAcks(w, p.conn, h.acks, s.o.Events)
	s.o.Events.SessionOpened()
	var end outcome
	if refused != nil {
		// The key's trouble is told where producers look for it.
		end = outcome{code: code(kms.CodeOf(refused)), reason: refused}
		p.acks.finish(end.ack())
		p.acks.run(nil)
	} else {
		end = p.serve(r.Context())
	}
	p.close(end)
	return nil
}

// answer begins the answer: full duplex, 100 for who asked for it, then 200.
func (p *put) answer(w http.ResponseWriter, r *http.Request) {
	// Where one of these is not supported, as in tests without a connection,
	// the session still works.
	p.conn.EnableFullDuplex()
	p.conn.SetReadDeadline(time.Time{})
	p.conn.SetWriteDeadline(time.Time{})
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		w.WriteHeader(http.StatusContinue)
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Connection"] = []string{"close"}
	w.WriteHeader(http.StatusOK)
	p.conn.Flush()
}

// close leaves the stream and lets go of the connection: the handler returns,
// net/http writes the terminating chunk and closes.
func (p *put) close(end outcome) {
	if p.sess != nil {
		p.sess.Leave(end.code.orNil())
	}
	// What the client still sends is read away for a moment, so that the last
	// acknowledgement is not lost to a reset; then the connection goes.
	p.conn.SetReadDeadline(time.Now().Add(farewell))
	p.conn.SetWriteDeadline(time.Now().Add(farewell))
	attrs := []any{"fragments", p.fragments, "bytes", p.bytes, "lasted", time.Since(p.began).Round(time.Millisecond)}
	if end.code != 0 {
		attrs = append(attrs, "error", end.code.String())
	}
	if end.reason != nil {
		attrs = append(attrs, "reason", end.reason.Error())
	}
	p.log.Info("session ended", attrs...)
	p.s.o.Events.SessionEnded(end.why())
}
