package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store"
)

// dataDirectory makes one with a few fragments and gives the media file.
func dataDirectory(t *testing.T) (dir, file string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	d, err := datadir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	catalog, err := db.Open(t.Context(), db.Options{Path: d.File(datadir.CatalogFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer catalog.Close()
	index, err := db.Open(t.Context(), db.Options{Path: d.File(datadir.IndexFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	s, err := store.Open(t.Context(), store.Options{Dir: d.File(datadir.MediaDir), Index: index})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := sluice.StreamID("00112233445566778899aabbccddeeff")
	e, _, err := s.Take(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for c := range uint64(3) {
		server := 1_800_000_000_000 + int64(c)*1000
		k := s.Append(e, store.Record{
			Meta: store.Meta{
				Stream: id, Number: sluice.MakeFragmentNumber(e.Sequence(c), uint64(server), 1),
				ServerMs: server, ProducerMs: server - 5, LengthMs: 960, Bytes: 5000, Tracks: 0b101,
			},
			Sealed: [][]byte{make([]byte, 5100)},
		})
		<-k.Done()
		if k.Err() != nil {
			t.Fatal(k.Err())
		}
	}
	return dir, filepath.Join(dir, datadir.MediaDir, string(id), "0000000000000001.rec")
}

func TestDataCommands(t *testing.T) {
	t.Parallel()
	dir, file := dataDirectory(t)
	environ := []string{"SLUICE_DATA=" + dir}
	want := func(code int, text string, args ...string) {
		t.Helper()
		if r := run(t, environ, args...); r.code != code || !strings.Contains(r.out+r.errors, text) {
			t.Errorf("sluice %s: code %d, want %d and %q\n%s%s", strings.Join(args, " "), r.code, code, text, r.out, r.errors)
		}
	}
	want(0, "3 records, 0 damaged places", "inspect", file)
	want(0, `"tracks":["1","3"]`, "inspect", "--json", file)
	want(0, "1 files, 3 fragments, 14.9 KiB of media are good; 0 fragments lost", "fsck")
	want(0, `"fragments":3`, "fsck", "--json")

	backup := filepath.Join(t.TempDir(), "backup")
	want(cli.ExitUsage, "--to is needed", "backup")
	want(cli.ExitFailure, "lie in each other", "backup", "--to", filepath.Join(dir, "x"))
	want(0, "3 fragments in 1 files", "backup", "--to", backup)
	want(0, "0 B copied", "backup", "--to", backup)
	want(0, "root key", "backup", "--to", backup)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	want(0, "1 files", "restore", "--from", backup, "--data", elsewhere)
	want(cli.ExitFailure, "is there already", "restore", "--from", backup, "--data", elsewhere)
	want(0, "3 fragments", "fsck", "--data", elsewhere)

	// One record damaged.
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[4096+8192+1000] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	want(cli.ExitIncomplete, "2 records, 1 damaged places", "inspect", file)
	want(cli.ExitFailure, "corrupt: "+file+" at 12288: ", "fsck")
	held, err := datadir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	want(cli.ExitFailure, "in use", "fsck", "--repair")
	want(cli.ExitFailure, "in use", "reindex")
	held.Close()
	want(0, "1 lost fragments were taken out", "fsck", "--repair")
	want(0, "2 fragments", "fsck")
	want(0, "2 fragments of 1 streams in 1 files; 1 damaged places", "reindex")
	want(0, "2 fragments", "fsck")
	// Pages of the databases damaged: the last of each, and an early one.
	for _, name := range []string{datadir.IndexFile, datadir.CatalogFile} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kind := strings.TrimSuffix(name, ".db")
		for _, at := range []int{len(whole) - 4096, 4096} {
			b := slices.Clone(whole)
			b[at+3000] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			want(cli.ExitFailure, fmt.Sprintf("%s: %s at %d: the page at %d is not what was written", kind, path, at, at), "fsck")
		}
		if name == datadir.IndexFile {
			want(0, "2 fragments of 1 streams in 1 files; 1 damaged places", "reindex")
		} else if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		want(0, "2 fragments", "fsck")
	}
	want(cli.ExitFailure, "is not a data directory", "fsck", "--data", t.TempDir())
	want(cli.ExitFailure, "not in the format", "inspect", filepath.Join(dir, datadir.FormatFile))
}
