package auth

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sluicevideo/sluice/internal/db"
)

// Group is one group of users.
type Group struct {
	ID      string // AGPA...
	Name    string
	Path    string
	ARN     string
	Created time.Time
}

// GroupARN is the ARN that a group of this name has under path "/".
func (a *Auth) GroupARN(name string) string { return a.arn("group", "/", name) }

// CreateGroup makes a group. path "" is "/".
// Errors: EntityAlreadyExists, ValidationError.
func (a *Auth) CreateGroup(ctx context.Context, name, path string) (Group, error) {
	if path == "" {
		path = "/"
	}
	if err := errors.Join(checkGroupName(name), checkPath(path)); err != nil {
		return Group{}, err
	}
	g := Group{ID: newID("AGPA"), Name: name, Path: path, ARN: a.arn("group", path, name), Created: a.now().UTC().Truncate(time.Second)}
	err := a.change(ctx, func(tx *sql.Tx, _ *forget) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO auth_groups (id, name, folded, path, created_ms) VALUES (?, ?, ?, ?, ?)`,
			g.ID, g.Name, lower(g.Name), g.Path, g.Created.UnixMilli())
		if db.IsUnique(err) {
			return fail(EntityAlreadyExists, "Group with name %s already exists.", name)
		}
		return err
	})
	return g, err
}

func (a *Auth) scanGroup(row interface{ Scan(...any) error }) (g Group, err error) {
	var created int64
	err = row.Scan(&g.ID, &g.Name, &g.Path, &created)
	g.ARN, g.Created = a.arn("group", g.Path, g.Name), time.UnixMilli(created).UTC()
	return g, err
}

func (a *Auth) group(ctx context.Context, q query, name string) (Group, error) {
	if err := checkGroupName(name); err != nil {
		return Group{}, err
	}
	g, err := a.scanGroup(q.QueryRowContext(ctx, `SELECT id, name, path, created_ms FROM auth_groups WHERE folded = ?`, lower(name)))
	if errors.Is(err, sql.ErrNoRows) {
		return g, fail(NoSuchEntity, "The group with name %s cannot be found.", name)
	}
	return g, err
}

// Group finds a group by name. Errors: NoSuchEntity.
func (a *Auth) Group(ctx context.Context, name string) (Group, error) {
	return a.group(ctx, a.db.View(), name)
}

// Groups lists groups whose path begins with prefix, by name.
func (a *Auth) Groups(ctx context.Context, prefix string) ([]Group, error) {
	rows, err := a.db.View().QueryContext(ctx, `SELECT id, name, path, created_ms FROM auth_groups
		WHERE substr(path, 1, length(?)) = ? ORDER BY folded`, prefix, prefix)
	return collect(rows, err, func() (Group, error) { return a.scanGroup(rows) })
}

// GroupUsers lists the users of a group, by name. Errors: NoSuchEntity.
func (a *Auth) GroupUsers(ctx context.Context, name string) ([]User, error) {
	g, err := a.Group(ctx, name)
	if err != nil {
		return nil, err
	}
	rows, err := a.db.View().QueryContext(ctx, `SELECT u.id, u.name, u.path, u.created_ms FROM auth_members m
		JOIN auth_users u ON u.id = m.user_id WHERE m.group_id = ? ORDER BY u.folded`, g.ID)
	return collect(rows, err, func() (User, error) { return a.scanUser(rows) })
}

// GroupsForUser lists the groups that a user is in, by name.
// Errors: NoSuchEntity.
func (a *Auth) GroupsForUser(ctx context.Context, userName string) ([]Group, error) {
	u, err := a.User(ctx, userName)
	if err != nil {
		return nil, err
	}
	rows, err := a.db.View().QueryContext(ctx, `SELECT g.id, g.name, g.path, g.created_ms FROM auth_members m
		JOIN auth_groups g ON g.id = m.group_id WHERE m.user_id = ? ORDER BY g.folded`, u.ID)
	return collect(rows, err, func() (Group, error) { return a.scanGroup(rows) })
}

// AddUserToGroup puts a user into a group; being there already is no error.
// Errors: NoSuchEntity, LimitExceeded (ten groups a user).
func (a *Auth) AddUserToGroup(ctx context.Context, groupName, userName string) error {
	return a.member(ctx, groupName, userName, func(tx *sql.Tx, g Group, u User) error {
		there, err := exists(ctx, tx, `SELECT 1 FROM auth_members WHERE user_id = ? AND group_id = ?`, u.ID, g.ID)
		if err != nil || there {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM auth_members WHERE user_id = ?`, u.ID).Scan(&n); err != nil {
			return err
		}
		if n >= maxGroupsPerUser {
			return fail(LimitExceeded, "Cannot exceed quota for GroupsPerUser: %d", maxGroupsPerUser)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO auth_members (user_id, group_id) VALUES (?, ?)`, u.ID, g.ID)
		return err
	})
}

// RemoveUserFromGroup takes a user out of a group; not being there is no error.
// Errors: NoSuchEntity.
func (a *Auth) RemoveUserFromGroup(ctx context.Context, groupName, userName string) error {
	return a.member(ctx, groupName, userName, func(tx *sql.Tx, g Group, u User) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM auth_members WHERE user_id = ? AND group_id = ?`, u.ID, g.ID)
		return err
	})
}

func (a *Auth) member(ctx context.Context, groupName, userName string, fn func(*sql.Tx, Group, User) error) error {
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		g, err := a.group(ctx, tx, groupName)
		if err != nil {
			return err
		}
		u, err := a.user(ctx, tx, userName)
		if err != nil {
			return err
		}
		f.users = []string{u.ID}
		return fn(tx, g, u)
	})
}

// DeleteGroup removes a group that has no users or policies left.
// Errors: NoSuchEntity, DeleteConflict.
func (a *Auth) DeleteGroup(ctx context.Context, name string) error {
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		g, err := a.group(ctx, tx, name)
		if err != nil {
			return err
		}
		for _, c := range []struct{ query, what string }{
			{`SELECT 1 FROM auth_members WHERE group_id = ?`, "must remove users from group first"},
			{`SELECT 1 FROM auth_inline WHERE owner_id = ?`, "must delete policies first"},
			{`SELECT 1 FROM auth_attached WHERE owner_id = ?`, "must detach all policies first"},
		} {
			there, err := exists(ctx, tx, c.query, g.ID)
			if err != nil {
				return err
			}
			if there {
				return fail(DeleteConflict, "Cannot delete entity, %s.", c.what)
			}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM auth_groups WHERE id = ?`, g.ID)
		return err
	})
}
