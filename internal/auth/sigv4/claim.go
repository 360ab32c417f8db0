package sigv4

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
)

// claim is what a request says of its own signature, taken apart and not yet
// believed.
type claim struct {
	accessKeyID string
	day         string // yyyymmdd of the scope
	region      string
	service     string
	signed      []string
	signature   [32]byte
	date        time.Time // UTC, whole seconds
	expires     time.Duration
	query       bool
	token       string
	contentHash string // x-amz-content-sha256 in the query
}

// scope is the text that the string to sign and the signing key are bound to.
func (c *claim) scope() string {
	return c.day + "/" + c.region + "/" + c.service + "/aws4_request"
}

func parse(r *http.Request) (*claim, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, incomplete("the query has %d bytes, at most %d are accepted", len(r.URL.RawQuery), maxQuery)
	}
	if len(r.URL.Path) > maxPath || len(r.URL.RawPath) > maxPath {
		return nil, incomplete("the path is longer than %d bytes", maxPath)
	}
	if values := r.Header["Authorization"]; len(values) > 0 {
		if len(values) > 1 {
			return nil, incomplete("%d Authorization headers, want one", len(values))
		}
		return parseHeader(r, values[0])
	}
	if strings.Contains(r.URL.RawQuery, "X-Amz-") {
		return parseQuery(r)
	}
	return nil, missing()
}

func missing() error {
	return &sluice.Error{Code: sluice.MissingAuthenticationToken, Msg: "Missing Authentication Token: the request has neither an Authorization header nor X-Amz-Signature in its query"}
}

func parseHeader(r *http.Request, s string) (*claim, error) {
	if len(s) > maxAuthorization {
		return nil, incomplete("the Authorization header has %d bytes, at most %d are accepted", len(s), maxAuthorization)
	}
	algorithm, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	if algorithm != Algorithm {
		return nil, incomplete("Authorization header begins with '%s', must be '%s'", printable(algorithm), Algorithm)
	}
	var credential, signed, signature string
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, incomplete("Authorization header: '%s' is not name=value", printable(part))
		}
		var into *string
		switch key {
		case "Credential":
			into = &credential
		case "SignedHeaders":
			into = &signed
		case "Signature":
			into = &signature
		default:
			return nil, incomplete("Authorization header has an unknown parameter '%s'", printable(key))
		}
		if *into != "" {
			return nil, incomplete("Authorization header has '%s' twice", key)
		}
		*into = value
	}
	for name, value := range map[string]string{"Credential": credential, "SignedHeaders": signed, "Signature": signature} {
		if value == "" {
			return nil, incomplete("Authorization header requires '%s' parameter.", name)
		}
	}
	c := &claim{}
	if err := c.set(credential, signed, signature); err != nil {
		return nil, err
	}
	var err error
	if c.date, err = headerDate(r.Header); err != nil {
		return nil, err
	}
	c.token = r.Header.Get("X-Amz-Security-Token")
	return c, nil
}

// headerDate is X-Amz-Date, which overrides Date (guide, Common Parameters).
func headerDate(h http.Header) (time.Time, error) {
	s := h.Get("X-Amz-Date")
	if s == "" {
		s = h.Get("Date")
		if t, err := http.ParseTime(s); err == nil {
			return t.UTC(), nil
		}
	}
	if s == "" {
		return time.Time{}, incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return parseDate(s)
}

func parseDate(s string) (time.Time, error) {
	t, err := time.Parse(timeFormat, s)
	if err != nil || len(s) != len(timeFormat) {
		return time.Time{}, incomplete("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", printable(s))
	}
	return t, nil
}

func parseQuery(r *http.Request) (*claim, error) {
	values := map[string]string{}
	for part := range strings.SplitSeq(r.URL.RawQuery, "&") {
		key, value, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(key)
		if err != nil || !strings.HasPrefix(key, "X-Amz-") {
			continue // other parameters are not ours to judge; the canonical query takes them as they are
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, incomplete("query parameter '%s' is not valid percent-encoding", printable(key))
		}
		if _, twice := values[key]; twice {
			return nil, incomplete("query parameter '%s' is given twice", printable(key))
		}
		values[key] = value
	}
	if values["X-Amz-Signature"] == "" && values["X-Amz-Credential"] == "" && values["X-Amz-Algorithm"] == "" {
		return nil, missing()
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if values[name] == "" {
			return nil, incomplete("AWS query-string parameters must include '%s'.", name)
		}
	}
	if values["X-Amz-Algorithm"] != Algorithm {
		return nil, incomplete("X-Amz-Algorithm is '%s', must be '%s'", printable(values["X-Amz-Algorithm"]), Algorithm)
	}
	c := &claim{query: true, token: values["X-Amz-Security-Token"], contentHash: values["X-Amz-Content-Sha256"]}
	if c.token == "" {
		c.token = r.Header.Get("X-Amz-Security-Token")
	}
	if err := c.set(values["X-Amz-Credential"], values["X-Amz-SignedHeaders"], values["X-Amz-Signature"]); err != nil {
		return nil, err
	}
	var err error
	if c.date, err = parseDate(values["X-Amz-Date"]); err != nil {
		return nil, err
	}
	c.expires = Window // the General Reference makes X-Amz-Expires optional outside S3
	if s, ok := values["X-Amz-Expires"]; ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || time.Duration(n)*time.Second > MaxExpires {
			return nil, incomplete("X-Amz-Expires is '%s', must be a number of seconds from 1 to %d", printable(s), int(MaxExpires/time.Second))
		}
		c.expires = time.Duration(n) * time.Second
	}
	return c, nil
}

// set fills in what header and query have in common.
func (c *claim) set(credential, signed, signature string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" || parts[2] == "" || parts[3] == "" || len(credential) > 512 {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", printable(credential))
	}
	if parts[4] != "aws4_request" {
		return incomplete("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'", printable(parts[4]))
	}
	if _, err := time.Parse(dayFormat, parts[1]); err != nil || len(parts[1]) != len(dayFormat) {
		return incomplete("Credential date must be YYYYMMDD, got '%s'", printable(parts[1]))
	}
	c.accessKeyID, c.day, c.region, c.service = parts[0], parts[1], parts[2], parts[3]
	if len(signed) > maxAuthorization {
		return incomplete("SignedHeaders has %d bytes, at most %d are accepted", len(signed), maxAuthorization)
	}
	c.signed = strings.Split(signed, ";")
	if len(c.signed) > maxSignedHeaders {
		return incomplete("%d signed headers, at most %d are accepted", len(c.signed), maxSignedHeaders)
	}
	for i, name := range c.signed {
		if !headerName(name) {
			return incomplete("SignedHeaders: '%s' is not a header name in lower case", printable(name))
		}
		if slices.Contains(c.signed[:i], name) {
			return incomplete("SignedHeaders: '%s' is listed twice", printable(name))
		}
	}
	if !slices.Contains(c.signed, "host") {
		return incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	if len(signature) != 64 {
		return incomplete("Signature has %d characters, must be 64 hexadecimal digits", len(signature))
	}
	if _, err := hex.Decode(c.signature[:], []byte(signature)); err != nil {
		return incomplete("Signature must be 64 hexadecimal digits")
	}
	return nil
}

func headerName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}
