package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/server"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// childEnv makes the test binary the sluice binary.
const childEnv = "SLUICE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Unsetenv(childEnv)
		os.Exit(cli.Main(os.Args[1:], cli.OSEnv()))
	}
	os.Exit(m.Run())
}

// process is a running 'sluice server'.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	log  *lines
	data string
	done chan error
}

// lines collects a log and wakes who waits for a line.
type lines struct {
	mu   sync.Mutex
	text []string
	more chan struct{}
}

func (l *lines) read(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		l.mu.Lock()
		l.text = append(l.text, s.Text())
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
	}
}

// wait returns the first line that holds word.
func (l *lines) wait(t *testing.T, word string) string {
	t.Helper()
	stuck := time.After(time.Minute)
	for i := 0; ; {
		l.mu.Lock()
		more := l.more
		for ; i < len(l.text); i++ {
			if strings.Contains(l.text[i], word) {
				defer l.mu.Unlock()
				return l.text[i]
			}
		}
		text := strings.Join(l.text, "\n")
		l.mu.Unlock()
		select {
		case <-more:
		case <-stuck:
			t.Fatalf("no line with %q in\n%s", word, text)
		}
	}
}

func sluiceCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SLUICE_") && !strings.HasPrefix(e, "AWS_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, childEnv+"=1", "AWS_EC2_METADATA_DISABLED=true")
	return cmd
}

// start runs the server on data and waits until it listens.
func start(t *testing.T, data string, args ...string) *process {
	t.Helper()
	p := &process{t: t, data: data, log: &lines{more: make(chan struct{})}, done: make(chan error, 1)}
	p.cmd = sluiceCommand(append([]string{"server", "--data", data, "--listen=127.0.0.1:0", "--debug-listen=127.0.0.1:0"}, args...)...)
	p.cmd.Stdout = &p.out
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() {
		p.log.read(pipe)
		p.done <- p.cmd.Wait()
	}()
	p.log.wait(t, "msg=listening")
	return p
}

// end waits for the process's end and returns its exit code.
func (p *process) end() int {
	p.t.Helper()
	select {
	case err := <-p.done:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		if err != nil {
			p.t.Fatal(err)
		}
		return 0
	case <-time.After(time.Minute):
		p.t.Fatal("the server does not end")
		return -1
	}
}

func (p *process) client() *kvsapi.Client {
	p.t.Helper()
	state, err := server.ReadState(p.data)
	if err != nil {
		p.t.Fatal(err)
	}
	var env map[string]string
	out, err := sluiceCommand("env", "--json", "--data", p.data).Output()
	if err != nil || json.Unmarshal(out, &env) != nil {
		p.t.Fatalf("sluice env: %v\n%s", err, out)
	}
	c := kvsapi.NewFromConfig(aws.Config{
		Region: state.Region,
		Credentials: credentials.StaticCredentialsProvider{Value: aws.Credentials{
			AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"],
		}},
		RetryMaxAttempts: 1,
	}, env["AWS_ENDPOINT_URL"])
	return c
}

func TestSignals(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "sluice.toml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("region = \"eu-north-1\"\n")
	p := start(t, data, "--config", file)

	second := sluiceCommand("server", "--data", data, "--listen=127.0.0.1:0", "--debug-listen=off")
	out, err := second.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), fmt.Sprintf("belongs to process %d", p.cmd.Process.Pid)) {
		t.Errorf("second server: %v\n%s", err, out)
	}

	write("region = \"eu-north-2\"\nlog-level = \"debug\"\n[limit]\nstreams = 1\n")
	p.cmd.Process.Signal(syscall.SIGHUP)
	if l := p.log.wait(t, "settings reloaded"); !strings.Contains(l, "log-level") || !strings.Contains(l, "limit-streams") {
		t.Error(l)
	}
	if l := p.log.wait(t, "need a restart"); !strings.Contains(l, "region") {
		t.Error(l)
	}
	c := p.client().Control()
	for i := range 2 {
		_, err := c.CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String(fmt.Sprint("s", i))})
		var limit *types.AccountStreamLimitExceededException
		if (i == 1) != errors.As(err, &limit) {
			t.Errorf("stream %d of 1: %v", i+1, err)
		}
	}
	write("nonsense = 1\n")
	p.cmd.Process.Signal(syscall.SIGHUP)
	p.log.wait(t, "settings not reloaded")

	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		t.Errorf("SIGTERM: exit code %d", code)
	}
	p.log.wait(t, "msg=stopped")
	if n := strings.Count(p.out.String(), "\n"); n != 5 {
		t.Errorf("the first start printed\n%s", &p.out)
	}
	p = start(t, data)
	p.cmd.Process.Signal(syscall.SIGINT)
	if code := p.end(); code != 0 || p.out.Len() != 0 {
		t.Errorf("SIGINT: exit code %d, stdout %q", code, &p.out)
	}
}

// TestShutdownOfSessions: SIGTERM under a session lets the open fragment end and
// acknowledges it.
func TestShutdownOfSessions(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "data"))
	c := p.client()
	if _, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String("cam"), DataRetentionInHours: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	body, media := io.Pipe()
	session, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: "cam"}, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	cam := sluicetest.Camera{}
	now := time.Now().UnixMilli()
	media.Write(cam.Header())
	f := cam.Fragment(0, now)
	media.Write(f[:len(f)/2])
	if a, err := session.Next(); err != nil || a.Event != sluice.AckBuffering {
		t.Fatal(a, err)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.log.wait(t, "shutting down")
	media.Write(f[len(f)/2:])
	media.Write(cam.Fragment(1, now+1000))
	var got []sluice.AckEvent
	for {
		a, err := session.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		got = append(got, a.Event)
	}
	media.Close()
	if !slices.Contains(got, sluice.AckPersisted) {
		t.Errorf("acknowledgements %v, want PERSISTED among them", got)
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestKill kills the server in the middle of control calls and media, again and
// again. Whatever was answered must be there afterwards: every change, and every
// fragment that was acknowledged as PERSISTED, byte for byte.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("go test -short")
	}
	t.Parallel()
	rounds, writers := 20, 20
	if os.Getenv("SLUICE_LONG") != "" {
		rounds = 200
	}
	data := filepath.Join(t.TempDir(), "data")
	k := &killTest{t: t, tags: map[string]string{}, persisted: make([]map[sluice.FragmentNumber]int64, writers), next: make([]int64, writers)}
	for i := range k.persisted {
		k.persisted[i] = map[sluice.FragmentNumber]int64{}
		k.next[i] = time.Now().UnixMilli()
	}
	total := 0
	for round := range rounds {
		p := start(t, data)
		client := p.client()
		k.verify(client, round == rounds-1)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() { k.write(ctx, client, w) })
		}
		wg.Go(func() { k.change(ctx, client.Control()) })
		time.Sleep(time.Duration(50+rand.IntN(700)) * time.Millisecond) // the moment of the kill, no synchronisation
		p.cmd.Process.Kill()
		p.end()
		cancel()
		wg.Wait()
	}
	p := start(t, data)
	k.verify(p.client(), true)
	for _, m := range k.persisted {
		total += len(m)
	}
	t.Logf("%d rounds, %d answered changes, %d fragments acknowledged, none lost", rounds, k.changes, total)
	if k.changes == 0 || total == 0 {
		t.Error("nothing was tested")
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.end()
}

type killTest struct {
	t    *testing.T
	mu   sync.Mutex // tags and what follows, and the maps in persisted
	tags map[string]string
	// maybe are the tags of a change that was not answered: it may or may not
	// have happened.
	maybe   map[string]string
	changes int

	persisted []map[sluice.FragmentNumber]int64 // by writer: number -> timecode, the fragment's seed
	next      []int64
}

func streamOf(writer int) string { return fmt.Sprintf("writer-%d", writer) }

// cam is small, so that many fragments are decided between two kills.
var cam = sluicetest.Camera{Frames: 5, Size: 2000, Every: 20 * time.Millisecond}

// write sends fragments until the server is gone. The timecode of a fragment is
// also its number in the camera's sequence.
func (k *killTest) write(ctx context.Context, c *kvsapi.Client, w int) {
	name := streamOf(w)
	c.Control().CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &name, DataRetentionInHours: aws.Int32(24)}) // or it is there
	body, media := io.Pipe()
	session, err := c.PutMedia(ctx, &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: name}, Body: body})
	if err != nil {
		return // killed before it began
	}
	defer session.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := media.Write(cam.Header())
		for err == nil {
			at := k.next[w]
			k.next[w] += cam.Length().Milliseconds()
			_, err = media.Write(cam.Fragment(int(at), at))
		}
	})
	for {
		a, err := session.Next()
		if err != nil {
			break
		}
		if a.Event == sluice.AckPersisted {
			k.mu.Lock()
			k.persisted[w][a.Number] = a.Timecode
			k.mu.Unlock()
		}
		if a.Event == sluice.AckError {
			k.t.Errorf("%s: %v", name, a)
			break
		}
	}
	body.CloseWithError(io.ErrClosedPipe)
	wg.Wait()
}

// change tags and untags one stream, and remembers what was answered.
func (k *killTest) change(ctx context.Context, c *kinesisvideo.Client) {
	name := "changed"
	c.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &name})
	for {
		key, value := fmt.Sprint("k", rand.IntN(20)), fmt.Sprint(rand.Uint64())
		wanted := maps.Clone(k.tags)
		var err error
		if rand.IntN(3) == 0 {
			delete(wanted, key)
			_, err = c.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamName: &name, TagKeyList: []string{key}})
		} else {
			wanted[key] = value
			_, err = c.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &name, Tags: map[string]string{key: value}})
		}
		if err != nil {
			k.maybe = wanted
			return
		}
		k.tags, k.maybe = wanted, nil
		k.changes++
	}
}

// verify compares what is there with what was answered. media compares the
// fragments' bytes too; without it only that they are listed.
func (k *killTest) verify(c *kvsapi.Client, media bool) {
	t := k.t
	t.Helper()
	if k.changes > 0 {
		out, err := c.Control().ListTagsForStream(t.Context(), &kinesisvideo.ListTagsForStreamInput{StreamName: aws.String("changed")})
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(out.Tags, k.tags) && (k.maybe == nil || !maps.Equal(out.Tags, k.maybe)) {
			t.Fatalf("tags %v\nwant %v\nor   %v", out.Tags, k.tags, k.maybe)
		}
		k.tags, k.maybe = out.Tags, nil
		if k.tags == nil {
			k.tags = map[string]string{}
		}
	}
	for w, want := range k.persisted {
		if len(want) == 0 {
			continue
		}
		stream := sluice.StreamRef{Name: streamOf(w)}
		listed := map[sluice.FragmentNumber]bool{}
		for f, err := range parser.List(t.Context(), c, kvsapi.ListFragmentsInput{Stream: stream, From: time.Unix(1, 0), To: time.Now().Add(time.Hour), Max: 1000}) {
			if err != nil {
				t.Fatal(err)
			}
			listed[f.Number] = true
		}
		for n := range want {
			if !listed[n] {
				t.Errorf("%s: fragment %v was PERSISTED and is not listed", stream, n)
			}
		}
		if !media {
			continue
		}
		numbers := slices.SortedFunc(maps.Keys(want), sluice.FragmentNumber.Compare)
		for f, err := range parser.FetchList(t.Context(), c, stream, numbers, parser.FetchOptions{Batch: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Err != nil {
				t.Errorf("%s: fragment %v: %v", stream, f.Number, f.Err)
				continue
			}
			at := want[f.Number]
			if !bytes.Contains(f.Bytes, cam.Fragment(int(at), at)) {
				t.Errorf("%s: fragment %v did not come back as sent", stream, f.Number)
			}
		}
	}
}

// TestDebugListener: the real process has health, metrics and profiles on it.
func TestDebugListener(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "data"))
	state, err := server.ReadState(p.data)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/streams", "/debug/store", "/debug/pprof/goroutine?debug=1"} {
		resp, err := http.Get(state.Debug + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.end()
}
