package console

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
)

// TestLinksToTroubleshooting: each finding of the Troubleshoot tab links to a
// heading that is there.
func TestLinksToTroubleshooting(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	headings := map[string]bool{}
	// As web/docs.mjs makes ids of headings.
	other := regexp.MustCompile(`[^\w\- ]+`)
	for line := range strings.Lines(read("../../docs/troubleshooting.md")) {
		if text := strings.TrimLeft(line, "#"); text != line {
			headings[strings.ReplaceAll(strings.TrimSpace(other.ReplaceAllString(strings.ToLower(text), "")), " ", "-")] = true
		}
	}
	findings := regexp.MustCompile(`anchor: "([^"]+)"`).FindAllStringSubmatch(read("../../web/src/parts/troubleshoot.tsx"), -1)
	if len(findings) < 8 {
		t.Fatalf("only %d findings were found", len(findings))
	}
	for _, f := range findings {
		if !headings[f[1]] {
			t.Errorf("docs/troubleshooting.md has no heading %q", f[1])
		}
	}
	for code := sluice.StreamReadError; code < 6000; code++ {
		if strings.HasPrefix(code.String(), "UNKNOWN_") || code == sluice.MoreThanOneTrackFound {
			continue // nobody's, or never sent
		}
		heading := code
		if code >= 4500 && code <= 4599 {
			heading = 4500
		}
		if !headings["ack-"+strconv.Itoa(int(heading))] {
			t.Errorf("docs/troubleshooting.md has no heading for acknowledgement %d %s", code, code)
		}
	}
}
