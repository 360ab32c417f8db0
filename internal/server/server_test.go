package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/spf13/pflag"

	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/server"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/internal/store"
)

func settings(t *testing.T, args ...string) *config.Loaded {
	t.Helper()
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	l := config.NewLoader(fs, nil)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestControlPlaneOverBothListeners(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t, "--tls-self-signed")
	c := s.Client().Control()
	made, err := c.CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String("cam"), DataRetentionInHours: aws.Int32(24)})
	if err != nil {
		t.Fatal(err)
	}
	// The self-signed certificate is trusted with its CA file, and the endpoint is
	// the one the client called.
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(s.CAFile)
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal("CA file", err)
	}
	cfg := s.AWSConfig()
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	for _, endpoint := range []string{s.TLSEndpoint, strings.Replace(s.TLSEndpoint, "127.0.0.1", "localhost", 1)} {
		over := kinesisvideo.NewFromConfig(cfg, func(o *kinesisvideo.Options) { o.BaseEndpoint = &endpoint })
		got, err := over.DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("cam")})
		if err != nil || aws.ToString(got.StreamInfo.StreamARN) != aws.ToString(made.StreamARN) {
			t.Fatal(got, err)
		}
		at, err := over.GetDataEndpoint(t.Context(), &kinesisvideo.GetDataEndpointInput{StreamName: aws.String("cam"), APIName: "PUT_MEDIA"})
		if err != nil || aws.ToString(at.DataEndpoint) != endpoint {
			t.Errorf("data endpoint %v, %v, want %s", at, err, endpoint)
		}
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready", "/metrics": `sluice_api_calls_total{operation="CreateStream",status="200"} 1`,
		"/debug/streams": `"streams"`, "/debug/store": "room_bytes",
	} {
		if code, body := get(t, s.Debug+path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, no %q in %.300s", path, code, want, body)
		}
	}
}

// TestAClockThatIsNotTrustedIsSeen: nothing expires while the clock is not where it
// should be, and who watches the server must know before the disk is full.
func TestAClockThatIsNotTrustedIsSeen(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	trusted := func(want string) {
		t.Helper()
		// The first sweep comes soon after the start.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			_, body := get(t, s.Debug+"/metrics")
			if strings.Contains(body, "\nsluice_retention_clock_trusted "+want+"\n") {
				if away := !strings.Contains(body, "\nsluice_retention_clock_off_seconds 0\n"); away != (want == "0") {
					t.Errorf("trusted %s, off by: %v", want, away)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("never %s", want)
			}
		}
	}
	trusted("1")
	s.Stop()
	// The last time that is known lies ten years ahead.
	index, err := db.Open(t.Context(), db.Options{Path: filepath.Join(s.Data, datadir.IndexFile), ManualCheckpoint: true})
	if err != nil {
		t.Fatal(err)
	}
	media, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(s.Data, datadir.MediaDir), Index: index})
	if err != nil {
		t.Fatal(err)
	}
	c, err := media.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Wall = time.Now().AddDate(10, 0, 0)
	if err := errors.Join(media.SetClock(t.Context(), c), media.Close(), index.Close()); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	trusted("0")
}

// TestHTTP1Only: the native producers sign headers that HTTP/2 has not, and their
// libcurl takes HTTP/2 whenever it is offered.
func TestHTTP1Only(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t, "--tls-self-signed")
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.TLSEndpoint, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p := conn.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("negotiated %q", p)
	}
	plain, err := net.Dial("tcp", strings.TrimPrefix(s.Endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	io.WriteString(plain, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	plain.SetReadDeadline(time.Now().Add(2 * time.Minute))
	b := make([]byte, 12)
	if n, _ := io.ReadFull(plain, b); !strings.HasPrefix(string(b[:n]), "HTTP/1.") {
		t.Errorf("answer to an HTTP/2 preface: %q", b[:n])
	}
}

func TestSecondServerOnTheSameData(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	_, err := server.New(t.Context(), server.Options{Config: settings(t, "--data="+s.Data, "--listen=127.0.0.1:0", "--debug-listen=off")})
	if !errors.Is(err, datadir.ErrInUse) || !strings.Contains(err.Error(), s.Data) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("error %v", err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	s.CreateStream("cam", 24*time.Hour)
	root := s.Credentials
	s.Restart()
	if s.Credentials != root {
		t.Error("other root keys after a restart")
	}
	if _, err := s.Client().Control().DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("cam")}); err != nil {
		t.Error(err)
	}
}

// TestPortInUse: a failure late in New leaves nothing locked.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := t.TempDir()
	if _, err := server.New(t.Context(), server.Options{Config: settings(t, "--data="+data, "--listen="+l.Addr().String(), "--debug-listen=off")}); err == nil || !strings.Contains(err.Error(), "--listen "+l.Addr().String()+": another program listens there") {
		t.Fatalf("on a port in use: %v", err)
	}
	d, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "new")
	run := func(terminal bool, args ...string) (*server.Server, string) {
		var out strings.Builder
		s, err := server.New(t.Context(), server.Options{
			Config: settings(t, append([]string{"--data=" + data, "--listen=127.0.0.1:0", "--debug-listen=off"}, args...)...), Stdout: &out, Terminal: terminal,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		return s, out.String()
	}
	s, first := run(false)
	if lines := strings.Split(strings.TrimSpace(first), "\n"); len(lines) != 5 {
		t.Errorf("the first start printed %d lines:\n%s", len(lines), first)
	}
	for _, want := range []string{s.URL(), "us-west-2", "000000000000", data, "sluice stream create"} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	if strings.Contains(first, s.Root().SecretAccessKey) {
		t.Error("the root key was shown to what is no terminal")
	}
	if _, again := run(true); again != "" {
		t.Errorf("a later start printed\n%s", again)
	}
	reset, shown := run(true, "--reset-root-key")
	if reset.Root() == s.Root() || !strings.Contains(shown, reset.Root().SecretAccessKey) {
		t.Errorf("--reset-root-key on a terminal printed\n%s", shown)
	}
	if info, err := os.Stat(filepath.Join(data, "root-credentials")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("root-credentials: %v, %v", info, err)
	}
}

func TestShutdownEndsCallsInFlight(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	// A connection that idles and one whose request never ends.
	for _, text := range []string{"", "POST /createStream HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.Endpoint, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, text)
	}
	done := make(chan struct{})
	go func() { s.Stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("stuck")
	}
	if _, err := server.ReadState(s.Data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state file after the end: %v", err)
	}
}
