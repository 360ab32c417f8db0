package auth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/auth/policy"
	"github.com/sluicevideo/sluice/internal/db"
)

const (
	account = "000000000000"
	region  = "us-west-2"
	cam     = "arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam/1600000000000"
	anyone  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
)

var root = auth.Credentials{AccessKeyID: "AKIAROOTROOTROOTROOT", SecretAccessKey: "a root secret of some length"}

// clock is a settable time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type world struct {
	*auth.Auth
	t     testing.TB
	clock *clock
	db    *db.DB
}

func open(t testing.TB, path string, key [32]byte, rootKeys auth.Credentials) world {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	c := &clock{now: time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)}
	a, err := auth.Open(t.Context(), d, key, auth.Options{Account: account, Region: region, Root: rootKeys, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return world{a, t, c, d}
}

func newWorld(t testing.TB) world {
	return open(t, filepath.Join(t.TempDir(), "catalog.db"), [32]byte{1}, root)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w world) fails(err error, code sluice.Code) {
	w.t.Helper()
	if sluice.CodeOf(err) != code {
		w.t.Errorf("got %v, want %s", err, code)
	}
}

func (w world) user(name string) auth.Credentials {
	w.t.Helper()
	ctx := context.Background()
	if _, err := w.CreateUser(ctx, name, ""); err != nil {
		w.t.Fatal(err)
	}
	_, c, err := w.CreateAccessKey(ctx, name)
	w.ok(err)
	return c
}

// call signs a request as a client does and has it authenticated.
func (w world) call(c auth.Credentials, service string) (auth.Identity, error) {
	w.t.Helper()
	r, err := http.NewRequest("POST", "http://127.0.0.1:8470/describeStream", nil)
	w.ok(err)
	sum := sha256.Sum256(nil)
	creds := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	w.ok(v4.NewSigner().SignHTTP(context.Background(), creds, r, hex.EncodeToString(sum[:]), service, region, w.clock.Now()))
	return w.Authenticate(r, nil, false, "kinesisvideo")
}

func (w world) may(c auth.Credentials, action, resource string) bool {
	w.t.Helper()
	id, err := w.call(c, "kinesisvideo")
	w.ok(err)
	d, err := w.Authorize(context.Background(), id, policy.Request{Action: action, Resource: resource})
	w.ok(err)
	return d.Allowed
}

func TestRootMayDoEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := must[auth.Identity](t)(w.call(root, "kinesisvideo"))
	want := auth.Identity{Root: true, Account: account, ARN: "arn:aws:iam::000000000000:root", AccessKeyID: root.AccessKeyID, UserID: account}
	if id != want {
		t.Errorf("%+v", id)
	}
	if !w.may(root, "iam:CreateUser", "*") {
		t.Error("root was denied")
	}
	if got, ok := w.Valid(t.Context(), root.AccessKeyID); !ok || got != want {
		t.Errorf("Valid: %+v, %v", got, ok)
	}
}

func TestDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.user("bob")
	id := must[auth.Identity](t)(w.call(bob, "kinesisvideo"))
	if id.ARN != "arn:aws:iam::000000000000:user/bob" || id.UserName != "bob" || id.Root || !strings.HasPrefix(id.UserID, "AIDA") || id.AccessKeyID != bob.AccessKeyID {
		t.Errorf("%+v", id)
	}
	wrong, unknown := bob, bob
	wrong.SecretAccessKey += "x"
	unknown.AccessKeyID = "AKIAUNKNOWNUNKNOWN00"
	_, err := w.call(wrong, "kinesisvideo")
	w.fails(err, sluice.InvalidSignature)
	_, err = w.call(unknown, "kinesisvideo")
	w.fails(err, sluice.UnrecognizedClient)
	if !strings.Contains(err.Error(), "The security token included in the request is invalid.") {
		t.Error(err)
	}
	_, err = w.call(bob, "iam")
	w.fails(err, sluice.InvalidSignature)
	r, _ := http.NewRequest("POST", "http://127.0.0.1/", nil)
	_, err = w.Authenticate(r, nil, false, "")
	w.fails(err, sluice.MissingAuthenticationToken)
	// A token beside permanent credentials gives nothing and takes nothing.
	bob.SessionToken = "TESTSESSIONTOKEN"
	if _, err := w.call(bob, "kinesisvideo"); err != nil {
		t.Error(err)
	}
}

func TestDefaultIsDeny(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.user("bob")
	id := must[auth.Identity](t)(w.call(bob, "kinesisvideo"))
	d := must[policy.Decision](t)(w.Authorize(t.Context(), id, policy.Request{Action: "kinesisvideo:GetMedia", Resource: cam}))
	if d.Allowed || d.Explicit || d.Reason != "no identity-based policy allows the kinesisvideo:GetMedia action" {
		t.Errorf("%+v", d)
	}
	if d, err := w.Authorize(t.Context(), auth.Identity{}, policy.Request{Action: "a:B", Resource: "*"}); err != nil || d.Allowed {
		t.Errorf("nobody: %+v, %v", d, err)
	}
}

// Each way of giving a right, and of taking it, counts for the next request.
func TestRightsComeAndGoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob")
	_, err := w.CreateGroup(ctx, "viewers", "")
	w.ok(err)
	own, err := w.CreateManaged(ctx, "watch", "/x/", "", anyone)
	w.ok(err)
	w.ok(w.AddUserToGroup(ctx, "viewers", "bob"))
	for _, c := range []struct {
		name       string
		give, take func() error
	}{
		{"inline", func() error { return w.PutPolicy(ctx, auth.OfUser("bob"), "p", anyone) }, func() error { return w.RemovePolicy(ctx, auth.OfUser("bob"), "p") }},
		{"group's inline", func() error { return w.PutPolicy(ctx, auth.OfGroup("viewers"), "p", anyone) }, func() error { return w.RemovePolicy(ctx, auth.OfGroup("viewers"), "p") }},
		{"managed", func() error { return w.Attach(ctx, auth.OfUser("bob"), own.ARN) }, func() error { return w.Detach(ctx, auth.OfUser("bob"), own.ARN) }},
		{"built in", func() error { return w.Attach(ctx, auth.OfUser("bob"), auth.AdministratorAccess) }, func() error { return w.Detach(ctx, auth.OfUser("bob"), auth.AdministratorAccess) }},
		{"group's managed", func() error { return w.Attach(ctx, auth.OfGroup("viewers"), own.ARN) }, func() error { return w.Detach(ctx, auth.OfGroup("viewers"), own.ARN) }},
		{"membership", func() error {
			return joinErrors(w.PutPolicy(ctx, auth.OfGroup("viewers"), "m", anyone), w.AddUserToGroup(ctx, "viewers", "bob"))
		}, func() error { return w.RemoveUserFromGroup(ctx, "viewers", "bob") }},
	} {
		for range 3 {
			if w.may(bob, "kinesisvideo:GetMedia", cam) {
				t.Fatalf("%s: allowed before", c.name)
			}
			w.ok(c.give())
			if !w.may(bob, "kinesisvideo:GetMedia", cam) {
				t.Fatalf("%s: denied after it was given", c.name)
			}
			w.ok(c.take())
		}
		if w.may(bob, "kinesisvideo:GetMedia", cam) {
			t.Fatalf("%s: allowed after it was taken", c.name)
		}
	}
}

func joinErrors(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestPutPolicyReplaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.user("bob")
	w.ok(w.PutPolicy(t.Context(), auth.OfUser("bob"), "p", anyone))
	if !w.may(bob, "kinesisvideo:PutMedia", cam) {
		t.Error("denied")
	}
	w.ok(w.PutPolicy(t.Context(), auth.OfUser("bob"), "p", strings.Replace(anyone, "Allow", "Deny", 1)))
	if w.may(bob, "kinesisvideo:PutMedia", cam) {
		t.Error("allowed by what was replaced")
	}
}

func TestKeysAreRevokedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob")
	for range 2 {
		if _, err := w.call(bob, "kinesisvideo"); err != nil {
			t.Fatal(err)
		}
		if id, ok := w.Valid(ctx, bob.AccessKeyID); !ok || id.UserName != "bob" {
			t.Fatalf("%+v, %v", id, ok)
		}
		w.ok(w.SetAccessKeyActive(ctx, "bob", bob.AccessKeyID, false))
		_, err := w.call(bob, "kinesisvideo")
		w.fails(err, sluice.UnrecognizedClient)
		if _, ok := w.Valid(ctx, bob.AccessKeyID); ok {
			t.Error("an inactive key is valid")
		}
		w.ok(w.SetAccessKeyActive(ctx, "bob", bob.AccessKeyID, true))
	}
	w.ok(w.DeleteAccessKey(ctx, "bob", bob.AccessKeyID))
	_, err := w.call(bob, "kinesisvideo")
	w.fails(err, sluice.UnrecognizedClient)
	w.fails(w.DeleteAccessKey(ctx, "bob", bob.AccessKeyID), auth.NoSuchEntity)
	eve := w.user("eve")
	w.fails(w.DeleteAccessKey(ctx, "bob", eve.AccessKeyID), auth.NoSuchEntity)
	w.fails(w.SetAccessKeyActive(ctx, "bob", eve.AccessKeyID, false), auth.NoSuchEntity)
	if _, err := w.call(eve, "kinesisvideo"); err != nil {
		t.Error(err)
	}
}

func TestTemporaryCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob")
	w.ok(w.PutPolicy(ctx, auth.OfUser("bob"), "p", anyone))
	c := must[auth.Credentials](t)(w.CreateTemporary(ctx, "bob", time.Hour))
	if !strings.HasPrefix(c.AccessKeyID, "ASIA") || !w.may(c, "kinesisvideo:GetMedia", cam) {
		t.Errorf("%v", c)
	}
	for _, token := range []string{"", "x", c.SessionToken + "x"} {
		bad := c
		bad.SessionToken = token
		_, err := w.call(bad, "kinesisvideo")
		w.fails(err, sluice.UnrecognizedClient)
	}
	w.clock.Add(time.Hour - time.Second)
	if _, err := w.call(c, "kinesisvideo"); err != nil {
		t.Error(err)
	}
	w.clock.Add(time.Second)
	_, err := w.call(c, "kinesisvideo")
	w.fails(err, auth.ExpiredToken)
	if _, ok := w.Valid(ctx, c.AccessKeyID); ok {
		t.Error("valid past its time")
	}
	// The next ones clear away those past their time.
	r := must[auth.Credentials](t)(w.CreateTemporary(ctx, "", time.Hour))
	_, err = w.call(c, "kinesisvideo")
	w.fails(err, sluice.UnrecognizedClient)
	if id := must[auth.Identity](t)(w.call(r, "kinesisvideo")); !id.Root {
		t.Errorf("%+v", id)
	}
	w.ok(w.EndTemporary(ctx, r.AccessKeyID))
	_, err = w.call(r, "kinesisvideo")
	w.fails(err, sluice.UnrecognizedClient)
	w.ok(w.EndTemporary(ctx, bob.AccessKeyID)) // permanent: left alone
	if _, err := w.call(bob, "kinesisvideo"); err != nil {
		t.Error(err)
	}
	// They are not among a user's access keys, and end with the user.
	c = must[auth.Credentials](t)(w.CreateTemporary(ctx, "bob", time.Hour))
	if keys := must[[]auth.AccessKey](t)(w.AccessKeys(ctx, "bob")); len(keys) != 1 || keys[0].ID != bob.AccessKeyID {
		t.Errorf("%+v", keys)
	}
	w.fails(w.DeleteAccessKey(ctx, "bob", c.AccessKeyID), auth.NoSuchEntity)
	w.ok(w.RemovePolicy(ctx, auth.OfUser("bob"), "p"))
	w.ok(w.DeleteAccessKey(ctx, "bob", bob.AccessKeyID))
	w.ok(w.DeleteUser(ctx, "bob"))
	_, err = w.call(c, "kinesisvideo")
	w.fails(err, sluice.UnrecognizedClient)
	for _, life := range []time.Duration{0, -1, auth.MaxTemporary + 1} {
		_, err = w.CreateTemporary(ctx, "", life)
		w.fails(err, auth.ValidationError)
	}
	_, err = w.CreateTemporary(ctx, "bob", time.Hour)
	w.fails(err, auth.NoSuchEntity)
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.db")
	w := open(t, path, [32]byte{1}, root)
	bob := w.user("bob")
	w.ok(w.PutPolicy(t.Context(), auth.OfUser("bob"), "p", anyone))
	temporary := must[auth.Credentials](t)(w.CreateTemporary(t.Context(), "", time.Hour))
	w.db.Close()

	again := open(t, path, [32]byte{1}, root)
	if !again.may(bob, "kinesisvideo:GetMedia", cam) {
		t.Error("denied after reopening")
	}
	if _, err := again.call(temporary, "kinesisvideo"); err != nil {
		t.Error(err)
	}
	again.db.Close()

	// Nothing in the files is the secret.
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	w.ok(err)
	for _, name := range files {
		b, err := os.ReadFile(name)
		w.ok(err)
		for _, c := range []auth.Credentials{bob, temporary} {
			if bytes.Contains(b, []byte(c.SecretAccessKey)) || c.SessionToken != "" && bytes.Contains(b, []byte(c.SessionToken)) {
				t.Errorf("%s holds a secret in the clear", name)
			}
		}
	}

	reset := open(t, path, [32]byte{1}, auth.Credentials{AccessKeyID: "AKIANEWROOT000000000", SecretAccessKey: "a new root secret"})
	_, err = reset.call(temporary, "kinesisvideo")
	w.fails(err, sluice.UnrecognizedClient)
	_, err = reset.call(root, "kinesisvideo")
	w.fails(err, sluice.UnrecognizedClient)
	reset.db.Close()

	other := open(t, path, [32]byte{2}, root)
	if _, err := other.call(bob, "kinesisvideo"); err == nil || !strings.Contains(err.Error(), "another root key") {
		t.Errorf("under another key: %v", err)
	}
}

func TestContextOfTheCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.user("bob")
	id := must[auth.Identity](t)(w.call(bob, "kinesisvideo"))
	for _, c := range []struct {
		condition string
		want      bool
	}{
		{`"StringEquals":{"aws:username":"bob"}`, true},
		{`"StringEquals":{"aws:username":"eve"}`, false},
		{`"StringEquals":{"aws:userid":"` + id.UserID + `"}`, true},
		{`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::000000000000:user/bob"}`, true},
		{`"StringEquals":{"aws:PrincipalAccount":"000000000000"}`, true},
		{`"StringEquals":{"aws:PrincipalType":"User"}`, true},
		{`"StringEquals":{"aws:RequestedRegion":"us-west-2"}`, true},
		{`"StringEquals":{"aws:ResourceAccount":"${aws:PrincipalAccount}"}`, true},
		{`"Bool":{"aws:ViaAWSService":"false","aws:PrincipalIsAWSService":"false"}`, true},
		{`"Bool":{"aws:MultiFactorAuthPresent":"true"}`, false},
		{`"BoolIfExists":{"aws:MultiFactorAuthPresent":"true"}`, true},
		{`"DateLessThan":{"aws:CurrentTime":"2026-11-22T13:00:01Z"}`, true},
		{`"DateLessThan":{"aws:CurrentTime":"2026-11-22T13:00:00Z"}`, false},
		{`"NumericGreaterThan":{"aws:EpochTime":"1795000000"}`, true},
		{`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, true},
	} {
		w.ok(w.PutPolicy(t.Context(), auth.OfUser("bob"), "p", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{`+c.condition+`}}}`))
		// A request cannot say who its caller is, in any case of letters.
		d := must[policy.Decision](t)(w.Authorize(t.Context(), id, policy.Request{Action: "kinesisvideo:GetMedia", Resource: cam,
			Context: map[string][]string{"aws:SourceIp": {"10.1.2.3"}, "AWS:UserName": {"eve"}, "aws:PrincipalArn": {"x"}}}))
		if d.Allowed != c.want {
			t.Errorf("%s: %+v", c.condition, d)
		}
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.user("bob")
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "c", c)
	fmt.Fprintf(&b, "%v %+v %s %#v", c, c, c, c)
	if strings.Contains(b.String(), c.SecretAccessKey) {
		t.Error(b.String())
	}
}

// Users come and go while others call; run it with -race.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob")
	w.ok(w.PutPolicy(ctx, auth.OfUser("bob"), "p", anyone))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 30 {
				if !w.may(bob, "kinesisvideo:GetMedia", cam) {
					t.Error("denied")
				}
			}
		})
		wg.Go(func() {
			name := fmt.Sprintf("user-%d", i)
			for range 5 {
				_, err := w.CreateUser(ctx, name, "")
				w.ok(err)
				_, c, err := w.CreateAccessKey(ctx, name)
				w.ok(err)
				if w.may(c, "kinesisvideo:GetMedia", cam) {
					t.Error("allowed")
				}
				w.ok(w.Attach(ctx, auth.OfUser(name), auth.VideoReadOnlyAccess))
				if !w.may(c, "kinesisvideo:GetMedia", cam) || w.may(c, "kinesisvideo:PutMedia", cam) {
					t.Error("read only is not")
				}
				w.ok(w.Detach(ctx, auth.OfUser(name), auth.VideoReadOnlyAccess))
				w.ok(w.DeleteAccessKey(ctx, name, c.AccessKeyID))
				w.ok(w.DeleteUser(ctx, name))
			}
		})
	}
	wg.Wait()
}
