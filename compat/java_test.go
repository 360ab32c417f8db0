package compat_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// buildJava builds java/ once, from Maven Central or its cache.
var buildJava = sync.OnceValues(func() (classpath string, err error) {
	for _, tool := range []string{"javac", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is not installed", tool)
		}
	}
	cmd := exec.Command("mvn", "-q", "-B", "-Dmaven.wagon.http.retryHandler.count=5", "package")
	cmd.Dir = "java"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mvn package: %v\n%s", err, out)
	}
	return "java/target/compat-1.jar:java/target/lib/*", nil
})

// line is what java/ prints, a JSON object each.
type line struct {
	Ack      string
	Timecode int64
	Number   string
	Error    int
	Fragment string
	Server   int64
	Producer int64
	Track    uint64
	Key      bool
	Size     int
	SHA256   string `json:"sha256"`
	Tag      string
	Value    string
	Listed   string

	Clusters, Segments, Blocks int
	Unloadable                 string
	Produced                   bool
}

// java runs a verb of java/ against the server (nil: none).
func java(t *testing.T, s *sluicetest.Server, args ...string) []line {
	t.Helper()
	return javaWith(t, nil, s, args...)
}

// javaWith is java with a standard input.
func javaWith(t *testing.T, stdin *os.File, s *sluicetest.Server, args ...string) []line {
	t.Helper()
	classpath, err := buildJava()
	if err != nil {
		if strings.Contains(err.Error(), "not installed") {
			t.Skip("a JDK and Maven are needed: " + err.Error())
		}
		t.Fatal(err)
	}
	vm := []string{"-cp", classpath}
	if args[0] == "produce" {
		vm = append(vm, "-Djava.library.path="+nativeLibrary(t))
	}
	cmd := exec.CommandContext(t.Context(), "java", slices.Concat(vm, []string{"video.sluice.compat.Main"}, args)...)
	cmd.Env = os.Environ()
	if s != nil {
		cmd.Env = append(append(cmd.Env, s.Environ()...), "SLUICE_ENDPOINT="+s.Endpoint)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if stdin != nil {
		cmd.Stdin = stdin
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("java %v: %v\n%s\n%s", args, err, out, stderr.Bytes())
	}
	// Who has read enough ends while the library reads on: a last line may be cut.
	out = out[:bytes.LastIndexByte(out, '\n')+1]
	var lines []line
	for l := range bytes.Lines(out) {
		var v line
		if err := json.Unmarshal(l, &v); err != nil {
			t.Fatalf("java %v printed %q: %v", args, l, err)
		}
		lines = append(lines, v)
	}
	return lines
}

// nativeLibrary takes the official producer's native core out of its jar, and
// gives the folder.
func nativeLibrary(t *testing.T) string {
	t.Helper()
	jars, _ := filepath.Glob("java/target/lib/amazon-kinesis-video-streams-producer-sdk-java-*.jar")
	if len(jars) != 1 {
		t.Fatalf("producer jars: %v", jars)
	}
	jar, err := zip.OpenReader(jars[0])
	if err != nil {
		t.Fatal(err)
	}
	defer jar.Close()
	b, err := fs.ReadFile(jar, "lib/ubuntu/libKinesisVideoProducerJNI.so")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libKinesisVideoProducerJNI.so"), b, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// frame is a frame as both sides can tell it.
type frame struct {
	track  uint64
	size   int
	sha256 string
}

func sum(track uint64, data []byte) frame {
	s := sha256.Sum256(data)
	return frame{track, len(data), hex.EncodeToString(s[:])}
}

// framesOf are the frames of a Matroska file, in order.
func framesOf(t *testing.T, b []byte) []frame {
	t.Helper()
	var out []frame
	for f, err := range parser.NewReader(bytes.NewReader(b)).Frames(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, sum(f.Track, f.Data))
	}
	return out
}

// TestJavaPutAndParse: the SDK's PutMedia client streams each recording of a
// real producer; the official parser library reads it back, through GetMedia and
// from the archive, and finds the same frames.
func TestJavaPutAndParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		recording, timecodes string
		fragments            int
	}{
		{"putmedia-captures/video-h264-01.body.mkv", "ABSOLUTE", 15},
		{"putmedia-captures/av-h264-aac-01.body.mkv", "ABSOLUTE", 13},
		{"putmedia-captures/video-h264-relative-01.body.mkv", "RELATIVE", 6},
	} {
		t.Run(filepath.Base(c.recording), func(t *testing.T) {
			t.Parallel()
			body := mediatest.File(t, c.recording)
			s := sluicetest.Start(t)
			s.CreateStream("java", 24*time.Hour)
			acks := map[string][]string{}
			for _, l := range java(t, s, "put", "java", filepath.Join(mediatest.Dir(t), c.recording), c.timecodes) {
				if l.Ack == "IDLE" {
					continue
				}
				if l.Ack == "ERROR" {
					t.Errorf("error acknowledgement %+v", l)
				}
				acks[l.Number] = append(acks[l.Number], l.Ack)
			}
			if len(acks) != c.fragments {
				t.Errorf("%d fragments were acknowledged, want %d", len(acks), c.fragments)
			}
			for n, a := range acks {
				if !slices.Equal(a, []string{"BUFFERING", "RECEIVED", "PERSISTED"}) {
					t.Errorf("fragment %s: %v", n, a)
				}
			}
			want := framesOf(t, body)
			compareFrames(t, "GetMedia", want, java(t, s, "get", "java", fmt.Sprint(c.fragments)), true)
			compareFrames(t, "archive", want, java(t, s, "list", "java"), false)
		})
	}
}

// compareFrames checks frames and the metadata of their fragments. The worker that
// reads live is stopped when the last fragment begins, so it may lack its end.
func compareFrames(t *testing.T, how string, want []frame, lines []line, live bool) {
	t.Helper()
	var got []frame
	var numbers []string
	for _, l := range lines {
		if l.SHA256 == "" {
			continue
		}
		got = append(got, frame{l.Track, l.Size, l.SHA256})
		if n := len(numbers); n == 0 || numbers[n-1] != l.Fragment {
			numbers = append(numbers, l.Fragment)
		}
		n, err := sluice.ParseFragmentNumber(l.Fragment)
		if err != nil || int64(n.ServerTimestamp()) != l.Server {
			t.Errorf("%s: fragment %s has server time %d", how, l.Fragment, l.Server)
		}
	}
	if !slices.IsSorted(numbers) {
		t.Errorf("%s: fragment numbers do not rise: %v", how, numbers)
	}
	if live && len(got) < len(want) && len(got) > 0 {
		want = want[:len(got)]
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d frames, want %d, or others", how, len(got), len(want))
	}
}

// TestJavaMerger: our merger's output equals the official one's, byte for byte,
// on recordings of the real service.
func TestJavaMerger(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"getmedia-captures/output_get_media.mkv",
		"getmedia-captures/output_get_media_sparse_fragments.mkv",
		"getmedia-captures/test_mixed_tags.mkv",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			in := mediatest.File(t, name)
			out := filepath.Join(t.TempDir(), "official.mkv")
			java(t, nil, "merge", filepath.Join(mediatest.Dir(t), name), out)
			official, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			var ours bytes.Buffer
			if err := parser.NewReader(bytes.NewReader(in)).Visit(t.Context(), parser.NewMerger(&ours)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ours.Bytes(), official) {
				t.Errorf("%d bytes, the official merger writes %d, or others", ours.Len(), len(official))
			}
		})
	}
}

// TestJavaProducer: the official producer, with its native core, streams
// pictures from a folder; every one of them comes back.
func TestJavaProducer(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	s.CreateStream("producer", 24*time.Hour)
	dir := t.TempDir()
	// The service looks at no payload, so noise will do; the producer wants the
	// length-prefixed form that its parameter sets speak of.
	sent := map[frame]bool{}
	for i := 1; i <= 150; i++ {
		b := make([]byte, 2000)
		rand.Read(b)
		copy(b, []byte{0, 0, 0x07, 0xcc}) // one unit of 1996 bytes
		b[4] = 0x41
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("frame-%03d.h264", i)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		sent[sum(1, b)] = true
	}
	// It streams until enough has arrived, or until there is no hope.
	stdin, enough, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer enough.Close()
		in := kvsapi.ListFragmentsInput{Stream: sluice.StreamRef{Name: "producer"}, From: time.Unix(1, 0), To: time.Now().Add(time.Hour)}
		for {
			if list, _, err := s.Client().ListFragments(ctx, &in); ctx.Err() != nil || err == nil && len(list) >= 5 {
				return
			}
			sleep(ctx, 200*time.Millisecond)
		}
	}()
	lines := javaWith(t, stdin, s, "produce", "producer", dir)
	cancel()
	<-ended
	if len(lines) == 1 && lines[0].Unloadable != "" {
		t.Skip("the official producer's native library does not load here: " + lines[0].Unloadable)
	}
	frames, fragments := 0, map[string]bool{}
	for _, l := range java(t, s, "list", "producer") {
		if l.SHA256 == "" {
			continue
		}
		frames++
		fragments[l.Fragment] = true
		if !sent[frame{1, l.Size, l.SHA256}] {
			t.Errorf("frame of %d bytes that nobody sent", l.Size)
		}
	}
	if frames < 75 || len(fragments) < 3 {
		t.Errorf("%d frames in %d fragments of about 125 in 5", frames, len(fragments))
	}
}
