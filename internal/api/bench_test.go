package api_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/catalog"
)

// wireForm is a signed request as bytes, ready to be written again and again.
func wireForm(t testing.TB, key auth.Credentials, path, body string) []byte {
	r := httptest.NewRequest(http.MethodPost, "http://kvs.local"+path, strings.NewReader(body))
	r.RequestURI = ""
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "bench")
	signing{key: key, region: region, service: "kinesisvideo", at: time.Now()}.sign(t, r, body)
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// load drives a server over connections that it keeps: the load generator
// shares the machine, so it does as little as it can.
func load(b *testing.B, addr string, connections int, request []byte) {
	left := atomic.Int64{}
	left.Store(int64(b.N))
	times := make([][]time.Duration, connections)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	var ready sync.WaitGroup
	for i := range connections {
		ready.Add(1)
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			ready.Done()
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			<-begin
			in := bufio.NewReaderSize(conn, 4096)
			for left.Add(-1) >= 0 {
				at := time.Now()
				if _, err := conn.Write(request); err != nil {
					b.Error(err)
					return
				}
				if err := answer(in); err != nil {
					b.Error(err)
					return
				}
				times[i] = append(times[i], time.Since(at))
			}
		})
	}
	ready.Wait()
	b.ResetTimer()
	close(begin)
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(times...)
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "req/s")
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	}
}

// answer reads one answer of status 200 with a Content-Length.
func answer(in *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answer %q", line)
		}
		if len(line) == 2 {
			break
		}
		if rest, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			fmt.Sscan(string(rest), &length)
		}
	}
	_, err := in.Discard(length)
	return err
}

// benchServer has the real door, and a user with a policy of ten statements of
// which the last decides.
func benchServer(b *testing.B) (*server, auth.Credentials) {
	users := realDoor(b, nil)
	s := start(b, func(o *api.Options) { o.Auth = users })
	ctx := context.Background()
	if _, err := users.CreateUser(ctx, "joe", ""); err != nil {
		b.Fatal(err)
	}
	_, joe, err := users.CreateAccessKey(ctx, "joe")
	if err != nil {
		b.Fatal(err)
	}
	var doc strings.Builder
	doc.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for i := range 9 {
		fmt.Fprintf(&doc, `{"Effect":"Allow","Action":"kinesisvideo:PutMedia","Resource":"arn:aws:kinesisvideo:*:*:stream/cam-%d/*"},`, i)
	}
	doc.WriteString(`{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*"}]}`)
	if err := users.PutPolicy(ctx, auth.OfUser("joe"), "p", doc.String()); err != nil {
		b.Fatal(err)
	}
	return s, joe
}

// BenchmarkDescribeStream is the whole chain over HTTP: signature, policy,
// SQLite, JSON.
func BenchmarkDescribeStream(b *testing.B) {
	s, joe := benchServer(b)
	s.create(b, "cam", map[string]string{"site": "lab"})
	for _, connections := range []int{1, 64} {
		for _, who := range []struct {
			name string
			key  auth.Credentials
		}{{"root", root}, {"user", joe}} {
			b.Run(fmt.Sprintf("%s/connections=%d", who.name, connections), func(b *testing.B) {
				b.ReportAllocs()
				load(b, s.Listener.Addr().String(), connections, wireForm(b, who.key, "/describeStream", `{"StreamName":"cam"}`))
			})
		}
	}
}

// BenchmarkListStreams is a page of 100 out of 100,000 streams.
func BenchmarkListStreams(b *testing.B) {
	s, _ := benchServer(b)
	fill(b, s, 100_000)
	for name, body := range map[string]string{
		"first":  `{"MaxResults":100}`,
		"prefix": `{"MaxResults":100,"StreamNameCondition":{"ComparisonOperator":"BEGINS_WITH","ComparisonValue":"cam-0777"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			load(b, s.Listener.Addr().String(), 1, wireForm(b, root, "/listStreams", body))
		})
	}
	b.Run("all pages", func(b *testing.B) {
		// The slowest page is the one that counts.
		var slowest time.Duration
		for b.Loop() {
			for after := ""; ; {
				at := time.Now()
				page, err := s.Catalog.List(b.Context(), "cam-", after, 100)
				if err != nil {
					b.Fatal(err)
				}
				slowest = max(slowest, time.Since(at))
				if len(page) < 100 {
					break
				}
				after = page[99].Name
			}
		}
		b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
	})
}

// fill makes n streams, without waiting for the disk at each.
func fill(b *testing.B, s *server, n int) {
	if _, err := s.db.Writer().Exec("PRAGMA synchronous = off"); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if _, err := s.Catalog.Create(b.Context(), catalog.New{Name: fmt.Sprintf("cam-%06d", i)}); err != nil {
			b.Fatal(err)
		}
	}
}
