package server_test

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/event"
	"github.com/sluicevideo/sluice/internal/metrics"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMetricsDocument: docs/metrics.md names what is served, and nothing else.
func TestMetricsDocument(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	_, served := get(t, s.Debug+"/metrics")
	// The tables have a line only when something was counted.
	var sink event.Sink
	sink.Called("x", 200)
	sink.SessionEnded("x")
	sink.FragmentAborted(1)
	sink.ErrorAck(1)
	w := httptest.NewRecorder()
	metrics.Handler(&sink, "").ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (sluice_\w+) `).FindAllStringSubmatch(served+w.Body.String(), -1) {
		names[m[1]] = true
	}
	doc := document(t, "metrics.md")
	for name := range names {
		if !strings.Contains(doc, "| `"+name+"`") && !strings.Contains(doc, "| `"+name+"{") {
			t.Errorf("docs/metrics.md does not describe %s", name)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(sluice_\\w+)[{`]").FindAllStringSubmatch(doc, -1) {
		if !names[m[1]] {
			t.Errorf("docs/metrics.md describes %s, which is not served", m[1])
		}
	}
}

// TestSettingsInDocuments: every setting that docs/operations.md names exists.
func TestSettingsInDocuments(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"config": true, "print-config": true, "check-config": true}
	for _, s := range config.Settings() {
		known[s.Name] = true
	}
	verbs := map[string]bool{"to": true, "from": true, "data": true, "repair": true, "retention": true, "shell": true, "debug": true, "json": true, "parallel": true}
	for _, m := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(document(t, "operations.md"), -1) {
		if !known[m[1]] && !verbs[m[1]] {
			t.Errorf("docs/operations.md names --%s, which is no setting", m[1])
		}
	}
}
