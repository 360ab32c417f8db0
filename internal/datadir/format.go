package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FormatFile says which format the directory has, and which program reads it.
const FormatFile = "format"

// Format is the format this program writes. Files inside have versions of their
// own; this one changes when a program that knows only the one before would do
// harm.
const Format = 1

// needs is the oldest version that reads Format.
const needs = "sluice 0.1"

const formatText = "sluice data directory, format %d\nneeds %s or newer\n"

// ErrNewer is in the chain of Open's and CheckFormat's error when a newer program
// wrote the directory.
var ErrNewer = errors.New("written by a newer Sluice")

// migrations bring a directory from the format of their place to the next.
// Format 0 is a directory from before there was a format file; what is in it
// stays as it is.
var migrations = [Format]func(path string) error{
	0: func(string) error { return nil },
}

// CheckFormat reads the format of a directory and changes nothing: 0 where there
// is no format file, ErrNewer with the version that is needed above Format.
func CheckFormat(path string) (format int, err error) {
	name := filepath.Join(path, FormatFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	var program, version string
	if _, err := fmt.Sscanf(string(b), "sluice data directory, format %d\nneeds %s %s", &format, &program, &version); err != nil || format < 1 {
		return 0, fmt.Errorf("data directory: %s does not say a format: %.60q", name, b)
	}
	if format > Format {
		return format, fmt.Errorf("data directory %s has format %d and needs %s %s or newer; this program knows formats up to %d: %w",
			path, format, program, version, Format, ErrNewer)
	}
	return format, nil
}

// migrate brings the directory to Format. The note says what was done to one
// that had an older format; it is "" for others, new ones included.
func migrate(path string) (note string, err error) {
	format, err := CheckFormat(path)
	if err != nil || format == Format {
		return "", err
	}
	_, err = os.Stat(filepath.Join(path, CatalogFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("data directory: %w", err)
	}
	fresh := err != nil
	for from := format; from < Format; from++ {
		if err := migrations[from](path); err != nil {
			return "", fmt.Errorf("data directory %s: from format %d to %d: %w", path, from, from+1, err)
		}
	}
	if err := writeFormat(path); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if !fresh {
		note = fmt.Sprintf("the data directory %s was brought from format %d to %d", path, format, Format)
	}
	return note, nil
}

// writeFormat replaces the file, all or nothing, durably.
func writeFormat(path string) error {
	name := filepath.Join(path, FormatFile)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, formatText, Format, needs)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(path)
}
