package catalog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
)

// New is a stream to be made. Its values have been checked against the rules of
// the API reference by the caller.
type New struct {
	Name      string
	Device    string
	MediaType string
	KMSKeyID  string // ARN of a key or alias
	Retention time.Duration
	Tags      map[string]string
}

// Create makes a stream, which is ACTIVE at once. It returns
// ResourceInUseException when the name is taken, also by a stream that is being
// deleted; AccountStreamLimitExceededException; and
// TagsPerResourceExceededLimitException.
func (c *Catalog) Create(ctx context.Context, n New) (Stream, error) {
	if err := sluice.ValidateStreamName(n.Name); err != nil {
		return Stream{}, &sluice.Error{Code: sluice.InvalidArgument, Msg: err.Error()}
	}
	if err := checkRetention("DataRetentionInHours: is", n.Retention); err != nil {
		return Stream{}, err
	}
	if len(n.Tags) > MaxTags {
		return Stream{}, tooManyTags(len(n.Tags))
	}
	tags, err := tagsText(n.Tags)
	if err != nil {
		return Stream{}, fmt.Errorf("catalog: tags: %w", err)
	}
	s := Stream{
		ID: newID(), Name: n.Name, Device: n.Device, MediaType: n.MediaType, KMSKeyID: n.KMSKeyID,
		Version: newVersion(), Status: Active, Retention: n.Retention, Tags: maps.Clone(n.Tags),
	}
	most := c.o.Rules().Streams
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.db.Update(ctx, func(tx *sql.Tx) error {
		created := c.o.Now().UnixMilli()
		var last int64
		switch err := tx.QueryRowContext(ctx, `SELECT created_ms FROM stream_names WHERE name = ?`, n.Name).Scan(&last); {
		case err == nil:
			created = max(created, last+1)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		s.ARN = sluice.ARN{Partition: "aws", Region: c.o.Region, Account: c.o.Account, Name: n.Name, Created: created}
		s.Created = time.UnixMilli(created).UTC()
		_, err := tx.ExecContext(ctx, `INSERT INTO streams (`+columns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', NULL)`,
			string(s.ID), s.Name, created, s.Device, s.MediaType, s.KMSKeyID, s.Version, string(s.Status),
			int64(s.Retention/time.Hour), tags)
		if db.IsUnique(err) {
			return &sluice.Error{Code: sluice.ResourceInUse, Msg: fmt.Sprintf("The stream %s already exists.", n.Name)}
		}
		if err != nil || most == 0 {
			return err
		}
		// After the insert, so that a taken name is said first.
		var have int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM streams`).Scan(&have); err != nil {
			return err
		}
		if have > most {
			return &sluice.Error{Code: sluice.AccountStreamLimitExceeded,
				Msg: fmt.Sprintf("The account has %d streams, at most %d are allowed.", have-1, most)}
		}
		return nil
	})
	if err != nil {
		return Stream{}, wrap(err)
	}
	c.changedLocked(s)
	return s, nil
}

// wrap leaves API errors as they are and says where others come from.
func wrap(err error) error {
	if sluice.CodeOf(err) != "" {
		return err
	}
	return fmt.Errorf("catalog: %w", err)
}

// change runs fn on the stream as it stands, in a write transaction, and stores
// what fn left. A new version is fn's to set.
func (c *Catalog) change(ctx context.Context, ref sluice.StreamRef, fn func(*Stream) error) (Stream, error) {
	name, created, err := c.name(ref)
	if err != nil {
		return Stream{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var s Stream
	err = c.db.Update(ctx, func(tx *sql.Tx) error {
		s, err = c.one(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM streams WHERE name = ?`, name), created)
		if err != nil {
			return err
		}
		if err := fn(&s); err != nil {
			return err
		}
		tags, err := tagsText(s.Tags)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE streams SET device = ?, media_type = ?, version = ?, status = ?, retention_h = ?,
			tags = ?, key_arn = ?, wrapped_key = ? WHERE id = ?`,
			s.Device, s.MediaType, s.Version, string(s.Status), int64(s.Retention/time.Hour), tags, s.KeyARN, s.WrappedKey, string(s.ID))
		return err
	})
	if err != nil {
		return Stream{}, wrap(err)
	}
	c.changedLocked(s)
	return s, nil
}

// check says why a stream can't be changed: it is being deleted, or version
// ("": any) is not its version.
func (s *Stream) check(version string) error {
	if s.Status != Active {
		return &sluice.Error{Code: sluice.ResourceInUse, Msg: fmt.Sprintf("The stream %s is %s and not available for this operation.", s.Name, s.Status)}
	}
	if version != "" && version != s.Version {
		return &sluice.Error{Code: sluice.VersionMismatch,
			Msg: fmt.Sprintf("CurrentVersion: %s is not the latest version of stream %s", version, s.Name)}
	}
	return nil
}

// Change is what Update sets; nil leaves a value as it is.
type Change struct {
	Device, MediaType *string
}

// Update changes metadata when version is the stream's. It returns
// VersionMismatchException, ResourceInUseException or ResourceNotFoundException.
func (c *Catalog) Update(ctx context.Context, ref sluice.StreamRef, version string, ch Change) (Stream, error) {
	return c.change(ctx, ref, func(s *Stream) error {
		if err := s.check(version); err != nil {
			return err
		}
		if ch.Device != nil {
			s.Device = *ch.Device
		}
		if ch.MediaType != nil {
			s.MediaType = *ch.MediaType
		}
		s.Version = newVersion()
		return nil
	})
}

// RetentionOp is the direction of UpdateRetention, as the API names it.
type RetentionOp string

const (
	Increase RetentionOp = "INCREASE_DATA_RETENTION"
	Decrease RetentionOp = "DECREASE_DATA_RETENTION"
)

// UpdateRetention adds by to the retention or subtracts it, or, under the rule
// RetentionReplaces, makes by the retention (which must then lie in the
// direction of op). by is whole hours. It returns InvalidArgumentException when
// the result would not lie in 0 to MaxRetention, and what Update returns.
func (c *Catalog) UpdateRetention(ctx context.Context, ref sluice.StreamRef, version string, op RetentionOp, by time.Duration) (Stream, error) {
	replaces := c.o.Rules().RetentionReplaces
	return c.change(ctx, ref, func(s *Stream) error {
		if err := s.check(version); err != nil {
			return err
		}
		to := by
		switch {
		case by < 0 || by > MaxRetention:
			return checkRetention("DataRetentionChangeInHours: is", by)
		case op != Increase && op != Decrease:
			return &sluice.Error{Code: sluice.InvalidArgument, Msg: fmt.Sprintf("Operation %q: must be %s or %s", op, Increase, Decrease)}
		case replaces && op == Increase && by < s.Retention, replaces && op == Decrease && by > s.Retention:
			return &sluice.Error{Code: sluice.InvalidArgument, Msg: fmt.Sprintf(
				"DataRetentionChangeInHours: %d replaces the retention of %d hours, which %s does not allow", hours(by), hours(s.Retention), op)}
		case !replaces && op == Increase:
			to = s.Retention + by
		case !replaces:
			to = s.Retention - by
		}
		if err := checkRetention("DataRetentionChangeInHours: the retention would be", to); err != nil {
			return err
		}
		s.Retention, s.Version = to, newVersion()
		return nil
	})
}

func hours(d time.Duration) int64 { return int64(d / time.Hour) }

// checkRetention begins its message with what, which names the field.
func checkRetention(what string, d time.Duration) error {
	if d < 0 || d > MaxRetention {
		return &sluice.Error{Code: sluice.InvalidArgument,
			Msg: fmt.Sprintf("%s %d hours, must be 0 to %d", what, hours(d), hours(MaxRetention))}
	}
	return nil
}

// Delete marks the stream DELETING and erases its data key in one transaction:
// from then on its media is unreadable, wherever it lies. version may be "". It
// returns what Update returns. The name stays taken until Forget.
func (c *Catalog) Delete(ctx context.Context, ref sluice.StreamRef, version string) (Stream, error) {
	s, err := c.change(ctx, ref, func(s *Stream) error {
		if err := s.check(version); err != nil {
			return err
		}
		s.Status, s.Version = Deleting, newVersion()
		s.WrappedKey, s.KeyARN = nil, ""
		return nil
	})
	if err != nil {
		return Stream{}, err
	}
	// The log still has the page from which the key was erased, or the file has.
	if err := c.db.Scrub(ctx); err != nil {
		return Stream{}, wrap(err)
	}
	return s, nil
}

// namesKept is how long a deleted name's creation time is remembered, so that
// it is not given out again. Clocks are not expected to be set back further.
const namesKept = 24 * time.Hour

// Forget removes a stream that is DELETING; its name is free again. It is for
// whoever has removed the stream's media. A stream that is not there is no error.
func (c *Catalog) Forget(ctx context.Context, id sluice.StreamID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.db.Update(ctx, func(tx *sql.Tx) error {
		var name, status string
		var created int64
		err := tx.QueryRowContext(ctx, `SELECT name, created_ms, status FROM streams WHERE id = ?`, string(id)).Scan(&name, &created, &status)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if Status(status) != Deleting {
			return fmt.Errorf("stream %s is %s, not %s", name, status, Deleting)
		}
		for _, q := range []struct {
			query string
			args  []any
		}{
			{`DELETE FROM streams WHERE id = ?`, []any{string(id)}},
			{`DELETE FROM stream_names WHERE created_ms < ?`, []any{c.o.Now().Add(-namesKept).UnixMilli()}},
			{`INSERT INTO stream_names (name, created_ms) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET created_ms = excluded.created_ms`,
				[]any{name, created}},
		} {
			if _, err := tx.ExecContext(ctx, q.query, q.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("catalog: forget stream: %w", err)
	}
	// When the process ended in the middle of Delete, the key is still there.
	return c.db.Scrub(ctx)
}

// SetDataKey gives an ACTIVE stream its data key, wrapped by the key keyARN,
// unless it has one. It returns the stream as it stands then: the first writer
// wins. It returns ResourceNotFoundException for any other stream.
func (c *Catalog) SetDataKey(ctx context.Context, id sluice.StreamID, keyARN string, wrapped []byte) (Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s Stream
	err := c.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE streams SET key_arn = ?, wrapped_key = ? WHERE id = ? AND status = ? AND wrapped_key IS NULL`,
			keyARN, wrapped, string(id), string(Active))
		if err != nil {
			return err
		}
		s, err = c.one(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM streams WHERE id = ?`, string(id)), -1)
		if err == nil && s.Status != Active {
			err = notFound("stream %s is %s", s.Name, s.Status)
		}
		return err
	})
	if err != nil {
		return Stream{}, wrap(err)
	}
	c.changedLocked(s)
	return s, nil
}

func newID() sluice.StreamID {
	var b [16]byte
	rand.Read(b[:])
	return sluice.StreamID(hex.EncodeToString(b[:]))
}

// newVersion makes 20 characters of [a-zA-Z0-9], as all versions of the service
// are.
func newVersion() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	var v [20]byte
	var b [32]byte
	for n := 0; n < len(v); {
		rand.Read(b[:])
		for _, x := range b {
			// 248 = 4*62: a byte above it would favour the first letters.
			if x < 248 && n < len(v) {
				v[n] = alphabet[x%62]
				n++
			}
		}
	}
	return string(v[:])
}
