package cli_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

var anyUUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

func TestKeyVerbs(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	env := serverEnviron(s, s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey)
	const arn = "arn:aws:kms:us-west-2:000000000000:key/UUID"
	for _, c := range []struct {
		args string
		code int
		out  string
		errs string
	}{
		{args: "key list", out: "KEY  ALIAS  STATE  CREATED  DESCRIPTION\n"},
		{args: "key create --alias harbour --description ours", out: arn + "\n"},
		{args: "key create --alias harbour", code: cli.ExitFailure, errs: "has no name"},
		{args: "key disable alias/harbour", out: "UUID: Disabled\n"},
		{args: "key enable alias/harbour --json", out: "{\n  \"Arn\": \"" + arn + "\",\n  \"KeyId\": \"UUID\",\n  \"KeyState\": \"Enabled\"\n}\n"},
		{args: "key delete alias/harbour --after 36h", code: cli.ExitUsage, errs: "whole days"},
		{args: "key delete alias/harbour --after 7d", out: "UUID: PendingDeletion\n"},
		{args: "key undelete alias/harbour", out: "UUID: Disabled\n"},
		{args: "key enable alias/nobody", code: cli.ExitNotFound, errs: "NotFoundException"},
		{args: "key lsit", code: cli.ExitUsage, errs: `did you mean "list"?`},
	} {
		r := run(t, env, strings.Fields(c.args)...)
		if r.code != c.code || !strings.Contains(r.errors, c.errs) {
			t.Errorf("sluice %s: code %d, want %d; stderr %q, want %q", c.args, r.code, c.code, r.errors, c.errs)
		}
		if d := cmp.Diff(c.out, anyUUID.ReplaceAllString(golden(r.out), "UUID")); d != "" {
			t.Errorf("sluice %s: %s", c.args, d)
		}
	}
	if r := run(t, env, "key", "list"); !strings.Contains(anyUUID.ReplaceAllString(golden(r.out), "UUID"), "UUID  alias/harbour  Disabled  DATE  ours\n") {
		t.Errorf("key list: %s", golden(r.out))
	}
}
