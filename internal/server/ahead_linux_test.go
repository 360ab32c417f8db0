package server

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connection that brings media faster than any camera gets a larger kernel
// buffer; all others keep theirs, so that little hides from the memory budget.
func TestBufferOfAFastConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	l := &aheadListener{Listener: listener}
	accept := func() *aheadConn {
		t.Helper()
		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { peer.Close() })
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.(*aheadConn).SetReadBuffer(ingestBuffer); err != nil {
			t.Fatal(err)
		}
		return conn.(*aheadConn)
	}
	buffer := func(c *aheadConn) (size int) {
		t.Helper()
		raw, err := c.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { size, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	c := accept()
	small := buffer(c)

	c.bytes, c.since = fastBytes-1, time.Now().Add(-time.Second)
	c.measure(1)
	if c.state.Load() != connUsual || buffer(c) != small {
		t.Errorf("a connection of %d bytes a second has a buffer of %d", fastBytes, buffer(c))
	}
	c.measure(1)
	if c.bytes != 1 {
		t.Errorf("the measurement did not begin again: %d bytes", c.bytes)
	}
	c.measure(fastBytes)
	if c.state.Load() != connFast || buffer(c) <= small {
		t.Errorf("a fast connection's buffer is %d, a usual one's %d", buffer(c), small)
	}

	// So many, until one of them closes.
	for range fastConns - 1 {
		accept().measure(fastBytes)
	}
	late := accept()
	late.measure(fastBytes)
	if late.state.Load() != connUsual || buffer(late) != small {
		t.Errorf("connection %d has a large buffer too", fastConns+1)
	}
	c.Close()
	c.Close()
	late.measure(fastBytes)
	if late.state.Load() != connFast || l.large.Load() != fastConns {
		t.Errorf("after one closed, another got no large buffer: %d have", l.large.Load())
	}
	c.measure(fastBytes)
	if l.large.Load() != fastConns {
		t.Errorf("a closed connection takes a place: %d", l.large.Load())
	}
}
