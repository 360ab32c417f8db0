package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// timeHelp is said wherever a TIME is taken.
const timeHelp = "TIME is RFC 3339 (2026-01-31T12:00:00Z), epoch seconds, now, or before now (-90s, -2h, -1d)"

// parseTime reads a TIME of the command line: RFC 3339, epoch seconds with or
// without a fraction, "now", or a negative duration before now.
func parseTime(s string, now time.Time) (time.Time, error) {
	switch {
	case s == "now":
		return now, nil
	case strings.HasPrefix(s, "-"):
		d, err := parseDuration(s[1:])
		if err != nil {
			return time.Time{}, fmt.Errorf("TIME %q: %w", s, err)
		}
		return now.Add(-d), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(f) {
		if f < 0 || f > 253402300799 { // the year 9999, RFC 3339's last
			return time.Time{}, fmt.Errorf("TIME %q: epoch time is counted in seconds, this is outside the years 1970 to 9999", s)
		}
		whole, fraction, _ := strings.Cut(s, ".")
		if sec, err := strconv.ParseInt(whole, 10, 64); err == nil && !strings.ContainsAny(fraction, "eE") { // exact where a float is not
			ns, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
			return time.Unix(sec, ns).UTC(), nil
		}
		return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("TIME %q: %s", s, strings.TrimPrefix(timeHelp, "TIME is "))
}

// parseDuration is time.ParseDuration with d for days of 24 hours, never
// negative.
func parseDuration(s string) (time.Duration, error) {
	text := s
	var days time.Duration
	if i := strings.IndexByte(text, 'd'); i > 0 {
		f, err := strconv.ParseFloat(text[:i], 64)
		if err != nil || math.IsNaN(f) || f < 0 || f > 100000 {
			return 0, fmt.Errorf("duration %q: want for example 90s, 30m, 24h or 7d", s)
		}
		days, text = time.Duration(f*float64(24*time.Hour)), text[i+1:]
		if text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("duration %q: want for example 90s, 30m, 24h or 7d", s)
	}
	return days + d, nil
}

// timeValue is a TIME as a flag.
type timeValue struct {
	t    *time.Time
	now  func() time.Time
	text string
}

func (v *timeValue) String() string { return v.text }
func (v *timeValue) Type() string   { return "TIME" }
func (v *timeValue) Set(s string) error {
	t, err := parseTime(s, v.now())
	if err == nil {
		*v.t, v.text = t, s
	}
	return err
}

// timeVar defines a flag that takes a TIME; not given it leaves t as it is.
func timeVar(env *Env, f *pflag.FlagSet, t *time.Time, name, usage string) {
	f.Var(&timeValue{t: t, now: env.Now}, name, usage)
}

// durationValue is a duration as a flag, with days.
type durationValue struct{ d *time.Duration }

func (v durationValue) String() string {
	if v.d == nil || *v.d == 0 {
		return ""
	}
	return v.d.String()
}
func (v durationValue) Type() string { return "DURATION" }
func (v durationValue) Set(s string) error {
	d, err := parseDuration(s)
	if err == nil {
		*v.d = d
	}
	return err
}

// durationVar defines a flag that takes a duration such as 90s, 24h or 7d.
func durationVar(f *pflag.FlagSet, d *time.Duration, name string, value time.Duration, usage string) {
	*d = value
	f.Var(durationValue{d}, name, usage)
}
