// Package auth knows who may call: users and their access keys, groups,
// inline and managed policies. It says whose signature a request carries and
// what that caller may do.
//
// There is one account. Its root has keys of its own, which are not in the
// database, and may do everything. Everyone else is a user, who may do what the
// policies attached to the user and to the user's groups allow (see package
// policy), and nothing otherwise. Roles and federation are not here.
//
// Everything durable is in the database that Open is given. Secret access keys
// are sealed there with AES-256-GCM under the key that Open is given, bound to
// their access key id. In memory is a bounded cache of access keys and parsed
// policies; a write through this Auth forgets what it changed before it
// returns, so a revoked key or policy counts for no request that begins later.
// Another process writing to the same database would not be noticed.
//
// Rules, names and messages are those of IAM ("IAM and AWS STS quotas", "IAM
// identifiers"); failures that a caller may see are *sluice.Error with IAM's
// codes.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth/policy"
	"github.com/sluicevideo/sluice/internal/auth/sigv4"
	"github.com/sluicevideo/sluice/internal/db"
)

// Codes of IAM's own failures.
const (
	NoSuchEntity            sluice.Code = "NoSuchEntity"
	EntityAlreadyExists     sluice.Code = "EntityAlreadyExists"
	DeleteConflict          sluice.Code = "DeleteConflict"
	LimitExceeded           sluice.Code = "LimitExceeded"
	MalformedPolicyDocument sluice.Code = "MalformedPolicyDocument"
	InvalidInput            sluice.Code = "InvalidInput"
	ValidationError         sluice.Code = "ValidationError"

	// ExpiredToken is the door's: temporary credentials past their time.
	ExpiredToken sluice.Code = "ExpiredTokenException"
)

// Credentials are what a caller signs with. They print without the secrets.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string    // temporary credentials only
	Expires         time.Time // zero: never
}

func (c Credentials) String() string { return c.AccessKeyID }

// GoString keeps the secrets out of %#v.
func (c Credentials) GoString() string { return "auth.Credentials{" + c.AccessKeyID + "}" }

// LogValue keeps the secrets out of logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.AccessKeyID) }

// Identity is a caller.
type Identity struct {
	Root        bool   // may do everything
	Account     string // twelve digits
	UserName    string // "" for root
	ARN         string // arn:aws:iam::<account>:user/<path><name>, or ...:root
	AccessKeyID string
	UserID      string // AIDA...; the account for root
}

// Options of Open. Account, Region and Root must be given.
type Options struct {
	Account string
	Region  string
	Root    Credentials
	Logger  *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// Auth is the users and their rights. It is safe for concurrent use.
type Auth struct {
	db       *db.DB
	options  Options
	log      *slog.Logger
	now      func() time.Time
	box      sealer
	verifier *sigv4.Verifier
	cache    cache
	builtin  map[string]*ManagedPolicy
}

// Open takes hold of the tables in d. key seals secrets; with another key than
// the one they were sealed under, secrets can't be read and their access keys
// fail.
func Open(ctx context.Context, d *db.DB, key [32]byte, o Options) (*Auth, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := o.Root.check(); err != nil {
		return nil, err
	}
	if _, err := d.Migrate(ctx, "auth", schema); err != nil {
		return nil, err
	}
	box, err := newSealer(key)
	if err != nil {
		return nil, err
	}
	return &Auth{
		db: d, options: o, log: o.Logger, now: o.Now, box: box,
		verifier: sigv4.New(sigv4.Options{Region: o.Region, GlobalServices: []string{"iam", "sts"}, Now: o.Now}),
		builtin:  builtinPolicies(),
	}, nil
}

// Authenticate verifies the signature of r, which must be scoped to service
// ("" is any), and says who made it. body is the whole body; streaming means
// that it is not known yet.
//
// Errors are those of sigv4.Verify, and UnrecognizedClientException for an
// access key that is unknown, inactive, or used without its session token;
// ExpiredTokenException for temporary credentials past their time.
//
// A session token beside a permanent access key is ignored: it can't give
// anything, and clients send what their environment holds.
func (a *Auth) Authenticate(r *http.Request, body []byte, streaming bool, service string) (Identity, error) {
	call := sigv4.Call{Body: body, Streaming: streaming}
	if service != "" {
		call.Services = []string{service}
	}
	var key *accessKey
	res, err := a.verifier.Verify(r, call, func(id string) (string, error) {
		var err error
		if key, err = a.key(r.Context(), id); err != nil {
			return "", err
		}
		if key == nil || !key.active {
			return "", unrecognized()
		}
		return key.secret, nil
	})
	if err != nil {
		return Identity{}, err
	}
	if key.temporary {
		token := sha256.Sum256([]byte(res.SessionToken))
		if subtle.ConstantTimeCompare(token[:], key.token[:]) != 1 {
			return Identity{}, unrecognized()
		}
		if !a.now().Before(key.expires) {
			return Identity{}, &sluice.Error{Code: ExpiredToken, Msg: "The security token included in the request is expired"}
		}
	}
	return key.identity, nil
}

func unrecognized() error {
	return &sluice.Error{Code: sluice.UnrecognizedClient, Msg: "The security token included in the request is invalid."}
}

// Valid reports whose an access key is, as long as it may be used: it exists,
// is active and has not expired. Playback tokens ask it, so that revoking a
// key ends what was begun with it.
func (a *Auth) Valid(ctx context.Context, accessKeyID string) (Identity, bool) {
	key, err := a.key(ctx, accessKeyID)
	if err != nil || key == nil || !key.active || key.temporary && !a.now().Before(key.expires) {
		return Identity{}, false
	}
	return key.identity, true
}

// Authorize decides whether id may do what q asks. To q's context it adds what
// it knows itself: who is calling, the time, and the region.
func (a *Auth) Authorize(ctx context.Context, id Identity, q policy.Request) (policy.Decision, error) {
	if id.Root {
		return policy.Decision{Allowed: true, Reason: "allowed: the root user may do everything"}, nil
	}
	if id.UserID == "" {
		return policy.Decision{Reason: "no caller"}, nil
	}
	r, err := a.rights(ctx, id.UserID)
	if err != nil {
		return policy.Decision{}, err
	}
	ask := question{q.Action, q.Resource}
	if !r.contextual {
		if d, ok := r.remembered(ask); ok {
			return d, nil
		}
	}
	docs, contextual, err := a.documents(ctx, id.UserID)
	if err != nil {
		return policy.Decision{}, err
	}
	if contextual {
		q.Context = a.withCaller(id, q.Context)
	}
	d := policy.Evaluate(docs, q)
	if !contextual && !r.contextual {
		r.remember(ask, d)
	}
	return d, nil
}

// withCaller adds the keys that do not depend on the request. The caller's own
// are set last: nothing that a request says of its caller counts.
func (a *Auth) withCaller(id Identity, given map[string][]string) map[string][]string {
	now := a.now().UTC()
	out := make(map[string][]string, len(given)+13)
	// Keys in lower case only, so that none stands twice.
	for k, v := range given {
		out[lower(k)] = v
	}
	setIfAbsent(out, "aws:currenttime", now.Format(time.RFC3339))
	setIfAbsent(out, "aws:epochtime", strconv.FormatInt(now.Unix(), 10))
	setIfAbsent(out, "aws:requestedregion", a.options.Region)
	setIfAbsent(out, "aws:resourceaccount", a.options.Account)
	// No service calls on behalf of anybody; policies written for AWS ask.
	setIfAbsent(out, "aws:viaawsservice", "false")
	setIfAbsent(out, "aws:principalisawsservice", "false")
	maps.Copy(out, map[string][]string{
		"aws:principalarn":     {id.ARN},
		"aws:principalaccount": {id.Account},
		"aws:principaltype":    {"User"},
		"aws:userid":           {id.UserID},
		"aws:username":         {id.UserName},
	})
	return out
}

func setIfAbsent(m map[string][]string, key, value string) {
	if _, ok := m[key]; !ok {
		m[key] = []string{value}
	}
}
