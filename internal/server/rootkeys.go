package server

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Credentials are an access key.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
}

// String shows no secret.
func (c Credentials) String() string { return "access key " + c.AccessKeyID }

// GoString shows no secret.
func (c Credentials) GoString() string { return "server.Credentials{" + c.AccessKeyID + "}" }

// newCredentials makes an access key that looks like those of AWS: clients and
// scanners for leaked keys know the shape.
func newCredentials() Credentials {
	var id [10]byte
	var secret [30]byte
	rand.Read(id[:])
	rand.Read(secret[:])
	return Credentials{
		AccessKeyID:     "AKIA" + base32.StdEncoding.EncodeToString(id[:]),
		SecretAccessKey: base64.StdEncoding.EncodeToString(secret[:]),
	}
}

// rootCredentials loads the root access key from its file, which only its owner
// may read, or makes a new one when there is none or reset is set. The file is
// written as the AWS tools read it: AWS_SHARED_CREDENTIALS_FILE may name it.
func rootCredentials(path string, reset bool) (c Credentials, made bool, err error) {
	if !reset {
		c, err = ReadCredentials(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, false, err
		}
	}
	c = newCredentials()
	text := fmt.Sprintf("# The root access key of this Sluice server: it may do everything.\n"+
		"[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", c.AccessKeyID, c.SecretAccessKey)
	if err := writeFile(path, []byte(text), 0o600); err != nil {
		return Credentials{}, false, fmt.Errorf("root access key: %w", err)
	}
	return c, true, nil
}

// ReadCredentials reads the root access key that a server made, for 'sluice env'.
func ReadCredentials(path string) (Credentials, error) {
	f, err := os.Open(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("root access key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Credentials{}, fmt.Errorf("root access key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && os.PathSeparator == '/' {
		return Credentials{}, fmt.Errorf("root access key: %s has mode %04o, others can reach it: chmod 600 %s, or make a new key with --reset-root-key", path, mode, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return Credentials{}, fmt.Errorf("root access key: %w", err)
	}
	var c Credentials
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(name) {
		case "aws_access_key_id":
			c.AccessKeyID = value
		case "aws_secret_access_key":
			c.SecretAccessKey = value
		}
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return Credentials{}, fmt.Errorf("root access key: %s does not hold one; make a new one with --reset-root-key", path)
	}
	return c, nil
}
