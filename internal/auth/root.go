package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// RootFile is the file in the data directory that holds generated root keys.
// It has the form of an AWS credentials file, so AWS_SHARED_CREDENTIALS_FILE
// may point at it.
const RootFile = "root-credentials"

// Environment variables that carry root keys.
const (
	RootAccessKeyIDEnv     = "SLUICE_ROOT_ACCESS_KEY_ID"
	RootSecretAccessKeyEnv = "SLUICE_ROOT_SECRET_ACCESS_KEY"
)

// RootSource says where root keys came from.
type RootSource struct {
	Path string // the file; "" for the environment
	New  bool   // they were made by this call
}

func (c Credentials) check() error {
	if !checkAccessKeyID(c.AccessKeyID) {
		return fmt.Errorf("root access key id: must be 3 to 128 characters of a-z, A-Z, 0-9, _ and -")
	}
	if n := len(c.SecretAccessKey); n < 8 || n > 128 {
		return fmt.Errorf("root secret access key: has %d characters, must be 8 to 128", n)
	}
	return nil
}

// hasModes is whether files have permissions that say who may read them; on
// Windows access lists do, which the data directory inherits.
const hasModes = runtime.GOOS != "windows"

// LoadRoot finds the root keys: in the environment, else in RootFile in dir,
// which is made when it is not there, readable by its owner alone. reset makes
// a new pair in the file; the old one is worth nothing once a server starts
// with the new one.
func LoadRoot(dir string, getenv func(string) string, reset bool) (Credentials, RootSource, error) {
	c := Credentials{AccessKeyID: getenv(RootAccessKeyIDEnv), SecretAccessKey: getenv(RootSecretAccessKeyEnv)}
	if c.AccessKeyID != "" || c.SecretAccessKey != "" {
		if c.AccessKeyID == "" || c.SecretAccessKey == "" {
			return c, RootSource{}, fmt.Errorf("%s and %s: set both or neither", RootAccessKeyIDEnv, RootSecretAccessKeyEnv)
		}
		if reset {
			return c, RootSource{}, fmt.Errorf("root keys come from %s: change them there, there is nothing to reset", RootAccessKeyIDEnv)
		}
		return c, RootSource{}, c.check()
	}
	path := filepath.Join(dir, RootFile)
	if !reset {
		c, err := readRoot(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, RootSource{Path: path}, err
		}
	}
	c = Credentials{AccessKeyID: newID("AKIA"), SecretAccessKey: newSecret()}
	if err := writeRoot(path, c); err != nil {
		return Credentials{}, RootSource{Path: path}, fmt.Errorf("root keys: %w", err)
	}
	return c, RootSource{Path: path, New: true}, nil
}

// ReadRoot reads the root keys that a server made in dir. Without the file the
// error wraps fs.ErrNotExist.
func ReadRoot(dir string) (Credentials, error) { return readRoot(filepath.Join(dir, RootFile)) }

func readRoot(path string) (Credentials, error) {
	var c Credentials
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	if mode := info.Mode().Perm(); hasModes && mode&0o077 != 0 {
		return c, fmt.Errorf("%s: mode %04o lets others read the root keys; remedy: chmod 600 %s, and --reset-root-key if someone may have read them", path, mode, path)
	}
	if info.Size() > 4096 {
		return c, fmt.Errorf("%s: %d bytes, this is no file of root keys", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			c.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			c.SecretAccessKey = strings.TrimSpace(value)
		}
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// writeRoot replaces the file whole or not at all.
func writeRoot(path string, c Credentials) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), RootFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = fmt.Fprintf(f, "# Root keys of this Sluice server. Whoever can read this file may do everything.\n[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		c.AccessKeyID, c.SecretAccessKey)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	if !hasModes {
		return d.Close() // Windows does not sync directories
	}
	return errors.Join(d.Sync(), d.Close())
}
