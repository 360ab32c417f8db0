package iamapi_test

import (
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/auth/iamapi"
	"github.com/sluicevideo/sluice/internal/db"
)

func open(t testing.TB) *auth.Auth {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: filepath.Join(t.TempDir(), "users.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	a, err := auth.Open(t.Context(), d, [32]byte{1}, auth.Options{Account: "000000000000", Region: "us-west-2",
		Root: auth.Credentials{AccessKeyID: "AKIAROOT", SecretAccessKey: "a root secret"}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The actions that the guide's Getting Started and the IAM chapter need.
const needed = `CreateUser GetUser ListUsers DeleteUser CreateAccessKey ListAccessKeys UpdateAccessKey DeleteAccessKey
	PutUserPolicy GetUserPolicy ListUserPolicies DeleteUserPolicy CreateGroup DeleteGroup AddUserToGroup RemoveUserFromGroup
	ListGroupsForUser PutGroupPolicy AttachGroupPolicy CreatePolicy GetPolicy ListPolicies DeletePolicy AttachUserPolicy
	DetachUserPolicy ListAttachedUserPolicies SimulatePrincipalPolicy GetCallerIdentity`

func TestActions(t *testing.T) {
	t.Parallel()
	have := map[string]iamapi.Action{}
	for _, a := range iamapi.Actions(nil) {
		have[a.Name] = a
	}
	for _, name := range strings.Fields(needed) {
		a, ok := have[name]
		if !ok {
			t.Errorf("no %s", name)
		} else if name == "GetCallerIdentity" && (a.Service != iamapi.STS || a.Permission != "") ||
			name != "GetCallerIdentity" && (a.Service != iamapi.IAM || a.Permission != "iam:"+name) {
			t.Errorf("%+v", a)
		}
	}
}

// What policies see of a call: the ARN of what is there, or that it would have.
func TestResources(t *testing.T) {
	t.Parallel()
	a := open(t)
	u, err := a.CreateUser(t.Context(), "bob", "/cameras/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.CreateGroup(t.Context(), "g", "/x/"); err != nil {
		t.Fatal(err)
	}
	bob := auth.Identity{UserName: "bob", ARN: u.ARN, UserID: u.ID, Account: "000000000000"}
	root := auth.Identity{Root: true, ARN: "arn:aws:iam::000000000000:root"}
	actions := map[string]iamapi.Action{}
	for _, x := range iamapi.Actions(a) {
		actions[x.Name] = x
	}
	for _, c := range []struct {
		action string
		caller auth.Identity
		form   url.Values
		want   string
	}{
		{"GetUser", bob, nil, "arn:aws:iam::000000000000:user/cameras/bob"},
		{"GetUser", root, nil, "arn:aws:iam::000000000000:root"},
		{"GetUser", root, url.Values{"UserName": {"BOB"}}, "arn:aws:iam::000000000000:user/cameras/bob"},
		{"DeleteUser", root, url.Values{"UserName": {"eve"}}, "arn:aws:iam::000000000000:user/eve"},
		{"CreateUser", root, url.Values{"UserName": {"eve"}, "Path": {"/a/"}}, "arn:aws:iam::000000000000:user/a/eve"},
		{"CreateUser", root, url.Values{"UserName": {"eve"}}, "arn:aws:iam::000000000000:user/eve"},
		{"ListUsers", root, nil, "arn:aws:iam::000000000000:user/"},
		{"CreateAccessKey", bob, nil, "arn:aws:iam::000000000000:user/cameras/bob"},
		{"GetGroup", root, url.Values{"GroupName": {"g"}}, "arn:aws:iam::000000000000:group/x/g"},
		{"GetGroup", root, url.Values{"GroupName": {"h"}}, "arn:aws:iam::000000000000:group/h"},
		{"CreateGroup", root, url.Values{"GroupName": {"h"}}, "arn:aws:iam::000000000000:group/h"},
		{"CreatePolicy", root, url.Values{"PolicyName": {"p"}, "Path": {"/y/"}}, "arn:aws:iam::000000000000:policy/y/p"},
		{"GetPolicy", root, url.Values{"PolicyArn": {auth.AdministratorAccess}}, auth.AdministratorAccess},
		{"SimulatePrincipalPolicy", bob, url.Values{"PolicySourceArn": {u.ARN}}, u.ARN},
		{"GetCallerIdentity", bob, nil, "*"},
	} {
		if got := actions[c.action].Resource(t.Context(), iamapi.Call{Form: c.form, Caller: c.caller}); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.action, c.form, got, c.want)
		}
	}
}

// Whatever a form holds, the answer is XML or an error with a code.
func FuzzServe(f *testing.F) {
	for _, s := range []string{
		"Action=CreateUser&UserName=bob&Path=/x/",
		"Action=ListUsers&MaxItems=1&Marker=bQ",
		"Action=PutUserPolicy&UserName=bob&PolicyName=p&PolicyDocument=%7B%7D",
		"Action=SimulateCustomPolicy&PolicyInputList.member.1=%7B%7D&ActionNames.member.1=a:B&ContextEntries.member.1.ContextKeyName=a:b",
		"Action=GetPolicyVersion&PolicyArn=arn:aws:iam::aws:policy/AdministratorAccess&VersionId=v1",
	} {
		f.Add(s)
	}
	a := open(f)
	actions := map[string]iamapi.Action{}
	for _, x := range iamapi.Actions(a) {
		actions[x.Name] = x
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		action, ok := actions[form.Get("Action")]
		if !ok {
			return
		}
		call := iamapi.Call{Form: form, Caller: auth.Identity{Root: true, ARN: "arn:aws:iam::000000000000:root"}, RequestID: "id"}
		action.Resource(t.Context(), call)
		answer, err := action.Serve(t.Context(), call)
		if err != nil {
			if sluice.CodeOf(err) == "" {
				t.Fatalf("%s: %v", body, err)
			}
			return
		}
		for d := xml.NewDecoder(strings.NewReader(string(answer))); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in %s", body, err, answer)
			}
		}
	})
}
