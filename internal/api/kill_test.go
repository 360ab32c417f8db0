package api_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/db"
)

const childEnv = "SLUICE_TEST_API_CHILD"

// TestMain is also the server process of TestKill, when the environment says so.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := child(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child serves the catalog at path until it is killed.
func child(path string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, db.Options{Path: path})
	if err != nil {
		return err
	}
	c, err := catalog.Open(ctx, d, catalog.Options{Region: region, Account: account})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, api.New(api.Options{Region: region, Account: account, Catalog: c, Auth: door{}}))
}

// life is what a client knows of its stream: what was answered, and the one
// change that may or may not have happened when the server was killed.
type life struct {
	name      string
	arn       string // "": not made
	retention int32
	tags      map[string]string
	deleting  bool

	pending string // the call whose answer did not come
	key     string // its tag
}

// TestKill kills a real server process in the middle of mixed calls, two
// hundred times over the same database: no answered change is ever lost.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 200
	if testing.Short() {
		rounds = 10
	}
	path := filepath.Join(t.TempDir(), "catalog.db")
	answered := 0
	for round := range rounds {
		lives := make([]*life, 4)
		for i := range lives {
			lives[i] = &life{name: fmt.Sprintf("r%d-%d", round, i), tags: map[string]string{}}
		}
		answered += killedRound(t, path, lives, rand.IntN(30))
		check(t, path, lives)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d answered changes in %d rounds", answered, rounds)
}

func killedRound(t *testing.T, path string, lives []*life, after int) (answered int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	kill := sync.OnceFunc(func() { cmd.Process.Kill() })
	defer kill()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	// Each answer is counted; after the drawn number the server is killed,
	// while the other clients have calls under way.
	counted := make(chan struct{})
	var wg sync.WaitGroup
	for _, l := range lives {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			c := kinesisvideo.New(kinesisvideo.Options{Region: region, BaseEndpoint: aws.String("http://" + addr[:len(addr)-1]), RetryMaxAttempts: 1,
				HTTPClient: &http.Client{Transport: transport, Timeout: 20 * time.Second}, Credentials: credentials.NewStaticCredentialsProvider("ROOT", "secret", "")})
			for l.step(t, c) {
				counted <- struct{}{}
			}
		})
	}
	go func() {
		wg.Wait()
		close(counted)
	}()
	for range counted {
		if answered++; answered == after+1 {
			kill()
		}
	}
	return answered
}

// step makes one change and notes the answer; false when none came.
func (l *life) step(t *testing.T, c *kinesisvideo.Client) bool {
	ctx := context.Background()
	var err error
	switch n := rand.IntN(10); {
	case l.arn == "":
		l.pending = "create"
		var out *kinesisvideo.CreateStreamOutput
		if out, err = c.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &l.name}); err == nil {
			l.arn = *out.StreamARN
		}
	case l.deleting:
		l.pending = "describe"
		_, err = c.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &l.name})
	case n < 4:
		l.pending, l.key = "tag", fmt.Sprint("k", rand.IntN(40))
		if _, err = c.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamARN: &l.arn, Tags: map[string]string{l.key: "v"}}); err == nil {
			l.tags[l.key] = "v"
		}
	case n < 6:
		l.pending, l.key = "untag", fmt.Sprint("k", rand.IntN(40))
		if _, err = c.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamARN: &l.arn, TagKeyList: []string{l.key}}); err == nil {
			delete(l.tags, l.key)
		}
	case n < 9:
		l.pending = "retention"
		var out *kinesisvideo.DescribeStreamOutput
		if out, err = c.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &l.name}); err != nil {
			break
		}
		if _, err = c.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: &l.name, CurrentVersion: out.StreamInfo.Version,
			Operation: types.UpdateDataRetentionOperationIncreaseDataRetention, DataRetentionChangeInHours: aws.Int32(1)}); err == nil {
			l.retention++
		}
	default:
		l.pending = "delete"
		if _, err = c.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: &l.arn}); err == nil {
			l.deleting = true
		}
	}
	if err == nil {
		l.pending = ""
	}
	return err == nil
}

// check compares what is in the database with what was answered.
func check(t *testing.T, path string, lives []*life) {
	t.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, db.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c, err := catalog.Open(ctx, d, catalog.Options{Region: region, Account: account})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, l := range lives {
		s, err := c.Describe(ctx, sluice.StreamRef{Name: l.name})
		if l.arn == "" {
			if sluice.CodeOf(err) != sluice.ResourceNotFound && (err != nil || l.pending != "create") {
				t.Errorf("%s was never made: %v", l.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", l.name, err)
			continue
		}
		retention, deleting, tags := l.retention, l.deleting, maps.Clone(l.tags)
		switch got := int32(s.Retention / time.Hour); {
		case l.pending == "retention" && got == retention+1:
			retention++
		case l.pending == "delete" && s.Status == catalog.Deleting:
			deleting = true
		case l.pending == "tag" && s.Tags[l.key] != "":
			tags[l.key] = "v"
		case l.pending == "untag" && s.Tags[l.key] == "":
			delete(tags, l.key)
		}
		if s.ARN.String() != l.arn || s.Retention != time.Duration(retention)*time.Hour || (s.Status == catalog.Deleting) != deleting || !maps.Equal(s.Tags, tags) {
			t.Errorf("%s (pending %s %s): there is %v %v %v %v; answered was %v %d h deleting=%v %v",
				l.name, l.pending, l.key, s.ARN, s.Retention, s.Status, s.Tags, l.arn, retention, deleting, tags)
		}
	}
}
