package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// Bounds of a connection before a call is known. The largest signed head seen
// is 5 KiB (a session token in a presigned query); media calls set their own
// times, because PutMedia and GetMedia last as long as the camera does.
const (
	maxHeader  = 32 << 10
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
	// keepAlive finds peers that are gone without a word.
	keepAlive = 15 * time.Second
	// ingestBuffer is the kernel's receive buffer of a PutMedia connection. The
	// default grows to 6 MB: with hundreds of cameras half a gigabyte would hide
	// there from the memory budget, and back-pressure would come too late.
	ingestBuffer = 128 << 10
)

// listen opens a socket for each address of a setting.
func listen(ctx context.Context, setting string, addresses []string) ([]net.Listener, error) {
	var list []net.Listener
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 4}}
	for _, a := range addresses {
		l, err := lc.Listen(ctx, "tcp", a)
		if err != nil {
			for _, l := range list {
				l.Close()
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("%s %s: another program listens there, perhaps a server of Sluice; end it, or give another address: %w", setting, a, err)
			}
			return nil, fmt.Errorf("%s: %w", setting, err)
		}
		list = append(list, &aheadListener{Listener: l})
	}
	return list, nil
}

type connKey struct{}

// newHTTPServer serves h on HTTP/1.1 and nothing newer: native producers sign
// the connection and transfer-encoding headers, which HTTP/2 has not.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           tune(h),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		Protocols:         new(http.Protocols),
		// Handshakes that strangers break off are no news.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	s.Protocols.SetHTTP1(true)
	return s
}

// tune prepares a PutMedia connection before anything may answer on it.
func tune(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/putMedia" {
			// Without full duplex net/http reads the body before it sends a refusal,
			// and the Java and embedded producers send no body before the answer.
			_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/1.1 always can
			if c, ok := r.Context().Value(connKey{}).(*aheadConn); ok {
				_ = c.SetReadBuffer(ingestBuffer) // a larger one works too
				c.readAhead()
			}
		}
		next.ServeHTTP(w, r)
	})
}

// loopback reports whether an address is reached from this machine only.
func loopback(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}
