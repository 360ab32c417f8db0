package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/demo"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/parser"
)

// TestSecrecy: what a session leaves behind, on the disk and in a log at the
// level debug, holds neither its media nor a secret, after kill -9 and after an
// orderly end; and when a stream has been deleted, nothing opens its media.
func TestSecrecy(t *testing.T) {
	t.Parallel()
	data, keyFile := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "root.key")
	args := []string{"--log-level=debug", "--root-key-file=" + keyFile}
	p := start(t, data, args...)
	root := p.client()
	env, err := p.env()
	if err != nil {
		t.Fatal(err)
	}

	p.run("user", "create", "cam1")
	p.run("user", "policy", "attach", "cam1", "AmazonKinesisVideoStreamsFullAccess")
	var pair struct{ AccessKeyId, SecretAccessKey string }
	if err := json.Unmarshal([]byte(p.run("user", "key", "create", "cam1", "--json")), &pair); err != nil || len(pair.SecretAccessKey) < 30 {
		t.Fatalf("access key %+v: %v", pair.AccessKeyId, err)
	}
	user := kvsapi.NewFromConfig(aws.Config{Region: root.Region(), Credentials: credentials.NewStaticCredentialsProvider(pair.AccessKeyId, pair.SecretAccessKey, "")}, env["AWS_ENDPOINT_URL"])

	look := newNeedles()
	look.add("secret of the root user", []byte(env["AWS_SECRET_ACCESS_KEY"]))
	look.add("secret of a user", []byte(pair.SecretAccessKey))
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := hex.DecodeString(strings.Fields(string(text))[1]); err != nil {
		t.Fatal(err)
	} else {
		look.add("root key", raw)
	}

	now := time.Now().Add(-time.Minute)
	clip := clipBody(t, look, now)
	cam := sluicetest.Camera{Seed: 4711}
	for i := range 5 {
		look.addMedia(t, append(cam.Header(), cam.Fragment(i, now.UnixMilli())...))
	}
	for name, hours := range map[string]int32{"clip": 24, "camera": 24, "unkept": 0} {
		if _, err := root.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: &name, DataRetentionInHours: &hours}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, user, "clip", clip)
	for _, name := range []string{"camera", "unkept"} {
		if acks, err := cam.Put(t.Context(), user, sluice.StreamRef{Name: name}, 5, now); err != nil || len(acks) < 10 {
			t.Fatalf("%s: %v %v", name, acks, err)
		}
	}
	play(t, user, look, now)
	readBack(t, user, "camera", 5)

	p.cmd.Process.Kill()
	p.end()
	streams := dataKeys(t, data, keyFile, look)
	look.absent(t, data, "after kill -9")
	look.absentIn(t, "the log", strings.Join(p.log.text, "\n"))

	p = start(t, data, args...)
	root = p.client()
	play(t, root, look, now)
	readBack(t, root, "camera", 5)
	p.stop()
	look.absent(t, data, "after SIGTERM")
	look.absentIn(t, "the log", strings.Join(p.log.text, "\n"))
	if t.Failed() {
		return
	}

	// The scan must be able to find what it looks for.
	deleted := streams["camera"]
	wrapped := newNeedles()
	wrapped.add("wrapped data key", deleted.WrappedKey)
	if found := wrapped.find(t, data); len(found) == 0 {
		t.Fatal("the wrapped data key is not in the data directory: the scan proves nothing")
	}
	p = start(t, data, args...)
	root = p.client()
	readBack(t, root, "camera", 5) // so that the stream is open and its key in use
	if _, err := root.Control().DeleteStream(t.Context(), &kinesisvideo.DeleteStreamInput{StreamARN: aws.String(deleted.ARN.String())}); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Kill() // the answer is a promise
	p.end()
	for _, f := range wrapped.find(t, data) {
		t.Errorf("after DeleteStream: %s", f)
	}
	nothingUnwraps(t, data, keyFile, deleted)

	p = start(t, data, args...)
	root = p.client()
	for stuck := time.After(5 * time.Minute); ; {
		_, err := root.Control().DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("camera")})
		if gone := (*types.ResourceNotFoundException)(nil); errors.As(err, &gone) {
			break
		}
		select {
		case <-stuck:
			t.Fatal("the name of a deleted stream does not become free")
		case <-time.After(50 * time.Millisecond):
		}
	}
	p.stop()
	left, err := filepath.Glob(filepath.Join(data, "media", string(deleted.ID), "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files of the deleted stream: %v %v", left, err)
	}
	look.absentIn(t, "the log", strings.Join(p.log.text, "\n"))
}

// clipBody is the demo's recording as a session that begins at start: what it
// takes to play HLS. Its frames are looked for.
func clipBody(t *testing.T, look *needles, start time.Time) []byte {
	t.Helper()
	tracks, frames, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	b := mkv.AppendTracks(mkv.AppendInfo(mkv.AppendSegment(mkv.AppendHeader(nil)), mkv.Info{}), tracks)
	var from time.Duration
	for i := range frames {
		if f := &frames[i]; i == 0 || f.Key && f.Track == 1 {
			from = f.Timecode
			b = mkv.AppendCluster(b, uint64(start.Add(from).UnixMilli()))
		}
		b = mkv.AppendSimpleBlock(b, int16((frames[i].Timecode-from)/time.Millisecond), &frames[i])
	}
	look.addMedia(t, b)
	return b
}

// put sends a whole body and wants it taken.
func put(t *testing.T, c *kvsapi.Client, name string, body []byte) {
	t.Helper()
	session, err := c.PutMedia(t.Context(), &kvsapi.PutMediaInput{Stream: sluice.StreamRef{Name: name}, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for {
		a, err := session.Next()
		if err == io.EOF {
			return
		}
		if err != nil || a.Event == sluice.AckError {
			t.Fatal(a, err)
		}
	}
}

// readBack reads n fragments by GetMedia.
func readBack(t *testing.T, c *kvsapi.Client, name string, n int) {
	t.Helper()
	media, err := c.GetMedia(t.Context(), sluice.StreamRef{Name: name}, sluice.StartSelector{Type: sluice.SelectEarliest})
	if err != nil {
		t.Fatal(err)
	}
	defer media.Close()
	for _, err := range parser.NewReader(media).Fragments(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n--; n == 0 {
			return
		}
	}
}

var sessionToken = regexp.MustCompile(`SessionToken=([^&"\s]+)`)

// play opens an HLS session of the stream clip and fetches all it names. The
// tokens are secrets.
func play(t *testing.T, c *kvsapi.Client, look *needles, start time.Time) {
	t.Helper()
	u, err := c.GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: sluice.StreamRef{Name: "clip"}, Mode: kvsapi.OnDemand,
		Clock: sluice.ProducerClock, From: start, To: start.Add(demo.Length)})
	if err != nil {
		t.Fatal(err)
	}
	todo, done := []string{u}, map[string]bool{}
	for len(todo) > 0 {
		u := todo[0]
		todo = todo[1:]
		if done[u] {
			continue
		}
		done[u] = true
		for _, m := range sessionToken.FindAllStringSubmatch(u, -1) {
			look.add("session token", []byte(m[1]))
		}
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %v", resp.StatusCode, err)
		}
		if !bytes.HasPrefix(body, []byte("#EXTM3U")) {
			continue
		}
		base, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(string(body), "\n") {
			if _, uri, ok := strings.Cut(l, `URI="`); ok {
				l, _, _ = strings.Cut(uri, `"`)
			} else if strings.HasPrefix(l, "#") {
				continue
			}
			if ref, err := base.Parse(strings.TrimSpace(l)); err == nil && strings.TrimSpace(l) != "" {
				todo = append(todo, ref.String())
			}
		}
	}
	if len(done) < 4 {
		t.Fatalf("only %d resources", len(done))
	}
	// A request that is refused is logged too.
	resp, err := http.Get(u + "x")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// offline opens the catalog and the keyring of a server that does not run.
func offline(t *testing.T, data, keyFile string) (*catalog.Catalog, *kms.Keyring, func()) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: filepath.Join(data, datadir.CatalogFile)})
	if err != nil {
		t.Fatal(err)
	}
	key, err := kms.LoadRootKey(keyFile, false)
	if err != nil {
		t.Fatal(err)
	}
	const region, account = "us-west-2", "000000000000"
	ring, err := kms.Open(t.Context(), d, key, kms.Options{Region: region, Account: account})
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Open(t.Context(), d, catalog.Options{Region: region, Account: account})
	if err != nil {
		t.Fatal(err)
	}
	return c, ring, func() {
		c.Close()
		d.Close()
	}
}

func keyContext(s catalog.Stream) map[string]string {
	return map[string]string{"aws:kinesisvideo:stream": s.ARN.String(), "sluice:stream": string(s.ID)}
}

// dataKeys adds the data keys of all streams, and returns the streams.
func dataKeys(t *testing.T, data, keyFile string, look *needles) map[string]catalog.Stream {
	t.Helper()
	// A copy: opening the original would move the write-ahead log into the file.
	work := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(data, datadir.CatalogFile+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, datadir.CatalogFile+suffix), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, ring, done := offline(t, work, keyFile)
	defer done()
	all, err := c.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	streams := map[string]catalog.Stream{}
	for _, s := range all {
		key, err := ring.Unwrap(t.Context(), s.KeyARN, s.WrappedKey, keyContext(s))
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		look.add("data key of "+s.Name, key[:])
		streams[s.Name] = s
	}
	if len(streams) != 3 {
		t.Fatalf("%d streams", len(streams))
	}
	return streams
}

// nothingUnwraps tries with the root key whatever in the data directory begins
// as the wrapped key of s began.
func nothingUnwraps(t *testing.T, data, keyFile string, s catalog.Stream) {
	t.Helper()
	var candidates [][]byte
	head := s.WrappedKey[:17] // version and key id
	eachFile(t, data, func(_ string, b []byte) {
		for {
			i := bytes.Index(b, head)
			if i < 0 || i+len(s.WrappedKey) > len(b) {
				return
			}
			candidates = append(candidates, b[i:i+len(s.WrappedKey)])
			b = b[i+1:]
		}
	})
	if len(candidates) == 0 {
		t.Error("no wrapped key of any stream was found: the scan proves nothing")
	}
	_, ring, done := offline(t, data, keyFile)
	defer done()
	for _, c := range candidates {
		if _, err := ring.Unwrap(context.Background(), s.KeyARN, c, keyContext(s)); err == nil {
			t.Error("the data key of a deleted stream can still be unwrapped")
		}
	}
}

// needles are what must not be found.
type needles struct {
	secrets map[string]string // form -> what it is
	media   map[[16]byte]struct{}
}

func newNeedles() *needles {
	return &needles{secrets: map[string]string{}, media: map[[16]byte]struct{}{}}
}

func (n *needles) add(what string, secret []byte) {
	for _, form := range []string{string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
		base64.RawStdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), url.QueryEscape(string(secret))} {
		n.secrets[form] = what
	}
}

// addMedia adds the frames of a body. Any 32 bytes in a row of a frame hold one
// of its blocks of 16, so those are enough.
func (n *needles) addMedia(t *testing.T, body []byte) {
	t.Helper()
	frames := 0
	for f, err := range parser.NewReader(bytes.NewReader(body)).Frames(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		frames++
		for b := f.Data; len(b) >= 16; b = b[16:] {
			block := [16]byte(b)
			if bytes.Count(block[:], block[:1]) < 8 { // not filler, which is everywhere
				n.media[block] = struct{}{}
			}
		}
	}
	if frames == 0 {
		t.Fatal("no frames")
	}
}

// in says what of it is in b, by kind.
func (n *needles) in(b []byte) []string {
	found := map[string]bool{}
	for form, what := range n.secrets {
		if bytes.Contains(b, []byte(form)) {
			found[what] = true
		}
	}
	if len(n.media) > 0 {
		for ; len(b) >= 16; b = b[1:] {
			if _, ok := n.media[[16]byte(b)]; ok {
				found["media"] = true
				break
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func (n *needles) find(t *testing.T, dir string) (found []string) {
	t.Helper()
	eachFile(t, dir, func(path string, b []byte) {
		for _, what := range n.in(b) {
			if what == "secret of the root user" && filepath.Base(path) == "root-credentials" {
				continue // the file that the operator signs in with
			}
			found = append(found, what+" in "+path)
		}
	})
	return found
}

func (n *needles) absent(t *testing.T, dir, when string) {
	t.Helper()
	for _, f := range n.find(t, dir) {
		t.Errorf("%s: %s", when, f)
	}
}

func (n *needles) absentIn(t *testing.T, name, text string) {
	t.Helper()
	if !strings.Contains(text, "operation=") {
		t.Errorf("%s has no call in it", name)
	}
	for _, what := range n.in([]byte(text)) {
		t.Errorf("%s in %s", what, name)
	}
}

func eachFile(t *testing.T, dir string, do func(path string, b []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		do(path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
