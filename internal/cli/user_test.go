package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

var (
	anyID     = regexp.MustCompile(`(AKIA|AIDA|ANPA)[A-Z2-7]{16}`)
	anyDate   = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	anyCode   = regexp.MustCompile(`(stream/\w+)/\d{13}`)
	anySecret = regexp.MustCompile(`[A-Za-z0-9+/]{40}`)
	spaces    = regexp.MustCompile(` {2,}`)
)

// settled takes out of an output what differs each time.
func settled(s string) string {
	s = anyID.ReplaceAllString(s, "${1}ID")
	s = anyDate.ReplaceAllString(s, "DATE")
	s = anyCode.ReplaceAllString(s, "$1/CODE")
	s = anySecret.ReplaceAllString(s, "SECRET")
	return spaces.ReplaceAllString(s, "  ")
}

func serverEnviron(s *sluicetest.Server, key, secret string) []string {
	return []string{"AWS_ENDPOINT_URL=" + s.Endpoint, "AWS_REGION=" + s.Region, "AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "HOME=" + s.Data}
}

func TestUsersAndPolicies(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	root := serverEnviron(s, s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey)
	file := filepath.Join(t.TempDir(), "policy.json")
	text := `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "arn:aws:kinesisvideo:*:*:stream/${aws:username}*/*"},
    {"Sid": "NoDelete", "Effect": "Deny", "Action": "kinesisvideo:DeleteStream", "Resource": "*",
     "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
  ]
}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	type step struct {
		args string
		code int
		want string // stdout, settled; with code != 0, what stderr or stdout holds
	}
	for _, c := range []step{
		{"user list", 0, "USER  PATH  CREATED  ID\n"},
		{"user list --json", 0, "[]\n"},
		{"user create cam1 --path /cameras/", 0, "arn:aws:iam::000000000000:user/cameras/cam1\n"},
		{"user create cam1", cli.ExitFailure, "EntityAlreadyExists: User with name cam1 already exists.\nSee http://"},
		{"user create cam2 --json", 0, "{\n  \"UserName\": \"cam2\",\n  \"UserId\": \"AIDAID\",\n  \"Arn\": \"arn:aws:iam::000000000000:user/cam2\",\n  \"Path\": \"/\",\n  \"CreateDate\": \"DATE\"\n}\n"},
		{"user list", 0, "USER  PATH  CREATED  ID\ncam1  /cameras/  DATE  AIDAID\ncam2  /  DATE  AIDAID\n"},
		{"user list --path /cameras/", 0, "USER  PATH  CREATED  ID\ncam1  /cameras/  DATE  AIDAID\n"},
		{"user key create cam1", 0, "access key id  AKIAID\nsecret access key  SECRET\n"},
		{"user key create cam1 --json", 0, "{\n  \"AccessKeyId\": \"AKIAID\",\n  \"SecretAccessKey\": \"SECRET\",\n  \"Status\": \"Active\",\n  \"UserName\": \"cam1\",\n  \"CreateDate\": \"DATE\"\n}\n"},
		{"user key create cam1", cli.ExitFailure, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2"},
		{"user key list cam1", 0, "ACCESS KEY ID  STATUS  CREATED\nAKIAID  Active  DATE\nAKIAID  Active  DATE\n"},
		{"user key list nobody", cli.ExitNotFound, "/console/docs/troubleshooting.html#nosuchentity"},
		{"user policy put cam1 own " + file, 0, "policy own of cam1 is set\n"},
		{"user policy get cam1 own", 0, text},
		{"user policy get cam1 other", cli.ExitNotFound, "NoSuchEntity"},
		{"user policy attach cam1 amazonkinesisvideostreamsreadonlyaccess", 0, "attached arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess\n"},
		{"user policy attach cam1 nothing", cli.ExitNotFound, "there is no managed policy nothing"},
		{"user policy list cam1", 0, "POLICY  FROM\nown  inline\narn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess  attached\n"},
		{"user policy list cam1 --json", 0, "[\n  {\n  \"Policy\": \"own\",\n  \"From\": \"inline\"\n  },\n  {\n  \"Policy\": \"arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess\",\n  \"From\": \"attached\"\n  }\n]\n"},
		{"policy list", 0, "POLICY  ATTACHED  ARN\nAdministratorAccess  0  arn:aws:iam::aws:policy/AdministratorAccess\n" +
			"AmazonKinesisVideoStreamsFullAccess  0  arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsFullAccess\n" +
			"AmazonKinesisVideoStreamsReadOnlyAccess  1  arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess\n"},
		{"stream create cam1front", 0, "arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam1front/CODE\n"},

		{"policy simulate cam1 PutMedia cam1front", 0, "kinesisvideo:PutMedia on arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam1front/CODE: allowed by Statement[0] of inline policy own (not given: aws:sourceip)\n"},
		{"policy simulate cam1 PutMedia garden", cli.ExitDenied, "kinesisvideo:PutMedia on arn:aws:kinesisvideo:us-west-2:000000000000:stream/garden/0: no identity-based policy allows the kinesisvideo:PutMedia action (not given: aws:sourceip)\n"},
		{"policy simulate cam1 DeleteStream cam1front --context aws:SourceIp=192.168.0.1", cli.ExitDenied, "explicitly denied by Statement[1] (NoDelete) of inline policy own\n"},
		{"policy simulate cam1 DeleteStream cam1front --context aws:SourceIp=10.0.0.1", 0, "kinesisvideo:DeleteStream on arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam1front/CODE: allowed by Statement[0] of inline policy own\n"},
		{"policy simulate cam2 GetMedia --json", cli.ExitDenied, "\"Decision\": \"implicitDeny\""},
		{"policy simulate nobody GetMedia", cli.ExitNotFound, "NoSuchEntity"},
		{"policy simulate cam1 PutMedia garden --explain", cli.ExitDenied, "  Statement[1] (NoDelete) of inline policy own at line 5 does not apply: Action kinesisvideo:DeleteStream does not cover kinesisvideo:PutMedia\n"},
		{"policy simulate --file " + file + " PutMedia", cli.ExitDenied, "no identity-based policy allows the kinesisvideo:PutMedia action (not given: aws:username, aws:sourceip)\n"},
		{"policy simulate --file " + file + " PutMedia arn:aws:kinesisvideo:us-west-2:000000000000:stream/joe-1/1 --context aws:username=joe --context aws:SourceIp=10.0.0.1", 0,
			"kinesisvideo:PutMedia on arn:aws:kinesisvideo:us-west-2:000000000000:stream/joe-1/1: allowed by Statement[0] of " + file + "\n"},
		{"policy simulate cam1", cli.ExitUsage, "want USER ACTION [RESOURCE]"},
		{"policy simulate cam1 PutMedia --context x", cli.ExitUsage, `--context "x" is not KEY=VALUE`},
		{"policy check " + file, 0, file + ": sound, 2 statements\n"},

		{"user delete cam1", cli.ExitFailure, "DeleteConflict: Cannot delete entity, must delete access keys first."},
		{"user policy detach cam1 AmazonKinesisVideoStreamsReadOnlyAccess", 0, "detached arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess\n"},
		{"user policy delete cam1 own", 0, "deleted policy own of cam1\n"},
		{"user policy put cam1 own " + file, 0, "policy own of cam1 is set\n"},
		{"user delete cam1 --force", 0, "deleted cam1\n"},
		{"user delete cam2 --json", 0, "{\n  \"Deleted\": \"cam2\"\n}\n"},
		{"user delete cam2 --force", cli.ExitNotFound, "NoSuchEntity"},
		{"user list --json", 0, "[]\n"},
	} {
		r := run(t, root, strings.Fields(c.args)...)
		got := settled(r.out)
		if r.code != c.code || c.code == 0 && got != settled(c.want) || c.code != 0 && !strings.Contains(got+r.errors, c.want) {
			t.Errorf("sluice %s\ncode %d, want %d\ngot  %q\nerr  %q\nwant %q", c.args, r.code, c.code, got, r.errors, settled(c.want))
		}
	}
}

func TestKeysSwitch(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	root := serverEnviron(s, s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey)
	must := func(args ...string) string {
		t.Helper()
		r := run(t, root, args...)
		if r.code != 0 {
			t.Fatalf("sluice %v: %d %s", args, r.code, r.errors)
		}
		return r.out
	}
	must("user", "create", "cam1")
	pair := strings.Fields(must("user", "key", "create", "cam1"))
	id, secret := pair[3], pair[7]
	cam := serverEnviron(s, id, secret)
	if r := run(t, cam, "stream", "list"); r.code != cli.ExitDenied || !strings.Contains(r.errors, "user/cam1 is not authorized to perform: kinesisvideo:ListStreams") {
		t.Errorf("without a policy: %+v", r)
	}
	must("user", "policy", "attach", "cam1", "AmazonKinesisVideoStreamsFullAccess")
	if r := run(t, cam, "stream", "list"); r.code != 0 {
		t.Errorf("with a policy: %+v", r)
	}
	if got := must("user", "key", "deactivate", "cam1", id); got != id+" of cam1 is inactive\n" {
		t.Error(got)
	}
	if r := run(t, cam, "stream", "list"); r.code != cli.ExitDenied || !strings.Contains(r.errors, "The security token included in the request is invalid.") {
		t.Errorf("inactive: %+v", r)
	}
	must("user", "key", "activate", "cam1", id)
	if r := run(t, cam, "stream", "list"); r.code != 0 {
		t.Errorf("active again: %+v", r)
	}
	must("user", "key", "delete", "cam1", id)
	if r := run(t, cam, "user", "list"); r.code != cli.ExitDenied || !strings.Contains(r.errors, "InvalidClientTokenId") {
		t.Errorf("deleted: %+v", r)
	}
}

func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.json"), filepath.Join(dir, "bad.json")
	for name, text := range map[string]string{
		good: `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`,
		bad:  "{\"Statement\": [\n  {\"Effect\": \"Allow\", \"Action\": [\"kinesisvideo:PutMedia\",], \"Resource\": \"*\"}\n]}",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, nil, "policy", "check", bad, good)
	if r.code != cli.ExitFailure || !strings.Contains(r.errors, bad+": line 2 column 58: a comma before the closing bracket") || r.out != good+": sound, 1 statement\n" {
		t.Errorf("%+v", r)
	}
	r = run(t, nil, "policy", "check", "--json", bad, good)
	var list []struct {
		File, Problem string
		Sound         bool
		Statements    int
	}
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || r.code != cli.ExitFailure || len(list) != 2 ||
		list[0].Sound || !strings.Contains(list[0].Problem, "line 2 column 58") || !list[1].Sound || list[1].Statements != 1 || list[1].File != good {
		t.Errorf("--json: %v, %+v", err, r)
	}
	if r := run(t, nil, "policy", "check", filepath.Join(dir, "none")); r.code != cli.ExitFailure {
		t.Errorf("%+v", r)
	}
}
