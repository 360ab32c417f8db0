package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/server"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// fault is what a connection through a badNetwork suffers.
type fault int

const (
	delay   fault = iota // everything comes late
	dribble              // a few bytes at a time
	stall                // after some bytes nothing passes any more, both ends stay open
	cut                  // after some bytes the client's end is gone, the server is not told
	reset                // after some bytes both ends are reset
	clean                // nothing
	faults
)

// badNetwork is a proxy in front of a server.
type badNetwork struct {
	l      net.Listener
	to     string
	pick   func() fault
	wg     sync.WaitGroup
	closed chan struct{}

	mu     sync.Mutex
	conns  map[net.Conn]bool
	seen   [faults]int
	freeze []chan struct{} // of the connections that are open
}

func newBadNetwork(t *testing.T, to string, pick func() fault) *badNetwork {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &badNetwork{l: l, to: to, pick: pick, closed: make(chan struct{}), conns: map[net.Conn]bool{}}
	n.wg.Go(n.accept)
	t.Cleanup(n.close)
	return n
}

func (n *badNetwork) url() string { return "http://" + n.l.Addr().String() }

// close ends everything; what the server was not told it learns now.
func (n *badNetwork) close() {
	n.mu.Lock()
	select {
	case <-n.closed:
	default:
		close(n.closed)
	}
	for c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	n.l.Close()
	n.wg.Wait()
}

func (n *badNetwork) keep(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.closed:
		c.Close()
	default:
		n.conns[c] = true
	}
}

func (n *badNetwork) drop(c net.Conn) {
	c.Close()
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
}

// cutAll makes a cut of every connection that is open now.
func (n *badNetwork) cutAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.freeze {
		close(f)
	}
	n.freeze = nil
}

func (n *badNetwork) accept() {
	for {
		client, err := n.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", n.to)
		if err != nil {
			client.Close()
			continue
		}
		n.keep(client)
		n.keep(server)
		f, frozen := n.pick(), make(chan struct{})
		n.mu.Lock()
		n.seen[f]++
		n.freeze = append(n.freeze, frozen)
		n.mu.Unlock()
		n.wg.Go(func() { n.carry(client, server, f, frozen) })
	}
}

var errNetwork = errors.New("the network failed")

// carry is one connection.
func (n *badNetwork) carry(client, server net.Conn, f fault, frozen chan struct{}) {
	after := 1000 + rand.IntN(60000) // bytes, both directions together
	var mu sync.Mutex
	pump := func(to, from net.Conn) error {
		buf := make([]byte, 8<<10)
		for {
			b := buf
			if f == dribble {
				b = buf[:1+rand.IntN(40)]
			}
			k, err := from.Read(b)
			if err != nil {
				return err
			}
			mu.Lock()
			after -= k
			over := after < 0
			mu.Unlock()
			wait := time.Duration(0) // the network's, no synchronisation
			switch {
			case f == delay:
				wait = 30 * time.Millisecond
			case f == dribble:
				wait = time.Millisecond
			case over && (f == stall || f == cut || f == reset):
				return errNetwork
			}
			select {
			case <-n.closed:
				return io.EOF
			case <-frozen:
				return errNetwork
			case <-time.After(wait):
			}
			if _, err := to.Write(b[:k]); err != nil {
				return err
			}
		}
	}
	ends := make(chan error, 2)
	n.wg.Go(func() { ends <- pump(server, client) })
	n.wg.Go(func() { ends <- pump(client, server) })
	select {
	case err := <-ends:
		if err == errNetwork {
			switch f {
			case reset:
				client.(*net.TCPConn).SetLinger(0)
				server.(*net.TCPConn).SetLinger(0)
			case stall: // the client finds out by itself, the server does not
				<-n.closed
				return
			default:
				n.drop(client)
				<-n.closed
				return
			}
		}
	case <-frozen:
		n.drop(client)
		<-n.closed
		return
	}
	n.drop(client)
	n.drop(server)
}

// through is a client of p by way of a network, without connections that idle.
func through(p *process, endpoint string, tr *http.Transport) *kvsapi.Client {
	p.t.Helper()
	env, err := p.env()
	if err != nil {
		p.t.Fatal(err)
	}
	tr.DisableKeepAlives = true
	return kvsapi.NewFromConfig(aws.Config{
		Region: env["AWS_REGION"], HTTPClient: &http.Client{Transport: tr}, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], ""),
	}, endpoint)
}

// held is what a process holds.
type held struct {
	goroutines, sockets, files int
	heap                       int64 // bytes in use after a collection
}

var (
	goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)
	heapAlloc      = regexp.MustCompile(`# HeapAlloc = (\d+)`)
)

func (p *process) debug(path string) string {
	p.t.Helper()
	state, err := server.ReadState(p.data)
	if err != nil {
		p.t.Fatal(err)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(state.Debug + path)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.log.tail())
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

func number(t *testing.T, re *regexp.Regexp, text string) int64 {
	t.Helper()
	m := re.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %v in the answer", re)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *process) holds() held {
	p.t.Helper()
	h := held{
		goroutines: int(number(p.t, goroutineTotal, p.debug("/debug/pprof/goroutine?debug=1"))),
		heap:       number(p.t, heapAlloc, p.debug("/debug/pprof/heap?gc=1&debug=1")),
	}
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		return h // not Linux
	}
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			h.sockets++
		} else {
			h.files++
		}
	}
	return h
}

// TestBadNetworks: producers and consumers whose connections are slow, dribble,
// stall, break and vanish come and go beside healthy cameras, which notice
// nothing; and when they are gone nothing of them is left.
func TestBadNetworks(t *testing.T) {
	if testing.Short() {
		t.Skip("go test -short")
	}
	clients, rounds := 60, 60
	if os.Getenv("SLUICE_LONG") != "" {
		clients, rounds = 500, 600
	}
	p := start(t, filepath.Join(t.TempDir(), "data"), "--log-level=info")
	state, err := server.ReadState(p.data)
	if err != nil {
		t.Fatal(err)
	}
	good := through(p, state.URL, &http.Transport{})
	network := newBadNetwork(t, strings.TrimPrefix(state.URL, "http://"), func() fault { return fault(rand.IntN(int(faults))) })
	bad := through(p, network.url(), &http.Transport{})

	cam := sluicetest.Camera{Frames: 5, Size: 500, Every: 20 * time.Millisecond}
	var writers []*writer
	for i := range clients / 2 {
		cam.Seed = uint64(i)
		w := newWriter(fmt.Sprintf("bad-%d", i), cam)
		w.faulty, w.pace = true, cam.Length()
		writers = append(writers, w)
		create(t, good, w.stream.Name)
	}
	var healthy []*writer
	for i := range 3 {
		cam.Seed = uint64(1000 + i)
		w := newWriter(fmt.Sprintf("healthy-%d", i), cam)
		w.pace, w.acked = cam.Length(), make(chan struct{}, rounds)
		healthy = append(healthy, w)
		create(t, good, w.stream.Name)
	}
	create(t, good, "deaf")
	// What is made once, at the first use, is made now.
	if acks, err := cam.Put(t.Context(), good, sluice.StreamRef{Name: "deaf"}, 3, time.Now()); err != nil {
		t.Fatal(acks, err)
	}
	readBack(t, good, "deaf", 3)
	before := p.holds()

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	chunks, sessions := 0, 0
	for _, w := range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				once, done := context.WithTimeout(ctx, time.Second+rand.N(3*time.Second)) // its patience
				w.write(t, once, bad)
				done()
				mu.Lock()
				sessions++
				mu.Unlock()
			}
		})
	}
	for range clients - len(writers) {
		wg.Go(func() {
			for ctx.Err() == nil {
				once, done := context.WithTimeout(ctx, time.Second+rand.N(3*time.Second))
				n := follow(t, once, bad, writers[rand.IntN(len(writers))])
				done()
				mu.Lock()
				chunks += n
				sessions++
				mu.Unlock()
			}
		})
	}
	for range 2 {
		wg.Go(func() { deaf(ctx, p, state.URL) })
	}
	for _, w := range healthy {
		wg.Go(func() { w.write(t, ctx, good) })
	}
	stuck := time.After(10 * time.Minute)
	for i, w := range healthy {
		for n := range rounds {
			select {
			case <-w.acked:
			case <-stuck:
				t.Fatalf("camera %d was acknowledged %d of %d fragments", i, n, rounds)
			}
		}
	}
	cancel()
	wg.Wait()

	// Consumers that stalled are let go here; for producers whose network was cut
	// the server's own patience of 30 s would do as well.
	network.close()
	left := func(what string, gone func(held) bool) held {
		t.Helper()
		for stuck := time.After(5 * time.Minute); ; {
			h := p.holds()
			if gone(h) {
				return h
			}
			select {
			case <-stuck:
				t.Fatalf("%s: held before %+v, after %+v\n%s", what, before, h, p.debug("/debug/pprof/goroutine?debug=1"))
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	left("connections", func(h held) bool { return h.goroutines <= before.goroutines && h.sockets <= before.sockets })
	acknowledged := 0
	for _, w := range append(writers, healthy...) {
		w.verify(t, good)
		acknowledged += len(w.persisted)
	}
	// The tails are cached as the memory budget allows, and a stream may keep a
	// file open: what is left without streams is what was leaked. The database
	// opens connections for readers as they come, of three files each at most.
	for _, w := range append(writers, healthy...) {
		remove(t, good, w.stream.Name)
	}
	remove(t, good, "deaf")
	after := left("files and memory", func(h held) bool {
		return h.goroutines <= before.goroutines && h.sockets <= before.sockets && h.files <= before.files+24 && h.heap <= before.heap+4<<20
	})
	t.Logf("%d clients, %d connections (%v by fault), %d sessions, %d fragments acknowledged, 0 lost, %d followed; before %+v, after %+v",
		clients, sum(network.seen[:]), network.seen, sessions, acknowledged, chunks, before, after)
	p.stop()
}

func sum(list []int) (n int) {
	for _, k := range list {
		n += k
	}
	return n
}

func create(t *testing.T, c *kvsapi.Client, name string) {
	t.Helper()
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: &name, DataRetentionInHours: aws.Int32(24)}); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, c *kvsapi.Client, name string) {
	t.Helper()
	out, err := c.Control().DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: &name})
	if err == nil {
		_, err = c.Control().DeleteStream(t.Context(), &kinesisvideo.DeleteStreamInput{StreamARN: out.StreamInfo.StreamARN})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// follow reads a stream until its network fails. What comes whole is what was
// sent, and in order.
func follow(t *testing.T, ctx context.Context, c *kvsapi.Client, w *writer) (n int) {
	from := sluice.StartSelector{Type: sluice.SelectEarliest}
	if rand.IntN(2) == 0 {
		from.Type = sluice.SelectNow
	}
	media, err := c.GetMedia(ctx, w.stream, from)
	if err != nil {
		return 0
	}
	defer media.Close()
	var last sluice.FragmentNumber
	for f, err := range parser.NewReader(media).Fragments(ctx) {
		if err != nil {
			return n
		}
		if !f.Complete {
			continue // given up by the server, or by the network
		}
		if f.Number.Compare(last) <= 0 {
			t.Errorf("%s: fragment %v after %v", w.stream, f.Number, last)
		}
		last = f.Number
		at := f.Producer.UnixMilli()
		if !strings.Contains(string(f.Bytes), string(w.cam.Fragment(int(at), at))) {
			t.Errorf("%s: fragment %v is not what was sent", w.stream, f.Number)
		}
		n++
	}
	return n
}

// deaf sends fragments and never reads what the server says of them.
func deaf(ctx context.Context, p *process, endpoint string) {
	c := through(p, endpoint, &http.Transport{ReadBufferSize: 512, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(4096)
		}
		return conn, err
	}})
	cam := sluicetest.Camera{Frames: 1, Size: 10, Every: time.Millisecond}
	body, media := io.Pipe()
	stop := context.AfterFunc(ctx, func() { body.CloseWithError(io.ErrClosedPipe) })
	defer stop()
	session, err := c.PutMedia(ctx, &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: "deaf"}, Body: body})
	if err != nil {
		return
	}
	defer session.Close()
	_, err = media.Write(cam.Header())
	for at := time.Now().UnixMilli(); err == nil; at++ {
		_, err = media.Write(cam.Fragment(int(at), at))
	}
	<-ctx.Done()
}

// TestCutNetwork: the network of a camera goes away without a word in the middle
// of a fragment, and the camera is back at once, before the server can know. Its
// first fragment is acknowledged, and none that was is lost.
func TestCutNetwork(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "data"))
	state, err := server.ReadState(p.data)
	if err != nil {
		t.Fatal(err)
	}
	network := newBadNetwork(t, strings.TrimPrefix(state.URL, "http://"), func() fault { return clean })
	c := through(p, network.url(), &http.Transport{})
	create(t, c, "cam")
	cam := sluicetest.Camera{}
	now := time.Now().UnixMilli()
	var acked []sluice.FragmentNumber
	const times = 3
	for i := range times {
		body, media := io.Pipe()
		session, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: "cam"}, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		began := time.Now()
		first, second := cam.Fragment(2*i, now+int64(2000*i)), cam.Fragment(2*i+1, now+int64(2000*i)+1000)
		go func() {
			media.Write(cam.Header())
			media.Write(first)
			media.Write(second[:len(second)/2])
		}()
		for {
			a, err := session.Next()
			if err != nil || a.Event == sluice.AckError {
				t.Fatalf("session %d: %v %v", i, a, err)
			}
			if a.Event == sluice.AckPersisted {
				acked = append(acked, a.Number)
				t.Logf("session %d: the first fragment was acknowledged after %v", i, time.Since(began).Round(time.Millisecond))
				break
			}
		}
		network.cutAll()
		media.CloseWithError(errNetwork)
	}
	list, _, err := through(p, state.URL, &http.Transport{}).ListFragments(t.Context(), &kvsapi.ListFragmentsInput{
		Stream: sluice.StreamRef{Name: "cam"}, From: time.Unix(1, 0), To: time.Now().Add(time.Hour), Max: 1000})
	if err != nil || len(list) != times || len(acked) != times {
		t.Errorf("acknowledged %v, listed %v, %v", acked, list, err)
	}
	network.close()
	p.stop()
}
