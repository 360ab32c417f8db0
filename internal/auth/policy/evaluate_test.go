package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/auth/policy"
)

// What a case expects.
const (
	allow = "allowed"           // a statement allows, none denies
	deny  = "explicitly denied" // a statement denies
	none  = "no identity-based policy"
)

const (
	cam     = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/cam/1600000000000"
	door    = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1600000000001"
	bobsCam = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/bob-cam/1600000000002"
)

type keys = map[string][]string

func one(key, value string) keys { return keys{key: {value}} }

// statements wraps statements in a document; a text with its own Version or
// Statement stands as it is.
func statements(s string) string {
	if strings.Contains(s, `"Statement"`) {
		return s
	}
	return `{"Version":"2012-10-17","Statement":[` + s + `]}`
}

// when is a statement that allows everything under a condition.
func when(condition string) string {
	return `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{` + condition + `}}`
}

type evaluation struct {
	why      string // the rule that decides
	policy   string // documents are separated by lines of "---"
	action   string
	resource string
	context  keys
	want     string
}

var basics = []evaluation{
	// Default deny, allow, explicit deny.
	{"no statement speaks of the action", `{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"an allow overrides the default", `{"Effect":"Allow","Action":"kinesisvideo:PutMedia","Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"a deny alone", `{"Effect":"Deny","Action":"*","Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, deny},
	{"a deny after an allow wins", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"kinesisvideo:DeleteStream","Resource":"*"}`, "kinesisvideo:DeleteStream", cam, nil, deny},
	{"a deny before an allow wins", `{"Effect":"Deny","Action":"kinesisvideo:DeleteStream","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}`, "kinesisvideo:DeleteStream", cam, nil, deny},
	{"a deny of something else does not matter", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"kinesisvideo:DeleteStream","Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"a deny of another resource does not matter", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"` + door + `"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"the second statement may allow", `{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"},{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"a deny in another document wins", `{"Effect":"Allow","Action":"*","Resource":"*"}
---
{"Effect":"Deny","Action":"*","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, deny},
	{"a deny in an earlier document wins", `{"Effect":"Deny","Action":"*","Resource":"*"}
---
{"Effect":"Allow","Action":"*","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, deny},
	{"any document may allow", `{"Effect":"Allow","Action":"kms:*","Resource":"*"}
---
{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"two allows do not add up to a missing one", `{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"` + door + `"},{"Effect":"Allow","Action":"kinesisvideo:PutMedia","Resource":"` + cam + `"}`, "kinesisvideo:GetMedia", cam, nil, none},

	// Forms of a document.
	{"Statement as one object", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"no Version means 2008-10-17", `{"Statement":[{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"*"}]}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"Version 2008-10-17", `{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"*"}]}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"Id and Sid say nothing", `{"Version":"2012-10-17","Id":"x y","Statement":[{"Sid":"Read1","Effect":"Allow","Action":"*","Resource":"*"}]}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"Action as a list", `{"Effect":"Allow","Action":["kms:Decrypt","kinesisvideo:GetMedia"],"Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"an action that is not in the list", `{"Effect":"Allow","Action":["kms:Decrypt","kinesisvideo:GetMedia"],"Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"Resource as a list", `{"Effect":"Allow","Action":"*","Resource":["` + door + `","` + cam + `"]}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"a resource that is not in the list", `{"Effect":"Allow","Action":"*","Resource":["` + door + `"]}`, "kinesisvideo:GetMedia", cam, nil, none},
	{"escapes in JSON are read", `{"Effect":"Allow","Action":"kinesisvideo:\u0047etMedia","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},

	// Actions.
	{"the action's case does not matter", `{"Effect":"Allow","Action":"kinesisvideo:getmedia","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"the prefix's case does not matter", `{"Effect":"Allow","Action":"KinesisVideo:GetMedia","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"the request's case does not matter", `{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"*"}`, "KINESISVIDEO:GETMEDIA", cam, nil, allow},
	{"kinesis-video: is the guide's other spelling", `{"Effect":"Allow","Action":"kinesis-video:GetMedia","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"kinesis-video: with a wildcard", `{"Effect":"Allow","Action":"Kinesis-Video:Get*","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"kinesis-video: in a deny", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"kinesis-video:PutMedia","Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, deny},
	{"kinesis-video: in the request", `{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"*"}`, "kinesis-video:GetMedia", cam, nil, allow},
	{"kinesis: is another service", `{"Effect":"Allow","Action":"kinesis:*","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, none},
	{"* is every action", `{"Effect":"Allow","Action":"*","Resource":"*"}`, "iam:CreateUser", "*", nil, allow},
	{"service:* is that service", `{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*"}`, "kinesisvideo:DeleteStream", cam, nil, allow},
	{"service:* is no other service", `{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*"}`, "iam:CreateUser", "*", nil, none},
	{"Get* begins with Get", `{"Effect":"Allow","Action":"kinesisvideo:Get*","Resource":"*"}`, "kinesisvideo:GetHLSStreamingSessionURL", cam, nil, allow},
	{"Get* does not begin with Put", `{"Effect":"Allow","Action":"kinesisvideo:Get*","Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"a wildcard in the middle", `{"Effect":"Allow","Action":"kinesisvideo:Get*ForFragmentList","Resource":"*"}`, "kinesisvideo:GetMediaForFragmentList", cam, nil, allow},
	{"a wildcard at the front", `{"Effect":"Allow","Action":"kinesisvideo:*Stream","Resource":"*"}`, "kinesisvideo:DescribeStream", cam, nil, allow},
	{"a wildcard at the front wants the end", `{"Effect":"Allow","Action":"kinesisvideo:*Stream","Resource":"*"}`, "kinesisvideo:ListStreams", cam, nil, none},
	{"? is one character", `{"Effect":"Allow","Action":"kinesisvideo:?etMedia","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"? is not none", `{"Effect":"Allow","Action":"kinesisvideo:GetMedia?","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, none},
	{"? is not two", `{"Effect":"Allow","Action":"kinesisvideo:?Media","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, none},
	{"a prefix without a wildcard is not enough", `{"Effect":"Allow","Action":"kinesisvideo:GetMedia","Resource":"*"}`, "kinesisvideo:GetMediaForFragmentList", cam, nil, none},
	{"a wildcard may stand in the prefix", `{"Effect":"Allow","Action":"kinesis*:GetMedia","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"an extension is an action like any other", `{"Effect":"Allow","Action":"sluice:ReadActivity","Resource":"*"}`, "sluice:ReadActivity", "*", nil, allow},
	{"kinesisvideo:* has no extensions", `{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*"}`, "sluice:ReadActivity", "*", nil, none},

	// NotAction and NotResource.
	{"NotAction allows the rest", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"NotAction leaves out what it names", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, "iam:CreateUser", "*", nil, none},
	{"NotAction's case does not matter", `{"Effect":"Allow","NotAction":"IAM:createuser","Resource":"*"}`, "iam:CreateUser", "*", nil, none},
	{"Deny with NotAction denies the rest", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"kinesisvideo:Get*","Resource":"*"}`, "kinesisvideo:PutMedia", cam, nil, deny},
	{"Deny with NotAction spares what it names", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"kinesisvideo:Get*","Resource":"*"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"NotAction list: one match is enough to leave out", `{"Effect":"Allow","NotAction":["iam:*","kms:*"],"Resource":"*"}`, "kms:Decrypt", "*", nil, none},
	{"NotResource allows the rest", `{"Effect":"Allow","Action":"*","NotResource":"` + door + `"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"NotResource leaves out what it names", `{"Effect":"Allow","Action":"*","NotResource":"` + cam + `"}`, "kinesisvideo:GetMedia", cam, nil, none},
	{"Deny with NotResource: only this stream", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","NotResource":"` + cam + `"}`, "kinesisvideo:GetMedia", door, nil, deny},
	{"Deny with NotResource spares that stream", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","NotResource":"` + cam + `"}`, "kinesisvideo:GetMedia", cam, nil, allow},
	{"NotResource * leaves out everything", `{"Effect":"Allow","Action":"*","NotResource":"*"}`, "kinesisvideo:GetMedia", cam, nil, none},

	// Resources.
	{"the exact ARN", `{"Effect":"Allow","Action":"*","Resource":"` + cam + `"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"another life of the stream has another ARN", `{"Effect":"Allow","Action":"*","Resource":"` + cam + `"}`, "kinesisvideo:PutMedia", "arn:aws:kinesisvideo:us-west-2:123456789012:stream/cam/1700000000000", nil, none},
	{"any life of the stream", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/cam/*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"a name is not its beginning", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/cam/*"}`, "kinesisvideo:PutMedia", "arn:aws:kinesisvideo:us-west-2:123456789012:stream/cam2/1", nil, none},
	{"names by prefix", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/bob-*/*"}`, "kinesisvideo:PutMedia", bobsCam, nil, allow},
	{"names by prefix, another name", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/bob-*/*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"names by suffix", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/*-cam/*"}`, "kinesisvideo:PutMedia", bobsCam, nil, allow},
	{"one character of a name", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/c?m/*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"another region", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam/*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"any region", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:123456789012:stream/cam/*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"another account", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:us-west-2:111122223333:stream/cam/*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"another partition", `{"Effect":"Allow","Action":"*","Resource":"arn:aws-cn:kinesisvideo:us-west-2:123456789012:stream/cam/*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"case of a resource matters", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/Cam/*"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"fields missing at the end are any", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"fields missing at the end, another service", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kms"}`, "kinesisvideo:PutMedia", cam, nil, none},
	{"arn:* is any ARN", `{"Effect":"Allow","Action":"*","Resource":"arn:*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"an operation without a resource needs *", `{"Effect":"Allow","Action":"*","Resource":"` + cam + `"}`, "kinesisvideo:ListStreams", "*", nil, none},
	{"an operation without a resource has *", `{"Effect":"Allow","Action":"*","Resource":"*"}`, "kinesisvideo:ListStreams", "*", nil, allow},
	{"the guide's older ARN of a stream", `{"Effect":"Allow","Action":"kinesis-video:PutMedia","Resource":"arn:aws:kinesis-video:*:123456789012:cam"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"the guide's older ARN names one stream", `{"Effect":"Allow","Action":"kinesis-video:PutMedia","Resource":"arn:aws:kinesis-video:*:123456789012:cam"}`, "kinesisvideo:PutMedia", door, nil, none},
	{"the older ARN with stream/", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesis-video:*:123456789012:stream/cam/*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"the older ARN with *", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesis-video:*:123456789012:*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"many stars", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:*:*:*:*a*m*1*0*"}`, "kinesisvideo:PutMedia", cam, nil, allow},
	{"many stars, no match", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:*:*:*:*a*m*1*9"}`, "kinesisvideo:PutMedia", cam, nil, none},

	// Policy variables.
	{"a variable in a resource", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:username}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, one("aws:username", "bob"), allow},
	{"a variable in a resource, another user", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:username}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, one("aws:username", "eve"), none},
	{"a variable's case does not matter", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${AWS:UserName}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, one("aws:username", "bob"), allow},
	{"a variable without a value matches nothing", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:username}*/*"}`, "kinesisvideo:PutMedia", bobsCam, nil, none},
	{"a variable without a value in NotResource does not open the rest", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:kinesisvideo:*:*:stream/${aws:username}*/*"}`, "kinesisvideo:PutMedia", bobsCam, nil, none},
	{"a variable with several values matches nothing", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:TagKeys}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, keys{"aws:TagKeys": {"bob", "eve"}}, none},
	{"a value's asterisk is a letter", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:username}/*"}`, "kinesisvideo:PutMedia", bobsCam, one("aws:username", "*"), none},
	{"a value that looks like a variable is letters", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:useragent}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, keys{"aws:useragent": {"${aws:username}"}, "aws:username": {"bob"}}, none},
	{"a control character in a value is no wildcard", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:useragent}/*"}`, "kinesisvideo:PutMedia", cam, one("aws:UserAgent", "\x01"), none},
	{"${*} is an asterisk", when(`"StringLike":{"aws:UserAgent":"a${*}b"}`), "x:Y", "*", one("aws:UserAgent", "a*b"), allow},
	{"${*} is no wildcard", when(`"StringLike":{"aws:UserAgent":"a${*}b"}`), "x:Y", "*", one("aws:UserAgent", "axb"), none},
	{"${?} is a question mark", when(`"StringLike":{"aws:UserAgent":"a${?}b"}`), "x:Y", "*", one("aws:UserAgent", "axb"), none},
	{"${$} is a dollar", when(`"StringEquals":{"aws:UserAgent":"${$}{aws:username}"}`), "x:Y", "*", keys{"aws:UserAgent": {"${aws:username}"}, "aws:username": {"bob"}}, allow},
	{"a default value steps in", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:PrincipalTag/team, 'bob'}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, nil, allow},
	{"a default value gives way", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:PrincipalTag/team, 'bob'}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, one("aws:PrincipalTag/team", "eve"), none},
	{"Version 2008-10-17 has no variables", `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:username}-*/*"}}`, "kinesisvideo:PutMedia", bobsCam, one("aws:username", "bob"), none},
	{"two variables", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:${aws:RequestedRegion}:*:stream/${aws:username}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, keys{"aws:username": {"bob"}, "aws:RequestedRegion": {"us-west-2"}}, allow},
	{"a variable in a condition", when(`"StringEquals":{"aws:ResourceTag/owner":"${aws:username}"}`), "x:Y", "*", keys{"aws:username": {"bob"}, "aws:ResourceTag/owner": {"bob"}}, allow},
	{"a variable in a condition, another value", when(`"StringEquals":{"aws:ResourceTag/owner":"${aws:username}"}`), "x:Y", "*", keys{"aws:username": {"bob"}, "aws:ResourceTag/owner": {"eve"}}, none},
	{"a variable in a condition without a value", when(`"StringEquals":{"aws:ResourceTag/owner":"${aws:username}"}`), "x:Y", "*", one("aws:ResourceTag/owner", "bob"), none},
	{"a deny with an unknown variable does not apply", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/${aws:username}-*/*"}`, "kinesisvideo:PutMedia", bobsCam, nil, allow},
}

func documents(t testing.TB, text string) []*policy.Document {
	t.Helper()
	var docs []*policy.Document
	for i, s := range strings.Split(text, "\n---\n") {
		d, err := policy.Parse([]byte(statements(s)))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		d.Name = fmt.Sprintf("policy p%d", i)
		docs = append(docs, d)
	}
	return docs
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	cases := append(append(append([]evaluation{}, basics...), conditions...), guide...)
	if len(cases) < 150 {
		t.Errorf("%d cases", len(cases))
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.why] {
			t.Errorf("two cases are called %q", c.why)
		}
		names[c.why] = true
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			docs := documents(t, c.policy)
			q := policy.Request{Action: c.action, Resource: c.resource, Context: c.context}
			d := policy.Evaluate(docs, q)
			if !strings.HasPrefix(d.Reason, c.want) {
				t.Errorf("%s: want %s", d.Reason, c.want)
				for _, f := range policy.Explain(docs, q) {
					t.Log(f)
				}
			}
			if d.Allowed != (c.want == allow) || d.Explicit != (c.want != none) {
				t.Errorf("%+v", d)
			}
			checkExplanation(t, docs, q, d)
		})
	}
}

// checkExplanation holds Explain against the decision: the statements that
// apply must lead to it, and those that don't must say why.
func checkExplanation(t *testing.T, docs []*policy.Document, q policy.Request, d policy.Decision) {
	t.Helper()
	allows, denies := false, false
	for _, f := range policy.Explain(docs, q) {
		if f.Matched == (f.Why != "") {
			t.Errorf("matched %v, yet why is %q", f.Matched, f.Why)
		}
		allows = allows || f.Matched && f.Effect == "Allow"
		denies = denies || f.Matched && f.Effect == "Deny"
	}
	if d.Allowed != (allows && !denies) || d.Explicit != (allows || denies) {
		t.Errorf("allows %v denies %v, but the decision is %+v", allows, denies, d)
	}
}

func TestDecisionNamesTheStatement(t *testing.T) {
	t.Parallel()
	docs := documents(t, `{
 "Version": "2012-10-17",
 "Statement": [
  {"Effect": "Allow", "Action": "*", "Resource": "*"},
  {"Sid": "NoDelete", "Effect": "Deny", "Action": "kinesisvideo:DeleteStream", "Resource": "*"}
 ]
}`)
	d := policy.Evaluate(docs, policy.Request{Action: "kinesisvideo:DeleteStream", Resource: cam})
	if d.Policy != "policy p0" || d.Statement != "Statement[1] (NoDelete)" || d.At != (policy.Position{Line: 5, Column: 3}) ||
		d.Reason != "explicitly denied by Statement[1] (NoDelete) of policy p0" {
		t.Errorf("%+v", d)
	}
	for i, want := range []string{
		"Statement[0] of policy p0 at line 4: Allow",
		"Statement[1] (NoDelete) of policy p0 at line 5 does not apply: Action kinesisvideo:DeleteStream does not cover kinesisvideo:GetMedia",
	} {
		if got := policy.Explain(docs, policy.Request{Action: "kinesisvideo:GetMedia", Resource: cam})[i].String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestExplainConditions(t *testing.T) {
	t.Parallel()
	docs := documents(t, when(`"IpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.0.0/16"]}`))
	for want, ctx := range map[string]keys{
		"the request has 203.0.113.9":     one("aws:SourceIp", "203.0.113.9"),
		"the request has no such key":     nil,
		"aws:SourceIp 10.0.0.0/8, 192.16": nil,
	} {
		if got := policy.Explain(docs, policy.Request{Action: "a:B", Resource: "*", Context: ctx})[0].String(); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if got := fmt.Sprint(policy.Keys(documents(t, when(`"StringEquals":{"aws:ResourceTag/o":"${aws:username}","aws:UserAgent":"x"}`)))); got != "[aws:resourcetag/o aws:username aws:useragent]" {
		t.Error(got)
	}
}

func BenchmarkEvaluate50(b *testing.B) {
	var s []string
	for i := range 50 {
		s = append(s, fmt.Sprintf(`{"Effect":"Allow","Action":["kinesisvideo:Get*","kinesisvideo:PutMedia"],"Resource":"arn:aws:kinesisvideo:*:123456789012:stream/cam-%d/*"}`, i))
	}
	docs := documents(b, strings.Join(s, ","))
	q := policy.Request{Action: "kinesisvideo:GetMedia", Resource: "arn:aws:kinesisvideo:us-west-2:123456789012:stream/cam-49/1"}
	b.ReportAllocs()
	for b.Loop() {
		if !policy.Evaluate(docs, q).Allowed {
			b.Fatal("denied")
		}
	}
}

func BenchmarkParse50(b *testing.B) {
	var s []string
	for i := range 50 {
		s = append(s, fmt.Sprintf(`{"Effect":"Allow","Action":["kinesisvideo:Get*"],"Resource":"arn:aws:kinesisvideo:*:123456789012:stream/cam-%d/*"}`, i))
	}
	text := []byte(statements(strings.Join(s, ",")))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
