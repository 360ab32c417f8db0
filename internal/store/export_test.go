package store

import (
	"context"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/index"
)

// CheckpointNow moves the index's log into its file, as the background does.
func (s *Store) CheckpointNow(ctx context.Context) error { return s.checkpoint(ctx) }

// InsertRows puts rows into the index that no file stands behind: fragments a
// second apart from start on, numbered from first.
func (s *Store) InsertRows(ctx context.Context, id sluice.StreamID, e Epoch, first, n int, start int64) error {
	stream, err := s.number(ctx, id)
	if err != nil {
		return err
	}
	rows := make([]*index.Insert, n)
	for i := range rows {
		c := uint64(first + i)
		server := start + int64(c)*1000
		rows[i] = &index.Insert{Stream: stream, Epoch: uint64(e), Row: index.Row{
			Number:     sluice.MakeFragmentNumber(e.Sequence(c), uint64(server), uint32(c*2654435761)),
			ProducerMs: server - 137, LengthMs: 960, Bytes: 250_000, Tracks: 1, Position: c, File: c / 256, Offset: int64(c%256) * 253_952, Sealed: 251_000,
		}, Longer: 1024}
	}
	return s.index.Commit(ctx, rows, nil)
}
