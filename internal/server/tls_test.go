package server

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestCertificateReload replaces the certificate under an open connection: that
// one goes on, the next handshake has the new one, and a pair that does not load
// changes nothing.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := newSelfSigned(dir, []string{"first.example"})
	now := time.Now()
	if err := files.ensure(now); err != nil {
		t.Fatal(err)
	}
	cert := &certificate{certFile: files.cert, keyFile: files.key, log: slog.New(slog.DiscardHandler), now: time.Now}
	if err := cert.load(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }), slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	wg.Go(func() { h.Serve(tls.NewListener(l, cert.config())) })
	t.Cleanup(func() { h.Close(); wg.Wait() })

	dial := func() *tls.Conn {
		t.Helper()
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	call := func(c *tls.Conn) {
		t.Helper()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	name := func(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].Subject.CommonName }

	open := dial()
	call(open)
	if name(open) != "first.example" {
		t.Fatal(name(open))
	}
	files.names = []string{"second.example", "127.0.0.1"}
	if err := files.ensure(now); err != nil {
		t.Fatal(err)
	}
	if c := dial(); name(c) != "second.example" {
		t.Errorf("a new connection has %s", name(c))
	}
	call(open)
	if err := os.WriteFile(files.cert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := dial(); name(c) != "second.example" {
		t.Errorf("after a bad file a new connection has %s", name(c))
	}
	if err := os.Remove(files.cert); err != nil {
		t.Fatal(err)
	}
	c := dial()
	call(c)
	call(open)
	files.names = []string{"third.example"}
	if err := files.ensure(now); err != nil {
		t.Fatal(err)
	}
	if c := dial(); name(c) != "third.example" {
		t.Errorf("after the files are back a new connection has %s", name(c))
	}
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Now()
	s := newSelfSigned(dir, []string{"localhost", "127.0.0.1", "::1", "camera-server"})
	load := func() (leaf, ca *x509.Certificate) {
		t.Helper()
		if err := s.ensure(now); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			t.Fatal(err)
		}
		authority, err := tls.LoadX509KeyPair(s.ca, s.caKey)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf, authority.Leaf
	}
	leaf, ca := load()
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	for _, n := range s.names {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: n, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 825*24*time.Hour {
		t.Errorf("life %v", life)
	}
	for _, f := range []string{s.caKey, s.key} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
	// Nothing changes while all is well; a new name or an end that is near makes a
	// new certificate of the same authority; only its own end makes a new authority.
	if again, _ := load(); !again.Equal(leaf) {
		t.Error("another certificate without a reason")
	}
	s.names = append(s.names, "new.example")
	renamed, same := load()
	if renamed.Equal(leaf) || !same.Equal(ca) || renamed.VerifyHostname("new.example") != nil {
		t.Error("a new name: no new certificate, or a new authority")
	}
	now = now.Add(certificateLife - renewBefore + time.Hour)
	renewed, same := load()
	if renewed.Equal(renamed) || !same.Equal(ca) {
		t.Error("before its end: no new certificate, or a new authority")
	}
	now = now.Add(authorityLife)
	if _, other := load(); other.Equal(ca) {
		t.Error("the authority was not renewed")
	}
}

// TestRenewal: a server that runs for a year makes its own certificate anew.
func TestRenewal(t *testing.T) {
	t.Parallel()
	s := newSelfSigned(t.TempDir(), []string{"localhost"})
	now := time.Now()
	if err := s.ensure(now); err != nil {
		t.Fatal(err)
	}
	c := &certificate{certFile: s.cert, keyFile: s.key, renew: s.ensure, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	first, _ := c.get(nil)
	now = now.Add(certificateLife - time.Hour)
	if later, _ := c.get(nil); later.Leaf.Equal(first.Leaf) || !later.Leaf.NotAfter.After(now.Add(renewBefore)) {
		t.Errorf("an hour before its end the certificate ends %v", later.Leaf.NotAfter)
	}
}
