package kms_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/kms"
)

func open(t *testing.T, path string, root kms.RootKey, now func() time.Time) (*kms.Keyring, error) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return kms.Open(t.Context(), d, root, kms.Options{Account: "111122223333", Now: now})
}

func mustOpen(t *testing.T) *kms.Keyring {
	t.Helper()
	k, err := open(t, filepath.Join(t.TempDir(), "catalog.db"), kms.NewRootKey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func code(t *testing.T, err error, want sluice.AckErrorCode) {
	t.Helper()
	if got := kms.CodeOf(err); got != want {
		t.Errorf("error %v: code %d, want %d", err, got, want)
	}
}

var camera = map[string]string{"aws:kinesisvideo:arn": "arn:of:camera", "sluice:stream": "00ff"}

func TestDataKeysOpenForTheirStreamOnly(t *testing.T) {
	t.Parallel()
	k, ctx := mustOpen(t), t.Context()
	plain, wrapped, err := k.GenerateDataKey(ctx, "", camera)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(wrapped, plain[:8]) {
		t.Error("the wrapped form holds the key in plain")
	}
	got, err := k.Unwrap(ctx, "", wrapped, camera)
	if err != nil || got != plain {
		t.Fatalf("unwrap: %v, same %v", err, got == plain)
	}
	_, err = k.Unwrap(ctx, "", wrapped, map[string]string{"aws:kinesisvideo:arn": "arn:of:another", "sluice:stream": "00ff"})
	code(t, err, sluice.KMSKeyValidationError)
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if _, err := k.Unwrap(ctx, "", bad, camera); kms.CodeOf(err) == 0 {
			t.Errorf("bit flipped at %d: %v", i, err)
		}
	}
	_, err = k.Unwrap(ctx, "", wrapped[:40], camera)
	code(t, err, sluice.KMSKeyValidationError)
	if again, _, _ := k.GenerateDataKey(ctx, "", camera); again == plain {
		t.Error("two data keys are equal")
	}
}

func TestKeysSurviveReopeningAndAnotherRootKeyIsRefused(t *testing.T) {
	t.Parallel()
	path, root := filepath.Join(t.TempDir(), "catalog.db"), kms.NewRootKey()
	k, err := open(t, path, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := k.Create(t.Context(), "door cameras", "alias/doors")
	if err != nil {
		t.Fatal(err)
	}
	plain, wrapped, err := k.GenerateDataKey(t.Context(), "alias/doors", camera)
	if err != nil {
		t.Fatal(err)
	}
	k2, err := open(t, path, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k2.Unwrap(t.Context(), key.ARN, wrapped, camera); err != nil || got != plain {
		t.Errorf("after reopening: %v, same %v", err, got == plain)
	}
	if d, err := k2.Describe("alias/doors"); err != nil || fmt.Sprint(d) != fmt.Sprint(key) {
		t.Errorf("described %v, %v; want %v", d, err, key)
	}
	if _, err := open(t, path, kms.NewRootKey(), nil); !errors.Is(err, kms.ErrWrongRootKey) {
		t.Errorf("another root key: %v", err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	k := mustOpen(t)
	key, err := k.Create(t.Context(), "", "alias/doors")
	if err != nil {
		t.Fatal(err)
	}
	def := "arn:aws:kms:us-west-2:111122223333:alias/aws/kinesisvideo"
	for _, c := range []struct {
		in, want string
		code     sluice.AckErrorCode
	}{
		{"", def, 0},
		{"aws/kinesisvideo", def, 0},
		{"aws/kinesis-video", def, 0},
		{"alias/aws/kinesisvideo", def, 0},
		{"alias/aws/kinesis-video", def, 0},
		{def, def, 0},
		{"arn:aws:kms:us-west-2:111122223333:alias/aws/kinesis-video", def, 0},
		{key.ID, key.ARN, 0},
		{key.ARN, key.ARN, 0},
		{"alias/doors", key.ARN, 0},
		{"arn:aws:kms:us-west-2:111122223333:alias/doors", key.ARN, 0},
		{"alias/windows", "", sluice.KMSKeyNotFound},
		{"1234abcd-12ab-34cd-56ef-1234567890ab", "", sluice.KMSKeyNotFound},
		{"arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "", sluice.KMSKeyNotFound},
		{"arn:aws:kms:us-west-2:999922223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "", sluice.KMSKeyAccessDenied},
		{"arn:aws:kms:eu-west-1:111122223333:key/" + key.ID, "", sluice.KMSKeyNotFound},
		{"arn:aws:s3:::bucket", "", sluice.KMSKeyValidationError},
		{"arn:aws:kms:us-west-2:111122223333:grant/x", "", sluice.KMSKeyValidationError},
		{strings.Repeat("x", 3000), "", sluice.KMSKeyNotFound},
	} {
		got, err := k.Resolve(c.in)
		if got != c.want || kms.CodeOf(err) != c.code {
			t.Errorf("Resolve(%.60q) = %q, %v; want %q, %d", c.in, got, err, c.want, c.code)
		}
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000).UTC()
	k, err := open(t, filepath.Join(t.TempDir(), "catalog.db"), kms.NewRootKey(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	key, err := k.Create(ctx, "", "alias/doors")
	if err != nil {
		t.Fatal(err)
	}
	_, wrapped, err := k.GenerateDataKey(ctx, key.ID, camera)
	if err != nil {
		t.Fatal(err)
	}
	both := func(want sluice.AckErrorCode) {
		t.Helper()
		_, err := k.Unwrap(ctx, key.ID, wrapped, camera)
		code(t, err, want)
		_, _, err = k.GenerateDataKey(ctx, key.ID, camera)
		code(t, err, want)
	}
	both(0)
	if _, err := k.Disable(ctx, "alias/doors"); err != nil {
		t.Fatal(err)
	}
	both(sluice.KMSKeyDisabled)
	if _, err := k.Enable(ctx, key.ARN); err != nil {
		t.Fatal(err)
	}
	both(0)
	if _, err := k.Delete(ctx, key.ID, 6); sluice.CodeOf(err) != kms.ValidationException {
		t.Errorf("6 days: %v", err)
	}
	got, err := k.Delete(ctx, key.ID, 7)
	if err != nil || got.State != kms.PendingDeletion || !got.Deletion.Equal(now.AddDate(0, 0, 7)) {
		t.Errorf("deleted: %v, %v", got, err)
	}
	both(sluice.KMSKeyInvalidState)
	if _, err := k.Enable(ctx, key.ID); sluice.CodeOf(err) != kms.KMSInvalidStateException {
		t.Errorf("enable while pending: %v", err)
	}
	if got, err := k.CancelDeletion(ctx, key.ID); err != nil || got.State != kms.Disabled {
		t.Errorf("called back: %v, %v", got, err)
	}
	if _, err := k.Delete(ctx, key.ID, 7); err != nil {
		t.Fatal(err)
	}
	now = now.AddDate(0, 0, 8)
	both(sluice.KMSKeyNotFound)
	if n, err := k.Purge(ctx); n != 1 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	both(sluice.KMSKeyNotFound)
	if len(k.List()) != 0 {
		t.Errorf("left: %v", k.List())
	}
}

func TestTheDefaultKeyIsTheServices(t *testing.T) {
	t.Parallel()
	k, ctx := mustOpen(t), t.Context()
	if _, err := k.Describe("alias/aws/kinesisvideo"); sluice.CodeOf(err) != kms.NotFoundException {
		t.Errorf("before its first use: %v", err)
	}
	if _, _, err := k.GenerateDataKey(ctx, "aws/kinesis-video", camera); err != nil {
		t.Fatal(err)
	}
	key, err := k.Describe("alias/aws/kinesisvideo")
	if err != nil || !key.Managed || len(key.Aliases) != 1 {
		t.Errorf("after it: %v, %v", key, err)
	}
	if _, err := k.Disable(ctx, key.ID); sluice.CodeOf(err) != kms.UnsupportedException {
		t.Errorf("disable: %v", err)
	}
	if _, err := k.Delete(ctx, key.ID, 7); sluice.CodeOf(err) != kms.UnsupportedException {
		t.Errorf("delete: %v", err)
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	k, ctx := mustOpen(t), t.Context()
	a, err := k.Create(ctx, "a", "alias/cameras")
	if err != nil {
		t.Fatal(err)
	}
	plain, wrapped, err := k.GenerateDataKey(ctx, "alias/cameras", camera)
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.Create(ctx, "b", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		alias string
		move  bool
		want  sluice.Code
	}{
		{"alias/cameras", false, kms.AlreadyExistsException},
		{"alias/new", true, kms.NotFoundException},
		{"cameras", false, kms.InvalidAliasException},
		{"alias/", false, kms.InvalidAliasException},
		{"alias/aws/mine", false, kms.InvalidAliasException},
		{"alias/a b", false, kms.InvalidAliasException},
		{"alias/cameras", true, ""},
		{"alias/second", false, ""},
	} {
		if err := k.SetAlias(ctx, c.alias, b.ID, c.move); sluice.CodeOf(err) != c.want {
			t.Errorf("SetAlias(%q, move %v): %v, want %q", c.alias, c.move, err, c.want)
		}
	}
	if arn, _ := k.Resolve("alias/cameras"); arn != b.ARN {
		t.Errorf("moved alias means %s, not %s", arn, b.ARN)
	}
	// What was wrapped before the alias moved still opens, under its own key.
	if got, err := k.Unwrap(ctx, "alias/cameras", wrapped, camera); err != nil || got != plain {
		t.Errorf("wrapped under %s: %v", a.ARN, err)
	}
	if err := k.RemoveAlias(ctx, "alias/cameras"); err != nil {
		t.Error(err)
	}
	if err := k.RemoveAlias(ctx, "alias/cameras"); sluice.CodeOf(err) != kms.NotFoundException {
		t.Errorf("removed twice: %v", err)
	}
}

func TestRootKeyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keys", "root.key")
	if _, err := kms.LoadRootKey(path, false); !errors.Is(err, kms.ErrNoRootKey) {
		t.Errorf("no file: %v", err)
	}
	a, err := kms.LoadRootKey(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	b, err := kms.LoadRootKey(path, true)
	if err != nil || a.Derive("x") != b.Derive("x") {
		t.Errorf("read again: %v", err)
	}
	if a.Derive("x") == a.Derive("y") {
		t.Error("two labels, one key")
	}
	os.Chmod(path, 0o640)
	if _, err := kms.LoadRootKey(path, false); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("others can read it: %v", err)
	}
	secret := strings.Fields(a.Text())[1]
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("start", "root", a)
	for _, s := range []string{fmt.Sprint(a), fmt.Sprintf("%+v %#v %q", a, a, a), log.String()} {
		if strings.Contains(s, secret[:16]) {
			t.Errorf("printed: %s", s)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "keys", ".root*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFindRootKey(t *testing.T) {
	t.Parallel()
	data, creds, elsewhere := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "r.key")
	text := kms.NewRootKey().Text()
	if err := os.WriteFile(filepath.Join(creds, kms.RootKeyCredential), []byte(text), 0o440); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    kms.RootKeyOptions
		from string
		warn bool
	}{
		{"environment", kms.RootKeyOptions{Text: text, CredentialsDir: creds, DataDir: data}, "environment", false},
		{"credential", kms.RootKeyOptions{CredentialsDir: creds, DataDir: data}, creds, false},
		{"no such credential", kms.RootKeyOptions{CredentialsDir: data, DataDir: data, Create: true}, data, true},
		{"file", kms.RootKeyOptions{File: elsewhere, DataDir: data, Create: true}, elsewhere, false},
		{"data directory", kms.RootKeyOptions{DataDir: data, Create: true}, data, true},
	} {
		key, warning, err := kms.FindRootKey(c.o)
		if err != nil || !strings.Contains(key.From(), c.from) || (warning != "") != c.warn {
			t.Errorf("%s: from %s, warning %q, %v", c.name, key.From(), warning, err)
		}
	}
	for _, bad := range []string{"x", "sluice-root-key-1", "sluice-root-key-1 00", "sluice-root-key-1 " + strings.Repeat("0", 64), "sluice-root-key-2 " + strings.Repeat("a", 64)} {
		if _, err := kms.ParseRootKey(bad, "test"); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
