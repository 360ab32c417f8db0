package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is what a process has used.
type Usage struct {
	CPU  time.Duration // user and system
	RSS  int64         // bytes
	Most int64         // the highest RSS so far
}

// ticks a second in /proc: the kernel's USER_HZ, 100 everywhere.
const userHz = 100

// usage reads a process of this machine; zero without one, or without /proc.
func usage(pid int) Usage {
	if pid == 0 {
		return Usage{}
	}
	var u Usage
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		// The name, in parentheses, may hold anything.
		if i := bytes.LastIndexByte(b, ')'); i >= 0 {
			if f := bytes.Fields(b[i+1:]); len(f) > 12 {
				user, _ := strconv.ParseInt(string(f[11]), 10, 64)
				system, _ := strconv.ParseInt(string(f[12]), 10, 64)
				u.CPU = time.Duration(user+system) * time.Second / userHz
			}
		}
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
		if f := bytes.Fields(b); len(f) > 1 {
			pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
			u.RSS = pages * int64(os.Getpagesize())
		}
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		if _, after, ok := bytes.Cut(b, []byte("VmHWM:")); ok {
			if f := bytes.Fields(after); len(f) > 0 {
				kb, _ := strconv.ParseInt(string(f[0]), 10, 64)
				u.Most = kb << 10
			}
		}
	}
	return u
}

func sha256Hex(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
