package api

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/sluicevideo/sluice"
)

// Record is what is kept of a call: who, what, from where, with what result.
// Nothing in it is secret: members of the body only, clipped, and never a
// header, a query, a token or media.
type Record struct {
	RequestID string
	Start     time.Time
	Duration  time.Duration
	Operation string // "Unknown" for a path that no row has
	Service   string
	Identity  Identity // zero: nobody was recognised
	Remote    netip.Addr
	UserAgent string
	Stream    sluice.StreamRef
	Status    int         // 499: the client left before the answer
	Exception sluice.Code // "" when it went well
	Sent      int64       // bytes of the answer's body
	Err       error       // the cause; not for callers
	Broken    bool        // the answer was broken off
}

// record is the last step of the chain.
func (a *API) record(c *Call) {
	if c.silent {
		return
	}
	r := Record{
		RequestID: c.RequestID, Start: c.Start, Duration: time.Since(c.Start), Operation: c.name(),
		Identity: c.Identity, Remote: c.Remote, UserAgent: clip(c.Request.UserAgent(), 256), Stream: c.Ref,
		Status: c.out.status, Exception: sluice.CodeOf(c.err), Sent: c.out.bytes, Err: c.err, Broken: c.broken,
	}
	if r.Status == 0 {
		r.Status = 200 // net/http answers that for a handler that wrote nothing
	}
	if c.err != nil && r.Exception == "" && r.Status != statusClientGone {
		r.Exception = sluice.InternalFailure
	}
	if c.Op != nil {
		r.Service = c.Op.Service
	}
	if a.o.OnRecord != nil {
		a.o.OnRecord(r)
	}
	ctx := context.Background() // the request's own may be over
	if !a.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs,
		slog.String("request_id", r.RequestID), slog.String("operation", r.Operation), slog.String("remote", r.Remote.String()),
		slog.Int("status", r.Status), slog.Duration("duration", r.Duration.Round(time.Microsecond)))
	if r.Identity.ARN != "" {
		attrs = append(attrs, slog.String("caller", r.Identity.ARN), slog.String("access_key", r.Identity.AccessKeyID))
	}
	if s := r.Stream.String(); s != "" {
		attrs = append(attrs, slog.String("stream", clip(s, 256)))
	}
	if params := c.params(); len(params) > 0 {
		attrs = append(attrs, slog.Attr{Key: "params", Value: slog.GroupValue(params...)})
	}
	attrs = append(attrs, c.attrs...)
	if r.Exception != "" {
		attrs = append(attrs, slog.String("exception", string(r.Exception)))
	}
	if r.Err != nil {
		attrs = append(attrs, slog.String("error", clip(r.Err.Error(), 512)))
	}
	if r.Broken {
		attrs = append(attrs, slog.Bool("broken", true))
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "call", attrs...)
}

// params are the members that were sent and that the shape knows, clipped; the
// stream's name has its own place in the record.
func (c *Call) params() []slog.Attr {
	var list []slog.Attr
	if c.Op == nil || c.Op.Input == nil {
		return nil
	}
	for _, m := range shapeOfValue(c.Op.Input).members {
		raw, ok := c.members[m.name]
		if !ok || m.secret || m.name == "StreamName" || m.name == "StreamARN" || m.name == "ResourceARN" {
			continue
		}
		list = append(list, slog.String(m.name, clip(string(raw), 200)))
	}
	return list
}
