// Package debug is the private listener: health, metrics, profiles and a look
// inside. It asks for no signature, so it is never to be reached by strangers;
// the server binds it to loopback unless it is told otherwise.
package debug

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"time"
)

// Options of Handler. What is nil is not served.
type Options struct {
	Ready   func(context.Context) error // nil error: calls are taken and can be served
	Metrics http.Handler
	Streams func() any // what /debug/streams prints as JSON
	Store   func() any // and /debug/store
}

// readyTime bounds the answer to /readyz: a probe gives up soon.
const readyTime = 2 * time.Second

// Handler serves:
//
//	/healthz        200 while the process answers at all
//	/readyz         200 while it takes calls; else 503 and why
//	/metrics        Prometheus
//	/debug/streams  the streams that are open, JSON
//	/debug/store    the store, JSON
//	/debug/pprof/   profiles of the Go runtime
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	var pages []string
	handle := func(path string, h http.HandlerFunc) {
		pages = append(pages, path)
		mux.HandleFunc("GET "+path, h)
	}
	handle("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	if o.Ready != nil {
		handle("/readyz", func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), readyTime)
			defer cancel()
			if err := o.Ready(ctx); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ready")
		})
	}
	if o.Metrics != nil {
		handle("/metrics", o.Metrics.ServeHTTP)
	}
	for path, read := range map[string]func() any{"/debug/streams": o.Streams, "/debug/store": o.Store} {
		if read != nil {
			handle(path, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				e := json.NewEncoder(w)
				e.SetIndent("", "  ")
				e.Encode(read())
			})
		}
	}
	handle("/debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range pages {
			fmt.Fprintln(w, p)
		}
	})
	return mux
}
