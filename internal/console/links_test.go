package console

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
)

// TestLinksToTroubleshooting: each finding of the Troubleshoot tab links to a
// heading that is there.
func TestLinksToTroubleshooting(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	headings := map[string]bool{}
	// As web/docs.mjs makes ids of headings.
	other := regexp.MustCompile(`[^\w\- ]+`)
	for line := range strings.Lines(read("../../docs/troubleshooting.md")) {
		if text := strings.TrimLeft(line, "#"); text != line {
			headings[strings.ReplaceAll(strings.TrimSpace(other.ReplaceAllString(strings.ToLower(text), "")), " ", "-")] = true
		}
	}
	findings := regexp.MustCompile(`anchor: "([^"]+)"`).FindAllStringSubmatch(read("../../web/src/parts/troubleshoot.tsx"), -1)
	if len(findings) < 8 {
		t.Fatalf("only %d findings were found", len(findings))
	}
	for _, f := range findings {
		if !headings[f[1]] {
			t.Errorf("docs/troubleshooting.md has no heading %q", f[1])
		}
	}
	// Every entry of the developer guide's chapter, by its title or by the text of
	// the error.
	for _, entry := range []string{
		"latency-too-high",
		"unknown-options-outmkv", "unable-to-determine-serviceoperation-name-to-be-authorized", "failed-to-put-a-frame-in-the-stream",
		"service-closed-connection-before-final-ackevent-was-received", "status_store_out_of_memory",
		"retrieving-hls-streaming-session-url-succeeds-but-playback-fails-in-video-player",
		"official-libraries", // Java logs
		"cannot-compile-the-producer-sdk", "video-stream-does-not-appear-in-the-console",
		"the-security-token-included-in-the-request-is-invalid", "failed-to-submit-frame-to-kinesis-video-client",
		"streaming-stopped-reason-not-negotiated", "failed-to-allocate-heap", "illegal-instruction", "camera-fails-to-load",
		"camera-cant-be-found", "jnih-file-not-found", "curl-errors-or-a-certificate-that-is-not-trusted", "timestamprange-assertion",
		"assertion-on-gst_value_set_fraction_range_full", "status_mkv_invalid_annexb_nalu_in_frame_data-0x3200000d",
		"maximum-fragment-duration-was-reached-error", "cannot-access-a-single-frame-from-the-stream", "fragment-decoding-error",
	} {
		if !headings[entry] {
			t.Errorf("docs/troubleshooting.md does not answer %q of the guide", entry)
		}
	}
	for code := sluice.StreamReadError; code < 6000; code++ {
		if strings.HasPrefix(code.String(), "UNKNOWN_") || code == sluice.MoreThanOneTrackFound {
			continue // nobody's, or never sent
		}
		heading := code
		if code >= 4500 && code <= 4599 {
			heading = 4500
		}
		if !headings["ack-"+strconv.Itoa(int(heading))] {
			t.Errorf("docs/troubleshooting.md has no heading for acknowledgement %d %s", code, code)
		}
	}
}
