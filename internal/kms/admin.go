package kms

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
)

// What follows serves the operator: `sluice key` and the KMS calls on the wire.
// Its errors are *sluice.Error with the exception names of the KMS API.
const (
	NotFoundException        sluice.Code = "NotFoundException"
	AlreadyExistsException   sluice.Code = "AlreadyExistsException"
	InvalidAliasException    sluice.Code = "InvalidAliasNameException"
	KMSInvalidStateException sluice.Code = "KMSInvalidStateException"
	ValidationException      sluice.Code = "ValidationException"
	UnsupportedException     sluice.Code = "UnsupportedOperationException"
	KMSInternalException     sluice.Code = "KMSInternalException"
)

// MinPendingDays and MaxPendingDays bound how long a deleted key can be called
// back (ScheduleKeyDeletion of the KMS API).
const (
	MinPendingDays = 7
	MaxPendingDays = 30
)

const maxDescription = 8192

func admin(code sluice.Code, err error, format string, args ...any) error {
	return &sluice.Error{Code: code, Msg: fmt.Sprintf(format, args...), Err: err}
}

// Create makes an enabled key. alias is "" or "alias/NAME".
func (k *Keyring) Create(ctx context.Context, description, alias string) (Key, error) {
	if len(description) > maxDescription {
		return Key{}, admin(ValidationException, nil, "Description: %d bytes, at most %d", len(description), maxDescription)
	}
	k.change.Lock()
	defer k.change.Unlock()
	if alias != "" {
		if err := k.freeAlias(alias); err != nil {
			return Key{}, err
		}
	}
	key, err := k.insert(ctx, description, alias, false)
	if err != nil {
		return Key{}, admin(KMSInternalException, err, "the keyring could not be written")
	}
	k.o.Logger.Info("key created", "key", key.ARN, "alias", alias)
	return key, nil
}

// List is all keys, oldest first.
func (k *Keyring) List() []Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := make([]Key, 0, len(k.keys))
	for _, e := range k.keys {
		out = append(out, k.viewLocked(e))
	}
	slices.SortFunc(out, func(a, b Key) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Describe is one key by any form of its name.
func (k *Keyring) Describe(keyID string) (Key, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	e, err := k.adminFindLocked(keyID)
	if err != nil {
		return Key{}, err
	}
	return k.viewLocked(e), nil
}

func (k *Keyring) adminFindLocked(keyID string) (*entry, error) {
	if keyID == "" {
		return nil, admin(ValidationException, nil, "KeyId: must not be empty")
	}
	id, _, err := k.findLocked(keyID)
	if err != nil {
		return nil, admin(NotFoundException, err, "Invalid keyId %s", clip(keyID))
	}
	e := k.keys[id]
	if e == nil { // the default key before its first use
		return nil, admin(NotFoundException, nil, "Key %s has not been used yet and does not exist", clip(keyID))
	}
	return e, nil
}

// Enable makes a disabled key usable again.
func (k *Keyring) Enable(ctx context.Context, keyID string) (Key, error) {
	return k.setState(ctx, keyID, Enabled, 0)
}

// Disable makes a key unusable until Enable. Sessions that hold an unwrapped
// data key of it notice within the time they keep one (5 minutes).
func (k *Keyring) Disable(ctx context.Context, keyID string) (Key, error) {
	return k.setState(ctx, keyID, Disabled, 0)
}

// Delete makes a key unusable now and erases it after days (MinPendingDays to
// MaxPendingDays). What was sealed under it can never be read after that.
func (k *Keyring) Delete(ctx context.Context, keyID string, days int) (Key, error) {
	if days < MinPendingDays || days > MaxPendingDays {
		return Key{}, admin(ValidationException, nil, "PendingWindowInDays: %d, must be %d to %d", days, MinPendingDays, MaxPendingDays)
	}
	return k.setState(ctx, keyID, PendingDeletion, days)
}

// CancelDeletion calls a key back that waits for its deletion; it is disabled
// then, as the KMS API says.
func (k *Keyring) CancelDeletion(ctx context.Context, keyID string) (Key, error) {
	k.mu.RLock()
	e, err := k.adminFindLocked(keyID)
	pending := err == nil && e.State == PendingDeletion
	k.mu.RUnlock()
	if err != nil {
		return Key{}, err
	}
	if !pending {
		return Key{}, admin(KMSInvalidStateException, nil, "%s is not pending deletion.", e.ARN)
	}
	return k.change1(ctx, keyID, Disabled, time.Time{})
}

func (k *Keyring) setState(ctx context.Context, keyID string, to State, days int) (Key, error) {
	k.mu.RLock()
	e, err := k.adminFindLocked(keyID)
	var have Key
	if err == nil {
		have = e.Key
	}
	k.mu.RUnlock()
	switch {
	case err != nil:
		return Key{}, err
	case have.Managed:
		return Key{}, admin(UnsupportedException, nil, "%s is the default key: it can be neither disabled nor deleted", have.ARN)
	case have.State == PendingDeletion:
		return Key{}, admin(KMSInvalidStateException, nil, "%s is pending deletion.", have.ARN)
	}
	var deletion time.Time
	if to == PendingDeletion {
		deletion = k.o.Now().UTC().AddDate(0, 0, days).Truncate(time.Millisecond)
	}
	return k.change1(ctx, have.ID, to, deletion)
}

// change1 writes one key's state and then shows it to everybody.
func (k *Keyring) change1(ctx context.Context, keyID string, to State, deletion time.Time) (Key, error) {
	k.change.Lock()
	defer k.change.Unlock()
	k.mu.RLock()
	e, err := k.adminFindLocked(keyID)
	k.mu.RUnlock()
	if err != nil {
		return Key{}, err
	}
	var ms int64
	if !deletion.IsZero() {
		ms = deletion.UnixMilli()
	}
	err = k.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE kms_keys SET state = ?, deletion_ms = ? WHERE id = ?`, to, ms, e.ID)
		return err
	})
	if err != nil {
		return Key{}, admin(KMSInternalException, err, "the keyring could not be written")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e.State, e.Deletion = to, deletion
	k.o.Logger.Info("key state changed", "key", e.ARN, "state", to)
	return k.viewLocked(e), nil
}

// Purge erases the keys whose waiting time is over and says how many. A key
// that is due counts as gone before that too.
func (k *Keyring) Purge(ctx context.Context) (int, error) {
	k.change.Lock()
	defer k.change.Unlock()
	now := k.o.Now()
	var due []string
	k.mu.RLock()
	for id, e := range k.keys {
		if e.State == PendingDeletion && !now.Before(e.Deletion) {
			due = append(due, id)
		}
	}
	k.mu.RUnlock()
	if len(due) == 0 {
		return 0, nil
	}
	err := k.db.Update(ctx, func(tx *sql.Tx) error {
		for _, id := range due {
			if _, err := tx.ExecContext(ctx, `DELETE FROM kms_aliases WHERE key_id = ?`, id); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM kms_keys WHERE id = ?`, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = k.db.Scrub(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("keyring: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range due {
		k.o.Logger.Info("key erased", "key", k.keys[id].ARN)
		delete(k.keys, id)
		for alias, to := range k.aliases {
			if to == id {
				delete(k.aliases, alias)
			}
		}
	}
	return len(due), nil
}

// SetAlias lets alias ("alias/NAME") point to a key; a free one is made, and
// one that stands is moved when move is set.
func (k *Keyring) SetAlias(ctx context.Context, alias, keyID string, move bool) error {
	k.change.Lock()
	defer k.change.Unlock()
	if err := validAlias(alias); err != nil {
		return err
	}
	k.mu.RLock()
	e, err := k.adminFindLocked(keyID)
	_, taken := k.aliases[alias]
	k.mu.RUnlock()
	switch {
	case err != nil:
		return err
	case taken && !move:
		return admin(AlreadyExistsException, nil, "An alias with the name %s already exists", alias)
	case !taken && move:
		return admin(NotFoundException, nil, "Alias %s is not found", alias)
	}
	err = k.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO kms_aliases (alias, key_id) VALUES (?, ?) ON CONFLICT (alias) DO UPDATE SET key_id = excluded.key_id`, alias, e.ID)
		return err
	})
	if err != nil {
		return admin(KMSInternalException, err, "the keyring could not be written")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.aliases[alias] = e.ID
	return nil
}

// RemoveAlias takes an alias away. Streams that were made with it cannot make a
// data key then; those that have one go on.
func (k *Keyring) RemoveAlias(ctx context.Context, alias string) error {
	k.change.Lock()
	defer k.change.Unlock()
	if err := validAlias(alias); err != nil {
		return err
	}
	k.mu.RLock()
	_, ok := k.aliases[alias]
	k.mu.RUnlock()
	if !ok {
		return admin(NotFoundException, nil, "Alias %s is not found", alias)
	}
	err := k.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM kms_aliases WHERE alias = ?`, alias)
		return err
	})
	if err != nil {
		return admin(KMSInternalException, err, "the keyring could not be written")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.aliases, alias)
	return nil
}

func (k *Keyring) freeAlias(alias string) error {
	if err := validAlias(alias); err != nil {
		return err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if _, ok := k.aliases[alias]; ok {
		return admin(AlreadyExistsException, nil, "An alias with the name %s already exists", alias)
	}
	return nil
}

// validAlias: CreateAlias of the KMS API. Names below alias/aws/ are the
// service's.
func validAlias(alias string) error {
	name, ok := strings.CutPrefix(alias, "alias/")
	good := ok && name != "" && len(alias) <= 256
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/', c == '_', c == '-':
		default:
			good = false
		}
	}
	if !good {
		return admin(InvalidAliasException, nil, "AliasName %q: must be alias/ and 1 to 250 of a-z, A-Z, 0-9, /, _ and -", clip(alias))
	}
	if strings.HasPrefix(name, "aws/") {
		return admin(InvalidAliasException, nil, "AliasName %q: names that begin with alias/aws/ belong to the service", clip(alias))
	}
	return nil
}
