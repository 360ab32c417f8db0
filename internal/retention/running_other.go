//go:build !linux

package retention

import "time"

func running() time.Duration { return time.Since(start) }

// boot is not known: running counts from the start of the process.
func boot() int64 { return 0 }
