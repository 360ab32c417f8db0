package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

// extension calls an operation that no SDK has.
func extension(t *testing.T, s *sluicetest.Server, path string, in any) (out map[string]any, status int) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(context.Background(), s.Credentials, r, hex.EncodeToString(sum[:]), "kinesisvideo", s.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%s: %s", path, b)
	}
	return out, res.StatusCode
}

// TestActivityAndTimeline puts ten seconds of media with a gap before them, and
// asks what the stream has, before and after a restart.
func TestActivityAndTimeline(t *testing.T) {
	t.Parallel()
	clip, err := os.ReadFile("../demo/clip.mkv")
	if err != nil {
		t.Fatal(err)
	}
	s := sluicetest.Start(t)
	s.CreateStream("cam", 24*time.Hour)
	name := map[string]any{"StreamName": "cam"}
	out, status := extension(t, s, "/describeStreamActivity", name)
	if status != 200 || out["LastFragment"] != nil || out["FragmentCount"] != 0. || len(out["Sessions"].([]any)) != 0 || len(out["Tracks"].([]any)) != 0 {
		t.Errorf("empty: %d %v", status, out)
	}
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	put := func(at time.Time) {
		session, err := s.Client().PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: "cam"}, Body: bytes.NewReader(clip), TimecodeType: sluice.TimecodeRelative, ProducerStart: at})
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		for {
			a, err := session.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil || a.Event == sluice.AckError {
				t.Fatalf("%v %v", a, err)
			}
		}
	}
	put(start)
	put(start.Add(time.Minute))
	timeline := map[string]any{"StreamName": "cam", "TimestampType": "PRODUCER_TIMESTAMP", "Buckets": 400,
		"StartTimestamp": start.Add(-time.Minute).Unix(), "EndTimestamp": start.Add(3 * time.Minute).Unix()}
	check := func(when string) {
		t.Helper()
		out, status := extension(t, s, "/getTimeline", timeline)
		spans, _ := out["Spans"].([]any)
		if status != 200 || len(spans) != 2 {
			t.Fatalf("%s: timeline %d %v, want two spans", when, status, out)
		}
		first := spans[0].(map[string]any)
		if got := first["Start"].(float64); got != float64(start.Unix()) || first["End"].(float64)-got < 9 || first["End"].(float64)-got > 11 {
			t.Errorf("%s: first span %v, want about ten seconds from %d", when, first, start.Unix())
		}
		out, status = extension(t, s, "/describeStreamActivity", name)
		last, _ := out["LastFragment"].(map[string]any)
		if status != 200 || last == nil || last["Durable"] != true || out["FragmentCount"].(float64) < 10 || out["StoredBytes"].(float64) < float64(len(clip)) || out["FirstFragment"] == nil {
			t.Errorf("%s: %d %v", when, status, out)
		}
		if lag := out["ProducerLagMilliseconds"].(float64); lag < 50*60e3 || lag > 61*60e3 {
			t.Errorf("%s: lag %v ms, want about an hour", when, lag)
		}
		tracks, _ := json.Marshal(out["Tracks"])
		if !strings.Contains(string(tracks), `"Codec":"avc1.`) || !strings.Contains(string(tracks), `"Codec":"mp4a.40.2"`) || !strings.Contains(string(tracks), `"Width":640`) {
			t.Errorf("%s: tracks %s", when, tracks)
		}
	}
	check("at once")
	// What the producer was told is told again, newest first, until a restart.
	out, _ = extension(t, s, "/describeStreamActivity", name)
	acks, _ := out["Acks"].([]any)
	last, _ := out["LastFragment"].(map[string]any)
	if len(acks) < 10 || last == nil {
		t.Fatalf("acknowledgements %v", acks)
	}
	for i, want := range []string{"PERSISTED", "RECEIVED"} {
		a := acks[i].(map[string]any)
		if a["EventType"] != want || a["FragmentNumber"] != last["FragmentNumber"] || time.Since(time.UnixMilli(int64(a["Time"].(float64)*1000))).Abs() > time.Minute {
			t.Errorf("acknowledgement %d: %v, want %s of %v", i, a, want, last["FragmentNumber"])
		}
	}
	s.Restart()
	check("after a restart")
	for _, bad := range []map[string]any{
		{"StreamName": "cam"},
		{"StreamName": "cam", "StartTimestamp": 5, "EndTimestamp": 5},
		{"StreamName": "cam", "StartTimestamp": 1, "EndTimestamp": 5, "Buckets": 5001},
		{"StreamName": "cam", "StartTimestamp": 1, "EndTimestamp": 5, "TimestampType": "NOW"},
	} {
		if out, status := extension(t, s, "/getTimeline", bad); status != 400 {
			t.Errorf("%v: %d %v", bad, status, out)
		}
	}
}
