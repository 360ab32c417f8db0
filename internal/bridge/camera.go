package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// camera pulls from one RTSP URL, for ever.
type camera struct {
	b      *Bridge
	set    Camera
	target *target
	log    *slog.Logger
}

func newCamera(b *Bridge, set Camera) *camera {
	return &camera{
		b: b, set: set, target: b.target(set.Stream, set.StreamSettings),
		log: b.log.With("stream", set.Stream, "camera", set.safeURL()),
	}
}

// The waits between tries to reach a camera.
const (
	firstWait = 500 * time.Millisecond
	mostWait  = 10 * time.Second
)

func (c *camera) run(ctx context.Context) {
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		err := c.session(ctx)
		if ctx.Err() != nil {
			return
		}
		err = redact(err, c.set.secrets()...)
		c.target.stat.disconnected(err)
		if time.Since(began) > 30*time.Second {
			wait = firstWait
		}
		pause := wait/2 + rand.N(wait)
		c.log.Warn("camera lost", "error", err, "again_in", pause.Round(time.Millisecond))
		wait = min(2*wait, mostWait)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// session connects, plays, and returns why it ended.
func (c *camera) session(ctx context.Context) error {
	u, err := base.ParseURL(c.set.URL)
	if err != nil {
		return errors.New("the camera's URL cannot be read") // the error would quote it
	}
	lost := c.target.stat.packetsLost
	client := &gortsplib.Client{
		Scheme: u.Scheme, Host: u.Host, ReadTimeout: c.set.timeout(), WriteTimeout: c.set.timeout(),
		UserAgent:     "sluice-bridge",
		OnPacketsLost: func(n uint64) { lost(n) },
		OnDecodeError: c.target.stat.decodeError,
		OnTransportSwitch: func(err error) {
			c.log.Info("transport switched", "error", redact(err, c.set.secrets()...))
		},
		UDPReadBufferSize: 0, // the system's: more needs privileges
	}
	switch c.set.Transport {
	case "tcp":
		p := gortsplib.ProtocolTCP
		client.Protocol = &p
	case "udp":
		p := gortsplib.ProtocolUDP
		client.Protocol = &p
	}
	if u.Scheme == "rtsps" {
		client.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.set.TLSInsecure} //nolint:gosec // said in the configuration
	}
	if err := client.Start(); err != nil {
		return err
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, client.Close)
	defer stop()
	desc, _, err := client.Describe(u)
	if err != nil {
		return err
	}
	media, err := choose(desc, !c.set.NoAudio, c.log)
	if err != nil {
		return err
	}
	for _, k := range media {
		if _, err := client.Setup(desc.BaseURL, k.media, 0, 0); err != nil {
			return err
		}
	}
	failed := make(chan error, 1)
	f := &feed{
		ctx: ctx, rtp: client, media: media, log: c.log, stat: &c.target.stat,
		clock:  clock{source: c.set.Time, now: time.Now},
		ensure: func(tracks []sluice.Track) (*producer.Stream, error) { return c.target.ensure(ctx, tracks) },
		fail: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	}
	c.target.hold(c)
	defer c.target.letGo(c)
	f.start()
	if _, err := client.Play(nil); err != nil {
		return err
	}
	names := ""
	for i, k := range media {
		if i > 0 {
			names += " "
		}
		names += k.forma.Codec()
	}
	c.target.stat.connected(c.set.safeURL(), names)
	c.log.Info("camera connected", "media", names)
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()
	select {
	case err := <-ended:
		return err
	case err := <-failed:
		client.Close()
		<-ended
		return err
	}
}

// safeURL is the URL without user and password.
func (c *Camera) safeURL() string { return safeURL(c.URL) }

func safeURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "rtsp://?"
	}
	u.User = nil
	u.RawQuery = "" // some cameras take the password there
	return u.String()
}

// secrets are the texts that must not be seen.
func (c *Camera) secrets() []string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return []string{c.URL}
	}
	out := []string{c.URL}
	if p, ok := u.User.Password(); ok {
		out = append(out, u.User.String(), p, url.QueryEscape(p))
	}
	if u.RawQuery != "" {
		out = append(out, u.RawQuery)
	}
	return out
}

func (c *Camera) timeout() time.Duration {
	if c.Timeout.Duration > 0 {
		return c.Timeout.Duration
	}
	return 10 * time.Second
}
