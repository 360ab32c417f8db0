// Package catalog is what the account has: its streams, with their versions,
// retention, tags, status and wrapped data keys. It owns the streams table of
// catalog.db, the rules of names, versions and retention, and the life cycle of
// a stream. It knows no request and no media: whether a caller may is decided
// above it, and where media lies below and beside it.
//
// A stream lives under an id that is never used again. Its name is free again
// only after Forget, when nothing of its media is left:
//
//	Create -> ACTIVE -> Delete -> DELETING (key erased, media unreadable) -> Forget -> gone
//
// Failures that an API caller is meant to see are *sluice.Error.
package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
)

// Status is a stream's status as the API prints it.
type Status string

const (
	Active   Status = "ACTIVE"
	Deleting Status = "DELETING"
)

// MaxRetention is ten years (UpdateDataRetention, API reference).
const MaxRetention = 87600 * time.Hour

// MaxTags is the most tags a stream may have (TagStream, API reference).
const MaxTags = 50

// Stream is one stream as it was when it was read. Its map and its key belong to
// the catalog: read only.
type Stream struct {
	ID        sluice.StreamID
	Name      string
	ARN       sluice.ARN
	Device    string // "" when not given
	MediaType string // "" when not given
	KMSKeyID  string // ARN of the key or alias the stream was made with
	Version   string // 20 characters; another after every change of the stream (tags and data key apart)
	Status    Status
	Created   time.Time // UTC, whole milliseconds; the same as in the ARN
	Retention time.Duration
	Tags      map[string]string
	// WrappedKey is the stream's data key, wrapped by the key KeyARN; nil
	// before the first fragment, and erased for ever by Delete.
	WrappedKey []byte
	KeyARN     string
}

// Rules are the rules that a limits profile chooses.
type Rules struct {
	Streams           int  // most streams in the account; 0: any number
	RetentionReplaces bool // UpdateRetention takes the value instead of adding or subtracting it
}

// Options of Open. Region and Account must be given.
type Options struct {
	Region, Account string
	Rules           func() Rules     // asked at each call; nil: no limit, retention is adjusted
	Now             func() time.Time // nil: time.Now
}

// Catalog is safe for any number of goroutines.
type Catalog struct {
	db *db.DB
	o  Options

	// mu is held over a change and its hooks, so hooks see the changes in the
	// order they were committed. Changes wait for each other in the database
	// anyway.
	mu    sync.Mutex
	hooks []func(Stream)

	byName, byID, list *sql.Stmt
}

var migrations = []string{`
CREATE TABLE streams (
	id           TEXT NOT NULL PRIMARY KEY,
	name         TEXT NOT NULL UNIQUE,
	created_ms   INTEGER NOT NULL,
	device       TEXT NOT NULL,
	media_type   TEXT NOT NULL,
	kms_key      TEXT NOT NULL,
	version      TEXT NOT NULL,
	status       TEXT NOT NULL,
	retention_h  INTEGER NOT NULL,
	tags         TEXT NOT NULL,
	key_arn      TEXT NOT NULL,
	wrapped_key  BLOB
);
-- When a deleted name was last created: an ARN is never given out twice, not
-- even when a stream is made anew in the same millisecond.
CREATE TABLE stream_names (
	name       TEXT NOT NULL PRIMARY KEY,
	created_ms INTEGER NOT NULL
);`}

const columns = `id, name, created_ms, device, media_type, kms_key, version, status, retention_h, tags, key_arn, wrapped_key`

// Open brings the tables up to date. The database stays the caller's to close,
// after Close.
func Open(ctx context.Context, d *db.DB, o Options) (*Catalog, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rules == nil {
		o.Rules = func() Rules { return Rules{} }
	}
	if _, err := d.Migrate(ctx, "catalog", migrations); err != nil {
		return nil, err
	}
	c := &Catalog{db: d, o: o}
	for _, p := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&c.byName, `SELECT ` + columns + ` FROM streams WHERE name = ?`},
		{&c.byID, `SELECT ` + columns + ` FROM streams WHERE id = ?`},
		{&c.list, `SELECT ` + columns + ` FROM streams WHERE name >= ? AND name < ? ORDER BY name LIMIT ?`},
	} {
		s, err := d.View().PrepareContext(ctx, p.query)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("catalog: %w", err)
		}
		*p.to = s
	}
	return c, nil
}

// Close lets go of what Open prepared. It may be called twice.
func (c *Catalog) Close() error {
	var errs []error
	for _, s := range []*sql.Stmt{c.byName, c.byID, c.list} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// OnChange adds a hook that is called after each committed change of a stream
// that stays, with what it is now, in the order of the changes and before the
// call that made the change returns. A hook must be quick and must not call a
// method that changes the catalog. Hooks are added before the catalog is used.
func (c *Catalog) OnChange(hook func(Stream)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hooks = append(c.hooks, hook)
}

func (c *Catalog) changedLocked(s Stream) {
	for _, hook := range c.hooks {
		hook(s)
	}
}

func notFound(format string, args ...any) *sluice.Error {
	e := &sluice.Error{Code: sluice.ResourceNotFound, Msg: "The requested stream is not found or not active."}
	if format != "" {
		e.Err = fmt.Errorf(format, args...)
	}
	return e
}

// name gives the name that ref means in this account, and the creation time its
// ARN asks for (-1: any).
func (c *Catalog) name(ref sluice.StreamRef) (name string, created int64, err error) {
	if ref.ARN == "" {
		if ref.Name == "" {
			return "", 0, &sluice.Error{Code: sluice.InvalidArgument, Msg: "StreamName, StreamARN: one of them must be given"}
		}
		return ref.Name, -1, nil
	}
	arn, err := sluice.ParseARN(ref.ARN)
	if err != nil {
		return "", 0, &sluice.Error{Code: sluice.InvalidArgument, Msg: "StreamARN: " + err.Error()}
	}
	if ref.Name != "" && ref.Name != arn.Name {
		return "", 0, &sluice.Error{Code: sluice.InvalidArgument,
			Msg: fmt.Sprintf("StreamName, StreamARN: the ARN is of stream %q, the name is %q; they must agree", arn.Name, ref.Name)}
	}
	if arn.Region != c.o.Region || arn.Account != c.o.Account {
		return "", 0, notFound("ARN of %s %s, this is %s %s", arn.Region, arn.Account, c.o.Region, c.o.Account)
	}
	return arn.Name, arn.Created, nil
}

// Describe gives a stream by its name, its ARN or both, whatever its status. It
// returns InvalidArgumentException for a ref that cannot be one, and
// ResourceNotFoundException.
func (c *Catalog) Describe(ctx context.Context, ref sluice.StreamRef) (Stream, error) {
	name, created, err := c.name(ref)
	if err != nil {
		return Stream{}, err
	}
	return c.one(c.byName.QueryRowContext(ctx, name), created)
}

// ByID gives a stream by its id, whatever its status, or ResourceNotFoundException.
func (c *Catalog) ByID(ctx context.Context, id sluice.StreamID) (Stream, error) {
	return c.one(c.byID.QueryRowContext(ctx, string(id)), -1)
}

func (c *Catalog) one(row *sql.Row, created int64) (Stream, error) {
	s, err := c.scan(row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Stream{}, notFound("")
	case err != nil:
		return Stream{}, fmt.Errorf("catalog: %w", err)
	case created >= 0 && created != s.ARN.Created:
		return Stream{}, notFound("stream %s was created at %d, not %d", s.Name, s.ARN.Created, created)
	}
	return s, nil
}

func (c *Catalog) scan(row interface{ Scan(...any) error }) (Stream, error) {
	var s Stream
	var createdMs, hours int64
	var tags []byte
	err := row.Scan((*string)(&s.ID), &s.Name, &createdMs, &s.Device, &s.MediaType, &s.KMSKeyID, &s.Version,
		(*string)(&s.Status), &hours, &tags, &s.KeyARN, &s.WrappedKey)
	if err != nil {
		return Stream{}, err
	}
	s.ARN = sluice.ARN{Partition: "aws", Region: c.o.Region, Account: c.o.Account, Name: s.Name, Created: createdMs}
	s.Created = time.UnixMilli(createdMs).UTC()
	s.Retention = time.Duration(hours) * time.Hour
	if string(tags) != "{}" {
		if err := json.Unmarshal(tags, &s.Tags); err != nil {
			return Stream{}, fmt.Errorf("tags of stream %s: %w", s.Name, err)
		}
	}
	return s, nil
}

// List gives up to limit streams in the order of their names, whatever their
// status: those that begin with prefix and lie after the name after ("" for
// both: all).
func (c *Catalog) List(ctx context.Context, prefix, after string, limit int) ([]Stream, error) {
	// One bound on each side, so that the index is entered where the page
	// begins. Characters of names lie above '!' and below 0x7f: nothing is
	// between a name and that name with '!', and what has the prefix ends
	// before the prefix with 0x7f.
	from := prefix
	if after != "" {
		from = max(prefix, after+"!")
	}
	rows, err := c.list.QueryContext(ctx, from, prefix+"\x7f", limit)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	defer rows.Close()
	list := make([]Stream, 0, min(limit, 128))
	for rows.Next() {
		s, err := c.scan(rows)
		if err != nil {
			return nil, fmt.Errorf("catalog: %w", err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return list, nil
}

// All gives every stream there is, for the sweeper and for the start of the
// server.
func (c *Catalog) All(ctx context.Context) ([]Stream, error) {
	var all []Stream
	for after := ""; ; {
		page, err := c.List(ctx, "", after, 1000)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < 1000 {
			return all, nil
		}
		after = page[len(page)-1].Name
	}
}

func tagsText(tags map[string]string) (string, error) {
	if len(tags) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(tags)
	return string(b), err
}

func tooManyTags(n int) error {
	return &sluice.Error{Code: sluice.TagsPerResourceExceededLimit,
		Msg: fmt.Sprintf("Tags: the stream would have %d tags, at most %d", n, MaxTags)}
}

// Tag sets tags; one that stands already gets the new value. It returns
// ResourceNotFoundException, and TagsPerResourceExceededLimitException when
// there would be more than MaxTags.
func (c *Catalog) Tag(ctx context.Context, ref sluice.StreamRef, tags map[string]string) (Stream, error) {
	return c.change(ctx, ref, func(s *Stream) error {
		if s.Status != Active {
			return notFound("stream %s is %s", s.Name, s.Status)
		}
		all := maps.Clone(s.Tags)
		if all == nil {
			all = make(map[string]string, len(tags))
		}
		maps.Copy(all, tags)
		if len(all) > MaxTags {
			return tooManyTags(len(all))
		}
		s.Tags = all
		return nil
	})
}

// Untag takes tags off; keys that are not there are passed over. It returns
// ResourceNotFoundException.
func (c *Catalog) Untag(ctx context.Context, ref sluice.StreamRef, keys []string) (Stream, error) {
	return c.change(ctx, ref, func(s *Stream) error {
		if s.Status != Active {
			return notFound("stream %s is %s", s.Name, s.Status)
		}
		all := maps.Clone(s.Tags)
		maps.DeleteFunc(all, func(k, _ string) bool { return slices.Contains(keys, k) })
		s.Tags = all
		return nil
	})
}
