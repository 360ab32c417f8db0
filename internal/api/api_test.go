package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/limits"
)

const (
	region  = "us-west-2"
	account = "000000000000"
)

// door is an Authenticator that believes the access key of a request and asks a
// function instead of policies: what the real one does is internal/auth's to test.
type door struct {
	allow func(id api.Identity, q api.Access) bool
}

func (d door) Authenticate(r *http.Request, _ []byte, _ bool, service string) (api.Identity, error) {
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !ok {
		return api.Identity{}, &sluice.Error{Code: "MissingAuthenticationTokenException", Msg: "Missing Authentication Token"}
	}
	scope := strings.Split(rest, "/")
	if len(scope) < 4 || service != "" && scope[3] != service {
		return api.Identity{}, &sluice.Error{Code: "InvalidSignatureException", Msg: "Credential should be scoped to correct service: '" + service + "'."}
	}
	return api.Identity{Root: scope[0] == "ROOT", Account: account, UserName: scope[0], AccessKeyID: scope[0],
		ARN: "arn:aws:iam::" + account + ":user/" + scope[0]}, nil
}

func (d door) Authorize(_ context.Context, id api.Identity, q api.Access) (api.Decision, error) {
	return api.Decision{Allowed: id.Root || d.allow != nil && d.allow(id, q), Reason: "test"}, nil
}

// server is an API over a fresh catalog.
type server struct {
	*httptest.Server
	db      *db.DB
	Catalog *catalog.Catalog
	Limits  *limits.Limits
}

func start(t testing.TB, change func(*api.Options)) *server {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: filepath.Join(t.TempDir(), "catalog.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	s := &server{db: d, Limits: limits.New(limits.Rules{}, limits.Rates{})}
	s.Catalog, err = catalog.Open(t.Context(), d, catalog.Options{Region: region, Account: account, Rules: func() catalog.Rules {
		r := s.Limits.Rules()
		return catalog.Rules{Streams: r.Streams, RetentionReplaces: r.RetentionReplaces}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Catalog.Close() })
	o := api.Options{Region: region, Account: account, Version: "1.2.3", Catalog: s.Catalog, Auth: door{}, Limits: s.Limits}
	if change != nil {
		change(&o)
	}
	s.Server = httptest.NewServer(api.New(o))
	t.Cleanup(s.Close)
	return s
}

// client is the AWS SDK for Go as anybody would configure it, without retries.
func (s *server) client(user string) *kinesisvideo.Client {
	return kinesisvideo.New(kinesisvideo.Options{
		Region: region, BaseEndpoint: aws.String(s.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(user, "secret", ""),
	})
}

func TestCreateAndDescribe(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := s.client("ROOT")
	made, err := c.CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String("cam"), DataRetentionInHours: aws.Int32(24)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("cam")})
	if err != nil {
		t.Fatal(err)
	}
	if *got.StreamInfo.StreamARN != *made.StreamARN || *got.StreamInfo.DataRetentionInHours != 24 || len(*got.StreamInfo.Version) != 20 {
		t.Errorf("got %+v", got.StreamInfo)
	}
}

// post makes a call without an SDK, "signed" by user ("": not at all).
func (s *server) post(t testing.TB, path, user, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if user != "" {
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+user+"/20261122/us-west-2/kinesisvideo/aws4_request")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// create makes a stream below the API; one that is there already is left alone.
func (s *server) create(t testing.TB, name string, tags map[string]string) {
	t.Helper()
	_, err := s.Catalog.Create(t.Context(), catalog.New{Name: name, Tags: tags})
	if err != nil && sluice.CodeOf(err) != sluice.ResourceInUse {
		t.Fatal(err)
	}
}
