package ingest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
)

var startCases = []struct {
	text string
	want int64 // ms since the epoch; -1: refused
}{
	{"1795353347.681", 1795353347681}, // C, Java producer
	{"1795353598.58", 1795353598580},  // C, 58 ms without the leading zero: read as the service reads it
	{"1700000000.7", 1700000000700},
	{"1700000000", 1700000000000}, // seqsense
	{"1700000000.", 1700000000000},
	{"0", 0},
	{"1700000000.123456789", 1700000000123},
	{"2023-04-19T22:13:39.181Z", 1681942419181}, // AWS SDK for Java
	{"2023-04-19T22:13:39Z", 1681942419000},
	{"2023-04-20T00:13:39.181+02:00", 1681942419181},
	{"20230419T221339Z", 1681942419000},
	{"1.720751492346E9", 1720751492346},
	{"-1", -1},
	{"-1.5", -1},
	{"1.-5", -1},
	{"now", -1},
	{"0x10", -1},
	{"1_000", -1},
	{"99999999999999999999", -1},
	{"1e300", -1},
	{"1969-12-31T23:59:59Z", -1},
	{"9999-12-31T23:59:59Z", -1},
	{strings.Repeat("1", 1000), -1},
}

func TestProducerStartTimestamps(t *testing.T) {
	t.Parallel()
	for _, c := range startCases {
		got, err := parseStart(c.text)
		switch {
		case c.want < 0 && err == nil:
			t.Errorf("%.40q is taken as %v", c.text, got)
		case c.want >= 0 && (err != nil || got.UnixMilli() != c.want):
			t.Errorf("%.40q = %d, %v; want %d", c.text, got.UnixMilli(), err, c.want)
		}
	}
}

func FuzzStart(f *testing.F) {
	for _, c := range startCases {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseStart(text)
		if err == nil && (got.UnixMilli() < 0 || got.Year() > 5000) {
			t.Errorf("%q = %v", text, got)
		}
	})
}

func TestHeads(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	for _, c := range []struct {
		name    string
		headers string
		want    head
		fails   string
	}{
		{"native", "x-amzn-stream-name: a\nx-amzn-fragment-timecode-type: ABSOLUTE\nx-amzn-producer-start-timestamp: 1.5\nx-amzn-fragment-acknowledgment-required: 1", head{sluice.TimecodeAbsolute, time.UnixMilli(1500), true}, ""},
		{"native without acknowledgements", "x-amzn-stream-name: a\nx-amzn-fragment-timecode-type: RELATIVE\nx-amzn-producer-start-timestamp: 1.5\nx-amzn-fragment-acknowledgment-required: 0", head{sluice.TimecodeRelative, time.UnixMilli(1500), false}, ""},
		{"Java: the header is absent", "x-amzn-stream-arn: a\nx-amzn-fragment-timecode-type: ABSOLUTE\nx-amzn-producer-start-timestamp: 1.500", head{sluice.TimecodeAbsolute, time.UnixMilli(1500), true}, ""},
		{"no start: when it came in", "x-amzn-stream-name: a\nx-amzn-fragment-timecode-type: RELATIVE", head{sluice.TimecodeRelative, now, true}, ""},
		{"an empty start", "x-amzn-stream-name: a\nx-amzn-fragment-timecode-type: RELATIVE\nx-amzn-producer-start-timestamp:", head{sluice.TimecodeRelative, now, true}, ""},
		{"both names", "x-amzn-stream-name: a\nx-amzn-stream-arn: b\nx-amzn-fragment-timecode-type: ABSOLUTE", head{}, "x-amzn-stream-name, x-amzn-stream-arn"},
		{"no name", "x-amzn-fragment-timecode-type: ABSOLUTE", head{}, "x-amzn-stream-name, x-amzn-stream-arn"},
		{"no type", "x-amzn-stream-name: a", head{}, "x-amzn-fragment-timecode-type"},
		{"another type", "x-amzn-stream-name: a\nx-amzn-fragment-timecode-type: LATER", head{}, "x-amzn-fragment-timecode-type"},
		{"a bad start", "x-amzn-stream-name: a\nx-amzn-fragment-timecode-type: ABSOLUTE\nx-amzn-producer-start-timestamp: soon", head{}, "x-amzn-producer-start-timestamp"},
	} {
		h := http.Header{}
		for line := range strings.Lines(c.headers) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
			h.Set(k, strings.TrimSpace(v))
		}
		got, err := parseHead(h, now)
		if c.fails != "" {
			if sluice.CodeOf(err) != sluice.InvalidArgument || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || got.timecodes != c.want.timecodes || !got.start.Equal(c.want.start) || got.acks != c.want.acks {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add("cam", "", "ABSOLUTE", "1795353347.681", "1")
	f.Add("", "arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam/1700000000000", "relative", "", "0")
	f.Add("a", "b", "", "2023-04-19T22:13:39.181Z", " 0 ")
	now := time.UnixMilli(1_800_000_000_000)
	f.Fuzz(func(t *testing.T, name, arn, timecodes, start, acks string) {
		h := http.Header{}
		for k, v := range map[string]string{headerName: name, headerARN: arn, headerTimecode: timecodes, headerStart: start, headerAcks: acks} {
			if v != "" {
				h.Set(k, v)
			}
		}
		got, err := parseHead(h, now)
		if err != nil {
			if sluice.CodeOf(err) != sluice.InvalidArgument || len(err.Error()) > 400 {
				t.Errorf("%q: %v", h, err)
			}
			return
		}
		if (name == "") == (arn == "") || got.start.UnixMilli() < 0 || got.start.Year() > 5000 || !got.acks && !strings.Contains(acks, "0") {
			t.Errorf("%q is taken as %+v", h, got)
		}
	})
}
