package producer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluicevideo/sluice/producer"
)

// keysSeen makes the double note the access key of each PutMedia.
func keysSeen(d *double) func() []string {
	var mu sync.Mutex
	var keys []string
	d.onPut = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		mu.Lock()
		defer mu.Unlock()
		_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		key, _, _ := strings.Cut(rest, "/")
		keys = append(keys, key)
		return false
	}
	return func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(keys) }
}

func withCredentials(p aws.CredentialsProvider) func(*producer.Options) {
	return func(o *producer.Options) { o.Service.Credentials = p }
}

// Credentials that expire in mid-session: the session makes way for one with the
// next credentials, and nothing is lost.
func TestCredentialsExpireInMidSession(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	keys := keysSeen(d)
	var n atomic.Int32
	p := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{
			AccessKeyID: fmt.Sprintf("AKID%d", n.Add(1)), SecretAccessKey: "secret", CanExpire: true, Expires: time.Now().Add(400 * time.Millisecond),
		}, nil
	})
	s := newStream(t, d.client(withCredentials(p), func(o *producer.Options) { o.SessionLife = 300 * time.Millisecond }), producer.StreamInfo{})
	i := 0
	for d.session(3) == nil {
		put(t, s, i, 25, 25)
		i += 25
		n := i / 25
		d.wait(func(all []stored) bool { return len(all) >= n-1 })
		time.Sleep(20 * time.Millisecond) // credentials live by the clock
	}
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, i)) {
		t.Errorf("%d frames of %d", len(got), i)
	}
	if k := keys(); k[0] == k[len(k)-1] {
		t.Errorf("all sessions have the key %s", k[0])
	}
}

// A source that fails keeps the stream going for as long as the credentials at
// hand are valid, and is told of.
func TestCredentialsFailToRefresh(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	var n atomic.Int32
	p := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		if n.Add(1) > 1 {
			return aws.Credentials{}, fmt.Errorf("metadata service: no route")
		}
		return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", CanExpire: true, Expires: time.Now().Add(30 * time.Second)}, nil
	})
	r := newRecorder()
	s := newStream(t, d.client(withCredentials(p), func(o *producer.Options) { o.OnEvent = r.handle }), producer.StreamInfo{})
	put(t, s, 0, 50, 25)
	e := await[producer.CredentialsFailed](t, r, nil)
	if e.Expires.IsZero() {
		t.Error("it is not said how long those at hand are good")
	}
	put(t, s, 50, 50, 25)
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 100)) {
		t.Errorf("%d frames", len(got))
	}
}

func TestRotatingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "credential")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := producer.RotatingFile(path)
	later := time.Now().Add(10 * time.Minute).UTC().Truncate(time.Second)
	for name, c := range map[string]struct {
		text string
		key  string
		left time.Duration
	}{
		"short":         {"CREDENTIALS AKID secret\n", "AKID", 40 * time.Minute},
		"long":          {"CREDENTIALS AKID " + later.Format(time.RFC3339) + " secret token", "AKID", 10 * time.Minute},
		"far away":      {"CREDENTIALS AKID 2099-01-01T00:00:00Z secret token", "AKID", 40 * time.Minute},
		"past":          {"CREDENTIALS AKID 2020-01-01T00:00:00Z secret token", "", 0},
		"half written":  {"CREDENTIALS AKID", "", 0},
		"empty":         {"", "", 0},
		"another thing": {"AKID secret", "", 0},
		"too long":      {"CREDENTIALS " + strings.Repeat("a", 10001) + " b", "", 0},
	} {
		write(c.text)
		got, err := p.Retrieve(t.Context())
		if (err == nil) != (c.key != "") || err == nil && (got.AccessKeyID != c.key || (time.Until(got.Expires)-c.left).Abs() > 2*time.Second) {
			t.Errorf("%s: %+v, %v", name, got.AccessKeyID, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the file: %v", name, err)
		}
	}
}

// A file that is rewritten half-way is no failure while the credentials before are
// valid.
func TestRotatingFileHalfWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "credential")
	soon := time.Now().Add(39 * time.Second).UTC().Format(time.RFC3339) // fetched again at once: less than 38 s ahead
	if err := os.WriteFile(path, []byte("CREDENTIALS ONE "+soon+" secret token"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDouble(t)
	keys := keysSeen(d)
	r := newRecorder()
	s := newStream(t, d.client(withCredentials(producer.RotatingFile(path)), func(o *producer.Options) { o.OnEvent = r.handle }), producer.StreamInfo{})
	put(t, s, 0, 50, 25)
	d.wait(func(all []stored) bool { return len(all) == 1 })
	if err := os.WriteFile(path, []byte("CREDENTIALS TWO"), 0o600); err != nil {
		t.Fatal(err)
	}
	await[producer.CredentialsFailed](t, r, nil)
	s.ResetConnection()
	put(t, s, 50, 25, 25)
	d.wait(func(all []stored) bool { return len(all) >= 2 })
	if err := os.WriteFile(path, []byte("CREDENTIALS TWO secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 75; !slices.Contains(keys(), "TWO"); i += 25 {
		if i > 75+25*1000 {
			t.Fatalf("stuck: keys %v", keys())
		}
		n := len(keys())
		s.ResetConnection()
		put(t, s, i, 25, 25)
		for len(keys()) == n {
			time.Sleep(10 * time.Millisecond) // the file is looked at by the clock
		}
	}
	stop(t, s)
}

func TestIoTCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	certFile, keyFile := ca.issue(t, dir, "device", false)
	serverCert, serverKey := ca.issue(t, dir, "server", true)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	var asked *http.Request
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		if r.Header.Get("X-Amzn-Iot-Thingname") != "camera-1" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"credentials":{"accessKeyId":"ASIA","secretAccessKey":"secret","sessionToken":"token","expiration":%q}}`,
			time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z"))
	}))
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	srv.StartTLS()
	defer srv.Close()
	o := producer.IoTCertificate{Endpoint: srv.URL, RoleAlias: "alias", ThingName: "camera-1", CertFile: certFile, KeyFile: keyFile, CAFile: ca.file}
	p, err := o.Provider()
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Retrieve(t.Context())
	if err != nil || c.AccessKeyID != "ASIA" || c.SessionToken != "token" || time.Until(c.Expires) < 59*time.Minute {
		t.Errorf("%+v, %v", c.AccessKeyID, err)
	}
	if asked.URL.Path != "/role-aliases/alias/credentials" || len(asked.TLS.PeerCertificates) != 1 {
		t.Errorf("asked for %s with %d certificates", asked.URL, len(asked.TLS.PeerCertificates))
	}
	o.ThingName = "another"
	p, _ = o.Provider()
	if _, err := p.Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("wrong thing name: %v", err)
	}
	for _, bad := range []producer.IoTCertificate{
		{Endpoint: srv.URL, RoleAlias: "a/b", ThingName: "x"}, {Endpoint: srv.URL, RoleAlias: "a"}, {Endpoint: "http://x", RoleAlias: "a", ThingName: "x"},
	} {
		if _, err := bad.Provider(); err == nil {
			t.Errorf("taken: %+v", bad)
		}
	}
}

func TestMetadataCredentials(t *testing.T) {
	answer := func(w io.Writer, key string) {
		fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":"secret","Token":"token","Expiration":%q}`, key, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/container":
			if r.Header.Get("Authorization") != "Bearer x" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			answer(w, "CONTAINER")
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			_, _ = io.WriteString(w, "v2token")
		case r.Method == http.MethodPost: // STS
			body, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(body), "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr") {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "v2token":
			w.WriteHeader(http.StatusUnauthorized) // version 1 is off
		case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
			_, _ = io.WriteString(w, "role")
		case strings.HasSuffix(r.URL.Path, "/security-credentials/role"):
			answer(w, "INSTANCE")
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", srv.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "ENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	cfg := aws.Config{Region: "us-west-2", BaseEndpoint: &srv.URL, Credentials: producer.StaticCredentials("AKID", "secret", "", time.Time{})}
	for want, p := range map[string]aws.CredentialsProvider{
		"CONTAINER": producer.ContainerCredentials(srv.URL+"/container", "Bearer x"),
		"INSTANCE":  producer.InstanceCredentials(),
		"ROLE":      producer.AssumeRole(cfg, "arn:aws:iam::1:role/r", "session", ""),
		"ENV":       producer.EnvironmentCredentials(nil),
		"SECOND":    producer.FirstOf(producer.RotatingFile("/nowhere"), producer.StaticCredentials("SECOND", "s", "", time.Time{})),
	} {
		c, err := p.Retrieve(t.Context())
		if err != nil || c.AccessKeyID != want {
			t.Errorf("%s: %q, %v", want, c.AccessKeyID, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB, dir string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert, key, filepath.Join(dir, "ca.pem")}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func (a *authority) issue(t testing.TB, dir, name string, server bool) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if server {
		template.DNSNames = []string{"localhost"}
		template.IPAddresses = append(template.IPAddresses, []byte{127, 0, 0, 1})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", private)
	return certFile, keyFile
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
