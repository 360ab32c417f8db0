package auth

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/sluicevideo/sluice/internal/auth/policy"
)

// Bounds of the cache. An access key takes about half a kilobyte; parsed
// policies take some ten times their text.
const (
	maxCachedKeys  = 32 << 10
	maxCachedUsers = 32 << 10
	maxCachedText  = 16 << 20 // bytes of policy text
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
	text       int // bytes of policy text behind users
	managed    map[string]*policy.Document
}

// rights is what a user's policies say.
type rights struct {
	docs       []*policy.Document
	contextual bool
	text       int
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

func (c *cache) putUser(id string, r *rights, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation || c.users[id] != nil {
		return
	}
	if c.users == nil {
		c.users = make(map[string]*rights)
	}
	for old := range c.users { // any ones, until there is room
		if len(c.users) < maxCachedUsers && c.text+r.text <= maxCachedText {
			break
		}
		c.dropUserLocked(old)
	}
	c.users[id] = r
	c.text += r.text
}

func (c *cache) dropUserLocked(id string) {
	if r := c.users[id]; r != nil {
		c.text -= r.text
		delete(c.users, id)
	}
}

// document is a managed policy's, shared by all who have it attached.
func (c *cache) document(arn string) *policy.Document {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.managed[arn]
}

func (c *cache) putDocument(arn string, d *policy.Document, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation || len(c.managed) >= maxCachedUsers {
		return
	}
	if c.managed == nil {
		c.managed = make(map[string]*policy.Document)
	}
	c.managed[arn] = d
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
		c.users, c.managed, c.text = nil, nil, 0
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

// documents are the policies that count for a user: the user's own, the
// attached ones, and those of the user's groups.
func (a *Auth) documents(ctx context.Context, userID string) (docs []*policy.Document, contextual bool, err error) {
	r, generation := a.cache.user(userID)
	if r != nil {
		return r.docs, r.contextual, nil
	}
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
		return nil, false, err
	}
	defer rows.Close()
	r = &rights{text: 256}
	for rows.Next() {
		var kind int
		var group, name, text string
		if err := rows.Scan(&kind, &group, &name, &text); err != nil {
			return nil, false, err
		}
		d, err := a.document(kind, group, name, text, generation)
		if err != nil {
			return nil, false, err
		}
		r.docs = append(r.docs, d)
		r.contextual = r.contextual || d.NeedsContext()
		r.text += len(text)
	}
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	a.cache.putUser(userID, r, generation)
	return r.docs, r.contextual, nil
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
		a.cache.putDocument(name, d, generation)
	}
	return d, nil
}
