package kvsapi_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/leaktest"
	"github.com/sluicevideo/sluice/kvsapi"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// answers is a service that says what it is told to.
type answers struct {
	status int
	body   []byte
}

func (a answers) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	resp := &http.Response{StatusCode: a.status, Header: http.Header{}, Request: r, Body: io.NopCloser(bytes.NewReader(a.body)), ProtoMajor: 1, ProtoMinor: 1}
	if strings.HasSuffix(r.URL.Path, "/getDataEndpoint") {
		resp.StatusCode, resp.Body = 200, io.NopCloser(strings.NewReader(`{"DataEndpoint":"http://data.example"}`))
	}
	return resp, nil
}

// FuzzAnswers: whatever a server answers, a call ends, with an error or with what
// can be worked on.
func FuzzAnswers(f *testing.F) {
	f.Add(200, []byte("{\"EventType\":\"PERSISTED\",\"FragmentTimecode\":1,\"FragmentNumber\":\"91343852333201125542827014461086117693478321416\"}\n\n{\"EventType\":\"IDLE\"}\n"))
	f.Add(200, []byte(`{"Fragments":[{"FragmentNumber":"5","ServerTimestamp":1.7E9,"FragmentLengthInMilliseconds":-1}],"NextToken":null}`))
	f.Add(404, []byte(`{"__type":"a#ResourceNotFoundException:b","Message":"gone"}`))
	f.Add(200, bytes.Repeat([]byte("x"), 5000))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 100 || status > 999 || status >= 500 || status == 429 {
			return // those are tried again, with waits
		}
		c := kvsapi.NewFromConfig(aws.Config{
			Region: "us-west-2", HTTPClient: answers{status, body}, Credentials: credentials.StaticCredentialsProvider{Value: example},
		}, "http://control.example")
		if s, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: cam, Body: io.NopCloser(strings.NewReader(""))}); err == nil {
			for n := 0; ; n++ {
				a, err := s.Next()
				if err != nil {
					break
				}
				if a.Event == "" || n > len(body) {
					t.Fatalf("acknowledgement %d: %v", n, a)
				}
			}
			s.Close()
		}
		if strings.Contains(string(body), string(sluice.ClientLimitExceeded)) {
			return
		}
		list, _, err := c.ListFragments(t.Context(), &kvsapi.ListFragmentsInput{Stream: cam, From: time.Unix(1, 0), To: time.Unix(2, 0)})
		if err == nil && status != 200 {
			t.Fatalf("status %d and %d fragments", status, len(list))
		}
	})
}
