package kms

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// RootKey is the one secret that everything else at rest hangs on. It prints as
// where it came from, never as its bytes.
type RootKey struct {
	secret [32]byte
	from   string
}

// The root key's text: this word, a space, 64 hex digits, a newline.
const rootKeyWord = "sluice-root-key-1"

// RootKeyEnv is the environment variable that can carry the root key's text.
const RootKeyEnv = "SLUICE_ROOT_KEY"

// RootKeyCredential is the name of the systemd credential (LoadCredential=)
// that can carry the root key's text.
const RootKeyCredential = "sluice-root-key"

var (
	// ErrNoRootKey says that there is no root key where one was looked for.
	ErrNoRootKey = errors.New("no root key")
	// ErrWrongRootKey says that the keyring was sealed under another root key.
	ErrWrongRootKey = errors.New("the keyring was sealed under another root key")
)

func (r RootKey) String() string { return "root key from " + r.From() }

// GoString keeps the secret out of %#v.
func (r RootKey) GoString() string { return "kms.RootKey{" + r.From() + "}" }

// LogValue keeps the secret out of logs.
func (r RootKey) LogValue() slog.Value { return slog.StringValue(r.String()) }

// From says where the key was found: a file's path, or the environment.
func (r RootKey) From() string {
	if r.from == "" {
		return "nowhere"
	}
	return r.from
}

// NewRootKey makes a root key that is kept nowhere, for tests and for servers
// whose data is thrown away.
func NewRootKey() RootKey {
	r := RootKey{from: "memory"}
	rand.Read(r.secret[:])
	return r
}

// Derive makes the key for one purpose (HKDF-SHA256 with label as its info).
// Equal labels give equal keys; who knows one knows nothing of another.
func (r RootKey) Derive(label string) [32]byte {
	b, err := hkdf.Key(sha256.New, r.secret[:], nil, "sluice "+label, 32)
	if err != nil {
		panic("kms: " + err.Error()) // only for lengths that 32 is not
	}
	return [32]byte(b)
}

// Text is the form that LoadRootKey reads, for making a backup of the key. It
// is the secret itself.
func (r RootKey) Text() string { return rootKeyWord + " " + hex.EncodeToString(r.secret[:]) + "\n" }

// ParseRootKey reads the text of a root key; from says where it came from. The
// error never holds the text.
func ParseRootKey(text, from string) (RootKey, error) {
	r := RootKey{from: from}
	word, digits, ok := strings.Cut(strings.TrimSpace(text), " ")
	b, err := hex.DecodeString(strings.TrimSpace(digits))
	if !ok || word != rootKeyWord || err != nil || len(b) != 32 {
		return RootKey{}, fmt.Errorf("root key from %s: want %q and 64 hex digits on one line", from, rootKeyWord)
	}
	r.secret = [32]byte(b)
	if r.secret == [32]byte{} {
		return RootKey{}, fmt.Errorf("root key from %s: all zero", from)
	}
	return r, nil
}

// hasModes is whether files have permissions that say who may read them; on
// Windows access lists do, which the data directory inherits.
const hasModes = runtime.GOOS != "windows"

// LoadRootKey reads the key file at path, which nobody but its owner may be
// able to read. Without one it makes it (mode 0600, durable before it returns)
// when create is set, and else returns ErrNoRootKey.
func LoadRootKey(path string, create bool) (RootKey, error) {
	r, err := readRootKey(path, true)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if !create {
		return RootKey{}, fmt.Errorf("%w: %s does not exist", ErrNoRootKey, path)
	}
	r = NewRootKey()
	r.from = path
	if err := writeRootKey(path, r); err != nil {
		return RootKey{}, fmt.Errorf("root key: %w", err)
	}
	// What another process may have put there first is what counts.
	return readRootKey(path, true)
}

func readRootKey(path string, private bool) (RootKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return RootKey{}, fmt.Errorf("root key: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return RootKey{}, fmt.Errorf("root key: %w", err)
	}
	if !st.Mode().IsRegular() {
		return RootKey{}, fmt.Errorf("root key: %s is not a regular file", path)
	}
	if mode := st.Mode().Perm(); private && hasModes && mode&0o077 != 0 {
		return RootKey{}, fmt.Errorf("root key: %s has mode %04o, others can reach it: chmod 600 %s", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return RootKey{}, fmt.Errorf("root key: %w", err)
	}
	return ParseRootKey(string(text), path)
}

// writeRootKey puts the file in place whole or not at all, and never over
// another: a lost race leaves the other's file.
func writeRootKey(path string, r RootKey) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".root-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, bytes.NewReader([]byte(r.Text())))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if !hasModes {
		return d.Close() // Windows does not sync directories
	}
	return errors.Join(d.Sync(), d.Close())
}

// RootKeyOptions says where a root key may lie; the first that is set wins, in
// the order of the fields.
type RootKeyOptions struct {
	Text           string // the key's text itself, from the environment
	CredentialsDir string // systemd's $CREDENTIALS_DIRECTORY; used when it holds a file named RootKeyCredential
	File           string // a key file
	DataDir        string // where the media lies; its root.key is the file when File is empty
	Create         bool   // make File when it does not exist
}

// FindRootKey loads the root key. warning is not empty when key and media lie
// together, so that who copies or steals the one has the other too.
func FindRootKey(o RootKeyOptions) (key RootKey, warning string, err error) {
	if o.Text != "" {
		key, err = ParseRootKey(o.Text, "environment "+RootKeyEnv)
		return key, "", err
	}
	if o.CredentialsDir != "" {
		key, err = readRootKey(filepath.Join(o.CredentialsDir, RootKeyCredential), false)
		if !errors.Is(err, fs.ErrNotExist) {
			return key, "", err
		}
	}
	path := o.File
	if path == "" {
		path = filepath.Join(o.DataDir, "root.key")
	}
	key, err = LoadRootKey(path, o.Create)
	if err == nil && o.DataDir != "" && inside(path, o.DataDir) {
		warning = "the root key " + path + " lies in the data directory: whoever has a copy of the directory can read the media; move the key and name it with --root-key-file"
	}
	return key, warning, err
}

func inside(path, dir string) bool {
	real := func(p string) string {
		if r, err := filepath.EvalSymlinks(p); err == nil {
			p = r
		}
		if a, err := filepath.Abs(p); err == nil {
			p = a
		}
		return p
	}
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
