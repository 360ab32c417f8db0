package producer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Credentials come from any aws.CredentialsProvider. Without one, the SDK's chain
// is used: environment, shared files and profiles (assume-role, SSO, web identity
// and process among them), container, instance metadata. The functions here make
// providers for the cases that the official producers know, and for single links
// of the chain. A Client refreshes whatever it gets in the background, ahead of
// expiry, and goes on with what it has for as long as it is valid.

// The rules of the official credential providers.
const (
	maxCredentialLife  = 40 * time.Minute
	maxCredentialsFile = 10_000 // bytes
	credentialMargin   = 38 * time.Second
)

// StaticCredentials never change. expires may be zero: never.
func StaticCredentials(accessKey, secretKey, sessionToken string, expires time.Time) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{
			AccessKeyID: accessKey, SecretAccessKey: secretKey, SessionToken: sessionToken, Source: "static",
			CanExpire: !expires.IsZero(), Expires: expires,
		}, nil
	})
}

// EnvironmentCredentials are those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// AWS_SESSION_TOKEN, looked up each time. getenv nil is os.Getenv.
func EnvironmentCredentials(getenv func(string) string) aws.CredentialsProvider {
	if getenv == nil {
		getenv = os.Getenv
	}
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		c := aws.Credentials{
			AccessKeyID: getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken: getenv("AWS_SESSION_TOKEN"), Source: "environment",
		}
		if !c.HasKeys() {
			return aws.Credentials{}, errors.New("environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set")
		}
		return c, nil
	})
}

// RotatingFile reads credentials from a file that something else rewrites, in the
// form of the official producers: one line with the word CREDENTIALS and the keys,
//
//	CREDENTIALS access-key secret-key
//	CREDENTIALS access-key expiration secret-key session-token
//
// expiration in ISO 8601. Without one, or with one further away, the file is read
// again after 40 minutes. A file that is being written is no failure while the
// credentials before are valid.
func RotatingFile(path string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		f, err := os.Open(path)
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("credential file: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxCredentialsFile+1))
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("credential file: %w", err)
		}
		if len(b) > maxCredentialsFile {
			return aws.Credentials{}, &Error{StatusInvalidAuthLength, fmt.Errorf("credential file %s: more than %d bytes", path, maxCredentialsFile)}
		}
		return parseRotating(string(b), time.Now())
	})
}

func parseRotating(text string, now time.Time) (aws.Credentials, error) {
	f := strings.Fields(text)
	c := aws.Credentials{Source: "file", CanExpire: true, Expires: now.Add(maxCredentialLife)}
	if len(f) == 0 || f[0] != "CREDENTIALS" {
		return c, errors.New("credential file: does not begin with CREDENTIALS")
	}
	switch len(f) {
	case 3:
		c.AccessKeyID, c.SecretAccessKey = f[1], f[2]
	case 5:
		expires, err := time.Parse(time.RFC3339, f[2])
		if err != nil {
			return c, errors.New("credential file: the expiration is not in ISO 8601")
		}
		if !expires.After(now) {
			return c, errors.New("credential file: the credentials in it have expired")
		}
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken = f[1], f[3], f[4]
		if expires.Before(c.Expires) {
			c.Expires = expires
		}
	default:
		return c, fmt.Errorf("credential file: %d words, want 3 or 5", len(f))
	}
	return c, nil
}

// IoTCertificate gets credentials with a device certificate from the credentials
// provider of AWS IoT (wire protocol, "IoT credentials provider").
type IoTCertificate struct {
	Endpoint  string // of the credentials provider: a host, or a URL
	RoleAlias string // 1 to 128 of A-Z a-z 0-9 _ = , @ -
	ThingName string // 1 to 128 characters; sent with each request
	CertFile  string // PEM: the device's certificate
	KeyFile   string // PEM: its key
	CAFile    string // PEM: the authorities to trust; "": the system's
}

// The time-outs of the official provider.
const (
	iotConnect = 3 * time.Second
	iotTotal   = 5 * time.Second
	maxIoTBody = 64 << 10
)

// Provider checks the settings and makes a provider. Files are read each time, so
// that a renewed certificate counts.
func (o IoTCertificate) Provider() (aws.CredentialsProvider, error) {
	if o.RoleAlias == "" || len(o.RoleAlias) > 128 || strings.Trim(o.RoleAlias, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_=,@-") != "" {
		return nil, invalid(StatusInvalidArg, "IoTCertificate.RoleAlias: want 1 to 128 of A-Z a-z 0-9 _ = , @ -")
	}
	if o.ThingName == "" || len(o.ThingName) > 128 || strings.ContainsAny(o.ThingName, "\r\n") {
		return nil, invalid(StatusInvalidArg, "IoTCertificate.ThingName: want 1 to 128 characters")
	}
	endpoint := o.Endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, invalid(StatusInvalidArg, "IoTCertificate.Endpoint %q: want a host or an https URL", o.Endpoint)
	}
	u.Path = "/role-aliases/" + o.RoleAlias + "/credentials"
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := o.fetch(ctx, u.String())
		if err != nil {
			err = fmt.Errorf("IoT credentials: %w", err)
		}
		return c, err
	}), nil
}

func (o IoTCertificate) fetch(ctx context.Context, url string) (aws.Credentials, error) {
	cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return aws.Credentials{}, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return aws.Credentials{}, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return aws.Credentials{}, fmt.Errorf("CA file %s: no certificate in it", o.CAFile)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, iotTotal)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return aws.Credentials{}, err
	}
	r.Header.Set("X-Amzn-Iot-Thingname", o.ThingName)
	t := &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: iotConnect, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}
	defer t.CloseIdleConnections()
	resp, err := (&http.Client{Transport: t}).Do(r)
	if err != nil {
		return aws.Credentials{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return aws.Credentials{}, fmt.Errorf("status %d: the thing name, the role alias or the certificate is not accepted", resp.StatusCode)
	}
	var in struct {
		Credentials struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expiration      time.Time `json:"expiration"`
		} `json:"credentials"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxIoTBody)).Decode(&in); err != nil {
		// The decoder's message could quote what it read: secrets.
		return aws.Credentials{}, errors.New("the answer is no JSON of credentials")
	}
	c := in.Credentials
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || !c.Expiration.After(time.Now()) {
		return aws.Credentials{}, errors.New("the answer lacks keys, or they have expired")
	}
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Source: "iot",
		CanExpire: true, Expires: c.Expiration,
	}, nil
}

// ContainerCredentials come from a container's metadata at a URL, with the
// Authorization header that token gives; token may be empty.
func ContainerCredentials(url, token string) aws.CredentialsProvider {
	return endpointcreds.New(url, func(o *endpointcreds.Options) { o.AuthorizationToken = token })
}

// InstanceCredentials come from the metadata service (version 2) of an EC2
// instance.
func InstanceCredentials() aws.CredentialsProvider { return ec2rolecreds.New() }

// AssumeRole gets credentials for a role from STS, with the credentials, region
// and endpoint of cfg.
func AssumeRole(cfg aws.Config, roleARN, sessionName, externalID string) aws.CredentialsProvider {
	return stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), roleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName
		if externalID != "" {
			o.ExternalID = &externalID
		}
	})
}

// FirstOf tries providers in order until one has credentials.
func FirstOf(providers ...aws.CredentialsProvider) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		var errs []error
		for _, p := range providers {
			c, err := p.Retrieve(ctx)
			if err == nil && c.HasKeys() {
				return c, nil
			}
			errs = append(errs, err)
		}
		return aws.Credentials{}, fmt.Errorf("no credentials: %w", errors.Join(errs...))
	})
}

// jitterRefresh is when credentials that expire are fetched again: with a fifth
// of their life left, within 38 s and 5 minutes, and up to a tenth of that
// earlier, so that a fleet does not ask at once.
func jitterRefresh(now, expires time.Time) time.Duration {
	left := expires.Sub(now)
	ahead := min(max(left/5, credentialMargin), 5*time.Minute)
	// Credentials that live less than that are not asked for over and over.
	soonest := max(min(left/2, time.Second), time.Millisecond)
	return max(left-ahead-rand.N(ahead/10+1), soonest)
}
