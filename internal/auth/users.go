package auth

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sluicevideo/sluice/internal/db"
)

// User is one user.
type User struct {
	ID      string // AIDA...
	Name    string
	Path    string // "/" or "/.../"
	ARN     string
	Created time.Time
}

func (a *Auth) arn(kind, path, name string) string {
	return "arn:aws:iam::" + a.options.Account + ":" + kind + path + name
}

// UserARN is the ARN that a user of this name has under path "/", for policy
// questions about users that are not there.
func (a *Auth) UserARN(name string) string { return a.arn("user", "/", name) }

// Account is the account's number.
func (a *Auth) Account() string { return a.options.Account }

// query is a database for reading: the pool or a transaction.
type query interface {
	QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row
	QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error)
}

// change runs fn in a write transaction and then forgets what it changed.
func (a *Auth) change(ctx context.Context, fn func(tx *sql.Tx, f *forget) error) error {
	var f forget
	err := a.db.Update(ctx, func(tx *sql.Tx) error { return fn(tx, &f) })
	if err == nil {
		a.cache.forget(f)
	}
	return err
}

// CreateUser makes a user. path "" is "/".
// Errors: EntityAlreadyExists, ValidationError.
func (a *Auth) CreateUser(ctx context.Context, name, path string) (User, error) {
	if path == "" {
		path = "/"
	}
	if err := errors.Join(checkUserName(name), checkPath(path)); err != nil {
		return User{}, err
	}
	u := User{ID: newID("AIDA"), Name: name, Path: path, ARN: a.arn("user", path, name), Created: a.now().UTC().Truncate(time.Second)}
	err := a.change(ctx, func(tx *sql.Tx, _ *forget) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO auth_users (id, name, folded, path, created_ms) VALUES (?, ?, ?, ?, ?)`,
			u.ID, u.Name, lower(u.Name), u.Path, u.Created.UnixMilli())
		if db.IsUnique(err) {
			return fail(EntityAlreadyExists, "User with name %s already exists.", name)
		}
		return err
	})
	return u, err
}

const userColumns = `id, name, path, created_ms`

func (a *Auth) scanUser(row interface{ Scan(...any) error }) (u User, err error) {
	var created int64
	err = row.Scan(&u.ID, &u.Name, &u.Path, &created)
	u.ARN, u.Created = a.arn("user", u.Path, u.Name), time.UnixMilli(created).UTC()
	return u, err
}

func (a *Auth) user(ctx context.Context, q query, name string) (User, error) {
	if err := checkUserName(name); err != nil {
		return User{}, err
	}
	u, err := a.scanUser(q.QueryRowContext(ctx, `SELECT `+userColumns+` FROM auth_users WHERE folded = ?`, lower(name)))
	if errors.Is(err, sql.ErrNoRows) {
		return u, fail(NoSuchEntity, "The user with name %s cannot be found.", name)
	}
	return u, err
}

// User finds a user by name. Errors: NoSuchEntity.
func (a *Auth) User(ctx context.Context, name string) (User, error) {
	return a.user(ctx, a.db.View(), name)
}

// Users lists users whose path begins with prefix ("" is all), by name without
// regard to case, after the name given; at most limit.
func (a *Auth) Users(ctx context.Context, prefix, after string, limit int) ([]User, error) {
	rows, err := a.db.View().QueryContext(ctx, `SELECT `+userColumns+` FROM auth_users
		WHERE folded > ? AND substr(path, 1, length(?)) = ? ORDER BY folded LIMIT ?`, lower(after), prefix, prefix, limit)
	return collect(rows, err, func() (User, error) { return a.scanUser(rows) })
}

// collect reads all rows.
func collect[T any](rows *sql.Rows, err error, scan func() (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// exists reports whether a query has a row.
func exists(ctx context.Context, q query, text string, args ...any) (bool, error) {
	var n int
	err := q.QueryRowContext(ctx, `SELECT COUNT(*) FROM (`+text+` LIMIT 1) x`, args...).Scan(&n)
	return n > 0, err
}

// DeleteUser removes a user that has no access keys, policies or groups left;
// its temporary credentials end with it. Errors: NoSuchEntity, DeleteConflict.
func (a *Auth) DeleteUser(ctx context.Context, name string) error {
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		u, err := a.user(ctx, tx, name)
		if err != nil {
			return err
		}
		for _, c := range []struct{ query, what string }{
			{`SELECT 1 FROM auth_keys WHERE user_id = ? AND expires_ms IS NULL`, "must delete access keys first"},
			{`SELECT 1 FROM auth_inline WHERE owner_id = ?`, "must delete policies first"},
			{`SELECT 1 FROM auth_attached WHERE owner_id = ?`, "must detach all policies first"},
			{`SELECT 1 FROM auth_members WHERE user_id = ?`, "must remove users from group first"},
		} {
			there, err := exists(ctx, tx, c.query, u.ID)
			if err != nil {
				return err
			}
			if there {
				return fail(DeleteConflict, "Cannot delete entity, %s.", c.what)
			}
		}
		if f.keys, err = deleteKeys(ctx, tx, `user_id = ?`, u.ID); err != nil {
			return err
		}
		f.users = []string{u.ID}
		_, err = tx.ExecContext(ctx, `DELETE FROM auth_users WHERE id = ?`, u.ID)
		return err
	})
}
