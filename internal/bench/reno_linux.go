package bench

import (
	"net"

	"golang.org/x/sys/unix"
)

// unpaced takes a congestion control that sets no timers. Where the system's is
// BBR, it would time each segment on a wire that is none, on the processors that
// the server is to be measured with.
func unpaced(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") // the system's works too
	})
}
