package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// certificate hands out the certificate of two files as they are now: they are
// looked at in each handshake, so that a renewed one is used at once and no
// connection that is open is touched. A pair that does not load leaves the old
// one in use.
type certificate struct {
	certFile, keyFile string
	renew             func(now time.Time) error // makes the files anew when they are about to expire; nil: not ours
	log               *slog.Logger
	now               func() time.Time

	mu    sync.Mutex
	pair  *tls.Certificate
	state [2]fileState // of the files that pair, or the last failure, came from
	tried time.Time    // last renewal
}

// fileState tells one content of a file from the next.
type fileState struct {
	modified time.Time
	size     int64
}

func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	return fileState{info.ModTime(), info.Size()}
}

// load reads the files the first time; later failures are only logged.
func (c *certificate) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loadLocked()
}

func (c *certificate) loadLocked() error {
	state := [2]fileState{stateOf(c.certFile), stateOf(c.keyFile)}
	if c.pair != nil && state == c.state {
		return nil
	}
	c.state = state
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if c.pair != nil {
		c.log.Info("certificate replaced", "file", c.certFile, "expires", pair.Leaf.NotAfter)
	}
	c.pair = &pair
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.renew != nil && now.Sub(c.tried) > time.Hour && now.After(c.pair.Leaf.NotAfter.Add(-renewBefore)) {
		c.tried = now
		if err := c.renew(now); err != nil {
			c.log.Error("certificate not renewed", "error", err)
		}
	}
	if err := c.loadLocked(); err != nil {
		c.log.Error("changed certificate not used", "error", err)
	}
	return c.pair, nil
}

// config is TLS as native producers want it: 1.2 or newer, and never HTTP/2,
// because they sign headers that HTTP/2 has not.
func (c *certificate) config() *tls.Config {
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}

// The life of what --tls-self-signed makes. Systems refuse certificates of more
// than 825 days even when their authority is trusted.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 397 * 24 * time.Hour
	renewBefore     = 30 * 24 * time.Hour
)

// selfSigned are the files of --tls-self-signed in dir. Native producers take a
// CA file only when its name ends in .pem.
type selfSigned struct {
	ca, caKey, cert, key string
	names                []string
}

func newSelfSigned(dir string, names []string) *selfSigned {
	return &selfSigned{
		ca: filepath.Join(dir, "ca.pem"), caKey: filepath.Join(dir, "ca-key.pem"),
		cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), names: names,
	}
}

// ensure makes what is missing or about to expire, and a new certificate when
// the names have changed. The authority stays as long as it can: clients trust
// it.
func (s *selfSigned) ensure(now time.Time) error {
	if err := os.MkdirAll(filepath.Dir(s.ca), 0o700); err != nil {
		return fmt.Errorf("self-signed certificate: %w", err)
	}
	authority, err := tls.LoadX509KeyPair(s.ca, s.caKey)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && now.After(authority.Leaf.NotAfter.Add(-certificateLife)):
		if err = s.issue(s.ca, s.caKey, nil, now); err == nil {
			authority, err = tls.LoadX509KeyPair(s.ca, s.caKey)
		}
	}
	if err != nil {
		return fmt.Errorf("self-signed certificate: authority: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err == nil && now.Before(pair.Leaf.NotAfter.Add(-renewBefore)) && pair.Leaf.CheckSignatureFrom(authority.Leaf) == nil && covers(pair.Leaf, s.names) {
		return nil
	}
	return s.issue(s.cert, s.key, &authority, now)
}

func covers(c *x509.Certificate, names []string) bool {
	for _, n := range names {
		if c.VerifyHostname(n) != nil {
			return false
		}
	}
	return true
}

// issue writes a certificate and its key: an authority when by is nil.
func (s *selfSigned) issue(certFile, keyFile string, by *tls.Certificate, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-time.Hour), BasicConstraintsValid: true,
		Subject: pkix.Name{Organization: []string{"Sluice"}},
	}
	parent, signer := t, any(key)
	if by == nil {
		t.Subject.CommonName = fmt.Sprintf("Sluice local authority %x", serial.Bytes()[:4])
		t.NotAfter = now.Add(authorityLife)
		t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	} else {
		parent, signer = by.Leaf, by.PrivateKey
		t.Subject.CommonName = s.names[0]
		t.NotAfter = now.Add(certificateLife)
		t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, n := range s.names {
			if ip := net.ParseIP(n); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, n)
			}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// namesFor are the names of a self-signed certificate: of this machine, of the
// addresses listened on, and those asked for.
func namesFor(listen, further []string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	add := func(n string) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if h, err := os.Hostname(); err == nil {
		add(h)
	}
	for _, a := range listen {
		host, _, _ := net.SplitHostPort(a)
		ip := net.ParseIP(host)
		if host != "" && (ip == nil || !ip.IsUnspecified()) {
			add(host)
			continue
		}
		// All addresses are listened on.
		addrs, _ := net.InterfaceAddrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
				add(n.IP.String())
			}
		}
	}
	for _, n := range further {
		add(n)
	}
	return names
}

// writeFile puts a file in place whole, durable before it returns, or leaves what
// was there.
func writeFile(path string, b []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory durable, where the system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrInvalid) {
		return err
	}
	return nil
}
