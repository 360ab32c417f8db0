package server

import (
	"net"
	"sync/atomic"
	"time"
)

// aheadSize is how much a PutMedia connection reads from the kernel at once: a
// frame of a usual camera and the next chunk's head. net/http reads 4 KiB at a
// time, then to the chunk's end, then two bytes for its line end.
const aheadSize = 16 << 10

// A connection that brings fastBytes within fastTime is no camera that sends as
// it films, but one that catches up, or a recording: it gets a kernel buffer of
// fastBuffer, as far as the system's limit (net.core.rmem_max) goes. In the usual
// one its sender would wait for us, and we for it, several thousand times a second.
const (
	fastBytes  = 16 << 20
	fastTime   = 250 * time.Millisecond
	fastBuffer = 4 << 20
	fastConns  = 16 // at most, so that little hides from the memory budget
)

// aheadListener accepts connections that can read ahead.
type aheadListener struct {
	net.Listener
	large atomic.Int32 // connections with a large buffer
}

func (l *aheadListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok {
		return &aheadConn{TCPConn: t, large: &l.large}, err
	}
	return c, err
}

// aheadConn is a connection that, once told to, asks the kernel for more than
// its reader wants and keeps the rest for the next read. All else is the
// connection's own.
type aheadConn struct {
	*net.TCPConn
	on   atomic.Bool
	buf  []byte // of the one goroutine that reads at a time
	rest []byte // of buf: read and not handed out

	state atomic.Int32
	large *atomic.Int32 // the listener's
	bytes int           // read since then:
	since time.Time     // of large reads
}

// The states of a connection.
const (
	connUsual = iota
	connFast
	connClosed
)

// readAhead is for connections that carry media to us.
func (c *aheadConn) readAhead() { c.on.Store(true) }

func (c *aheadConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if len(p) >= aheadSize || !c.on.Load() {
			n, err := c.TCPConn.Read(p)
			if c.on.Load() && c.state.Load() == connUsual {
				c.measure(n)
			}
			return n, err
		}
		if c.buf == nil {
			c.buf = make([]byte, aheadSize)
		}
		n, err := c.TCPConn.Read(c.buf)
		c.rest = c.buf[:n]
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// measure counts what a large read brought, and makes room for more once the
// connection turns out to be a fast one.
func (c *aheadConn) measure(n int) {
	if c.bytes == 0 {
		c.since = time.Now()
	}
	if c.bytes += n; c.bytes < fastBytes {
		return
	}
	if time.Since(c.since) <= fastTime {
		c.enlarge()
	}
	c.bytes = 0
}

func (c *aheadConn) enlarge() {
	if c.large.Add(1) > fastConns || !c.state.CompareAndSwap(connUsual, connFast) {
		c.large.Add(-1)
		return
	}
	_ = c.SetReadBuffer(fastBuffer) // the one it has works too
}

// Close also gives the large buffer's place to another.
func (c *aheadConn) Close() error {
	if c.state.Swap(connClosed) == connFast {
		c.large.Add(-1)
	}
	return c.TCPConn.Close()
}
