package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
)

// anyone is an Authenticator that lets everybody in.
type anyone struct{}

func (anyone) Authenticate(*http.Request, []byte, bool, string) (Identity, error) {
	return Identity{Root: true, ARN: "arn:aws:iam::000000000000:root"}, nil
}

func (anyone) Authorize(context.Context, Identity, Access) (Decision, error) {
	return Decision{Allowed: true}, nil
}

// lockedBuffer is a log that the server writes and the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// withRows is a server of these rows alone.
func withRows(t *testing.T, log io.Writer, rows ...Operation) (*httptest.Server, <-chan Record) {
	records := make(chan Record, 16)
	a := New(Options{Auth: anyone{}, Logger: slog.New(slog.NewTextHandler(log, nil)), OnRecord: func(r Record) { records <- r }})
	a.table = newTable(rows)
	s := httptest.NewServer(a)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(s.Close)
	return s, records
}

func raw(name string, serve func(http.ResponseWriter, *http.Request, *Call) error) Operation {
	return Operation{Name: name, Path: "/" + name, Service: "kinesisvideo", Streams: true, Raw: serve}
}

func TestPanicsAndBrokenAnswers(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	s, records := withRows(t, &log,
		Operation{Name: "early", Path: "/early", Service: "kinesisvideo", JSON: func(context.Context, *Call) (any, error) { panic("the cause") }},
		Operation{Name: "plain", Path: "/plain", Service: "kinesisvideo", JSON: func(context.Context, *Call) (any, error) {
			return nil, fmt.Errorf("database: %w", errors.New("the disk is gone"))
		}},
		raw("late", func(w http.ResponseWriter, _ *http.Request, _ *Call) error {
			w.Write([]byte("half"))
			http.NewResponseController(w).Flush()
			panic("late cause")
		}),
		raw("error", func(w http.ResponseWriter, _ *http.Request, _ *Call) error {
			w.Write([]byte("half"))
			http.NewResponseController(w).Flush()
			return errors.New("the store is gone")
		}),
		raw("refused", func(http.ResponseWriter, *http.Request, *Call) error {
			return &sluice.Error{Code: sluice.ConnectionLimitExceeded, Msg: "too many"}
		}),
	)
	call := func(path string) (*http.Response, string, error) {
		res, err := s.Client().Post(s.URL+path, "application/json", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res, string(b), err
	}
	for _, tc := range []struct {
		path      string
		status    int
		body      string
		broken    bool
		exception sluice.Code
		inLog     string
	}{
		{"/early", 500, `{"Message":"The request processing has failed because of an internal error."}`, false, sluice.InternalFailure, "the cause"},
		{"/plain", 500, `{"Message":"The request processing has failed because of an internal error."}`, false, sluice.InternalFailure, "the disk is gone"},
		{"/late", 200, "half", true, sluice.InternalFailure, "late cause"},
		{"/error", 200, "half", true, sluice.InternalFailure, "the store is gone"},
		{"/refused", 400, `{"Message":"too many"}`, false, sluice.ConnectionLimitExceeded, "too many"},
	} {
		res, body, err := call(tc.path)
		if res.StatusCode != tc.status || body != tc.body || (err != nil) != tc.broken {
			t.Errorf("%s: %d %q %v", tc.path, res.StatusCode, body, err)
		}
		if r := <-records; r.Exception != tc.exception || r.Broken != tc.broken || r.Status != tc.status {
			t.Errorf("%s: record %+v", tc.path, r)
		}
		id := res.Header.Get("x-amzn-RequestId")
		if !strings.Contains(log.String(), tc.inLog) || !strings.Contains(log.String(), id) {
			t.Errorf("%s: no %q or no %s in the log", tc.path, tc.inLog, id)
		}
	}
}

// TestFullDuplex is PutMedia's shape: the answer begins before the body comes,
// and each line is its own chunk.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	s, records := withRows(t, io.Discard, raw("echo", func(w http.ResponseWriter, r *http.Request, _ *Call) error {
		conn := http.NewResponseController(w)
		if err := conn.EnableFullDuplex(); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		if err := conn.Flush(); err != nil {
			return err
		}
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			io.WriteString(w, "ack "+line)
			if err := conn.Flush(); err != nil {
				return err
			}
		}
	}))
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute)) // only to notice that it is stuck
	fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil) // before a byte of the body was sent
	if err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(res.Body)
	for i := range 3 {
		line := fmt.Sprintf("fragment %d\n", i)
		fmt.Fprintf(conn, "%x\r\n%s\r\n", len(line), line)
		got, err := answer.ReadString('\n')
		if err != nil || got != "ack "+line {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	fmt.Fprint(conn, "0\r\n\r\n")
	if rest, err := io.ReadAll(answer); err != nil || len(rest) != 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	if r := <-records; r.Status != 200 || r.Broken || r.Sent != 45 {
		t.Errorf("record %+v", r)
	}
}

// TestRefusalOfALiveBody: the exception comes although the body never ends, and
// the connection is not used again.
func TestRefusalOfALiveBody(t *testing.T) {
	t.Parallel()
	s, _ := withRows(t, io.Discard, raw("put", func(http.ResponseWriter, *http.Request, *Call) error {
		return &sluice.Error{Code: sluice.ResourceNotFound, Msg: "no"}
	}))
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute)) // only to notice that it is stuck
	fmt.Fprintf(conn, "POST /put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 404 || !res.Close || string(body) != `{"Message":"no"}` {
		t.Errorf("%d close=%v %q %v", res.StatusCode, res.Close, body, err)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection goes on: %v", err)
	}
}

// TestClientGone: who leaves before the answer is recorded as 499.
func TestClientGone(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	s, records := withRows(t, io.Discard, Operation{Name: "slow", Path: "/slow", Service: "kinesisvideo", JSON: func(ctx context.Context, _ *Call) (any, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/slow", strings.NewReader("{}"))
	if res, err := s.Client().Do(req); err == nil {
		res.Body.Close()
		t.Errorf("got %d", res.StatusCode)
	}
	if r := <-records; r.Status != statusClientGone || r.Exception != "" {
		t.Errorf("record %+v", r)
	}
}

// TestOtherProtocols: the Query and JSON 1.1 rows share the chain and have
// errors of their own form.
func TestOtherProtocols(t *testing.T) {
	t.Parallel()
	fail := func(code sluice.Code) func(http.ResponseWriter, *http.Request, *Call) error {
		return func(_ http.ResponseWriter, _ *http.Request, c *Call) error {
			return &sluice.Error{Code: code, Msg: "user <" + c.Form.Get("UserName") + ">"}
		}
	}
	s, _ := withRows(t, io.Discard,
		Operation{Name: "GetUser", Path: "/", Service: "iam", Protocol: Query, Raw: fail("NoSuchEntity")},
		Operation{Name: "GetCallerIdentity", Path: "/", Service: "sts", Protocol: Query, Raw: fail(sluice.AccessDenied)},
		Operation{Name: "Decrypt", Path: "/", Service: "kms", Protocol: JSON11, Target: "TrentService.Decrypt", Raw: fail("NotFoundException")},
		Operation{Name: "GetImage", Method: http.MethodGet, Path: "/image", Service: "kinesisvideo", Protocol: Plain, Auth: Token,
			Raw: func(w http.ResponseWriter, _ *http.Request, _ *Call) error {
				_, err := w.Write([]byte("png"))
				return err
			}},
	)
	for _, tc := range []struct {
		method, url, contentType, target, body string
		status                                 int
		want                                   string
	}{
		{"POST", "/", "application/x-www-form-urlencoded; charset=utf-8", "", "Action=GetUser&UserName=a%26b", 404,
			`<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>user &lt;a&amp;b&gt;</Message></Error><RequestId>`},
		{"GET", "/?Action=GetUser&UserName=x", "", "", "", 404, `<ErrorResponse xmlns="https://iam`},
		{"POST", "/", "application/x-www-form-urlencoded", "", "Action=GetCallerIdentity", 403, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>`},
		{"POST", "/", "application/x-amz-json-1.1", "TrentService.Decrypt", "{}", 400, `{"__type":"NotFoundException","message":"user \u003c\u003e"}`},
		{"POST", "/", "application/x-amz-json-1.1", "TrentService.Nothing", "{}", 404, `{"__type":"UnknownOperationException","message":"Unknown operation: POST / TrentService.Nothing"}`},
		{"GET", "/image", "", "", "", 200, "png"},
		{"POST", "/image", "", "", "", 404, `{"message":"Unknown operation: POST /image"}`},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), tc.method, s.URL+tc.url, strings.NewReader(tc.body))
		req.Header.Set("Content-Type", tc.contentType)
		if tc.target != "" {
			req.Header.Set("X-Amz-Target", tc.target)
		}
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != tc.status || !strings.HasPrefix(string(body), tc.want) {
			t.Errorf("%s %s %s: %d %s", tc.method, tc.url, tc.body, res.StatusCode, body)
		}
	}
}
