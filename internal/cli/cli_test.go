package cli_test

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/cli"
)

// result is what a command line left behind.
type result struct {
	code        int
	out, errors string
}

func run(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Run(t.Context(), args, &cli.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Environ: environ,
		Now: time.Now,
	})
	return result{code, out.String(), errs.String()}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		want string // in stderr
	}{
		{"versoin", `unknown command "versoin", did you mean "version"?`},
		{"version --jsn", "unknown flag: --jsn, did you mean --json?"},
		{"version --zzzzzzzz", "unknown flag: --zzzzzzzz"},
		{"version now", "usage: sluice version [--json]"},
		{"", "Usage:"},
	} {
		r := run(t, nil, strings.Fields(c.args)...)
		if r.code != cli.ExitUsage || !strings.Contains(r.errors, c.want) || r.out != "" {
			t.Errorf("sluice %s: code %d, stdout %q, stderr %q, want code 2 and %q", c.args, r.code, r.out, r.errors, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if r := run(t, nil, "version"); r.code != 0 || !strings.HasPrefix(r.out, "sluice ") {
		t.Errorf("version: %+v", r)
	}
	var v struct{ Version, Go, Platform string }
	if r := run(t, nil, "version", "--json"); json.Unmarshal([]byte(r.out), &v) != nil || v.Version == "" || v.Go == "" || v.Platform == "" {
		t.Errorf("version --json: %+v", r)
	}
}

func TestCompletionAndHelp(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := run(t, nil, "completion", shell); r.code != 0 || !strings.Contains(r.out, "sluice") {
			t.Errorf("completion %s: code %d, %d bytes, stderr %q", shell, r.code, len(r.out), r.errors)
		}
	}
	if r := run(t, nil, "--help"); r.code != 0 || !strings.Contains(r.out, "Examples:") {
		t.Errorf("--help: %+v", r)
	}
}

// TestNoServer: a call that reaches nobody says what to do.
func TestNoServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	l.Close()
	keys := []string{"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_MAX_ATTEMPTS=1"}
	for _, args := range []string{"stream list", "user list", "key list", "hls cam1"} {
		r := run(t, keys, append(strings.Fields(args), "--endpoint-url", gone)...)
		if r.code != cli.ExitFailure || !strings.Contains(r.errors, gone) || !strings.Contains(r.errors, "connection refused\nNothing listens there. 'sluice server' starts") {
			t.Errorf("sluice %s: code %d, stderr %q", args, r.code, r.errors)
		}
	}
}

// TestNoCredentials: who has no keys learns where they come from.
func TestNoCredentials(t *testing.T) {
	// The SDK looks around in the process's own environment.
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_CONFIG_FILE": "/dev/null", "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
	} {
		t.Setenv(name, value)
	}
	for _, args := range []string{"stream list", "user list", "key list", "hls cam1"} {
		r := run(t, nil, append(strings.Fields(args), "--endpoint-url", "http://127.0.0.1:1")...)
		if r.code != cli.ExitFailure || !strings.Contains(r.errors, `Set AWS_ACCESS_KEY_ID`) || !strings.Contains(r.errors, `sluice env`) {
			t.Errorf("sluice %s: code %d, stderr %q", args, r.code, r.errors)
		}
	}
}
