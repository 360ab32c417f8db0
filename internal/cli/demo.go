package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/bridge"
	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/demo"
	"github.com/sluicevideo/sluice/internal/server"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// What a demo makes.
const (
	demoUser      = "demo"
	demoStream    = "demo-camera"
	demoRetention = 24 * time.Hour
	// demoKeys is a file of the data directory, in the form of an AWS credentials
	// file: the keys of the demo user, so that they stay the same.
	demoKeys = "demo-credentials"
)

func newDemoCommand(env *Env) *cobra.Command {
	var rtsp string
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:   "demo [--rtsp URL] [--data DIR] [flags]",
		Short: "Run a server with a camera, and open the console on it",
		Long: `Run a server, make a user and a stream, let a camera play into it, and print the
address of the console, the keys and what to try next. Without --data everything
lies in a new directory, which goes when the demo ends.

The camera is a recording in the binary, played as if it were live; with --rtsp it
is yours. The address of the console signs in by itself: once, within two minutes,
and on this machine only.

The flags are those of 'sluice server'.`,
		Example: `  sluice demo
  sluice demo --rtsp rtsp://user:password@192.0.2.7/stream1
  sluice demo --data ./sluice-data --listen 127.0.0.1:9000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loader.Load()
			if err != nil {
				return usagef(cmd, "%s", err)
			}
			d := &demonstration{env: env, rtsp: rtsp}
			return d.run(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&rtsp, "rtsp", "", "show this camera in place of the recording: rtsp://USER:PASSWORD@HOST/PATH")
	loader = config.NewLoader(f, env.Environ)
	keep := f.Lookup("data")
	keep.Usage, keep.DefValue = "where everything is kept (default: a new directory, for this run)", ""
	return cmd
}

// demonstration is one run of 'sluice demo'.
type demonstration struct {
	env    *Env
	rtsp   string
	server *server.Server
	url    string
	region string
	log    *slog.Logger
}

func (d *demonstration) run(ctx context.Context, cfg *config.Loaded) error {
	level := cfg.LogLevel
	for _, v := range cfg.Values {
		switch {
		case v.Origin != config.FromDefault:
		case v.Setting.Name == "data":
			dir, err := os.MkdirTemp("", "sluice-demo-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			cfg.Data = dir
		case v.Setting.Name == "log-level":
			level = slog.LevelError // a line a call would bury what the demo says
		}
	}
	d.log = newLogger(d.env, cfg.LogFormat, level)
	var err error
	if d.server, err = server.New(ctx, server.Options{Config: cfg, Version: Version(), Logger: d.log, Demo: true}); err != nil {
		return err
	}
	d.url, d.region = d.server.URL(), cfg.Region
	// The camera ends before the server, so that its last fragments are stored.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.server.Run(running) }()
	show, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- d.show(show, cfg.Data) }()
	select {
	case err = <-ended:
		cancel()
		return errors.Join(err, <-failed)
	case err = <-failed:
		stop()
		if ctx.Err() != nil {
			err = nil // that is how a demo ends
		}
		return errors.Join(err, <-ended)
	}
}

// show makes user and stream, plays the camera and returns when ctx ends.
func (d *demonstration) show(ctx context.Context, data string) error {
	root := d.server.Root()
	keys, err := d.user(ctx, filepath.Join(data, demoKeys), aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey})
	if err != nil {
		return err
	}
	client, err := producer.New(ctx, producer.Options{Service: d.service(keys), Logger: d.log})
	if err != nil {
		return err
	}
	defer func() {
		over, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = client.Close(over) // the camera was freed before
	}()
	code, err := d.server.SignInCode(demoUser)
	if err != nil {
		return err
	}
	if d.rtsp != "" {
		create, retention := true, bridge.Duration{Duration: demoRetention}
		b, err := bridge.New(bridge.Options{Client: client, Logger: d.log, Version: Version(), Config: bridge.Config{
			Drain:   5 * time.Second,
			Cameras: []bridge.Camera{{Stream: demoStream, URL: d.rtsp, StreamSettings: bridge.StreamSettings{Create: &create, Retention: &retention}}},
		}})
		if err != nil {
			return err
		}
		d.print(keys, code, data)
		return b.Run(ctx, nil)
	}
	camera, err := client.Register(ctx, demoStream, &demo.Camera{}, &producer.StreamInfo{Retention: demoRetention})
	if err != nil {
		return err
	}
	camera.Start(ctx)
	d.print(keys, code, data)
	err = camera.Wait()
	over, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, freed := camera.Free(over)
	return errors.Join(err, freed)
}

// service is how a client reaches the demo's server, whatever the environment
// says of other ones.
func (d *demonstration) service(keys aws.Credentials) kvsapi.Options {
	return kvsapi.Options{
		Endpoint: d.url, Region: d.region, Credentials: credentials.StaticCredentialsProvider{Value: keys}, CAFile: d.server.CAFile(),
		Getenv: func(string) string { return "" },
	}
}

// user makes the user of the demo, who may do everything, and gives its keys:
// those of the file while they are good.
func (d *demonstration) user(ctx context.Context, file string, root aws.Credentials) (aws.Credentials, error) {
	iam, err := d.iam(ctx, root)
	if err != nil {
		return aws.Credentials{}, err
	}
	var already smithy.APIError
	if err := iam.call(ctx, nil, "CreateUser", "UserName", demoUser); err != nil && !(errors.As(err, &already) && already.ErrorCode() == "EntityAlreadyExists") {
		return aws.Credentials{}, err
	}
	if err := iam.call(ctx, nil, "AttachUserPolicy", "UserName", demoUser, "PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess"); err != nil {
		return aws.Credentials{}, err
	}
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return aws.Credentials{}, err
	}
	keys := credentialsIn(string(b))
	if keys.AccessKeyID != "" {
		mine, err := d.iam(ctx, keys)
		if err == nil && mine.call(ctx, nil, "GetCallerIdentity") == nil {
			return keys, nil
		}
	}
	var made struct {
		Key iamKey `xml:"CreateAccessKeyResult>AccessKey"`
	}
	if err := iam.call(ctx, &made, "CreateAccessKey", "UserName", demoUser); err != nil {
		return aws.Credentials{}, err
	}
	keys = aws.Credentials{AccessKeyID: made.Key.ID, SecretAccessKey: made.Key.Secret}
	text := fmt.Sprintf("# Keys of the user %s of this Sluice server.\n[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", demoUser, keys.AccessKeyID, keys.SecretAccessKey)
	return keys, os.WriteFile(file, []byte(text), 0o600)
}

func (d *demonstration) iam(ctx context.Context, keys aws.Credentials) (*iamClient, error) {
	cfg, endpoint, err := kvsapi.LoadConfig(ctx, d.service(keys))
	if err != nil {
		return nil, err
	}
	return &iamClient{cfg: cfg, endpoint: endpoint, region: d.region}, nil
}

// credentialsIn reads a credentials file that we wrote.
func credentialsIn(text string) (c aws.Credentials) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			c.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			c.SecretAccessKey = strings.TrimSpace(value)
		}
	}
	return c
}

// print says where everything is. The secret is shown to a person only; it is in
// the file for programs.
func (d *demonstration) print(keys aws.Credentials, code, data string) {
	file := filepath.Join(data, demoKeys)
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	program := "sluice"
	if d.env.Program != "" {
		program = d.env.Program
	}
	secret := "in " + file
	if d.env.Terminal {
		secret = keys.SecretAccessKey
	}
	fmt.Fprintf(d.env.Stdout, `
  Console      %[1]s/console/#code=%[2]s
               signs in by itself: once, within two minutes, on this machine
  Endpoint     %[1]s   (region %[3]s)
  Access key   %[4]s
  Secret key   %[5]s
  Stream       %[6]s, kept for 24 hours in %[7]s

To try next, in another terminal:

  export AWS_ENDPOINT_URL=%[1]s AWS_REGION=%[3]s AWS_SHARED_CREDENTIALS_FILE=%[8]s
  aws kinesisvideo list-streams --endpoint-url %[1]s --region %[3]s
  %[9]s bridge my-camera rtsp://user:password@camera/path --create
  %[9]s get %[6]s --from -10s --to now -o last-seconds.mkv

Ctrl-C ends the demo.
`, d.url, code, d.region, keys.AccessKeyID, secret, demoStream, data, file, program)
}
