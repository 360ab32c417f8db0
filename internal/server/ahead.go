package server

import (
	"net"
	"sync/atomic"
)

// aheadSize is how much a PutMedia connection reads from the kernel at once: a
// frame of a usual camera and the next chunk's head. net/http reads 4 KiB at a
// time, then to the chunk's end, then two bytes for its line end.
const aheadSize = 16 << 10

// aheadListener accepts connections that can read ahead.
type aheadListener struct{ net.Listener }

func (l aheadListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok {
		return &aheadConn{TCPConn: t}, err
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
}

// readAhead is for connections that carry media to us.
func (c *aheadConn) readAhead() { c.on.Store(true) }

func (c *aheadConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if len(p) >= aheadSize || !c.on.Load() {
			return c.TCPConn.Read(p)
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
