package compat_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// TestKeys: the keyring by boto3's KMS client, and streams under its keys.
func TestKeys(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/lib/python3/dist-packages/boto3"); err != nil {
		t.Skip("boto3 is not installed")
	}
	s := sluicetest.Start(t)
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "python/kms.py")
	cmd.Env = append(s.Environ(), "HOME="+t.TempDir(), "PATH="+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	var got, want map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal([]byte(`{
		"keys": [true], "aliases": {"alias/harbour": true}, "description": "of the harbour",
		"states": ["Disabled", "Enabled", "PendingDeletion"], "missing": "NotFoundException", "streams": ["the key", "alias/not-yet"]
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
