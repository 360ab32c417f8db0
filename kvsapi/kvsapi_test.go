package kvsapi_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

var example = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}

// service is a server of the wire's shapes: GetDataEndpoint names the server
// itself, everything else is the test's.
type service struct {
	*httptest.Server
	asked atomic.Int32 // GetDataEndpoint calls
}

func serve(t *testing.T, handlers map[string]http.HandlerFunc) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("%s over %s", r.URL.Path, r.Proto)
		}
		w.Header()["x-amzn-RequestId"] = []string{"request-of-" + r.URL.Path[1:]}
		if r.URL.Path == "/getDataEndpoint" {
			s.asked.Add(1)
			fmt.Fprintf(w, `{"DataEndpoint":%q}`, s.URL)
			return
		}
		h, ok := handlers[r.URL.Path]
		if !ok {
			t.Errorf("call to %s", r.URL.Path)
			return
		}
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) client(t *testing.T) *kvsapi.Client {
	t.Helper()
	c, err := kvsapi.New(t.Context(), kvsapi.Options{
		Endpoint: s.URL, Region: "eu-north-1",
		Credentials: credentials.StaticCredentialsProvider{Value: example},
		Getenv:      func(string) string { return "" },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var cam = sluice.StreamRef{Name: "cam"}

func TestPutMediaIsFullDuplex(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]http.HandlerFunc{"/putMedia": func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		want := http.Header{
			"X-Amzn-Stream-Name": {"cam"}, "X-Amzn-Fragment-Timecode-Type": {"RELATIVE"},
			"X-Amzn-Producer-Start-Timestamp": {"1700000000.007"}, "X-Amzn-Fragment-Acknowledgment-Required": {"1"},
		}
		for k, v := range want {
			if !cmp.Equal(r.Header[k], v) {
				t.Errorf("%s: %q, want %q", k, r.Header[k], v)
			}
		}
		if !cmp.Equal(r.TransferEncoding, []string{"chunked"}) {
			t.Errorf("transfer encoding %q", r.TransferEncoding)
		}
		checkSignature(t, r, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
		w.WriteHeader(200)
		rc.Flush()
		buf := make([]byte, 100)
		for i := 0; ; i++ {
			n, err := r.Body.Read(buf)
			if n > 0 {
				w.Write(sluice.Ack{Event: sluice.AckBuffering, Timecode: int64(n), HasTimecode: true}.Append(nil))
				rc.Flush()
			}
			if err != nil {
				return
			}
		}
	}})
	body, media := io.Pipe()
	session, err := s.client(t).PutMedia(t.Context(), &kvsapi.PutMediaInput{
		Stream: cam, TimecodeType: sluice.TimecodeRelative, ProducerStart: time.UnixMilli(1700000000007), Body: body,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if session.RequestID() != "request-of-putMedia" {
		t.Errorf("request id %q", session.RequestID())
	}
	for n := 1; n < 20; n++ { // each ack is read before the next bytes are sent
		if _, err := media.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		a, err := session.Next()
		if err != nil || a.Event != sluice.AckBuffering || a.Timecode != int64(n) {
			t.Fatalf("ack %d: %v, %v", n, a, err)
		}
	}
	media.Close()
	if a, err := session.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, %v, want io.EOF", a, err)
	}
}

// TestHelpURL: a link of another form, or away from the server, is passed over.
func TestHelpURL(t *testing.T) {
	t.Parallel()
	for link, want := range map[string]string{
		`</docs#a>; rel="help"`:               "http://h:1/docs#a",
		`<http://h:1/docs>; rel="help"`:       "http://h:1/docs",
		`<http://elsewhere/docs>; rel="help"`: "",
		`<//elsewhere/docs>; rel="help"`:      "",
		`<javascript:alert(1)>; rel="help"`:   "",
		`</docs>; rel="next"`:                 "",
		`/docs`:                               "",
		``:                                    "",
		"<http://h:1/\x7f>; rel=\"help\"":     "",
	} {
		r := &http.Response{Header: http.Header{"Link": {link}}, Request: httptest.NewRequest(http.MethodPost, "http://h:1/putMedia", nil)}
		if got := kvsapi.HelpURL(r); got != want {
			t.Errorf("%q: %q, want %q", link, got, want)
		}
	}
}

func TestPutMediaRefused(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s := serve(t, map[string]http.HandlerFunc{"/putMedia": func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.NewResponseController(w).EnableFullDuplex() // else net/http reads the body first
		w.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException:https://kinesisvideo.amazonaws.com/doc/2017-09-30/")
		w.Header().Set("Link", `</help#gone>; rel="help"`)
		w.WriteHeader(404)
		io.WriteString(w, `{"Message":"The requested stream is not found or not active."}`)
	}})
	c := s.client(t)
	for range 2 {
		body, media := io.Pipe()
		_, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: cam, Body: body})
		var api *kvsapi.APIError
		if !errors.As(err, &api) {
			t.Fatalf("error %v, want an *APIError", err)
		}
		want := &kvsapi.APIError{
			Operation: "PutMedia", Code: sluice.ResourceNotFound, Message: "The requested stream is not found or not active.", Status: 404,
			RequestID: "request-of-putMedia", Help: s.URL + "/help#gone",
		}
		if d := cmp.Diff(want, api); d != "" {
			t.Error(d)
		}
		if _, err := media.Write([]byte("x")); err == nil {
			t.Error("the body was not closed")
		}
	}
	if s.asked.Load() != 2 || calls.Load() != 2 {
		t.Errorf("%d PutMedia calls asked for the endpoint %d times, want 2 and 2: a 404 forgets it", calls.Load(), s.asked.Load())
	}
}

func TestPutMediaCloseBreaksOff(t *testing.T) {
	t.Parallel()
	gone := make(chan error, 1)
	s := serve(t, map[string]http.HandlerFunc{"/putMedia": func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(200)
		rc.Flush()
		_, err := io.Copy(io.Discard, r.Body)
		gone <- err
	}})
	body, _ := io.Pipe()
	session, err := s.client(t).PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: cam, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if a, err := session.Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Next of a closed session: %v, %v", a, err)
		}
	})
	session.Close()
	wg.Wait()
	if err := <-gone; err == nil {
		t.Error("the server saw a proper end of the body")
	}
}

// checkSignature signs the request again as it arrived and compares.
func checkSignature(t *testing.T, r *http.Request, hash string) {
	t.Helper()
	date, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Errorf("%s: X-Amz-Date: %v", r.URL.Path, err)
		return
	}
	again := r.Clone(context.Background())
	got := again.Header.Get("Authorization")
	again.URL.Scheme, again.URL.Host = "http", r.Host
	for k := range again.Header {
		if !strings.Contains(got, strings.ToLower(k)+";") && !strings.Contains(got, strings.ToLower(k)+",") {
			again.Header.Del(k)
		}
	}
	if !strings.Contains(got, "content-length") {
		again.ContentLength = -1
	}
	if err := v4.NewSigner().SignHTTP(context.Background(), example, again, hash, "kinesisvideo", "eu-north-1", date); err != nil {
		t.Error(err)
	}
	if want := again.Header.Get("Authorization"); got != want {
		t.Errorf("%s: Authorization\n got %s\nwant %s", r.URL.Path, got, want)
	}
}

func TestGetMedia(t *testing.T) {
	t.Parallel()
	n := sluice.MakeFragmentNumber(7, 1700000000000, 5)
	at := time.UnixMilli(1720751492346)
	for _, c := range []struct {
		from sluice.StartSelector
		want string
	}{
		{sluice.StartSelector{Type: sluice.SelectNow}, `{"StartSelectorType":"NOW"}`},
		{sluice.StartSelector{Type: sluice.SelectFragmentNumber, After: n}, `{"StartSelectorType":"FRAGMENT_NUMBER","AfterFragmentNumber":"` + n.String() + `"}`},
		{sluice.StartSelector{Type: sluice.SelectContinuationToken, After: n}, `{"StartSelectorType":"CONTINUATION_TOKEN","ContinuationToken":"` + n.String() + `"}`},
		{sluice.StartSelector{Type: sluice.SelectServerTimestamp, Time: at}, `{"StartSelectorType":"SERVER_TIMESTAMP","StartTimestamp":1720751492.346}`},
	} {
		s := serve(t, map[string]http.HandlerFunc{"/getMedia": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if want := `{"StreamName":"cam","StartSelector":` + c.want + `}`; string(body) != want {
				t.Errorf("body %s, want %s", body, want)
			}
			w.Header().Set("Content-Type", "video/webm")
			io.WriteString(w, "media")
		}})
		m, err := s.client(t).GetMedia(t.Context(), cam, c.from)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(m)
		m.Close()
		if string(b) != "media" || err != nil || m.ContentType != "video/webm" || m.RequestID != "request-of-getMedia" {
			t.Errorf("media %q, %v, %+v", b, err, m)
		}
	}
}

func TestListFragments(t *testing.T) {
	t.Parallel()
	n := sluice.MakeFragmentNumber(7, 1720751492346, 5)
	var bodies []string
	s := serve(t, map[string]http.HandlerFunc{"/listFragments": func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		fmt.Fprintf(w, `{"Fragments":[{"FragmentNumber":%q,"FragmentSizeInBytes":12,"ProducerTimestamp":1720751492.001,"ServerTimestamp":1.720751492346E9,`+
			`"FragmentLengthInMilliseconds":1796}],"NextToken":null}`, n)
	}})
	c := s.client(t)
	got, next, err := c.ListFragments(t.Context(), &kvsapi.ListFragmentsInput{
		Stream: cam, Clock: sluice.ProducerClock, From: time.Unix(1, 0), To: time.Unix(2, 5e8), Max: 10,
	})
	if err != nil || next != "" {
		t.Fatal(next, err)
	}
	want := []kvsapi.FragmentInfo{{
		Number: n, Size: 12, ProducerTimestamp: time.UnixMilli(1720751492001), ServerTimestamp: time.UnixMilli(1720751492346), Length: 1796 * time.Millisecond,
	}}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b sluice.FragmentNumber) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if _, _, err := c.ListFragments(t.Context(), &kvsapi.ListFragmentsInput{Stream: cam, NextToken: "tok"}); err != nil {
		t.Fatal(err)
	}
	wantBodies := []string{
		`{"StreamName":"cam","MaxResults":10,"FragmentSelector":{"FragmentSelectorType":"PRODUCER_TIMESTAMP","TimestampRange":{"StartTimestamp":1.000,"EndTimestamp":2.500}}}`,
		`{"StreamName":"cam","NextToken":"tok"}`,
	}
	if d := cmp.Diff(wantBodies, bodies); d != "" {
		t.Error(d)
	}
	if s.asked.Load() != 1 {
		t.Errorf("asked for the endpoint %d times, want once", s.asked.Load())
	}
}

func TestPlayback(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{}
	reply := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			bodies[r.URL.Path] = string(body)
			io.WriteString(w, answer)
		}
	}
	s := serve(t, map[string]http.HandlerFunc{
		"/getHLSStreamingSessionURL":  reply(`{"HLSStreamingSessionURL":"http://h"}`),
		"/getDASHStreamingSessionURL": reply(`{"DASHStreamingSessionURL":"http://d"}`),
		"/getClip":                    reply("mp4"),
		"/getImages":                  reply(`{"Images":[{"TimeStamp":5.25,"ImageContent":"aGk="},{"TimeStamp":6,"Error":"NO_MEDIA"}],"NextToken":"n"}`),
		"/getMediaForFragmentList":    reply("mkv"),
	})
	c, from, to := s.client(t), time.Unix(10, 0), time.Unix(20, 0)
	if u, err := c.GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: cam, Mode: kvsapi.OnDemand, From: from, To: to, Expires: time.Hour}); err != nil || u != "http://h" {
		t.Error(u, err)
	}
	if u, err := c.GetDASHStreamingSessionURL(t.Context(), &kvsapi.DASHInput{Stream: cam, Clock: sluice.ProducerClock, DisplayNumber: true}); err != nil || u != "http://d" {
		t.Error(u, err)
	}
	if m, err := c.GetClip(t.Context(), cam, sluice.ServerClock, from, to); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
	if m, err := c.GetMediaForFragmentList(t.Context(), cam, []sluice.FragmentNumber{{}}); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
	images, next, err := c.GetImages(t.Context(), &kvsapi.ImagesInput{Stream: cam, From: from, To: to, Format: "JPEG", Quality: 80, Interval: time.Second})
	if err != nil || next != "n" || len(images) != 2 || string(images[0].Content) != "hi" || !images[0].Time.Equal(time.UnixMilli(5250)) || images[1].Error != "NO_MEDIA" {
		t.Error(images, next, err)
	}
	want := map[string]string{
		"/getHLSStreamingSessionURL":  `{"StreamName":"cam","PlaybackMode":"ON_DEMAND","HLSFragmentSelector":{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{"StartTimestamp":10.000,"EndTimestamp":20.000}},"Expires":3600}`,
		"/getDASHStreamingSessionURL": `{"StreamName":"cam","DASHFragmentSelector":{"FragmentSelectorType":"PRODUCER_TIMESTAMP"},"DisplayFragmentNumber":"ALWAYS"}`,
		"/getClip":                    `{"StreamName":"cam","ClipFragmentSelector":{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{"StartTimestamp":10.000,"EndTimestamp":20.000}}}`,
		"/getImages":                  `{"StreamName":"cam","ImageSelectorType":"SERVER_TIMESTAMP","StartTimestamp":10.000,"EndTimestamp":20.000,"SamplingInterval":1000,"Format":"JPEG","FormatConfig":{"JPEGQuality":"80"}}`,
		"/getMediaForFragmentList":    `{"StreamName":"cam","Fragments":["00000000000000000000000000000000000000000000000"]}`,
	}
	if d := cmp.Diff(want, bodies); d != "" {
		t.Error(d)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		status    int
		code      string
		wantCalls int32
	}{
		{"server failure", 500, "InternalFailureException", 3},
		{"too many calls", 400, "ClientLimitExceededException", 3},
		{"wrong argument", 400, "InvalidArgumentException", 1},
		{"not implemented", 501, "UnsupportedOperationException", 1},
		{"denied", 403, "AccessDeniedException", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			s := serve(t, map[string]http.HandlerFunc{"/getMedia": func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				w.WriteHeader(c.status)
				json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazon.coral.service#" + c.code, "message": "why"})
			}})
			_, err := s.client(t).GetMedia(t.Context(), cam, sluice.StartSelector{Type: sluice.SelectNow})
			var api *kvsapi.APIError
			if !errors.As(err, &api) || string(api.Code) != c.code || api.Message != "why" {
				t.Errorf("error %v", err)
			}
			if calls.Load() != c.wantCalls {
				t.Errorf("%d calls, want %d", calls.Load(), c.wantCalls)
			}
		})
	}
}

func TestClockIsCorrected(t *testing.T) {
	t.Parallel()
	ahead := 3 * time.Hour
	var calls atomic.Int32
	s := serve(t, map[string]http.HandlerFunc{"/getMedia": func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		date, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if now := time.Now().Add(ahead); now.Sub(date).Abs() > 15*time.Minute {
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			w.Header().Set("X-Amzn-Errortype", "InvalidSignatureException")
			w.WriteHeader(403)
		}
	}})
	c := s.client(t)
	for range 2 {
		m, err := c.GetMedia(t.Context(), cam, sluice.StartSelector{Type: sluice.SelectNow})
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	if calls.Load() != 3 {
		t.Errorf("%d calls, want 3: the first learns the clock", calls.Load())
	}
}

func TestEndpointIsFound(t *testing.T) {
	t.Parallel()
	all := map[string]string{
		"AWS_ENDPOINT_URL_KINESIS_VIDEO": "http://a:1", "AWS_ENDPOINT_URL": "http://b:1", "CONTROL_PLANE_URI": "http://c:1/",
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
	}
	for _, c := range []struct{ flag, without, want string }{
		{"https://flag:2", "", "https://flag:2"},
		{"", "", "http://a:1"},
		{"", "AWS_ENDPOINT_URL_KINESIS_VIDEO", "http://b:1"},
		{"", "AWS_ENDPOINT_URL_KINESIS_VIDEO AWS_ENDPOINT_URL", "http://c:1"},
	} {
		cfg, got, err := kvsapi.LoadConfig(t.Context(), kvsapi.Options{Endpoint: c.flag, Getenv: func(name string) string {
			if strings.Contains(" "+c.without+" ", " "+name+" ") {
				return ""
			}
			return all[name]
		}})
		if err != nil || got != c.want || cfg.Region != kvsapi.DefaultRegion {
			t.Errorf("flag %q without %q: %q, region %q, %v, want %q", c.flag, c.without, got, cfg.Region, err, c.want)
		}
	}
	for _, bad := range []string{"localhost:8470", "ftp://x", "http://", "http://h/path", "http://u:p@h"} {
		if _, _, err := kvsapi.LoadConfig(t.Context(), kvsapi.Options{Endpoint: bad}); err == nil {
			t.Errorf("endpoint %q was taken", bad)
		}
	}
}

func TestAuthorities(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"DataEndpoint":"https://%s"}`, r.Host)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // one client trusts nobody
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, flag, variable, value string
		ok                          bool
	}{
		{"flag", ca, "", "", true},
		{"AWS_CA_BUNDLE", "", "AWS_CA_BUNDLE", ca, true},
		{"AWS_KVS_CACERT_PATH", "", "AWS_KVS_CACERT_PATH", ca, true},
		{"directory", dir, "", "", true},
		{"none", "", "", "", false},
	} {
		client, err := kvsapi.New(t.Context(), kvsapi.Options{
			Endpoint: s.URL, CAFile: c.flag, Credentials: credentials.StaticCredentialsProvider{Value: example},
			Getenv: func(name string) string {
				if name == c.variable {
					return c.value
				}
				return ""
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		m, err := client.GetMedia(t.Context(), cam, sluice.StartSelector{Type: sluice.SelectNow})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			m.Close()
		}
	}
}
