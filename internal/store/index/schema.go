// Package index is the store's rows: which fragments are durable and where their
// records lie, which files there are, which process may append to a stream. A
// transaction here is what makes a fragment exist: bytes that no row names do not.
//
// The rows can be rebuilt from the files, with one exception that does not
// matter: epochs, which only ever grow with the clock.
//
// A row of a fragment is narrow (about 90 bytes with its two indexes), as there
// are millions; tables of fragments have no rowid, so that a page of a listing
// is neighbours on the disk.
package index

// steps are the migrations. They are only ever added to.
var steps = []string{`
CREATE TABLE store_meta (
	key   TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) WITHOUT ROWID;

-- One life of a stream. n stands for it in the other tables.
CREATE TABLE store_stream (
	n        INTEGER PRIMARY KEY,
	id       TEXT    NOT NULL UNIQUE,
	epoch    INTEGER NOT NULL DEFAULT 0, -- of the process that may append
	position INTEGER NOT NULL DEFAULT 0, -- of the next fragment, when no row tells it
	longest  INTEGER NOT NULL DEFAULT 0, -- no fragment is longer, ms
	gone     INTEGER NOT NULL DEFAULT 0  -- 1: being dropped, its rows do not count
);

CREATE TABLE store_file (
	n         INTEGER PRIMARY KEY,
	stream    INTEGER NOT NULL,
	state     INTEGER NOT NULL, -- 0 empty, 1 open, 2 closed, 3 being deleted
	first     INTEGER, -- sequence of its first record; NULL while empty
	last      INTEGER, -- sequence of its last record; from here on only when closed
	size      INTEGER NOT NULL DEFAULT 0, -- bytes on the disk
	fragments INTEGER NOT NULL DEFAULT 0,
	bytes     INTEGER NOT NULL DEFAULT 0, -- plain bytes of its fragments
	newest    INTEGER NOT NULL DEFAULT 9223372036854775807 -- latest server timestamp, ms
);
CREATE INDEX store_file_stream ON store_file (stream, newest);
CREATE INDEX store_file_newest ON store_file (newest);
CREATE INDEX store_file_state ON store_file (state) WHERE state <> 2;

CREATE TABLE store_fragment (
	stream   INTEGER NOT NULL,
	sequence INTEGER NOT NULL,
	low      INTEGER NOT NULL, -- the number's random bits
	server   INTEGER NOT NULL, -- ms
	producer INTEGER NOT NULL, -- ms
	length   INTEGER NOT NULL, -- ms
	bytes    INTEGER NOT NULL, -- plain size of the fragment's elements
	tracks   INTEGER NOT NULL,
	position INTEGER NOT NULL,
	file     INTEGER NOT NULL,
	block    INTEGER NOT NULL, -- where in the file the record begins, in blocks of 4096 bytes
	sealed   INTEGER NOT NULL, -- size of the sealed bytes
	PRIMARY KEY (stream, sequence)
) WITHOUT ROWID;
CREATE INDEX store_fragment_server ON store_fragment (stream, server);
CREATE INDEX store_fragment_producer ON store_fragment (stream, producer);
`, `
-- Tells the media headers of fragments apart; 0 in rows from before.
ALTER TABLE store_fragment ADD COLUMN header INTEGER NOT NULL DEFAULT 0;
`}

// File states.
const (
	FileEmpty    = 0 // made; no row names anything in it
	FileOpen     = 1 // rows name records in it; its sums are not known yet
	FileClosed   = 2 // takes no more
	FileDeleting = 3 // its rows are going, or gone; the file may be there
)
