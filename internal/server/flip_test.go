package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/server"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

// TestAFlippedBitInEveryKindOfFile: of a data directory as it is while a server
// runs, each file in turn has a bit flipped. The next server refuses to start and
// says why, or gives each fragment as it was sent or an error in its place.
func TestAFlippedBitInEveryKindOfFile(t *testing.T) {
	t.Parallel()
	each := 10
	if os.Getenv("SLUICE_LONG") != "" {
		each = 200
	}
	s := sluicetest.Start(t)
	ref := s.CreateStream("cam", 24*time.Hour)
	cam, at := sluicetest.Camera{Seed: 3, Frames: 5}, time.Now()
	acks, err := cam.Put(t.Context(), s.Client(), ref, 4, at)
	if err != nil {
		t.Fatal(err)
	}
	sent := map[sluice.FragmentNumber][]byte{}
	for _, a := range acks {
		if a.Event == sluice.AckPersisted {
			sent[a.Number] = cam.Fragment(len(sent), a.Timecode)
		}
	}
	if len(sent) != 4 {
		t.Fatalf("acknowledgements %v", acks)
	}
	image := filepath.Join(t.TempDir(), "image") // what kill -9 would leave
	copyData(t, image, s.Data)
	var files []string
	if err := fs.WalkDir(os.DirFS(image), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	found, work := map[string]string{}, t.TempDir()
	for _, name := range files {
		refused, missing, good := 0, 0, 0
		for i := range each {
			dir := filepath.Join(work, "data")
			copyData(t, dir, image)
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if len(b) == 0 {
				continue
			}
			bit := rand.New(rand.NewPCG(uint64(i), uint64(len(b)))).IntN(8 * len(b))
			b[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			whole, err := readFlipped(t, dir, ref, sent, s.Credentials)
			switch {
			case err != nil:
				refused++
			case whole < len(sent):
				missing++
			default:
				good++
			}
			if t.Failed() {
				t.Fatalf("bit %d of %s", bit, name)
			}
			os.RemoveAll(dir)
		}
		found[name] = fmt.Sprintf("%d refused, %d with a fragment missing, %d without harm", refused, missing, good)
		switch filepath.Base(name) {
		case "server.json", "sluice.lock", "catalog.db-shm", "index.db-shm":
			// Of the server that ran, not of what it keeps.
			if refused+missing > 0 {
				t.Errorf("%s: %s", name, found[name])
			}
		case "root.key":
			if missing > 0 {
				t.Errorf("%s: %s", name, found[name])
			}
		}
	}
	for _, name := range files {
		t.Logf("%s: %s", name, found[name])
	}
	for _, must := range []string{"catalog.db", "catalog.db-wal", "index.db", "index.db-wal", "format", "root.key"} {
		if found[must] == "" {
			t.Errorf("no %s among %v", must, files)
		}
	}
}

// copyData copies a data directory for its owner alone.
func copyData(t *testing.T, to, from string) {
	t.Helper()
	err := os.CopyFS(to, os.DirFS(from))
	if err == nil {
		err = filepath.WalkDir(to, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(name, 0o700)
			}
			return errors.Join(err, os.Chmod(name, 0o600))
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readFlipped runs a server on dir and counts the fragments that come back as they
// were sent. An error says that it did not start, or let nobody in.
func readFlipped(t *testing.T, dir string, ref sluice.StreamRef, sent map[sluice.FragmentNumber][]byte, root aws.Credentials) (whole int, err error) {
	t.Helper()
	cfg := settings(t, "--data="+dir, "--listen=127.0.0.1:0", "--listen-tls=off", "--debug-listen=off", "--log-level=error")
	srv, err := server.New(t.Context(), server.Options{Config: cfg, Version: "test", Level: new(slog.LevelVar), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		if len(err.Error()) < 20 || strings.Contains(err.Error(), "panic") {
			t.Errorf("refused with %q", err)
		}
		return 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	defer func() {
		cancel()
		<-ended // a damaged database may fail to close, too
	}()
	client := kvsapi.NewFromConfig(aws.Config{
		Region: cfg.Region, RetryMaxAttempts: 1, Credentials: credentials.StaticCredentialsProvider{Value: root},
	}, srv.URL())
	for number, cluster := range sent {
		m, err := client.GetMediaForFragmentList(t.Context(), ref, []sluice.FragmentNumber{number})
		if err != nil {
			return whole, err
		}
		b, err := io.ReadAll(m)
		m.Close()
		switch {
		case err != nil:
			t.Errorf("fragment %v: %v", number, err)
		case bytes.Contains(b, cluster):
			whole++
		case !bytes.Contains(b, []byte(fragment.TagErrorID)) || bytes.Contains(b, []byte(fragment.TagServerTimestamp)):
			t.Errorf("fragment %v: %d bytes that are neither it nor an error", number, len(b))
		}
	}
	return whole, nil
}
