package producer_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/producer"
)

// TestKilledServer is the server of TestServerIsKilled.
func TestKilledServer(t *testing.T) {
	dir, port := os.Getenv("SLUICE_KILL_DATA"), os.Getenv("SLUICE_KILL_PORT")
	if dir == "" {
		return
	}
	srv := sluicetest.Start(t, "--data="+dir, "--listen=127.0.0.1:"+port)
	fmt.Printf("SERVER %s %s %s\n", srv.Region, srv.Credentials.AccessKeyID, srv.Credentials.SecretAccessKey)
	select {} // until it is killed
}

// child is a server in a process of its own, to be killed.
type child struct {
	t    testing.TB
	dir  string
	port string
	cmd  *exec.Cmd
	srv  *sluicetest.Server // how to reach it
}

func newChild(t testing.TB) *child {
	_, port, err := net.SplitHostPort(sluicetest.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, dir: t.TempDir(), port: port}
	t.Cleanup(c.kill)
	return c
}

func (c *child) start() {
	c.t.Helper()
	c.cmd = exec.Command(os.Args[0], "-test.run=^TestKilledServer$", "-test.timeout=10m")
	c.cmd.Env = append(os.Environ(), "SLUICE_KILL_DATA="+c.dir, "SLUICE_KILL_PORT="+c.port)
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	var errs bytes.Buffer
	c.cmd.Stderr = &errs
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var region, key, secret string
		if n, _ := fmt.Sscanf(lines.Text(), "SERVER %s %s %s", &region, &key, &secret); n == 3 {
			c.srv = sluicetest.At(c.t, "http://127.0.0.1:"+c.port, region, aws.Credentials{AccessKeyID: key, SecretAccessKey: secret})
			return
		}
	}
	c.t.Fatalf("the server did not start: %s", errs.String())
}

func (c *child) kill() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
	http.DefaultClient.CloseIdleConnections()
}

// A server that is killed and started again, over and over: every frame arrives.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	rounds := 4
	if os.Getenv("SLUICE_LONG") != "" {
		rounds = 50
	}
	c := newChild(t)
	c.start()
	r := newRecorder()
	client := serverClient(t, c.srv, c.srv.Endpoint)
	s, err := client.NewStream(producer.StreamInfo{Name: "cam", Tracks: []sluice.Track{video()}, OnEvent: r.handle, BufferDuration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	frames := 0
	data := strings.Repeat("x", 2000)
	for range rounds {
		for i := range 150 { // six seconds of media in 0.6 s
			if i == 100 {
				c.kill()
			}
			f := producer.FrameAt(epoch.Add(time.Duration(frames)*40*time.Millisecond), frames%25 == 0, fmt.Appendf(nil, "frame %d %s", frames, data))
			if err := s.PutFrame(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			frames++
			time.Sleep(4 * time.Millisecond)
		}
		c.start()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	report, err := s.Stop(ctx)
	if err != nil || len(report.Undelivered) > 0 {
		t.Fatalf("%v, undelivered %v", err, report.Undelivered)
	}
	if d := dropped(r); len(d) > 0 {
		t.Errorf("dropped: %v", d)
	}
	seen := map[string]int{}
	for _, f := range c.srv.Stored("cam") {
		for _, fr := range f.Frames {
			text, _, _ := strings.Cut(string(fr.Data), " x")
			seen[text]++
		}
	}
	twice := 0
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	if len(seen) != frames {
		t.Errorf("%d frames of %d arrived", len(seen), frames)
	}
	if resent := s.Metrics().ResentFragments; int64(twice) > 25*resent {
		t.Errorf("%d frames arrived twice, %d fragments were sent again", twice, resent)
	}
	t.Logf("%d rounds: %d frames, %d of them twice", rounds, frames, twice)
}
