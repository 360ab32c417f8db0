package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
)

func TestCredentialOrder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Chdir(dir)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unset := settings{AccessKey: unsetAccessKey, SecretKey: unsetSecretKey, SessionToken: unsetSessionToken, CredentialPath: defaultFile}
	with := func(change func(*settings)) settings {
		s := unset
		change(&s)
		return s
	}
	fixed := write("static", "CREDENTIALS filekey filesecret")
	rotating := write("rotating", "CREDENTIALS rotkey "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+" rotsecret rottoken")
	expired := write("expired", "CREDENTIALS rotkey 2020-01-01T00:00:00Z rotsecret rottoken")
	keys := func(s *settings) { s.AccessKey, s.SecretKey = "propkey", "propsecret" }
	env := map[string]string{"AWS_ACCESS_KEY_ID": "envkey"}
	for _, c := range []struct {
		name string
		s    settings
		env  map[string]string
		want string // access key; "environment" when it is left to the SDK
		err  string
	}{
		{"properties before environment", with(keys), env, "propkey", ""},
		{"a token that is set", with(func(s *settings) { keys(s); s.SessionToken = "t" }), nil, "propkey", ""},
		{"environment before file", with(func(s *settings) { s.CredentialPath = fixed }), env, "environment", ""},
		{"profile in the environment", unset, map[string]string{"AWS_PROFILE": "p"}, "environment", ""},
		{"static file", with(func(s *settings) { s.CredentialPath = fixed }), nil, "filekey", ""},
		{"rotating file", with(func(s *settings) { s.CredentialPath = rotating }), nil, "rotkey", ""},
		{"expired file", with(func(s *settings) { s.CredentialPath = expired }), nil, "", "credential-path: "},
		{"no such file", with(func(s *settings) { s.CredentialPath = dir + "/no" }), nil, "", "credential-path: "},
		{"half of the keys", with(func(s *settings) { s.AccessKey = "propkey" }), nil, "", "secret-key is not"},
		{"certificate first", with(func(s *settings) { keys(s); s.IoT = map[string]string{"endpoint": "e"} }), env, "", "iot-certificate: cert-path is missing"},
		{"none", unset, nil, "", "no credentials: set iot-certificate"},
	} {
		p, err := c.s.credentials(func(name string) string { return c.env[name] })
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "environment":
			if p != nil {
				t.Errorf("%s: a provider, want none", c.name)
			}
		default:
			creds, err := p.Retrieve(t.Context())
			if err != nil || creds.AccessKeyID != c.want {
				t.Errorf("%s: key %s, %v, want %s", c.name, creds.AccessKeyID, err, c.want)
			}
		}
	}
	// A default profile and a default file come last.
	write(".kvs/credential", "CREDENTIALS defaultkey secret")
	p, err := unset.credentials(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if creds, err := p.Retrieve(t.Context()); err != nil || creds.AccessKeyID != "defaultkey" {
		t.Errorf("default file: %v %v", creds.AccessKeyID, err)
	}
	write(".aws/credentials", "[default]\n")
	if p, err := unset.credentials(func(string) string { return "" }); p != nil || err != nil {
		t.Errorf("a profile in the home directory: %v %v", p, err)
	}
}

// A fragment that comes again under another number is not handed on twice.
func TestPlace(t *testing.T) {
	at := time.Unix(1700000000, 0)
	number := func(n uint32) sluice.FragmentNumber { return sluice.MakeFragmentNumber(1, 0, n) }
	var p place
	p.enter(number(1), at)
	p.frames = 10
	p.left(number(1))
	p.enter(number(2), at.Add(time.Second))
	if p.frames != 0 {
		t.Fatalf("%d frames of the next fragment", p.frames)
	}
	p.frames = 4
	p.enter(number(2), at.Add(time.Second)) // the same, after a reconnect
	if p.frames != 4 {
		t.Fatalf("%d frames after a reconnect, want 4", p.frames)
	}
	p.enter(number(3), at.Add(time.Second)) // sent again by the producer
	if p.frames != 4 {
		t.Fatalf("%d frames of the fragment sent again, want 4", p.frames)
	}
	p.enter(number(4), at.Add(2*time.Second)) // given up in the middle
	if p.frames != 0 {
		t.Fatalf("%d frames of another fragment", p.frames)
	}
}

func TestStripADTS(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"\xff\xf1\x50\x80\x01\x20\xfcAB", "AB"},
		{"\xff\xf0\x50\x80\x01\x20\xfc\x00\x00AB", "AB"},
		{"\xff\xf1\x50\x80\x01\x20\xfc", ""},
		{"plain", ""},
		{"", ""},
	} {
		if got := string(stripADTS([]byte(c.in))); got != c.want {
			t.Errorf("% x: % x, want % x", c.in, got, c.want)
		}
	}
}

func TestStructureText(t *testing.T) {
	got := newStructure("kvs-x").add("s", "a \"b\"\n\\ é").add("n", uint64(7)).add("t", true).String()
	if want := `kvs-x, s=(string)"a \"b\"\012\\ \303\251", n=(guint64)7, t=(boolean)true;`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"now", "-90s", "1700000000.5", "2026-01-01T00:00:00Z", "-", "1e400", "NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := parseTime(s, time.Unix(0, 0)); err != nil && !at.IsZero() {
			t.Errorf("%q: both a time and %v", s, err)
		}
	})
}
