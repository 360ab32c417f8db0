package kms

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
)

// Options of Open. The zero value names keys of account 000000000000 in
// us-west-2.
type Options struct {
	Region, Account string
	Now             func() time.Time
	Logger          *slog.Logger
}

// Keyring holds the KMS keys of the account. All methods may be called from
// several goroutines.
type Keyring struct {
	db      *db.DB
	seal    [32]byte // material is sealed under it
	o       Options
	arnHead string // arn:aws:kms:<region>:<account>:

	// mu guards keys and aliases, which are the tables in memory: every use of
	// a stream's key asks for its state. A change writes the tables first.
	mu      sync.RWMutex
	keys    map[string]*entry // by id
	aliases map[string]string // "alias/..." to key id
	change  sync.Mutex        // one change at a time, held over its transaction; taken before mu
}

type entry struct {
	Key
	material [32]byte
}

var migrations = []string{
	`CREATE TABLE kms_root (one INTEGER PRIMARY KEY CHECK (one = 1), proof BLOB NOT NULL);
	 CREATE TABLE kms_keys (
		id TEXT PRIMARY KEY, description TEXT NOT NULL, state TEXT NOT NULL,
		created_ms INTEGER NOT NULL, deletion_ms INTEGER NOT NULL, managed INTEGER NOT NULL, sealed BLOB NOT NULL);
	 CREATE TABLE kms_aliases (alias TEXT PRIMARY KEY, key_id TEXT NOT NULL REFERENCES kms_keys (id) ON DELETE CASCADE);`,
}

// Initialised reports whether the database has a keyring: then its root key
// exists somewhere, and making another would not help.
func Initialised(ctx context.Context, d *db.DB) (bool, error) {
	var n int
	err := d.View().QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'kms_root'`).Scan(&n)
	if err != nil || n == 0 {
		return false, err
	}
	err = d.View().QueryRowContext(ctx, `SELECT count(*) FROM kms_root`).Scan(&n)
	return n > 0, err
}

// Open opens the keyring in d, making it when there is none. A keyring that was
// sealed under another root key gives ErrWrongRootKey.
func Open(ctx context.Context, d *db.DB, root RootKey, o Options) (*Keyring, error) {
	if o.Region == "" {
		o.Region = "us-west-2"
	}
	if o.Account == "" {
		o.Account = "000000000000"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if _, err := d.Migrate(ctx, "kms", migrations); err != nil {
		return nil, err
	}
	k := &Keyring{
		db: d, o: o, seal: root.Derive("keyring"),
		arnHead: "arn:aws:kms:" + o.Region + ":" + o.Account + ":",
		keys:    map[string]*entry{}, aliases: map[string]string{},
	}
	if err := k.prove(ctx, root); err != nil {
		return nil, err
	}
	if err := k.load(ctx); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return k, nil
}

// prove compares the root key with the one the keyring was made under, by a
// value that tells nothing of it.
func (k *Keyring) prove(ctx context.Context, root RootKey) error {
	key := root.Derive("keyring proof")
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("this root key"))
	want := mac.Sum(nil)
	return k.db.Update(ctx, func(tx *sql.Tx) error {
		var have []byte
		err := tx.QueryRowContext(ctx, `SELECT proof FROM kms_root WHERE one = 1`).Scan(&have)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			_, err = tx.ExecContext(ctx, `INSERT INTO kms_root (one, proof) VALUES (1, ?)`, want)
			return err
		case err != nil:
			return err
		case !hmac.Equal(have, want):
			return fmt.Errorf("%s (%s): %w", k.db.Path(), root, ErrWrongRootKey)
		}
		return nil
	})
}

func (k *Keyring) load(ctx context.Context) error {
	rows, err := k.db.View().QueryContext(ctx, `SELECT id, description, state, created_ms, deletion_ms, managed, sealed FROM kms_keys`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e := &entry{}
		var created, deletion int64
		var sealed []byte
		if err := rows.Scan(&e.ID, &e.Description, &e.State, &created, &deletion, &e.Managed, &sealed); err != nil {
			return err
		}
		e.ARN, e.Created = k.arnHead+"key/"+e.ID, time.UnixMilli(created).UTC()
		if deletion != 0 {
			e.Deletion = time.UnixMilli(deletion).UTC()
		}
		if len(sealed) != nonceSize+32+16 {
			return fmt.Errorf("key %s: sealed material of %d bytes", e.ID, len(sealed))
		}
		if _, err := aead(&k.seal).Open(e.material[:0], sealed[:nonceSize], sealed[nonceSize:], []byte(e.ID)); err != nil {
			return fmt.Errorf("key %s: %w", e.ID, err)
		}
		k.keys[e.ID] = e
	}
	if err := rows.Err(); err != nil {
		return err
	}
	names, err := k.db.View().QueryContext(ctx, `SELECT alias, key_id FROM kms_aliases`)
	if err != nil {
		return err
	}
	defer names.Close()
	for names.Next() {
		var alias, id string
		if err := names.Scan(&alias, &id); err != nil {
			return err
		}
		k.aliases[alias] = id
	}
	return names.Err()
}

// DefaultARN is the KMS key a stream shows that was made without one: the
// default alias as a full ARN (wire-protocol §7.5).
func (k *Keyring) DefaultARN() string { return k.arnHead + DefaultAlias }

// Resolve says which key a KmsKeyId means, as an ARN: for the forms of the
// default key the ARN of its alias, for an alias the ARN of the key it points to
// now. It takes a key id, alias/NAME, and the ARNs of both; "", aws/kinesisvideo
// and aws/kinesis-video mean the default key. What does not exist is an error
// with 4506, what is of another account with 4500.
func (k *Keyring) Resolve(keyID string) (arn string, err error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	id, isDefault, err := k.findLocked(keyID)
	switch {
	case isDefault:
		return k.DefaultARN(), nil
	case err != nil:
		return "", err
	}
	return k.keys[id].ARN, nil
}

// findLocked turns any form into a key id. isDefault says that keyID means the
// default key, which may not exist yet: then id is "".
func (k *Keyring) findLocked(keyID string) (id string, isDefault bool, err error) {
	name := keyID
	if strings.HasPrefix(keyID, "arn:") {
		part := strings.SplitN(keyID, ":", 6)
		if len(part) != 6 || part[2] != "kms" {
			return "", false, errorf(sluice.KMSKeyValidationError, "KMS key %q is not the ARN of a key or an alias", clip(keyID))
		}
		if part[4] != k.o.Account {
			return "", false, errorf(sluice.KMSKeyAccessDenied, "KMS key %s belongs to account %s, not to this one (%s)", clip(keyID), clip(part[4]), k.o.Account)
		}
		if part[3] != k.o.Region {
			return "", false, errorf(sluice.KMSKeyNotFound, "KMS key %s is of region %s, this is %s", clip(keyID), clip(part[3]), k.o.Region)
		}
		name = part[5]
		if key, ok := strings.CutPrefix(name, "key/"); ok {
			name = key
		} else if !strings.HasPrefix(name, "alias/") {
			return "", false, errorf(sluice.KMSKeyValidationError, "KMS key %q is not the ARN of a key or an alias", clip(keyID))
		}
	}
	switch name {
	case "", "aws/kinesisvideo", "aws/kinesis-video", "alias/aws/kinesisvideo", "alias/aws/kinesis-video":
		return k.aliases[DefaultAlias], true, nil
	}
	if strings.HasPrefix(name, "alias/") {
		id, ok := k.aliases[name]
		if !ok {
			return "", false, errorf(sluice.KMSKeyNotFound, "KMS alias %q does not exist", clip(name))
		}
		return id, false, nil
	}
	if k.keys[name] == nil {
		return "", false, errorf(sluice.KMSKeyNotFound, "KMS key %q does not exist", clip(keyID))
	}
	return name, false, nil
}

// usable is the key that keyID means, when it may be used now.
func (k *Keyring) usable(ctx context.Context, keyID string) (entry, error) {
	k.mu.RLock()
	id, isDefault, err := k.findLocked(keyID)
	k.mu.RUnlock()
	if err != nil {
		return entry{}, err
	}
	if isDefault && id == "" {
		if id, err = k.makeDefault(ctx); err != nil {
			return entry{}, err
		}
	}
	e, err := k.byID(id)
	if err != nil {
		return entry{}, err
	}
	return e, e.check()
}

func (k *Keyring) byID(id string) (entry, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	e := k.keys[id]
	if e == nil || (e.State == PendingDeletion && !k.o.Now().Before(e.Deletion)) {
		return entry{}, errorf(sluice.KMSKeyNotFound, "KMS key %q does not exist", clip(id))
	}
	return *e, nil
}

func (e *entry) check() error {
	switch e.State {
	case Enabled:
		return nil
	case Disabled:
		return errorf(sluice.KMSKeyDisabled, "KMS key %s is disabled", e.ARN)
	case PendingDeletion:
		return errorf(sluice.KMSKeyInvalidState, "KMS key %s is pending deletion", e.ARN)
	}
	return errorf(sluice.KMSKeyInvalidState, "KMS key %s has state %q", e.ARN, e.State)
}

func (k *Keyring) makeDefault(ctx context.Context) (string, error) {
	k.change.Lock()
	defer k.change.Unlock()
	k.mu.RLock()
	id := k.aliases[DefaultAlias]
	k.mu.RUnlock()
	if id != "" {
		return id, nil
	}
	key, err := k.insert(ctx, "Default key that protects Kinesis video streams when no other key is named", DefaultAlias, true)
	return key.ID, err
}

// insert makes a key with an alias (or none); k.change is held.
func (k *Keyring) insert(ctx context.Context, description, alias string, managed bool) (Key, error) {
	e := &entry{Key: Key{
		ID: newUUID(), Description: description, State: Enabled, Managed: managed,
		Created: k.o.Now().UTC().Truncate(time.Millisecond),
	}}
	e.ARN = k.arnHead + "key/" + e.ID
	rand.Read(e.material[:])
	sealed := make([]byte, nonceSize, nonceSize+32+16)
	rand.Read(sealed)
	sealed = aead(&k.seal).Seal(sealed, sealed, e.material[:], []byte(e.ID))
	err := k.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO kms_keys (id, description, state, created_ms, deletion_ms, managed, sealed) VALUES (?, ?, ?, ?, 0, ?, ?)`,
			e.ID, e.Description, e.State, e.Created.UnixMilli(), managed, sealed)
		if err != nil || alias == "" {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO kms_aliases (alias, key_id) VALUES (?, ?)`, alias, e.ID)
		return err
	})
	if err != nil {
		return Key{}, &keyError{code: sluice.KMSKeyUnavailable, msg: "keyring", err: err}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[e.ID] = e
	if alias != "" {
		k.aliases[alias] = e.ID
	}
	return k.viewLocked(e), nil
}

func (k *Keyring) viewLocked(e *entry) Key {
	v := e.Key
	v.Aliases = nil
	for alias, id := range k.aliases {
		if id == e.ID {
			v.Aliases = append(v.Aliases, alias)
		}
	}
	slices.Sort(v.Aliases)
	return v
}
