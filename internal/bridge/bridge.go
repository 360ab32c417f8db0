// Package bridge brings RTSP cameras into Kinesis Video streams: it pulls from
// cameras, or listens for what pushes (ffmpeg, OBS, GStreamer, MediaMTX), takes
// H.264, H.265, M-JPEG, AAC and G.711 out of RTP, and puts the frames through
// package producer. It stands on public packages only, and is no RTSP server for
// players.
//
// A camera that goes away is tried again for as long as the bridge runs; its
// stream and what is buffered in it live on. Passwords are in no log, status or
// error text.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// Options say what a bridge does.
type Options struct {
	Config  Config
	Client  *producer.Client
	Logger  *slog.Logger
	Version string
}

// Bridge runs cameras and a listener.
type Bridge struct {
	opts    Options
	log     *slog.Logger
	started time.Time
	cameras []*camera
	listen  *listener

	mu      sync.Mutex
	streams map[string]*target // by stream name
	order   []string
}

// New checks the configuration. Nothing runs yet.
func New(o Options) (*Bridge, error) {
	if err := o.Config.check(); err != nil {
		return nil, err
	}
	b := &Bridge{opts: o, log: o.Logger, started: time.Now(), streams: map[string]*target{}}
	for _, c := range o.Config.Cameras {
		b.cameras = append(b.cameras, newCamera(b, c))
	}
	if o.Config.Listen.Address != "" {
		b.listen = newListener(b, o.Config.Listen)
	}
	return b, nil
}

// Run works until ctx ends, then ends the streams: what is buffered is sent for as
// long as Config.Drain says. status, when not nil, serves the status page; Run
// closes it.
func (b *Bridge) Run(ctx context.Context, status net.Listener) error {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if status != nil {
		wg.Go(func() { b.serveStatus(ctx, status) })
	}
	if b.listen != nil {
		if err := b.listen.start(ctx); err != nil {
			cancel(err)
			wg.Wait()
			return err
		}
	}
	for _, c := range b.cameras {
		wg.Go(func() { c.run(ctx) })
	}
	<-ctx.Done()
	if b.listen != nil {
		b.listen.close()
	}
	wg.Wait()
	return b.drain()
}

// ListenAddr is where pushes are accepted, once Run has begun; nil when they are
// not.
func (b *Bridge) ListenAddr() net.Addr {
	if b.listen == nil {
		return nil
	}
	return b.listen.addr()
}

func (b *Bridge) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), b.opts.Config.Drain)
	defer cancel()
	b.mu.Lock()
	targets := make([]*target, 0, len(b.streams))
	for _, t := range b.streams {
		targets = append(targets, t)
	}
	b.mu.Unlock()
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() { errs[i] = t.stop(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// target is a stream that something is put into.
type target struct {
	b    *Bridge
	name string
	set  StreamSettings
	stat counters

	mu     sync.Mutex
	stream *producer.Stream
	tracks []sluice.Track
	holder any // what puts into it now
}

// target finds or makes the target for a stream name.
func (b *Bridge) target(name string, set StreamSettings) *target {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.streams[name]
	if !ok {
		t = &target{b: b, name: name, set: set}
		b.streams[name] = t
		b.order = append(b.order, name)
		slices.Sort(b.order)
	}
	return t
}

// ensure is the target's stream, made for tracks. A stream that was made for
// others is ended first; codec private data that differs is no reason to.
func (t *target) ensure(ctx context.Context, tracks []sluice.Track) (*producer.Stream, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stream != nil && sameTracks(t.tracks, tracks) {
		for i := range tracks {
			if cpd := tracks[i].CodecPrivate; len(cpd) > 0 {
				if err := t.stream.SetCodecPrivate(tracks[i].Number, cpd); err != nil {
					return nil, err
				}
			}
		}
		return t.stream, nil
	}
	if t.stream != nil {
		t.b.log.Info("the tracks have changed", "stream", t.name)
		over, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := t.stream.Stop(over)
		cancel()
		if err != nil {
			t.b.log.Warn("stream not delivered whole", "stream", t.name, "error", err)
		}
		t.stream = nil
	}
	s, err := t.b.opts.Client.NewStream(t.set.info(t.name, tracks, t.event))
	if err != nil {
		return nil, err
	}
	t.stream, t.tracks = s, tracks
	return s, nil
}

func sameTracks(a, b []sluice.Track) bool {
	return slices.EqualFunc(a, b, func(a, b sluice.Track) bool {
		sameSound := (a.Audio == nil) == (b.Audio == nil) && (a.Audio == nil || *a.Audio == *b.Audio)
		return a.Type == b.Type && a.CodecID == b.CodecID && sameSound
	})
}

func (t *target) event(e producer.Event) {
	switch e := e.(type) {
	case producer.StreamError:
		t.stat.serviceError(e.Err)
		if e.Final {
			// The next session makes another stream.
			t.mu.Lock()
			t.stream = nil
			t.mu.Unlock()
		}
	case producer.StreamReady:
		t.stat.serviceError(nil)
	}
}

func (t *target) current() *producer.Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stream
}

// hold says that h puts into the target; the one before is returned, to be ended.
func (t *target) hold(h any) (before any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, t.holder = t.holder, h
	return before
}

func (t *target) letGo(h any) {
	t.mu.Lock()
	if t.holder == h {
		t.holder = nil
	}
	s := t.stream
	t.mu.Unlock()
	if s != nil {
		_ = s.EndFragment() // what was put is stored without waiting for the source's return
	}
}

func (t *target) stop(ctx context.Context) error {
	s := t.current()
	if s == nil {
		return nil
	}
	r, err := s.Stop(ctx)
	if err == nil && len(r.Undelivered) > r.Spooled {
		err = fmt.Errorf("%d fragments were not delivered", len(r.Undelivered)-r.Spooled)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", t.name, err)
	}
	return nil
}

// redact takes secrets out of an error's text.
func redact(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "xxxxx")
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
