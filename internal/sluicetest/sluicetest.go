// Package sluicetest runs a whole server inside a test: on ports of its own, with
// its data in a temporary directory, stopped when the test ends. Tests of clients
// stand on it, so that they meet the server that people run.
package sluicetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/spf13/pflag"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/server"
	"github.com/sluicevideo/sluice/kvsapi"
)

// Server is a running server and how to reach it.
type Server struct {
	Endpoint    string // http://127.0.0.1:PORT
	TLSEndpoint string // https://127.0.0.1:PORT; "" without --tls-self-signed
	CAFile      string // authority of TLSEndpoint
	Debug       string // http://127.0.0.1:PORT of the private listener
	Region      string
	Data        string // the data directory
	Credentials aws.Credentials

	t     testing.TB
	args  []string
	stop  func() error
	later atomic.Int64 // see Later
}

// Start runs a server with settings as 'sluice server' takes them, for example
// "--limits=guide". It stops with the test, which fails when it does not stop
// cleanly.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, Data: t.TempDir(), args: args}
	s.start()
	t.Cleanup(s.Stop)
	return s
}

func (s *Server) start() {
	s.t.Helper()
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	loader := config.NewLoader(fs, nil)
	// Quiet goes first, so that a test can ask for more.
	args := append([]string{"--log-level=warn", "--listen-tls=127.0.0.1:0", "--debug-listen=127.0.0.1:0", "--data=" + s.Data}, s.args...)
	if !has(s.args, "listen") {
		args = append(args, "--listen=127.0.0.1:0")
	}
	if !has(args, "tls-self-signed") && !has(args, "tls-cert") {
		args = append(args, "--listen-tls=off")
	}
	if err := fs.Parse(args); err != nil {
		s.t.Fatal(err)
	}
	cfg, err := loader.Load()
	if err != nil {
		s.t.Fatal(err)
	}
	level := new(slog.LevelVar)
	level.Set(cfg.LogLevel)
	srv, err := server.New(s.t.Context(), server.Options{
		Config: cfg, Version: "test", Level: level,
		Now:    func() time.Time { return time.Now().Add(time.Duration(s.later.Load())) },
		Logger: slog.New(slog.NewTextHandler(&output{t: s.t}, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	addrs, root := srv.Addrs(), srv.Root()
	s.Endpoint, s.Region, s.CAFile = srv.URL(), cfg.Region, srv.CAFile()
	if len(addrs.HTTPS) > 0 {
		s.TLSEndpoint = "https://" + addrs.HTTPS[0].String()
	}
	if addrs.Debug != nil {
		s.Debug = "http://" + addrs.Debug.String()
	}
	s.Credentials = aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey}
	// Not the test's context: that ends before the cleanups run, and stopping in
	// the middle of another cleanup's calls would fail them.
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
}

func has(args []string, name string) bool {
	for _, a := range args {
		if a == "--"+name || len(a) > len(name)+2 && a[:len(name)+3] == "--"+name+"=" {
			return true
		}
	}
	return false
}

// Stop ends the server as SIGTERM does. It may be called more than once.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Errorf("server: %v", err)
	}
}

// Address is a free address of this machine that can be listened on later, and
// again and again: outside the range that the system gives to connections, where
// another program could get it meanwhile.
func Address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10000+rand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// Later puts the clock of playback sessions ahead by d from now on, so that a
// session expires before the eyes of who plays it.
func (s *Server) Later(d time.Duration) { s.later.Store(int64(d)) }

// Restart stops the server and starts another on the same data. Ports and with
// them Endpoint change, unless --listen was given.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
}

// AWSConfig is an SDK configuration of the root user for this server.
func (s *Server) AWSConfig() aws.Config {
	return aws.Config{
		Region: s.Region, BaseEndpoint: aws.String(s.Endpoint),
		Credentials: credentials.StaticCredentialsProvider{Value: s.Credentials},
	}
}

// Client calls the server as its root user.
func (s *Server) Client() *kvsapi.Client { return kvsapi.NewFromConfig(s.AWSConfig(), s.Endpoint) }

// Environ are the variables with which clients of any kind find the server and
// call it as its root user.
func (s *Server) Environ() []string {
	env := []string{
		"AWS_ENDPOINT_URL=" + s.Endpoint, "AWS_ENDPOINT_URL_KINESIS_VIDEO=" + s.Endpoint, "CONTROL_PLANE_URI=" + s.Endpoint,
		"AWS_REGION=" + s.Region, "AWS_DEFAULT_REGION=" + s.Region,
		"AWS_ACCESS_KEY_ID=" + s.Credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + s.Credentials.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true",
	}
	if s.CAFile != "" {
		env = append(env, "AWS_CA_BUNDLE="+s.CAFile, "AWS_KVS_CACERT_PATH="+s.CAFile)
	}
	return env
}

// CreateStream makes a stream. retention is whole hours.
func (s *Server) CreateStream(name string, retention time.Duration) sluice.StreamRef {
	s.t.Helper()
	_, err := s.Client().Control().CreateStream(context.Background(), &kinesisvideo.CreateStreamInput{
		StreamName: aws.String(name), DataRetentionInHours: aws.Int32(int32(retention / time.Hour)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sluice.StreamRef{Name: name}
}

// output is a test's log as a writer that may still be written to when the test
// has ended: goroutines of libraries do.
type output struct {
	t    testing.TB
	mu   sync.Mutex
	over bool
	once sync.Once
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(p []byte) (int, error) {
	o.once.Do(func() {
		o.t.Cleanup(func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.over = true
		})
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.over {
		o.t.Logf("%s", p[:max(0, len(p)-1)])
	}
	return len(p), nil
}
