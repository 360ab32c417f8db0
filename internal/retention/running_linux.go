package retention

import (
	"hash/fnv"
	"os"
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

// boot is the kernel's name for this start of the machine.
func boot() int64 {
	var t unix.Timespec
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) == 0 || unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	h := fnv.New64a()
	h.Write(id)
	return int64(h.Sum64())
}
