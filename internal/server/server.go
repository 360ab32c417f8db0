// Package server puts the server together: it opens the data directory and what
// lies in it, hands each part what it needs, listens, and lets go of everything
// in the right order. There is nothing clever in it, and no rule of the API.
package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/debug"
	"github.com/sluicevideo/sluice/internal/metrics"
	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// Options of New. Config must be given.
type Options struct {
	Config  *config.Loaded
	Version string
	Logger  *slog.Logger   // nil: nothing is logged
	Level   *slog.LevelVar // of Logger, so that SIGHUP can change it; may be nil
	// Stdout gets the five lines of the first start. Secret access keys are shown
	// only when Terminal says that a person reads it.
	Stdout   io.Writer // nil: nobody
	Terminal bool
	Program  string // what the suggested command begins with; "": sluice
	// Demo lets SignInCode sign somebody in on this machine.
	Demo bool
	// Hangup asks for the settings to be read again, with Reload.
	Hangup <-chan os.Signal
	Reload func() (*config.Loaded, error)
	// Now is the clock of playback sessions; nil: time.Now. A test that wants to see
	// one expire moves it.
	Now func() time.Time
}

// Server is a running set of parts. New opens them, Run serves until its context
// ends.
type Server struct {
	o    Options
	log  *slog.Logger
	cfg  *config.Loaded
	dir  *datadir.Dir
	root auth.Credentials

	parts *parts
	cert  *certificate // nil: no https
	ca    string       // file of the self-signed authority; "": none

	http, https []net.Listener
	private     net.Listener
	servers     []*http.Server // public ones, then the private one
	first       bool           // nothing was in the data directory
	rootFrom    auth.RootSource

	stopping atomic.Bool
	base     context.Context // of every request; ends when shutdown has run out of patience
	cancel   context.CancelFunc
	closers  []func() error // in the order of opening
	once     sync.Once
}

// ErrStopping is what /readyz says while the server ends.
var errStopping = errors.New("the server is shutting down")

// New opens everything and listens; connections wait until Run. On error nothing
// is left open.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Logger, cfg: o.Config}
	s.base, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// roomToStart is what opening the databases may need on the disk.
const roomToStart = 4 << 20

func (s *Server) open(ctx context.Context) error {
	for _, w := range s.cfg.Warnings {
		s.log.Warn(w)
	}
	var err error
	if s.dir, err = datadir.Open(s.cfg.Data); err != nil {
		return err
	}
	if s.dir.Note != "" {
		s.log.Info(s.dir.Note)
	}
	s.closers = append(s.closers, s.dir.Close)
	_, err = os.Stat(s.dir.File(datadir.CatalogFile))
	s.first = errors.Is(err, os.ErrNotExist)

	getenv := func(name string) string {
		switch name {
		case auth.RootAccessKeyIDEnv:
			return s.cfg.RootAccessKeyID
		case auth.RootSecretAccessKeyEnv:
			return s.cfg.RootSecretAccessKey
		}
		return ""
	}
	if s.root, s.rootFrom, err = auth.LoadRoot(s.dir.Path, getenv, s.cfg.ResetRootKey); err != nil {
		return err
	}
	if s.rootFrom.New {
		s.log.Info("root access key made", "file", s.rootFrom.Path)
	}
	if s.parts, err = s.openParts(ctx); err != nil {
		// SQLite can only say "disk I/O error".
		if free, _, serr := (fsys.OS{}).Space(s.dir.Path); serr == nil && free < roomToStart {
			return fmt.Errorf("the disk of %s is full, %d bytes are free: make room, at least %d, and start again: %w", s.dir.Path, free, roomToStart, err)
		}
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	return s.writeStateFile()
}

func (s *Server) listen(ctx context.Context) error {
	var err error
	if s.http, err = listen(ctx, "--listen", s.cfg.Listen); err != nil {
		return err
	}
	for _, l := range s.http {
		if !loopback(l.Addr()) {
			s.log.Warn("plain http beyond this machine: media, metadata and playback URLs can be read on the way; "+
				"signatures only keep others from making calls. Use --listen-tls, or a network that nobody else is in", "listen", l.Addr().String())
		}
	}
	if len(s.cfg.ListenTLS) > 0 {
		if err := s.openCertificate(); err != nil {
			return err
		}
		plain, err := listen(ctx, "--listen-tls", s.cfg.ListenTLS)
		if err != nil {
			return err
		}
		for _, l := range plain {
			s.https = append(s.https, tls.NewListener(l, s.cert.config()))
		}
	}
	if s.cfg.DebugListen != "" {
		list, err := listen(ctx, "--debug-listen", []string{s.cfg.DebugListen})
		if err != nil {
			return err
		}
		s.private = list[0]
		if !loopback(s.private.Addr()) {
			s.log.Warn("the debug listener asks for no signature and is reachable from other machines", "debug_listen", s.private.Addr().String())
		}
	}
	return nil
}

func (s *Server) openCertificate() error {
	s.cert = &certificate{certFile: s.cfg.TLSCert, keyFile: s.cfg.TLSKey, log: s.log, now: time.Now}
	if s.cfg.TLSSelfSigned {
		own := newSelfSigned(s.dir.File(datadir.TLSDir), namesFor(s.cfg.ListenTLS, s.cfg.TLSNames))
		if err := own.ensure(time.Now()); err != nil {
			return err
		}
		s.cert.certFile, s.cert.keyFile, s.cert.renew = own.cert, own.key, own.ensure
		if s.ca = own.ca; !filepath.IsAbs(s.ca) {
			if abs, err := filepath.Abs(s.ca); err == nil {
				s.ca = abs
			}
		}
	}
	return s.cert.load()
}

// Addrs are the addresses listened on.
type Addrs struct {
	HTTP, HTTPS []net.Addr
	Debug       net.Addr // nil: none
}

// Addrs are the addresses the server listens on.
func (s *Server) Addrs() Addrs {
	var a Addrs
	for _, l := range s.http {
		a.HTTP = append(a.HTTP, l.Addr())
	}
	for _, l := range s.https {
		a.HTTPS = append(a.HTTPS, l.Addr())
	}
	if s.private != nil {
		a.Debug = s.private.Addr()
	}
	return a
}

// Root is the root access key.
func (s *Server) Root() auth.Credentials { return s.root }

// SignInCode makes a code that signs in on the console once, from this machine,
// as the user. Only a demo has codes.
func (s *Server) SignInCode(user string) (string, error) {
	if s.parts.signIn == nil {
		return "", errors.New("server: sign-in codes are for demos only")
	}
	return s.parts.signIn.Offer(func(ctx context.Context) (auth.Credentials, error) {
		return s.parts.auth.CreateTemporary(ctx, user, signedIn)
	}), nil
}

// signedIn is how long who came by a code stays signed in.
const signedIn = 12 * time.Hour

// CAFile is the authority of --tls-self-signed; "" without it.
func (s *Server) CAFile() string { return s.ca }

// URL is how a client on this machine reaches the server: the public URL when
// there is one, else the first address.
func (s *Server) URL() string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	if len(s.http) > 0 {
		return "http://" + reachable(s.http[0].Addr())
	}
	return "https://" + reachable(s.https[0].Addr())
}

// reachable names an address that is all addresses by the local one.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return a.String()
}

// Run serves until ctx ends, and then shuts down in this order: no new calls;
// sessions and readers end where a fragment does; the last answers go out; the
// parts are closed, each before what it stands on. It returns nil when all went
// well.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	failed := make(chan error, len(s.http)+len(s.https)+1)
	var wg sync.WaitGroup
	serve := func(l net.Listener, h *http.Server) {
		h.BaseContext = func(net.Listener) context.Context { return s.base }
		s.servers = append(s.servers, h)
		wg.Go(func() {
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listen %s: %w", l.Addr(), err)
			}
		})
	}
	for _, l := range append(s.http, s.https...) {
		serve(l, newHTTPServer(s.parts.handler, s.log))
	}
	if s.private != nil {
		serve(s.private, &http.Server{Handler: s.debugHandler(), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime})
	}
	s.parts.start()
	s.announce()
	var err error
	for err == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.o.Hangup:
			s.reload()
		case err = <-failed:
		}
	}
	s.shutdown()
	wg.Wait()
	return errors.Join(err, s.close())
}

// How long the steps of a shutdown may take.
const (
	sessionsTime = 15 * time.Second // sessions and readers: 2 s for open fragments, then commits
	answersTime  = 5 * time.Second  // what is left: short answers, playback
)

func (s *Server) shutdown() {
	s.log.Info("shutting down")
	s.stopping.Store(true)
	// Shutdown closes the listeners at once and then waits; sessions and readers
	// must be told to end meanwhile.
	done := make(chan struct{})
	public := s.servers
	if s.private != nil {
		public = s.servers[:len(s.servers)-1]
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for _, h := range public {
		wg.Go(func() {
			if h.Shutdown(ctx) != nil {
				h.Close() // whoever has not ended by now is cut off
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	s.parts.stop(sessionsTime)
	select {
	case <-done:
	case <-time.After(answersTime):
		cancel()
	}
	<-done
	s.cancel()
	if s.private != nil {
		s.servers[len(s.servers)-1].Close()
	}
}

// close closes the parts, the last opened first.
func (s *Server) close() (err error) {
	s.once.Do(func() {
		s.cancel()
		for _, l := range append(append([]net.Listener{}, s.http...), s.https...) {
			l.Close()
		}
		if s.private != nil {
			s.private.Close()
		}
		if s.dir != nil {
			os.Remove(s.dir.File(StateFile))
		}
		for i := len(s.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, s.closers[i]())
		}
		if err != nil {
			s.log.Error("shutdown", "error", err)
		} else {
			s.log.Info("stopped")
		}
	})
	return err
}

// reload is SIGHUP: certificates are looked at in each handshake anyway; what
// the file says of the log level and of limits is applied.
func (s *Server) reload() {
	if s.cert != nil {
		if err := s.cert.load(); err != nil {
			s.log.Error("changed certificate not used", "error", err)
		}
	}
	if s.o.Reload == nil {
		return
	}
	next, err := s.o.Reload()
	if err != nil {
		s.log.Error("settings not reloaded", "error", err)
		return
	}
	live, restart := s.cfg.Changes(next)
	// The memory budget is made for the largest fragment there was at the start.
	next.Rules.FragmentBytes = s.cfg.Rules.FragmentBytes
	if s.o.Level != nil {
		s.o.Level.Set(next.LogLevel)
	}
	s.parts.limits.Set(next.Rules, next.Rates)
	s.log.Info("settings reloaded", "applied", live)
	if len(restart) > 0 {
		s.log.Warn("these settings have changed and need a restart", "settings", restart)
	}
}

func (s *Server) debugHandler() http.Handler {
	return debug.Handler(debug.Options{
		Ready: func(ctx context.Context) error {
			if s.stopping.Load() {
				return errStopping
			}
			return s.parts.ready(ctx)
		},
		Metrics: metrics.Handler(s.parts.events, s.o.Version, s.parts.gauges()...),
		Streams: s.parts.openStreams,
		Store:   s.parts.storeState,
	})
}

// StateFile is in the data directory while a server runs on it: how clients on
// this machine reach it. It holds no secret.
const StateFile = "server.json"

// State is what StateFile holds.
type State struct {
	PID     int    `json:"pid"`
	URL     string `json:"url"`
	Region  string `json:"region"`
	Account string `json:"account"`
	CAFile  string `json:"ca_file,omitempty"`
	Debug   string `json:"debug,omitempty"`
}

func (s *Server) writeStateFile() error {
	state := State{PID: os.Getpid(), URL: s.URL(), Region: s.cfg.Region, Account: s.cfg.Account, CAFile: s.ca}
	if s.private != nil {
		state.Debug = "http://" + reachable(s.private.Addr())
	}
	b, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.dir.File(StateFile), append(b, '\n'), 0o600)
}

// ReadState reads the state file of a data directory.
func ReadState(data string) (State, error) {
	var st State
	b, err := os.ReadFile(filepath.Join(data, StateFile))
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(b, &st)
}

// announce says that the server is there: to the log always, and to a person at
// the first start, in five lines.
func (s *Server) announce() {
	addrs := s.Addrs()
	s.log.Info("listening", "version", s.o.Version, "go", runtime.Version(), "http", addrs.HTTP, "https", addrs.HTTPS, "debug", addrs.Debug,
		"region", s.cfg.Region, "account", s.cfg.Account, "data", s.cfg.Data, "pid", strconv.Itoa(os.Getpid()))
	if s.o.Stdout == nil {
		return
	}
	data, err := filepath.Abs(s.cfg.Data)
	if err != nil {
		data = s.cfg.Data
	}
	if s.first {
		program := "sluice"
		if s.o.Program != "" {
			program = quote(s.o.Program)
		}
		next := program + " stream create cam1 --retention 24h --endpoint-url " + s.URL()
		if s.cfg.RootAccessKeyID == "" {
			next = `eval "$(` + program + ` env --data ` + quote(data) + `)" && ` + program + ` stream create cam1 --retention 24h`
		}
		fmt.Fprintf(s.o.Stdout, "Sluice is at   %s\nregion         %s\naccount        %s\ndata           %s\nnext           %s\n",
			s.URL(), s.cfg.Region, s.cfg.Account, data, next)
	}
	if s.rootFrom.New && s.o.Terminal {
		fmt.Fprintf(s.o.Stdout, "\nThe root access key, also in %s:\n  AWS_ACCESS_KEY_ID=%s\n  AWS_SECRET_ACCESS_KEY=%s\n",
			filepath.Join(data, auth.RootFile), s.root.AccessKeyID, s.root.SecretAccessKey)
	}
	if s.ca != "" && (s.first || s.o.Terminal) {
		fmt.Fprintf(s.o.Stdout, "\nhttps at       https://%s, with a certificate of its own authority. Clients trust it with\n"+
			"  export AWS_CA_BUNDLE=%s        # AWS CLI and SDKs, sluice\n"+
			"  export AWS_KVS_CACERT_PATH=%s  # C and C++ producers, kvssink\n", reachable(s.https[0].Addr()), s.ca, s.ca)
	}
}

// quote is a word of a shell.
func quote(s string) string {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '/' || c == '.' || c == '-' || c == '_') {
			return strconv.Quote(s)
		}
	}
	return s
}
