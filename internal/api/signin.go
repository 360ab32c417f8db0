package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
)

// SignIn hands out temporary keys for codes that work once: how the link that
// "sluice demo" prints signs its reader in. A code has 128 bits, lives for
// CodeLife and is taken from this machine only. All methods may be called side
// by side; the zero value has no code and refuses all.
type SignIn struct {
	mu       sync.Mutex
	sum      [sha256.Size]byte // of the code; the code itself is kept nowhere
	until    time.Time         // zero: no code is out
	exchange func(context.Context) (auth.Credentials, error)
}

// CodeLife is how long a code works.
const CodeLife = 2 * time.Minute

// Offer makes a code, 32 hex digits, in place of the one before. exchange makes
// the keys, once.
func (s *SignIn) Offer(exchange func(context.Context) (auth.Credentials, error)) string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	code := hex.EncodeToString(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum, s.until, s.exchange = sha256.Sum256([]byte(code)), time.Now().Add(CodeLife), exchange
	return code
}

var errCode = errors.New("code is wrong, used or too old")

// take uses the code up.
func (s *SignIn) take(code string) (func(context.Context) (auth.Credentials, error), error) {
	sum := sha256.Sum256([]byte(code))
	s.mu.Lock()
	defer s.mu.Unlock()
	// Sums of equal length, compared whole: how much of a guess was right shows
	// in no time.
	if subtle.ConstantTimeCompare(sum[:], s.sum[:]) != 1 || !time.Now().Before(s.until) {
		return nil, errCode
	}
	s.until, s.sum = time.Time{}, [sha256.Size]byte{}
	return s.exchange, nil
}

// signInRows is the exchange of a code. It asks for no signature: the code is
// what proves the caller.
func (a *API) signInRows() []Operation {
	return []Operation{{
		Name: "ExchangeSignInCode", Path: "/console/sign-in", Service: "kinesisvideo", Auth: None, MaxBody: 1024,
		Input: signInInput{}, JSON: a.signIn, Errors: []sluice.Code{sluice.AccessDenied},
		Doc: "An extension of Sluice, for the link that `sluice demo` prints. A code works once, for two minutes, for callers on the server's own machine that come through no proxy, " +
			"and only where the server runs as a demo; anything else is refused with the same words. The answer is temporary keys: AccessKeyId, SecretAccessKey, SessionToken, Expiration.",
	}}
}

type signInInput struct {
	Code string `shape:"required,min=1,max=64,secret"`
}

func (a *API) signIn(ctx context.Context, c *Call) (any, error) {
	refuse := func(cause error) error {
		return &sluice.Error{Code: sluice.AccessDenied, Msg: "The sign-in code is not valid. It works once, within two minutes, on the machine that the server runs on.", Err: cause}
	}
	if a.o.SignIn == nil {
		return nil, refuse(errors.New("the server is no demo"))
	}
	if !local(c.Request) {
		return nil, refuse(errors.New("the caller is not on this machine"))
	}
	exchange, err := a.o.SignIn.take(c.Input.(*signInInput).Code)
	if err != nil {
		return nil, refuse(err)
	}
	keys, err := exchange(ctx)
	if err != nil {
		return nil, err
	}
	c.As(Identity{AccessKeyID: keys.AccessKeyID})
	c.out.Header().Set("Cache-Control", "no-store")
	return struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      Timestamp
	}{keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken, Timestamp(keys.Expires)}, nil
}

// local reports whether a request comes from this machine itself, and not from a
// proxy on it that stands for somebody else.
func local(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return false
	}
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	return true
}
