package server

import "golang.org/x/sys/unix"

// clockSynchronised asks the kernel, which a time service keeps informed.
func clockSynchronised() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, false
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, true
}

// openFileLimit is what the process may raise its limit to; the Go runtime does.
func openFileLimit() (n uint64, known bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	return l.Max, true
}
