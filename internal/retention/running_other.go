//go:build !linux

package retention

import "time"

func running() time.Duration { return time.Since(start) }
