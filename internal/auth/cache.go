package auth

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice/internal/auth/policy"
)

// Bounds of the cache. An access key takes about half a kilobyte, a decision a
// quarter of one, parsed policies some five times their text.
const (
	maxCachedKeys     = 16 << 10
	maxCachedUsers    = 16 << 10
	maxCachedText     = 16 << 20 // bytes of policy text, parsed
	decisionsPerUser  = 16
	baseText          = 256 // what a user without policies counts
	maxDecisionLength = 2048
)

// accessKey is a row of auth_keys with its user, its secret opened.
type accessKey struct {
	identity  Identity
	secret    string
	active    bool
	temporary bool
	token     [32]byte // SHA-256 of the session token
	expires   time.Time
}

// cache holds what authentication and authorisation need of the database.
//
// generation counts the writes. Whoever loads something notes it first, and
// stores what was loaded only if it still stands: else the rows may be older
// than a write that has already forgotten its entries.
type cache struct {
	mu         sync.RWMutex
	generation uint64
	keys       map[string]*accessKey
	users      map[string]*rights

	// Parsed policies are the bulk: only some users' are kept, those of any
	// others are read again when no remembered decision answers.
	parsed     map[string]*rights
	parsedText int

	// Managed policies are parsed once for all who have them attached.
	managed     map[string]*policy.Document
	managedText int
}

// rights is what a user's policies say.
type rights struct {
	contextual bool // decisions depend on more than action and resource
	text       int
	docs       atomic.Pointer[[]*policy.Document] // nil: not kept

	mu        sync.Mutex
	decisions map[question]policy.Decision
}

type question struct{ action, resource string }

func (r *rights) remembered(q question) (policy.Decision, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.decisions[q]
	return d, ok
}

func (r *rights) remember(q question, d policy.Decision) {
	if len(q.action)+len(q.resource) > maxDecisionLength {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.decisions == nil || len(r.decisions) >= decisionsPerUser {
		r.decisions = make(map[question]policy.Decision)
	}
	// The caller's strings may be parts of something larger.
	r.decisions[question{strings.Clone(q.action), strings.Clone(q.resource)}] = d
}

func (c *cache) key(id string) (*accessKey, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.keys[id], c.generation
}

func (c *cache) putKey(id string, k *accessKey, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.keys == nil {
		c.keys = make(map[string]*accessKey)
	}
	if len(c.keys) >= maxCachedKeys {
		for old := range c.keys { // any one
			delete(c.keys, old)
			break
		}
	}
	c.keys[id] = k
}

func (c *cache) user(id string) (*rights, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.users[id], c.generation
}

// putUser keeps r, or, when the user is there already, only the documents that
// were read again for it.
func (c *cache) putUser(id string, r *rights, docs []*policy.Document, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.users == nil {
		c.users, c.parsed = make(map[string]*rights), make(map[string]*rights)
	}
	if have := c.users[id]; have != nil {
		r = have
	}
	for old := range c.users { // any ones, until there is room
		if len(c.users) < maxCachedUsers {
			break
		}
		c.dropUserLocked(old)
	}
	c.users[id] = r
	if c.parsed[id] != nil {
		return
	}
	for old := range c.parsed {
		if c.parsedText+r.text <= maxCachedText {
			break
		}
		c.dropParsedLocked(old)
	}
	r.docs.Store(&docs)
	c.parsed[id] = r
	c.parsedText += r.text
}

func (c *cache) dropUserLocked(id string) {
	c.dropParsedLocked(id)
	delete(c.users, id)
}

func (c *cache) dropParsedLocked(id string) {
	if r := c.parsed[id]; r != nil {
		c.parsedText -= r.text
		delete(c.parsed, id)
		r.docs.Store(nil)
	}
}

// document is a managed policy's, shared by all who have it attached.
func (c *cache) document(arn string) *policy.Document {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.managed[arn]
}

func (c *cache) putDocument(arn string, d *policy.Document, text int, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.managed == nil || c.managedText+text > maxCachedText/4 {
		c.managed, c.managedText = make(map[string]*policy.Document), 0
	}
	c.managed[arn] = d
	c.managedText += text
}

// forget drops what a committed write changed: one user's keys or rights, or
// everything that is not a key, for what many share (groups, managed
// policies).
type forget struct {
	keys   []string // access key ids
	users  []string // user ids
	shared bool
}

func (c *cache) forget(f forget) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	for _, id := range f.keys {
		delete(c.keys, id)
	}
	for _, id := range f.users {
		c.dropUserLocked(id)
	}
	if f.shared {
		c.users, c.parsed, c.parsedText = nil, nil, 0
		c.managed, c.managedText = nil, 0
	}
}

// key finds an access key: nil when there is none.
func (a *Auth) key(ctx context.Context, id string) (*accessKey, error) {
	if id == a.options.Root.AccessKeyID {
		return &accessKey{identity: a.rootIdentity(id), secret: a.options.Root.SecretAccessKey, active: true}, nil
	}
	if !checkAccessKeyID(id) {
		return nil, nil
	}
	k, generation := a.cache.key(id)
	if k != nil {
		return k, nil
	}
	row := a.db.View().QueryRowContext(ctx, `
		SELECT k.secret, k.active, k.token_hash, k.expires_ms, k.root_key, u.id, u.name, u.path
		FROM auth_keys k LEFT JOIN auth_users u ON u.id = k.user_id WHERE k.id = ?`, id)
	var sealed, token []byte
	var expires sql.NullInt64
	var rootKey, userID, name, path sql.NullString
	k = &accessKey{}
	err := row.Scan(&sealed, &k.active, &token, &expires, &rootKey, &userID, &name, &path)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case userID.Valid:
		k.identity = Identity{Account: a.options.Account, UserName: name.String, UserID: userID.String,
			ARN: a.arn("user", path.String, name.String), AccessKeyID: id}
	case rootKey.Valid && rootKey.String == a.options.Root.AccessKeyID:
		k.identity = a.rootIdentity(id)
	default:
		// A temporary key of root, made under root keys that no longer count.
		return nil, nil
	}
	if expires.Valid {
		k.temporary, k.expires = true, time.UnixMilli(expires.Int64)
		copy(k.token[:], token)
	}
	if k.secret, err = a.box.open(id, sealed); err != nil {
		return nil, err
	}
	a.cache.putKey(id, k, generation)
	return k, nil
}

func (a *Auth) rootIdentity(accessKeyID string) Identity {
	return Identity{Root: true, Account: a.options.Account, ARN: "arn:aws:iam::" + a.options.Account + ":root",
		AccessKeyID: accessKeyID, UserID: a.options.Account}
}

// rights finds what is known of a user's policies, and reads them when nothing
// is.
func (a *Auth) rights(ctx context.Context, userID string) (*rights, error) {
	r, generation := a.cache.user(userID)
	if r != nil {
		return r, nil
	}
	r, _, err := a.load(ctx, userID, generation)
	return r, err
}

// documents are the policies that count for a user: the user's own, the
// attached ones, and those of the user's groups.
//
// contextual belongs to these documents: they may be newer than rights that the
// caller holds.
func (a *Auth) documents(ctx context.Context, userID string) (docs []*policy.Document, contextual bool, err error) {
	r, generation := a.cache.user(userID)
	if r != nil {
		if docs := r.docs.Load(); docs != nil {
			return *docs, r.contextual, nil
		}
	}
	if r, docs, err = a.load(ctx, userID, generation); err != nil {
		return nil, false, err
	}
	return docs, r.contextual, nil
}

func (a *Auth) load(ctx context.Context, userID string, generation uint64) (*rights, []*policy.Document, error) {
	rows, err := a.db.View().QueryContext(ctx, `
		SELECT 0, '', name, document FROM auth_inline WHERE owner_id = ?1
		UNION ALL
		SELECT 1, g.name, i.name, i.document FROM auth_members m
			JOIN auth_groups g ON g.id = m.group_id
			JOIN auth_inline i ON i.owner_id = g.id WHERE m.user_id = ?1
		UNION ALL
		SELECT 2, '', t.arn, COALESCE(p.document, '') FROM
			(SELECT arn FROM auth_attached WHERE owner_id = ?1
			 UNION SELECT arn FROM auth_attached WHERE owner_id IN (SELECT group_id FROM auth_members WHERE user_id = ?1)) t
			LEFT JOIN auth_policies p ON p.arn = t.arn
		ORDER BY 1, 2, 3`, userID)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	r := &rights{text: baseText}
	var docs []*policy.Document
	for rows.Next() {
		var kind int
		var group, name, text string
		if err := rows.Scan(&kind, &group, &name, &text); err != nil {
			return nil, nil, err
		}
		d, err := a.document(kind, group, name, text, generation)
		if err != nil {
			return nil, nil, err
		}
		docs = append(docs, d)
		r.contextual = r.contextual || d.NeedsContext()
		r.text += len(text)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	a.cache.putUser(userID, r, docs, generation)
	return r, docs, nil
}

// document parses one policy. They were sound when they were stored; one that
// no longer is fails the call, since leaving out a deny would allow too much.
func (a *Auth) document(kind int, group, name, text string, generation uint64) (*policy.Document, error) {
	managed := kind == 2
	title := "inline policy " + name
	switch {
	case managed:
		if b := a.builtin[name]; b != nil {
			return b.parsed, nil
		}
		if d := a.cache.document(name); d != nil {
			return d, nil
		}
		title = "policy " + name
	case kind == 1:
		title += " of group " + group
	}
	d, err := policy.Parse([]byte(text))
	if err != nil {
		return nil, errors.New("stored " + title + ": " + err.Error())
	}
	d.Name = title
	if managed {
		a.cache.putDocument(name, d, len(text), generation)
	}
	return d, nil
}
