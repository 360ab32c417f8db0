package debug_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/debug"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	var notReady error
	h := debug.Handler(debug.Options{
		Ready:   func(context.Context) error { return notReady },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("sluice_x 1\n")) }),
		Streams: func() any { return map[string]int{"open": 3} },
	})
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready", "/metrics": "sluice_x 1", "/debug/streams": `"open": 3`,
		"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/": "/debug/streams",
	} {
		if w := get(path); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, no %q", path, w.Code, want)
		}
	}
	if w := get("/debug/store"); w.Code != 404 {
		t.Errorf("/debug/store without a store: %d", w.Code)
	}
	notReady = errors.New("shutting down")
	if w := get("/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "shutting down") {
		t.Errorf("/readyz: %d %q", w.Code, w.Body)
	}
}
