//go:build !linux

package bench

import "net"

func unpaced(*net.TCPConn) {}
