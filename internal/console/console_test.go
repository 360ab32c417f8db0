package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestHandler(t *testing.T) {
	built := fstest.MapFS{
		"dist/index.html":       {Data: []byte("<title>Sluice</title>")},
		"dist/assets/a-1.js":    {Data: []byte("1")},
		"dist/assets/deep/b.js": {Data: []byte("2")},
	}
	bare := fstest.MapFS{"dist/README.md": {Data: []byte("x")}}
	for _, c := range []struct {
		files  fstest.MapFS
		path   string
		status int
		holds  string
	}{
		{built, "/", 302, ""},
		{built, "/console", 302, ""},
		{built, "/console/", 200, "<title>"},
		{built, "/console/config.json", 200, `{"region":"r","account":"a","version":"v"}`},
		{built, "/console/assets/a-1.js", 200, "1"},
		{built, "/console/assets/", 404, ""},
		{built, "/console/assets/none.js", 404, ""},
		{built, "/console/../secret", 404, ""},
		{built, "/elsewhere", 404, ""},
		{bare, "/console/", 404, "make build"},
	} {
		w := httptest.NewRecorder()
		handler(Info{Region: "r", Account: "a", Version: "v"}, c.files).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://x"+c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.holds) {
			t.Errorf("%s: %d %q", c.path, w.Code, w.Body)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") {
			t.Errorf("%s: policy %q", c.path, csp)
		}
		if cache := w.Header().Get("Cache-Control"); strings.Contains(cache, "immutable") != strings.HasSuffix(c.path, "a-1.js") {
			t.Errorf("%s: cache %q", c.path, cache)
		}
	}
}
