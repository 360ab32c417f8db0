package cli_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
)

var (
	anyMs      = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
	anyVersion = regexp.MustCompile(`(Version(?:": "|  ))[A-Za-z0-9]{20}\b`)
	anyNumber  = regexp.MustCompile(`\b9\d{46}\b`)
	anyPort    = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

func golden(s string) string {
	s = anyMs.ReplaceAllString(s, "DATE")
	s = anyNumber.ReplaceAllString(s, "NUMBER")
	s = anyPort.ReplaceAllString(settled(s), "HOST")
	return anyVersion.ReplaceAllString(s, "${1}VERSION")
}

// TestStreamVerbs is each verb's output, for people and for programs, and its
// exit code when it fails.
func TestStreamVerbs(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	env := serverEnviron(s, s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey)
	const arn = "arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam1/CODE"
	for _, c := range []struct {
		args string
		code int
		out  string // stdout, settled
		errs string // held by stderr
	}{
		{args: "stream list", out: "NAME  STATUS  RETENTION  MEDIA TYPE  CREATED\n"},
		{args: "stream list --json", out: "[]\n"},
		{args: "stream create cam1 --retention 24h --media-type video/h264 --device d1 --tag a=1", out: arn + "\n"},
		{args: "stream create cam2 --json", out: "{\n  \"StreamARN\": \"" + strings.Replace(arn, "cam1", "cam2", 1) + "\"\n}\n"},
		{args: "stream create cam3", out: strings.Replace(arn, "cam1", "cam3", 1) + "\n", errs: "keeps nothing"},
		{args: "stream create cam1", code: cli.ExitFailure, errs: "ResourceInUseException: The stream cam1 already exists."},
		{args: "stream create bad/name", code: cli.ExitFailure, errs: "InvalidArgumentException: "},
		{args: "stream create cam4 --retention 90m", code: cli.ExitUsage, errs: "want whole hours"},
		{args: "stream create cam4 --tag x", code: cli.ExitUsage, errs: "want KEY=VALUE"},
		{args: "stream list --prefix cam", out: "NAME  STATUS  RETENTION  MEDIA TYPE  CREATED\n" +
			"cam1  ACTIVE  24h  video/h264  DATE\ncam2  ACTIVE  nothing kept  -  DATE\ncam3  ACTIVE  nothing kept  -  DATE\n"},
		{args: "stream list --max 1 --json", out: `[
  {
  "StreamName": "cam1",
  "StreamARN": "` + arn + `",
  "Status": "ACTIVE",
  "Version": "VERSION",
  "CreationTime": "DATE",
  "DataRetentionInHours": 24,
  "MediaType": "video/h264",
  "DeviceName": "d1",
  "KmsKeyId": "arn:aws:kms:us-west-2:000000000000:alias/aws/kinesisvideo"
  }
]
`},
		{args: "stream describe cam1", out: "Name  cam1\nARN  " + arn + "\nStatus  ACTIVE\nRetention  24h\nMedia type  video/h264\nDevice  d1\n" +
			"Key  arn:aws:kms:us-west-2:000000000000:alias/aws/kinesisvideo\nCreated  DATE\nVersion  VERSION\n"},
		{args: "stream describe nobody", code: cli.ExitNotFound, errs: "/console/docs/troubleshooting.html#the-requested-stream-is-not-found-or-not-active\n"},
		{args: "stream update cam1", code: cli.ExitUsage, errs: "nothing to change"},
		{args: "stream update cam1 --media-type video/h265", out: "cam1 updated\n"},
		{args: "stream retention cam1 7d", out: "cam1: retention 7d, was 24h\n"},
		{args: "stream retention cam1 7d", out: "cam1: retention 7d, was 7d\n"},
		{args: "stream retention cam1 1h --json", out: "{\n  \"Before\": 168,\n  \"DataRetentionInHours\": 1\n}\n"},
		{args: "stream retention cam1 soon", code: cli.ExitUsage, errs: `duration "soon"`},
		{args: "stream tag cam1 b=2 c=", out: "cam1: 2 tagged\n"},
		{args: "stream tags cam1", out: "KEY  VALUE\na  1\nb  2\nc  -\n"},
		{args: "stream untag cam1 c a", out: "cam1: 2 untagged\n"},
		{args: "stream tags cam1 --json", out: "{\n  \"b\": \"2\"\n}\n"},
		{args: "stream endpoint cam1", out: "http://HOST\n"},
		{args: "stream endpoint cam1 get-media --json", out: "{\n  \"DataEndpoint\": \"http://HOST\"\n}\n"},
		{args: "stream endpoint cam1 GET_LOST", code: cli.ExitFailure, errs: "InvalidArgumentException"},
		{args: "stream delete cam2", out: "cam2 deleted\n"},
		{args: "stream delete cam9", code: cli.ExitNotFound, errs: "ResourceNotFoundException"},
		{args: "stream describe", code: cli.ExitUsage, errs: "usage: sluice stream describe STREAM"},
		{args: "stream lsit", code: cli.ExitUsage, errs: `did you mean "list"?`},
		{args: "stream list --region eu-north-1", code: cli.ExitDenied, errs: "InvalidSignatureException"},
		{args: "fragment list cam1", out: "NUMBER  SERVER TIME  PRODUCER TIME  LENGTH  SIZE\n"},
		{args: "fragment list cam1 --json", out: "[]\n"},
		{args: "fragment list nobody", code: cli.ExitNotFound, errs: "See http://"},
		{args: "fragment get cam1 12 -o -", code: cli.ExitNotFound, errs: "was not found"},
		{args: "fragment get cam1 twelve", code: cli.ExitUsage, errs: "not a fragment number"},
		{args: "get cam1 --from earliest --to now -o -", code: cli.ExitNotFound, errs: "no fragment yet"},
		{args: "get cam3 --from earliest --to now -o -", code: cli.ExitNotFound, errs: "keeps nothing"},
		{args: "get cam1 --to now --for 1m", code: cli.ExitUsage, errs: "exclude each other"},
		{args: "get cam1 --from yesterday", code: cli.ExitUsage, errs: `TIME "yesterday"`},
	} {
		r := run(t, env, strings.Fields(c.args)...)
		if r.code != c.code || !strings.Contains(r.errors, c.errs) {
			t.Errorf("sluice %s: code %d, want %d; stderr %q, want %q", c.args, r.code, c.code, r.errors, c.errs)
		}
		if d := cmp.Diff(c.out, golden(r.out)); d != "" {
			t.Errorf("sluice %s: %s", c.args, d)
		}
	}
}

// TestMediaVerbs sends the demo clip and gets it back in each way.
func TestMediaVerbs(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	env := serverEnviron(s, s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey)
	do := func(args ...string) result {
		t.Helper()
		r := run(t, env, args...)
		if r.code != 0 {
			t.Fatalf("sluice %s: code %d, stderr %s", strings.Join(args, " "), r.code, r.errors)
		}
		return r
	}
	s.CreateStream("cam", time.Hour)
	now := time.Now()
	acks, err := sluicetest.Camera{Seed: 1}.Put(t.Context(), s.Client(), streamNamed("cam"), 5, now)
	if err != nil || len(acks) != 15 {
		t.Fatalf("%d acks, %v", len(acks), err)
	}
	var list []struct {
		FragmentNumber               string
		FragmentLengthInMilliseconds int
	}
	if r := do("fragment", "list", "cam", "--json"); json.Unmarshal([]byte(r.out), &list) != nil || len(list) != 5 || list[0].FragmentLengthInMilliseconds != 960 {
		t.Fatalf("fragments: %s", r.out)
	}
	if r := do("fragment", "list", "cam", "--max", "1"); golden(r.out) != "NUMBER  SERVER TIME  PRODUCER TIME  LENGTH  SIZE\nNUMBER  DATE  DATE  960ms  24.7 KiB\n" {
		t.Errorf("fragment list: %q", golden(r.out))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "cam.mkv")
	count := func(path string) int {
		t.Helper()
		return strings.Count(do("mkv", "dump", "--frames", "--json", path).out, "\n")
	}
	for _, c := range []struct {
		args   string
		frames int
	}{
		{"--from earliest --to now", 125},
		{"--from " + list[1].FragmentNumber + " --to now", 75},
		{"--from earliest --for 2500ms --by producer", 75},
		{"--from earliest --to now --raw", 125},
	} {
		r := do(append([]string{"get", "cam", "-o", file}, strings.Fields(c.args)...)...)
		if n := count(file); n != c.frames {
			t.Errorf("get %s: %d frames, want %d; %s", c.args, n, c.frames, r.errors)
		}
		if !strings.Contains(r.errors, "fragments") || !strings.Contains(r.errors, "go on with --from "+list[len(list)-1].FragmentNumber) && !strings.Contains(c.args, "--for") {
			t.Errorf("get %s: summary %q", c.args, r.errors)
		}
	}
	// A file can be sought in, and begins at 0; on stdout is what came.
	do("get", "cam", "-o", file, "--from", "earliest", "--to", "now")
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	size := bytes.Index(saved, []byte{0x18, 0x53, 0x80, 0x67, 0x01}) + 4
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(saved)
	d.Close()
	first := time.Duration(-1)
	for first < 0 {
		ev, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(ev.Frames) > 0 {
			first = ev.Frames[0].Timecode
		}
	}
	if size < 4 || binary.BigEndian.Uint64(saved[size:])&^(1<<56) != uint64(len(saved)-size-8) || !bytes.Contains(saved, []byte{0x1c, 0x53, 0xbb, 0x6b}) ||
		!bytes.Contains(saved, binary.BigEndian.AppendUint64([]byte{0x44, 0x89, 0x88}, math.Float64bits(4960))) || first != 0 || !bytes.Contains(saved, []byte("DATE_RECORDED")) {
		t.Errorf("get -o FILE: %d bytes, first frame at %v", len(saved), first)
	}
	piped := do("get", "cam", "-o", "-", "--from", "earliest", "--to", "now").out
	for i := range 5 {
		if !strings.Contains(piped, string(sluicetest.Camera{Seed: 1}.Fragment(i, now.UnixMilli()+1000*int64(i)))) {
			t.Errorf("get -o -: fragment %d is not there as it was sent", i)
		}
	}
	do("fragment", "get", "cam", list[3].FragmentNumber, list[0].FragmentNumber, "-o", file)
	again := strings.TrimSuffix(file, ".mkv") + "-2.mkv"
	if _, err := os.Stat(again); err != nil || count(file) != 25 || count(again) != 25 {
		t.Errorf("two fragments in the wrong order: %v; %d frames, want two files of 25", err, count(file))
	}
	if r := run(t, env, "fragment", "get", "cam", list[0].FragmentNumber, "5", "-o", file); r.code != cli.ExitIncomplete || count(file) != 25 {
		t.Errorf("one of two fragments: %+v", r)
	}
	tapped := do("tap", "cam", "--from", "earliest", "--frames", "--for", "1s")
	if strings.Count(tapped.out, "\n") != 1+5*(1+25+1) || !strings.Contains(tapped.out, "tracks    1 video V_MPEG4/ISO/AVC 640x480\n") {
		t.Errorf("tap: %d lines\n%s", strings.Count(tapped.out, "\n"), tapped.out)
	}
	// The producer's tags, too.
	s.CreateStream("tagged", time.Hour)
	one := sluicetest.Camera{Seed: 2}
	session, err := s.Client().PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: streamNamed("tagged"), Body: bytes.NewReader(slices.Concat(
		one.Header(), one.Fragment(0, now.UnixMilli()), mkv.AppendTags(nil, sluice.Tag{Name: "door", Value: "open"})))})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if a, err := session.Next(); err == io.EOF {
			break
		} else if err != nil || a.Event == sluice.AckError {
			t.Fatal(a, err)
		}
	}
	if r := do("tap", "tagged", "--from", "earliest", "--for", "1s"); !strings.Contains(r.out, "  tag     \"door\" = \"open\"\n  end     25 frames") {
		t.Errorf("tap of tags:\n%s", r.out)
	}
	if r := do("tap", "tagged", "--from", "earliest", "--for", "1s", "--json"); !strings.Contains(r.out, `"tags":[{"name":"door","value":"open"}]`) {
		t.Errorf("tap --json of tags:\n%s", r.out)
	}
	tapped = do("tap", "cam", "--from", "earliest", "--json", "--for", "1s")
	for line := range strings.Lines(tapped.out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("tap --json: %s", line)
		}
	}
	if n := strings.Count(tapped.out, "\n"); n != 10 {
		t.Errorf("tap --json: %d lines, want 10", n)
	}
}

func TestServerSettings(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	for _, c := range []struct {
		args string
		code int
		out  string // held by stdout
		errs string // held by stderr
	}{
		{args: "server --print-config --region eu-north-1", out: "region"},
		{args: "server --check-config --data " + data, out: "the settings are good\n"},
		{args: "server --check-config --tls-cert /nonexistent --tls-key /nonexistent --data " + data, code: cli.ExitFailure, errs: "tls-cert"},
		{args: "server --lisen :1", code: cli.ExitUsage, errs: "did you mean --listen?"},
		{args: "server --listen 1", code: cli.ExitUsage, errs: "want HOST:PORT"},
		{args: "server --memory 1MiB", code: cli.ExitUsage, errs: "at least 200MiB"},
		{args: "server --help", out: "--limit-fragment-duration DURATION"},
		{args: "doctor --listen 127.0.0.1:0 --debug-listen off --data " + data, out: "disk sync: "},
	} {
		r := run(t, []string{"SLUICE_LISEN=x"}, strings.Fields(c.args)...)
		if r.code != c.code || !strings.Contains(r.out, c.out) || !strings.Contains(r.errors, c.errs) {
			t.Errorf("sluice %s: %+v", c.args, r)
		}
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("--check-config and doctor made the data directory: %v", err)
	}
	help := run(t, nil, "server", "--help").out
	for _, want := range []string{"(default 127.0.0.1:8470)", "(default us-west-2)", "(default ./sluice-data)", "by --rates", "SLUICE_"} {
		if !strings.Contains(help, want) {
			t.Errorf("server --help does not say %q", want)
		}
	}
}

func TestEnv(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t, "--tls-self-signed", "--listen=off")
	for shell, want := range map[string][]string{
		"sh":         {"export AWS_ENDPOINT_URL='" + s.Endpoint + "'\n", "export AWS_SECRET_ACCESS_KEY='" + s.Credentials.SecretAccessKey + "'\n", "export AWS_KVS_CACERT_PATH='" + s.CAFile + "'\n", "unset AWS_SESSION_TOKEN\n"},
		"fish":       {"set -gx CONTROL_PLANE_URI '" + s.Endpoint + "';\n", "set -e AWS_PROFILE;\n"},
		"powershell": {"$Env:AWS_ENDPOINT_URL_KINESIS_VIDEO = '" + s.Endpoint + "'\n", "$Env:AWS_CA_BUNDLE = '" + s.CAFile + "'\n"},
	} {
		r := run(t, nil, "env", "--data", s.Data, "--shell", shell)
		for _, w := range want {
			if r.code != 0 || !strings.Contains(r.out, w) {
				t.Errorf("env --shell %s: code %d, no %q in\n%s", shell, r.code, w, r.out)
			}
		}
	}
	if r := run(t, []string{"SHELL=/usr/bin/fish", "SLUICE_DATA=" + s.Data}, "env"); r.code != 0 || !strings.HasPrefix(r.out, "set -gx") {
		t.Errorf("env in fish: %+v", r)
	}
	// What it prints is enough for our own verbs, over https with the server's CA.
	var vars map[string]string
	if err := json.Unmarshal([]byte(run(t, nil, "env", "--data", s.Data, "--json").out), &vars); err != nil {
		t.Fatal(err)
	}
	environ := []string{"HOME=" + s.Data}
	for k, v := range vars {
		environ = append(environ, k+"="+v)
	}
	if r := run(t, environ, "stream", "list"); r.code != 0 || !strings.HasPrefix(vars["AWS_ENDPOINT_URL"], "https://") {
		t.Errorf("stream list with that: %+v", r)
	}
	if r := run(t, nil, "env", "--data", t.TempDir()); r.code != cli.ExitFailure || !strings.Contains(r.errors, "no server runs on") {
		t.Errorf("env without a server: %+v", r)
	}
	if r := run(t, nil, "env", "--data", s.Data, "--shell", "tcsh"); r.code != cli.ExitUsage {
		t.Errorf("env --shell tcsh: %+v", r)
	}
}

func streamNamed(name string) sluice.StreamRef { return sluice.StreamRef{Name: name} }
