package api_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/catalog"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// TestHeaderCase looks at the bytes of the wire: producers compare the case.
func TestHeaderCase(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	conn := dial(t, s)
	conn.write("POST /describeStream HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	head := conn.head()
	for _, want := range []string{"HTTP/1.1 403 Forbidden\r\n", "\r\nx-amzn-RequestId: ", "\r\nx-amzn-ErrorType: MissingAuthenticationTokenException\r\n", "\r\nContent-Type: application/json\r\n"} {
		if !strings.Contains(head, want) {
			t.Errorf("no %q in\n%s", want, head)
		}
	}
}

func TestErrorsOfTheDoor(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for _, tc := range []struct {
		name, path, user, body string
		status                 int
		exception, answer      string
	}{
		{"no signature", "/describeStream", "", `{"StreamName":"x"}`, 403, "MissingAuthenticationTokenException", `{"message":`},
		{"no signature, unknown path", "/nothing", "", ``, 403, "MissingAuthenticationTokenException", `{"message":`},
		{"unknown path", "/nothing", "ROOT", ``, 404, "UnknownOperationException", `{"message":"Unknown operation: POST /nothing"}`},
		{"wrong case", "/DescribeStream", "ROOT", `{}`, 404, "UnknownOperationException", `{"message":`},
		{"no permission", "/describeStream", "joe", `{"StreamName":"absent"}`, 403, "AccessDeniedException",
			`{"message":"User: arn:aws:iam::000000000000:user/joe is not authorized to perform: kinesisvideo:DescribeStream on resource: absent"}`},
		{"no permission before shape", "/describeStream", "joe", `[`, 403, "AccessDeniedException", `{"message":`},
		{"no permission before 501", "/createSignalingChannel", "joe", `{}`, 403, "AccessDeniedException", `{"message":`},
		{"not served", "/createSignalingChannel", "ROOT", `{}`, 501, "UnsupportedOperationException", `{"Message":"CreateSignalingChannel is not supported by Sluice 1.2.3."}`},
		{"too large", "/describeStream", "ROOT", `{"StreamName":"` + strings.Repeat("x", 300<<10) + `"}`, 413, "RequestEntityTooLargeException", `{"message":"request body: at most 262144 bytes"}`},
		{"service", "/describeStream", "ROOT", ``, 400, "InvalidArgumentException", `{"Message":"StreamName, StreamARN: one of them must be given"}`},
		{"query action", "/?Action=Nothing&Version=2010-05-08", "ROOT", ``, 400, "UnknownOperationException", `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>InvalidAction</Code>`},
	} {
		res, body := s.post(t, tc.path, tc.user, tc.body)
		if res.StatusCode != tc.status || res.Header.Get("x-amzn-ErrorType") != tc.exception || !strings.HasPrefix(body, tc.answer) {
			t.Errorf("%s: %d %s %s, want %d %s %s", tc.name, res.StatusCode, res.Header.Get("x-amzn-ErrorType"), body, tc.status, tc.exception, tc.answer)
		}
		if id := res.Header.Get("x-amzn-RequestId"); !uuid.MatchString(id) {
			t.Errorf("%s: request id %q", tc.name, id)
		}
	}
}

// TestExistenceIsNotTold: without a permission the answer is the same whether
// the stream is there or not, however it is named and whatever else is wrong.
func TestExistenceIsNotTold(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	there, err := s.Catalog.Create(t.Context(), catalog.New{Name: "there", Tags: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/describeStream", "/createStream", "/updateStream", "/deleteStream", "/getDataEndpoint", "/tagStream", "/listTagsForStream"} {
		_, one := s.post(t, path, "joe", `{"StreamName":"there"}`)
		_, two := s.post(t, path, "joe", `{"StreamName":"hence"}`)
		if one != strings.ReplaceAll(two, "hence", "there") {
			t.Errorf("%s: %s, %s", path, one, two)
		}
		_, one = s.post(t, path, "joe", `{"StreamARN":"`+there.ARN.String()+`"}`)
		other := there.ARN
		other.Created--
		_, two = s.post(t, path, "joe", `{"StreamARN":"`+other.String()+`"}`)
		if strings.ReplaceAll(one, there.ARN.String(), "") != strings.ReplaceAll(two, other.String(), "") {
			t.Errorf("%s by ARN: %s, %s", path, one, two)
		}
	}
}

// TestWhatPoliciesSee is the resource and the condition keys of calls.
func TestWhatPoliciesSee(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen api.Access
	s := start(t, func(o *api.Options) {
		o.Auth = door{allow: func(_ api.Identity, q api.Access) bool {
			mu.Lock()
			defer mu.Unlock()
			seen = q
			return false
		}}
	})
	there, err := s.Catalog.Create(t.Context(), catalog.New{Name: "cam", Tags: map[string]string{"site": "lab"}})
	if err != nil {
		t.Fatal(err)
	}
	head := "arn:aws:kinesisvideo:us-west-2:000000000000:stream/"
	for _, tc := range []struct {
		path, body, action, resource string
		keys                         map[string]string
	}{
		{"/describeStream", `{"StreamName":"cam"}`, "DescribeStream", there.ARN.String(),
			map[string]string{"aws:ResourceTag/site": "lab", "aws:SourceIp": "127.0.0.1", "aws:SecureTransport": "false", "aws:UserAgent": "test/1", "aws:Referer": "https://example.org/page"}},
		{"/describeStream", `{"StreamName":"absent"}`, "DescribeStream", head + "absent/0", nil},
		{"/describeStream", `{}`, "DescribeStream", head + "*", nil},
		{"/describeStream", `{"StreamARN":"` + head + `absent/1"}`, "DescribeStream", head + "absent/1", nil},
		{"/createStream", `{"StreamName":"new","StreamARN":"` + there.ARN.String() + `","Tags":{"a":"1"}}`, "CreateStream", head + "new/0",
			map[string]string{"aws:RequestTag/a": "1", "aws:TagKeys": "a"}},
		{"/TagResource", `{"ResourceARN":"` + there.ARN.String() + `","Tags":[{"Key":"b","Value":"2"}]}`, "TagResource", there.ARN.String(),
			map[string]string{"aws:RequestTag/b": "2", "aws:TagKeys": "b"}},
		{"/untagStream", `{"StreamName":"cam","TagKeyList":["x","y"]}`, "UntagStream", there.ARN.String(), map[string]string{"aws:TagKeys": "x,y"}},
		{"/listStreams", `{}`, "ListStreams", "*", nil},
	} {
		s.post(t, tc.path, "joe", tc.body, "User-Agent", "test/1", "Referer", "https://example.org/page")
		mu.Lock()
		if seen.Action != "kinesisvideo:"+tc.action || seen.Resource != tc.resource {
			t.Errorf("%s %s: %s on %s, want %s on %s", tc.path, tc.body, seen.Action, seen.Resource, tc.action, tc.resource)
		}
		for k, v := range tc.keys {
			if got := strings.Join(seen.Context[k], ","); got != v {
				t.Errorf("%s %s: %s is %q, want %q", tc.path, tc.body, k, got, v)
			}
		}
		mu.Unlock()
	}
}

func TestBodyForms(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if _, err := s.Catalog.Create(t.Context(), catalog.New{Name: "cam"}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, body string
		status     int
		answer     string
	}{
		{"/listStreams", ``, 200, `{"NextToken":null,"StreamInfoList":[{"CreationTime":`},
		{"/listStreams", `null`, 200, `{"NextToken":null`},
		{"/listStreams", " {\n\t} ", 200, `{"NextToken":null`},
		{"/listStreams", `{"StreamNameCondition":null,"MaxResults":null}`, 200, `{"NextToken":null`},
		{"/listStreams", `{"MaxResults":1.0}`, 200, `{"NextToken":null`},
		{"/listStreams", `{"MaxResults":1e3}`, 200, `{"NextToken":null`},
		{"/listStreams", `{"MaxResults":1.5}`, 400, `{"Message":"MaxResults: must be a whole number"}`},
		{"/listStreams", `{"MaxResults":"5"}`, 400, `{"Message":"MaxResults: must be a whole number"}`},
		{"/listStreams", `{"maxResults":0, "More": {"a": [1]}}`, 200, `{"NextToken":null`},
		{"/listStreams", `[]`, 400, `{"Message":"request body: must be a JSON object"}`},
		{"/listStreams", `{"MaxResults"`, 400, `{"Message":"request body: not JSON at byte 13: `},
		{"/listStreams", strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), 400, `{"Message":"request body: not JSON`},
		{"/listStreams", `{"NextToken":"%%"}`, 400, `{"Message":"NextToken \"%%\": must match [a-zA-Z0-9+/=]*"}`},
		{"/listStreams", `{"StreamNameCondition":[]}`, 400, `{"Message":"StreamNameCondition: must be an object"}`},
		{"/describeStream", `{"streamname":"cam"}`, 400, `{"Message":"StreamName, StreamARN: one of them must be given"}`},
		{"/describeStream", `{"StreamName":7}`, 400, `{"Message":"StreamName: must be a string"}`},
		{"/describeStream", "{\n\t\"StreamName\": \"cam\"\n}", 200, `{"StreamInfo":{"CreationTime":`},
		{"/tagStream", `{"StreamName":"cam","Tags":{"a":null}}`, 200, `{}`},
		{"/tagStream", `{"StreamName":"cam","Tags":{"a":1}}`, 400, `{"Message":"Tags[\"a\"]: must be a string"}`},
		{"/tagStream", `{"StreamName":"cam","Tags":[]}`, 400, `{"Message":"Tags: must be an object of strings"}`},
		{"/tagStream", `{"StreamName":"cam"}`, 400, `{"Message":"Tags: must be given"}`},
		{"/untagStream", `{"StreamName":"cam","TagKeyList":[null]}`, 400, `{"Message":"TagKeyList[0]: must not be null"}`},
	} {
		res, body := s.post(t, tc.path, "ROOT", tc.body)
		if res.StatusCode != tc.status || !strings.HasPrefix(body, tc.answer) {
			t.Errorf("%s %.60s: %d %.120s, want %d %s", tc.path, tc.body, res.StatusCode, body, tc.status, tc.answer)
		}
	}
}

// TestDescribeStreamOnTheWire: the C producer reads it flat, stops at 100
// tokens, and needs digits in DataRetentionInHours.
func TestDescribeStreamOnTheWire(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if _, err := s.Catalog.Create(t.Context(), catalog.New{Name: "cam", Retention: 2 * 3600e9, KMSKeyID: "k"}); err != nil {
		t.Fatal(err)
	}
	_, body := s.post(t, "/describeStream", "ROOT", `{"StreamName":"cam"}`)
	want := regexp.MustCompile(`^\{"StreamInfo":\{"CreationTime":\d{10}\.\d{3},"DataRetentionInHours":2,"DeviceName":null,"KmsKeyId":"k","MediaType":null,"Status":"ACTIVE",` +
		`"StreamARN":"arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam/\d{13}","StreamName":"cam","Version":"[a-zA-Z0-9]{20}"\}\}$`)
	if !want.MatchString(body) {
		t.Error(body)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	preflight := func(s *server, origin, asked string) *http.Response {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.URL+"/describeStream", nil)
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		req.Header.Set("Access-Control-Request-Headers", asked)
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	anyone := start(t, nil)
	res := preflight(anyone, "https://page.example", "authorization,content-type,amz-sdk-request,X-Amz-Date,cookie,x-other")
	if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Access-Control-Allow-Credentials") != "" ||
		res.Header.Get("Access-Control-Allow-Headers") != "authorization, content-type, amz-sdk-request, x-amz-date" ||
		!strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "POST") || !uuid.MatchString(res.Header.Get("x-amzn-RequestId")) {
		t.Errorf("preflight: %d %v", res.StatusCode, res.Header)
	}
	res, _ = anyone.post(t, "/describeStream", "", `{}`, "Origin", "https://page.example")
	if h := res.Header; h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "x-amzn-RequestId, x-amzn-ErrorType") {
		t.Errorf("call: %v", h)
	}
	one := start(t, func(o *api.Options) { o.CORSOrigins = []string{"https://page.example"} })
	if got := preflight(one, "https://page.example", "").Header.Get("Access-Control-Allow-Origin"); got != "https://page.example" {
		t.Errorf("the allowed origin got %q", got)
	}
	res = preflight(one, "https://other.example", "authorization")
	if res.Header.Get("Access-Control-Allow-Origin") != "" || res.Header.Get("Access-Control-Allow-Headers") != "" || res.Header.Get("Vary") == "" {
		t.Errorf("another origin got %v", res.Header)
	}
}

func TestEndpointAndProxies(t *testing.T) {
	t.Parallel()
	trust := func(o *api.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	var mu sync.Mutex
	var last api.Record
	note := func(o *api.Options) {
		o.OnRecord = func(r api.Record) {
			mu.Lock()
			defer mu.Unlock()
			last = r
		}
	}
	for _, tc := range []struct {
		name    string
		change  func(*api.Options)
		headers []string
		want    string // PORT is the socket's
		remote  string
	}{
		{"as called", nil, nil, "http://127.0.0.1:PORT", "127.0.0.1"},
		{"Host without a port", nil, []string{"Host", "kvs.local"}, "http://kvs.local:PORT", "127.0.0.1"},
		{"IPv6 without a port", nil, []string{"Host", "[::1]"}, "http://[::1]:PORT", "127.0.0.1"},
		{"Host with a port", nil, []string{"Host", "kvs.local:99"}, "http://kvs.local:99", "127.0.0.1"},
		{"public URL", func(o *api.Options) { o.PublicURL = "https://kvs.example/" }, []string{"Host", "kvs.local:99"}, "https://kvs.example", "127.0.0.1"},
		{"untrusted", nil, []string{"X-Forwarded-For", "9.9.9.9", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil"}, "http://127.0.0.1:PORT", "127.0.0.1"},
		{"trusted", trust, []string{"X-Forwarded-For", "6.6.6.6, 9.9.9.9, 127.0.0.5", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "kvs.example"}, "https://kvs.example", "9.9.9.9"},
		{"trusted, port", trust, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "8443", "Host", "kvs.example"}, "https://kvs.example:8443", "127.0.0.1"},
		{"trusted, standard port", trust, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "443", "Host", "kvs.example"}, "https://kvs.example", "127.0.0.1"},
		{"trusted, nonsense", trust, []string{"X-Forwarded-For", "nonsense", "X-Forwarded-Host", "a, b"}, "http://127.0.0.1:PORT", "127.0.0.1"},
	} {
		s := start(t, func(o *api.Options) {
			note(o)
			if tc.change != nil {
				tc.change(o)
			}
		})
		if _, err := s.Catalog.Create(t.Context(), catalog.New{Name: "cam"}); err != nil {
			t.Fatal(err)
		}
		_, body := s.post(t, "/getDataEndpoint", "ROOT", `{"StreamName":"cam","APIName":"PUT_MEDIA"}`, tc.headers...)
		var got struct{ DataEndpoint string }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %s", tc.name, body)
		}
		port := s.URL[strings.LastIndex(s.URL, ":")+1:]
		if want := strings.ReplaceAll(tc.want, "PORT", port); got.DataEndpoint != want {
			t.Errorf("%s: %s, want %s", tc.name, got.DataEndpoint, want)
		}
		s.Close() // waits for the record
		mu.Lock()
		if last.Remote.String() != tc.remote {
			t.Errorf("%s: client is %s, want %s", tc.name, last.Remote, tc.remote)
		}
		mu.Unlock()
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var records []api.Record
	s := start(t, func(o *api.Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		o.OnRecord = func(r api.Record) { records = append(records, r) }
	})
	res, _ := s.post(t, "/createStream", "ROOT", `{"StreamName":"cam","DataRetentionInHours":2,"Unknown":"x"}`, "User-Agent", "test/1")
	s.post(t, "/describeStream", "joe", `{"StreamName":"cam"}`)
	s.post(t, "/nothing?X-Amz-Security-Token=secret", "ROOT", `{}`, "X-Amz-Security-Token", "secret")
	s.Close()
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 || len(records) != 3 {
		t.Fatalf("%d lines, %d records:\n%s", len(lines), len(records), log.String())
	}
	if r := records[0]; r.Operation != "CreateStream" || r.Status != 200 || r.Exception != "" || r.Identity.AccessKeyID != "ROOT" || r.Stream.Name != "cam" ||
		r.UserAgent != "test/1" || r.Sent == 0 || r.RequestID != res.Header.Get("x-amzn-RequestId") {
		t.Errorf("first record: %+v", r)
	}
	if r := records[1]; r.Operation != "DescribeStream" || r.Status != 403 || r.Exception != "AccessDeniedException" {
		t.Errorf("second record: %+v", r)
	}
	if r := records[2]; r.Operation != "Unknown" || r.Status != 404 {
		t.Errorf("third record: %+v", r)
	}
	for _, want := range []string{`"operation":"CreateStream"`, `"stream":"cam"`, `"params":{"DataRetentionInHours":"2"}`, `"status":200`, `"caller":"arn:aws:iam::000000000000:user/ROOT"`, `"remote":"127.0.0.1"`} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("no %s in %s", want, lines[0])
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("a token is in the log:\n%s", log.String())
	}
}

func TestFallback(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *api.Options) {
		o.Fallback = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("console " + r.URL.Path)) })
	})
	for call, want := range map[string]int{
		"GET /console/streams/cam": 200, "GET /console": 200, "GET /favicon.ico": 200, "HEAD /": 200, "GET /?theme=dark": 200,
		"POST /console/": 403, "GET /?Action=ListUsers": 403,
		// Unknown operations, and known ones by the wrong method.
		"GET /streams/cam": 403, "GET /consolex": 403, "GET /describeStream": 403,
	} {
		method, target, _ := strings.Cut(call, " ")
		req := httptest.NewRequestWithContext(t.Context(), method, target, nil)
		w := httptest.NewRecorder()
		s.Config.Handler.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("%s: %d %s", call, w.Code, w.Body)
		}
	}
}
