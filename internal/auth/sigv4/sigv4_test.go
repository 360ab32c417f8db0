package sigv4_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth/sigv4"
	"github.com/sluicevideo/sluice/internal/mediatest"
)

// The example pair of the AWS documentation.
const (
	keyID  = "AKIAIOSFODNN7EXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	region = "us-west-2"
)

var now = time.Date(2026, 11, 22, 13, 19, 19, 0, time.UTC)

var errUnknown = errors.New("unknown key")

func secrets(id string) (string, error) {
	if id != keyID {
		return "", errUnknown
	}
	return secret, nil
}

func newVerifier(at time.Time) *sigv4.Verifier {
	return sigv4.New(sigv4.Options{Region: region, GlobalServices: []string{"iam", "sts"}, Now: func() time.Time { return at }})
}

var kinesisvideo = []string{"kinesisvideo"}

// The requests that an unmodified native producer sent, byte for byte.
func TestRecordedRequests(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(mediatest.Dir(t), "putmedia-captures", "*.http"))
	if err != nil || len(files) == 0 {
		t.Skipf("no recorded requests in %s (set SLUICE_MEDIA)", mediatest.Dir(t))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(head, "\r\n\r\n"...))))
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if err != nil {
				t.Fatal(err)
			}
			call := sigv4.Call{Body: body, Streaming: r.URL.Path == "/putMedia", Services: kinesisvideo}
			res, err := newVerifier(at).Verify(r, call, secrets)
			if err != nil {
				t.Fatal(err)
			}
			if res.SessionToken != r.Header.Get("X-Amz-Security-Token") {
				t.Errorf("session token %q", res.SessionToken)
			}
			if !call.Streaming {
				call.Body = bytes.Replace(body, []byte("new-cam"), []byte("old-cam"), 1)
				if _, err := newVerifier(at).Verify(r, call, secrets); sluice.CodeOf(err) != sluice.InvalidSignature {
					t.Errorf("with another body: %v", err)
				}
			}
			if _, err := newVerifier(at.Add(15*time.Minute+time.Second)).Verify(r, call, secrets); sluice.CodeOf(err) != sluice.InvalidSignature ||
				!strings.Contains(err.Error(), "Signature expired: "+at.Format("20060102T150405Z")) {
				t.Errorf("16 minutes later: %v", err)
			}
		})
	}
}

func hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// sign makes a request with the SDK's signer and has it cross a real
// connection, so that the verifier sees what net/http makes of it.
func sign(t testing.TB, method, target string, body []byte, service string, at time.Time, presign time.Duration, change func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
	if token := r.Header.Get("Test-Token"); token != "" {
		creds.SessionToken = token
		r.Header.Del("Test-Token")
	}
	payload := hash(body)
	if said := r.Header.Get("X-Amz-Content-Sha256"); said != "" {
		payload = said
	}
	signer := v4.NewSigner()
	if presign > 0 {
		q := r.URL.Query()
		q.Set("X-Amz-Expires", fmt.Sprint(int(presign/time.Second)))
		r.URL.RawQuery = q.Encode()
		signed, header, err := signer.PresignHTTP(context.Background(), creds, r, payload, service, region, at)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(signed); err != nil {
			t.Fatal(err)
		}
		r.Header = header
	} else if err := signer.SignHTTP(context.Background(), creds, r, payload, service, region, at); err != nil {
		t.Fatal(err)
	}
	return received(t, r)
}

// received is r as a server has it.
func received(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSDKSignerAgrees(t *testing.T) {
	t.Parallel()
	body := []byte(`{"StreamName":"cam"}`)
	targets := []string{
		"http://127.0.0.1:8470/describeStream",
		"http://127.0.0.1/describeStream",
		"http://sluice.example:8470/a%20path/with%2Fslash/%E1%88%B4/and!chars*(x)",
		"http://sluice.example/x//y/./z",
		"http://sluice.example/?b=2&a=1&a=0&c&d=%2B+%20&%E1%88%B4=~-_.",
		"http://sluice.example/putMedia?X-Amz-Expires=600",
	}
	for _, target := range targets {
		for _, method := range []string{"POST", "GET"} {
			for _, presign := range []time.Duration{0, time.Second, time.Hour, sigv4.MaxExpires} {
				for _, token := range []string{"", "a/token+with==signs"} {
					t.Run(fmt.Sprint(method, target, presign, token), func(t *testing.T) {
						r := sign(t, method, target, body, "kinesisvideo", now, presign, func(r *http.Request) {
							r.Header.Set("Content-Type", "application/json")
							r.Header.Set("X-Odd", "  two   spaces\t and a tab ")
							if token != "" {
								r.Header.Set("Test-Token", token)
							}
						})
						res, err := newVerifier(now).Verify(r, sigv4.Call{Body: body, Services: kinesisvideo}, secrets)
						if err != nil {
							t.Fatalf("%v\n%s\n%v", err, r.URL, r.Header)
						}
						if res.Query != (presign > 0) || res.SessionToken != token || !res.Date.Equal(now) {
							t.Errorf("result %+v", res)
						}
						if sigv4.Service(r) != "kinesisvideo" {
							t.Errorf("service %q", sigv4.Service(r))
						}
					})
				}
			}
		}
	}
}

func TestPayloadHashes(t *testing.T) {
	t.Parallel()
	body := []byte(`{"StreamName":"cam"}`)
	for _, c := range []struct {
		name      string
		signed    string // the payload hash that the client signs
		sent      string // x-amz-content-sha256 as sent
		sentLate  bool   // sent, but not signed (the Java producer)
		streaming bool
		want      sluice.Code
	}{
		{"SDK, control call", hash(body), "", false, false, ""},
		{"SDK for C++, control call", hash(body), hash(body), false, false, ""},
		{"C producer, PutMedia", hash(nil), "", false, true, ""},
		{"Java producer, PutMedia", "UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD", true, true, ""},
		{"Java SDK, PutMedia", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", false, true, ""},
		{"PutMedia with a hash of its own", hash(body), hash(body), false, true, ""},
		{"body unsigned, control call", "UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD", false, false, ""},
		{"hash of nothing, control call with a body", hash(nil), "", false, false, sluice.InvalidSignature},
		{"hash of another body, sent", hash([]byte("x")), hash([]byte("x")), false, false, sluice.InvalidSignature},
		{"hash put in later", hash(body), "UNSIGNED-PAYLOAD", true, false, sluice.InvalidSignature},
		{"not a hash", hash(body), "abc", true, false, sluice.IncompleteSignature},
		{"not a hash, long enough", hash(body), strings.Repeat("g", 64), true, false, sluice.IncompleteSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequest("POST", "http://127.0.0.1/x", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if c.sent != "" && !c.sentLate {
				r.Header.Set("X-Amz-Content-Sha256", c.sent)
			}
			creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
			if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, c.signed, "kinesisvideo", region, now); err != nil {
				t.Fatal(err)
			}
			if c.sentLate {
				r.Header.Set("X-Amz-Content-Sha256", c.sent)
			}
			_, err = newVerifier(now).Verify(received(t, r), sigv4.Call{Body: body, Streaming: c.streaming}, secrets)
			if sluice.CodeOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// The Java SDK's PutMedia has its target in absolute form; net/http takes Host
// from it.
func TestAbsoluteTarget(t *testing.T) {
	t.Parallel()
	r := sign(t, "POST", "http://sluice.example:8470/putMedia", nil, "kinesisvideo", now, 0, nil)
	raw := fmt.Sprintf("POST http://sluice.example:8470/putMedia HTTP/1.1\r\nHost: sluice.example:8470\r\nTransfer-Encoding: chunked\r\nX-Amz-Date: %s\r\nAuthorization: %s\r\n\r\n0\r\n\r\n",
		r.Header.Get("X-Amz-Date"), strings.Replace(r.Header.Get("Authorization"), "content-length;", "", 1))
	got, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(now).Verify(got, sigv4.Call{Streaming: true}, secrets); err != nil {
		t.Error(err)
	}
}

func TestOnARealConnection(t *testing.T) {
	t.Parallel()
	v := newVerifier(now)
	errs := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, err := v.Verify(r, sigv4.Call{Body: body, Services: kinesisvideo}, secrets)
		errs <- err
	}))
	defer srv.Close()
	for _, body := range []string{"", `{"StreamName":"cam"}`} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/describeStream", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hash([]byte(body)), "kinesisvideo", region, now); err != nil {
			t.Fatal(err)
		}
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if err := <-errs; err != nil {
			t.Errorf("body %q: %v", body, err)
		}
	}
}

// The recorded shape of PutMedia signs connection and transfer-encoding, sends
// no port in Host, and leaves the token unsigned.
func TestHeadersThatTheServerConsumes(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	head := mediatest.File(t, "putmedia-captures/control-plane-5-putMedia-with-session-token.request-head.http")
	errs := make(chan error, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := newVerifier(now).Verify(r, sigv4.Call{Streaming: true, Services: kinesisvideo}, secrets)
		errs <- err
	})}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(append(head, "0\r\n\r\n"...)); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	body := []byte(`{"StreamName":"cam"}`)
	header := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			s := r.Header.Get("Authorization")
			if !strings.Contains(s, from) {
				t.Errorf("%q is not in %q", from, s)
			}
			r.Header.Set("Authorization", strings.Replace(s, from, to, 1))
		}
	}
	query := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			q := r.URL.Query()
			if value == "" {
				q.Del(name)
			} else {
				q.Set(name, value)
			}
			r.URL.RawQuery = q.Encode()
		}
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, c := range []struct {
		name    string
		presign time.Duration
		change  func(*http.Request)
		at      time.Duration // the server's clock less the client's
		service string
		want    sluice.Code
		says    string
	}{
		{"good", 0, nil, 0, "", "", ""},
		{"good, query", time.Hour, nil, 0, "", "", ""},
		{"no signature", 0, func(r *http.Request) { r.Header.Del("Authorization") }, 0, "", sluice.MissingAuthenticationToken, "neither"},
		{"no signature, other query", 0, func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "X-Amz-Expires=600" }, 0, "", sluice.MissingAuthenticationToken, ""},
		{"another method", 0, func(r *http.Request) { r.Method = "PUT" }, 0, "", sluice.InvalidSignature, "does not match"},
		{"another path", 0, func(r *http.Request) { r.URL.Path = "/deleteStream" }, 0, "", sluice.InvalidSignature, "does not match"},
		{"another query", 0, func(r *http.Request) { r.URL.RawQuery = "a=b" }, 0, "", sluice.InvalidSignature, "does not match"},
		{"another host", 0, func(r *http.Request) { r.Host = "elsewhere" }, 0, "", sluice.InvalidSignature, "does not match"},
		{"another signed header", 0, set("Content-Type", "text/plain"), 0, "", sluice.InvalidSignature, "does not match"},
		{"another date", 0, set("X-Amz-Date", "20261122T131920Z"), 0, "", sluice.InvalidSignature, "does not match"},
		{"an unsigned header more", 0, set("X-Forwarded-For", "10.0.0.1"), 0, "", "", ""},
		{"signed header taken away", 0, func(r *http.Request) { r.Header.Del("Content-Type") }, 0, "", sluice.IncompleteSignature, "'content-type'"},
		{"signature changed", 0, func(r *http.Request) {
			s := r.Header.Get("Authorization")
			last := byte('0')
			if s[len(s)-1] == '0' {
				last = '1'
			}
			r.Header.Set("Authorization", s[:len(s)-1]+string(last))
		}, 0, "", sluice.InvalidSignature, "does not match"},
		{"unknown key", 0, header(keyID, "AKIAUNKNOWN"), 0, "", "", "unknown key"},
		{"another algorithm", 0, header("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), 0, "", sluice.IncompleteSignature, "AWS4-HMAC-SHA1"},
		{"Basic", 0, set("Authorization", "Basic YTpi"), 0, "", sluice.IncompleteSignature, "Basic"},
		{"empty", 0, set("Authorization", ""), 0, "", sluice.IncompleteSignature, ""},
		{"two", 0, func(r *http.Request) { r.Header.Add("Authorization", "x") }, 0, "", sluice.IncompleteSignature, "2 Authorization"},
		{"no credential", 0, header("Credential=", "X="), 0, "", sluice.IncompleteSignature, "unknown parameter 'X'"},
		{"no signature part", 0, func(r *http.Request) {
			s, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature")
			r.Header.Set("Authorization", s)
		}, 0, "", sluice.IncompleteSignature, "requires 'Signature'"},
		{"twice", 0, header("SignedHeaders=", "Credential=a, SignedHeaders="), 0, "", sluice.IncompleteSignature, "twice"},
		{"not name=value", 0, header("SignedHeaders=", "x, SignedHeaders="), 0, "", sluice.IncompleteSignature, "'x'"},
		{"scope too short", 0, header("/aws4_request", ""), 0, "", sluice.IncompleteSignature, "5 slash"},
		{"other terminator", 0, header("aws4_request", "aws5_request"), 0, "", sluice.IncompleteSignature, "aws5_request"},
		{"scope date", 0, header("/20261122/", "/2026112/"), 0, "", sluice.IncompleteSignature, "YYYYMMDD"},
		{"another day", 0, header("/20261122/", "/20261121/"), 0, "", sluice.InvalidSignature, "'20261121' != '20261122'"},
		{"another region", 0, header("us-west-2", "eu-west-1"), 0, "", sluice.InvalidSignature, "'eu-west-1'"},
		{"us-east-1", 0, header("us-west-2", "us-east-1"), 0, "", sluice.InvalidSignature, "'us-east-1'"},
		{"another service", 0, nil, 0, "iam", sluice.InvalidSignature, "'kinesisvideo'"},
		{"host not signed", 0, header(";host;", ";"), 0, "", sluice.IncompleteSignature, "'Host'"},
		{"upper case", 0, header(";host;", ";host;Content-Type;"), 0, "", sluice.IncompleteSignature, "lower case"},
		{"listed twice", 0, header(";host;", ";host;host;"), 0, "", sluice.IncompleteSignature, "twice"},
		{"many", 0, header(";host;", ";host;"+many(70)), 0, "", sluice.IncompleteSignature, "at most 64"},
		{"long", 0, header(";host;", ";host;"+strings.Repeat("x", 9000)+";"), 0, "", sluice.IncompleteSignature, "bytes"},
		{"short signature", 0, header("Signature=", "Signature=0"), 0, "", sluice.IncompleteSignature, "65"},
		{"not hex", 0, func(r *http.Request) {
			s, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", s+"Signature="+strings.Repeat("z", 64))
		}, 0, "", sluice.IncompleteSignature, "hexadecimal"},
		{"no date", 0, func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 0, "", sluice.IncompleteSignature, "'Date'"},
		{"other date form", 0, set("X-Amz-Date", "2026-11-22T13:19:19Z"), 0, "", sluice.IncompleteSignature, "basic format"},
		{"14:59 late", 0, nil, 15*time.Minute - time.Second, "", "", ""},
		{"15:01 late", 0, nil, 15*time.Minute + time.Second, "", sluice.InvalidSignature, "20261122T131919Z is now earlier than 20261122T131920Z"},
		{"14:59 early", 0, nil, -15*time.Minute + time.Second, "", "", ""},
		{"15:01 early", 0, nil, -15*time.Minute - time.Second, "", sluice.InvalidSignature, "20261122T131919Z is still later than 20261122T131918Z"},
		{"query, just before its end", time.Hour, nil, time.Hour - time.Second, "", "", ""},
		{"query, at its end", time.Hour, nil, time.Hour, "", sluice.InvalidSignature, "Signature expired: 20261122T141919Z"},
		{"query, early", time.Hour, nil, -16 * time.Minute, "", sluice.InvalidSignature, "not yet current"},
		{"query, longer life", time.Hour, query("X-Amz-Expires", "7200"), 0, "", sluice.InvalidSignature, "does not match"},
		{"query, life 0", time.Hour, query("X-Amz-Expires", "0"), 0, "", sluice.IncompleteSignature, "1 to 604800"},
		{"query, life too long", time.Hour, query("X-Amz-Expires", "604801"), 0, "", sluice.IncompleteSignature, "1 to 604800"},
		{"query, no date", time.Hour, query("X-Amz-Date", ""), 0, "", sluice.IncompleteSignature, "X-Amz-Date"},
		{"query, no credential", time.Hour, query("X-Amz-Credential", ""), 0, "", sluice.IncompleteSignature, "X-Amz-Credential"},
		{"query, no signature", time.Hour, query("X-Amz-Signature", ""), 0, "", sluice.IncompleteSignature, "X-Amz-Signature"},
		{"query, another algorithm", time.Hour, query("X-Amz-Algorithm", "none"), 0, "", sluice.IncompleteSignature, "X-Amz-Algorithm"},
		{"query, a parameter more", time.Hour, query("StreamName", "x"), 0, "", sluice.InvalidSignature, "does not match"},
		{"query, twice", time.Hour, func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Date=20261122T131919Z" }, 0, "", sluice.IncompleteSignature, "twice"},
		{"query, another service", time.Hour, nil, 0, "sts", sluice.InvalidSignature, "'kinesisvideo'"},
		{"query, too long", time.Hour, func(r *http.Request) { r.URL.RawQuery += "&a=" + strings.Repeat("x", 40000) }, 0, "", sluice.IncompleteSignature, "query"},
		{"header wins over query", time.Hour, set("Authorization", "x"), 0, "", sluice.IncompleteSignature, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			service := "kinesisvideo"
			if c.service != "" {
				service = c.service
			}
			r := sign(t, "POST", "http://127.0.0.1:8470/describeStream", body, service, now, c.presign, func(r *http.Request) {
				r.Header.Set("Content-Type", "application/json")
			})
			if c.change != nil {
				c.change(r)
			}
			_, err := newVerifier(now.Add(c.at)).Verify(r, sigv4.Call{Body: body, Services: kinesisvideo}, secrets)
			if sluice.CodeOf(err) != c.want || (err == nil) != (c.want == "" && c.says == "") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q does not say %q", err, c.says)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "x-%d;", i)
	}
	return b.String()
}

func TestGlobalServicesSignForVirginia(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		service, region string
		ok              bool
	}{{"iam", "us-east-1", true}, {"sts", region, true}, {"iam", "eu-west-1", false}, {"kinesisvideo", "us-east-1", false}} {
		r, err := http.NewRequest("POST", "http://127.0.0.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hash(nil), c.service, c.region, now); err != nil {
			t.Fatal(err)
		}
		if _, err := newVerifier(now).Verify(r, sigv4.Call{}, secrets); (err == nil) != c.ok {
			t.Errorf("%s in %s: %v", c.service, c.region, err)
		}
	}
}

// A secret that was replaced must not be found among the remembered keys.
func TestReplacedSecret(t *testing.T) {
	t.Parallel()
	v := newVerifier(now)
	r := sign(t, "POST", "http://127.0.0.1/", nil, "kinesisvideo", now, 0, nil)
	if _, err := v.Verify(r, sigv4.Call{}, secrets); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(r, sigv4.Call{}, func(string) (string, error) { return "another", nil })
	if sluice.CodeOf(err) != sluice.InvalidSignature {
		t.Errorf("the old secret's signature under the new secret: %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	body := []byte(`{"StreamName":"cam"}`)
	r := sign(b, "POST", "http://127.0.0.1:8470/describeStream", body, "kinesisvideo", now, 0, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
	})
	v := newVerifier(now)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r, sigv4.Call{Body: body, Services: kinesisvideo}, secrets); err != nil {
			b.Fatal(err)
		}
	}
}

// Nothing a request holds may panic the verifier, or verify without the
// secret.
func FuzzVerify(f *testing.F) {
	r := sign(f, "POST", "http://127.0.0.1:8470/describeStream", nil, "kinesisvideo", now, 0, nil)
	f.Add("POST", "/describeStream", "", r.Header.Get("Authorization"), "20261122T131919Z", "")
	q := sign(f, "GET", "http://127.0.0.1/x?y=z", nil, "kinesisvideo", now, time.Hour, nil)
	f.Add("GET", "/x", q.URL.RawQuery, "", "", "UNSIGNED-PAYLOAD")
	f.Add("GET", "/%2e/../a//b", "a=%zz&b;c&=&&", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=;;,Signature=", "", "zz")
	v := newVerifier(now)
	f.Fuzz(func(t *testing.T, method, path, query, authorization, date, content string) {
		u := &url.URL{Path: path, RawPath: path, RawQuery: query}
		r := &http.Request{Method: method, URL: u, Host: "x", Header: http.Header{}}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set("X-Amz-Date", date)
		if content != "" {
			r.Header.Set("X-Amz-Content-Sha256", content)
		}
		_, err := v.Verify(r, sigv4.Call{}, func(string) (string, error) { return "a secret that no input was signed with", nil })
		if err == nil {
			t.Fatal("verified")
		}
		switch sluice.CodeOf(err) {
		case sluice.InvalidSignature, sluice.IncompleteSignature, sluice.MissingAuthenticationToken:
		default:
			t.Errorf("unexpected error %v", err)
		}
		if len(err.Error()) > 1024 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
