package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/seal"
	"github.com/sluicevideo/sluice/internal/store"
)

// The plain text of a record, in the order in which a reader needs it:
//
//	offset size
//	0      1     version of this layout, 1
//	1      3     zero
//	4      4     L, length of the leading bytes
//	8      4     X, length of the frame index
//	12     4     E, length of the elements
//	16     8     length of a tick of the media (TimestampScale), ns
//	24     L     leading bytes: what the chunk begins with, up to the first service tag
//	24+L   X     frame index, as package fragment writes it
//	...    E     elements: the Cluster and what followed it, verbatim
//
// Numbers are big-endian. Number, times and length of the fragment are not in
// it: they authenticate the sealed form (package seal) and stand in the record's
// header (package store/segment).
const (
	contentVersion = 1
	contentHead    = 24
)

// errContent says that a record opened and does not hold what a record holds.
var errContent = errors.New("record content is broken")

// seal makes the sealed form of a complete fragment. It runs without the
// stream's mutex: a complete fragment does not change. A fault of ours is an
// error of this fragment: its goroutine may have nobody above it to catch one, and
// other cameras must not feel it.
func (f *frag) seal(ctx context.Context) (out framed, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			out, err = framed{}, fmt.Errorf("%w: fragment %s: sealing panicked: %v\n%s", sluice.InternalError, f.number, fault, debug.Stack())
		}
	}()
	key, err := f.o.streamKey(ctx)
	if err != nil {
		return framed{}, err
	}
	head := make([]byte, contentHead, contentHead+len(f.lead)+8*len(f.frames)+16)
	head = append(head, f.lead...)
	head, err = fragment.Index(f.frames).AppendBinary(head)
	if err != nil {
		return framed{}, fmt.Errorf("%w: fragment %s: %w", sluice.InternalError, f.number, err)
	}
	head[0] = contentVersion
	binary.BigEndian.PutUint32(head[4:], uint32(len(f.lead)))
	binary.BigEndian.PutUint32(head[8:], uint32(len(head)-contentHead-len(f.lead)))
	binary.BigEndian.PutUint32(head[12:], uint32(f.size))
	if f.header != nil {
		binary.BigEndian.PutUint64(head[16:], uint64(f.header.Scale))
	}
	plain := make([][]byte, 0, 1+len(f.runs))
	plain = append(append(plain, head), f.runs...)
	size := seal.SealedSize(int64(len(head)) + f.size)
	frame := f.o.r.sealed.get(int(store.FrameSize(size)))
	sealed := store.InFrame(frame, size)
	sums := store.NewSummer(sealed)
	err = seal.SealInto(sealed, &key, aad(f.meta()), sums.Add, plain...)
	if err != nil {
		return framed{}, fmt.Errorf("%w: fragment %s: %w", sluice.InternalError, f.number, err)
	}
	return framed{frame: frame, sealed: sealed, sums: sums.Sums()}, nil
}

// framed is a sealed record in memory from which a disk takes it as it is.
type framed struct {
	frame, sealed []byte
	sums          []uint32
}

func aad(m store.Meta) seal.AAD {
	return seal.AAD{Stream: m.Stream, Number: m.Number, ProducerMs: m.ProducerMs, ServerMs: m.ServerMs, LengthMs: m.LengthMs}
}

// record is an archived fragment of which at least the beginning was read. It
// holds no file open.
type record struct {
	entry store.Entry
	buf   []byte // plain text from the beginning of the record, up to readStep
	lead  []byte // alias buf or memory of their own, as index
	index []byte
	scale time.Duration
	size  int64 // of the elements
	at    int64 // where they begin
}

// readStep is how much of a record is opened at once: most records whole.
const readStep = 1 << 20

// plain calls fn with a reader of the plain text of the entry's record. What
// does not open, or is not what was written, gives store.ErrCorrupt.
func (o *opened) plain(ctx context.Context, e store.Entry, fn func(*seal.Reader) error) error {
	key, err := o.streamKey(ctx)
	if err != nil {
		return err
	}
	blob, err := o.r.o.Store.Open(ctx, e)
	if err != nil {
		return err
	}
	defer blob.Close()
	plain, err := seal.Open(&key, aad(e.Meta), blob, blob.Size())
	if err == nil {
		err = fn(plain)
	}
	return corrupt(blob, err)
}

// openRecord reads the beginning of an entry's record into buf, which is used
// again when it is large enough.
func (o *opened) openRecord(ctx context.Context, e store.Entry, buf []byte) (*record, error) {
	rec := &record{entry: e}
	err := o.plain(ctx, e, func(plain *seal.Reader) error {
		n := min(plain.Size(), readStep)
		if int64(cap(buf)) < n {
			buf = make([]byte, max(n, min(2*n, readStep)))
		}
		rec.buf = buf[:n]
		if err := readFull(plain, rec.buf, 0); err != nil {
			return err
		}
		return rec.parse(plain)
	})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// read gives the elements from off on, up to the end of a step, in buf when it
// is large enough.
func (o *opened) readRecord(ctx context.Context, r *record, off int64, buf []byte) ([]byte, error) {
	if b := r.ahead(); off < int64(len(b)) {
		return b[off:], nil
	}
	// Steps end where sealed chunks end, so that each is opened once.
	from := r.at + off
	n := min(readStep-from%readStep, r.at+r.size-from)
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	err := o.plain(ctx, r.entry, func(plain *seal.Reader) error { return readFull(plain, buf, from) })
	return buf, err
}

// corrupt names the place of what does not open; other failures stay.
func corrupt(blob *store.Blob, err error) error {
	if errors.Is(err, seal.ErrOpen) || errors.Is(err, errContent) {
		return blob.Corrupt(err)
	}
	return err
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %d bytes at %d of the plain text are not there", errContent, len(p)-n, off)
	}
	return err
}

func (r *record) parse(plain *seal.Reader) error {
	if len(r.buf) < contentHead || r.buf[0] != contentVersion {
		return fmt.Errorf("%w: no head of version %d", errContent, contentVersion)
	}
	lead, index := int64(binary.BigEndian.Uint32(r.buf[4:])), int64(binary.BigEndian.Uint32(r.buf[8:]))
	r.size = int64(binary.BigEndian.Uint32(r.buf[12:]))
	r.scale = time.Duration(binary.BigEndian.Uint64(r.buf[16:]))
	r.at = contentHead + lead + index
	if r.at+r.size != plain.Size() || r.size != int64(r.entry.Bytes) {
		return fmt.Errorf("%w: lengths %d, %d and %d in %d bytes", errContent, lead, index, r.size, plain.Size())
	}
	head := r.buf
	if int64(len(head)) < r.at {
		head = make([]byte, r.at)
		if err := readFull(plain, head, 0); err != nil {
			return err
		}
	}
	r.lead, r.index = head[contentHead:contentHead+lead], head[contentHead+lead:r.at]
	return nil
}

// ahead is the elements that are in memory already.
func (r *record) ahead() []byte {
	if r.at >= int64(len(r.buf)) {
		return nil
	}
	return r.buf[r.at:]
}

// intern gives leading bytes that may be kept: those of the chunks of a session
// are equal, so they share memory.
func (o *opened) intern(lead []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !bytes.Equal(o.leading, lead) {
		o.leading = bytes.Clone(lead)
	}
	return o.leading
}
