package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sluicevideo/sluice/internal/config"
)

func load(t *testing.T, args, environ []string) (*config.Loaded, error) {
	t.Helper()
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	l := config.NewLoader(fs, environ)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return l.Load()
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// samples are three values of a setting that differ from each other and from
// its default, for the file, the environment and the flag.
func samples(s *config.Setting) [3]string {
	switch s.Name {
	case "log-level":
		return [3]string{"debug", "warn", "error"}
	case "log-format":
		return [3]string{"json", "text", "json"}
	case "limits":
		return [3]string{"guide", "none", "guide"}
	case "rates":
		return [3]string{"guide", "current", "guide"}
	case "public-url":
		return [3]string{"http://a.example", "https://b.example:1", "http://c.example"}
	case "cors-origin":
		return [3]string{"http://a.example", "https://b.example", "off"}
	case "account":
		return [3]string{"111111111111", "222222222222", "333333333333"}
	case "region":
		return [3]string{"eu-north-1", "eu-north-2", "eu-north-3"}
	}
	switch s.Arg {
	case "HOST:PORT":
		return [3]string{"127.0.0.1:1", ":2", "[::1]:3"}
	case "SIZE", "[STREAM=]SIZE":
		return [3]string{"1GiB", "2GiB", "3000000000"}
	case "CIDR":
		return [3]string{"10.0.0.0/8", "127.0.0.1", "fe80::/10"}
	case "DURATION":
		return [3]string{"1s", "2s", "3s"}
	case "N":
		return [3]string{"1", "2", "3"}
	case "", "BOOL":
		return [3]string{"true", "false", "true"}
	}
	return [3]string{"one", "two", "three"} // FILE, DIR, NAME
}

// companions are the settings without which one setting is an error.
func companions(name string) (args []string) {
	switch name {
	case "listen-tls", "tls-name":
		return []string{"--tls-self-signed"}
	case "tls-cert":
		return []string{"--tls-key=k"}
	case "tls-key":
		return []string{"--tls-cert=c"}
	}
	return nil
}

// TestStrength: for each setting a flag is stronger than the environment, that
// than the file, and that than the default.
func TestStrength(t *testing.T) {
	t.Parallel()
	for _, s := range config.Settings() {
		v := samples(s)
		quote := func(text string) string {
			if s.List {
				return fmt.Sprintf("[%q]", text)
			}
			return fmt.Sprintf("%q", text)
		}
		file := writeFile(t, s.Name+" = "+quote(v[0])+"\n")
		base := append([]string{}, companions(s.Name)...)
		direct := func(text string) config.Config {
			l, err := load(t, append(slices.Clone(base), "--"+s.Name+"="+text), nil)
			if err != nil {
				t.Fatalf("%s=%s: %v", s.Name, text, err)
			}
			return l.Config
		}
		for _, c := range []struct {
			name   string
			args   []string
			env    []string
			want   string
			origin config.Origin
		}{
			{"file", []string{"--config=" + file}, nil, v[0], config.Origin(file)},
			{"environment over file", nil, []string{"SLUICE_CONFIG=" + file, s.Variable() + "=" + v[1]}, v[1], config.FromEnv},
			{"flag over both", []string{"--config=" + file, "--" + s.Name + "=" + v[2]}, []string{s.Variable() + "=" + v[1]}, v[2], config.FromFlag},
		} {
			got, err := load(t, append(slices.Clone(base), c.args...), c.env)
			if err != nil {
				t.Errorf("%s: %s: %v", s.Name, c.name, err)
				continue
			}
			if got.Origin(s.Name) != c.origin || len(got.Warnings) != 0 {
				t.Errorf("%s: %s: origin %q, want %q; warnings %q", s.Name, c.name, got.Origin(s.Name), c.origin, got.Warnings)
			}
			if want := direct(c.want); !reflect.DeepEqual(got.Config, want) {
				t.Errorf("%s: %s: %+v\nwant %+v", s.Name, c.name, got.Config, want)
			}
		}
		// The three values must tell the sources apart, or this proves nothing.
		if reflect.DeepEqual(direct(v[0]), direct(v[1])) || reflect.DeepEqual(direct(v[1]), direct(v[2])) {
			t.Errorf("%s: the samples %q are the same setting", s.Name, v)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	l, err := load(t, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(l.Listen, []string{"127.0.0.1:8470"}) || l.ListenTLS != nil || l.DebugListen != "127.0.0.1:8471" ||
		l.Region != "us-west-2" || l.Account != "000000000000" || l.Data != "./sluice-data" || l.CORSOrigins != nil ||
		l.Rules.FragmentTracks != 3 || l.Rates.StreamCalls != 0 || l.LogFormat != "text" {
		t.Errorf("%+v", l.Config)
	}
	l, err = load(t, []string{"--listen", ":1", "--listen", "127.0.0.1:2", "--debug-listen=off", "--tls-self-signed", "--limits=guide", "--limit-fragment-duration=9s"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(l.Listen, []string{":1", "127.0.0.1:2"}) || l.DebugListen != "" || !slices.Equal(l.ListenTLS, []string{"127.0.0.1:8473"}) ||
		l.Rules.FragmentDuration.String() != "9s" || l.Rules.Streams != 100 {
		t.Errorf("%+v", l.Config)
	}
	if l, err = load(t, nil, []string{"SLUICE_LISTEN=:1, :2"}); err != nil || !slices.Equal(l.Listen, []string{":1", ":2"}) {
		t.Errorf("list in the environment: %v, %v", l, err)
	}
	if l, err = load(t, []string{"--config", writeFile(t, "[tls]\ncert = \"c\"\nkey = \"k\"\n[limit]\nfragment-tracks = 5\n")}, nil); err != nil || l.TLSCert != "c" || l.Rules.FragmentTracks != 5 {
		t.Errorf("tables in the file: %v, %v", l, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		args, env  []string
		want       string
	}{
		{name: "unknown key", file: "lisen = \":1\"", want: `unknown key "lisen", did you mean "listen"?`},
		{name: "unknown key in a table", file: "[log]\nlevle = \"info\"", want: `unknown key "log-levle", did you mean "log-level"?`},
		{name: "not TOML", file: "listen = \n", want: "sluice.toml:1:"},
		{name: "value of a strange type", file: "data = 1979-05-27", want: "data: want a text"},
		{name: "two values for one", file: "data = [\"a\", \"b\"]", want: "data: want one value"},
		{name: "value in the file", file: "account = \"12\"", want: `account: "12": want 12 digits`},
		{name: "value in the environment", env: []string{"SLUICE_LISTEN=8470"}, want: `SLUICE_LISTEN: "8470": want HOST:PORT`},
		{name: "value of a flag", args: []string{"--log-level=loud"}, want: `want debug, info, warn or error`},
		{name: "port", args: []string{"--listen=:http"}, want: "want HOST:PORT"},
		{name: "public URL with a path", args: []string{"--public-url=http://h/kvs"}, want: "without a path"},
		{name: "proxy", args: []string{"--trusted-proxies=lan"}, want: "want a network"},
		{name: "origin", args: []string{"--cors-origin=example.org"}, want: "want an origin"},
		{name: "size", args: []string{"--memory=lots"}, want: "want a size"},
		{name: "too little memory", args: []string{"--memory=100MiB"}, want: "memory is 100MiB, want at least 200MiB"},
		{name: "figure", args: []string{"--limit-fragment-duration=soon"}, want: "must be a duration"},
		{name: "profile", args: []string{"--rates=none"}, want: "must be current, guide or off"},
		{name: "key without certificate", args: []string{"--tls-key=k"}, want: "go together"},
		{name: "two certificates", args: []string{"--tls-key=k", "--tls-cert=c", "--tls-self-signed"}, want: "exclude each other"},
		{name: "https without certificate", args: []string{"--listen-tls=:1"}, want: "needs a certificate"},
		{name: "nobody listens", args: []string{"--listen=off"}, want: "nobody could call"},
		{name: "half a root key", env: []string{"SLUICE_ROOT_ACCESS_KEY_ID=x"}, want: "go together"},
		{name: "no file", args: []string{"--config=/nonexistent"}, want: "settings file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.file != "" {
				c.args = append(c.args, "--config", writeFile(t, c.file))
			}
			if _, err := load(t, c.args, c.env); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestUnknownVariableIsAWarning(t *testing.T) {
	t.Parallel()
	l, err := load(t, nil, []string{"SLUICE_LISEN=:1", "SLUICE_QQQQQQQQQ=1", "HOME=/"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"environment variable SLUICE_LISEN is unknown, did you mean SLUICE_LISTEN?", "environment variable SLUICE_QQQQQQQQQ is unknown"}
	if !slices.Equal(l.Warnings, want) {
		t.Errorf("warnings %q, want %q", l.Warnings, want)
	}
}

func TestPrintShowsNoSecret(t *testing.T) {
	t.Parallel()
	l, err := load(t, []string{"--region=eu-north-1"}, []string{"SLUICE_ROOT_ACCESS_KEY_ID=AKIAROOT", "SLUICE_ROOT_SECRET_ACCESS_KEY=hush", "SLUICE_LOG_LEVEL=debug"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := l.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"eu-north-1", "flag", "debug", "environment", "set, not shown", "127.0.0.1:8470"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "hush") || strings.Contains(b.String(), "AKIAROOT") {
		t.Errorf("a secret in\n%s", &b)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	a, err := load(t, []string{"--listen=:1", "--log-level=info"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(t, []string{"--listen=:2", "--log-level=debug", "--limit-streams=7"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	live, restart := a.Changes(b)
	if !slices.Equal(live, []string{"log-level", "limit-streams"}) || !slices.Equal(restart, []string{"listen"}) {
		t.Errorf("live %q, restart %q", live, restart)
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"listen = [\":1\", \":2\"]\n[tls]\ncert = \"c\"\n", "lisen = 1", "a.b.c = {d = [1, [2]]}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "f.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := load(t, []string{"--config", path}, nil)
		if err == nil && (l.Memory <= 0 || len(l.Listen)+len(l.ListenTLS) == 0) {
			t.Fatalf("taken, but nothing could run with it: %+v", l.Config)
		}
	})
}

// TestSampleFile: the settings file that is shipped loads, as it is and with
// every line in it that is commented out.
func TestSampleFile(t *testing.T) {
	t.Parallel()
	const sample = "../../deploy/sluice.toml"
	if _, err := load(t, []string{"--config", sample}, nil); err != nil {
		t.Error(err)
	}
	raw, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSuffix(line, "\n")
		if setting, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(setting, " ") && setting != "" && setting != "tls-self-signed = true" {
			line = setting
		}
		all = append(all, line)
	}
	l, err := load(t, []string{"--config", writeFile(t, strings.Join(all, "\n"))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.StreamMaxBytes != 200e9 || l.StreamCaps["cam1"] != 1e12 || l.Rules.FragmentDuration.Seconds() != 30 || l.Rates.PutMediaSessions != 1 {
		t.Errorf("%+v", l.Config)
	}
}

func TestStreamCaps(t *testing.T) {
	t.Parallel()
	l, err := load(t, []string{"--stream-max-bytes", "1GiB", "--stream-max-bytes", "cam.1=2MiB", "--stream-max-bytes", "cam-2=0"}, nil)
	if err != nil || l.StreamMaxBytes != 1<<30 || len(l.StreamCaps) != 2 || l.StreamCaps["cam.1"] != 2<<20 || l.StreamCaps["cam-2"] != 0 {
		t.Errorf("%v, %v, %v", l.StreamMaxBytes, l.StreamCaps, err)
	}
	for _, bad := range []string{"=1GB", "a/b=1GB", "cam1=", "cam1=much", "-5"} {
		if _, err := load(t, []string{"--stream-max-bytes=" + bad}, nil); err == nil || !strings.Contains(err.Error(), "stream-max-bytes") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
