package egress

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
)

// FragmentList sends durable fragments by their numbers, in the order asked. One
// that cannot be sent is told in its place, by a chunk of error tags. It returns
// a *sluice.Error when nothing was answered yet.
func (s *Server) FragmentList(w http.ResponseWriter, r *http.Request, q Request, numbers []sluice.FragmentNumber) error {
	if most := s.o.Limits.Rules().FragmentList; len(numbers) == 0 || most > 0 && len(numbers) > most {
		return invalid("Fragments: %d numbers, must be 1 to %d", len(numbers), most)
	}
	release, err := s.o.Limits.Connect(limits.FragmentList, q.Key)
	if err != nil {
		return err
	}
	defer release()
	st, err := s.o.Streams.Resolve(r.Context(), q.Ref)
	if err != nil {
		return err
	}
	if err := s.o.Limits.Take(limits.MediaPoints, q.Key, len(numbers)); err != nil {
		return err
	}
	o := s.begin(w, r, limits.FragmentList, "GetMediaForFragmentList", q)
	defer o.end()
	for _, n := range numbers {
		f, err := s.o.Streams.Get(o.ctx, st.ID, n)
		if err == nil {
			err = o.chunk(f)
		}
		switch {
		case err == nil:
			s.o.Events.FragmentSent(f.Archived())
		case errors.Is(err, errClient), o.ctx.Err() != nil, errors.Is(err, stream.ErrDeleted), errors.Is(err, stream.ErrClosed):
			return nil
		case o.failOne(n, err) != nil:
			return nil
		}
	}
	o.flush()
	return nil
}

// failOne sends the chunk that stands for a fragment which cannot be sent.
func (o *output) failOne(n sluice.FragmentNumber, err error) error {
	code, msg := sluice.InternalError, "The fragment could not be read."
	switch c := kms.CodeOf(err); {
	case c != 0:
		code, msg = c, "The stream's key cannot be used."
	case errors.Is(err, store.ErrNone), errors.Is(err, stream.ErrGone), sluice.CodeOf(err) == sluice.ResourceNotFound:
		code, msg = sluice.StreamReadError, "The fragment was not found."
	default:
		o.log.Warn("reader got an error", "operation", o.operation, "fragment", n.String(), "error", err)
	}
	// The guide has the exception's code as an integer.
	o.buf = fragment.AppendListErrorTags(o.buf[:0], n, code, sluice.Code(strconv.Itoa(int(code))), msg)
	return o.write(o.buf)
}

// DefaultPage and MaxPage are how many fragments a page of ListFragments has.
// The model does not say the default.
const (
	DefaultPage = 1000
	MaxPage     = 1000
)

// ListQuery is what ListFragments asks for.
type ListQuery struct {
	Selected bool // else everything, by server time
	Clock    sluice.Clock
	From, To time.Time // inclusive, of a fragment's start
	Max      int       // 1 to MaxPage; 0: DefaultPage, or what Token says
	// Token goes on where another answer ended. It carries the selector and the
	// page size; a selector beside it is passed over.
	Token string
}

// Page is a page of ListFragments, in the order of the selected time.
type Page struct {
	Fragments []store.Entry
	Next      string // "": there are no more
}

// ListFragments lists durable fragments whose start lies in the range asked
// for. It returns a *sluice.Error with InvalidArgumentException for a token that
// this server did not give out for this stream.
func (s *Server) ListFragments(ctx context.Context, id sluice.StreamID, q ListQuery, key limits.Key) (Page, error) {
	if q.Selected && q.To.Before(q.From) {
		return Page{}, invalid("FragmentSelector: TimestampRange: EndTimestamp must not be before StartTimestamp")
	}
	var after place
	if q.Token != "" {
		t, err := s.openToken(id, q.Token)
		if err != nil {
			return Page{}, err
		}
		most := q.Max
		if q, after = t.q, t.after; most != 0 {
			q.Max = most
		}
	}
	if q.Max == 0 {
		q.Max = DefaultPage
	}
	page := Page{Fragments: make([]store.Entry, 0, min(q.Max, 128))}
	sq := store.Query{Clock: q.Clock, From: q.From, To: q.To, Mode: store.Start, Order: store.ByTime, After: after.number, AfterTime: after.start, Limit: q.Max + 1}
	for e, err := range s.o.Streams.List(ctx, id, sq) {
		if err != nil {
			return Page{}, err
		}
		if len(page.Fragments) == q.Max {
			last := page.Fragments[q.Max-1]
			page.Next = s.makeToken(id, token{q: q, after: place{number: last.Number, start: startOf(last, q.Clock)}})
			break
		}
		page.Fragments = append(page.Fragments, e)
	}
	if err := s.o.Limits.Take(limits.MetadataPoints, key, len(page.Fragments)); err != nil {
		return Page{}, err
	}
	return page, nil
}

func startOf(e store.Entry, clock sluice.Clock) time.Time {
	if clock == sluice.ProducerClock {
		return e.Producer()
	}
	return e.Server()
}

// place is where a page ended.
type place struct {
	number sluice.FragmentNumber
	start  time.Time
}

type token struct {
	q     ListQuery
	after place
}

// A token: version 1, flags (bit 0: a selector, bit 1: producer time), page size
// (2 bytes), range (2 × 8 bytes, ms), last number (20 bytes), its start (8
// bytes, ms); then 16 bytes of HMAC-SHA256 over the stream's id and all that.
const (
	tokenVersion = 1
	tokenBody    = 1 + 1 + 2 + 8 + 8 + 20 + 8
	tokenMAC     = 16
)

func (s *Server) makeToken(id sluice.StreamID, t token) string {
	b := make([]byte, 0, tokenBody+tokenMAC)
	flags := byte(0)
	if t.q.Selected {
		flags |= 1
	}
	if t.q.Clock == sluice.ProducerClock {
		flags |= 2
	}
	b = append(b, tokenVersion, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(t.q.Max))
	b = binary.BigEndian.AppendUint64(b, uint64(t.q.From.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(t.q.To.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(t.after.number.Sequence()))
	b = binary.BigEndian.AppendUint64(b, t.after.number.ServerTimestamp())
	b = binary.BigEndian.AppendUint32(b, t.after.number.Low())
	b = binary.BigEndian.AppendUint64(b, uint64(t.after.start.UnixMilli()))
	return base64.StdEncoding.EncodeToString(append(b, s.tokenMAC(id, b)...))
}

func (s *Server) tokenMAC(id sluice.StreamID, b []byte) []byte {
	m := hmac.New(sha256.New, s.o.TokenKey[:])
	raw, err := hex.DecodeString(string(id))
	if err != nil {
		raw = []byte(id)
	}
	m.Write(raw)
	m.Write(b)
	return m.Sum(nil)[:tokenMAC]
}

func (s *Server) openToken(id sluice.StreamID, text string) (token, error) {
	bad := invalid("NextToken: is not one that ListFragments gave for this stream")
	if base64.StdEncoding.DecodedLen(len(text)) > tokenBody+tokenMAC+2 {
		return token{}, bad
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != tokenBody+tokenMAC || b[0] != tokenVersion || !hmac.Equal(b[tokenBody:], s.tokenMAC(id, b[:tokenBody])) {
		return token{}, bad
	}
	var t token
	if b[1]&1 != 0 {
		t.q.Selected = true
		t.q.From = time.UnixMilli(int64(binary.BigEndian.Uint64(b[4:]))).UTC()
		t.q.To = time.UnixMilli(int64(binary.BigEndian.Uint64(b[12:]))).UTC()
	}
	if b[1]&2 != 0 {
		t.q.Clock = sluice.ProducerClock
	}
	t.q.Max = int(binary.BigEndian.Uint16(b[2:]))
	t.after.number = sluice.MakeFragmentNumber(sluice.Sequence(binary.BigEndian.Uint64(b[20:])), binary.BigEndian.Uint64(b[28:]), binary.BigEndian.Uint32(b[36:]))
	t.after.start = time.UnixMilli(int64(binary.BigEndian.Uint64(b[40:]))).UTC()
	return t, nil
}

func invalid(format string, args ...any) error {
	return &sluice.Error{Code: sluice.InvalidArgument, Msg: fmt.Sprintf(format, args...)}
}
