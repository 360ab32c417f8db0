package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/index"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// lane is a stream that this process appends to. Its fields are guarded by
// Store.mu; while busy is set only the committer changes file and sums, so it may
// read them without.
type lane struct {
	id      sluice.StreamID
	n       int64 // the stream's number in rows
	epoch   Epoch
	next    uint64          // position of the next fragment
	last    sluice.Sequence // of the newest durable fragment
	longest uint32          // as the index has it
	dropped bool

	busy      bool // the committer is writing to file
	file      *disk.File
	sums      index.Closing // of file, durable rows only
	spare     *disk.File    // made ahead, so that no commit waits for it
	preparing bool          // it is to be made
	making    bool          // it is being made
}

// pending is a record in the queue.
type pending struct {
	rec    Record
	size   int64 // sealed
	epoch  Epoch
	since  time.Time
	ticket *Ticket
}

// Ticket is the promise to make a record durable.
type Ticket struct {
	done  chan struct{}
	entry Entry
	err   error
}

// Done is closed when the record is durable or will never be.
func (t *Ticket) Done() <-chan struct{} { return t.done }

// Err is nil when the record is durable: it survives a power cut from here on.
// Else ErrFenced, ErrFull, ErrVolume or ErrClosed is in the chain. To be called
// after Done.
func (t *Ticket) Err() error { return t.err }

// Entry is the durable fragment's. To be called after Done, when Err is nil.
func (t *Ticket) Entry() Entry { return t.entry }

// failed is why the record was not made durable; nil while that is not known.
func (t *Ticket) failed() error {
	select {
	case <-t.done:
		return t.err
	default:
		return nil
	}
}

func (t *Ticket) complete(e Entry, err error) {
	t.entry, t.err = e, err
	close(t.done)
}

// Append queues the record. It never blocks; what bounds the queue is the
// caller's own bound on what it holds in memory. Numbers of a stream must ascend.
func (s *Store) Append(e Epoch, r Record) *Ticket {
	p := &pending{rec: r, epoch: e, since: time.Now(), ticket: &Ticket{done: make(chan struct{})}}
	for _, b := range r.Sealed {
		p.size += int64(len(b))
	}
	s.mu.Lock()
	closed := s.closed
	news := false
	if !closed {
		s.queue = append(s.queue, p)
		s.queued += p.size
		// Those in between come along without the committer being woken.
		news = len(s.queue) == 1 || s.queued >= s.o.BatchBytes
	}
	s.mu.Unlock()
	if closed {
		p.ticket.complete(Entry{}, ErrClosed)
		return p.ticket
	}
	if news {
		s.nudge()
	}
	return p.ticket
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// commits is the committer: one batch after the other until the store is closed
// and the queue empty.
func (s *Store) commits() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, closed := s.gather(timer)
		if len(batch) > 0 {
			s.commit(batch)
			continue
		}
		if closed {
			s.farewell()
			return
		}
	}
}

// gather waits for a record, then for others to come along: until the oldest has
// waited for the window, or there is enough for a batch.
func (s *Store) gather(timer *time.Timer) (batch []*pending, closed bool) {
	for {
		s.mu.Lock()
		var wait time.Duration = -1
		if len(s.queue) > 0 {
			wait = s.o.Window - time.Since(s.queue[0].since)
		}
		if wait > 0 && s.queued < s.o.BatchBytes && !s.closed {
			s.mu.Unlock()
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-s.wake:
			}
			continue
		}
		if len(s.queue) == 0 {
			closed := s.closed
			s.mu.Unlock()
			if closed {
				return nil, true
			}
			<-s.wake
			continue
		}
		n, bytes := 0, int64(0)
		for n < len(s.queue) && (n == 0 || bytes+s.queue[n].size <= s.o.BatchBytes) {
			bytes += s.queue[n].size
			n++
		}
		batch = s.queue[:n:n]
		// A new slice, so that records which are done can be collected.
		s.queue = append([]*pending(nil), s.queue[n:]...)
		s.queued -= bytes
		s.mu.Unlock()
		return batch, false
	}
}

// part is a record of a batch on its way.
type part struct {
	*pending
	lane *lane
	// As the lane had them when it was claimed: a Take in between changes the
	// lane, and the index then fences this record.
	n        int64
	position uint64
	longest  uint32

	write  *disk.Write
	insert *index.Insert
	err    error
}

// commit makes a batch durable, or fails it record by record.
func (s *Store) commit(batch []*pending) {
	start := time.Now()
	parts := make([]*part, len(batch))
	for i, p := range batch {
		parts[i] = &part{pending: p}
	}
	s.awaitRoom(parts)
	lanes := s.enter(parts)
	s.chooseFiles(parts, lanes)

	writes := make([]*disk.Write, 0, len(parts))
	for _, p := range parts {
		if p.err != nil {
			continue
		}
		m := p.rec.Meta
		h := segment.Header{
			Stream: m.Stream, Number: m.Number, ProducerMs: m.ProducerMs, LengthMs: m.LengthMs,
			Bytes: m.Bytes, Tracks: m.Tracks, Header: m.Header, Position: p.position, Sealed: p.size, Sums: p.rec.Sums,
		}
		p.write.Header, p.write.Sealed, p.write.Frame = h, p.rec.Sealed, p.rec.Frame
		writes = append(writes, p.write)
	}
	s.volume.Commit(writes)
	wrote := time.Now()
	s.name(parts)
	s.exit(parts, lanes)

	told := Committed{Records: len(parts), Files: len(lanes), Waited: start.Sub(batch[0].since), Wrote: wrote.Sub(start), Indexed: time.Since(wrote)}
	for _, p := range parts {
		if p.err != nil {
			told.Failed++
			p.ticket.complete(Entry{}, p.err)
			continue
		}
		told.Bytes += p.size
		p.ticket.complete(entryOf(p.rec.Stream, p.insert.Row), nil)
	}
	if s.o.OnCommitted != nil {
		s.o.OnCommitted(told)
	}
}

// awaitRoom holds the batch back while the disk is below its low-water mark, and
// fails the records that have waited long enough. Holding them back keeps their
// memory from being granted again, which is how the cameras notice first.
func (s *Store) awaitRoom(parts []*part) {
	var bytes int64
	for _, p := range parts {
		bytes += segment.RecordSize(p.size)
	}
	for told := false; ; {
		room, mark, err := s.Room()
		if err == nil && room >= bytes {
			if told {
				s.o.Logger.Info("there is room on the disk again", "dir", s.o.Dir)
			}
			return
		}
		if err != nil {
			// Nothing is known: let the write tell.
			s.o.Logger.Warn("free space is not known", "dir", s.o.Dir, "error", err)
			return
		}
		s.mu.Lock()
		closed := s.closed
		s.mu.Unlock()
		oldest := time.Since(parts[0].since)
		if closed || oldest >= s.o.FullWait {
			s.o.Logger.Error("no room on the disk: fragments are refused", "dir", s.o.Dir, "low_water", mark, "missing", bytes-room)
			for _, p := range parts {
				p.err = fmt.Errorf("store: %s: %d bytes below the low-water mark of %d: %w", s.o.Dir, bytes-room, mark, ErrFull)
			}
			return
		}
		if !told {
			s.o.Logger.Warn("no room on the disk: fragments wait", "dir", s.o.Dir, "low_water", mark, "missing", bytes-room)
			told = true
		}
		select {
		case <-time.After(min(100*time.Millisecond, s.o.FullWait-oldest)):
		case <-s.ctx.Done():
		}
	}
}

// enter finds the records' lanes and claims them. Records of a stale epoch, out
// of order, or behind one that failed are refused here; the index has the last
// word.
func (s *Store) enter(parts []*part) []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lanes []*lane
	highest := make(map[*lane]sluice.Sequence)
	ahead := make(map[*lane]uint64)
	refused := make(map[*Ticket]error)
	for _, p := range parts {
		m := p.rec.Meta
		l := s.lanes[m.Stream]
		if p.err == nil {
			p.err = refusal(p, l, highest[l], refused)
		}
		if p.err != nil {
			refused[p.ticket] = p.err
			continue
		}
		highest[l] = m.Number.Sequence()
		if !l.busy {
			l.busy = true
			lanes = append(lanes, l)
		}
		p.lane, p.n, p.longest = l, l.n, l.longest
		p.position = l.next + ahead[l]
		ahead[l]++
	}
	return lanes
}

// refusal is why a record cannot be appended to its lane, behind what comes
// before it in its batch; nil: it can.
func refusal(p *part, l *lane, before sluice.Sequence, refused map[*Ticket]error) error {
	m := p.rec.Meta
	if t := p.rec.After; t != nil {
		// Batches follow each other, so what was appended before is decided, or is
		// in this one: refused, or ahead in the same lane (see name).
		err := t.failed()
		if err == nil {
			err = refused[t]
		}
		if err != nil {
			return fmt.Errorf("store: the fragment before it failed: %w", err)
		}
	}
	switch {
	case l == nil, l.dropped, l.epoch != p.epoch:
		return fmt.Errorf("store: stream %s, epoch %d: %w", m.Stream, p.epoch, ErrFenced)
	case m.Number.ServerTimestamp() != uint64(m.ServerMs):
		return fmt.Errorf("store: fragment %v has server timestamp %d beside the number's %d: %w", m.Number, m.ServerMs, m.Number.ServerTimestamp(), ErrVolume)
	case p.size == 0 || p.size > segment.MaxSealed:
		return fmt.Errorf("store: fragment %v has %d sealed bytes: %w", m.Number, p.size, ErrVolume)
	case m.Number.Sequence() <= max(l.last, before):
		return fmt.Errorf("store: fragment %v does not come after its stream's newest: %w", m.Number, ErrVolume)
	}
	return nil
}

// chooseFiles gives each record the file it goes to, leaving full ones.
func (s *Store) chooseFiles(parts []*part, lanes []*lane) {
	retention := make(map[*lane]time.Duration, len(lanes))
	for _, p := range parts {
		if p.err == nil {
			retention[p.lane] = p.rec.Retention
		}
	}
	var bare []*lane
	var leaving []index.Closing
	for _, l := range lanes {
		if l.file != nil && s.volume.Full(l.file, retention[l]/10) {
			leaving = append(leaving, s.leaveFile(l)...)
		}
		if l.file == nil {
			s.mu.Lock()
			l.file, l.spare = l.spare, nil
			s.mu.Unlock()
		}
		if l.file == nil {
			bare = append(bare, l)
		}
	}
	s.owe(leaving)
	failed := s.makeFiles(bare)
	for _, p := range parts {
		if p.err != nil {
			continue
		}
		if err := failed[p.lane]; err != nil {
			p.err = err
			continue
		}
		p.write = &disk.Write{File: p.lane.file}
	}
}

// makeFiles makes the files that no spare was ready for.
func (s *Store) makeFiles(bare []*lane) map[*lane]error {
	if len(bare) == 0 {
		return nil
	}
	failed := make(map[*lane]error)
	streams := make([]int64, len(bare))
	s.mu.Lock()
	for i, l := range bare {
		streams[i] = l.n
	}
	s.mu.Unlock()
	numbers, err := s.index.NewFiles(context.Background(), streams)
	for i, l := range bare {
		if err == nil {
			var f *disk.File
			f, err = s.volume.Create(disk.FileID{Stream: l.id, Number: numbers[i]})
			s.mu.Lock()
			l.file = f
			s.mu.Unlock()
		}
		if err != nil {
			failed[l] = s.notDurable(err)
			if numbers != nil {
				s.discard(disk.FileID{Stream: l.id, Number: numbers[i]})
				err = nil
			}
		}
	}
	return failed
}

// notDurable makes the error of a failed write one that callers know.
func (s *Store) notDurable(err error) error {
	if isFull(err) {
		return fmt.Errorf("store: %w: %w: %w", ErrVolume, ErrFull, err)
	}
	return fmt.Errorf("store: %w: %w", ErrVolume, err)
}

// leaveFile takes the file off its lane, which the caller has claimed. A file
// that no row names goes; any other gets its sums, to be told to the index.
func (s *Store) leaveFile(l *lane) []index.Closing {
	f, sums := l.file, l.sums
	s.mu.Lock()
	l.file, l.sums = nil, index.Closing{}
	s.mu.Unlock()
	s.volume.Leave(f)
	if sums.Fragments == 0 {
		s.discard(f.ID)
		return nil
	}
	sums.File, sums.Size = f.ID.Number, f.End
	return []index.Closing{sums}
}

// owe notes closings for the next transaction.
func (s *Store) owe(c []index.Closing) {
	if len(c) == 0 {
		return
	}
	s.mu.Lock()
	s.owed = append(s.owed, c...)
	s.mu.Unlock()
}

// name inserts the rows of what the volume made durable.
func (s *Store) name(parts []*part) {
	var inserts []*index.Insert
	longest := make(map[*lane]uint32)
	broken := make(map[*lane]error)
	opened := make(map[*disk.File]bool)
	for _, p := range parts {
		if p.err != nil {
			continue
		}
		if p.write.Err != nil {
			s.o.Logger.Error("a write failed; its file takes no more", "stream", p.rec.Stream, "fragment", p.rec.Number, "error", p.write.Err)
			p.err = s.notDurable(p.write.Err)
		} else if err := broken[p.lane]; err != nil {
			// Positions follow each other, and so do acknowledgements.
			p.err = fmt.Errorf("store: the fragment before it failed: %w", err)
		}
		if p.err != nil {
			if broken[p.lane] == nil {
				broken[p.lane] = p.err
			}
			continue
		}
		m, f := p.rec.Meta, p.write.File
		p.insert = &index.Insert{
			Stream: p.n, Epoch: uint64(p.epoch),
			Row: index.Row{
				Number: m.Number, ProducerMs: m.ProducerMs, LengthMs: m.LengthMs, Bytes: m.Bytes, Tracks: m.Tracks, Header: m.Header,
				Position: p.position, File: f.ID.Number, Offset: p.write.Offset, Sealed: p.size,
			},
			First: p.lane.sums.Fragments == 0 && !opened[f],
		}
		opened[f] = true
		if most := max(p.longest, longest[p.lane]); m.LengthMs > most {
			// Rounded up, so that it changes a few times in a stream's life.
			longest[p.lane] = roundUp(m.LengthMs)
			p.insert.Longer = longest[p.lane]
		}
		inserts = append(inserts, p.insert)
	}
	s.mu.Lock()
	owed := s.owed
	s.owed = nil
	s.mu.Unlock()
	if len(inserts) == 0 && len(owed) == 0 {
		return
	}
	err := s.index.Commit(context.Background(), inserts, owed)
	if err != nil {
		s.o.Logger.Error("the index did not take a batch", "error", err)
		s.owe(owed)
	}
	for _, p := range parts {
		switch {
		case p.err != nil:
		case err != nil:
			p.err = s.notDurable(err)
		case p.insert.Err != nil:
			p.err = fmt.Errorf("store: stream %s, epoch %d: %w", p.rec.Stream, p.epoch, p.insert.Err)
		}
	}
	s.rows.Add(int64(len(inserts)))
}

// roundUp is the next power of two, in ms, from a second up.
func roundUp(ms uint32) uint32 {
	n := uint32(1024)
	for n < ms && n < 1<<31 {
		n *= 2
	}
	return max(n, ms)
}

// exit brings the lanes up to date and lets go of them.
func (s *Store) exit(parts []*part, lanes []*lane) {
	var spares []*lane
	s.mu.Lock()
	for _, p := range parts {
		if p.err != nil {
			continue
		}
		l, m := p.lane, p.rec.Meta
		if l.epoch == p.epoch { // else a Take in between has read it all from the index
			l.next, l.last = p.insert.Row.Position+1, m.Number.Sequence()
			l.longest = max(l.longest, p.insert.Longer)
		}
		l.sums.Last, l.sums.Size = m.Number.Sequence(), l.file.End
		l.sums.Fragments++
		l.sums.Bytes += uint64(m.Bytes)
		l.sums.NewestMs = max(l.sums.NewestMs, m.ServerMs)
	}
	for _, l := range lanes {
		l.busy = false
		if l.file != nil && l.spare == nil && !l.preparing && !l.dropped && s.volume.NearlyFull(l.file) {
			l.preparing = true
			spares = append(spares, l)
		}
	}
	s.idle.Broadcast()
	s.mu.Unlock()
	for _, l := range spares {
		s.later(func() { s.prepare(l) })
	}
}

// prepare makes the file that follows the lane's.
func (s *Store) prepare(l *lane) {
	s.mu.Lock()
	dropped := l.dropped
	l.making = !dropped
	s.mu.Unlock()
	if dropped {
		return
	}
	f, err := s.newFile(l)
	s.mu.Lock()
	l.preparing, l.making = false, false
	s.idle.Broadcast()
	keep := err == nil && !l.dropped && !s.closed
	if keep {
		l.spare = f
	}
	s.mu.Unlock()
	if err != nil {
		s.o.Logger.Warn("a file was not made ahead", "stream", l.id, "error", err)
	}
	if f != nil && !keep {
		s.discard(f.ID)
	}
}

func (s *Store) newFile(l *lane) (*disk.File, error) {
	s.mu.Lock()
	n := l.n
	s.mu.Unlock()
	numbers, err := s.index.NewFiles(s.ctx, []int64{n})
	if err != nil {
		return nil, err
	}
	id := disk.FileID{Stream: l.id, Number: numbers[0]}
	f, err := s.volume.Create(id)
	if err == nil {
		err = s.volume.Ready(f)
	}
	if err != nil {
		s.discard(id)
		return nil, err
	}
	return f, nil
}

// farewell tells the index the sums of the files that are left.
func (s *Store) farewell() {
	s.mu.Lock()
	closing := s.owed
	s.owed = nil
	for _, l := range s.lanes {
		if l.file != nil && l.sums.Fragments > 0 {
			c := l.sums
			c.File, c.Size = l.file.ID.Number, l.file.End
			closing = append(closing, c)
		}
		l.file = nil
	}
	s.mu.Unlock()
	if len(closing) == 0 {
		return
	}
	if err := s.index.Commit(context.Background(), nil, closing); err != nil && !errors.Is(err, context.Canceled) {
		s.o.Logger.Error("closing files", "error", err)
	}
}
