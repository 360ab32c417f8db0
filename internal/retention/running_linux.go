package retention

import (
	"time"

	"golang.org/x/sys/unix"
)

// running counts time asleep too, unlike the monotonic clock inside time.Time:
// a laptop that wakes up has not had its clock set.
func running() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return time.Since(start)
	}
	return time.Duration(t.Nano())
}
