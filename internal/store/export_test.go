package store

import "context"

// CheckpointNow moves the index's log into its file, as the background does.
func (s *Store) CheckpointNow(ctx context.Context) error { return s.checkpoint(ctx) }
