// Package console serves the built web console: files that are embedded in the
// binary, with headers that keep the page from loading anything from anywhere
// else. It is not a way into the server: the page signs its calls to the public
// API like any SDK, and what it serves is the same for everybody.
//
// The files come from web/ (make console). A binary that was built without them
// says so on the page.
package console

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed all:dist
var embedded embed.FS

// Info is what the page needs to know before anybody signs in.
type Info struct {
	Region  string `json:"region"`
	Account string `json:"account"`
	Version string `json:"version"`
}

// policy lets the page load from this server only. Fonts of the design system
// are data: inside its style sheets; players hand media to the browser as blobs.
// Inline style attributes are how React sets sizes and positions of a few parts.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; " +
	"font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Handler serves / (which leads to /console/) and all below /console/. It
// answers GET and HEAD only.
func Handler(info Info) http.Handler { return handler(info, embedded) }

func handler(info Info, files fs.FS) http.Handler {
	dist, err := fs.Sub(files, "dist")
	if err != nil {
		panic(err) // the folder is part of the source
	}
	config, err := json.Marshal(info)
	if err != nil {
		panic(err)
	}
	server := http.FileServerFS(dist)
	packed := newPacked(dist)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		name, ours := strings.CutPrefix(path.Clean(r.URL.Path), "/console")
		switch {
		case r.URL.Path == "/", r.URL.Path == "/console":
			http.Redirect(w, r, "/console/", http.StatusFound)
		case !ours:
			http.NotFound(w, r)
		case name == "/config.json":
			h.Set("Content-Type", "application/json")
			w.Write(config)
		case name == "" && !exists(dist, "index.html"):
			h.Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte("This binary was built without the web console.\nBuild one that has it: make build\n"))
		case name != "" && !exists(dist, strings.TrimPrefix(name, "/")):
			http.NotFound(w, r)
		default:
			if strings.HasPrefix(name, "/assets/") {
				// Their names change with their content.
				h.Set("Cache-Control", "public, max-age=31536000, immutable")
			}
			if packed.serve(w, r, strings.TrimPrefix(name, "/")) {
				return
			}
			// The file server finds "/" as index.html.
			r2 := r.Clone(r.Context())
			r2.URL.Path = name
			if name == "" {
				r2.URL.Path = "/"
			}
			server.ServeHTTP(w, r2)
		}
	})
}

// exists reports whether the build has a file of that name; folders don't count.
func exists(files fs.FS, name string) bool {
	s, err := fs.Stat(files, name)
	return err == nil && !s.IsDir()
}
