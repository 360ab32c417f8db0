package api

import (
	"net/http"
	"slices"
	"strings"
)

// cors adds what pages of other origins need, and answers preflight requests.
// It reports whether it has answered. No credentials are ever allowed: callers
// sign, so cookies mean nothing here.
func (a *API) cors(c *Call, w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	preflight := r.Method == http.MethodOptions
	h := w.Header()
	switch {
	case slices.Contains(a.o.CORSOrigins, "*"):
		if origin != "" {
			h.Set("Access-Control-Allow-Origin", "*")
		}
	case origin != "":
		h.Add("Vary", "Origin")
		if slices.Contains(a.o.CORSOrigins, origin) {
			h.Set("Access-Control-Allow-Origin", origin)
		} else if !preflight {
			// The call itself is judged by its signature, not by its page.
			return false
		}
	}
	if !preflight {
		if origin != "" {
			h.Set("Access-Control-Expose-Headers", "x-amzn-RequestId, x-amzn-ErrorType, Content-Range, Content-Length, Date")
		}
		return false
	}
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
		h.Set("Access-Control-Max-Age", "7200")
		h.Add("Vary", "Access-Control-Request-Headers")
		if allowed := allowedHeaders(r.Header.Get("Access-Control-Request-Headers")); allowed != "" {
			h.Set("Access-Control-Allow-Headers", allowed)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return true
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
