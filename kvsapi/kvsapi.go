// Package kvsapi calls the media and archived-media operations of Kinesis Video
// Streams: PutMedia, GetMedia, ListFragments, GetMediaForFragmentList, GetClip,
// GetImages and the two streaming session URLs. It signs with the AWS SDK's
// signer, finds each operation's data endpoint with GetDataEndpoint, and works
// against Sluice and AWS alike.
//
// It is the wire and nothing above it: no Matroska, no buffering, no following
// of a stream over several calls. The packages producer and parser do that. The
// control plane has the SDK's own client, which Control hands out.
//
// A Client may be used by several goroutines at once.
package kvsapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
)

// DefaultRegion is the region signed for when an endpoint is named and no
// region is: that of a Sluice server without settings.
const DefaultRegion = "us-west-2"

// Options say where the service is and who calls it. The zero value takes
// everything from the environment, as the AWS command line does.
type Options struct {
	// Endpoint is the URL of the control plane. Empty: the first that is set of
	// AWS_ENDPOINT_URL_KINESIS_VIDEO, AWS_ENDPOINT_URL, CONTROL_PLANE_URI and the
	// profile's endpoint, and else AWS.
	Endpoint string
	// Region is signed for. Empty: AWS_REGION, AWS_DEFAULT_REGION, the profile's.
	Region string
	// Profile of the shared AWS configuration. Empty: AWS_PROFILE.
	Profile string
	// Credentials sign the calls. Nil: the SDK's usual chain (environment,
	// profile, and so on).
	Credentials aws.CredentialsProvider
	// CAFile is a PEM file, or a directory of .pem files, with the only
	// authorities to trust. Empty: AWS_CA_BUNDLE, then AWS_KVS_CACERT_PATH, then
	// the system's.
	CAFile string
	// HTTPClient sends the requests. Nil: a client that speaks HTTP/1.1 only, as
	// PutMedia needs it. When set, CAFile and the variables for it do not count.
	HTTPClient aws.HTTPClient
	// Getenv reads the environment. Nil: that of the process.
	Getenv func(string) string
	// UserAgent is put in front of the User-Agent header.
	UserAgent string
}

// Client calls one region of the service.
type Client struct {
	region   string
	creds    aws.CredentialsProvider
	http     aws.HTTPClient
	control  *kinesisvideo.Client
	endpoint string // of the control plane; "" is AWS
	agent    string
	signer   *v4.Signer
	now      func() time.Time
	skew     atomic.Int64 // ns that the server's clock is ahead of ours

	mu        sync.Mutex
	endpoints map[endpointKey]endpointEntry
}

// New makes a client from opts and the environment. It reads configuration
// files and the CA file, and makes no call.
func New(ctx context.Context, opts Options) (*Client, error) {
	cfg, endpoint, err := LoadConfig(ctx, opts)
	if err != nil {
		return nil, err
	}
	c := NewFromConfig(cfg, endpoint)
	c.agent = strings.TrimSpace(opts.UserAgent + " " + c.agent)
	return c, nil
}

// NewFromConfig makes a client from an SDK configuration. endpoint is the URL of
// the control plane; empty leaves it to cfg and the SDK. A BuildableClient in
// cfg is held to HTTP/1.1; for any other cfg.HTTPClient the caller sees to it.
func NewFromConfig(cfg aws.Config, endpoint string) *Client {
	switch h := cfg.HTTPClient.(type) {
	case nil:
		cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(http1Only)
	case *awshttp.BuildableClient:
		cfg.HTTPClient = h.WithTransportOptions(http1Only)
	}
	endpoint = strings.TrimRight(endpoint, "/")
	if cfg.Region == "" && (endpoint != "" || cfg.BaseEndpoint != nil) {
		cfg.Region = DefaultRegion
	}
	c := &Client{
		region:    cfg.Region,
		creds:     cfg.Credentials,
		http:      cfg.HTTPClient,
		endpoint:  endpoint,
		agent:     "sluice-kvsapi",
		signer:    v4.NewSigner(),
		now:       time.Now,
		endpoints: map[endpointKey]endpointEntry{},
	}
	if c.creds == nil {
		c.creds = aws.AnonymousCredentials{}
	}
	c.control = kinesisvideo.NewFromConfig(cfg, func(o *kinesisvideo.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	})
	return c
}

// Control is the SDK's client of the control plane, with the same endpoint,
// credentials and transport.
func (c *Client) Control() *kinesisvideo.Client { return c.control }

// Region is the region the client signs for.
func (c *Client) Region() string { return c.region }

// LoadConfig is the SDK configuration that New works with, for clients of other
// services at the same place (IAM, STS), and the endpoint that was found: "" is
// the one the SDK finds by itself.
func LoadConfig(ctx context.Context, opts Options) (cfg aws.Config, endpoint string, err error) {
	env := environment(opts.Getenv)
	endpoint = firstOf(opts.Endpoint, env("AWS_ENDPOINT_URL_KINESIS_VIDEO"), env("AWS_ENDPOINT_URL"), env("CONTROL_PLANE_URI"))
	if endpoint != "" {
		if endpoint, err = checkEndpoint(endpoint); err != nil {
			return aws.Config{}, "", err
		}
	}
	client := opts.HTTPClient
	if client == nil {
		pool, err := authorities(firstOf(opts.CAFile, env("AWS_CA_BUNDLE"), env("AWS_KVS_CACERT_PATH")))
		if err != nil {
			return aws.Config{}, "", err
		}
		client = awshttp.NewBuildableClient().WithTransportOptions(http1Only, func(t *http.Transport) {
			if pool != nil {
				t.TLSClientConfig.RootCAs = pool
			}
		})
	}
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(client)}
	profile := firstOf(opts.Profile, env("AWS_PROFILE"))
	if profile != "" {
		load = append(load, config.WithSharedConfigProfile(profile))
	}
	if region := firstOf(opts.Region, env("AWS_REGION"), env("AWS_DEFAULT_REGION")); region != "" {
		load = append(load, config.WithRegion(region))
	}
	switch {
	case opts.Credentials != nil:
		load = append(load, config.WithCredentialsProvider(opts.Credentials))
	case opts.Profile == "" && env("AWS_ACCESS_KEY_ID") != "" && env("AWS_SECRET_ACCESS_KEY") != "":
		load = append(load, config.WithCredentialsProvider(staticCredentials{
			AccessKeyID: env("AWS_ACCESS_KEY_ID"), SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"), SessionToken: env("AWS_SESSION_TOKEN"),
			Source: "environment",
		}))
	}
	cfg, err = config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, "", fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		if endpoint == "" && cfg.BaseEndpoint == nil {
			return aws.Config{}, "", errors.New("no region: give one (AWS_REGION or --region), or an endpoint (AWS_ENDPOINT_URL or --endpoint-url)")
		}
		cfg.Region = DefaultRegion
	}
	return cfg, endpoint, nil
}

type staticCredentials aws.Credentials

func (c staticCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials(c), nil
}

// http1Only makes a transport that never speaks HTTP/2: PutMedia needs a request
// and its response on one connection at once, and chunks that arrive as sent.
func http1Only(t *http.Transport) {
	var p http.Protocols
	p.SetHTTP1(true)
	t.Protocols = &p
	t.ForceAttemptHTTP2 = false
	t.DisableCompression = true // media is returned as it was sent
	t.MaxIdleConnsPerHost = 64
	t.ReadBufferSize, t.WriteBufferSize = 64<<10, 64<<10
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	} else {
		t.TLSClientConfig = t.TLSClientConfig.Clone()
		t.TLSClientConfig.NextProtos = nil
	}
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
}
