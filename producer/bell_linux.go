package producer

import (
	"encoding/binary"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is an event counter of the kernel, which the runtime watches as it does
// connections. Only its edges are used: nobody reads the count.
type poller struct {
	file  *os.File
	conn  syscall.RawConn
	count func(fd uintptr) // adds one
}

// newPoller is nil where the process may have no more files.
func newPoller() *poller {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "bell")
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil
	}
	one := new([8]byte)
	binary.NativeEndian.PutUint64(one[:], 1)
	return &poller{f, conn, func(fd uintptr) {
		// It never blocks, so the runtime need not be told of it.
		_, _, _ = unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(one)), uintptr(len(one)))
	}}
}

// signal makes wait ask again.
func (p *poller) signal() { _ = p.conn.Control(p.count) } // fails when closed

// wait returns once heard does so with true, which it is asked at first and after
// each signal, or fails, as when it is closed.
func (p *poller) wait(heard func(uintptr) bool) error { return p.conn.Read(heard) }

func (p *poller) close() { p.file.Close() }
