package gst_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// property is a row of the references: name, type, default. A number's unit and
// an enumeration's values stand in the developer guide ("GStreamer Element
// Parameter Reference") and in the element of today.
type property struct{ name, kind, byDefault string }

var sinkProperties = []property{
	{"stream-name", "String", `"DEFAULT_STREAM"`},
	{"user-agent", "String", `"AWS-SDK-KVS-CPP-CLIENT"`},
	{"retention-period", "Unsigned Integer", "2"},
	{"streaming-type", `Enum "GstKvsSinkStreamingType"`, `0, "realtime"`},
	{"content-type", "String", `"video/h264"`},
	{"max-latency", "Unsigned Integer", "60"},
	{"fragment-duration", "Unsigned Integer", "2000"},
	{"timecode-scale", "Unsigned Integer", "1"},
	{"key-frame-fragmentation", "Boolean", "true"},
	{"frame-timecodes", "Boolean", "true"},
	{"absolute-fragment-times", "Boolean", "true"},
	{"fragment-acks", "Boolean", "true"},
	{"restart-on-error", "Boolean", "true"},
	{"recalculate-metrics", "Boolean", "true"},
	{"framerate", "Unsigned Integer", "25"},
	{"avg-bandwidth-bps", "Unsigned Integer", "4194304"},
	{"buffer-duration", "Unsigned Integer", "120"},
	{"replay-duration", "Unsigned Integer", "40"},
	{"connection-staleness", "Unsigned Integer", "60"},
	{"codec-id", "String", `"V_MPEG4/ISO/AVC"`},
	{"track-name", "String", `"kinesis_video"`},
	{"access-key", "String", `"access_key"`},
	{"secret-key", "String", `"secret_key"`},
	{"session-token", "String", `"session_token"`},
	{"aws-region", "String", `"us-west-2"`},
	{"rotation-period", "Unsigned Integer", "3600"},
	{"log-config", "String", `"../kvs_log_configuration"`},
	{"storage-size", "Unsigned Integer", "128"},
	{"stop-stream-timeout", "Unsigned Integer", "120"},
	{"connection-timeout", "Unsigned Integer", "5"},
	{"completion-timeout", "Unsigned Integer", "10"},
	{"credential-path", "String", `".kvs/credential"`},
	{"iot-certificate", `Boxed pointer of type "GstStructure"`, ""},
	{"stream-tags", `Boxed pointer of type "GstStructure"`, ""},
	{"file-start-time", "Unsigned Integer64", "0"},
	{"disable-buffer-clipping", "Boolean", "false"},
	{"use-original-pts", "Boolean", "false"},
	{"get-kvs-metrics", "Boolean", "false"},
	{"allow-create-stream", "Boolean", "true"},
	{"frame-timestamp", `Enum "GstKvsSinkFrameTimestampType"`, `2, "default-timestamp"`}, // the guide's
	{"endpoint", "String", "null"},                                                       // ours, from here on
	{"ca-file", "String", "null"},
	{"kms-key-id", "String", "null"},
	{"spool-dir", "String", "null"},
	{"stop-on-error", "Boolean", "true"},
}

func TestInspect(t *testing.T) {
	t.Parallel()
	need(t)
	out := run(t, program(t, nil, "gst-inspect-1.0", "kvssink"))
	_, text, _ := strings.Cut(out, "Element Properties:")
	text, _, _ = strings.Cut(text, "Element Signals:")
	got := map[string]string{}
	heads := regexp.MustCompile(`(?m)^  ([a-z0-9-]+) *: `).FindAllStringSubmatchIndex(text, -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		got[text[h[2]:h[3]]] = text[h[0]:end]
	}
	for _, p := range sinkProperties {
		body, ok := got[p.name]
		if !ok {
			t.Errorf("no property %s", p.name)
			continue
		}
		delete(got, p.name)
		if !strings.Contains(body, p.kind) {
			t.Errorf("%s is no %s:\n%s", p.name, p.kind, body)
		}
		if !strings.Contains(body, "readable, writable") {
			t.Errorf("%s is not readable and writable:\n%s", p.name, body)
		}
		if p.byDefault != "" && !strings.Contains(body, "Default: "+p.byDefault) {
			t.Errorf("%s has not the default %s:\n%s", p.name, p.byDefault, body)
		}
		if p.kind == "Unsigned Integer" && !strings.Contains(body, "Range: 0 - ") {
			t.Errorf("%s does not begin at 0:\n%s", p.name, body)
		}
	}
	for _, inherited := range []string{"name", "parent"} {
		delete(got, inherited)
	}
	for name := range got {
		t.Errorf("property %s is in no table", name)
	}
	for _, value := range []string{
		"(0): realtime", "(1): near-realtime", "(2): offline", "(0): pts-only", "(1): dts-only", "(2): default-timestamp",
	} {
		if !regexp.MustCompile(strings.NewReplacer("(", `\(`, ")", `\)`, ": ", `: +`).Replace(value)).MatchString(text) {
			t.Errorf("no value %s", value)
		}
	}
	for _, word := range []string{
		`"stream-error" :`, `"fragment-ack" :`, `"stream-client-metric" :`, "video_%u", "audio_%u", "Availability: On request",
		"video/x-h264", "video/x-h265", "audio/mpeg", "audio/x-alaw", "audio/x-mulaw", "byte-stream", "adts", "primary + 10",
	} {
		if !strings.Contains(out, word) {
			t.Errorf("gst-inspect-1.0 does not show %s", word)
		}
	}
	if out := run(t, program(t, nil, "gst-inspect-1.0", "kvssrc")); !strings.Contains(out, "start-at") || !strings.Contains(out, "Sometimes") {
		t.Errorf("kvssrc:\n%s", out)
	}
}

func TestNothingBlacklisted(t *testing.T) {
	t.Parallel()
	need(t)
	out := run(t, program(t, nil, "gst-inspect-1.0", "-b"))
	if strings.Contains(out, "kvs") {
		t.Error(out)
	}
}

// The values that old pipelines carry are taken, whatever becomes of them.
func TestOldPropertiesAreAccepted(t *testing.T) {
	t.Parallel()
	python(t)
	for _, set := range []string{
		"frame-timestamp=pts-only", "frame-timestamp=dts-only", "frame-timestamp=default-timestamp", "frame-timestamp=0",
		"log-config=./kvs_log_configuration", "rotation-period=2400", "buffer-duration=180", "storage-size=512", "streaming-type=0",
		`iot-certificate="iot-certificate,endpoint=e,cert-path=/c,key-path=/k,ca-path=/a,role-aliases=r"`, `stream-tags="stream-tags,a=b"`,
	} {
		name, _, _ := strings.Cut(set, "=")
		out := run(t, program(t, nil, "/usr/bin/python3", "-c", fmt.Sprintf(`
import gi; gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
p = Gst.parse_launch('kvssink name=k %s')
k = p if p.get_name() == "k" else p.get_by_name("k")
print("value", k.get_property(%q))`, set, name)))
		if !strings.Contains(out, "value ") {
			t.Errorf("%s: %s", set, out)
		}
	}
}
