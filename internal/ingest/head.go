package ingest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
)

// The headers of PutMedia (wire-protocol §3.1).
const (
	headerName     = "X-Amzn-Stream-Name"
	headerARN      = "X-Amzn-Stream-Arn"
	headerTimecode = "X-Amzn-Fragment-Timecode-Type"
	headerStart    = "X-Amzn-Producer-Start-Timestamp"
	headerAcks     = "X-Amzn-Fragment-Acknowledgment-Required"
)

// head is what the headers of a call say.
type head struct {
	timecodes sluice.TimecodeType
	start     time.Time // producer start timestamp; now when there is none
	acks      bool      // acknowledgements are wanted, beyond errors
}

func invalid(format string, args ...any) error {
	return &sluice.Error{Code: sluice.InvalidArgument, Msg: fmt.Sprintf(format, args...)}
}

// parseHead reads the headers of a call that came in at now.
func parseHead(h http.Header, now time.Time) (head, error) {
	out := head{start: now, acks: true}
	name, arn := h.Get(headerName), h.Get(headerARN)
	if name != "" && arn != "" {
		return head{}, invalid("x-amzn-stream-name, x-amzn-stream-arn: both are given, only one may be")
	}
	if name == "" && arn == "" {
		return head{}, invalid("x-amzn-stream-name, x-amzn-stream-arn: neither is given, one must be")
	}
	switch t := h.Get(headerTimecode); {
	case strings.EqualFold(t, "ABSOLUTE"):
	case strings.EqualFold(t, "RELATIVE"):
		out.timecodes = sluice.TimecodeRelative
	case t == "":
		return head{}, invalid("x-amzn-fragment-timecode-type: missing, must be ABSOLUTE or RELATIVE")
	default:
		return head{}, invalid("x-amzn-fragment-timecode-type: %q, must be ABSOLUTE or RELATIVE", clip(t))
	}
	if text := strings.TrimSpace(h.Get(headerStart)); text != "" {
		start, err := parseStart(text)
		if err != nil {
			return head{}, invalid("x-amzn-producer-start-timestamp: %v", err)
		}
		out.start = start
	}
	// Not in the guide: the native producers send 0 when their user wants none,
	// the Java ones do not send the header and want them.
	out.acks = strings.TrimSpace(h.Get(headerAcks)) != "0"
	return out, nil
}

// parseStart reads a producer start timestamp: seconds since the epoch, with or
// without a fraction, or ISO 8601. A fraction is read as a decimal, as the
// service does, although the native producers print milliseconds without their
// leading zeros.
func parseStart(text string) (time.Time, error) {
	if len(text) > 64 {
		return time.Time{}, fmt.Errorf("%q is neither seconds since the epoch nor ISO 8601", clip(text))
	}
	if strings.ContainsAny(text, "TZ:") {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "20060102T150405Z"} {
			if t, err := time.Parse(layout, text); err == nil {
				return inRange(t)
			}
		}
		return time.Time{}, fmt.Errorf("%q is not a time in ISO 8601", clip(text))
	}
	if strings.ContainsAny(text, "eE") {
		// The scientific form that the service itself prints.
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f < 0 || f > 1e11 {
			return time.Time{}, fmt.Errorf("%q is not seconds since the epoch", clip(text))
		}
		return inRange(time.UnixMilli(int64(f*1000 + 0.5)))
	}
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseUint(whole, 10, 37)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither seconds since the epoch nor ISO 8601", clip(text))
	}
	nanos := int64(0)
	for i := range 9 {
		nanos *= 10
		if i < len(fraction) {
			nanos += int64(fraction[i] - '0')
		}
	}
	for _, c := range []byte(fraction) {
		if c < '0' || c > '9' {
			return time.Time{}, fmt.Errorf("%q is neither seconds since the epoch nor ISO 8601", clip(text))
		}
	}
	return inRange(time.Unix(int64(seconds), nanos))
}

// inRange keeps times to those that a fragment number and a timestamp tag can
// hold.
func inRange(t time.Time) (time.Time, error) {
	if t.Before(time.Unix(0, 0)) || t.Year() > 5000 {
		return time.Time{}, fmt.Errorf("%s lies outside 1970 to 5000", t.UTC().Format(time.RFC3339))
	}
	return t.UTC(), nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
