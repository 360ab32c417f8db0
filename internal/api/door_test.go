package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/db"
)

// root are the server's own keys in tests.
var root = auth.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}

// realDoor is the authenticator of the server, over a fresh database.
func realDoor(t testing.TB, now func() time.Time) *auth.Auth {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: filepath.Join(t.TempDir(), "users.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	a, err := auth.Open(t.Context(), d, [32]byte{1}, auth.Options{Account: account, Region: region, Root: root, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// signing is how a test signs a request.
type signing struct {
	key             auth.Credentials
	region, service string
	at              time.Time
	query           bool
	expires         string // query: X-Amz-Expires
}

func (s signing) sign(t testing.TB, r *http.Request, body string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	creds := aws.Credentials{AccessKeyID: s.key.AccessKeyID, SecretAccessKey: s.key.SecretAccessKey}
	if !s.query {
		if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hash, s.service, s.region, s.at); err != nil {
			t.Fatal(err)
		}
		return
	}
	q := r.URL.Query()
	q.Set("X-Amz-Expires", s.expires)
	r.URL.RawQuery = q.Encode()
	uri, _, err := v4.NewSigner().PresignHTTP(context.Background(), creds, r, hash, s.service, s.region, s.at)
	if err != nil {
		t.Fatal(err)
	}
	r.URL, err = r.URL.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
}

// request is a call of an operation, with nothing that its handler could want.
func request(o *api.Operation) (r *http.Request, body string) {
	body, kind := "{}", "application/json"
	switch {
	case o.Method == http.MethodGet:
		body = ""
	case o.Protocol == api.Query:
		version := map[string]string{"iam": "2010-05-08", "sts": "2011-06-15"}[o.Service]
		body, kind = "Action="+o.Name+"&Version="+version, "application/x-www-form-urlencoded"
	case o.Protocol == api.JSON11:
		kind = "application/x-amz-json-1.1"
	case o.Streams:
		body = ""
	}
	r = httptest.NewRequest(o.Method, "http://kvs.local"+o.Path, strings.NewReader(body))
	r.RequestURI = ""
	r.Header.Set("Content-Type", kind)
	if o.Target != "" {
		r.Header.Set("X-Amz-Target", o.Target)
	}
	return r, body
}

// TestEveryRouteIsGuarded walks the table: what is not properly signed by
// somebody who may is refused at the door, whatever the operation.
func TestEveryRouteIsGuarded(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	users := realDoor(t, func() time.Time { return now })
	if _, err := users.CreateUser(t.Context(), "joe", ""); err != nil {
		t.Fatal(err)
	}
	_, joe, err := users.CreateAccessKey(t.Context(), "joe")
	if err != nil {
		t.Fatal(err)
	}
	_, off, err := users.CreateAccessKey(t.Context(), "joe")
	if err != nil {
		t.Fatal(err)
	}
	if err := users.SetAccessKeyActive(t.Context(), "joe", off.AccessKeyID, false); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(o *api.Options) { o.Auth = users })
	handler := s.Config.Handler
	const (
		missing      = sluice.Code("MissingAuthenticationTokenException")
		incomplete   = sluice.Code("IncompleteSignatureException")
		badSignature = sluice.Code("InvalidSignatureException")
		unrecognized = sluice.Code("UnrecognizedClientException")
	)
	wrongSecret := root
	wrongSecret.SecretAccessKey += "x"
	unknown := root
	unknown.AccessKeyID = "AKIANOBODY0000000000"
	walked := 0
	for _, o := range append(handler.(*api.API).Operations(), &api.Operation{Name: "no such path", Method: "POST", Path: "/noSuchPath", Service: "kinesisvideo"}) {
		if o.Auth != api.Signature {
			continue
		}
		walked++
		good := signing{key: root, region: region, service: o.Service, at: now, expires: "300"}
		for _, tc := range []struct {
			name   string
			change func(*signing)
			tamper func(*http.Request)
			status int
			code   sluice.Code
			text   string
		}{
			{"wrong signature", func(s *signing) { s.key = wrongSecret }, nil, 403, badSignature, "does not match"},
			{"unknown key", func(s *signing) { s.key = unknown }, nil, 403, unrecognized, "The security token included in the request is invalid."},
			{"inactive key", func(s *signing) { s.key = off }, nil, 403, unrecognized, "invalid"},
			{"replay outside the window", func(s *signing) { s.at = now.Add(-16 * time.Minute) }, nil, 403, badSignature, now.Add(-16 * time.Minute).Format("20060102T150405Z")},
			{"from the future", func(s *signing) { s.at = now.Add(16 * time.Minute) }, nil, 403, badSignature, now.Format("20060102T150405Z")},
			{"wrong service", func(s *signing) { s.service = "s3" }, nil, 403, badSignature, "service"},
			{"wrong region", func(s *signing) { s.region = "eu-west-1" }, nil, 403, badSignature, "region"},
			{"another path", nil, func(r *http.Request) { r.URL.RawQuery += "&more=1" }, 403, badSignature, ""},
			{"another host", nil, func(r *http.Request) { r.Host = "other.local" }, 403, badSignature, ""},
			{"another body", nil, func(r *http.Request) {
				if !o.Streams && r.Method == http.MethodPost {
					b := "{ }"
					if o.Protocol == api.Query {
						b = "Version=2010-05-08&Action=" + o.Name
					}
					r.Body, r.ContentLength = http.NoBody, int64(len(b))
					r.Body = readCloser{bytes.NewReader([]byte(b))}
				} else {
					r.Host = "other.local"
				}
			}, 403, badSignature, ""},
		} {
			for _, query := range []bool{false, true} {
				sign := good
				sign.query = query
				if tc.change != nil {
					tc.change(&sign)
				}
				r, body := request(o)
				sign.sign(t, r, body)
				if tc.tamper != nil {
					tc.tamper(r)
				}
				refused(t, handler, r, o.Name+", "+tc.name, query, tc.status, tc.code, tc.text)
			}
		}
		r, _ := request(o)
		refused(t, handler, r, o.Name+", no signature", false, 403, missing, "")
		r, _ = request(o)
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
		refused(t, handler, r, o.Name+", malformed", false, 400, incomplete, "")
		r, _ = request(o)
		r.Header.Set("Authorization", "Bearer abc")
		refused(t, handler, r, o.Name+", another scheme", false, 400, incomplete, "")
		r, body := request(o)
		sign := good
		sign.query, sign.expires, sign.at = true, "60", now.Add(-2*time.Minute)
		sign.sign(t, r, body)
		refused(t, handler, r, o.Name+", expired", true, 403, badSignature, "")
		if o.Action != "" {
			r, body = request(o)
			sign = good
			sign.key = joe
			sign.sign(t, r, body)
			refused(t, handler, r, o.Name+", no policy", false, 403, sluice.AccessDenied, "is not authorized to perform: "+o.Action)
		}
	}
	if walked < 30 {
		t.Errorf("only %d routes were walked", walked)
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// exception is x-amzn-ErrorType spelled as on the wire, which Header.Get would
// not find.
func exception(w *httptest.ResponseRecorder) string {
	for name, values := range w.Header() {
		if name == "x-amzn-ErrorType" {
			return values[0]
		}
	}
	return ""
}

func refused(t *testing.T, h http.Handler, r *http.Request, name string, query bool, status int, code sluice.Code, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got := exception(w)
	if w.Code != status || got != string(code) || !strings.Contains(w.Body.String(), text) || !strings.HasSuffix(w.Header().Get("Link"), `>; rel="help"`) {
		t.Errorf("%s (query %v): %d %s %s, want %d %s with %q", name, query, w.Code, got, w.Body, status, code, text)
	}
}

// TestPolicyOfOneStream: a user who may use one stream uses it and nothing else.
func TestPolicyOfOneStream(t *testing.T) {
	t.Parallel()
	users := realDoor(t, nil)
	s := start(t, func(o *api.Options) { o.Auth = users })
	if _, err := users.CreateUser(t.Context(), "joe", ""); err != nil {
		t.Fatal(err)
	}
	_, joe, err := users.CreateAccessKey(t.Context(), "joe")
	if err != nil {
		t.Fatal(err)
	}
	if err := users.PutPolicy(t.Context(), auth.OfUser("joe"), "p", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["kinesisvideo:CreateStream","kinesisvideo:Describe*","kinesisvideo:TagStream"],"Resource":"arn:aws:kinesisvideo:us-west-2:000000000000:stream/mine/*"},
		{"Effect":"Allow","Action":"kinesisvideo:DescribeStream","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/owner":"joe"}}},
		{"Effect":"Deny","Action":"kinesisvideo:TagStream","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"owner"}}}]}`); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, body string
		want       sluice.Code
	}{
		{"/createStream", `{"StreamName":"mine"}`, ""},
		{"/createStream", `{"StreamName":"other"}`, sluice.AccessDenied},
		{"/describeStream", `{"StreamName":"mine"}`, ""},
		{"/describeStream", `{"StreamName":"tagged"}`, ""},
		{"/describeStream", `{"StreamName":"absent"}`, sluice.AccessDenied},
		{"/tagStream", `{"StreamName":"mine","Tags":{"a":"b"}}`, ""},
		{"/tagStream", `{"StreamName":"mine","Tags":{"owner":"joe"}}`, sluice.AccessDenied},
		{"/listStreams", `{}`, sluice.AccessDenied},
		{"/deleteStream", `{"StreamName":"mine"}`, sluice.AccessDenied},
	} {
		if tc.path == "/describeStream" {
			s.create(t, "tagged", map[string]string{"owner": "joe"})
		}
		r := httptest.NewRequest(http.MethodPost, "http://kvs.local"+tc.path, strings.NewReader(tc.body))
		r.RequestURI = ""
		signing{key: joe, region: region, service: "kinesisvideo", at: time.Now()}.sign(t, r, tc.body)
		w := httptest.NewRecorder()
		s.Config.Handler.ServeHTTP(w, r)
		if got := exception(w); got != string(tc.want) {
			t.Errorf("%s %s: %d %s", tc.path, tc.body, w.Code, w.Body)
		}
	}
}
