package datadir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/datadir"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	open := func(path string) (string, error) {
		d, err := datadir.Open(path)
		if err != nil {
			return "", err
		}
		return d.Note, d.Close()
	}
	write := func(path, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := t.TempDir()
	for range 2 {
		if note, err := open(path); err != nil || note != "" {
			t.Errorf("a new directory: %q %v", note, err)
		}
	}
	if f, err := datadir.CheckFormat(path); err != nil || f != datadir.Format {
		t.Errorf("format %d %v", f, err)
	}

	old := t.TempDir()
	write(old, datadir.CatalogFile, "x")
	if note, err := open(old); err != nil || !strings.Contains(note, old) || !strings.Contains(note, "from format 0 to 1") {
		t.Errorf("an older directory: %q %v", note, err)
	}
	if note, err := open(old); err != nil || note != "" {
		t.Errorf("and again: %q %v", note, err)
	}

	write(path, datadir.FormatFile, "sluice data directory, format 7\nneeds sluice 3.2 or newer\n")
	_, err := open(path)
	if !errors.Is(err, datadir.ErrNewer) || !strings.Contains(err.Error(), "sluice 3.2") {
		t.Errorf("a newer directory: %v", err)
	}
	for _, bad := range []string{"", "1", "sluice data directory, format x\n", "sluice data directory, format -1\nneeds sluice 0\n"} {
		write(path, datadir.FormatFile, bad)
		if _, err := open(path); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
