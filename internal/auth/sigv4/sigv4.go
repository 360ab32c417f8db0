// Package sigv4 verifies AWS Signature Version 4 on requests as net/http
// received them: in the Authorization header and in the query.
//
// It is the verifier alone. It keeps no users: the caller looks a secret up by
// access key id, and judges a session token, which is reported and never
// demanded to be signed (the C producer does not sign it). It signs nothing.
//
// The canonical request is rebuilt from the SignedHeaders list and the header
// values as received, because every client signs another set: the native
// producers sign connection and transfer-encoding, the Java ones whatever they
// happen to send, the SDKs content-type and amz-sdk-*. Only host must be among
// them. Two of the headers that clients sign are consumed by net/http and are
// put back here: Host, which some clients send and sign without the port they
// connected to, and Transfer-Encoding.
//
// What may stand as the payload hash:
//
//	x-amz-content-sha256 sent   its value: hex (compared with the body), UNSIGNED-PAYLOAD,
//	                            or STREAMING-AWS4-HMAC-SHA256-PAYLOAD
//	absent, Options.Streaming   SHA-256 of nothing: PutMedia of the C and Go producers
//	absent                      SHA-256 of the body
//
// A header that names the hash need not be signed: the value is the last line
// of the canonical request, so whoever signed the request chose it.
//
// Specification: "Signature Version 4 signing process", AWS General Reference.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
)

// Algorithm is the one algorithm that is accepted.
const Algorithm = "AWS4-HMAC-SHA256"

const (
	// Window is how far a request's date may lie from the verifier's clock.
	Window = 15 * time.Minute
	// MaxExpires is the longest life of a signature in a query.
	MaxExpires = 7 * 24 * time.Hour

	timeFormat = "20060102T150405Z"
	dayFormat  = "20060102"

	unsignedPayload  = "UNSIGNED-PAYLOAD"
	streamingPayload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	emptyHash        = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	// Bounds on what one request can make the verifier do. Real ones stay far
	// below: 14 signed headers, 600 bytes of Authorization, 3 kB of query.
	maxAuthorization = 8 << 10
	maxSignedHeaders = 64
	maxSignedBytes   = 64 << 10
	maxQuery         = 32 << 10
	maxPath          = 8 << 10
)

// Options says what a Verifier accepts.
type Options struct {
	// Region that a credential must be scoped to. Empty: any.
	Region string
	// GlobalServices are accepted in us-east-1 as well as in Region: services
	// that have one endpoint for all regions, which SDKs sign for there.
	GlobalServices []string
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Call is what the verifier cannot see in the request itself.
type Call struct {
	// Body is the whole body, empty for a streaming one. It is only read.
	Body []byte
	// Streaming: the body is not known yet (PutMedia), so nothing is compared
	// with it.
	Streaming bool
	// Services that the credential may be scoped to. Empty: any.
	Services []string
}

// Result is what a verified signature says.
type Result struct {
	AccessKeyID  string
	Service      string
	Region       string
	Date         time.Time
	SignedHeader []string // names, lower case, as listed
	Query        bool     // the signature stood in the query
	Expires      time.Time
	// SessionToken is x-amz-security-token, from header or query, whether or
	// not it was signed. The caller compares it with what the key demands.
	SessionToken string
}

// Secrets finds the secret access key of an access key id. Its error is
// returned by Verify unchanged.
type Secrets func(accessKeyID string) (secret string, err error)

// Verifier checks signatures. It remembers derived signing keys (a bounded
// number), and is safe for concurrent use.
type Verifier struct {
	options Options
	keys    keyCache
}

// New makes a Verifier.
func New(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Verifier{options: o}
}

// Verify checks the signature of r, looking for it in the Authorization
// header, then in the query. The checks come in this order: shape, scope,
// clock, key, signature.
//
// Errors are *sluice.Error: MissingAuthenticationToken, IncompleteSignature
// (malformed), InvalidSignature (scope, clock, expiry, mismatch), or what
// secrets returned. None of them holds a secret or a calculated signature.
func (v *Verifier) Verify(r *http.Request, c Call, secrets Secrets) (Result, error) {
	claim, err := parse(r)
	if err != nil {
		return Result{}, err
	}
	if err := v.checkScope(claim, c.Services); err != nil {
		return Result{}, err
	}
	if err := v.checkClock(claim); err != nil {
		return Result{}, err
	}
	payload, err := payloadHash(r, claim, c)
	if err != nil {
		return Result{}, err
	}
	secret, err := secrets(claim.accessKeyID)
	if err != nil {
		return Result{}, err
	}
	key := v.keys.get(secret, claim)
	buf := getBuffer()
	defer putBuffer(buf)
	matched := false
	for _, path := range canonicalPaths(r) {
		*buf, err = appendCanonical((*buf)[:0], r, claim, path, payload)
		if err != nil {
			return Result{}, err
		}
		got := claim.sign(key, sha256.Sum256(*buf))
		if matched = hmac.Equal(got[:], claim.signature[:]); matched {
			break
		}
	}
	if !matched {
		return Result{}, mismatch()
	}
	return Result{
		AccessKeyID:  claim.accessKeyID,
		Service:      claim.service,
		Region:       claim.region,
		Date:         claim.date,
		SignedHeader: claim.signed,
		Query:        claim.query,
		Expires:      claim.date.Add(claim.expires),
		SessionToken: claim.token,
	}, nil
}

// Service reports which service a request's credential claims to be scoped to,
// before anything is verified; "" when there is no readable claim. It is for
// choosing among operations that share a path and differ by service.
func Service(r *http.Request) string {
	c, err := parse(r)
	if err != nil {
		return ""
	}
	return c.service
}

func (v *Verifier) checkScope(c *claim, services []string) error {
	if len(services) > 0 && !contains(services, c.service) {
		return invalid("Credential should be scoped to correct service: '%s'.", strings.Join(services, "' or '"))
	}
	if v.options.Region != "" && c.region != v.options.Region &&
		!(c.region == "us-east-1" && contains(v.options.GlobalServices, c.service)) {
		return invalid("Credential should be scoped to a valid region, not '%s'. This server's region is '%s'.",
			printable(c.region), v.options.Region)
	}
	if day := c.date.Format(dayFormat); c.day != day {
		return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			c.day, day, c.date.Format(timeFormat))
	}
	return nil
}

// checkClock names both times in its errors: SDKs and people correct their
// clocks by them.
func (v *Verifier) checkClock(c *claim) error {
	now := v.options.Now().UTC()
	if limit := now.Add(Window); c.date.After(limit) {
		return invalid("Signature not yet current: %s is still later than %s (%s + 15 min.)",
			c.date.Format(timeFormat), limit.Format(timeFormat), now.Format(timeFormat))
	}
	if c.query {
		if end := c.date.Add(c.expires); !now.Before(end) {
			return invalid("Signature expired: %s is now earlier than %s (X-Amz-Expires %d s after %s)",
				end.Format(timeFormat), now.Format(timeFormat), int(c.expires/time.Second), c.date.Format(timeFormat))
		}
		return nil
	}
	if limit := now.Add(-Window); c.date.Before(limit) {
		return invalid("Signature expired: %s is now earlier than %s (%s - 15 min.)",
			c.date.Format(timeFormat), limit.Format(timeFormat), now.Format(timeFormat))
	}
	return nil
}

// payloadHash is the last line of the canonical request.
func payloadHash(r *http.Request, c *claim, call Call) (string, error) {
	said := c.contentHash
	if said == "" {
		said = r.Header.Get("X-Amz-Content-Sha256")
	}
	switch {
	case said == unsignedPayload, said == streamingPayload:
		return said, nil
	case said == "" && call.Streaming:
		return emptyHash, nil
	case said == "":
		return hashHex(call.Body), nil
	case len(said) != 64 || !isHex(said):
		return "", incomplete("x-amz-content-sha256 must be 64 hexadecimal digits, %s or %s", unsignedPayload, streamingPayload)
	case call.Streaming:
		return said, nil
	case !hmac.Equal([]byte(strings.ToLower(said)), []byte(hashHex(call.Body))):
		return "", invalid("x-amz-content-sha256 does not match the body of the request.")
	}
	return said, nil
}

func hashHex(b []byte) string {
	if len(b) == 0 {
		return emptyHash
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func isHex(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// printable makes a piece of a request safe to repeat in a message.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}

func mismatch() error {
	return invalid("The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

func invalid(format string, args ...any) error {
	return &sluice.Error{Code: sluice.InvalidSignature, Msg: fmt.Sprintf(format, args...)}
}

func incomplete(format string, args ...any) error {
	return &sluice.Error{Code: sluice.IncompleteSignature, Msg: fmt.Sprintf(format, args...)}
}
