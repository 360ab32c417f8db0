package producer

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// credentialCache keeps credentials fresh: run fetches them in the background
// ahead of expiry, and Retrieve hands out what there is for as long as it is
// valid, whatever the last attempt said.
type credentialCache struct {
	source aws.CredentialsProvider
	log    *slog.Logger
	tell   func(Event)
	soon   chan struct{} // fetch now

	fetching sync.Mutex // one fetch at a time; not taken under mu

	mu    sync.Mutex
	creds aws.Credentials
	have  bool
	stale bool // the service refused them
}

func newCredentialCache(source aws.CredentialsProvider, log *slog.Logger, tell func(Event)) *credentialCache {
	return &credentialCache{source: source, log: log, tell: tell, soon: make(chan struct{}, 1)}
}

func (c *credentialCache) current() (aws.Credentials, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ok := c.have && !c.stale && (!c.creds.CanExpire || time.Now().Before(c.creds.Expires))
	return c.creds, ok
}

// Retrieve implements aws.CredentialsProvider.
func (c *credentialCache) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if creds, ok := c.current(); ok {
		return creds, nil
	}
	c.fetching.Lock()
	defer c.fetching.Unlock()
	if creds, ok := c.current(); ok {
		return creds, nil // another call fetched them
	}
	return c.fetchLocked(ctx)
}

// fetchLocked asks the source. When it fails and there are credentials that are
// valid still, those are returned.
func (c *credentialCache) fetchLocked(ctx context.Context) (aws.Credentials, error) {
	if p, ok := c.source.(interface{ Invalidate() }); ok {
		p.Invalidate()
	}
	creds, err := c.source.Retrieve(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && creds.CanExpire && !creds.Expires.After(time.Now()) {
		err = wrap(StatusInvalidTokenExpiration, errExpired)
	}
	if err != nil {
		left := time.Until(c.creds.Expires)
		valid := c.have && (!c.creds.CanExpire || left > 0)
		c.stale = c.stale && !valid
		c.tell(CredentialsFailed{Err: err, Expires: c.creds.Expires})
		if valid {
			c.log.Warn("credentials not refreshed; those at hand are used on", "error", err, "expire", c.creds.Expires)
			return c.creds, nil
		}
		return aws.Credentials{}, err
	}
	c.creds, c.have, c.stale = creds, true, false
	select {
	case c.soon <- struct{}{}: // run plans anew
	default:
	}
	return creds, nil
}

// refuse says that the service did not take the credentials: the next call fetches
// them again.
func (c *credentialCache) refuse() {
	c.mu.Lock()
	c.stale = true
	c.mu.Unlock()
}

// run fetches ahead of expiry until ctx ends.
func (c *credentialCache) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	retry := time.Second
	for {
		c.mu.Lock()
		wait := time.Duration(-1)
		if c.have && c.creds.CanExpire {
			wait = jitterRefresh(time.Now(), c.creds.Expires)
		}
		before := c.creds.Expires
		c.mu.Unlock()
		if wait < 0 {
			select {
			case <-c.soon:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.soon:
			continue
		case <-ctx.Done():
			return
		}
		c.fetching.Lock()
		_, err := c.fetchLocked(ctx)
		c.fetching.Unlock()
		c.mu.Lock()
		stuck := err != nil || !c.creds.Expires.After(before)
		c.mu.Unlock()
		if !stuck {
			retry = time.Second
			continue
		}
		timer.Reset(retry)
		retry = min(2*retry, 15*time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}
