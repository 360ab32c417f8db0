package kvsapi

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
)

func environment(getenv func(string) string) func(string) string {
	if getenv == nil {
		return os.Getenv
	}
	return getenv
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// checkEndpoint takes a URL as people write it. What would only fail later, with
// a message about something else, fails here.
func checkEndpoint(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("endpoint %q: want http://HOST[:PORT] or https://HOST[:PORT]", s)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("endpoint %q: want a scheme, a host and a port and nothing after them", s)
	}
	return u.Scheme + "://" + u.Host, nil
}

// authorities reads a PEM file or the .pem files of a directory; "" is nil, the
// system's.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	} else if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.pem")); err != nil || len(files) == 0 {
			return nil, fmt.Errorf("CA directory %s: no .pem file in it", path)
		}
	}
	pool := x509.NewCertPool()
	for _, f := range files {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s: no certificate in it", f)
		}
	}
	return pool, nil
}

// The APIName of GetDataEndpoint for each operation.
const (
	apiPutMedia                = types.APINamePutMedia
	apiGetMedia                = types.APINameGetMedia
	apiListFragments           = types.APINameListFragments
	apiGetMediaForFragmentList = types.APINameGetMediaForFragmentList
	apiGetHLS                  = types.APINameGetHlsStreamingSessionUrl
	apiGetDASH                 = types.APINameGetDashStreamingSessionUrl
	apiGetClip                 = types.APINameGetClip
	apiGetImages               = types.APINameGetImages
)

type endpointKey struct {
	stream sluice.StreamRef
	api    types.APIName
}

type endpointEntry struct {
	url   string
	until time.Time
}

// endpointLife is how long a data endpoint is used without asking again: as the
// official producers do by default.
const endpointLife = 40 * time.Minute

// maxEndpoints bounds the cache of a client that goes through many streams.
const maxEndpoints = 10000

// dataEndpoint is the URL that serves api for stream, asked once and remembered.
func (c *Client) dataEndpoint(ctx context.Context, stream sluice.StreamRef, api types.APIName) (string, error) {
	key := endpointKey{stream, api}
	now := c.now()
	c.mu.Lock()
	e, ok := c.endpoints[key]
	c.mu.Unlock()
	if ok && now.Before(e.until) {
		return e.url, nil
	}
	in := &kinesisvideo.GetDataEndpointInput{APIName: api}
	if stream.Name != "" {
		in.StreamName = aws.String(stream.Name)
	}
	if stream.ARN != "" {
		in.StreamARN = aws.String(stream.ARN)
	}
	out, err := c.control.GetDataEndpoint(ctx, in)
	if err != nil {
		return "", err
	}
	u, err := checkEndpoint(strings.TrimRight(aws.ToString(out.DataEndpoint), "/"))
	if err != nil {
		return "", fmt.Errorf("GetDataEndpoint %s: %w", api, err)
	}
	c.mu.Lock()
	if len(c.endpoints) >= maxEndpoints {
		clear(c.endpoints)
	}
	c.endpoints[key] = endpointEntry{u, now.Add(endpointLife)}
	c.mu.Unlock()
	return u, nil
}

// forgetEndpoint drops a remembered endpoint after a failure that may mean it
// has moved: the connection failed, or the answer was 403 or 404.
func (c *Client) forgetEndpoint(stream sluice.StreamRef, api types.APIName, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	var answer *APIError
	if errors.As(err, &answer) && answer.Status != http.StatusNotFound && answer.Status != http.StatusForbidden {
		return
	}
	c.mu.Lock()
	delete(c.endpoints, endpointKey{stream, api})
	c.mu.Unlock()
}
