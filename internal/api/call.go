package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
)

// Call is one request on its way through the chain. It belongs to the request's
// goroutine.
type Call struct {
	Op        *Operation // nil: a path that no row has
	RequestID string
	Start     time.Time
	Request   *http.Request // as normalised: Host and scheme are what the client called
	Identity  Identity
	Remote    netip.Addr // the client, behind trusted proxies
	Secure    bool       // the client speaks https
	Body      []byte     // whole; nil for streaming operations
	Form      url.Values // Query protocol
	Input     any        // pointer to the type of Op.Input, checked
	Ref       sluice.StreamRef

	api       *API
	out       *response
	log       *slog.Logger
	members   map[string]json.RawMessage
	malformed error // the body is not a JSON object
	stream    catalog.Stream
	streamErr error
	resolved  bool
	attrs     []slog.Attr
	err       error
	broken    bool // the connection must not be used further
	silent    bool // no record
	proxied   bool // X-Forwarded-* counted
}

// Logger writes lines that carry the request id.
func (c *Call) Logger() *slog.Logger { return c.log.With("request_id", c.RequestID) }

// Note adds to the call's record.
func (c *Call) Note(attrs ...slog.Attr) { c.attrs = append(c.attrs, attrs...) }

// As says whom a call with a token stands for.
func (c *Call) As(id Identity) { c.Identity = id }

// Limits are the rules, rates and counters of the server.
func (c *Call) Limits() *limits.Limits { return c.api.o.Limits }

// LimitKey is whose call it is, for counting. Playback adds its session.
func (c *Call) LimitKey() limits.Key {
	k := limits.Key{Operation: c.name(), Account: c.api.o.Account, Stream: c.Ref.Name}
	if k.Stream == "" && c.Ref.ARN != "" {
		if arn, err := sluice.ParseARN(c.Ref.ARN); err == nil {
			k.Stream = arn.Name
		}
	}
	return k
}

// Stream is the stream that the call names; it is looked up once. It returns
// what catalog.Describe returns.
func (c *Call) Stream(ctx context.Context) (catalog.Stream, error) {
	if !c.resolved {
		c.resolved = true
		c.stream, c.streamErr = c.api.o.Catalog.Describe(ctx, c.Ref)
	}
	return c.stream, c.streamErr
}

func (c *Call) name() string {
	if c.Op == nil {
		return "Unknown"
	}
	return c.Op.Name
}

func (c *Call) actionText() string {
	if t := c.Request.Header.Get("X-Amz-Target"); t != "" {
		return " " + clip(t, 64)
	}
	if c.Form != nil {
		return " Action=" + clip(c.Form.Get("Action"), 64)
	}
	return ""
}

// text is a string member at the top of the body, "" when it is not there or
// not a string: the shape step complains, after policy.
func (c *Call) text(name string) string {
	raw := c.members[name]
	var s string
	if raw == nil || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// bodyTime is how long a body that is read whole may take to arrive.
const bodyTime = 30 * time.Second

// readBody reads the body whole, unless the operation streams.
func (c *Call) readBody(w http.ResponseWriter, r *http.Request) error {
	most := int64(defaultMaxBody)
	if c.Op != nil {
		most = c.Op.MaxBody
		if c.Op.Streams {
			return nil
		}
	} else if r.URL.Path == "/" {
		most = queryMaxBody
	}
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	if r.ContentLength > most {
		return tooLarge(most)
	}
	conn := http.NewResponseController(w)
	// Where there is no such deadline, as in tests without a socket, the read is
	// bounded by its size alone.
	timed := conn.SetReadDeadline(time.Now().Add(bodyTime)) == nil
	var err error
	c.Body, err = readAll(http.MaxBytesReader(nil, r.Body, most), r.ContentLength)
	if timed {
		conn.SetReadDeadline(time.Time{})
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge(most)
	case err != nil:
		c.broken = true
		return &sluice.Error{Code: codeRequestTimeout, Msg: "request body: it did not arrive whole", Err: err}
	}
	return nil
}

// queryMaxBody has room for the largest managed policy, form-encoded.
const queryMaxBody = 512 << 10

func (c *Call) parseForm(r *http.Request) {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method == http.MethodPost && t == "application/x-www-form-urlencoded" {
		if form, err := url.ParseQuery(string(c.Body)); err == nil {
			c.Form = form
		}
	} else if r.URL.RawQuery != "" {
		// The Query protocol takes its parameters in the URL as well.
		c.Form = r.URL.Query()
	}
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// clip shortens what a caller sent before it stands in a message.
func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}
