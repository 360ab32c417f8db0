package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	stuck := time.After(5 * time.Minute)
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

// tail is the last lines, for a test that failed.
func (l *lines) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text[max(0, len(l.text)-12):], "\n")
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
	args = append([]string{"server", "--data", data, "--debug-listen=127.0.0.1:0"}, args...)
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--listen=") }) {
		args = append(args, "--listen=127.0.0.1:0")
	}
	p.cmd = sluiceCommand(args...)
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
	case <-time.After(5 * time.Minute):
		p.t.Fatal("the server does not end")
		return -1
	}
}

// stop ends the server as an operator does, and wants it to end well.
func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Errorf("SIGTERM: exit code %d", code)
	}
}

// env is what 'sluice env' says of the server.
func (p *process) env() (map[string]string, error) {
	out, err := sluiceCommand("env", "--json", "--data", p.data).Output()
	if err != nil {
		return nil, fmt.Errorf("sluice env: %w", err)
	}
	env := map[string]string{}
	return env, json.Unmarshal(out, &env)
}

// run runs another verb against the server and returns its stdout.
func (p *process) run(args ...string) string {
	p.t.Helper()
	env, err := p.env()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := sluiceCommand(args...)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

func (p *process) client() *kvsapi.Client {
	p.t.Helper()
	env, err := p.env()
	if err != nil {
		p.t.Fatal(err)
	}
	return kvsapi.NewFromConfig(aws.Config{
		Region: env["AWS_REGION"],
		Credentials: credentials.StaticCredentialsProvider{Value: aws.Credentials{
			AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"],
		}},
		RetryMaxAttempts: 1,
	}, env["AWS_ENDPOINT_URL"])
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
	p.stop()
}
