package producer

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/sluicevideo/sluice/kvsapi"
)

// Options describe a client (the guide's DeviceInfo, StorageInfo and ClientInfo).
// The zero value takes credentials and endpoint from the environment, as the AWS
// command line does, and 128 MiB of memory.
type Options struct {
	// DeviceName goes into CreateStream: at most 128 of a-z A-Z 0-9 _ . -.
	DeviceName string
	// StorageSize is the content store: the bytes of media that all streams of
	// the client may buffer. 0: 128 MiB. 10 MiB to 10 GiB.
	StorageSize int64
	// MaxStreams at a time. 0: 128.
	MaxStreams int

	// Service says where the service is and with which credentials.
	Service kvsapi.Options
	// SessionLife is the longest life of a PutMedia session, less a random part.
	// 0: 40 minutes; the service ends one at 45.
	SessionLife time.Duration

	// Logger is told of the life of streams. Nil: slog.Default.
	Logger *slog.Logger
	// OnEvent is told of ClientReady and StoragePressure. See StreamInfo.OnEvent.
	OnEvent func(Event)
}

// Client is what the streams of a device share. It may be used by several
// goroutines.
type Client struct {
	opts   Options
	log    *slog.Logger
	api    *kvsapi.Client
	creds  *credentialCache
	http   *http.Transport // nil when the caller gave an HTTPClient
	store  *store
	events eventQueue
	ready  sync.Once
	stop   context.CancelFunc // ends what runs beside the streams
	wg     sync.WaitGroup

	mu       sync.Mutex
	streams  map[string]*Stream
	sources  map[*Registration]struct{}
	closed   bool
	pressure bool
	pressed  int64     // storage pressures, ever
	expires  time.Time // of the credentials, as last seen
}

// New makes a client. It reads configuration, and makes no call.
func New(ctx context.Context, opts Options) (*Client, error) {
	if opts.StorageSize == 0 {
		opts.StorageSize = 128 << 20
	}
	if opts.StorageSize < MinStorageSize || opts.StorageSize > MaxStorageSize {
		return nil, invalid(StatusInvalidStorageSize, "Options.StorageSize %d: want %d to %d bytes", opts.StorageSize, int64(MinStorageSize), int64(MaxStorageSize))
	}
	if opts.MaxStreams == 0 {
		opts.MaxStreams = MaxStreams
	}
	if opts.MaxStreams < 1 {
		return nil, invalid(StatusMinStreamCount, "Options.MaxStreams %d: at least 1", opts.MaxStreams)
	}
	if len(opts.DeviceName) > MaxDeviceNameLen {
		return nil, invalid(StatusInvalidDeviceNameLength, "Options.DeviceName: %d characters, at most %d", len(opts.DeviceName), MaxDeviceNameLen)
	}
	if strings.Trim(opts.DeviceName, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
		return nil, invalid(StatusInvalidDeviceNameLength, "Options.DeviceName %q: want a-z A-Z 0-9 _ . -", opts.DeviceName)
	}
	if opts.SessionLife == 0 {
		opts.SessionLife = MaxConnectionAge
	}
	if opts.SessionLife < 0 || opts.SessionLife > MaxConnectionAge {
		return nil, invalid(StatusInvalidArg, "Options.SessionLife %v: at most %v", opts.SessionLife, MaxConnectionAge)
	}
	c := &Client{
		opts: opts, log: opts.Logger, store: newStore(opts.StorageSize),
		streams: map[string]*Stream{}, sources: map[*Registration]struct{}{},
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	c.events.handle = opts.OnEvent
	if opts.Service.UserAgent == "" {
		opts.Service.UserAgent = "sluice-producer"
	}
	cfg, endpoint, err := kvsapi.LoadConfig(ctx, opts.Service)
	if err != nil {
		return nil, err
	}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok && opts.Service.HTTPClient == nil {
		c.http = transport(b.GetTransport())
		cfg.HTTPClient = &http.Client{Transport: c.http}
	}
	c.creds = newCredentialCache(cfg.Credentials, c.log, c.events.send)
	cfg.Credentials = c.creds
	refresh, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.wg.Go(func() { c.creds.run(refresh) })
	c.api = kvsapi.NewFromConfig(cfg, endpoint)
	return c, nil
}

// transport suits many long uploads: small buffers, because there are two of
// them a stream, and writes that fail when nothing moves.
func transport(t *http.Transport) *http.Transport {
	t.ReadBufferSize, t.WriteBufferSize = 4<<10, 16<<10
	t.ResponseHeaderTimeout = 15 * time.Second
	t.IdleConnTimeout = 30 * time.Second
	dial := (&net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}}).DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &stallConn{Conn: c}, nil
	}
	return t
}

// writeStall is how long a write may wait for the network: the official producer
// gives up when less than 30 bytes a second have moved for as long.
const writeStall = 30 * time.Second

// stallConn fails a write that does not move.
type stallConn struct {
	net.Conn
	deadline time.Time
}

func (c *stallConn) Write(p []byte) (int, error) {
	// Moving the deadline at most every few seconds keeps it off the hot path.
	if now := time.Now(); c.deadline.Sub(now) < writeStall*2/3 {
		c.deadline = now.Add(writeStall)
		if err := c.SetWriteDeadline(c.deadline); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// NewStream adds a stream. It returns at once: the stream is described or created
// in the background, and frames may be put before that has happened, with or
// without a network.
func (c *Client) NewStream(info StreamInfo) (*Stream, error) {
	info, err := info.withDefaults()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, invalid(StatusClientShutdown, "the client is closed")
	}
	if _, ok := c.streams[info.Name]; ok {
		return nil, invalid(StatusDuplicateStreamName, "StreamInfo.Name %q: the client has a stream of that name", info.Name)
	}
	if len(c.streams) >= c.opts.MaxStreams {
		return nil, invalid(StatusMaxStreamCount, "%d streams, at most %d (Options.MaxStreams)", len(c.streams)+1, c.opts.MaxStreams)
	}
	s, err := newStream(c, info)
	if err != nil {
		return nil, err
	}
	c.streams[info.Name] = s
	go s.run() // waited for by Stop and Close, through s.stopped
	return s, nil
}

// forget frees the name of a stream that is over.
func (c *Client) forget(s *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[s.info.Name] == s {
		delete(c.streams, s.info.Name)
	}
}

// Streams are those that have not been stopped, by name.
func (c *Client) Streams() []*Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*Stream
	for _, s := range c.streams {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Stream) int { return cmp.Compare(a.info.Name, b.info.Name) })
	return all
}

// Close stops all streams side by side, as Stop does, and lets go of the
// connections. The error tells of the first stream that was not delivered whole.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	var sources []*Registration
	for r := range c.sources {
		sources = append(sources, r)
	}
	c.mu.Unlock()
	for _, r := range sources {
		r.Stop()
	}
	streams := c.Streams()
	errs := make([]error, len(streams))
	var wg sync.WaitGroup
	for i, s := range streams {
		wg.Go(func() {
			r, err := s.Stop(ctx)
			if err == nil && len(r.Undelivered) > r.Spooled {
				err = fmt.Errorf("%d fragments were not delivered", len(r.Undelivered)-r.Spooled)
			}
			if err != nil {
				errs[i] = fmt.Errorf("stream %s: %w", s.info.Name, err)
			}
		})
	}
	wg.Wait()
	c.stop()
	c.wg.Wait()
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	told := make(chan struct{})
	go func() {
		for _, s := range streams {
			s.events.wait()
		}
		c.events.wait()
		close(told)
	}()
	select {
	case <-told:
	case <-ctx.Done(): // a handler that does not return keeps its goroutine
	}
	return errors.Join(errs...)
}

// makeRoom frees memory so that s can have n bytes: at once, from the stream that
// holds most beyond its share, or by waiting in an Offline stream.
func (c *Client) makeRoom(ctx context.Context, s *Stream, n int64) error {
	if n > c.store.limit {
		return invalid(StatusStoreOutOfMemory, "a frame of %d bytes does not fit a content store of %d", n, c.store.limit)
	}
	if s.waitForSpool(ctx) {
		return nil
	}
	if s.info.Type == Offline {
		freed := c.store.freed()
		if c.store.inUse()+n <= c.store.limit {
			return nil
		}
		s.wakeLoop()
		select {
		case <-freed:
			return nil
		case <-s.stopped:
			return invalid(StatusBlockingPutInterrupted, "stream %s ended while a frame waited for room", s.info.Name)
		case <-ctx.Done():
			return fmt.Errorf("stream %s: waiting for room: %w", s.info.Name, context.Cause(ctx))
		}
	}
	streams := c.Streams()
	share := c.store.limit / int64(max(len(streams), 1))
	slices.SortStableFunc(streams, func(a, b *Stream) int { return cmp.Compare(b.held.Load(), a.held.Load()) })
	if s.held.Load() >= share {
		// What holds its share or more makes its own room: another stream's media
		// is not touched for it.
		if s.evict(DropStorage) {
			return nil
		}
	}
	for _, v := range streams {
		if v.info.Type != Offline && v.held.Load() > 0 && v.evict(DropStorage) {
			return nil
		}
	}
	return invalid(StatusStoreOutOfMemory, "no room for a frame of %d bytes", n)
}

// spoolPatience bounds how long a frame waits for the disk when memory is full: a
// disk that is slow for a while is no reason to lose what a spool was asked for.
const spoolPatience = 10 * time.Second

// waitForSpool frees the memory of media that lies on disk, or is about to.
func (s *Stream) waitForSpool(ctx context.Context) bool {
	var patience <-chan time.Time
	for {
		s.mu.Lock()
		wait := s.spoolWaitLocked()
		s.mu.Unlock()
		if s.freeSpooled() {
			return true
		}
		if wait == nil {
			return false
		}
		if patience == nil {
			t := time.NewTimer(spoolPatience)
			defer t.Stop()
			patience = t.C
		}
		select {
		case <-wait:
		case <-patience:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// freeSpooled frees the memory of the oldest fragment that lies on disk too.
func (s *Stream) freeSpooled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.frags {
		if f.disk.file != nil && len(f.chunks) > 0 && f.state != sending && f.state != done {
			s.freeLocked(f)
			return true
		}
	}
	return false
}

// storagePressure tells once that the store is nearly full. It is called under
// the lock of s.
func (c *Client) storagePressure(s *Stream) {
	left := c.store.limit - c.store.inUse()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case left <= c.store.limit/20 && !c.pressure:
		c.pressure = true
		c.pressed++
		s.m.storagePressures++
		c.events.send(StoragePressure{left})
		s.events.send(StoragePressure{left})
	case left > c.store.limit/10:
		c.pressure = false
	}
}

func (c *Client) readyOnce() { c.ready.Do(func() { c.events.send(ClientReady{}) }) }

// minTokenLife is the guide's least life of credentials for a session.
const minTokenLife = 30 * time.Second

// sessionLife is how long a session may last: SessionLife or the credentials'
// remaining life, less a random part that spreads the reconnects of a fleet.
func (c *Client) sessionLife(ctx context.Context) (time.Duration, error) {
	creds, err := c.creds.Retrieve(ctx)
	if err != nil {
		return 0, wrap(StatusGetStreamingTokenCallFailed, err)
	}
	life := c.opts.SessionLife
	if creds.CanExpire {
		c.mu.Lock()
		c.expires = creds.Expires
		c.mu.Unlock()
		left := time.Until(creds.Expires)
		if left <= 0 {
			return 0, wrap(StatusInvalidTokenExpiration, errExpired)
		}
		life = min(life, max(left, minTokenLife))
	}
	if life >= 5*time.Minute {
		life -= mrand.N(min(life/10, 3*time.Minute))
	}
	return life, nil
}

// forgetCredentials makes the next call fetch them again.
func (c *Client) forgetCredentials() { c.creds.refuse() }

var errExpired = errors.New("the credentials have expired")

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "stream-" + hex.EncodeToString(b[:])
}

func randomUUID() (b [16]byte) {
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return b
}
