package cli_test

import (
	"bytes"
	"encoding/json"
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
