// Package house holds no code, only the test that keeps the direction of
// imports: an import goes to a lower layer. docs/architecture.md has the reasons.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/sluicevideo/sluice"

// layers is the import rule: a package may import packages of lower layers, and
// its own children. Adding a package means adding its line: a good moment to
// think about where it belongs. side "s" is the server's, "c" the clients', ""
// shared by both; the two sides meet only in the binary and in test helpers.
var layers = map[string]struct {
	layer int
	side  string
}{
	"":                       {-1, ""},
	"mkv":                    {0, ""},
	"mkv/ebml":               {0, ""},
	"internal/codec":         {0, ""},
	"internal/mp4":           {0, ""},
	"internal/mediatest":     {0, ""}, // for tests only
	"internal/leaktest":      {0, ""}, // for tests only
	"fragment":               {1, ""},
	"internal/event":         {1, "s"},
	"internal/datadir":       {1, "s"},
	"internal/db":            {0, "s"},
	"internal/kms":           {1, "s"},
	"internal/seal":          {1, "s"},
	"internal/mux":           {0, "s"},
	"internal/mux/fmp4":      {1, "s"},
	"internal/mux/ts":        {1, "s"},
	"internal/mux/muxtest":   {2, "s"},
	"internal/catalog":       {2, "s"},
	"internal/store":         {2, "s"},
	"internal/store/fsys":    {0, ""}, // bench writes as the store does, for comparison
	"internal/store/segment": {1, "s"},
	"internal/store/disk":    {2, "s"},
	"internal/store/index":   {2, "s"},
	"internal/store/crashfs": {2, "s"},
	"internal/auth":          {2, "s"},
	"internal/auth/sigv4":    {2, ""},
	"internal/auth/policy":   {2, "s"},
	"internal/auth/iamapi":   {4, "s"},
	"internal/limits":        {2, "s"},
	"internal/stream":        {3, "s"},
	"internal/streamtest":    {4, "s"}, // for tests only
	"internal/ingest":        {4, "s"},
	"internal/egress":        {4, "s"},
	"internal/playback":      {4, "s"},
	"internal/playback/hls":  {4, "s"},
	"internal/playback/dash": {4, "s"},
	"internal/retention":     {4, "s"},
	"internal/metrics":       {4, "s"},
	"kvsapi":                 {1, "c"},
	"producer":               {4, "c"},
	"parser":                 {4, "c"},
	"internal/api":           {5, "s"},
	"internal/debug":         {5, "s"},
	"internal/config":        {5, "s"},
	"internal/demo":          {5, "c"},
	"internal/bridge":        {5, "c"},
	"internal/bench":         {5, "c"},
	"internal/console":       {6, "s"},
	"internal/server":        {7, "s"},
	"internal/sluicetest":    {8, "*"},
	"internal/cli":           {8, "*"},
	"cmd/sluice":             {9, "*"},
	"internal/tools/gotest":  {9, "*"},
	"internal/house":         {9, "*"},
	"compat":                 {9, "*"},
}

func TestImportsPointInward(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if strings.HasPrefix(from, "examples/") || strings.HasPrefix(from, "compat/") {
			for _, imp := range p.Imports {
				if strings.HasPrefix(imp, module+"/internal/") {
					t.Errorf("%s imports %s: examples stand on public packages only", from, imp)
				}
			}
			continue
		}
		me, ok := layers[from]
		if !ok {
			t.Errorf("package %q has no line in the table of layers", from)
			continue
		}
		for _, imp := range p.Imports {
			if imp != module && !strings.HasPrefix(imp, module+"/") {
				if from == "" && strings.Contains(imp, ".") {
					t.Errorf("the root package imports %s: it stands on the standard library alone", imp)
				}
				continue
			}
			to := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
			it := layers[to]
			switch {
			case strings.HasPrefix(to, from+"/"): // a parent and its own child
			case it.layer >= me.layer:
				t.Errorf("%s (layer %d) imports %s (layer %d)", from, me.layer, to, it.layer)
			case me.side != "*" && it.side != "" && it.side != me.side:
				t.Errorf("%s is on side %q and imports %s of side %q", from, me.side, to, it.side)
			}
		}
	}
}
