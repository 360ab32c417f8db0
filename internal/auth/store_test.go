package auth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/auth/policy"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	u := must[auth.User](t)(w.CreateUser(ctx, "Bob", "/cameras/"))
	if u.ARN != "arn:aws:iam::000000000000:user/cameras/Bob" || len(u.ID) != 20 || !u.Created.Equal(w.clock.Now()) {
		t.Errorf("%+v", u)
	}
	_, err := w.CreateUser(ctx, "bob", "")
	w.fails(err, auth.EntityAlreadyExists)
	if got := must[auth.User](t)(w.User(ctx, "BOB")); got != u {
		t.Errorf("%+v", got)
	}
	_, err = w.User(ctx, "eve")
	w.fails(err, auth.NoSuchEntity)
	for _, name := range []string{"", "a b", "é", "a/b", strings.Repeat("a", 65)} {
		_, err := w.CreateUser(ctx, name, "")
		w.fails(err, auth.ValidationError)
	}
	for _, path := range []string{"x", "/x", "x/", "//", "/a b/", "/" + strings.Repeat("a", 512) + "/"} {
		_, err := w.CreateUser(ctx, "x", path)
		w.fails(err, auth.ValidationError)
	}
	for _, name := range []string{"alice", "Carol", "a+=,.@_-"} {
		must[auth.User](t)(w.CreateUser(ctx, name, ""))
	}
	list := func(prefix, after string, limit int) string {
		var names []string
		for _, u := range must[[]auth.User](t)(w.Users(ctx, prefix, after, limit)) {
			names = append(names, u.Name)
		}
		return strings.Join(names, " ")
	}
	for got, want := range map[string]string{
		list("", "", 10):          "a+=,.@_- alice Bob Carol",
		list("", "", 2):           "a+=,.@_- alice",
		list("", "ALICE", 2):      "Bob Carol",
		list("/cameras/", "", 10): "Bob",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDeleteUserConflicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	key := w.user("bob")
	w.ok(w.PutPolicy(ctx, auth.OfUser("bob"), "p", anyone))
	w.ok(w.Attach(ctx, auth.OfUser("bob"), auth.VideoReadOnlyAccess))
	must[auth.Group](t)(w.CreateGroup(ctx, "g", ""))
	w.ok(w.AddUserToGroup(ctx, "g", "bob"))
	for _, step := range []struct {
		says string
		undo func() error
	}{
		{"must delete access keys first", func() error { return w.DeleteAccessKey(ctx, "bob", key.AccessKeyID) }},
		{"must delete policies first", func() error { return w.RemovePolicy(ctx, auth.OfUser("bob"), "p") }},
		{"must detach all policies first", func() error { return w.Detach(ctx, auth.OfUser("bob"), auth.VideoReadOnlyAccess) }},
		{"must remove users from group first", func() error { return w.RemoveUserFromGroup(ctx, "g", "bob") }},
	} {
		err := w.DeleteUser(ctx, "bob")
		w.fails(err, auth.DeleteConflict)
		if !strings.Contains(err.Error(), step.says) {
			t.Errorf("%v does not say %q", err, step.says)
		}
		w.ok(step.undo())
	}
	w.ok(w.DeleteUser(ctx, "bob"))
	w.fails(w.DeleteUser(ctx, "bob"), auth.NoSuchEntity)
}

func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.user("bob")
	for i := range 11 {
		must[auth.Group](t)(w.CreateGroup(ctx, fmt.Sprintf("g%02d", i), ""))
	}
	_, err := w.CreateGroup(ctx, "G00", "")
	w.fails(err, auth.EntityAlreadyExists)
	for i := range 10 {
		w.ok(w.AddUserToGroup(ctx, fmt.Sprintf("g%02d", i), "bob"))
	}
	w.ok(w.AddUserToGroup(ctx, "g00", "bob"))
	w.fails(w.AddUserToGroup(ctx, "g10", "bob"), auth.LimitExceeded)
	w.fails(w.AddUserToGroup(ctx, "g10", "eve"), auth.NoSuchEntity)
	w.fails(w.AddUserToGroup(ctx, "none", "bob"), auth.NoSuchEntity)
	if g := must[[]auth.Group](t)(w.GroupsForUser(ctx, "bob")); len(g) != 10 || g[0].Name != "g00" {
		t.Errorf("%+v", g)
	}
	if u := must[[]auth.User](t)(w.GroupUsers(ctx, "g00")); len(u) != 1 || u[0].Name != "bob" {
		t.Errorf("%+v", u)
	}
	if g := must[[]auth.Group](t)(w.Groups(ctx, "")); len(g) != 11 {
		t.Errorf("%+v", g)
	}
	w.fails(w.DeleteGroup(ctx, "g00"), auth.DeleteConflict)
	w.ok(w.RemoveUserFromGroup(ctx, "g00", "bob"))
	w.ok(w.PutPolicy(ctx, auth.OfGroup("g00"), "p", anyone))
	w.fails(w.DeleteGroup(ctx, "g00"), auth.DeleteConflict)
	w.ok(w.RemovePolicy(ctx, auth.OfGroup("g00"), "p"))
	w.ok(w.Attach(ctx, auth.OfGroup("g00"), auth.VideoFullAccess))
	w.fails(w.DeleteGroup(ctx, "g00"), auth.DeleteConflict)
	w.ok(w.Detach(ctx, auth.OfGroup("g00"), auth.VideoFullAccess))
	w.ok(w.DeleteGroup(ctx, "g00"))
	w.fails(w.DeleteGroup(ctx, "g00"), auth.NoSuchEntity)
}

func TestAccessKeyLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("bob")
	_, _, err := w.CreateAccessKey(t.Context(), "bob")
	w.ok(err)
	_, _, err = w.CreateAccessKey(t.Context(), "bob")
	w.fails(err, auth.LimitExceeded)
	_, _, err = w.CreateAccessKey(t.Context(), "eve")
	w.fails(err, auth.NoSuchEntity)
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.user("bob")
	bob := auth.OfUser("bob")
	err := w.PutPolicy(ctx, bob, "p", "{\n \"Statement\": [],\n}")
	w.fails(err, auth.MalformedPolicyDocument)
	if !strings.Contains(err.Error(), "line 3 column 1: a comma before the closing brace") {
		t.Error(err)
	}
	spaced := "{ \"Statement\" :\n{ \"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\" } }"
	w.ok(w.PutPolicy(ctx, bob, "p", spaced))
	if got := must[string](t)(w.Policy(ctx, bob, "p")); got != spaced {
		t.Errorf("%q", got)
	}
	_, err = w.Policy(ctx, bob, "q")
	w.fails(err, auth.NoSuchEntity)
	w.fails(w.RemovePolicy(ctx, bob, "q"), auth.NoSuchEntity)
	w.fails(w.PutPolicy(ctx, bob, "a b", anyone), auth.ValidationError)
	w.fails(w.PutPolicy(ctx, auth.OfUser("eve"), "p", anyone), auth.NoSuchEntity)

	// Sizes count no white space, and inline policies count together.
	long := func(n int) string {
		s := `{"Id":"","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
		return strings.Replace(s, `""`, `"`+strings.Repeat("x", n-len(s))+`"`, 1)
	}
	w.ok(w.PutPolicy(ctx, bob, "p", strings.ReplaceAll(long(1024), ":", ": ")))
	w.ok(w.PutPolicy(ctx, bob, "q", long(1024)))
	w.fails(w.PutPolicy(ctx, bob, "r", long(100)), auth.LimitExceeded)
	w.ok(w.PutPolicy(ctx, bob, "q", long(1023)))
	w.fails(w.PutPolicy(ctx, bob, "q", long(1025)), auth.LimitExceeded)
	if got := fmt.Sprint(must[[]string](t)(w.Policies(ctx, bob))); got != "[p q]" {
		t.Error(got)
	}
	must[auth.Group](t)(w.CreateGroup(ctx, "g", ""))
	w.ok(w.PutPolicy(ctx, auth.OfGroup("g"), "p", long(5120)))
	w.fails(w.PutPolicy(ctx, auth.OfGroup("g"), "p", long(5121)), auth.LimitExceeded)
	_, err = w.CreateManaged(ctx, "big", "", "", long(6145))
	w.fails(err, auth.LimitExceeded)

	m := must[auth.ManagedPolicy](t)(w.CreateManaged(ctx, "watch", "/x/", "looks on", anyone))
	if m.ARN != "arn:aws:iam::000000000000:policy/x/watch" || !strings.HasPrefix(m.ID, "ANPA") {
		t.Errorf("%+v", m)
	}
	_, err = w.CreateManaged(ctx, "Watch", "", "", anyone)
	w.fails(err, auth.EntityAlreadyExists)
	w.ok(w.Attach(ctx, bob, m.ARN))
	w.ok(w.Attach(ctx, bob, m.ARN))
	w.ok(w.Attach(ctx, auth.OfGroup("g"), m.ARN))
	if got := must[auth.ManagedPolicy](t)(w.Managed(ctx, m.ARN)); got.Attachments != 2 || got.Description != "looks on" || got.Document != anyone {
		t.Errorf("%+v", got)
	}
	w.fails(w.DeleteManaged(ctx, m.ARN), auth.DeleteConflict)
	w.ok(w.Detach(ctx, bob, m.ARN))
	w.fails(w.Detach(ctx, bob, m.ARN), auth.NoSuchEntity)
	w.ok(w.Detach(ctx, auth.OfGroup("g"), m.ARN))
	for i := range 10 {
		p := must[auth.ManagedPolicy](t)(w.CreateManaged(ctx, fmt.Sprintf("m%d", i), "", "", anyone))
		w.ok(w.Attach(ctx, bob, p.ARN))
	}
	w.fails(w.Attach(ctx, bob, m.ARN), auth.LimitExceeded)
	w.fails(w.Attach(ctx, bob, "x"), auth.InvalidInput)
	w.fails(w.Attach(ctx, auth.OfGroup("g"), "arn:aws:iam::aws:policy/Other"), auth.NoSuchEntity)
	if got := must[[]auth.ManagedPolicy](t)(w.Attached(ctx, bob)); len(got) != 10 {
		t.Errorf("%d", len(got))
	}
	if got := must[[]auth.ManagedPolicy](t)(w.ListManaged(ctx)); len(got) != 14 || !got[0].BuiltIn || got[13].Name != "watch" {
		t.Errorf("%+v", got)
	}
	w.ok(w.DeleteManaged(ctx, m.ARN))
	w.fails(w.DeleteManaged(ctx, m.ARN), auth.NoSuchEntity)
	w.fails(w.DeleteManaged(ctx, auth.AdministratorAccess), auth.DeleteConflict)
}

// A policy deleted and made anew under its ARN says what it says now.
func TestManagedPolicyMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.user("bob")
	for i := range 4 {
		text := anyone
		if i%2 == 1 {
			text = strings.Replace(anyone, "Allow", "Deny", 1)
		}
		p := must[auth.ManagedPolicy](t)(w.CreateManaged(t.Context(), "p", "", "", text))
		w.ok(w.Attach(t.Context(), auth.OfUser("bob"), p.ARN))
		if w.may(bob, "kinesisvideo:GetMedia", cam) != (i%2 == 0) {
			t.Errorf("round %d", i)
		}
		w.ok(w.Detach(t.Context(), auth.OfUser("bob"), p.ARN))
		w.ok(w.DeleteManaged(t.Context(), p.ARN))
	}
}

func fifty(i int) string {
	var s []string
	for j := range 50 {
		s = append(s, fmt.Sprintf(`{"Effect":"Allow","Action":["kinesisvideo:Get*"],"Resource":"arn:aws:kinesisvideo:*:*:stream/c%d-%d/*"}`, i, j))
	}
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(s, ",") + `]}`
}

// BenchmarkManyUsers: 10,000 users with 50 statements each, calling in turn,
// so that the cache of parsed policies is too small for all; and 100 of them,
// for whom it is not.
func BenchmarkManyUsers(b *testing.B) {
	const users = 10000
	w := newWorld(b)
	ctx := b.Context()
	var ids []auth.Identity
	start := time.Now()
	for i := range users {
		name := fmt.Sprintf("u%d", i)
		u := must[auth.User](b)(w.CreateUser(ctx, name, ""))
		p := must[auth.ManagedPolicy](b)(w.CreateManaged(ctx, name, "", "", fifty(i)))
		w.ok(w.Attach(ctx, auth.OfUser(name), p.ARN))
		ids = append(ids, auth.Identity{Account: account, UserName: name, UserID: u.ID, ARN: u.ARN})
	}
	b.Logf("%d users made in %v", users, time.Since(start).Round(time.Millisecond))
	for _, active := range []int{100, users} {
		b.Run(fmt.Sprintf("%d", active), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				n := i % active
				i++
				d, err := w.Authorize(ctx, ids[n], policy.Request{Action: "kinesisvideo:GetMedia",
					Resource: fmt.Sprintf("arn:aws:kinesisvideo:us-west-2:000000000000:stream/c%d-49/1", n)})
				if err != nil || !d.Allowed {
					b.Fatal(d, err)
				}
			}
		})
	}
}
