package producer_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between a producer and the service and spoils the connection.
type proxy struct {
	l  net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	target  string
	conns   map[net.Conn]struct{}
	closed  bool
	refuse  bool          // new connections are reset
	stalled bool          // nothing moves, nobody is told: a half-open connection
	moved   chan struct{} // closed when stalled ends
	delay   time.Duration // of each piece
	rate    int           // bytes a second, upwards; 0: not bounded
	loss    float64       // share of the pieces that are sent again, and so come late
}

// retransmit is how long TCP takes to send a lost segment again.
const retransmit = 200 * time.Millisecond

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, target: target, conns: map[net.Conn]struct{}{}, moved: make(chan struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) url() string { return "http://" + p.l.Addr().String() }

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.l.Close()
	p.heal()
	p.reset()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target, refuse := p.target, p.refuse || p.closed
		p.mu.Unlock()
		if refuse {
			abort(c)
			continue
		}
		p.wg.Go(func() { p.serve(c, target) })
	}
}

// abort closes with a reset.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

func (p *proxy) serve(c net.Conn, target string) {
	up, err := net.Dial("tcp", target)
	if err != nil {
		abort(c)
		return
	}
	p.mu.Lock()
	p.conns[c], p.conns[up] = struct{}{}, struct{}{}
	closed := p.closed
	p.mu.Unlock()
	if closed {
		abort(c)
		abort(up)
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(up, c, true) })
	wg.Go(func() { p.copy(c, up, false) })
	wg.Wait()
	c.Close()
	up.Close()
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, up)
	p.mu.Unlock()
}

func (p *proxy) copy(to, from net.Conn, up bool) {
	b := make([]byte, 4<<10)
	for {
		n, err := from.Read(b)
		for {
			p.mu.Lock()
			stalled, moved := p.stalled, p.moved
			delay, rate, loss := p.delay, p.rate, p.loss
			p.mu.Unlock()
			if !stalled {
				if up && rate > 0 {
					delay += time.Duration(n) * time.Second / time.Duration(rate)
				}
				if loss > 0 && rand.Float64() < loss {
					delay += retransmit
				}
				if delay > 0 {
					time.Sleep(delay) // this is the fault
				}
				break
			}
			<-moved
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				abort(from)
				return
			}
		}
		if err != nil {
			if t, ok := to.(*net.TCPConn); ok && err == io.EOF {
				_ = t.CloseWrite()
			} else {
				abort(to)
			}
			return
		}
	}
}

func (p *proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// reset breaks all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		abort(c)
	}
}

func (p *proxy) stall() { p.set(func() { p.stalled = true }) }

// heal ends every lasting fault.
func (p *proxy) heal() {
	p.set(func() {
		p.stalled, p.refuse, p.delay, p.rate, p.loss = false, false, 0, 0, 0
		close(p.moved)
		p.moved = make(chan struct{})
	})
}
