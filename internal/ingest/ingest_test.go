package ingest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/egress"
	"github.com/sluicevideo/sluice/internal/ingest"
	"github.com/sluicevideo/sluice/internal/leaktest"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// anyone lets everybody in: who may call is tested elsewhere.
type anyone struct{}

func (anyone) Authenticate(*http.Request, []byte, bool, string) (api.Identity, error) {
	return api.Identity{Root: true, ARN: "arn:aws:iam::000000000000:root"}, nil
}

func (anyone) Authorize(context.Context, api.Identity, api.Access) (api.Decision, error) {
	return api.Decision{Allowed: true}, nil
}

// server is the doors over open parts.
type server struct {
	*streamtest.Parts
	url     string
	client  *http.Client
	dial    func() (net.Conn, error)
	patient bool // reads wait without a limit: the bubble sees what is stuck
}

type settings struct {
	limits *limits.Limits
	ingest ingest.Options
	parts  []func(*streamtest.Settings)
	pipe   bool // connections in memory, for tests with a clock of their own
}

func start(t *testing.T, change ...func(*settings)) *server {
	t.Helper()
	rules, err := limits.RulesOf("current")
	if err != nil {
		t.Fatal(err)
	}
	o := settings{limits: limits.New(rules, limits.Rates{})}
	for _, c := range change {
		c(&o)
	}
	p := streamtest.Start(t, o.parts...)
	o.ingest.Streams, o.ingest.Limits = p.Streams, o.limits
	h := api.New(api.Options{
		Region: "us-west-2", Account: "000000000000", Catalog: p.Catalog, Auth: anyone{}, Keys: p.Keyring, Keyring: p.Keyring, Limits: o.limits,
		Ingest: ingest.New(o.ingest), Egress: egress.New(egress.Options{Streams: p.Streams, Limits: o.limits}),
	})
	s := &server{Parts: p, patient: o.pipe}
	var l net.Listener
	if o.pipe {
		pl := newPipeListener()
		l, s.dial, s.url = pl, pl.dial, "http://pipe"
	} else {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		s.dial = func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
		s.url = "http://" + l.Addr().String()
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return s.dial() }}
	s.client = &http.Client{Transport: transport}
	web := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		web.Serve(l)
	}()
	t.Cleanup(func() {
		// Sessions and readers first, as the server does it.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := p.Streams.Close(ctx); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		if err := web.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-served
	})
	return s
}

// pipeListener listens in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// client is a PutMedia call on a raw connection.
type client struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	patient bool
}

var plainHead = headOf("cam")

// headOf is the head of a call without its end.
func headOf(stream string) string {
	return "POST /putMedia HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nx-amzn-stream-name: " + stream + "\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n"
}

// put begins a call with a request head and reads the head of the answer.
func (s *server) put(head string) *client {
	s.T.Helper()
	conn, err := s.dial()
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { conn.Close() })
	c := &client{t: s.T, conn: conn, r: bufio.NewReader(conn), patient: s.patient}
	c.raw(head)
	return c
}

func (c *client) raw(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// send sends media as one HTTP chunk.
func (c *client) send(b []byte) {
	c.t.Helper()
	c.raw(strconv.FormatInt(int64(len(b)), 16) + "\r\n" + string(b) + "\r\n")
}

// finish sends the terminating chunk.
func (c *client) finish() { c.raw("0\r\n\r\n") }

func (c *client) line() string {
	c.t.Helper()
	if !c.patient {
		c.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	}
	text, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("answer: %q, %v", text, err)
	}
	return strings.TrimSuffix(text, "\r\n")
}

// head reads a status line and headers.
func (c *client) head() (status string, headers map[string]string) {
	c.t.Helper()
	status, headers = c.line(), map[string]string{}
	for {
		line := c.line()
		if line == "" {
			return status, headers
		}
		k, v, _ := strings.Cut(line, ": ")
		headers[k] = v
	}
}

// accepted reads the heads of a session that is accepted.
func (c *client) accepted() *client {
	c.t.Helper()
	if status, h := c.head(); status != "HTTP/1.1 200 OK" || h["Transfer-Encoding"] != "chunked" || h["Connection"] != "close" || h["Content-Type"] != "application/json" {
		c.t.Fatalf("answer: %s %v", status, h)
	}
	return c
}

// ack reads one HTTP chunk, which must be one acknowledgement; "" is the end.
func (c *client) ack() string {
	c.t.Helper()
	size, err := strconv.ParseInt(c.line(), 16, 32)
	if err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	if size == 0 {
		// What we could still send is waited for, for a second.
		if tcp, ok := c.conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
		if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
			c.t.Fatalf("after the terminating chunk: %v, want the end of the connection", err)
		}
		return ""
	}
	text := string(b[:size])
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		c.t.Fatalf("chunk %q is not one acknowledgement and its newline", text)
	}
	return text[:size-1]
}

// acks reads up to the end of the answer.
func (c *client) acks() (out []string) {
	c.t.Helper()
	for {
		a := c.ack()
		if a == "" {
			return out
		}
		out = append(out, a)
	}
}

// plain takes the numbers out of acknowledgements.
func plain(acks []string) (out []string) {
	for _, a := range acks {
		before, rest, ok := strings.Cut(a, `,"FragmentNumber":"`)
		if ok {
			_, after, _ := strings.Cut(rest, `"`)
			a = before + ",#" + after
		}
		out = append(out, a)
	}
	return out
}

// get reads GetMedia from the beginning until n bytes have come or the answer
// ends.
func (s *server) get(ctx context.Context, body string) io.ReadCloser {
	s.T.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/getMedia", strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "video/webm" {
		b, _ := io.ReadAll(resp.Body)
		s.T.Fatalf("GetMedia: %s %s", resp.Status, b)
	}
	return resp.Body
}
