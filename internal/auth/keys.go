package auth

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"time"
)

// AccessKey is one access key of a user, without its secret.
type AccessKey struct {
	ID       string
	UserName string
	Active   bool
	Created  time.Time
}

// CreateAccessKey makes a permanent access key; this is the only time that its
// secret is seen. Errors: NoSuchEntity, LimitExceeded (two a user).
func (a *Auth) CreateAccessKey(ctx context.Context, userName string) (AccessKey, Credentials, error) {
	c := Credentials{AccessKeyID: newID("AKIA"), SecretAccessKey: newSecret()}
	k := AccessKey{ID: c.AccessKeyID, Active: true, Created: a.now().UTC().Truncate(time.Second)}
	err := a.change(ctx, func(tx *sql.Tx, f *forget) error {
		u, err := a.user(ctx, tx, userName)
		if err != nil {
			return err
		}
		k.UserName = u.Name
		var n int
		err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM auth_keys WHERE user_id = ? AND expires_ms IS NULL`, u.ID).Scan(&n)
		if err != nil {
			return err
		}
		if n >= maxKeysPerUser {
			return fail(LimitExceeded, "Cannot exceed quota for AccessKeysPerUser: %d", maxKeysPerUser)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO auth_keys (id, user_id, secret, active, created_ms) VALUES (?, ?, ?, ?, ?)`,
			k.ID, u.ID, a.box.seal(k.ID, c.SecretAccessKey), true, k.Created.UnixMilli())
		return err
	})
	if err != nil {
		return AccessKey{}, Credentials{}, err
	}
	return k, c, nil
}

// MaxTemporary is the longest life of temporary credentials.
const MaxTemporary = 36 * time.Hour

// CreateTemporary makes credentials with a session token that end after life,
// with the rights of a user, or of root for userName "". Root's end as well
// when the root keys change. Errors: NoSuchEntity, ValidationError.
func (a *Auth) CreateTemporary(ctx context.Context, userName string, life time.Duration) (Credentials, error) {
	if life <= 0 || life > MaxTemporary {
		return Credentials{}, fail(ValidationError, "DurationSeconds: must be 1 to %d", int(MaxTemporary/time.Second))
	}
	now := a.now()
	c := Credentials{AccessKeyID: newID("ASIA"), SecretAccessKey: newSecret(), SessionToken: newSecret() + newSecret(),
		Expires: now.Add(life).UTC().Truncate(time.Millisecond)}
	token := sha256.Sum256([]byte(c.SessionToken))
	err := a.change(ctx, func(tx *sql.Tx, f *forget) error {
		var userID, rootKey sql.NullString
		if userName == "" {
			rootKey = sql.NullString{String: a.options.Root.AccessKeyID, Valid: true}
		} else {
			u, err := a.user(ctx, tx, userName)
			if err != nil {
				return err
			}
			userID = sql.NullString{String: u.ID, Valid: true}
		}
		// Those past their time are of no use; this is when they go.
		var err error
		if f.keys, err = deleteKeys(ctx, tx, `expires_ms <= ?`, now.UnixMilli()); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO auth_keys (id, user_id, secret, active, created_ms, token_hash, expires_ms, root_key)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, c.AccessKeyID, userID, a.box.seal(c.AccessKeyID, c.SecretAccessKey), true,
			now.UnixMilli(), token[:], c.Expires.UnixMilli(), rootKey)
		return err
	})
	if err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// EndTemporary ends temporary credentials before their time. It is no error
// when there are none of that id.
func (a *Auth) EndTemporary(ctx context.Context, accessKeyID string) error {
	return a.change(ctx, func(tx *sql.Tx, f *forget) (err error) {
		f.keys, err = deleteKeys(ctx, tx, `id = ? AND expires_ms IS NOT NULL`, accessKeyID)
		return err
	})
}

// deleteKeys removes access keys and says which they were.
func deleteKeys(ctx context.Context, tx *sql.Tx, where string, args ...any) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `DELETE FROM auth_keys WHERE `+where+` RETURNING id`, args...)
	return collect(rows, err, func() (id string, err error) { return id, rows.Scan(&id) })
}

// AccessKeys lists a user's permanent access keys, oldest first.
// Errors: NoSuchEntity.
func (a *Auth) AccessKeys(ctx context.Context, userName string) ([]AccessKey, error) {
	u, err := a.User(ctx, userName)
	if err != nil {
		return nil, err
	}
	rows, err := a.db.View().QueryContext(ctx, `SELECT id, active, created_ms FROM auth_keys
		WHERE user_id = ? AND expires_ms IS NULL ORDER BY created_ms, id`, u.ID)
	return collect(rows, err, func() (AccessKey, error) {
		k := AccessKey{UserName: u.Name}
		var created int64
		err := rows.Scan(&k.ID, &k.Active, &created)
		k.Created = time.UnixMilli(created).UTC()
		return k, err
	})
}

// SetAccessKeyActive switches an access key on or off. Errors: NoSuchEntity.
func (a *Auth) SetAccessKeyActive(ctx context.Context, userName, accessKeyID string, active bool) error {
	return a.changeKey(ctx, userName, accessKeyID, `UPDATE auth_keys SET active = ? WHERE id = ? AND user_id = ? AND expires_ms IS NULL`, active)
}

// DeleteAccessKey ends an access key for good. Errors: NoSuchEntity.
func (a *Auth) DeleteAccessKey(ctx context.Context, userName, accessKeyID string) error {
	return a.changeKey(ctx, userName, accessKeyID, `DELETE FROM auth_keys WHERE id = ? AND user_id = ? AND expires_ms IS NULL`)
}

func (a *Auth) changeKey(ctx context.Context, userName, accessKeyID, statement string, args ...any) error {
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		u, err := a.user(ctx, tx, userName)
		if err != nil {
			return err
		}
		f.keys = []string{accessKeyID}
		res, err := tx.ExecContext(ctx, statement, append(args, accessKeyID, u.ID)...)
		return affected(res, err, "The Access Key with id %s cannot be found.", accessKeyID)
	})
}

// affected turns "no row changed" into NoSuchEntity.
func affected(res sql.Result, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return fail(NoSuchEntity, format, args...)
}
