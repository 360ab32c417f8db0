package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// listener accepts pushes: ANNOUNCE and RECORD. It offers nothing to play.
type listener struct {
	b      *Bridge
	set    Listen
	server *gortsplib.Server
	ctx    context.Context

	bound atomic.Pointer[net.Addr] // where it listens, once it does

	mu     sync.Mutex
	pushes map[*gortsplib.ServerSession]*push
}

// push is one session that pushes.
type push struct {
	target *target
	media  []*medium
	remote string
}

const maxPushes = 128

func newListener(b *Bridge, set Listen) *listener {
	if set.Stream == "" {
		set.Stream = "{path}"
	}
	if set.Max == 0 {
		set.Max = maxPushes
	}
	return &listener{b: b, set: set, pushes: map[*gortsplib.ServerSession]*push{}}
}

func (l *listener) start(ctx context.Context) error {
	l.ctx = ctx
	l.server = &gortsplib.Server{
		Handler: l, RTSPAddress: l.set.Address, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second,
	}
	if l.set.UDP != "" {
		host, port, err := net.SplitHostPort(l.set.UDP)
		if err != nil {
			return fmt.Errorf("listen: udp %q: want host:port", l.set.UDP)
		}
		n, err := net.LookupPort("udp", port)
		if err != nil || n%2 != 0 {
			return fmt.Errorf("listen: udp %q: want an even port", l.set.UDP)
		}
		l.server.UDPRTPAddress = net.JoinHostPort(host, fmt.Sprint(n))
		l.server.UDPRTCPAddress = net.JoinHostPort(host, fmt.Sprint(n+1))
	}
	if err := l.server.Start(); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	addr := l.server.NetListener().Addr()
	l.bound.Store(&addr)
	l.b.log.Info("listening for pushes", "address", addr.String())
	return nil
}

func (l *listener) addr() net.Addr {
	if a := l.bound.Load(); a != nil {
		return *a
	}
	return nil
}

func (l *listener) close() {
	if l.server != nil {
		l.server.Close()
	}
}

// streamName makes a stream's name of a pushed path.
func (l *listener) streamName(path string) (string, error) {
	path = strings.ReplaceAll(strings.Trim(path, "/"), "/", "_")
	name := strings.ReplaceAll(l.set.Stream, "{path}", path)
	if err := sluice.ValidateStreamName(name); err != nil {
		return "", err
	}
	return name, nil
}

var errTooMany = errors.New("too many pushes at a time")

// OnAnnounce is called by the server: somebody wants to push.
func (l *listener) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	if l.set.User != "" && !ctx.Conn.VerifyCredentials(ctx.Request, l.set.User, l.set.Password) {
		return &base.Response{StatusCode: base.StatusUnauthorized}, liberrors.ErrServerAuth{}
	}
	name, err := l.streamName(ctx.Path)
	if err != nil {
		return &base.Response{StatusCode: base.StatusBadRequest}, err
	}
	log := l.b.log.With("stream", name, "remote", ctx.Conn.NetConn().RemoteAddr().String())
	media, err := choose(ctx.Description, !l.set.NoAudio, log)
	if err != nil {
		return &base.Response{StatusCode: base.StatusUnsupportedMediaType}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pushes) >= l.set.Max {
		return &base.Response{StatusCode: base.StatusServiceUnavailable}, errTooMany
	}
	l.pushes[ctx.Session] = &push{target: l.b.target(name, l.set.StreamSettings), media: media, remote: ctx.Conn.NetConn().RemoteAddr().String()}
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnSetup is called by the server, for each medium that is pushed.
func (l *listener) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if ctx.Session.State() != gortsplib.ServerSessionStatePreRecord {
		return &base.Response{StatusCode: base.StatusMethodNotAllowed}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, nil, nil
}

// OnRecord is called by the server: media follows.
func (l *listener) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	l.mu.Lock()
	p := l.pushes[ctx.Session]
	l.mu.Unlock()
	if p == nil {
		return &base.Response{StatusCode: base.StatusBadRequest}, errors.New("RECORD without ANNOUNCE")
	}
	if before, ok := p.target.hold(ctx.Session).(*gortsplib.ServerSession); ok && before != ctx.Session {
		// The old one is most likely dead: who pushes again has lost its connection.
		l.b.log.Info("a push takes over", "stream", p.target.name, "remote", p.remote)
		before.Close()
	}
	session := ctx.Session
	f := &feed{
		ctx: l.ctx, rtp: session, media: p.media, log: l.b.log.With("stream", p.target.name), stat: &p.target.stat,
		clock:  clock{source: l.set.Time, now: time.Now},
		ensure: func(tracks []sluice.Track) (*producer.Stream, error) { return p.target.ensure(l.ctx, tracks) },
		fail: func(err error) {
			p.target.stat.disconnected(err)
			go session.Close() // it waits for the goroutine that this is called on
		},
	}
	f.start()
	names := make([]string, len(p.media))
	for i, k := range p.media {
		names[i] = k.forma.Codec()
	}
	p.target.stat.connected("push from "+p.remote, strings.Join(names, " "))
	l.b.log.Info("push begins", "stream", p.target.name, "remote", p.remote, "media", strings.Join(names, " "))
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnSessionClose is called by the server.
func (l *listener) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	l.mu.Lock()
	p := l.pushes[ctx.Session]
	delete(l.pushes, ctx.Session)
	l.mu.Unlock()
	if p == nil {
		return
	}
	p.target.letGo(ctx.Session)
	p.target.stat.disconnected(ctx.Error)
	l.b.log.Info("push ended", "stream", p.target.name, "remote", p.remote, "error", ctx.Error)
}

// OnPacketsLost is called by the server.
func (l *listener) OnPacketsLost(ctx *gortsplib.ServerHandlerOnPacketsLostCtx) {
	l.mu.Lock()
	p := l.pushes[ctx.Session]
	l.mu.Unlock()
	if p != nil {
		p.target.stat.packetsLost(ctx.Lost)
	}
}
