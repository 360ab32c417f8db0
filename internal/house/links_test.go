package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	linkTo  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced  = regexp.MustCompile("(?s)```.*?```")
	notInID = regexp.MustCompile(`[^\w\- ]`)
)

// TestLinksInDocuments: what a document links to in this repository is there, with
// the heading that is named.
func TestLinksInDocuments(t *testing.T) {
	const top = "../.."
	list, err := exec.Command("git", "-C", top, "ls-files", "*.md").Output()
	if err != nil {
		t.Skipf("no git repository: %v", err)
	}
	headings := map[string]map[string]bool{}
	read := func(file string) (string, bool) {
		b, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			return "", false
		}
		text := fenced.ReplaceAllString(string(b), "")
		if headings[file] == nil {
			headings[file] = map[string]bool{}
			for line := range strings.Lines(text) {
				if title := strings.TrimLeft(line, "#"); title != line {
					id := notInID.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
					headings[file][strings.ReplaceAll(id, " ", "-")] = true
				}
			}
		}
		return text, true
	}
	n := 0
	for _, file := range strings.Fields(string(list)) {
		text, ok := read(file)
		if !ok {
			t.Errorf("%s can't be read", file)
		}
		for _, m := range linkTo.FindAllStringSubmatch(text, -1) {
			path, id, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") || strings.HasPrefix(path, "mailto:") {
				continue
			}
			n++
			to := file
			if path != "" {
				to = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(filepath.Join(top, to)); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
				continue
			}
			if id == "" || filepath.Ext(to) != ".md" {
				continue
			}
			if read(to); !headings[to][id] {
				t.Errorf("%s links to %s: there is no such heading", file, m[1])
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d links were found", n)
	}
}
