package cli_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

func TestPlaybackVerbs(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	environ := serverEnviron(s, s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey)
	clip, err := os.ReadFile("../demo/clip.mkv")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-12 * time.Second).Truncate(time.Second)
	c := s.Client()
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String("cam"), DataRetentionInHours: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	session, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: "cam"}, TimecodeType: sluice.TimecodeRelative, ProducerStart: begin, Body: bytes.NewReader(clip)})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for {
		if _, err := session.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	load := func(url string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSpace(url), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%d, %v: %s", res.StatusCode, err, b)
		}
		return string(b)
	}
	from, to := begin.Add(-time.Second).UTC().Format(time.RFC3339), begin.Add(30*time.Second).UTC().Format(time.RFC3339)
	for _, tt := range []struct{ args, want string }{
		{"hls cam", "#EXTM3U"},
		{"hls cam --from " + from + " --to " + to + " --by producer --timestamps", "mp4a.40.2"},
		{"hls cam --from " + from + " --by producer", "#EXTM3U"},
		{"hls cam --from " + from + " --to " + to + " --by producer --container ts", "avc1"},
		{"hls cam --low-latency", "LowLatency=1"},
		{"hls cam --from earliest", "#EXTM3U"},
		{"hls cam --from earliest --to " + to + " --by producer", "avc1"},
		{"dash cam --from earliest --to " + to + " --by producer", "<MPD"},
		{"dash cam --from " + from + " --to " + to + " --by producer --numbers", "kvs:fn="},
		{"dash cam", `type="dynamic"`},
	} {
		r := run(t, environ, strings.Fields(tt.args)...)
		if r.code != 0 || r.errors != "" {
			t.Errorf("sluice %s: %+v", tt.args, r)
			continue
		}
		if text := load(r.out); !strings.Contains(text, tt.want) {
			t.Errorf("sluice %s: no %q in\n%s", tt.args, tt.want, text)
		}
	}
	if r := run(t, environ, "hls", "cam", "--json"); r.code != 0 || !strings.Contains(r.out, `"URL": "http`) {
		t.Errorf("--json: %+v", r)
	}
	path := filepath.Join(t.TempDir(), "x.mp4")
	r := run(t, environ, "clip", "cam", "--from", from, "--to", to, "--by", "producer", "-o", path)
	b, err := os.ReadFile(path)
	if r.code != 0 || err != nil || !bytes.Contains(b[:64], []byte("ftyp")) || !strings.Contains(r.errors, "x.mp4: ") {
		t.Errorf("clip: %+v, %v, %d bytes", r, err, len(b))
	}
	// A program that prints its argument stands in for the player.
	player := filepath.Join(t.TempDir(), "player")
	if err := os.WriteFile(player, []byte("#!/bin/sh\necho \"plays $1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r := run(t, environ, "play", "cam", "--player", player); r.code != 0 || !strings.Contains(r.out, "plays "+s.Endpoint+"/hls/v1/") {
		t.Errorf("play: %+v", r)
	}
	browser := append(environ[:len(environ):len(environ)], "BROWSER="+player)
	if r := run(t, browser, "play", "cam", "--console"); r.code != 0 || !strings.Contains(r.out, s.Endpoint+"/console/#/stream/cam\n") {
		t.Errorf("play --console: %+v", r)
	}
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"play cam --console --from -1h", "the page has a timeline", cli.ExitUsage},
		{"hls cam --from then", "or earliest", cli.ExitUsage},
		{"hls cam --to now", "--to needs --from", cli.ExitUsage},
		{"hls cam --container webm", "want mp4 or ts", cli.ExitUsage},
		{"hls cam --container ts --low-latency", "--low-latency is for", cli.ExitUsage},
		{"clip cam -o x.mp4", "--from and --to must be given", cli.ExitUsage},
		{"clip cam --from -1h --to now", "-o must name a file", cli.ExitUsage},
		{"hls nowhere", "ResourceNotFoundException", 0},
		{"play cam --player no-such-player", "no-such-player", 0},
	} {
		r := run(t, environ, strings.Fields(tt.args)...)
		if r.code == 0 || tt.code != 0 && r.code != tt.code || !strings.Contains(r.errors, tt.want) {
			t.Errorf("sluice %s: %+v", tt.args, r)
		}
	}
}
