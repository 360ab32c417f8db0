package kvsapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
)

const (
	service = "kinesisvideo" // signing name of all operations
	// emptyHash is the SHA-256 of nothing: what PutMedia signs for its body
	// (wire protocol, payload hash by client).
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	attempts = 3
	// maxJSON bounds an answer that is read whole. GetImages is the largest: 25
	// pictures of 6 MB.
	maxJSON = 256 << 20
)

// sign puts the Authorization header on r. hash is that of the body.
func (c *Client) sign(ctx context.Context, r *http.Request, hash string) error {
	creds, err := c.creds.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	if !creds.HasKeys() {
		return errors.New("credentials: none found (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)")
	}
	now := c.now().Add(time.Duration(c.skew.Load()))
	return c.signer.SignHTTP(ctx, creds, r, hash, service, c.region, now.UTC())
}

// learnClock remembers how far the server's clock is from ours when a signature
// was refused and the answer's Date says why. It reports whether another try
// has a chance.
func (c *Client) learnClock(r *http.Response, err *APIError) bool {
	switch err.Code {
	case "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired":
	default:
		return false
	}
	date, bad := http.ParseTime(r.Header.Get("Date"))
	if bad != nil {
		return false
	}
	skew := date.Sub(c.now())
	if (skew - time.Duration(c.skew.Load())).Abs() < 4*time.Minute {
		return false
	}
	c.skew.Store(int64(skew))
	return true
}

// post sends one signed call with a JSON body and returns its answer, 200, with
// the body unread. It tries again on a failure of the server or the connection,
// and on a call too many: every operation here that has a JSON body only reads.
func (c *Client) post(ctx context.Context, stream sluice.StreamRef, api types.APIName, operation, path string, in any) (*http.Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	for attempt := 1; ; attempt++ {
		r, err := c.postOnce(ctx, stream, api, operation, path, body)
		if err == nil {
			return r, nil
		}
		c.forgetEndpoint(stream, api, err)
		if attempt == attempts || !again(err) {
			return nil, err
		}
		// 50 to 100 ms, then twice that: long enough for a bucket to fill.
		wait := time.Duration(float64(50*time.Millisecond) * float64(int(1)<<(attempt-1)) * (1 + rand.Float64()))
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// errClock marks a refusal after which our clock was corrected.
var errClock = errors.New("clock corrected")

func again(err error) bool {
	if errors.Is(err, errClock) {
		return true
	}
	var answer *APIError
	if errors.As(err, &answer) {
		return (answer.Status >= 500 && answer.Status != http.StatusNotImplemented) || answer.Status == http.StatusTooManyRequests ||
			answer.Code == sluice.ClientLimitExceeded
	}
	var broken *connectionError
	return errors.As(err, &broken) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// connectionError is a failure to reach the data endpoint.
type connectionError struct {
	operation string
	err       error
}

func (e *connectionError) Error() string { return e.operation + ": " + e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

func (c *Client) postOnce(ctx context.Context, stream sluice.StreamRef, api types.APIName, operation, path string, body []byte) (*http.Response, error) {
	endpoint, err := c.dataEndpoint(ctx, stream, api)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", c.agent)
	sum := sha256.Sum256(body)
	if err := c.sign(ctx, r, hex.EncodeToString(sum[:])); err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, &connectionError{operation, err}
	}
	if resp.StatusCode != http.StatusOK {
		answer := readError(operation, resp)
		if c.learnClock(resp, answer) {
			return nil, fmt.Errorf("%w: %w", errClock, answer)
		}
		return nil, answer
	}
	return resp, nil
}

// postJSON is post with the answer decoded into out.
func (c *Client) postJSON(ctx context.Context, stream sluice.StreamRef, api types.APIName, operation, path string, in, out any) error {
	resp, err := c.post(ctx, stream, api, operation, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON))
	if err != nil {
		return &connectionError{operation, err}
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s: answer: %w", operation, err)
	}
	return nil
}

// streamName is the part of a request that names the stream.
type streamName struct {
	StreamName string `json:",omitempty"`
	StreamARN  string `json:",omitempty"`
}

func nameOf(r sluice.StreamRef) streamName { return streamName{r.Name, r.ARN} }

// epoch is a time on the wire: seconds since the epoch with milliseconds.
type epoch time.Time

func (e epoch) MarshalJSON() ([]byte, error) {
	ms := time.Time(e).UnixMilli()
	sign := ""
	if ms < 0 {
		sign, ms = "-", -ms
	}
	return fmt.Appendf(nil, "%s%d.%03d", sign, ms/1000, ms%1000), nil
}

// UnmarshalJSON takes what services send: 1720751492.346 and 1.720751492346E9.
func (e *epoch) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*e = epoch(time.UnixMilli(int64(math.Round(f * 1000))).UTC())
	return nil
}
