package compat_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// TestRawPutMedia streams each recording with python/putmedia.py, which is PutMedia
// on a socket with the signer of botocore: every fragment is acknowledged three
// times in order, and its Cluster comes back as it was sent.
func TestRawPutMedia(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/lib/python3/dist-packages/boto3"); err != nil {
		t.Skip("boto3 is not installed")
	}
	s := sluicetest.Start(t)
	for name, timecodes := range map[string]string{"video-h264-01": "ABSOLUTE", "av-h264-aac-01": "ABSOLUTE", "video-h264-relative-01": "RELATIVE"} {
		t.Run(name, func(t *testing.T) {
			ref := s.CreateStream(name, 24*time.Hour)
			path := filepath.Join(mediatest.Dir(t), "putmedia-captures", name+".body.mkv")
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "python/putmedia.py", s.Endpoint, ref.Name, path, timecodes)
			cmd.Env = append(s.Environ(), "HOME="+t.TempDir(), "PATH="+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s%s", err, out, stderr.Bytes())
			}
			told := map[sluice.AckEvent][]int64{}
			for line := range bytes.Lines(out) {
				a, err := sluice.ParseAck(line)
				if err != nil {
					t.Fatal(err)
				}
				told[a.Event] = append(told[a.Event], a.Timecode)
			}
			clusters, want := clustersOf(t, body)
			for _, e := range []sluice.AckEvent{sluice.AckBuffering, sluice.AckReceived, sluice.AckPersisted} {
				if !slices.Equal(told[e], want) {
					t.Errorf("%s for %v, want %v", e, told[e], want)
				}
			}
			media := mediaGo(t, s.Client(), ref, listGo(t, s.Client(), ref))
			for i, c := range clusters {
				at := bytes.Index(media, c)
				if at < 0 {
					t.Fatalf("Cluster %d of %d does not come back", i, len(clusters))
				}
				media = media[at+len(c):]
			}
		})
	}
}

// clustersOf cuts a session's body.
func clustersOf(t *testing.T, body []byte) (clusters [][]byte, timecodes []int64) {
	t.Helper()
	r := fragment.NewReader(fragment.Options{})
	r.Feed(body)
	r.Close()
	for {
		ev, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return clusters, timecodes
		case err != nil:
			t.Fatal(err)
		case ev.Kind == fragment.Begin:
			clusters, timecodes = append(clusters, nil), append(timecodes, ev.Timecode)
		case ev.Kind == fragment.Elements:
			last := len(clusters) - 1
			clusters[last] = append(clusters[last], ev.Bytes...)
		}
	}
}
