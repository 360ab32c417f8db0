package bridge

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// Config is what a bridge does; in a file it is TOML.
type Config struct {
	// Storage is the memory for buffered media of all streams, such as "256MiB".
	Storage Size `toml:"storage"`
	// Drain is how long ending waits for the last acknowledgements.
	DrainText Duration      `toml:"drain"`
	Drain     time.Duration `toml:"-"`
	// DebugListen is the address of the status page; "off" is none.
	DebugListen string `toml:"debug_listen"`
	// Defaults are those of every camera and of what is pushed.
	Defaults StreamSettings `toml:"defaults"`
	Listen   Listen         `toml:"listen"`
	Cameras  []Camera       `toml:"camera"`
}

// StreamSettings are those of a stream that is put into.
type StreamSettings struct {
	Create    *bool      `toml:"create"`    // create a stream that does not exist; default false
	Retention *Duration  `toml:"retention"` // of one that is created; default 24h; "0s" stores nothing
	Buffer    Duration   `toml:"buffer"`    // media kept through an outage; default 2m
	NoAudio   bool       `toml:"no_audio"`
	Time      TimeSource `toml:"time"` // auto, camera or local; default auto
	MaxKbps   int        `toml:"max_kbps"`
	// Tags of the stream.
	Tags map[string]string `toml:"tags"`
	// Spool is a directory for media that outlives an outage; SpoolSize bounds it.
	Spool     string `toml:"spool"`
	SpoolSize Size   `toml:"spool_size"`
}

// Camera is one camera to pull from.
type Camera struct {
	Stream    string   `toml:"stream"`
	URL       string   `toml:"url"`       // rtsp://user:password@host/path
	URLFrom   string   `toml:"url_env"`   // the environment variable that holds the URL
	Transport string   `toml:"transport"` // tcp, udp or auto; default auto
	Timeout   Duration `toml:"timeout"`
	// TLSInsecure takes any certificate of an rtsps camera: most have one of their
	// own.
	TLSInsecure bool `toml:"tls_insecure"`
	StreamSettings
}

// Listen is where pushes are accepted.
type Listen struct {
	Address string `toml:"address"` // host:port; "" is none
	UDP     string `toml:"udp"`     // host:port of RTP over UDP, an even port; the next is RTCP's. "" is TCP only
	// Stream is the template of the stream's name: {path} is the path of the URL.
	// Default "{path}".
	Stream   string `toml:"stream"`
	User     string `toml:"user"`
	Password string `toml:"password"`
	PassFrom string `toml:"password_env"` // the environment variable that holds the password
	Max      int    `toml:"max"`          // pushes at a time; default 128
	StreamSettings
}

// Duration is a time span in a configuration, such as "90s" or "24h".
type Duration struct{ time.Duration }

// UnmarshalText reads a Go duration, with d for days.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return fmt.Errorf("duration %q: want for example 90s, 24h or 7d", s)
		}
		d.Duration = time.Duration(n) * 24 * time.Hour
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("duration %q: want for example 90s, 24h or 7d", s)
	}
	d.Duration = v
	return nil
}

// Size is a number of bytes in a configuration, such as "256MiB".
type Size int64

// UnmarshalText reads a number with KiB, MiB or GiB, or bytes.
func (n *Size) UnmarshalText(b []byte) error {
	s, unit := string(b), int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, u
			break
		}
	}
	v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || v < 0 || v > 1<<50/unit {
		return fmt.Errorf("size %q: want for example 256MiB", b)
	}
	*n = Size(v * unit)
	return nil
}

// maxConfig bounds a configuration file.
const maxConfig = 4 << 20

// Load reads a configuration file. Keys that mean nothing are errors: a misspelt
// one would be a default that nobody asked for.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return Config{}, err
	}
	if len(b) > maxConfig {
		return Config{}, fmt.Errorf("%s: larger than %d bytes", path, maxConfig)
	}
	c, err := Parse(string(b))
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads a configuration.
func Parse(text string) (Config, error) {
	var c Config
	meta, err := toml.Decode(text, &c)
	if err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			// Not the decoder's own text, which quotes the line: it may hold a password.
			return Config{}, fmt.Errorf("line %d: %s", at.Position.Line, at.Message)
		}
		return Config{}, err
	}
	if extra := meta.Undecoded(); len(extra) > 0 {
		return Config{}, fmt.Errorf("%s: no such setting", extra[0])
	}
	return c, nil
}

// Resolve fills in what comes from the environment, and the defaults.
func (c *Config) Resolve(getenv func(string) string) error {
	if c.Drain == 0 {
		c.Drain = c.DrainText.Duration
	}
	if c.Drain == 0 {
		c.Drain = 10 * time.Second
	}
	if c.DebugListen == "" {
		c.DebugListen = "127.0.0.1:8472"
	}
	for i := range c.Cameras {
		k := &c.Cameras[i]
		if k.URLFrom != "" {
			if k.URL = getenv(k.URLFrom); k.URL == "" {
				return fmt.Errorf("camera %q: url_env: the variable %s is not set", k.Stream, k.URLFrom)
			}
		}
		k.inherit(c.Defaults)
	}
	if c.Listen.PassFrom != "" {
		if c.Listen.Password = getenv(c.Listen.PassFrom); c.Listen.Password == "" {
			return fmt.Errorf("listen: password_env: the variable %s is not set", c.Listen.PassFrom)
		}
	}
	c.Listen.inherit(c.Defaults)
	return nil
}

func (s *StreamSettings) inherit(d StreamSettings) {
	if s.Create == nil {
		s.Create = d.Create
	}
	if s.Retention == nil {
		s.Retention = d.Retention
	}
	if s.Buffer.Duration == 0 {
		s.Buffer = d.Buffer
	}
	s.NoAudio = s.NoAudio || d.NoAudio
	if s.Time == "" {
		s.Time = d.Time
	}
	if s.MaxKbps == 0 {
		s.MaxKbps = d.MaxKbps
	}
	if s.Tags == nil {
		s.Tags = d.Tags
	}
	if s.Spool == "" {
		s.Spool, s.SpoolSize = d.Spool, d.SpoolSize
	}
}

// check refuses what cannot work, and names the setting.
func (c *Config) check() error {
	if len(c.Cameras) == 0 && c.Listen.Address == "" {
		return errors.New("neither a camera nor an address to listen on")
	}
	seen := map[string]bool{}
	for i := range c.Cameras {
		k := &c.Cameras[i]
		if err := sluice.ValidateStreamName(k.Stream); err != nil {
			return fmt.Errorf("camera %d: %w", i+1, err)
		}
		if seen[k.Stream] {
			return fmt.Errorf("camera %d: stream %s has a camera already", i+1, k.Stream)
		}
		seen[k.Stream] = true
		u, err := url.Parse(k.URL)
		if err != nil || u.Host == "" || u.Scheme != "rtsp" && u.Scheme != "rtsps" {
			return fmt.Errorf("camera %s: url: want rtsp://[user:password@]host[:port]/path", k.Stream)
		}
		switch k.Transport {
		case "", "auto", "tcp", "udp":
		default:
			return fmt.Errorf("camera %s: transport %q: want tcp, udp or auto", k.Stream, k.Transport)
		}
		if err := k.StreamSettings.check("camera " + k.Stream); err != nil {
			return err
		}
	}
	if c.Listen.Address != "" {
		if c.Listen.User == "" != (c.Listen.Password == "") {
			return errors.New("listen: user and password belong together")
		}
		return c.Listen.StreamSettings.check("listen")
	}
	return nil
}

func (s *StreamSettings) check(where string) error {
	switch s.Time {
	case "", TimeAuto, TimeCamera, TimeLocal:
	default:
		return fmt.Errorf("%s: time %q: want auto, camera or local", where, s.Time)
	}
	if s.Retention != nil && s.Retention.Duration%time.Hour != 0 {
		return fmt.Errorf("%s: retention %v: want whole hours", where, s.Retention)
	}
	return nil
}

// info is the producer's description of the stream.
func (s *StreamSettings) info(name string, tracks []sluice.Track, onEvent func(producer.Event)) producer.StreamInfo {
	in := producer.StreamInfo{
		Name: name, Tracks: tracks, OnEvent: onEvent, BufferDuration: s.Buffer.Duration, MaxKbps: s.MaxKbps, Tags: s.Tags,
		NoCreate: s.Create == nil || !*s.Create, Retention: 24 * time.Hour,
	}
	if s.Retention != nil {
		if in.Retention = s.Retention.Duration; in.Retention == 0 {
			in.Retention = producer.NoRetention
		}
	}
	if len(tracks) > 0 && tracks[0].CodecID == "V_MS/VFW/FOURCC" {
		in.ByDuration = true // every M-JPEG picture is a key frame
	}
	if s.Spool != "" {
		in.Spool = &producer.Spool{Dir: s.Spool, MaxBytes: int64(s.SpoolSize)}
	}
	return in
}
