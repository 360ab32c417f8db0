package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// origin finds out who called and what they called: the client's address, the
// scheme, and the host as the client wrote it. X-Forwarded-* counts only when
// the connection comes from a trusted proxy.
func (a *API) origin(c *Call, r *http.Request) {
	c.Request = r
	c.Secure = r.TLS != nil
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Remote = at.Addr().Unmap()
	}
	if !a.trusted(c.Remote) {
		return
	}
	// The last entries are the nearest: the first address that is no proxy of
	// ours is the client; what stands before it may be made up.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		at, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		c.Remote = at.Unmap()
		if !a.trusted(c.Remote) {
			break
		}
	}
	if proto := r.Header.Get("X-Forwarded-Proto"); proto != "" {
		c.Secure = strings.EqualFold(proto, "https")
	}
	if host := r.Header.Get("X-Forwarded-Host"); host != "" && !strings.ContainsAny(host, ", /\\@") {
		// Signed is what the client sent, not what the proxy passes on.
		r.Host = host
	}
	c.proxied = true
}

func (a *API) trusted(at netip.Addr) bool {
	for _, p := range a.o.TrustedProxies {
		if p.Contains(at) {
			return true
		}
	}
	return false
}

// BaseURL is where the client reaches this server: --public-url, else the
// scheme and host it called. Native producers send Host without the port they
// connected to, so then it is the port of the socket. No slash at the end, no
// path.
func (c *Call) BaseURL() string {
	if u := c.api.o.PublicURL; u != "" {
		return strings.TrimRight(u, "/")
	}
	scheme, standard := "http", "80"
	if c.Secure {
		scheme, standard = "https", "443"
	}
	host, port := splitHost(c.Request.Host)
	if port == "" {
		if c.proxied {
			port = c.Request.Header.Get("X-Forwarded-Port")
		} else if at, ok := c.Request.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			_, port, _ = net.SplitHostPort(at.String())
			if host == "" {
				host, _, _ = net.SplitHostPort(at.String())
			}
		}
	}
	if port != "" && port != standard {
		host = net.JoinHostPort(host, port)
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return (&url.URL{Scheme: scheme, Host: host}).String()
}

// splitHost takes a Host header apart; port is "" when it has none.
func splitHost(s string) (host, port string) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return strings.Trim(s, "[]"), ""
}
