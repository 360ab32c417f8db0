package gst_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// shortSound is a pipeline without its sink: two fragments of A-law.
const shortSound = "audiotestsrc num-buffers=150 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! "

// Each place that credentials may come from, and each way to say where the service
// is and whom to trust, ends with the sound stored.
func TestCredentialsAndEndpoints(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t, "--listen-tls=127.0.0.1:0", "--tls-self-signed")
	dir := t.TempDir()
	id, secret := srv.Credentials.AccessKeyID, srv.Credentials.SecretAccessKey
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	static := write("static", "CREDENTIALS "+id+" "+secret)
	rotating := write("rotating", "CREDENTIALS "+id+" "+later+" "+secret+" token")
	profile := write("profile", "[camera]\naws_access_key_id = "+id+"\naws_secret_access_key = "+secret+"\n")
	plain, keys := "endpoint="+srv.Endpoint, " access-key="+id+" secret-key="+secret
	environment := []string{"AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + secret}
	for _, c := range []struct {
		name, properties string
		env              []string
	}{
		{"AccessKey", plain + keys, nil},
		{"AccessKeyAndToken", plain + keys + " session-token=token", nil},
		{"Environment", plain, environment},
		{"Profile", plain, []string{"AWS_PROFILE=camera", "AWS_SHARED_CREDENTIALS_FILE=" + profile}},
		{"CredentialPathStatic", plain + " credential-path=" + static, nil},
		{"CredentialPathRotating", plain + " credential-path=" + rotating, nil},
		{"ControlPlaneURI", keys, []string{"CONTROL_PLANE_URI=" + srv.Endpoint}},
		{"EndpointURL", keys, []string{"AWS_ENDPOINT_URL=" + srv.Endpoint}},
		{"EndpointBeatsVariables", plain + keys, []string{"CONTROL_PLANE_URI=http://127.0.0.1:1", "AWS_ENDPOINT_URL=http://127.0.0.1:1"}},
		{"RegionBeatsVariables", plain + keys + " aws-region=" + srv.Region, []string{"AWS_DEFAULT_REGION=eu-central-1", "AWS_REGION=eu-central-1"}},
		{"CAFile", "endpoint=" + srv.TLSEndpoint + keys + " ca-file=" + srv.CAFile, nil},
		{"CAVariable", "endpoint=" + srv.TLSEndpoint + keys, []string{"KVSSINK_CA_CERT_PATH=" + srv.CAFile}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, nil, "gst-launch-1.0", append([]string{"-q"}, words(shortSound+"kvssink stream-name="+c.name+" "+c.properties)...)...)
			cmd.Env = append(cmd.Env, c.env...)
			run(t, cmd)
			if n := len(stored(t, srv, c.name).frames); n != 150 {
				t.Errorf("%d packets stored, want 150", n)
			}
		})
	}
}

// A device certificate, from end to end: the element asks the credentials provider
// over mutual TLS, and sends with what it gets.
func TestIoTCertificate(t *testing.T) {
	t.Parallel()
	need(t)
	srv := sluicetest.Start(t)
	iot := newIoT(t, srv)
	for _, c := range []struct{ name, more, thing string }{
		{"cam-by-stream-name", "", "cam-by-stream-name"},
		{"cam-by-thing-name", ",iot-thing-name=camera-7", "camera-7"},
	} {
		iot.thing.Store(c.thing)
		cmd := program(t, nil, "gst-launch-1.0", "-q")
		cmd.Args = append(cmd.Args, words(shortSound+"kvssink stream-name="+c.name+" endpoint="+srv.Endpoint)...)
		cmd.Args = append(cmd.Args, "iot-certificate="+iot.structure+c.more)
		run(t, cmd)
		if n := len(stored(t, srv, c.name).frames); n != 150 {
			t.Errorf("%s: %d packets stored, want 150", c.name, n)
		}
		if iot.given.Swap(0) == 0 {
			t.Errorf("%s: nobody asked for credentials", c.name)
		}
	}

	// kvssrc takes the same.
	iot.thing.Store("camera-7")
	out := filepath.Join(t.TempDir(), "sound")
	cmd := program(t, nil, "gst-launch-1.0", "-q")
	cmd.Args = append(cmd.Args, words("kvssrc stream-name=cam-by-thing-name start-at=earliest stop-at=now endpoint="+srv.Endpoint)...)
	cmd.Args = append(cmd.Args, "iot-certificate="+iot.structure+",iot-thing-name=camera-7", "!", "filesink", "location="+out)
	run(t, cmd)
	if b, err := os.ReadFile(out); err != nil || len(b) != 150*160 {
		t.Errorf("kvssrc read %d bytes, %v, want %d", len(b), err, 150*160)
	}

	// One that is not let in: the pipeline plays, and the bus says why nothing goes.
	iot.thing.Store("another")
	cmd = program(t, nil, "gst-launch-1.0", "-m")
	cmd.Args = append(cmd.Args, words("-e audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! kvssink stop-stream-timeout=1 stream-name=refused endpoint="+srv.Endpoint)...)
	cmd.Args = append(cmd.Args, "iot-certificate="+iot.structure)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, pipe, "IoT credentials: status 403")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}

// iot is a credentials provider of AWS IoT: mutual TLS, and the keys of a server.
type iot struct {
	structure string       // the property's value
	thing     atomic.Value // that is let in
	given     atomic.Int32
}

func newIoT(t *testing.T, srv *sluicetest.Server) *iot {
	t.Helper()
	dir := t.TempDir()
	p := &iot{}
	ca, caKey := certificate(t, filepath.Join(dir, "ca"), nil, nil)
	certificate(t, filepath.Join(dir, "device"), ca, caKey)
	certificate(t, filepath.Join(dir, "server"), ca, caKey)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/role-aliases/CameraRole/credentials" || r.Header.Get("X-Amzn-Iot-Thingname") != p.thing.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		p.given.Add(1)
		fmt.Fprintf(w, `{"credentials":{"accessKeyId":%q,"secretAccessKey":%q,"sessionToken":"token","expiration":%q}}`,
			srv.Credentials.AccessKeyID, srv.Credentials.SecretAccessKey, time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z"))
	}))
	h.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	h.Config.ErrorLog = log.New(&bytes.Buffer{}, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	p.structure = fmt.Sprintf("iot-certificate,endpoint=%s,cert-path=%s,key-path=%s,ca-path=%s,role-aliases=CameraRole",
		strings.TrimPrefix(h.URL, "https://"), filepath.Join(dir, "device.pem"), filepath.Join(dir, "device.key"), filepath.Join(dir, "ca.pem"))
	return p
}

// certificate writes path.pem and path.key: an authority without one above it, else
// one for a device or a server of this machine.
func certificate(t *testing.T, path string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: filepath.Base(path)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if by == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		by, byKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{path + ".pem": {Type: "CERTIFICATE", Bytes: der}, path + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, key
}
