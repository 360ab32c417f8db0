package api_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/api"
)

// TestAskingAboutOneself: the console greys out what its user may not do, and
// asks for that with the user's own keys.
func TestAskingAboutOneself(t *testing.T) {
	t.Parallel()
	users := realDoor(t, nil)
	s := start(t, func(o *api.Options) { o.Auth, o.Users = users, users })
	for _, name := range []string{"joe", "ann"} {
		if _, err := users.CreateUser(t.Context(), name, ""); err != nil {
			t.Fatal(err)
		}
	}
	_, joe, err := users.CreateAccessKey(t.Context(), "joe")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string) (int, string) {
		return iam(t, s, joe, url.Values{"Action": {"SimulatePrincipalPolicy"}, "Version": {"2010-05-08"},
			"PolicySourceArn": {"arn:aws:iam::" + account + ":user/" + name}, "ActionNames.member.1": {"kinesisvideo:GetMedia"}})
	}
	if status, body := ask("joe"); status != 200 || !strings.Contains(body, "implicitDeny") {
		t.Errorf("about oneself: %d %s", status, body)
	}
	if status, body := ask("ann"); status != 403 || !strings.Contains(body, "AccessDenied") {
		t.Errorf("about another: %d %s", status, body)
	}
}
