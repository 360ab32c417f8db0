package policy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/auth/policy"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 2049)
	for _, c := range []struct{ text, want string }{
		{``, "line 1 column 1: the text ends where a value should stand"},
		{`[]`, "line 1 column 1: a policy is an object, not a list"},
		{`"x"`, "line 1 column 1: a policy is an object, not a string"},
		{"{\n  \"Statement\": [\n    {\"Effect\": \"Allow\",},\n  ]\n}", "line 3 column 24: a comma before the closing brace"},
		{"{\n  \"Statement\": [\n    {\"Effect\": \"Allow\", \"Action\": [\"a:B\",], \"Resource\": \"*\"}\n  ]\n}", "line 3 column 42: a comma before the closing bracket"},
		{`{"Statement" []}`, "line 1 column 14: '[' where a colon should stand"},
		{`{"Statement": [] "Version": "2012-10-17"}`, "line 1 column 18: '\"' where a comma or '}' should stand"},
		{`{Statement: []}`, "line 1 column 2: 'S' where a name in quotes should stand"},
		{`{"Resource": arn:aws:x}`, "line 1 column 14: arn where a value should stand: strings need quotes"},
		{`{"Statement": "x`, "line 1 column 15: a string without its closing quote"},
		{"{\"Id\": \"a\nb\"}", `line 1 column 10: '\n' inside a string`},
		{`{"Id": "\x"}`, "line 1 column 8: a string with a wrong escape"},
		{`{"Id": 01}`, "line 1 column 8: 01 is not a number"},
		{`{"Id": "x"} {}`, "line 1 column 13: '{' after the end of the document"},
		{"{\"Id\": \"\xff\"}", "line 1 column 9: not UTF-8"},
		{`{"Version":"2012-10-17","Version":"2012-10-17"}`, `line 1 column 25: "Version" stands twice in one object`},
		{strings.Repeat(`{"a":`, 20), "line 1 column 86: nested deeper than 16"},
		{"{" + strings.Repeat(" ", policy.MaxDocument), "line 1 column 1: the document has 131073 bytes, at most 131072 are read"},
		{`{"Version":"2012-10-17"}`, "line 1 column 1: Statement: is missing"},
		{`{"Statement":[]}`, "line 1 column 14: Statement: is empty"},
		{`{"Statement":"x"}`, "line 1 column 14: Statement: must be an object or a list of objects, not a string"},
		{`{"Statement":["x"]}`, "line 1 column 15: Statement[0]: must be an object, not a string"},
		{`{"Version":"2020-01-01","Statement":[]}`, `line 1 column 12: Version: must be "2012-10-17" or "2008-10-17"`},
		{`{"Version":2012,"Statement":[]}`, `line 1 column 12: Version: must be "2012-10-17" or "2008-10-17"`},
		{`{"Id":1,"Statement":[]}`, "line 1 column 7: Id: must be a string, not a number"},
		{`{"statement":[]}`, "line 1 column 2: statement: is no element of a policy; it is spelled Statement"},
		{`{"Statements":[]}`, "line 1 column 2: Statements: is no element of a policy; it is spelled Statement"},
		{`{"Comment":"x","Statement":[]}`, "line 1 column 2: Comment: is no element of a policy"},
		{`{"Statement":{"Action":"*","Resource":"*"}}`, "line 1 column 14: Statement[0].Effect: is missing"},
		{`{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`, `line 1 column 24: Statement[0].Effect: must be "Allow" or "Deny", exactly so`},
		{`{"Statement":{"Effect":"Allow","Resource":"*"}}`, "line 1 column 14: Statement[0].Action: is missing: a statement has Action or NotAction"},
		{`{"Statement":{"Effect":"Allow","Action":"*"}}`, "line 1 column 14: Statement[0].Resource: is missing: a statement has Resource or NotResource"},
		{`{"Statement":{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}}`, "line 1 column 57: Statement[0].NotAction: stands beside Action: a statement has one of the two"},
		{`{"Statement":{"Effect":"Allow","Action":[],"Resource":"*"}}`, "line 1 column 41: Statement[0].Action: is empty"},
		{`{"Statement":{"Effect":"Allow","Action":["a:B",1],"Resource":"*"}}`, "line 1 column 48: Statement[0].Action[1]: must be a string, not a number"},
		{`{"Statement":{"Effect":"Allow","Action":"GetMedia","Resource":"*"}}`, `line 1 column 41: Statement[0].Action: "GetMedia" must be "*" or service:Operation, as in kinesisvideo:GetMedia`},
		{`{"Statement":{"Effect":"Allow","Action":"kinesisvideo:","Resource":"*"}}`, `line 1 column 41: Statement[0].Action: "kinesisvideo:" must be`},
		{`{"Statement":{"Effect":"Allow","Action":"a:b c","Resource":"*"}}`, `line 1 column 41: Statement[0].Action: "a:b c" has characters that no action has`},
		{`{"Statement":{"Effect":"Allow","Action":"a:${x:y}","Resource":"*"}}`, "has characters that no action has"},
		{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"cam"}}`, `line 1 column 56: Statement[0].Resource: "cam" must be "*" or an ARN`},
		{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:` + long + `"}}`, "has 2053 bytes, at most 2048 are allowed"},
		{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:a:b:c:\u0001"}}`, "has a control character"},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:a:b:c:${aws:username"}}`, "has a policy variable without its closing brace"},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:a:b:c:${}"}}`, "a policy variable is ${key} or ${key, 'default'}"},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:a:b:c:${a:b, c}"}}`, "a policy variable is ${key} or ${key, 'default'}"},
		{`{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`, "line 1 column 44: Statement[0].Principal: a policy of a user or group has no principal"},
		{`{"Statement":{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}}`, "line 1 column 21: Statement[0].Sid: must be letters and digits"},
		{`{"Statement":[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"}]}`, `line 1 column 79: Statement[1].Sid: "a" is the Sid of another statement too`},
		{`{"Statement":{"Effect":"Allow","action":"*","Resource":"*"}}`, "line 1 column 32: Statement[0].action: is no element of a policy; it is spelled Action"},
		{statements(when(`"StringEqual":{"a:b":"c"}`)), `Statement[0].Condition: there is no operator "StringEqual"`},
		{statements(when(`"stringequals":{"a:b":"c"}`)), `there is no operator "stringequals"; it is spelled StringEquals`},
		{statements(when(`"NullIfExists":{"a:b":"true"}`)), `operator "NullIfExists"`},
		{statements(when(`"StringEquals":"x"`)), "Statement[0].Condition.StringEquals: must be an object of condition keys, not a string"},
		{statements(when(`"StringEquals":{}`)), "Statement[0].Condition.StringEquals: has no condition key"},
		{statements(when(`"StringEquals":{"username":"c"}`)), `condition key "username" must be service:name, as in aws:SourceIp`},
		{statements(when(`"StringEquals":{"a:b":[]}`)), "Statement[0].Condition.StringEquals.a:b: is empty"},
		{statements(when(`"StringEquals":{"a:b":null}`)), "must be a string or a list of strings, not null"},
		{statements(when(`"NumericEquals":{"a:b":"few"}`)), `"few" is not a number`},
		{statements(when(`"NumericEquals":{"a:b":"1e999"}`)), `"1e999" is not a number`},
		{statements(when(`"DateEquals":{"a:b":"soon"}`)), `"soon" is not a date`},
		{statements(when(`"Bool":{"a:b":"yes"}`)), `"yes" must be true or false`},
		{statements(when(`"BinaryEquals":{"a:b":"?"}`)), `"?" is not base64`},
		{statements(when(`"IpAddress":{"a:b":"10.0.0.0/33"}`)), `"10.0.0.0/33" is not an address or CIDR block`},
		{statements(when(`"IpAddress":{"a:b":"${a:c}"}`)), `is not an address or CIDR block`},
		{statements(when(`"ArnLike":{"a:b":"user/bob"}`)), `"user/bob" must be an ARN`},
	} {
		_, err := policy.Parse([]byte(c.text))
		var e *policy.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.text[:min(200, len(c.text))], err, c.want)
		}
	}
	// The guide prints two policies with trailing commas: their place is named.
	_, err := policy.Parse([]byte(strings.Replace(kmsProducer, `"kinesis-video:PutMedia"`, `"kinesis-video:PutMedia",`, 1)))
	if err == nil || err.Error() != "line 15 column 7: a comma before the closing bracket" {
		t.Errorf("trailing comma of the guide: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range append(append([]evaluation{}, basics...), guide...) {
		f.Add(statements(c.policy))
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := policy.Parse([]byte(text))
		if err != nil {
			var e *policy.Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Reason == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("accepted what is not JSON: %q", text)
		}
		q := policy.Request{Action: "kinesisvideo:GetMedia", Resource: cam, Context: keys{"aws:username": {"bob"}}}
		dec := policy.Evaluate([]*policy.Document{d}, q)
		allows, denies := false, false
		for _, s := range policy.Explain([]*policy.Document{d}, q) {
			allows = allows || s.Matched && s.Effect == "Allow"
			denies = denies || s.Matched && s.Effect == "Deny"
		}
		if dec.Allowed != (allows && !denies) {
			t.Fatalf("%+v but allows %v, denies %v", dec, allows, denies)
		}
	})
}

// likeSlow is what StringLike means, written the short way: without a wildcard
// left it compares, with one it tries everything.
func likeSlow(pattern, text []rune) bool {
	if len(pattern) == 0 {
		return len(text) == 0
	}
	switch pattern[0] {
	case '*':
		return likeSlow(pattern[1:], text) || len(text) > 0 && likeSlow(pattern, text[1:])
	case '?':
		return len(text) > 0 && likeSlow(pattern[1:], text[1:])
	}
	return len(text) > 0 && pattern[0] == text[0] && likeSlow(pattern[1:], text[1:])
}

func FuzzMatch(f *testing.F) {
	f.Add("*", "abc")
	f.Add("a*b?c*", "aXXbYcZZ")
	f.Add("*a*b*", "bababa")
	f.Add("é?*", "éüx")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 16 || len(text) > 24 || strings.Contains(pattern, "${") {
			return
		}
		quoted, _ := json.Marshal(pattern)
		var back string
		if json.Unmarshal(quoted, &back); back != pattern || strings.ToValidUTF8(text, "") != text {
			return // not UTF-8: a policy can't hold it
		}
		d, err := policy.Parse([]byte(statements(when(`"StringLike":{"a:b":` + string(quoted) + `}`))))
		if err != nil {
			return
		}
		got := policy.Evaluate([]*policy.Document{d}, policy.Request{Action: "x:y", Resource: "*", Context: one("a:b", text)}).Allowed
		if want := likeSlow([]rune(pattern), []rune(text)); got != want {
			t.Fatalf("%q against %q: %v, want %v", text, pattern, got, want)
		}
	})
}
