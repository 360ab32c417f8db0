// Package api is the doors of the server: the table of operations, the one
// chain of steps that every call takes, the shapes of requests and answers, and
// the exceptions. What an operation does lies below: in catalog, stream, ingest,
// egress, playback, auth and kms. It opens no listener and reads no settings.
//
// The chain, in its order:
//
//	request id    a UUID, in every answer as x-amzn-RequestId and in every record
//	origin        client address, scheme and host; X-Forwarded-* from trusted proxies only
//	CORS          headers for pages of other origins
//	row           which operation; a path with no row is still authenticated
//	body          read whole, bounded in size and time (streaming operations apart)
//	signature     who is calling
//	policy        may they, on the stream that the call names
//	served        501 for what this version does not have
//	shape         members: names, types, rules
//	existence     of the stream
//	limit         rates
//	handler
//	record        one line a call
//
// So who may not see a stream does not learn whether it exists, and who is
// throttled had a call that would have been valid.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/egress"
	"github.com/sluicevideo/sluice/internal/ingest"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/playback"
	"github.com/sluicevideo/sluice/internal/stream"
)

// Options of New. Region, Account, Catalog and Auth must be given.
type Options struct {
	Region, Account string
	Version         string // of Sluice, for messages
	Catalog         *catalog.Catalog
	Auth            Authenticator
	Users           *auth.Auth     // nil: IAM and STS are not served
	Keys            Keys           // nil: a KmsKeyId is kept as it is given
	Limits          *limits.Limits // nil: no limits
	// Ingest, Egress and Keyring serve media and keys. They may be nil only where
	// no such call comes in.
	Ingest   *ingest.Server
	Egress   *egress.Server
	Keyring  *kms.Keyring
	Playback *playback.Playback // nil: there is none
	// Streams and Archive are what activity and timelines are told from. Streams
	// may be nil where no such call comes in; without Archive the tracks of a
	// stream are known once something was sent to it.
	Streams *stream.Registry
	Archive playback.Source
	// SignIn takes one-time codes; nil: none is valid.
	SignIn *SignIn

	// PublicURL is what GetDataEndpoint answers; "": what the client called.
	PublicURL string
	// TrustedProxies may say who called by X-Forwarded-For, -Proto, -Host, -Port.
	TrustedProxies []netip.Prefix
	// CORSOrigins are the origins whose pages may call; nil is any, empty none.
	CORSOrigins []string

	Logger   *slog.Logger // nil: nothing is logged
	OnRecord func(Record) // called after each call; must not block; nil: nobody
	// Fallback serves GET and HEAD of /, /console/ and what is below it (the
	// console); nil: they are unknown operations.
	Fallback http.Handler
}

// Keys resolves the KmsKeyId of CreateStream. It returns the ARN of the key or
// alias, or why there is no such key.
type Keys interface {
	Resolve(keyID string) (arn string, err error)
}

// API is the handler of all operations. It is safe for any number of goroutines.
type API struct {
	o     Options
	log   *slog.Logger
	table *table
}

// New puts the table together.
func New(o Options) *API {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits == nil {
		o.Limits = limits.New(limits.Rules{}, limits.Rates{})
	}
	if o.CORSOrigins == nil {
		o.CORSOrigins = []string{"*"}
	}
	a := &API{o: o, log: o.Logger}
	a.table = newTable(a.rows())
	return a
}

// rows is the table: each file that serves operations has its part.
func (a *API) rows() []Operation {
	return slices.Concat(
		a.corsRows(),
		a.controlRows(),
		a.tagRows(),
		a.mediaRows(),
		a.playbackRows(),
		a.iamRows(),
		a.kmsRows(),
		a.activityRows(),
		a.signInRows(),
		unservedRows(),
	)
}

// Operations are the rows of the table, in its order. They are read only.
func (a *API) Operations() []*Operation { return a.table.rows }

// ServeHTTP takes one call through the chain.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Call{api: a, RequestID: newRequestID(), Start: time.Now(), log: a.log}
	out := &response{ResponseWriter: w}
	c.out = out
	// The map is written to directly: producers compare the name's case.
	out.Header()["x-amzn-RequestId"] = []string{c.RequestID}
	a.origin(c, r)
	a.cors(out, r)
	a.guarded(c, out, r)
	a.record(c)
	if c.broken {
		// The only way to tell net/http, and so the client, that the answer is
		// not whole.
		panic(http.ErrAbortHandler)
	}
}

// guarded runs the chain; a panic in it becomes InternalFailureException, or a
// broken connection when the answer has begun.
func (a *API) guarded(c *Call, w http.ResponseWriter, r *http.Request) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			c.broken = true
		default:
			c.Logger().Error("handler panicked", "operation", c.name(), "panic", p, "stack", string(debug.Stack()))
			a.fail(c, errPanic)
		}
	}()
	if err := a.serve(c, w, r); err != nil {
		a.fail(c, err)
	}
}

// serve is the chain from the row to the handler. The exception of an error is
// written by the caller.
func (a *API) serve(c *Call, w http.ResponseWriter, r *http.Request) error {
	c.Op = a.table.byPath(r)
	if c.Op == nil && a.o.Fallback != nil && browses(r) {
		c.silent = true
		a.o.Fallback.ServeHTTP(w, r)
		return nil
	}
	if err := c.readBody(w, r); err != nil {
		return err
	}
	if c.Op == nil && r.URL.Path == "/" {
		c.parseForm(r)
		c.Op = a.table.byBody(c)
	}
	if c.Op == nil || c.Op.Auth == Signature {
		if err := a.authenticate(c, r); err != nil {
			return err
		}
	}
	if c.Op == nil {
		return &sluice.Error{Code: sluice.UnknownOperation, Msg: "Unknown operation: " + clip(r.Method, 16) + " " + clip(r.URL.Path, 128) + c.actionText()}
	}
	if (c.Op.Protocol == RestJSON || c.Op.Protocol == JSON11) && !c.Op.Streams {
		c.members, c.malformed = parseMembers(c.Body)
	}
	if c.Op.Stream != nil {
		c.Ref = c.Op.Stream(c)
	}
	if c.Op.Auth == Signature && c.Op.Action != "" && (c.Op.Own == nil || !c.Op.Own(c)) {
		if err := c.Authorize(r.Context(), c.Op.Action); err != nil {
			return err
		}
	}
	if !c.Op.Served() {
		return unsupported(c.Op, a.o.Version)
	}
	if err := c.shape(); err != nil {
		return err
	}
	if c.Op.Stream != nil && c.Op.Need != NeedNothing {
		s, err := c.Stream(r.Context())
		if err != nil {
			return err
		}
		if c.Op.Need == NeedActive && s.Status != catalog.Active {
			return notFound()
		}
	}
	if err := a.o.Limits.Allow(c.Op.Class, c.LimitKey()); err != nil {
		return err
	}
	if c.Op.Raw != nil {
		return c.Op.Raw(w, r, c)
	}
	out, err := c.Op.JSON(r.Context(), c)
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, out)
}

// browses reports whether a request that no row matches is for the console: GET
// and HEAD of its paths, except the Query protocol's calls by GET. Browsers ask for
// /favicon.ico by themselves.
func browses(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch p := r.URL.Path; p {
	case "/":
		return r.URL.RawQuery == "" || !r.URL.Query().Has("Action")
	case "/console", "/favicon.ico":
		return true
	default:
		return strings.HasPrefix(p, "/console/")
	}
}

var errPanic = errors.New("handler panicked")

// fail writes the exception of err, or, when the answer has begun, marks the
// connection to be broken.
func (a *API) fail(c *Call, err error) {
	c.err = err
	if c.out.status != 0 {
		c.broken = true
		if !gone(c, err) {
			c.Logger().Error("answer broken off", "operation", c.name(), "error", err)
		}
		return
	}
	if gone(c, err) {
		// Nobody is there to read an answer; the record says so.
		c.out.status = statusClientGone
		c.broken = true
		return
	}
	e := exceptionOf(err)
	if e.status >= 500 && err != errPanic && e.code != sluice.UnsupportedOperation {
		c.Logger().Error("call failed", "operation", c.name(), "error", err)
	}
	c.writeException(e)
}

// gone reports whether the call ended because the client left.
func gone(c *Call, err error) bool {
	return c.Request.Context().Err() != nil && errors.Is(err, context.Canceled)
}
