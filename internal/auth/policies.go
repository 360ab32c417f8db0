package auth

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/sluicevideo/sluice/internal/auth/policy"
	"github.com/sluicevideo/sluice/internal/db"
)

// Owner is whom a policy belongs to: a user or a group.
type Owner struct {
	Group bool
	Name  string
}

// OfUser and OfGroup make Owners.
func OfUser(name string) Owner  { return Owner{Name: name} }
func OfGroup(name string) Owner { return Owner{Group: true, Name: name} }

func (o Owner) kind() string {
	if o.Group {
		return "group"
	}
	return "user"
}

// find is the owner's id.
func (a *Auth) find(ctx context.Context, q query, o Owner) (id string, err error) {
	if o.Group {
		g, err := a.group(ctx, q, o.Name)
		return g.ID, err
	}
	u, err := a.user(ctx, q, o.Name)
	return u.ID, err
}

// changed says what a write to an owner's policies makes stale.
func (f *forget) changed(o Owner, id string) {
	if o.Group {
		f.shared = true
	} else {
		f.users = []string{id}
	}
}

func parseDocument(document string) error {
	if _, err := policy.Parse([]byte(document)); err != nil {
		return fail(MalformedPolicyDocument, "Syntax errors in policy: %v", err)
	}
	return nil
}

// PutPolicy sets an inline policy. Errors: NoSuchEntity, ValidationError,
// MalformedPolicyDocument with place and reason, LimitExceeded.
func (a *Auth) PutPolicy(ctx context.Context, o Owner, name, document string) error {
	if err := checkPolicyName(name); err != nil {
		return err
	}
	if err := parseDocument(document); err != nil {
		return err
	}
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		id, err := a.find(ctx, tx, o)
		if err != nil {
			return err
		}
		f.changed(o, id)
		rows, err := tx.QueryContext(ctx, `SELECT document FROM auth_inline WHERE owner_id = ? AND name <> ?`, id, name)
		others, err := collect(rows, err, func() (s string, err error) { return s, rows.Scan(&s) })
		if err != nil {
			return err
		}
		most, total := maxInlineOfUser, size(document)
		if o.Group {
			most = maxInlineOfGroup
		}
		for _, d := range others {
			total += size(d)
		}
		if total > most {
			return fail(LimitExceeded, "Maximum policy size of %d bytes exceeded for %s %s", most, o.kind(), o.Name)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO auth_inline (owner_id, name, document) VALUES (?, ?, ?)
			ON CONFLICT (owner_id, name) DO UPDATE SET document = excluded.document`, id, name, document)
		return err
	})
}

// Policy is the document of an inline policy, as it was put.
// Errors: NoSuchEntity.
func (a *Auth) Policy(ctx context.Context, o Owner, name string) (document string, err error) {
	id, err := a.find(ctx, a.db.View(), o)
	if err != nil {
		return "", err
	}
	err = a.db.View().QueryRowContext(ctx, `SELECT document FROM auth_inline WHERE owner_id = ? AND name = ?`, id, name).Scan(&document)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fail(NoSuchEntity, "The %s policy with name %s cannot be found.", o.kind(), name)
	}
	return document, err
}

// Policies are the names of an owner's inline policies. Errors: NoSuchEntity.
func (a *Auth) Policies(ctx context.Context, o Owner) ([]string, error) {
	id, err := a.find(ctx, a.db.View(), o)
	if err != nil {
		return nil, err
	}
	rows, err := a.db.View().QueryContext(ctx, `SELECT name FROM auth_inline WHERE owner_id = ? ORDER BY name`, id)
	return collect(rows, err, func() (s string, err error) { return s, rows.Scan(&s) })
}

// RemovePolicy deletes an inline policy. Errors: NoSuchEntity.
func (a *Auth) RemovePolicy(ctx context.Context, o Owner, name string) error {
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		id, err := a.find(ctx, tx, o)
		if err != nil {
			return err
		}
		f.changed(o, id)
		res, err := tx.ExecContext(ctx, `DELETE FROM auth_inline WHERE owner_id = ? AND name = ?`, id, name)
		return affected(res, err, "The %s policy with name %s cannot be found.", o.kind(), name)
	})
}

// ManagedPolicy is a policy that stands by itself and can be attached.
type ManagedPolicy struct {
	ARN         string
	ID          string // ANPA...
	Name        string
	Path        string
	Description string
	Document    string
	Created     time.Time
	Attachments int
	BuiltIn     bool // one of AWS's; it can't be deleted

	parsed *policy.Document
}

// CreateManaged makes a managed policy. path "" is "/". Errors:
// EntityAlreadyExists, ValidationError, MalformedPolicyDocument, LimitExceeded.
func (a *Auth) CreateManaged(ctx context.Context, name, path, description, document string) (ManagedPolicy, error) {
	if path == "" {
		path = "/"
	}
	if err := errors.Join(checkPolicyName(name), checkPath(path)); err != nil {
		return ManagedPolicy{}, err
	}
	if len(description) > 1000 {
		return ManagedPolicy{}, fail(ValidationError, "description: %d characters, must be at most 1000", len(description))
	}
	if err := parseDocument(document); err != nil {
		return ManagedPolicy{}, err
	}
	if n := size(document); n > maxManagedDocument {
		return ManagedPolicy{}, fail(LimitExceeded, "Cannot exceed quota for PolicySize: %d", maxManagedDocument)
	}
	p := ManagedPolicy{ARN: a.arn("policy", path, name), ID: newID("ANPA"), Name: name, Path: path, Description: description,
		Document: document, Created: a.now().UTC().Truncate(time.Second)}
	err := a.change(ctx, func(tx *sql.Tx, f *forget) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO auth_policies (arn, id, name, folded, path, description, document, created_ms)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, p.ARN, p.ID, p.Name, lower(p.Name), p.Path, p.Description, p.Document, p.Created.UnixMilli())
		if db.IsUnique(err) {
			return fail(EntityAlreadyExists, "A policy called %s already exists. Duplicate names are not allowed.", name)
		}
		return err
	})
	return p, err
}

const managedColumns = `arn, id, name, path, description, document, created_ms,
	(SELECT COUNT(*) FROM auth_attached t WHERE t.arn = auth_policies.arn)`

func scanManaged(row interface{ Scan(...any) error }) (p ManagedPolicy, err error) {
	var created int64
	err = row.Scan(&p.ARN, &p.ID, &p.Name, &p.Path, &p.Description, &p.Document, &created, &p.Attachments)
	p.Created = time.UnixMilli(created).UTC()
	return p, err
}

func checkPolicyARN(arn string) error {
	if len(arn) < 20 || len(arn) > 2048 || !strings.HasPrefix(arn, "arn:") {
		return fail(InvalidInput, "ARN %s is not valid.", arn[:min(len(arn), 128)])
	}
	return nil
}

func (a *Auth) managed(ctx context.Context, q query, arn string) (ManagedPolicy, error) {
	if err := checkPolicyARN(arn); err != nil {
		return ManagedPolicy{}, err
	}
	if b := a.builtin[arn]; b != nil {
		p := *b
		err := q.QueryRowContext(ctx, `SELECT COUNT(*) FROM auth_attached WHERE arn = ?`, arn).Scan(&p.Attachments)
		return p, err
	}
	p, err := scanManaged(q.QueryRowContext(ctx, `SELECT `+managedColumns+` FROM auth_policies WHERE arn = ?`, arn))
	if errors.Is(err, sql.ErrNoRows) {
		return p, fail(NoSuchEntity, "Policy %s does not exist or is not attachable.", arn)
	}
	return p, err
}

// Managed finds a managed policy by ARN. Errors: NoSuchEntity, InvalidInput.
func (a *Auth) Managed(ctx context.Context, arn string) (ManagedPolicy, error) {
	return a.managed(ctx, a.db.View(), arn)
}

// ListManaged lists managed policies, the built-in ones first, each kind by
// name.
func (a *Auth) ListManaged(ctx context.Context) ([]ManagedPolicy, error) {
	var out []ManagedPolicy
	for _, arn := range builtinARNs {
		p, err := a.Managed(ctx, arn)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	rows, err := a.db.View().QueryContext(ctx, `SELECT `+managedColumns+` FROM auth_policies ORDER BY folded`)
	own, err := collect(rows, err, func() (ManagedPolicy, error) { return scanManaged(rows) })
	return append(out, own...), err
}

// DeleteManaged removes a managed policy that is attached to nobody.
// Errors: NoSuchEntity, DeleteConflict (also for a built-in one).
func (a *Auth) DeleteManaged(ctx context.Context, arn string) error {
	if a.builtin[arn] != nil {
		return fail(DeleteConflict, "Policy %s is built in and can't be deleted.", arn)
	}
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		p, err := a.managed(ctx, tx, arn)
		if err != nil {
			return err
		}
		if p.Attachments > 0 {
			return fail(DeleteConflict, "Cannot delete a policy attached to entities.")
		}
		f.shared = true
		_, err = tx.ExecContext(ctx, `DELETE FROM auth_policies WHERE arn = ?`, arn)
		return err
	})
}

// Attach gives an owner a managed policy; having it already is no error.
// Errors: NoSuchEntity, InvalidInput, LimitExceeded (ten an owner).
func (a *Auth) Attach(ctx context.Context, o Owner, arn string) error {
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		id, err := a.find(ctx, tx, o)
		if err != nil {
			return err
		}
		if _, err := a.managed(ctx, tx, arn); err != nil {
			return err
		}
		f.changed(o, id)
		there, err := exists(ctx, tx, `SELECT 1 FROM auth_attached WHERE owner_id = ? AND arn = ?`, id, arn)
		if err != nil || there {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM auth_attached WHERE owner_id = ?`, id).Scan(&n); err != nil {
			return err
		}
		if n >= maxAttached {
			quota := "PoliciesPerUser"
			if o.Group {
				quota = "PoliciesPerGroup"
			}
			return fail(LimitExceeded, "Cannot exceed quota for %s: %d", quota, maxAttached)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO auth_attached (owner_id, arn) VALUES (?, ?)`, id, arn)
		return err
	})
}

// Detach takes a managed policy from an owner. Errors: NoSuchEntity.
func (a *Auth) Detach(ctx context.Context, o Owner, arn string) error {
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	return a.change(ctx, func(tx *sql.Tx, f *forget) error {
		id, err := a.find(ctx, tx, o)
		if err != nil {
			return err
		}
		f.changed(o, id)
		res, err := tx.ExecContext(ctx, `DELETE FROM auth_attached WHERE owner_id = ? AND arn = ?`, id, arn)
		return affected(res, err, "Policy %s was not found.", arn)
	})
}

// Attached are an owner's managed policies, by ARN. Errors: NoSuchEntity.
func (a *Auth) Attached(ctx context.Context, o Owner) ([]ManagedPolicy, error) {
	id, err := a.find(ctx, a.db.View(), o)
	if err != nil {
		return nil, err
	}
	rows, err := a.db.View().QueryContext(ctx, `SELECT arn FROM auth_attached WHERE owner_id = ? ORDER BY arn`, id)
	arns, err := collect(rows, err, func() (s string, err error) { return s, rows.Scan(&s) })
	if err != nil {
		return nil, err
	}
	var out []ManagedPolicy
	for _, arn := range arns {
		p, err := a.Managed(ctx, arn)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Documents are the policies that count for a user or a group, for
// simulations: for a user those of its groups too. Errors: NoSuchEntity.
func (a *Auth) Documents(ctx context.Context, o Owner) ([]*policy.Document, error) {
	id, err := a.find(ctx, a.db.View(), o)
	if err != nil {
		return nil, err
	}
	// A group's id has no members: the question is the same, its own policies.
	docs, _, err := a.documents(ctx, id)
	return docs, err
}

// Context adds to given the condition keys that this Auth knows of a caller.
func (a *Auth) Context(u User, given map[string][]string) map[string][]string {
	return a.withCaller(Identity{Account: a.options.Account, UserName: u.Name, UserID: u.ID, ARN: u.ARN}, given)
}
