package api

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
)

// TestHelp: every exception that can be answered leads to a heading that is in
// docs/troubleshooting.md, by its name or by what its message says.
func TestHelp(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	other := regexp.MustCompile(`[^\w\- ]+`) // as web/docs.mjs makes ids of headings
	for line := range strings.Lines(string(b)) {
		if text := strings.TrimLeft(line, "#"); text != line {
			there[strings.ReplaceAll(strings.TrimSpace(other.ReplaceAllString(strings.ToLower(text), "")), " ", "-")] = true
		}
	}
	check := func(e exception) {
		t.Helper()
		if !there[e.heading()] {
			t.Errorf("%s %q: docs/troubleshooting.md has no heading %q", e.code, e.msg, e.heading())
		}
		if want := "</console/docs/troubleshooting.html#" + e.heading() + `>; rel="help"`; e.link() != want {
			t.Errorf("%s: link %s, want %s", e.code, e.link(), want)
		}
	}
	check(exception{code: sluice.InternalFailure})
	for code := range statuses {
		check(exception{code: code})
	}
	for code := range headings {
		if _, ok := statuses[code]; !ok && code != sluice.InternalFailure {
			t.Errorf("%s is no exception", code)
		}
	}
	for msg, want := range map[string]string{
		"SessionToken: the session has expired":         "the-session-is-over",
		"The sign-in code is not valid. It works once.": "the-sign-in-code-is-not-valid",
	} {
		e := exception{code: sluice.AccessDenied, msg: msg}
		check(e)
		if e.heading() != want {
			t.Errorf("%q: %s, want %s", msg, e.heading(), want)
		}
	}
	e := exception{code: sluice.ResourceNotFound, msg: "GetHLSStreamingSessionURL: stream cam has no fragments within the last 30 seconds"}
	check(e)
	if e.heading() != "has-no-fragments" {
		t.Errorf("%q: %s", e.msg, e.heading())
	}
}
