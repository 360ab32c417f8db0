package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// clientFlags are the flags that every client verb has, with one meaning.
type clientFlags struct {
	env      *Env
	endpoint string
	caFile   string
	region   string
	profile  string
	debug    bool
}

// addClientFlags gives cmd, and the commands below it, the common flags.
func addClientFlags(env *Env, cmd *cobra.Command) *clientFlags {
	f := &clientFlags{env: env}
	fs := cmd.PersistentFlags()
	fs.StringVar(&f.endpoint, "endpoint-url", "", "URL of the service (default: AWS_ENDPOINT_URL_KINESIS_VIDEO, AWS_ENDPOINT_URL, CONTROL_PLANE_URI, the profile's, AWS)")
	fs.StringVar(&f.caFile, "ca-file", "", "PEM file of the authorities to trust (default: AWS_CA_BUNDLE, AWS_KVS_CACERT_PATH, the system's)")
	fs.StringVar(&f.region, "region", "", "region to sign for (default: AWS_REGION, the profile's; "+kvsapi.DefaultRegion+" with an endpoint)")
	fs.StringVar(&f.profile, "profile", "", "profile of the AWS configuration")
	fs.BoolVar(&f.debug, "debug", false, "say on stderr what is called and what came back")
	return f
}

// jsonVar gives cmd the flag --json.
func jsonVar(cmd *cobra.Command, v *bool) {
	cmd.Flags().BoolVar(v, "json", false, "print JSON for programs")
}

// outputVar gives cmd the flag -o.
func outputVar(cmd *cobra.Command, v *string, value, usage string) {
	cmd.Flags().StringVarP(v, "output", "o", value, usage)
}

// config is the SDK configuration the flags and the environment make, and the
// endpoint found ("" is the SDK's).
func (f *clientFlags) config(ctx context.Context) (aws.Config, string, error) {
	cfg, endpoint, err := kvsapi.LoadConfig(ctx, kvsapi.Options{
		Endpoint: f.endpoint, Region: f.region, Profile: f.profile, CAFile: f.caFile, Getenv: f.env.Getenv,
	})
	if err != nil {
		return cfg, endpoint, err
	}
	cfg.Credentials = aws.NewCredentialsCache(&keysOrNone{cfg.Credentials})
	if f.debug {
		cfg.HTTPClient = &debugClient{next: cfg.HTTPClient, log: f.logger()}
	}
	return cfg, endpoint, nil
}

// keysOrNone marks the error of a provider that has no credentials, so that
// what to do about it can be said: the SDK's own is about the last place it
// looked in.
type keysOrNone struct{ next aws.CredentialsProvider }

func (k *keysOrNone) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if k.next == nil {
		return aws.Credentials{}, &noCredentials{errors.New("none are set")}
	}
	c, err := k.next.Retrieve(ctx)
	if err != nil {
		return c, &noCredentials{err}
	}
	return c, nil
}

type noCredentials struct{ err error }

func (e *noCredentials) Error() string { return "no credentials: " + e.err.Error() }
func (e *noCredentials) Unwrap() error { return e.err }

// client makes the client of all operations.
func (f *clientFlags) client(ctx context.Context) (*kvsapi.Client, error) {
	cfg, endpoint, err := f.config(ctx)
	if err != nil {
		return nil, err
	}
	return kvsapi.NewFromConfig(cfg, endpoint), nil
}

// logger writes to stderr: all with --debug, else what a person should know.
func (f *clientFlags) logger() *slog.Logger {
	level := slog.LevelWarn
	if f.debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(f.env.Stderr, &slog.HandlerOptions{Level: level}))
}

// debugClient logs calls: never their headers or bodies, which have signatures,
// tokens and media in them.
type debugClient struct {
	next aws.HTTPClient
	log  *slog.Logger
}

func (d *debugClient) Do(r *http.Request) (*http.Response, error) {
	start := time.Now()
	resp, err := d.next.Do(r)
	attrs := []any{"method", r.Method, "url", r.URL.Scheme + "://" + r.URL.Host + r.URL.Path, "ms", time.Since(start).Milliseconds()}
	if err != nil {
		d.log.Debug("call", append(attrs, "error", err)...)
		return nil, err
	}
	d.log.Debug("call", append(attrs, "status", resp.StatusCode, "request_id", resp.Header.Get("X-Amzn-Requestid"))...)
	return resp, nil
}

// streamRef takes STREAM of a command line: a name or an ARN.
func streamRef(s string) sluice.StreamRef {
	if strings.HasPrefix(s, "arn:") {
		return sluice.StreamRef{ARN: s}
	}
	return sluice.StreamRef{Name: s}
}

// openInput opens the file named, or stdin for "-".
func openInput(env *Env, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(env.Stdin), nil
	}
	return os.Open(name)
}

// createOutput makes the file named, or stdout for "-". The error of its Close
// counts: a full disk shows there.
func createOutput(env *Env, name string) (io.WriteCloser, error) {
	if name == "-" {
		return nopWriteCloser{env.Stdout}, nil
	}
	return os.Create(name)
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }
