package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/auth/policy"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/console"
	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/egress"
	"github.com/sluicevideo/sluice/internal/event"
	"github.com/sluicevideo/sluice/internal/ingest"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/metrics"
	"github.com/sluicevideo/sluice/internal/playback"
	"github.com/sluicevideo/sluice/internal/retention"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
)

// parts are what a server consists of, below its listeners.
type parts struct {
	s        *Server
	events   *event.Sink
	limits   *limits.Limits
	catalogs *db.DB
	catalog  *catalog.Catalog
	keyring  *kms.Keyring
	auth     *auth.Auth
	store    *store.Store
	registry *stream.Registry
	playback *playback.Playback
	signIn   *api.SignIn // nil: not a demo
	handler  http.Handler
	sweeper  *retention.Sweeper
	sweeping *sweeping
}

// openParts opens them from the bottom up; each leaves its closer behind.
func (s *Server) openParts(ctx context.Context) (*parts, error) {
	p := &parts{s: s, events: &event.Sink{}, limits: limits.New(s.cfg.Rules, s.cfg.Rates)}
	var err error
	if p.catalogs, err = db.Open(ctx, db.Options{Path: s.dir.File(datadir.CatalogFile), Secrets: true}); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, p.catalogs.Close)
	s.tellLost(p.catalogs, "the last changes of streams, keys and users may be missing; compare with a backup")

	root, err := s.rootKey(ctx, p.catalogs)
	if err != nil {
		return nil, err
	}
	p.keyring, err = kms.Open(ctx, p.catalogs, root, kms.Options{Region: s.cfg.Region, Account: s.cfg.Account, Logger: s.log})
	if err != nil {
		return nil, err
	}
	if p.catalog, err = catalog.Open(ctx, p.catalogs, catalog.Options{
		Region: s.cfg.Region, Account: s.cfg.Account,
		Rules: func() catalog.Rules {
			r := p.limits.Rules()
			return catalog.Rules{Streams: r.Streams, RetentionReplaces: r.RetentionReplaces}
		},
	}); err != nil {
		return nil, err
	}

	s.closers = append(s.closers, p.catalog.Close)

	if p.auth, err = auth.Open(ctx, p.catalogs, root.Derive("auth"), auth.Options{
		Region: s.cfg.Region, Account: s.cfg.Account, Root: s.root, Logger: s.log,
	}); err != nil {
		return nil, err
	}

	index, err := db.Open(ctx, db.Options{Path: s.dir.File(datadir.IndexFile), ManualCheckpoint: true})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, index.Close)
	s.tellLost(index, "fragments may not be listed although they are there: stop the server and run sluice reindex")
	if p.store, err = store.Open(ctx, store.Options{
		Dir: s.dir.File(datadir.MediaDir), Index: index, Logger: s.log,
		OnCommitted: func(c store.Committed) {
			if c.Failed > 0 {
				p.events.CommitFailed()
			}
			p.events.Committed(c.Records-c.Failed, c.Bytes, c.Wrote+c.Indexed)
		},
	}); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, p.store.Close)

	if p.registry, err = stream.New(stream.Options{
		Catalog: p.catalog, Store: p.store, Keyring: p.keyring, Logger: s.log,
		Budget: int64(s.cfg.Memory), MaxFragment: s.cfg.Rules.FragmentBytes,
		MaxSessions: func() int { return p.limits.Rates().PutMediaSessions },
	}); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { return p.registry.Close(context.Background()) })

	p.sweeper = p.newSweeper()
	archive := playback.FromRegistry(p.registry, p.catalog)
	if p.playback, err = playback.New(playback.Options{
		Source: archive, Key: root.Derive("playback"), Limits: p.limits, Logger: s.log,
		LowLatency: s.cfg.HLSLowLatency, Permit: p.permit, Now: s.o.Now,
	}); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { p.playback.Close(); return nil })

	if s.o.Demo {
		p.signIn = new(api.SignIn)
	}
	p.handler = api.New(api.Options{
		Region: s.cfg.Region, Account: s.cfg.Account, Version: s.o.Version,
		Catalog: p.catalog, Auth: p.auth, Users: p.auth, Keys: p.keyring, Limits: p.limits, Playback: p.playback, Keyring: p.keyring,
		Ingest:    ingest.New(ingest.Options{Streams: p.registry, Limits: p.limits, Logger: s.log, Events: p.events}),
		Egress:    egress.New(egress.Options{Streams: p.registry, Limits: p.limits, TokenKey: root.Derive("paging"), Logger: s.log, Events: p.events}),
		PublicURL: s.cfg.PublicURL, TrustedProxies: s.cfg.TrustedProxies, CORSOrigins: s.cfg.CORSOrigins,
		Streams: p.registry, Archive: archive, SignIn: p.signIn,
		Logger: s.log, OnRecord: func(r api.Record) { p.events.Called(r.Operation, r.Status) },
		Fallback: console.Handler(console.Info{Region: s.cfg.Region, Account: s.cfg.Account, Version: s.o.Version}),
	})
	return p, nil
}

// tellLost says what a damaged write-ahead log of a database means.
func (s *Server) tellLost(d *db.DB, what string) {
	if file, offset, lost := d.Lost(); lost {
		s.log.Error("a write-ahead log was damaged on the disk: "+what, "file", file, "offset", offset)
	}
}

// permit is whether an access key may still use a playback session that it
// opened: what policies say now of the call that opened it.
func (p *parts) permit(ctx context.Context, session *playback.Session, action string, st *catalog.Stream) error {
	id, ok := p.auth.Valid(ctx, session.AccessKeyID)
	if !ok {
		return errors.New("the access key is gone or inactive")
	}
	keys := make(map[string][]string, len(st.Tags)+2)
	keys["aws:SecureTransport"] = []string{strconv.FormatBool(session.Secure)}
	if session.Remote.IsValid() {
		keys["aws:SourceIp"] = []string{session.Remote.String()}
	}
	for k, v := range st.Tags {
		keys["aws:ResourceTag/"+k] = []string{v}
	}
	d, err := p.auth.Authorize(ctx, id, policy.Request{Action: action, Resource: st.ARN.String(), Context: keys})
	if err == nil && !d.Allowed {
		err = errors.New(d.Reason)
	}
	return err
}

// rootKey finds the key that everything at rest hangs on. A new one is made only
// for a new catalog: for an old one it would open nothing.
func (s *Server) rootKey(ctx context.Context, catalogs *db.DB) (kms.RootKey, error) {
	old, err := kms.Initialised(ctx, catalogs)
	if err != nil {
		return kms.RootKey{}, err
	}
	key, warning, err := kms.FindRootKey(kms.RootKeyOptions{
		Text: s.cfg.RootKey, CredentialsDir: s.cfg.CredentialsDir, File: s.cfg.RootKeyFile, DataDir: s.dir.Path, Create: !old,
	})
	if errors.Is(err, kms.ErrNoRootKey) {
		err = fmt.Errorf("%w, and %s is sealed under it: put the key back, or name it with --root-key-file; without it no media can be read", err, datadir.CatalogFile)
	}
	if err == nil && warning != "" {
		s.log.Warn(warning)
	}
	return key, err
}

// start begins what runs by itself.
func (p *parts) start() { p.sweeping = p.sweep() }

// stop ends sessions and readers, within t.
func (p *parts) stop(t time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), t)
	defer cancel()
	if err := p.registry.Close(ctx); err != nil {
		p.s.log.Error("shutdown", "error", err)
	}
	p.sweeping.stop()
}

// ready is whether calls can be served: the catalog answers.
func (p *parts) ready(ctx context.Context) error {
	_, err := p.catalogs.View().ExecContext(ctx, "SELECT 1")
	return err
}

func (p *parts) gauges() []metrics.Gauge {
	room := func(part func(room, low int64) int64) func() float64 {
		return func() float64 {
			r, low, err := p.store.Room()
			if err != nil {
				return -1
			}
			return float64(part(r, low))
		}
	}
	return []metrics.Gauge{
		{Name: "streams_open", Help: "Streams in use: written, read or with media in memory.", Read: func() float64 { return float64(len(p.registry.Streams())) }},
		{Name: "memory_budget_bytes", Help: "Budget of media in memory.", Read: func() float64 { return float64(p.registry.Memory().Budget) }},
		{Name: "memory_used_bytes", Help: "Media in memory.", Read: func() float64 { return float64(p.registry.Memory().Used) }},
		{Name: "memory_cached_bytes", Help: "Of it, what is durable and kept for readers.", Read: func() float64 { return float64(p.registry.Memory().Cached) }},
		{Name: "memory_waiting_sessions", Help: "PutMedia sessions that wait for memory.", Read: func() float64 { return float64(p.registry.Memory().Waiting) }},
		{Name: "store_room_bytes", Help: "Bytes free on the disk of the media.", Read: room(func(r, _ int64) int64 { return r })},
		{Name: "store_low_water_bytes", Help: "Below this many free bytes fragments are refused.", Read: room(func(_, low int64) int64 { return low })},
		{Name: "retention_clock_trusted", Help: "1; 0 while the clock is not where it should be: then nothing expires.", Read: func() float64 {
			if p.sweeper.Clock().Trusted {
				return 1
			}
			return 0
		}},
		{Name: "retention_clock_off_seconds", Help: "How far a clock that is not trusted is from where it should be; below 0 it is behind.",
			Read: func() float64 { return p.sweeper.Clock().OffBy.Seconds() }},
		metrics.Since("uptime_seconds", "Time since the start.", time.Now()),
	}
}

// openStreams is /debug/streams.
func (p *parts) openStreams() any {
	type line struct {
		ID   string `json:"id"`
		Name string `json:"name,omitempty"`
		stream.Activity
	}
	list := []line{}
	for _, id := range p.registry.Streams() {
		l := line{ID: string(id), Activity: p.registry.Activity(id)}
		if st, err := p.catalog.ByID(context.Background(), id); err == nil {
			l.Name = st.Name
		}
		list = append(list, l)
	}
	return map[string]any{"memory": p.registry.Memory(), "streams": list}
}

// storeState is /debug/store.
func (p *parts) storeState() any {
	room, low, err := p.store.Room()
	out := map[string]any{"dir": p.store.Dir(), "room_bytes": room, "low_water_bytes": low}
	if err != nil {
		out["error"] = err.Error()
	}
	return out
}
