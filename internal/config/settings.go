package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicevideo/sluice/internal/limits"
)

// Setting is one line of the table. Its name is the flag's and the TOML key's;
// the variable is SLUICE_ and the name in capitals with underscores.
type Setting struct {
	Name    string
	Arg     string // what a value is called in --help; "" is a switch
	Default []string
	Doc     string
	List    bool // may be given several times; in a variable separated by commas
	Live    bool // SIGHUP applies a change; else it needs a restart
	set     func(c *Config, values []string) error
}

// Variable is the setting's environment variable.
func (s *Setting) Variable() string {
	return "SLUICE_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// envOnly are the variables that have no flag: secrets.
var envOnly = map[string]func(*Config) *string{
	"SLUICE_ROOT_ACCESS_KEY_ID":     func(c *Config) *string { return &c.RootAccessKeyID },
	"SLUICE_ROOT_SECRET_ACCESS_KEY": func(c *Config) *string { return &c.RootSecretAccessKey },
	"SLUICE_ROOT_KEY":               func(c *Config) *string { return &c.RootKey },
}

// Off is how a list or an address that has a default is emptied.
const Off = "off"

// Settings is the table, in the order of --help.
func Settings() []*Setting {
	list := []*Setting{
		{Name: "listen", Arg: "HOST:PORT", Default: []string{"127.0.0.1:8470"}, List: true,
			Doc: "http address; repeatable; off: none",
			set: func(c *Config, v []string) (err error) { c.Listen, err = addresses(v); return err }},
		{Name: "listen-tls", Arg: "HOST:PORT", Default: []string{"127.0.0.1:8473"}, List: true,
			Doc: "https address, once there is a certificate; repeatable; off: none",
			set: func(c *Config, v []string) (err error) { c.ListenTLS, err = addresses(v); return err }},
		{Name: "debug-listen", Arg: "HOST:PORT", Default: []string{"127.0.0.1:8471"},
			Doc: "private http address for health, metrics and profiles; off: none",
			set: func(c *Config, v []string) error {
				a, err := addresses(v)
				if c.DebugListen = ""; len(a) == 1 {
					c.DebugListen = a[0]
				}
				return err
			}},
		{Name: "tls-cert", Arg: "FILE", Doc: "certificate chain, PEM; read again when it changes", set: text(func(c *Config) *string { return &c.TLSCert })},
		{Name: "tls-key", Arg: "FILE", Doc: "the certificate's key, PEM", set: text(func(c *Config) *string { return &c.TLSKey })},
		{Name: "tls-self-signed", Default: []string{"false"}, Doc: "make a CA and a certificate for local use in the data directory",
			set: toggle(func(c *Config) *bool { return &c.TLSSelfSigned })},
		{Name: "tls-name", Arg: "NAME", List: true, Doc: "a further host name or address in the self-signed certificate; repeatable",
			set: func(c *Config, v []string) error {
				c.TLSNames = v
				for _, n := range v {
					if !hostName.MatchString(n) {
						if _, err := netip.ParseAddr(n); err != nil {
							return fmt.Errorf("%q: want a host name or an IP address", n)
						}
					}
				}
				return nil
			}},
		{Name: "public-url", Arg: "URL", Doc: "what GetDataEndpoint answers (default: scheme, host and port the client called)", set: setPublicURL},
		{Name: "trusted-proxies", Arg: "CIDR", List: true, Doc: "networks whose X-Forwarded-* headers count; repeatable", set: setProxies},
		{Name: "cors-origin", Arg: "ORIGIN", Default: []string{"*"}, List: true, Doc: "origin whose pages may call; repeatable; off: none", set: setOrigins},
		{Name: "region", Arg: "REGION", Default: []string{"us-west-2"}, Doc: "region in ARNs and signatures",
			set: pattern(func(c *Config) *string { return &c.Region }, `^[a-z0-9-]{1,32}$`, "a region such as us-west-2")},
		{Name: "account", Arg: "ID", Default: []string{"000000000000"}, Doc: "account in ARNs, 12 digits",
			set: pattern(func(c *Config) *string { return &c.Account }, `^[0-9]{12}$`, "12 digits")},
		{Name: "data", Arg: "DIR", Default: []string{"./sluice-data"}, Doc: "where everything is kept",
			set: func(c *Config, v []string) error {
				if c.Data = v[0]; c.Data == "" {
					return fmt.Errorf("want a directory")
				}
				return nil
			}},
		{Name: "root-key-file", Arg: "FILE", Doc: "the key that all others are sealed under (default: root.key in the data directory)",
			set: text(func(c *Config) *string { return &c.RootKeyFile })},
		{Name: "reset-root-key", Default: []string{"false"}, Doc: "make a new pair of root access keys; the old pair stops working",
			set: toggle(func(c *Config) *bool { return &c.ResetRootKey })},
		{Name: "memory", Arg: "SIZE", Default: []string{"512MiB"}, Doc: "budget of media in memory", set: size(func(c *Config) *ByteSize { return &c.Memory })},
		{Name: "max-bytes", Arg: "SIZE", Default: []string{"0"}, Doc: "most media on disk; the oldest goes first; 0: no cap", set: size(func(c *Config) *ByteSize { return &c.MaxBytes })},
		{Name: "stream-max-bytes", Arg: "[STREAM=]SIZE", Default: []string{"0"}, List: true,
			Doc: "most media on disk of each stream, or of the named one; the oldest goes first; 0: no cap; repeatable", set: setStreamCaps},
		{Name: "accept-clock", Default: []string{"false"}, Doc: "let media expire by the clock as it is now, also when it is not what it should be by the last run",
			set: toggle(func(c *Config) *bool { return &c.AcceptClock })},
		{Name: "hls-low-latency", Default: []string{"false"}, Doc: "make every LIVE HLS session a low-latency one; without it a player asks by &LowLatency=1",
			set: toggle(func(c *Config) *bool { return &c.HLSLowLatency })},
		{Name: "log-level", Arg: "LEVEL", Default: []string{"info"}, Live: true, Doc: "debug, info, warn or error",
			set: func(c *Config, v []string) error {
				if err := c.LogLevel.UnmarshalText([]byte(v[0])); err != nil || strings.ContainsAny(v[0], "+-") {
					return fmt.Errorf("%q: want debug, info, warn or error", v[0])
				}
				return nil
			}},
		{Name: "log-format", Arg: "FORMAT", Default: []string{"text"}, Doc: "text or json", set: oneOf(func(c *Config) *string { return &c.LogFormat }, "text", "json")},
		{Name: "limits", Arg: "PROFILE", Default: []string{"current"}, Live: true, Doc: "rules: current, guide or none",
			set: func(c *Config, v []string) (err error) {
				c.LimitsProfile = v[0]
				c.Rules, err = limits.RulesOf(v[0])
				return err
			}},
		{Name: "rates", Arg: "PROFILE", Default: []string{"off"}, Live: true, Doc: "rates: off, current or guide",
			set: func(c *Config, v []string) (err error) {
				c.RatesProfile = v[0]
				c.Rates, err = limits.RatesOf(v[0])
				return err
			}},
	}
	// The figures come after their profiles, so that they change what those set.
	for _, f := range (limits.Rules{}).Figures() {
		list = append(list, &Setting{Name: "limit-" + f.Name, Arg: figureArg(f), Live: f.Name != "fragment-bytes",
			Doc: fmt.Sprintf("%s (default: by --limits; current %s, guide %s)", f.Doc, f.Current, f.Guide),
			set: func(c *Config, v []string) error { return c.Rules.Set(f.Name, v[0]) }})
	}
	for _, f := range (limits.Rates{}).Figures() {
		list = append(list, &Setting{Name: "rate-" + f.Name, Arg: figureArg(f), Live: true,
			Doc: fmt.Sprintf("%s (default: by --rates; current %s, guide %s)", f.Doc, f.Current, f.Guide),
			set: func(c *Config, v []string) error { return c.Rates.Set(f.Name, v[0]) }})
	}
	return list
}

func figureArg(f limits.Figure) string {
	switch {
	case f.Current == "true" || f.Current == "false":
		return "BOOL"
	case strings.HasSuffix(f.Current, "s") || strings.HasSuffix(f.Current, "h"):
		return "DURATION"
	}
	return "N"
}

func text(field func(*Config) *string) func(*Config, []string) error {
	return func(c *Config, v []string) error { *field(c) = v[0]; return nil }
}

func toggle(field func(*Config) *bool) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		b, err := strconv.ParseBool(v[0])
		if err != nil {
			return fmt.Errorf("%q: want true or false", v[0])
		}
		*field(c) = b
		return nil
	}
}

func pattern(field func(*Config) *string, re, want string) func(*Config, []string) error {
	r := regexp.MustCompile(re)
	return func(c *Config, v []string) error {
		if !r.MatchString(v[0]) {
			return fmt.Errorf("%q: want %s", v[0], want)
		}
		*field(c) = v[0]
		return nil
	}
}

func oneOf(field func(*Config) *string, words ...string) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		if !slices.Contains(words, v[0]) {
			return fmt.Errorf("%q: want %s", v[0], strings.Join(words, " or "))
		}
		*field(c) = v[0]
		return nil
	}
}

func size(field func(*Config) *ByteSize) func(*Config, []string) error {
	return func(c *Config, v []string) error { return field(c).UnmarshalText([]byte(v[0])) }
}

var streamName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,256}$`)

// setStreamCaps reads SIZE, of every stream, and STREAM=SIZE.
func setStreamCaps(c *Config, v []string) error {
	c.StreamMaxBytes, c.StreamCaps = 0, map[string]ByteSize{}
	for _, s := range v {
		var b ByteSize
		name, text, named := strings.Cut(s, "=")
		if !named {
			text = s
		}
		if err := b.UnmarshalText([]byte(text)); err != nil {
			return err
		}
		switch {
		case !named:
			c.StreamMaxBytes = b
		case !streamName.MatchString(name):
			return fmt.Errorf("%q: want a stream's name before the =", s)
		default:
			c.StreamCaps[name] = b
		}
	}
	return nil
}

// addresses checks HOST:PORT of each; "off" alone is none.
func addresses(v []string) ([]string, error) {
	if len(v) == 0 || len(v) == 1 && (v[0] == Off || v[0] == "") {
		return nil, nil
	}
	for _, a := range v {
		host, port, err := net.SplitHostPort(a)
		_, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || strings.ContainsAny(host, "/ ") {
			return nil, fmt.Errorf("%q: want HOST:PORT, such as 127.0.0.1:8470 or :8470", a)
		}
	}
	return v, nil
}

var hostName = regexp.MustCompile(`^(\*\.)?[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$`)

func setPublicURL(c *Config, v []string) error {
	c.PublicURL = ""
	if v[0] == "" {
		return nil
	}
	u, err := url.Parse(v[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		// Native producers append the operation's path to it as text.
		return fmt.Errorf("%q: want http://HOST[:PORT] or https://HOST[:PORT], without a path", v[0])
	}
	c.PublicURL = u.Scheme + "://" + u.Host
	return nil
}

func setProxies(c *Config, v []string) error {
	c.TrustedProxies = nil
	for _, s := range v {
		p, err := netip.ParsePrefix(s)
		if a, bad := netip.ParseAddr(s); bad == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q: want a network such as 10.0.0.0/8, or an address", s)
		}
		c.TrustedProxies = append(c.TrustedProxies, p.Masked())
	}
	return nil
}

func setOrigins(c *Config, v []string) error {
	c.CORSOrigins = nil
	if slices.Equal(v, []string{"*"}) {
		return nil
	}
	c.CORSOrigins = []string{}
	if slices.Equal(v, []string{Off}) {
		return nil
	}
	for _, s := range v {
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" {
			return fmt.Errorf("%q: want an origin such as https://cameras.example.org, or *", s)
		}
		c.CORSOrigins = append(c.CORSOrigins, s)
	}
	return nil
}

// Level is the level as a setting's text.
func Level(l slog.Level) string { return strings.ToLower(l.String()) }
