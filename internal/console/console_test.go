package console

import (
	"compress/gzip"
	"io"
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

func TestCompression(t *testing.T) {
	text := strings.Repeat("export const a = 1;\n", 1000)
	h := handler(Info{}, fstest.MapFS{"dist/index.html": {Data: []byte(text)}, "dist/assets/a.js": {Data: []byte(text)}, "dist/assets/p.png": {Data: []byte(text)}})
	for _, c := range []struct {
		path, accept string
		packed       bool
		kind         string
	}{
		{"/console/", "gzip, deflate, br", true, "text/html; charset=utf-8"},
		{"/console/assets/a.js", "deflate, gzip;q=0.5", true, "text/javascript; charset=utf-8"},
		{"/console/assets/a.js", "gzip;q=0", false, "text/javascript; charset=utf-8"},
		{"/console/assets/a.js", "", false, "text/javascript; charset=utf-8"},
		{"/console/assets/p.png", "gzip", false, "image/png"},
	} {
		for range 2 { // made, then kept
			r := httptest.NewRequest(http.MethodGet, "http://x"+c.path, nil)
			r.Header.Set("Accept-Encoding", c.accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			body := io.Reader(w.Body)
			if c.packed {
				if w.Body.Len() > len(text)/10 {
					t.Errorf("%s: %d bytes", c.path, w.Body.Len())
				}
				z, err := gzip.NewReader(w.Body)
				if err != nil {
					t.Fatal(err)
				}
				body = z
			}
			got, err := io.ReadAll(body)
			if err != nil || string(got) != text || w.Header().Get("Content-Encoding") == "gzip" != c.packed || w.Header().Get("Content-Type") != c.kind {
				t.Errorf("%s, %q: %d bytes, %v, %v", c.path, c.accept, len(got), err, w.Header())
			}
		}
	}
}
