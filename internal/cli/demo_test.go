package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/cli"
)

// console is a Stdout that tells when the demo has said all.
type console struct {
	mu   sync.Mutex
	b    bytes.Buffer
	said chan struct{}
	once sync.Once
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.b.Write(p)
	if strings.Contains(c.b.String(), "Ctrl-C") {
		c.once.Do(func() { close(c.said) })
	}
	return n, err
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// TestDemo runs the demo twice on the same data: the code signs in once, media
// arrives, the keys stay the same, and an interrupt ends it well.
func TestDemo(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	var keys string
	for round := range 2 {
		ctx, interrupt := context.WithCancel(t.Context())
		out, errs := &console{said: make(chan struct{})}, &console{said: make(chan struct{})}
		done := make(chan int, 1)
		go func() {
			done <- cli.Run(ctx, []string{"demo", "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "off", "--debug-listen", "off"}, &cli.Env{
				Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Now: time.Now, Terminal: true,
			})
		}()
		select {
		case <-out.said:
		case code := <-done:
			t.Fatalf("demo ended with %d: %s", code, errs)
		}
		found := regexp.MustCompile(`(http://[0-9.:]+)/console/#code=([0-9a-f]{32})`).FindStringSubmatch(out.String())
		if found == nil {
			t.Fatalf("no address of the console in %s", out)
		}
		url, code := found[1], found[2]
		signIn := func() (status int, key string) {
			res, err := http.Post(url+"/console/sign-in", "application/json", strings.NewReader(`{"Code":"`+code+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var got struct{ AccessKeyID, SessionToken string }
			_ = json.NewDecoder(res.Body).Decode(&got)
			return res.StatusCode, got.AccessKeyID
		}
		if status, key := signIn(); status != 200 || !strings.HasPrefix(key, "ASIA") {
			t.Errorf("sign in: %d %q", status, key)
		}
		if status, _ := signIn(); status != 403 {
			t.Errorf("sign in again: %d", status)
		}
		file := filepath.Join(data, "demo-credentials")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if round == 1 && string(b) != keys {
			t.Error("the keys have changed")
		}
		keys = string(b)
		clip := filepath.Join(t.TempDir(), "out.mkv")
		pair := regexp.MustCompile(`= (\S+)`).FindAllStringSubmatch(keys, -1)
		environ := []string{"AWS_ENDPOINT_URL=" + url, "AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=" + pair[0][1], "AWS_SECRET_ACCESS_KEY=" + pair[1][1]}
		// The stream comes with the camera's first fragment.
		for r := (result{code: -1}); r.code != 0; {
			if r = run(t, environ, "get", "demo-camera", "--from", "now", "--for", "2s", "-o", clip); r.code != 0 && r.code != cli.ExitNotFound {
				t.Fatalf("get: %+v", r)
			}
		}
		if info, err := os.Stat(clip); err != nil || info.Size() < 10_000 {
			t.Errorf("what was read: %v, %v", info, err)
		}
		interrupt()
		if code := <-done; code != 0 {
			t.Errorf("interrupted: code %d, %s", code, errs)
		}
		if errs.String() != "" {
			t.Errorf("stderr: %s", errs)
		}
	}
}

// TestDemoTakesItsDataAway: without --data nothing is left.
func TestDemoTakesItsDataAway(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, interrupt := context.WithCancel(t.Context())
	out := &console{said: make(chan struct{})}
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(ctx, []string{"demo", "--listen", "127.0.0.1:0", "--listen-tls", "off", "--debug-listen", "off"}, &cli.Env{
			Stdin: strings.NewReader(""), Stdout: out, Stderr: out, Now: time.Now,
		})
	}()
	select {
	case <-out.said:
	case code := <-done:
		t.Fatalf("demo ended with %d: %s", code, out)
	}
	if !strings.Contains(out.String(), "Secret key   in ") {
		t.Errorf("a secret is shown to a program:\n%s", out)
	}
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("code %d: %s", code, out)
	}
	if left, err := filepath.Glob(filepath.Join(temp, "sluice-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
