package api

import (
	"net/http"
	"slices"
	"strings"
)

// corsRows is the answer to preflight requests: on every path, from anybody,
// before a signature could be made.
func (a *API) corsRows() []Operation {
	return []Operation{{
		Name: "Preflight", Method: http.MethodOptions, Path: "*", Protocol: Plain, Service: "http", Auth: None, Raw: a.preflight,
		Doc: "What a browser asks before a page of another origin may call. --cors-origin says whose pages may; credentials of the browser are never allowed.",
	}}
}

// cors adds what pages of other origins need to every answer. No credentials
// are ever allowed: callers sign, so cookies mean nothing here.
func (a *API) cors(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	h := w.Header()
	everyone := slices.Contains(a.o.CORSOrigins, "*")
	if !everyone {
		h.Add("Vary", "Origin")
	}
	switch {
	case origin == "":
	case everyone:
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", exposedHeaders)
	case slices.Contains(a.o.CORSOrigins, origin):
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", exposedHeaders)
	}
	// A call from another page is judged by its signature like any other.
}

const exposedHeaders = "x-amzn-RequestId, x-amzn-ErrorType, Link, Content-Range, Content-Length, Date"

func (a *API) preflight(w http.ResponseWriter, r *http.Request, c *Call) error {
	c.silent = true
	h := w.Header()
	h.Del("Access-Control-Expose-Headers")
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
		h.Set("Access-Control-Max-Age", "7200")
		h.Add("Vary", "Access-Control-Request-Headers")
		if allowed := allowedHeaders(r.Header.Get("Access-Control-Request-Headers")); allowed != "" {
			h.Set("Access-Control-Allow-Headers", allowed)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// allowedHeaders are those of the asked ones that a signed call may carry. They
// are listed by name because "*" would not include Authorization.
func allowedHeaders(asked string) string {
	var list []string
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case len(list) == 32 || len(name) > 64:
		case name == "authorization", name == "content-type", name == "range",
			strings.HasPrefix(name, "x-amz-"), strings.HasPrefix(name, "x-amzn-"), strings.HasPrefix(name, "amz-sdk-"):
			if !strings.ContainsFunc(name, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
				list = append(list, name)
			}
		}
	}
	return strings.Join(list, ", ")
}
