package api_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/auth"
)

// startIAM is a server with real users.
func startIAM(t testing.TB) *server {
	t.Helper()
	users := realDoor(t, time.Now)
	return start(t, func(o *api.Options) { o.Auth, o.Users = users, users })
}

// TestIAMWithBoto3 takes every action through the SDK for Python: what it
// parses, and the exceptions it raises.
func TestIAMWithBoto3(t *testing.T) {
	t.Parallel()
	python := "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import boto3").Run(); err != nil {
		t.Skipf("no boto3 for %s: %v", python, err)
	}
	s := startIAM(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, filepath.Join("testdata", "iam.py"), s.URL, root.AccessKeyID, root.SecretAccessKey, region).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestGettingStartedWithTheCLI is the guide's "Create an Administrator IAM
// User" and "Create an AWS Account Key", then the Raspberry Pi's user, typed
// with the AWS CLI.
func TestGettingStartedWithTheCLI(t *testing.T) {
	t.Parallel()
	cli := "/usr/bin/aws"
	if _, err := os.Stat(cli); err != nil {
		t.Skipf("no AWS CLI: %v", err)
	}
	s := startIAM(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	home := t.TempDir()
	aws := func(key, secret string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, cli, append(args, "--endpoint-url", s.URL, "--region", region, "--output", "json")...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + home, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
			"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := aws(root.AccessKeyID, root.SecretAccessKey, args...)
		if err != nil {
			t.Fatalf("aws %v: %v\n%s", args, err, out)
		}
		return out
	}
	must("iam", "create-group", "--group-name", "Administrators")
	must("iam", "attach-group-policy", "--group-name", "Administrators", "--policy-arn", "arn:aws:iam::aws:policy/AdministratorAccess")
	must("iam", "create-user", "--user-name", "Administrator")
	must("iam", "add-user-to-group", "--user-name", "Administrator", "--group-name", "Administrators")
	var made struct {
		AccessKey struct{ AccessKeyID, SecretAccessKey string }
	}
	if err := json.Unmarshal([]byte(must("iam", "create-access-key", "--user-name", "Administrator")), &made); err != nil {
		t.Fatal(err)
	}
	admin := made.AccessKey
	out, err := aws(admin.AccessKeyID, admin.SecretAccessKey, "sts", "get-caller-identity")
	if err != nil || !strings.Contains(out, `"Arn": "arn:aws:iam::`+account+`:user/Administrator"`) {
		t.Errorf("%v %s", err, out)
	}
	policy := filepath.Join(home, "policy.json")
	text := `{
  "Version": "2012-10-17",
  "Statement": [{
    "Effect": "Allow",
    "Action": [
      "kinesisvideo:DescribeStream",
      "kinesisvideo:CreateStream",
      "kinesisvideo:GetDataEndpoint",
      "kinesisvideo:PutMedia"
    ],
    "Resource": [
      "*"
    ]
  }]
}`
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// From here on the administrator acts, not root.
	for _, args := range [][]string{
		{"iam", "create-policy", "--policy-name", "kinesis-video-stream-write-policy", "--policy-document", "file://" + policy},
		{"iam", "create-user", "--user-name", "kinesis-video-raspberry-pi-producer"},
		{"iam", "attach-user-policy", "--user-name", "kinesis-video-raspberry-pi-producer", "--policy-arn", "arn:aws:iam::" + account + ":policy/kinesis-video-stream-write-policy"},
	} {
		if out, err := aws(admin.AccessKeyID, admin.SecretAccessKey, args...); err != nil {
			t.Fatalf("aws %v: %v\n%s", args, err, out)
		}
	}
	out, err = aws(admin.AccessKeyID, admin.SecretAccessKey, "iam", "create-access-key", "--user-name", "kinesis-video-raspberry-pi-producer")
	if err == nil {
		err = json.Unmarshal([]byte(out), &made)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pi := made.AccessKey
	if out, err := aws(pi.AccessKeyID, pi.SecretAccessKey, "kinesisvideo", "describe-stream", "--stream-name", "cam"); err == nil || !strings.Contains(out, "(ResourceNotFoundException)") {
		t.Errorf("describe-stream: %v %s", err, out)
	}
	if out, err := aws(pi.AccessKeyID, pi.SecretAccessKey, "kinesisvideo", "list-streams"); err == nil || !strings.Contains(out, "(AccessDeniedException)") {
		t.Errorf("list-streams: %v %s", err, out)
	}
	if out, err := aws(pi.AccessKeyID, pi.SecretAccessKey, "iam", "list-users"); err == nil || !strings.Contains(out, "(AccessDenied)") ||
		!strings.Contains(out, "iam:ListUsers on resource: arn:aws:iam::"+account+":user/") {
		t.Errorf("list-users: %v %s", err, out)
	}
}

// iam makes a signed call and returns the answer as text.
func iam(t testing.TB, s *server, key auth.Credentials, form url.Values) (int, string) {
	t.Helper()
	body := form.Encode()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	service := "iam"
	if form.Get("Version") == "2011-06-15" {
		service = "sts"
	}
	signing{key: key, region: region, service: service, at: time.Now()}.sign(t, r, body)
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if ct := res.Header.Get("Content-Type"); ct != "text/xml" {
		t.Errorf("Content-Type %q", ct)
	}
	// The request id is another each time.
	return res.StatusCode, strings.ReplaceAll(string(b), res.Header.Get("x-amzn-RequestId"), "ID")
}

// TestWhichPoliciesMayBeGiven: who may attach one policy cannot attach another
// and with it become root.
func TestWhichPoliciesMayBeGiven(t *testing.T) {
	t.Parallel()
	s := startIAM(t)
	const read = "arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess"
	var made struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	for _, f := range []url.Values{
		form("Action", "CreateGroup", "GroupName", "viewers"),
		form("Action", "CreateUser", "UserName", "clerk"),
		form("Action", "PutUserPolicy", "UserName", "clerk", "PolicyName", "p", "PolicyDocument", `{"Version":"2012-10-17","Statement":{
			"Effect":"Allow","Action":["iam:Attach*","iam:Detach*"],"Resource":"*","Condition":{"ArnEquals":{"iam:PolicyARN":"`+read+`"}}}}`),
		form("Action", "CreateAccessKey", "UserName", "clerk"),
	} {
		status, answer := iam(t, s, root, f)
		if status != 200 {
			t.Fatalf("%s: %d %s", f.Get("Action"), status, answer)
		}
		_ = xml.Unmarshal([]byte(answer), &made) // the last one has the key
	}
	clerk := auth.Credentials{AccessKeyID: made.ID, SecretAccessKey: made.Secret}
	for _, c := range []struct {
		action, member, name, policy string
		status                       int
	}{
		{"AttachUserPolicy", "UserName", "clerk", read, 200},
		{"AttachUserPolicy", "UserName", "clerk", auth.AdministratorAccess, 403},
		{"AttachGroupPolicy", "GroupName", "viewers", read, 200},
		{"AttachGroupPolicy", "GroupName", "viewers", auth.AdministratorAccess, 403},
		{"DetachUserPolicy", "UserName", "clerk", auth.AdministratorAccess, 403},
		{"DetachUserPolicy", "UserName", "clerk", read, 200},
		{"DetachGroupPolicy", "GroupName", "viewers", read, 200},
	} {
		status, answer := iam(t, s, clerk, form("Action", c.action, c.member, c.name, "PolicyArn", c.policy))
		if status != c.status || status == 403 && !strings.Contains(answer, "<Code>AccessDenied</Code>") {
			t.Errorf("%s %s: %d %s", c.action, c.policy, status, answer)
		}
	}
}

func form(pairs ...string) url.Values {
	f := url.Values{"Version": {"2010-05-08"}}
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	return f
}

// TestQueryXML is the answers byte for byte, where that shows more than an SDK.
func TestQueryXML(t *testing.T) {
	t.Parallel()
	s := startIAM(t)
	const (
		iamDoc = `xmlns="https://iam.amazonaws.com/doc/2010-05-08/"`
		stsDoc = `xmlns="https://sts.amazonaws.com/doc/2011-06-15/"`
		meta   = `<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata>`
	)
	for _, c := range []struct {
		form   url.Values
		status int
		want   string
	}{
		{form("Action", "GetCallerIdentity", "Version", "2011-06-15"), 200,
			`<GetCallerIdentityResponse ` + stsDoc + `><GetCallerIdentityResult><Arn>arn:aws:iam::000000000000:root</Arn><UserId>000000000000</UserId><Account>000000000000</Account></GetCallerIdentityResult>` + meta + `</GetCallerIdentityResponse>`},
		{form("Action", "ListUsers"), 200,
			`<ListUsersResponse ` + iamDoc + `><ListUsersResult><Users></Users><IsTruncated>false</IsTruncated></ListUsersResult>` + meta + `</ListUsersResponse>`},
		{form("Action", "CreateGroup", "GroupName", "g"), 200, ""},
		{form("Action", "PutGroupPolicy", "GroupName", "g", "PolicyName", "p", "PolicyDocument", "{\"Statement\": {\"Effect\":\"Deny\",\"Action\":\"a:B+c\",\"Resource\":\"*\"}}"), 400,
			`<ErrorResponse ` + iamDoc + `><Error><Type>Sender</Type><Code>MalformedPolicyDocument</Code><Message>Syntax errors in policy: line 1 column 41: Statement[0].Action: &#34;a:B+c&#34; has characters that no action has</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
		{form("Action", "PutGroupPolicy", "GroupName", "g", "PolicyName", "p", "PolicyDocument", "{\"Statement\": {\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}}"), 200,
			`<PutGroupPolicyResponse ` + iamDoc + `>` + meta + `</PutGroupPolicyResponse>`},
		{form("Action", "GetGroupPolicy", "GroupName", "g", "PolicyName", "p"), 200,
			`<GetGroupPolicyResponse ` + iamDoc + `><GetGroupPolicyResult><GroupName>g</GroupName><PolicyName>p</PolicyName><PolicyDocument>%7B%22Statement%22%3A%20%7B%22Effect%22%3A%22Deny%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%7D</PolicyDocument></GetGroupPolicyResult>` + meta + `</GetGroupPolicyResponse>`},
		{form("Action", "GetUser", "UserName", "x<y"), 400,
			`<ErrorResponse ` + iamDoc + `><Error><Type>Sender</Type><Code>ValidationError</Code><Message>The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
		{form("Action", "DeleteUser"), 400,
			`<ErrorResponse ` + iamDoc + `><Error><Type>Sender</Type><Code>ValidationError</Code><Message>1 validation error detected: Value null at &#39;userName&#39; failed to satisfy constraint: Member must not be null</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
		{form("Action", "ListUsers", "MaxItems", "0"), 400, `maxItems: must be a number from 1 to 1000`},
		{form("Action", "ListUsers", "Marker", "?"), 400, `<Code>InvalidInput</Code><Message>Invalid Marker</Message>`},
		{form("Action", "ListUsers", "Version", "2009-01-01"), 400, `<Code>InvalidAction</Code><Message>Could not find operation ListUsers for version 2009-01-01</Message>`},
		{form("Action", "CreateUser", "UserName", "x", "Surprise", "1"), 400, `Surprise: CreateUser does not take this parameter here`},
		{form("Action", "CreateRole"), 400, `<Code>InvalidAction</Code>`},
		{form("Action", "SimulateCustomPolicy", "ActionNames.member.1", "a:B", "PolicyInputList.member.1", "{"), 400, `PolicyInputList.member.1: line 1 column 2`},
		{form("Action", "SimulateCustomPolicy", "ActionNames.member.1", "a:B", "PolicyInputList.member.1", `{"Statement":{"Effect":"Allow","Action":"a:*","Resource":"*"}}`), 200,
			`<EvalDecision>allowed</EvalDecision><MatchedStatements><member><SourcePolicyId>PolicyInputList.1</SourcePolicyId><SourcePolicyType>IAM Policy</SourcePolicyType><StartPosition><Line>1</Line><Column>14</Column></StartPosition><EndPosition><Line>1</Line><Column>62</Column></EndPosition></member></MatchedStatements><MissingContextValues></MissingContextValues><SluiceReason>allowed by Statement[0] of PolicyInputList.1</SluiceReason>`},
	} {
		status, got := iam(t, s, root, c.form)
		if status != c.status || strings.HasPrefix(c.want, "<ErrorResponse") && got != c.want || !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %d %s\nwant %d %s", c.form.Encode(), status, got, c.status, c.want)
		}
	}
}
