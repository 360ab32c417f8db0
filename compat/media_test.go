package compat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

// reading is what a client saw of a stream.
type reading struct {
	Fragments   []fragmentLine `json:"fragments"`
	ContentType string         `json:"contentType"`
	Playlist    string         `json:"playlist"`
	Missing     string         `json:"missing"`
}

type fragmentLine struct {
	Number   string `json:"number"`
	Size     int64  `json:"size"`
	Length   int64  `json:"length"`
	Producer int64  `json:"producer"`
	Server   int64  `json:"server"`
}

// TestMedia sends the recording of an official producer to a running server and
// reads it back with each client: the same list, the same bytes, and pictures
// that decode to the same as the recording's.
func TestMedia(t *testing.T) {
	t.Parallel()
	source := filepath.Join(mediatest.Dir(t), "putmedia-captures", "video-h264-01.body.mkv")
	s := sluicetest.Start(t)
	ref := s.CreateStream("cam", 24*time.Hour)
	persisted := put(t, s.Client(), ref, source)
	if persisted == 0 {
		t.Fatal("no fragment was persisted")
	}
	want := listGo(t, s.Client(), ref)
	if len(want) != persisted || persisted < 3 {
		t.Fatalf("%d fragments persisted, %d listed", persisted, len(want))
	}
	wantList := mediaGo(t, s.Client(), ref, want)
	pictures := frames(t, source)
	// GetMedia is read up to the last fragment but one.
	most := filepath.Join(t.TempDir(), "most.mkv")
	if err := os.WriteFile(most, mediaGo(t, s.Client(), ref, want[:persisted-1]), 0o600); err != nil {
		t.Fatal(err)
	}
	mostPictures := frames(t, most)
	if n := len(mostPictures); n == 0 || n >= len(pictures) || !slices.Equal(mostPictures, pictures[:n]) {
		t.Errorf("%d of %d fragments have %d pictures that are not the first of %d", persisted-1, persisted, n, len(pictures))
	}
	for _, c := range []struct{ name, interpreter, needs, dir, script, kind string }{
		{"boto3", "/usr/bin/python3", "/usr/lib/python3/dist-packages/boto3", "python", "media.py", "boto3"},
		{"cli", "/usr/bin/python3", "/usr/bin/aws", "python", "media.py", "cli"},
		{"js", "node", "js/node_modules/@aws-sdk/client-kinesis-video-media", "js", "media.js", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.interpreter); err != nil {
				t.Skipf("%s is not installed", c.interpreter)
			}
			if _, err := os.Stat(c.needs); err != nil {
				t.Skipf("%s is not installed", c.needs)
			}
			out := t.TempDir()
			args := []string{c.script, c.kind, ref.Name, strconv.Itoa(persisted - 1), out}
			args = slices.DeleteFunc(args, func(s string) bool { return s == "" })
			cmd := exec.CommandContext(t.Context(), c.interpreter, args...)
			cmd.Dir = c.dir
			cmd.Env = append(s.Environ(), "HOME="+t.TempDir(), "PATH="+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			answer, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.Bytes())
			}
			var got reading
			if err := json.Unmarshal(answer, &got); err != nil {
				t.Fatalf("%v: %s", err, answer)
			}
			if diff := cmp.Diff(want, got.Fragments); diff != "" {
				t.Errorf("fragments by the Go client, by this one:\n%s", diff)
			}
			if got.ContentType != "video/webm" || got.Playlist != "#EXTM3U" || got.Missing != "ResourceNotFoundException" {
				t.Errorf("content type %q, playlist begins %q, an absent stream raised %q", got.ContentType, got.Playlist, got.Missing)
			}
			list, err := os.ReadFile(filepath.Join(out, "list.mkv"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(list, wantList) {
				t.Errorf("GetMediaForFragmentList gave %d bytes that are not the %d of the Go client", len(list), len(wantList))
			}
			for file, pictures := range map[string][]string{"list.mkv": pictures, "live.mkv": mostPictures} {
				if diff := cmp.Diff(pictures, frames(t, filepath.Join(out, file))); diff != "" {
					t.Errorf("%s: decoded pictures of the recording, of the saved file:\n%s", file, diff)
				}
			}
		})
	}
}

// put sends a recorded body and counts the fragments that are durable.
func put(t *testing.T, c *kvsapi.Client, ref sluice.StreamRef, path string) (persisted int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	session, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: ref, TimecodeType: sluice.TimecodeAbsolute, ProducerStart: time.Now(), Body: f})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for {
		ack, err := session.Next()
		if errors.Is(err, io.EOF) {
			return persisted
		}
		if err != nil {
			t.Fatal(err)
		}
		switch ack.Event {
		case sluice.AckPersisted:
			persisted++
		case sluice.AckError:
			t.Fatalf("the server refused a fragment: %v", ack)
		}
	}
}

// listGo lists the fragments with our own client.
func listGo(t *testing.T, c *kvsapi.Client, ref sluice.StreamRef) (list []fragmentLine) {
	t.Helper()
	infos, next, err := c.ListFragments(t.Context(), &kvsapi.ListFragmentsInput{Stream: ref, Clock: sluice.ServerClock,
		From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Minute)})
	if err != nil || next != "" {
		t.Fatal(next, err)
	}
	for _, i := range infos {
		list = append(list, fragmentLine{i.Number.String(), i.Size, i.Length.Milliseconds(), i.ProducerTimestamp.UnixMilli(), i.ServerTimestamp.UnixMilli()})
	}
	return list
}

// mediaGo reads fragments with our own client.
func mediaGo(t *testing.T, c *kvsapi.Client, ref sluice.StreamRef, list []fragmentLine) []byte {
	t.Helper()
	var numbers []sluice.FragmentNumber
	for _, f := range list {
		n, err := sluice.ParseFragmentNumber(f.Number)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	m, err := c.GetMediaForFragmentList(t.Context(), ref, numbers)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	media, err := io.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	return media
}

// frames are the hashes of a file's decoded pictures, in order.
func frames(t *testing.T, path string) (hashes []string) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "fatal", "-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg %s: %v", path, err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "#") {
			hashes = append(hashes, strings.TrimSpace(line[strings.LastIndexByte(line, ',')+1:]))
		}
	}
	if len(hashes) == 0 {
		t.Fatalf("%s has no pictures", path)
	}
	// ffprobe counts as many.
	count, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "fatal", "-count_frames", "-select_streams", "v", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", path).Output()
	if err != nil || strings.Trim(string(count), ",\n") != strconv.Itoa(len(hashes)) {
		t.Errorf("ffprobe %s: %q, %v, want %d", path, count, err, len(hashes))
	}
	return hashes
}
