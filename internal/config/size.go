package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, written as 268435456, 256MiB, 1.5GB or 2G (a
// bare letter is the binary unit).
type ByteSize int64

var units = []struct {
	name string
	n    float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"P", 1 << 50}, {"B", 1},
}

// UnmarshalText reads a size.
func (b *ByteSize) UnmarshalText(t []byte) error {
	s := strings.TrimSpace(string(t))
	number, factor := s, 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.n
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f*factor > 1<<62 {
		return fmt.Errorf("%q: want a size such as 512MiB or 2TB", s)
	}
	*b = ByteSize(f * factor)
	return nil
}

// String is the shortest exact form in binary units.
func (b ByteSize) String() string {
	n, i := int64(b), -1
	for n != 0 && n%1024 == 0 && i < 4 {
		n, i = n/1024, i+1
	}
	if i < 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + units[i].name
}
