package producer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
)

// Spool keeps media of a stream on disk: through an outage that is longer than
// memory lasts, and through a restart of the program. When the stream is opened
// again, what lies there is sent first, in order.
//
// Fragments are written in the background. Without Always a fragment goes to disk
// when it has waited for SpillAfter, when memory is half full, or when Stop gives
// up; a healthy stream writes nothing. With Always every fragment is written when
// it is complete, so that a program that is killed loses only the open one.
type Spool struct {
	// Dir holds a directory for each stream. It is made when it is not there.
	Dir string
	// MaxBytes on disk for the stream. 0: 1 GiB. When it is full the oldest
	// fragments make way and are reported.
	MaxBytes int64
	// MaxAge of media, by producer time. 0: not bounded.
	MaxAge time.Duration
	// Always writes every fragment.
	Always bool
	// SpillAfter that a complete fragment has not been acknowledged. 0: 5 s.
	SpillAfter time.Duration
}

const (
	maxSpoolPath    = 4096
	minSpoolBytes   = 1 << 20
	defaultSpool    = 1 << 30
	defaultSpill    = 5 * time.Second
	spoolFileSize   = 16 << 20
	spoolMagic      = "SLSPOOL1"
	maxSpoolRecord  = maxServiceFragment + 2<<20
	spoolWriteQueue = 64
)

func (sp *Spool) check() error {
	if sp.Dir == "" || len(sp.Dir) > maxSpoolPath {
		return invalid(StatusInvalidRootDirectoryLength, "Spool.Dir: %d characters, want 1 to %d", len(sp.Dir), maxSpoolPath)
	}
	if sp.MaxBytes != 0 && sp.MaxBytes < minSpoolBytes {
		return invalid(StatusInvalidArg, "Spool.MaxBytes %d: at least %d", sp.MaxBytes, minSpoolBytes)
	}
	if sp.MaxAge < 0 || sp.SpillAfter < 0 {
		return invalid(StatusInvalidArg, "Spool: a negative time")
	}
	return nil
}

// spoolQueue is the spool of an open stream: files of records, the oldest first.
// A file is removed when all fragments in it and before it are done.
type spoolQueue struct {
	dir    string
	unlock func()
	limit  int64
	always bool
	after  time.Duration

	work chan spoolWork // for the goroutine that done belongs to
	done chan struct{}

	// Guarded by the stream's mutex.
	files  []*spoolFile
	live   int64 // bytes of fragments that are not done
	nextID uint64
	failed error         // of the last write
	wrote  chan struct{} // closed after each write, and made anew

	// Of the writing goroutine.
	out      *spoolFile
	header   *header // that out holds
	unsynced bool    // out was written to since it was last synced
	scratch  []byte
}

// spoolWork is a fragment to be written, or the id of one that is done.
type spoolWork struct {
	f    *fragment
	done uint64
}

// spoolFile is one file of records.
type spoolFile struct {
	f     *os.File
	path  string
	size  int64 // of the writing goroutine while the file is not full
	alive int   // fragments that are not done
	full  bool

	mu     sync.RWMutex // reads against closing
	closed bool
}

func (sf *spoolFile) readAt(p []byte, off int64) (int, error) {
	sf.mu.RLock()
	defer sf.mu.RUnlock()
	if sf.closed {
		return 0, os.ErrClosed
	}
	return sf.f.ReadAt(p, off)
}

func (sf *spoolFile) close(remove bool) {
	sf.mu.Lock()
	defer sf.mu.Unlock()
	if sf.closed {
		return
	}
	sf.closed = true
	sf.f.Close()
	if remove {
		_ = os.Remove(sf.path) // what stays is sent again: a duplicate, not a loss
	}
}

// readAt reads blocks from offset off on.
func (l *spoolLocation) readAt(p []byte, off, size int) (int, error) {
	p = p[:min(len(p), size-off)]
	n, err := l.file.readAt(p, l.offset+int64(off))
	if errors.Is(err, io.EOF) && n == len(p) {
		err = nil
	}
	return n, err
}

// openSpool takes hold of the stream's directory and queues what lies in it. The
// directory's name is made of the stream's by a hash: stream names may be "..".
func (s *Stream) openSpool() error {
	sp := s.info.Spool
	sum := sha256.Sum256([]byte(s.info.Name))
	dir := filepath.Join(sp.Dir, hex.EncodeToString(sum[:12]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &Error{StatusDirectoryOpenFailed, fmt.Errorf("spool: %w", err)}
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return &Error{StatusOpenFileFailed, fmt.Errorf("spool of stream %s: %w", s.info.Name, err)}
	}
	q := &spoolQueue{
		dir: dir, unlock: unlock, limit: sp.MaxBytes, always: sp.Always, after: sp.SpillAfter,
		work: make(chan spoolWork, spoolWriteQueue), done: make(chan struct{}), wrote: make(chan struct{}), nextID: 1,
	}
	if q.limit == 0 {
		q.limit = defaultSpool
	}
	if q.after == 0 {
		q.after = defaultSpill
	}
	// For whoever looks at the directory; nothing reads it.
	_ = os.WriteFile(filepath.Join(dir, "stream"), []byte(s.info.Name+"\n"), 0o600)
	s.spool = q
	if err := s.loadSpool(); err != nil {
		unlock()
		return &Error{StatusReadFileFailed, fmt.Errorf("spool: %w", err)}
	}
	go s.writeSpool()
	return nil
}

// loadSpool reads the files, the oldest first, and queues their fragments. A file
// that breaks off counts up to there.
func (s *Stream) loadSpool() error {
	q := s.spool
	names, err := filepath.Glob(filepath.Join(q.dir, "*.spool"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	type key struct {
		file  int
		id    uint32
		epoch int64
	}
	headers := map[string]*header{}
	byID := map[key]*header{}
	found := map[uint64]*fragment{}
	var order []*fragment
	for i, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		sf := &spoolFile{f: f, path: name, full: true}
		q.files = append(q.files, sf)
		sf.size = scanSpool(f, func(r spoolRecord) {
			switch r.kind {
			case recordHeader:
				h, err := loadHeader(r.body)
				if err != nil {
					s.log.Warn("spool: header passed over", "error", err)
					return
				}
				text := fmt.Sprint(h.epoch.UnixNano(), string(h.bytes))
				if same, ok := headers[text]; ok {
					h = same
				}
				headers[text] = h
				byID[key{i, r.header, 0}] = h
			case recordFragment:
				h := byID[key{i, r.header, 0}]
				if h == nil {
					return
				}
				fr := r.fragment(h, sf)
				q.nextID = max(q.nextID, r.id+1)
				found[r.id] = fr
				order = append(order, fr)
			case recordDone:
				if fr := found[r.id]; fr != nil {
					fr.state = done
				}
			}
		})
	}
	n := 0
	for _, fr := range order {
		if fr.state == done {
			continue
		}
		s.nextSeq++
		fr.seq = s.nextSeq
		s.adoptLocked(fr)
		fr.disk.file.alive++
		q.live += int64(fr.disk.size)
		s.frags = append(s.frags, fr)
		n++
	}
	q.removeDone()
	if n > 0 {
		s.log.Info("fragments found in the spool", "fragments", n, "from", s.rangeOf(s.frags[0]).Start)
	}
	return nil
}

// adoptLocked moves a fragment that was spooled under the other kind of timecodes
// to those of this stream.
func (s *Stream) adoptLocked(f *fragment) {
	epoch := f.header.epoch.UnixNano()
	if s.info.Timecodes != sluice.TimecodeAbsolute || epoch == 0 {
		return
	}
	shift := time.Duration(epoch)
	f.ticks += floorDiv(epoch, int64(f.header.scale))
	f.start, f.end, f.maxPTS = f.start+shift, f.end+shift, f.maxPTS+shift
}

// loadHeader learns the tracks of a header from its bytes.
func loadHeader(body []byte) (*header, error) {
	r := fields{b: body}
	epoch := int64(r.u64())
	b := r.rest()
	d := mkv.NewDemuxer(mkv.Options{MaxCodecPrivate: MaxCodecPrivateLen, MaxElement: 4 << 20})
	d.Feed(b)
	for {
		if _, err := d.Next(); errors.Is(err, mkv.ErrMore) || errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if r.short || len(d.Tracks()) == 0 || d.Scale() <= 0 {
		return nil, errors.New("no tracks in it")
	}
	h := &header{scale: d.Scale(), bytes: bytes.Clone(b), epoch: time.Unix(0, epoch)}
	for _, t := range d.Tracks() {
		t.CodecPrivate = bytes.Clone(t.CodecPrivate)
		h.tracks = append(h.tracks, t)
	}
	return h, nil
}

// spoolLocked is told that f is complete.
func (s *Stream) spoolLocked(f *fragment) {
	if s.spool != nil && s.spool.always {
		s.spillLocked(f)
	}
}

// spillLocked hands f to the writer. It does nothing when f is there already, or
// when the writer is behind: the next look at the clock tries again.
func (s *Stream) spillLocked(f *fragment) bool {
	if f.spilling || f.disk.file != nil || !f.complete || f.state == done || !f.inMemory() {
		return false
	}
	select {
	case s.spool.work <- spoolWork{f: f}:
		f.spilling = true
		return true
	default:
		return false
	}
}

// spillOldLocked hands over what has waited long, and the oldest when memory runs
// short.
func (s *Stream) spillOldLocked(now time.Time) {
	q := s.spool
	if q == nil {
		return
	}
	short := s.client.store.inUse() > s.client.store.limit/2 || s.bufferedLocked() > s.info.BufferDuration/2
	for _, f := range s.frags {
		if f.complete && (short || now.Sub(f.finishedAt) > q.after) {
			s.spillLocked(f)
		}
	}
	s.boundSpoolLocked(now)
}

// boundSpoolLocked lets go of the oldest media on disk beyond what may be there.
func (s *Stream) boundSpoolLocked(now time.Time) {
	q := s.spool
	for _, f := range slices.Clone(s.frags) {
		if f.disk.file == nil || f.state == sending {
			continue
		}
		old := s.info.Spool.MaxAge > 0 && now.Sub(s.rangeOf(f).End) > s.info.Spool.MaxAge
		if !old && q.live <= q.limit {
			return
		}
		if f.state == sent {
			// Its acknowledgement may still come; if not, that is reported then.
			f.released = f.chunks == nil
			s.unspoolLocked(f)
			continue
		}
		s.loseLocked(f, DropSpool, nil)
	}
}

// unspoolLocked lets go of f on disk. Its file goes with the last fragment in it.
func (s *Stream) unspoolLocked(f *fragment) {
	if f.disk.file == nil {
		return
	}
	q := s.spool
	f.disk.file.alive--
	q.live -= int64(f.disk.size)
	if !q.removeDone() {
		// The file stays: what is done in it must not be sent again after a restart.
		select {
		case q.work <- spoolWork{done: f.spoolID}:
		default: // a duplicate then
		}
	}
	f.disk = spoolLocation{}
}

// removeDone removes files from the front that nothing in is wanted of. It reports
// whether it removed any.
func (q *spoolQueue) removeDone() bool {
	n := 0
	for n < len(q.files) && q.files[n].alive == 0 && q.files[n].full {
		q.files[n].close(true)
		n++
	}
	q.files = q.files[n:]
	return n > 0
}

// writeSpool writes what is handed over, until the queue is closed.
func (s *Stream) writeSpool() {
	q := s.spool
	defer close(q.done)
	for w := range q.work {
		err := s.writeRecord(w)
		s.mu.Lock()
		if err != nil && q.failed == nil {
			s.events.send(StreamError{Err: &Error{StatusWriteToFileFailed, fmt.Errorf("spool: %w", err)}})
			s.log.Error("spool not written; media is kept in memory only", "error", err)
		}
		q.failed = err
		if w.f != nil {
			w.f.spilling = false
		}
		close(q.wrote)
		q.wrote = make(chan struct{})
		s.mu.Unlock()
		// What is written outlives the process. For what outlives the machine the
		// disk is waited for when nothing else is: a slow card takes seconds, and
		// memory must not fill up meanwhile.
		if len(q.work) == 0 {
			s.syncSpool()
		}
	}
	s.syncSpool()
}

func (s *Stream) syncSpool() {
	q := s.spool
	if q.out == nil || !q.unsynced {
		return
	}
	q.unsynced = false
	if err := q.out.sync(); err != nil {
		s.events.send(StreamError{Err: &Error{StatusWriteToFileFailed, fmt.Errorf("spool: %w", err)}})
		s.log.Error("spool not synced", "error", err)
	}
}

// writeRecord writes a fragment, or that one is done. The bytes are copied under
// the lock and written without it.
func (s *Stream) writeRecord(w spoolWork) error {
	q, f := s.spool, w.f
	if f == nil {
		if q.out == nil {
			return nil // nothing was spooled in this life; after another, a duplicate
		}
		q.scratch = appendDone(q.scratch[:0], w.done)
		return q.append()
	}
	s.mu.Lock()
	if f.state == done || !f.inMemory() || f.disk.file != nil {
		s.mu.Unlock()
		return nil
	}
	q.scratch = q.scratch[:0]
	h := f.header
	s.mu.Unlock()
	if q.out == nil || q.out.size >= min(spoolFileSize, q.limit/8) {
		if err := q.roll(s); err != nil {
			return err
		}
	}
	if q.header != h {
		q.scratch = appendHeaderRecord(q.scratch, h)
	}
	s.mu.Lock()
	if f.state == done || !f.inMemory() {
		s.mu.Unlock()
		return nil
	}
	if f.spoolID == 0 {
		f.spoolID = q.nextID
		q.nextID++
	}
	var blocks int
	q.scratch, blocks = appendFragmentRecord(q.scratch, f)
	s.mu.Unlock()
	at := q.out.size
	record := len(q.scratch)
	if err := q.append(); err != nil {
		s.mu.Lock()
		q.out.full, q.out = true, nil // what was written of it may be half a record
		s.mu.Unlock()
		return err
	}
	q.header, q.unsynced = h, true
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.state == done {
		q.scratch = appendDone(q.scratch[:0], f.spoolID)
		return q.append()
	}
	q.live += int64(record)
	f.disk = spoolLocation{file: q.out, offset: at + int64(blocks), size: record}
	q.out.alive++
	return nil
}

func (sf *spoolFile) sync() error {
	sf.mu.RLock()
	defer sf.mu.RUnlock()
	if sf.closed {
		return nil
	}
	return sf.f.Sync()
}

// append writes scratch at the end of the file.
func (q *spoolQueue) append() error {
	n, err := q.out.f.WriteAt(q.scratch, q.out.size)
	if err != nil {
		return err
	}
	q.out.size += int64(n)
	return nil
}

// roll begins the next file.
func (q *spoolQueue) roll(s *Stream) error {
	s.syncSpool()
	s.mu.Lock()
	if q.out != nil {
		q.out.full = true
		q.removeDone()
		q.out = nil
	}
	id := q.nextID
	s.mu.Unlock()
	path := filepath.Join(q.dir, fmt.Sprintf("%020d.spool", id))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(spoolMagic), 0); err != nil {
		f.Close()
		return err
	}
	if err := syncDir(q.dir); err != nil {
		f.Close()
		return err
	}
	q.out, q.header = &spoolFile{f: f, path: path, size: int64(len(spoolMagic))}, nil
	s.mu.Lock()
	q.files = append(q.files, q.out)
	s.mu.Unlock()
	return nil
}

// spoolWaitLocked is closed when the writer has next written something, or nil
// when there is nothing that it could free memory of.
func (s *Stream) spoolWaitLocked() <-chan struct{} {
	if s.spool == nil || s.spool.failed != nil {
		return nil
	}
	spilling := false
	for _, f := range s.frags {
		s.spillLocked(f)
		spilling = spilling || f.spilling
	}
	if !spilling {
		return nil
	}
	return s.spool.wrote
}

// spoolRest writes what is left when the stream ends.
func (s *Stream) spoolRest() {
	q := s.spool
	if q == nil {
		return
	}
	for {
		s.mu.Lock()
		wait := s.spoolWaitLocked()
		s.mu.Unlock()
		if wait == nil {
			return
		}
		<-wait
	}
}

// closeSpool ends the writer and lets go of the directory.
func (s *Stream) closeSpool() {
	q := s.spool
	if q == nil {
		return
	}
	close(q.work)
	<-q.done
	for i, sf := range q.files {
		front := true
		for _, before := range q.files[:i+1] {
			front = front && before.alive == 0
		}
		sf.close(front)
	}
	q.unlock()
}
