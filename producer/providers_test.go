package producer_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/sluicevideo/sluice/producer"
)

// issuer hands out credentials that live for two seconds, with another key each
// time, in the form of each of the services that do.
type issuer struct {
	n     atomic.Int64
	thing atomic.Value // the thing name that is accepted
}

func (i *issuer) next() (key, expires string) {
	return fmt.Sprintf("KEY%d", i.n.Add(1)), time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	metadata := func() {
		key, expires := i.next()
		fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":"secret","Token":"token","Expiration":%q}`, key, expires)
	}
	switch path := r.URL.Path; {
	case path == "/container":
		metadata()
	case strings.HasPrefix(path, "/role-aliases/"):
		if r.Header.Get("X-Amzn-Iot-Thingname") != i.thing.Load() || len(r.TLS.PeerCertificates) != 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		key, expires := i.next()
		fmt.Fprintf(w, `{"credentials":{"accessKeyId":%q,"secretAccessKey":"secret","sessionToken":"token","expiration":%q}}`, key, expires)
	case r.Method == http.MethodPut && path == "/latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		_, _ = io.WriteString(w, "v2token")
	case r.Method == http.MethodPost: // STS
		key, expires := i.next()
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, key, expires)
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "v2token":
		w.WriteHeader(http.StatusUnauthorized) // version 1 is off
	case strings.HasSuffix(path, "/security-credentials/"):
		_, _ = io.WriteString(w, "role")
	default:
		metadata()
	}
}

// device is the issuer behind mutual TLS, and what a device needs to reach it.
func (i *issuer) device(t testing.TB, thing string) producer.IoTCertificate {
	t.Helper()
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	certFile, keyFile := ca.issue(t, dir, "device", false)
	pair, err := tls.LoadX509KeyPair(ca.issue(t, dir, "server", true))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	srv := httptest.NewUnstartedServer(i)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return producer.IoTCertificate{Endpoint: srv.URL, RoleAlias: "alias", ThingName: thing, CertFile: certFile, KeyFile: keyFile, CAFile: ca.file}
}

// Credentials of every provider expire in mid-session: sessions with the next
// ones follow, and nothing is lost or sent twice.
func TestEachProviderExpiresInMidSession(t *testing.T) {
	t.Parallel()
	for name, provider := range map[string]func(t *testing.T, i *issuer, url string) aws.CredentialsProvider{
		"container": func(_ *testing.T, _ *issuer, url string) aws.CredentialsProvider {
			return producer.ContainerCredentials(url+"/container", "")
		},
		"instance metadata": func(_ *testing.T, _ *issuer, url string) aws.CredentialsProvider {
			// As InstanceCredentials, which takes the address from the environment.
			return ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = imds.New(imds.Options{Endpoint: url}) })
		},
		"assume role": func(_ *testing.T, _ *issuer, url string) aws.CredentialsProvider {
			cfg := aws.Config{Region: "us-west-2", BaseEndpoint: &url, Credentials: producer.StaticCredentials("AKID", "secret", "", time.Time{})}
			return producer.AssumeRole(cfg, "arn:aws:iam::1:role/r", "session", "")
		},
		"IoT certificate": func(t *testing.T, i *issuer, _ string) aws.CredentialsProvider {
			p, err := i.device(t, "camera-1").Provider()
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		"rotating file": func(t *testing.T, i *issuer, _ string) aws.CredentialsProvider {
			path := filepath.Join(t.TempDir(), "credential")
			p := producer.RotatingFile(path)
			return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
				key, expires := i.next() // something else rewrites it
				if err := os.WriteFile(path, []byte("CREDENTIALS "+key+" "+expires+" secret token\n"), 0o600); err != nil {
					return aws.Credentials{}, err
				}
				return p.Retrieve(ctx)
			})
		},
		"environment": func(_ *testing.T, i *issuer, _ string) aws.CredentialsProvider {
			p := producer.EnvironmentCredentials(func(name string) string {
				if name == "AWS_ACCESS_KEY_ID" {
					key, _ := i.next()
					return key
				}
				return "secret"
			})
			return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
				c, err := p.Retrieve(ctx)
				c.CanExpire, c.Expires = true, time.Now().Add(2*time.Second) // what wraps it may say so
				return c, err
			})
		},
		"static": func(_ *testing.T, i *issuer, _ string) aws.CredentialsProvider {
			return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
				key, _ := i.next() // who hands them over makes others before they expire
				return producer.StaticCredentials(key, "secret", "token", time.Now().Add(2*time.Second)).Retrieve(ctx)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &issuer{}
			i.thing.Store("camera-1")
			services := httptest.NewServer(i)
			t.Cleanup(services.Close)
			d := newDouble(t)
			keys := keysSeen(d)
			life := func(o *producer.Options) { o.SessionLife = 300 * time.Millisecond }
			s := newStream(t, d.client(withCredentials(provider(t, i, services.URL)), life), producer.StreamInfo{})
			different := func() int { k := keys(); slices.Sort(k); return len(slices.Compact(k)) }
			n := 0
			for different() < 3 {
				put(t, s, n, 25, 25)
				n += 25
				d.wait(func(all []stored) bool { return len(all) >= n/25-1 })
				time.Sleep(20 * time.Millisecond) // credentials live by the clock
			}
			stop(t, s)
			if got := payloads(d.fragments()); !slices.Equal(got, want(0, n)) {
				t.Errorf("%d frames of %d", len(got), n)
			}
			if m := s.Metrics(); m.ResentFragments != 0 || m.APICallRetries != 0 {
				t.Errorf("new credentials are no failure: %d sent again, %d reconnects", m.ResentFragments, m.APICallRetries)
			}
		})
	}
}

// A thing name that the policy does not allow: it is told, what is put is kept,
// and flows when the policy is mended.
func TestWrongThingName(t *testing.T) {
	t.Parallel()
	i := &issuer{}
	i.thing.Store("camera-1")
	p, err := i.device(t, "camera-2").Provider()
	if err != nil {
		t.Fatal(err)
	}
	d := newDouble(t)
	r := newRecorder()
	s := newStream(t, d.client(withCredentials(p), func(o *producer.Options) { o.OnEvent = r.handle }), producer.StreamInfo{OnEvent: r.handle})
	put(t, s, 0, 100, 25)
	failed := await[producer.CredentialsFailed](t, r, nil)
	if !failed.Expires.IsZero() || !strings.Contains(failed.Err.Error(), "403") {
		t.Errorf("%+v", failed)
	}
	again := await(t, r, func(e producer.Reconnecting) bool { return e.Attempt >= 2 })
	if again.Err == nil || !strings.Contains(again.Err.Error(), "403") {
		t.Errorf("%+v", again)
	}
	i.thing.Store("camera-2")
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 100)) {
		t.Errorf("%d frames", len(got))
	}
}

// What the service does not take any more (401, 403) is fetched again at once, and
// the session begins anew with the next credentials.
func TestRefusedCredentialsAreFetchedAgain(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{401: "UnrecognizedClientException", 403: "ExpiredTokenException"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			keys := keysSeen(d)
			seen := d.onPut
			d.onPut = func(w http.ResponseWriter, r *http.Request, n int) bool {
				_ = seen(w, r, n)
				if n == 1 {
					refuse(w, status, code)
					return true
				}
				return false
			}
			var n atomic.Int32
			p := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: fmt.Sprintf("AKID%d", n.Add(1)), SecretAccessKey: "secret"}, nil
			})
			r := newRecorder()
			s := newStream(t, d.client(withCredentials(p)), producer.StreamInfo{OnEvent: r.handle})
			put(t, s, 0, 50, 25)
			stop(t, s)
			if got := payloads(d.fragments()); !slices.Equal(got, want(0, 50)) {
				t.Errorf("%d frames", len(got))
			}
			if k := keys(); !slices.Equal(k, []string{"AKID1", "AKID2"}) {
				t.Errorf("keys of the sessions: %v", k)
			}
			if e := await[producer.Reconnecting](t, r, nil); errors.Is(e.Err, io.EOF) {
				t.Errorf("%+v", e)
			}
		})
	}
}

// Profiles of the shared files: keys that stand in them, and a process that makes
// others before they expire.
func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := file("keys.sh", `#!/bin/sh
n=$(cat `+dir+`/n 2>/dev/null || echo 0)
n=$((n + 1))
echo $n >`+dir+`/n
printf '{"Version":1,"AccessKeyId":"PROC%s","SecretAccessKey":"secret","SessionToken":"t","Expiration":"%s"}' $n "$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)"
`)
	if err := exec.Command(script).Run(); err != nil {
		t.Skip("needs a shell and GNU date: ", err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file("credentials", "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = s\n[cam]\naws_access_key_id = CAM\naws_secret_access_key = s\n"))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_CONFIG_FILE", file("config", "[profile proc]\ncredential_process = "+script+"\n"))
	for profile, prefix := range map[string]string{"default": "DEFAULT", "cam": "CAM", "proc": "PROC"} {
		d := newDouble(t)
		keys := keysSeen(d)
		s := newStream(t, d.client(func(o *producer.Options) {
			o.Service.Credentials, o.Service.Getenv, o.Service.Profile = nil, nil, profile
			o.SessionLife = 300 * time.Millisecond
		}), producer.StreamInfo{})
		n := 0
		for different := 0; different == 0 || profile == "proc" && different < 3; {
			put(t, s, n, 25, 25)
			n += 25
			d.wait(func(all []stored) bool { return len(all) >= n/25-1 })
			time.Sleep(20 * time.Millisecond) // credentials live by the clock
			k := keys()
			slices.Sort(k)
			different = len(slices.Compact(k))
		}
		stop(t, s)
		for _, key := range keys() {
			if !strings.HasPrefix(key, prefix) {
				t.Errorf("profile %s: the key %s", profile, key)
			}
		}
		if got := payloads(d.fragments()); !slices.Equal(got, want(0, n)) {
			t.Errorf("profile %s: %d frames of %d", profile, len(got), n)
		}
	}
}
