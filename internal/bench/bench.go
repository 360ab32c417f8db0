// Package bench loads a running server the way many cameras and readers do, and
// measures what they see: acknowledgement latency, frame latency, throughput. It
// is a client and nothing else: it speaks the public protocol, on connections of
// its own that cost little, because it shares the machine with what it measures.
package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice/kvsapi"
)

// Target is the server under load.
type Target struct {
	Config   aws.Config
	Endpoint string // http or https
	PID      int    // of the server, when it runs on this machine; 0: CPU and memory are not measured
}

// Client is the ordinary client of the target.
func (t *Target) Client() *kvsapi.Client { return kvsapi.NewFromConfig(t.Config, t.Endpoint) }

// Streams makes the streams prefix-0 to prefix-(n-1) where they are not there.
func (t *Target) Streams(ctx context.Context, prefix string, n int, retentionHours int32) ([]string, error) {
	control := t.Client().Control()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
		_, err := control.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &names[i], DataRetentionInHours: &retentionHours})
		var there *types.ResourceInUseException
		if err != nil && !errors.As(err, &there) {
			return nil, err
		}
	}
	return names, nil
}

// Remove deletes the streams.
func (t *Target) Remove(ctx context.Context, names []string) error {
	control := t.Client().Control()
	for _, name := range names {
		d, err := control.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &name})
		if err != nil {
			return err
		}
		if _, err := control.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: d.StreamInfo.StreamARN}); err != nil {
			return err
		}
	}
	return nil
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// call opens a connection and sends a signed request head, with body when it is
// not nil, else announcing chunks. It reads the head of the answer.
func (t *Target) call(ctx context.Context, path string, headers map[string]string, body []byte, buffer int) (net.Conn, *bufio.Reader, *http.Response, error) {
	u, err := url.Parse(t.Endpoint)
	if err != nil {
		return nil, nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.Endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, nil, err
	}
	hash := emptyHash
	if body == nil {
		req.ContentLength = 0
	} else {
		hash = sha256Hex(body)
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	creds, err := t.Config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hash, "kinesisvideo", t.Config.Region, time.Now()); err != nil {
		return nil, nil, nil, err
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\n", path, u.Host)
	if body == nil {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	} else {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(body))
	}
	req.Header.Del("Content-Length")
	req.Header.Write(&head)
	head.WriteString("\r\n")
	head.Write(body)

	var conn net.Conn
	d := net.Dialer{Timeout: 10 * time.Second}
	if u.Scheme == "https" {
		conf := &tls.Config{NextProtos: []string{"http/1.1"}}
		if h, ok := t.Config.HTTPClient.(*http.Client); ok {
			if tr, ok := h.Transport.(*http.Transport); ok && tr.TLSClientConfig != nil {
				conf = tr.TLSClientConfig.Clone()
			}
		}
		conn, err = (&tls.Dialer{NetDialer: &d, Config: conf}).DialContext(ctx, "tcp", u.Host)
	} else {
		conn, err = d.DialContext(ctx, "tcp", u.Host)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(head.Bytes()); err != nil {
		conn.Close()
		return nil, nil, nil, err
	}
	r := bufio.NewReaderSize(conn, buffer)
	resp, err := http.ReadResponse(r, req)
	if err == nil && resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		err = fmt.Errorf("%s: %s %s", path, resp.Status, b)
	}
	if err != nil {
		conn.Close()
		return nil, nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	return conn, r, resp, nil
}

// Latencies are times measured, in any order.
type Latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *Latencies) add(d time.Duration) {
	l.mu.Lock()
	l.all = append(l.all, d)
	l.mu.Unlock()
}

// Summary is a distribution of times.
type Summary struct {
	Count              int
	P50, P90, P99, Max time.Duration
}

// Summary is what was measured.
func (l *Latencies) Summary() Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return Summary{}
	}
	slices.Sort(l.all)
	at := func(q float64) time.Duration { return l.all[min(len(l.all)-1, int(q*float64(len(l.all))))] }
	return Summary{Count: len(l.all), P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: l.all[len(l.all)-1]}
}

func (s Summary) String() string {
	ms := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds()*1000, 'f', 2, 64) + " ms" }
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, max %s of %d", ms(s.P50), ms(s.P90), ms(s.P99), ms(s.Max), s.Count)
}

// noise is payload that does not compress; all frames share it.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, 1<<20)
	rand.Read(b)
	return b
})

// failure collects the first errors of many goroutines.
type failure struct {
	mu    sync.Mutex
	count int
	first []string
}

func (f *failure) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if len(f.first) < 5 {
		f.first = append(f.first, err.Error())
	}
}

func (f *failure) number() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

func (f *failure) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == 0 {
		return nil
	}
	return fmt.Errorf("%d errors, the first: %s", f.count, strings.Join(f.first, "; "))
}
