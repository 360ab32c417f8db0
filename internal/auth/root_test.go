package auth_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/auth"
)

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(k string) string { return m[k] }
}

func TestLoadRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, auth.RootFile)
	first, from, err := auth.LoadRoot(dir, env(), false)
	if err != nil || !from.New || from.Path != path || !strings.HasPrefix(first.AccessKeyID, "AKIA") || len(first.SecretAccessKey) != 40 {
		t.Fatalf("%v %+v %v", first, from, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, from, err := auth.LoadRoot(dir, env(), false)
	if err != nil || from.New || again != first {
		t.Errorf("%v %+v %v", again, from, err)
	}
	reset, from, err := auth.LoadRoot(dir, env(), true)
	if err != nil || !from.New || reset.AccessKeyID == first.AccessKeyID {
		t.Errorf("%v %+v %v", reset, from, err)
	}
	if again, _, _ := auth.LoadRoot(dir, env(), false); again != reset {
		t.Error("the new pair was not kept")
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}

	given := env(auth.RootAccessKeyIDEnv, "admin", auth.RootSecretAccessKeyEnv, "password1")
	c, from, err := auth.LoadRoot(dir, given, false)
	if err != nil || from.Path != "" || c.AccessKeyID != "admin" || c.SecretAccessKey != "password1" {
		t.Errorf("%v %+v %v", c, from, err)
	}
	for name, getenv := range map[string]func(string) string{
		"set both or neither": env(auth.RootAccessKeyIDEnv, "admin"),
		"8 to 128":            env(auth.RootAccessKeyIDEnv, "admin", auth.RootSecretAccessKeyEnv, "short"),
		"access key id":       env(auth.RootAccessKeyIDEnv, "a/b", auth.RootSecretAccessKeyEnv, "password1"),
	} {
		if _, _, err := auth.LoadRoot(dir, getenv, false); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := auth.LoadRoot(dir, given, true); err == nil || !strings.Contains(err.Error(), "nothing to reset") {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := auth.LoadRoot(dir, env(), false); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o600)
	if _, _, err := auth.LoadRoot(dir, env(), false); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if _, _, err := auth.LoadRoot(filepath.Join(dir, "none"), env(), false); err == nil {
		t.Error("no directory, no error")
	}
}
