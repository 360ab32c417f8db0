// Package store is the durable log of sealed records: append, find, read back,
// trim. It holds no keys and knows no codec; what a record's bytes mean is the
// business of whoever sealed it.
//
// A fragment exists when the transaction that inserts its index row has
// committed, and not before: bytes that no row names do not exist, so recovery
// after any crash is opening the database. One committer takes what waits,
// makes the bytes durable on the volume, inserts the rows, completes the
// tickets; per stream, tickets complete in the order of the appends.
//
//	store.go   types, Open, Close, Take        commit.go  the committer
//	read.go    finding and reading             sweep.go   trimming, dropping, caps
//	check.go   fsck    reindex.go    backup.go format.go
//
// Below it: store/segment is the format of files, store/disk the volume of
// files, store/index the rows, store/fsys the operating system's part.
// docs/durability.md says what is survived, and what is not.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/fsys"
	"github.com/sluicevideo/sluice/internal/store/index"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

var (
	// ErrNone says that there is no such fragment, or none any more.
	ErrNone = index.ErrNone
	// ErrFenced says that the stream was taken by another process, taken again by
	// this one, or dropped: nothing is appended under that epoch any more.
	ErrFenced = index.ErrFenced
	// ErrFull says that the disk is below its low-water mark. Reading goes on, and
	// appending too, by itself, when there is room again.
	ErrFull = errors.New("no room on the disk")
	// ErrVolume says that the fragment could not be made durable: a write, a sync
	// or the index failed. It is not retried.
	ErrVolume = errors.New("not made durable")
	// ErrCorrupt says that bytes read are not the ones written. The error is a
	// *CorruptError, which names the place.
	ErrCorrupt = errors.New("corrupt")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// CorruptError is where bytes are not what was written.
type CorruptError struct {
	File   string
	Offset int64 // of the record in the file
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt record in %s at %d: %v", e.File, e.Offset, e.Err)
}
func (e *CorruptError) Unwrap() error        { return e.Err }
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Epoch is the right to append to a stream, until somebody takes the stream
// again. A fragment's sequence is its epoch and a counter, so fragments of later
// epochs come later.
type Epoch uint64

// CounterBits is how many low bits of a sequence are the counter.
const CounterBits = 26

// Sequence is the one of the epoch's fragment with that counter. A stream whose
// counter reaches 1<<CounterBits must be taken again.
func (e Epoch) Sequence(counter uint64) sluice.Sequence {
	return sluice.Sequence(uint64(e)<<CounterBits | counter&(1<<CounterBits-1))
}

// Meta is what is known of a fragment beside its bytes.
type Meta struct {
	Stream     sluice.StreamID
	Number     sluice.FragmentNumber
	ProducerMs int64  // producer timestamp, ms since the epoch
	ServerMs   int64  // server timestamp; the same as the number's
	LengthMs   uint32 // last frame's timecode minus the first's
	Bytes      uint32 // plain size of the fragment's elements: FragmentSizeInBytes
	Tracks     uint32 // bit n-1 is track n
	Header     uint32 // equal for fragments with the same media header, so that a change is seen without opening them; 0: not known
}

// Record is a fragment to append. Sealed is one sealed blob in any number of
// pieces; the store owns them until the ticket is done.
type Record struct {
	Meta
	Sealed [][]byte
	// Frame may be the memory, made by NewFrame and FrameSize long, in which the
	// sealed bytes lie in one piece (InFrame). Then they are written from there
	// without being copied; the store writes what is around them. nil: they lie
	// anywhere.
	Frame []byte
	// Sums may be the checksums of what lies in Frame (Summer), made by who had it
	// in the processor's cache. nil: the store makes them.
	Sums []uint32
	// Retention bounds a file's age, so that expired media leaves the disk in
	// time: a file is left after a tenth of it. 0 bounds nothing.
	Retention time.Duration
	// After is the ticket of an earlier record of the same stream, without which
	// this one is not to be kept: when that failed, this fails with the same error.
	// A producer sends again all that follows a failure. nil: none.
	After *Ticket
}

// FrameSize is how much memory a record of that many sealed bytes takes, as a
// file holds it: with its header in front and whole blocks.
func FrameSize(sealed int64) int64 { return segment.RecordSize(sealed) }

// NewFrame makes memory for records of up to size bytes, aligned as a disk wants
// it. It may be used again when a record's ticket is done.
func NewFrame(size int) []byte { return fsys.Aligned(size) }

// InFrame is where in its frame a record's sealed bytes lie.
func InFrame(frame []byte, sealed int64) []byte {
	at := segment.HeaderSize(sealed)
	return frame[at : at+sealed : at+sealed]
}

// Summer makes the checksums of sealed bytes while they are sealed.
type Summer = segment.Summer

// NewSummer is for the sealed bytes of one record.
func NewSummer(sealed []byte) *Summer { return segment.NewSummer(sealed) }

// Location is where a record lies; opaque to callers.
type Location struct {
	File   uint64
	Offset int64
	Sealed int64 // size of the sealed bytes
}

// Entry is a durable fragment. Position counts the stream's durable fragments
// from 0 without gaps and over restarts; where expired fragments lie between
// others (clocks that ran backwards), they keep their positions.
type Entry struct {
	Meta
	Position uint64
	At       Location
}

// Server and Producer are the entry's times, in UTC.
func (e Entry) Server() time.Time   { return time.UnixMilli(e.ServerMs).UTC() }
func (e Entry) Producer() time.Time { return time.UnixMilli(e.ProducerMs).UTC() }

// Length is the fragment's length.
func (e Entry) Length() time.Duration { return time.Duration(e.LengthMs) * time.Millisecond }

func entryOf(id sluice.StreamID, r index.Row) Entry {
	return Entry{
		Meta: Meta{
			Stream: id, Number: r.Number, ProducerMs: r.ProducerMs, ServerMs: int64(r.Number.ServerTimestamp()),
			LengthMs: r.LengthMs, Bytes: r.Bytes, Tracks: r.Tracks, Header: r.Header,
		},
		Position: r.Position,
		At:       Location{File: r.File, Offset: r.Offset, Sealed: r.Sealed},
	}
}

// Options of Open. Dir and Index are all that is needed.
type Options struct {
	Dir   string // the media directory; made when it is not there
	Index *db.DB // index.db, best opened with ManualCheckpoint

	FS fsys.FS // nil: the machine's, uncached where possible

	Window      time.Duration // a commit waits this long for company; 0: 5 ms, below 0: not at all
	BatchBytes  int64         // and takes this many sealed bytes; 0: 64 MiB
	LowWater    int64         // bytes the disk keeps free; 0: 256 MiB or 1 % up to 4 GiB, below 0: none
	FullWait    time.Duration // an append waits this long for room before ErrFull; 0: 5 s, below 0: not at all
	MaxFile     int64         // a file is left at this size; 0: 64 MiB
	SideBySide  int           // see disk.Options
	Handles     int           // see disk.Options
	Checkpoint  time.Duration // how often the index's log is looked at; 0: 1 s, below 0: never
	Logger      *slog.Logger
	Now         func() time.Time
	OnCommitted func(Committed) // told after each batch, on the committer's goroutine: it must not block
}

// Committed is what one batch was, for metrics.
type Committed struct {
	Records, Files, Failed int
	Bytes                  int64
	Waited                 time.Duration // of the batch's first record, before its commit began
	Wrote, Indexed         time.Duration
}

// Store is the log of all streams. All methods may be called side by side.
type Store struct {
	o      Options
	index  *index.Index
	volume *disk.Volume

	mu      sync.Mutex // guards what follows; never held over I/O
	lanes   map[sluice.StreamID]*lane
	numbers map[sluice.StreamID]int64 // streams' numbers in rows, for reading
	queue   []*pending
	queued  int64           // bytes in queue
	owed    []index.Closing // to be told to the index with the next commit
	jobs    []func()        // work off the commit path
	closed  bool
	idle    *sync.Cond // a lane is not busy any more

	wake chan struct{}      // a record waits, or closed; one token
	job  chan struct{}      // a job waits; one token
	stop context.CancelFunc // ends jobs and checkpoints
	ctx  context.Context
	wg   sync.WaitGroup
	rows atomic.Int64 // inserted since the index's log was last looked at
}

// Open opens the store. What an earlier process left half done is finished in
// the background; nothing about opening depends on how much is stored.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = fsys.OS{}
	}
	if o.Window == 0 {
		o.Window = 5 * time.Millisecond
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = 64 << 20
	}
	if o.FullWait == 0 {
		o.FullWait = 5 * time.Second
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	x, err := index.Open(ctx, o.Index)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	v, err := disk.Open(disk.Options{
		Dir: o.Dir, FS: o.FS, MaxFile: o.MaxFile, SideBySide: o.SideBySide, Handles: o.Handles, Logger: o.Logger, Now: o.Now,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), x.Close())
	}
	s := &Store{
		o: o, index: x, volume: v,
		lanes: make(map[sluice.StreamID]*lane), numbers: make(map[sluice.StreamID]int64),
		wake: make(chan struct{}, 1), job: make(chan struct{}, 1),
	}
	s.idle = sync.NewCond(&s.mu)
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	left, err := x.Unfinished(ctx)
	if err == nil {
		err = s.generation(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), v.Close(), x.Close())
	}
	s.wg.Go(s.commits)
	s.wg.Go(s.work)
	if o.Checkpoint > 0 {
		s.wg.Go(s.checkpoints)
	}
	if len(left) > 0 {
		s.later(func() { s.finish(left) })
	}
	return s, nil
}

// Close commits what was appended, completes its tickets, and lets go of
// everything but the database, which is the caller's. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.nudge()
	s.stop()
	s.wg.Wait()
	return errors.Join(s.volume.Close(), s.index.Close())
}

// Dir is the media directory.
func (s *Store) Dir() string { return s.o.Dir }

// Last is how far a stream has come when it is taken.
type Last struct {
	Entry        // the newest durable fragment; Number is zero when there is none
	Next  uint64 // position of the next one
}

// Take makes this process, from here on and until the next Take by anybody, the
// only one that appends to the stream. The epoch is above all before it and at
// least the Unix time in seconds.
func (s *Store) Take(ctx context.Context, id sluice.StreamID) (Epoch, Last, error) {
	if !segment.ValidStream(id) {
		return 0, Last{}, fmt.Errorf("store: stream id %q is not 32 hex digits", id)
	}
	t, err := s.index.Take(ctx, id, uint64(max(0, s.o.Now().Unix())))
	if err != nil {
		return 0, Last{}, fmt.Errorf("store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, Last{}, ErrClosed
	}
	l := s.lanes[id]
	if l == nil {
		l = &lane{id: id}
		s.lanes[id] = l
	}
	if Epoch(t.Epoch) > l.epoch { // a slower Take of ours does not undo a later one
		l.epoch = Epoch(t.Epoch)
	}
	// The committer may be about to commit more of the epoch before; those rows
	// are fenced by the index, so what it says stands.
	l.n, l.next, l.longest, l.last = t.N, t.Next, t.Longest, t.Last.Number.Sequence()
	s.numbers[id] = t.N
	last := Last{Next: t.Next}
	if !t.Last.Number.IsZero() {
		last.Entry = entryOf(id, t.Last)
	}
	return Epoch(t.Epoch), last, nil
}

// Forget says that the process has closed the stream: its file is left. Records
// queued before are still committed.
func (s *Store) Forget(id sluice.StreamID) {
	s.mu.Lock()
	l := s.lanes[id]
	s.mu.Unlock()
	if l == nil {
		return
	}
	s.later(func() {
		if err := s.leave(l, func(*lane) bool { return true }); err != nil {
			s.o.Logger.Error("closing a stream's file", "stream", id, "error", err)
		}
	})
}

// Room is how many bytes may be appended before the low-water mark, and the mark.
// Where the system can't say what is free, room is as large as can be.
func (s *Store) Room() (room, lowWater int64, err error) {
	free, total, err := s.volume.Space()
	if errors.Is(err, fsys.ErrUnsupported) {
		return 1<<63 - 1, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("store: %w", err)
	}
	lowWater = s.o.LowWater
	switch {
	case lowWater < 0:
		lowWater = 0
	case lowWater == 0:
		lowWater = min(max(256<<20, min(total/100, 4<<30)), total/4)
	}
	return free - lowWater, lowWater, nil
}

// Blob is the sealed bytes of a fragment; Close it after use. Each byte that it
// gives out was checked; a mismatch is a *CorruptError.
type Blob struct {
	rec  *disk.Record
	file string
	at   int64
}

var _ io.ReaderAt = (*Blob)(nil)

// Size is the length of the sealed bytes.
func (b *Blob) Size() int64 { return b.rec.Sealed }

// ReadAt reads as io.ReaderAt says.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.rec.ReadAt(p, off)
	if err != nil && errors.Is(err, segment.ErrFormat) {
		err = &CorruptError{File: b.file, Offset: b.at, Err: err}
	}
	return n, err
}

// Corrupt makes an error of what a caller found to be wrong with the bytes, such
// as a chunk that does not open, naming the place.
func (b *Blob) Corrupt(err error) error {
	return &CorruptError{File: b.file, Offset: b.at, Err: err}
}

// Close lets go of the file. It may be called twice.
func (b *Blob) Close() error { return b.rec.Close() }
