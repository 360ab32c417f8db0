package auth

// schema is the tables, step by step; steps are only ever added.
//
// Names of users, groups and policies are unique without regard to case (IAM
// identifiers), so each has its folded form beside it. owner_id is the id of a
// user or a group: ids are random and never used again.
var schema = []string{`
CREATE TABLE auth_users (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	folded TEXT NOT NULL UNIQUE,
	path TEXT NOT NULL,
	created_ms BIGINT NOT NULL
);
CREATE TABLE auth_groups (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	folded TEXT NOT NULL UNIQUE,
	path TEXT NOT NULL,
	created_ms BIGINT NOT NULL
);
CREATE TABLE auth_members (
	user_id TEXT NOT NULL REFERENCES auth_users (id),
	group_id TEXT NOT NULL REFERENCES auth_groups (id),
	PRIMARY KEY (user_id, group_id)
);
CREATE INDEX auth_members_group ON auth_members (group_id);
CREATE TABLE auth_keys (
	id TEXT PRIMARY KEY,
	user_id TEXT,
	secret BLOB NOT NULL,
	active BOOLEAN NOT NULL,
	created_ms BIGINT NOT NULL,
	token_hash BLOB,
	expires_ms BIGINT,
	root_key TEXT
);
CREATE INDEX auth_keys_user ON auth_keys (user_id);
CREATE TABLE auth_inline (
	owner_id TEXT NOT NULL,
	name TEXT NOT NULL,
	document TEXT NOT NULL,
	PRIMARY KEY (owner_id, name)
);
CREATE TABLE auth_policies (
	arn TEXT PRIMARY KEY,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	folded TEXT NOT NULL UNIQUE,
	path TEXT NOT NULL,
	description TEXT NOT NULL,
	document TEXT NOT NULL,
	created_ms BIGINT NOT NULL
);
CREATE TABLE auth_attached (
	owner_id TEXT NOT NULL,
	arn TEXT NOT NULL,
	PRIMARY KEY (owner_id, arn)
);
CREATE INDEX auth_attached_policy ON auth_attached (arn);
`}
