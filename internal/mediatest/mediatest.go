// Package mediatest finds, for tests, the recordings of real producers and of
// the real service, which are not in the repository.
package mediatest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Dir is the folder of recordings: $SLUICE_MEDIA, or ../shared/media beside
// the repository.
func Dir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("SLUICE_MEDIA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(filepath.Dir(dir), "shared", "media")
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no go.mod above the test: recordings not found (set SLUICE_MEDIA)")
		}
		dir = up
	}
}

// File is a recording's bytes. The test is skipped when it is not there.
func File(t testing.TB, name string) []byte {
	t.Helper()
	path := filepath.Join(Dir(t), name)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("recording %s is missing (set SLUICE_MEDIA)", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// MKV lists the Matroska recordings, by their names for File.
func MKV(t testing.TB) []string {
	t.Helper()
	dir := Dir(t)
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*.mkv"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skipf("no recordings in %s (set SLUICE_MEDIA)", dir)
	}
	for i := range paths {
		paths[i], _ = filepath.Rel(dir, paths[i])
	}
	return paths
}
