package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/stream"
)

// put is one PutMedia session.
type put struct {
	s     *Server
	sess  *stream.Session // nil when it was refused
	head  head
	body  io.Reader
	conn  *http.ResponseController
	log   *slog.Logger
	pace  limits.Pacer
	acks  *acks
	began time.Time

	timer     sync.Mutex // guards idleTimer and over
	idleTimer *time.Timer
	over      bool
	silent    atomic.Bool // 30 s without a byte
	hopeless  atomic.Bool // a header, END_OF_FRAGMENT, no Cluster, and silence

	// Of the body's goroutine.
	block     []byte // what the last bytes were read into
	header    *fragment.Header
	first     bool // the next fragment is the session's first
	open      *stream.Open
	timecode  int64 // of the open fragment, as sent
	frames    int
	tracks    map[uint32]bool // seen in the open fragment
	earliest  time.Duration   // frames of the open fragment
	latest    time.Duration
	order     order
	fragments int
	bytes     int64

	clusters atomic.Bool // a Cluster has come
	endTag   atomic.Bool // END_OF_FRAGMENT came before any Cluster
}

// code is an AckErrorCode, or none.
type code sluice.AckErrorCode

func (c code) orNil() error {
	if c == 0 {
		return nil
	}
	return sluice.AckErrorCode(c)
}

func (c code) String() string { return sluice.AckErrorCode(c).String() }

// outcome is why a session ends.
type outcome struct {
	code     code // 0: without an ERROR
	timecode int64
	timed    bool
	number   sluice.FragmentNumber
	reason   error
}

// why is the outcome in a word, for counting.
func (o outcome) why() string {
	switch {
	case o.code != 0:
		return strconv.Itoa(int(o.code))
	case o.reason == nil:
		return "end"
	case errors.Is(o.reason, stream.ErrYield):
		return "limit"
	case errors.Is(o.reason, errSilent):
		return "silent"
	}
	return "broken"
}

var errSilent = errors.New("silent for too long")

func (o outcome) ack() *sluice.Ack {
	if o.code == 0 {
		return nil
	}
	return &sluice.Ack{Event: sluice.AckError, Code: sluice.AckErrorCode(o.code), Timecode: o.timecode, HasTimecode: o.timed, Number: o.number}
}

// serve runs the session to its end.
func (p *put) serve(ctx context.Context) outcome {
	var writer sync.WaitGroup
	interrupt := func() { p.conn.SetReadDeadline(past) }
	p.acks.note = p.sess.NoteAck
	writer.Go(func() { p.acks.run(interrupt) })
	// What ends the session from outside interrupts both goroutines, the writer
	// with some time for the last words.
	ended := make(chan struct{})
	stop := context.AfterFunc(p.sess.Context(), func() {
		defer close(ended)
		interrupt()
		p.conn.SetWriteDeadline(time.Now().Add(farewell))
	})
	p.timer.Lock()
	p.idleTimer = time.AfterFunc(idleEvery, p.watchSilence)
	p.timer.Unlock()

	end := p.guarded(ctx)

	p.timer.Lock()
	p.over = true
	p.idleTimer.Stop()
	p.timer.Unlock()

	if p.open != nil {
		p.open.Abort(end.cause())
		p.open = nil
		p.s.o.Events.FragmentAborted(int(end.code))
	}
	// Who is gone, or does not read, must not hold the session.
	p.conn.SetWriteDeadline(time.Now().Add(lastWords))
	p.acks.finish(end.ack())
	writer.Wait()
	if !stop() {
		<-ended
	}
	if failed, _ := p.acks.failure(); failed != nil {
		end = outcome{code: code(stream.AckCode(failed)), reason: failed}
	}
	if end.code != 0 && p.sess != nil {
		reason := ""
		if end.reason != nil {
			reason = end.reason.Error()
		}
		p.sess.NoteError(*end.ack(), reason)
	}
	return end
}

// guarded is read. A fault of ours ends the session that met it, with 5000, and
// leaves nothing of it behind.
func (p *put) guarded(ctx context.Context) (end outcome) {
	defer func() {
		if fault := recover(); fault != nil {
			p.log.Error("session panicked", "panic", fault, "stack", string(debug.Stack()))
			end = p.failed(sluice.InternalError, fmt.Errorf("panic: %v", fault))
		}
	}()
	return p.read(ctx)
}

// lastWords is how long fragments that are complete when a session fails may
// take to become durable and be acknowledged.
const lastWords = 30 * time.Second

func (o outcome) cause() error {
	if o.code != 0 {
		return sluice.AckErrorCode(o.code)
	}
	return sluice.StreamReadError
}

// watchSilence sends IDLE and ends a session that stays silent. Only silence
// counts that we listened to.
func (p *put) watchSilence() {
	p.timer.Lock()
	defer p.timer.Unlock()
	if p.over {
		return
	}
	silence := p.sess.Silence()
	switch {
	case silence >= idleEnd:
		p.silent.Store(true)
		p.conn.SetReadDeadline(past)
		return
	case silence >= idleEvery:
		if p.endTag.Load() && !p.clusters.Load() {
			// The native producer, after an error on its last fragment, sends a
			// header and END_OF_FRAGMENT and waits for the end.
			p.hopeless.Store(true)
			p.conn.SetReadDeadline(past)
			return
		}
		p.acks.add(idle)
	}
	p.idleTimer.Reset(idleEvery - silence%idleEvery)
}

const (
	// minRead is how much room a read gets at least; maxBlock how large the
	// blocks of a fast session become. They last for a sixteenth of a second, or
	// less: larger ones have left the processor's cache when they are sealed.
	// Blocks are never used again.
	minRead  = 4 << 10
	minBlock = 16 << 10
	maxBlock = 1 << 20
)

// faster reports whether a session that has brought so many bytes in that time
// should have blocks larger than size.
func faster(bytes int64, in time.Duration, size int) bool {
	return size < maxBlock && bytes > int64(8*size) && float64(bytes) > 16*float64(size)*in.Seconds()
}

// read reads the body until the session ends, and says why.
func (p *put) read(ctx context.Context) outcome {
	rules := p.s.o.Limits.Rules()
	most := p.s.o.Streams.MaxFragment()
	if rules.FragmentBytes > 0 {
		most = min(most, rules.FragmentBytes)
	}
	tags := rules.FragmentTags
	if tags <= 0 {
		tags = math.MaxInt
	}
	rd := fragment.NewReader(fragment.Options{MaxFragment: most, MaxTags: tags})
	p.first = true
	var block []byte
	size := minBlock
	for {
		if cap(block)-len(block) < minRead {
			if faster(p.bytes, time.Since(p.began), size) {
				size *= 2
			}
			block = make([]byte, 0, size)
		}
		p.sess.Listen()
		n, err := p.body.Read(block[len(block):cap(block)])
		p.sess.Heard()
		if n > 0 {
			fed := block[len(block) : len(block)+n : cap(block)]
			block = block[:len(block)+n]
			p.block = block
			p.bytes += int64(n)
			p.s.o.Events.MediaRead(n)
			if err := p.sess.Grant(ctx, n); err != nil {
				return p.interrupted(err)
			}
			if err := p.pace.WaitN(p.sess.Context(), n); err != nil {
				return p.interrupted(err)
			}
			if !p.clusters.Load() && !p.endTag.Load() && bytes.Contains(block, []byte(fragment.TagEndOfFragment)) {
				p.endTag.Store(true)
			}
			rd.Feed(fed)
			if end, over := p.take(ctx, rd, rules); over {
				return end
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			rd.Close()
			end, _ := p.take(ctx, rd, rules)
			return end
		default:
			return p.interrupted(err)
		}
	}
}

// interrupted says why a session whose body did not come to its end is over.
func (p *put) interrupted(err error) outcome {
	if cause := p.sess.Err(); cause != nil {
		return p.ended(cause)
	}
	failed, broken := p.acks.failure()
	switch {
	case failed != nil:
		return outcome{code: code(stream.AckCode(failed)), reason: failed}
	case p.silent.Load() && p.open != nil:
		return outcome{code: code(sluice.InvalidMKVData), reason: fmt.Errorf("%w, inside a fragment", errSilent)}
	case p.silent.Load():
		return outcome{reason: errSilent}
	case p.hopeless.Load():
		return outcome{reason: fmt.Errorf("%w, after an end of no fragment", errSilent)}
	case broken != nil:
		return outcome{reason: fmt.Errorf("acknowledgements: %w", broken)}
	case p.open != nil:
		return p.failed(sluice.StreamReadError, fmt.Errorf("the body broke off: %w", err))
	}
	return outcome{reason: fmt.Errorf("the body broke off: %w", err)}
}

// ended is the outcome of a session that was ended from outside.
func (p *put) ended(cause error) outcome {
	if errors.Is(cause, stream.ErrYield) {
		return outcome{reason: cause}
	}
	return p.failed(stream.AckCode(cause), cause)
}

// failed is the outcome of an error in the open fragment, or between fragments.
func (p *put) failed(c sluice.AckErrorCode, reason error) outcome {
	o := outcome{code: code(c), reason: reason}
	if p.open != nil {
		o.timecode, o.timed, o.number = p.timecode, true, p.open.Number()
	}
	return o
}

// take takes in what the reader has. over says that the session is.
func (p *put) take(ctx context.Context, rd *fragment.Reader, rules limits.Rules) (end outcome, over bool) {
	for {
		ev, err := rd.Next()
		switch {
		case errors.Is(err, fragment.ErrMore):
			return outcome{}, false
		case errors.Is(err, io.EOF):
			return outcome{}, true
		case err != nil:
			return p.failed(codeOf(err), err), true
		}
		switch ev.Kind {
		case fragment.HeaderComplete:
			p.header = ev.Header
			if most := rules.FragmentTracks; most > 0 && len(ev.Header.Tracks) > most {
				err = fail(sluice.MoreThanAllowedTracksFound, "%d tracks, at most %d", len(ev.Header.Tracks), most)
			}
		case fragment.Begin:
			p.clusters.Store(true)
			if end, over := p.begin(ctx, ev, rules); over {
				return end, true
			}
		case fragment.Elements:
			err = p.elements(ctx, ev, rules)
		case fragment.End:
			err = p.end(ctx)
		}
		if err != nil {
			if cause := p.sess.Err(); cause != nil {
				return p.ended(cause), true
			}
			return p.failed(stream.AckCode(err), err), true
		}
	}
}

// codeOf is the ErrorId of what a reader found wrong.
func codeOf(err error) sluice.AckErrorCode {
	switch {
	case errors.Is(err, fragment.ErrFragmentSize):
		return sluice.MaxFragmentSizeReached
	case errors.Is(err, fragment.ErrTagLimit):
		return sluice.FragmentMetadataLimitReached
	}
	return sluice.InvalidMKVData
}

func fail(c sluice.AckErrorCode, format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{c}, args...)...)
}

// begin takes in a Cluster whose timecode has been read. All that can be said of
// it by its timecode is said before it has a number.
func (p *put) begin(ctx context.Context, ev fragment.Event, rules limits.Rules) (end outcome, over bool) {
	refuse := func(c sluice.AckErrorCode, format string, args ...any) (outcome, bool) {
		return outcome{code: code(c), timecode: ev.Timecode, timed: true, reason: fmt.Errorf(format, args...)}, true
	}
	at, ok := ticks(ev.Timecode, p.header.Scale)
	switch {
	case !ok:
		return refuse(sluice.InvalidProducerTimestamp, "timecode %d of %v a tick is out of range", ev.Timecode, p.header.Scale)
	case time.Since(p.began) >= connectionAge:
		return refuse(sluice.MaxConnectionDurationReached, "the connection is older than %v", connectionAge)
	}
	if err := p.order.cluster(at, rules.FragmentOrder); err != nil {
		return refuse(sluice.FragmentTimecodeLesserThanBefore, "%w", err)
	}
	producer := time.Unix(0, 0).Add(at)
	if p.head.timecodes == sluice.TimecodeRelative {
		producer = p.head.start.Add(at)
	}
	if most := rules.ProducerAhead; most > 0 && producer.After(p.s.o.Now().Add(most)) {
		return refuse(sluice.InvalidProducerTimestamp, "producer timestamp %s is more than %v ahead", producer.UTC().Format(time.RFC3339), most)
	}
	p.acks.wait(p.sess.Context().Done())
	lead := p.header.Rest
	if p.first {
		lead, p.first = p.header.First, false
	}
	if len(ev.Lead) > 0 {
		lead = append(lead[:len(lead):len(lead)], ev.Lead...)
	}
	open, err := p.sess.Begin(ctx, stream.FragmentHeader{Lead: lead, Header: p.header, Timecode: ev.Timecode, Producer: producer})
	if err != nil {
		if errors.Is(err, stream.ErrYield) {
			return outcome{reason: err}, true
		}
		return refuse(stream.AckCode(err), "%w", err)
	}
	p.open, p.timecode = open, ev.Timecode
	p.s.o.Events.FragmentBegun()
	p.frames, p.tracks = 0, make(map[uint32]bool, len(p.header.Tracks))
	p.acks.add(sluice.Ack{Event: sluice.AckBuffering, Timecode: ev.Timecode, HasTimecode: true, Number: open.Number()})
	return outcome{}, false
}

// ticks is a timecode as time; false when that is out of range.
func ticks(timecode int64, scale time.Duration) (time.Duration, bool) {
	if timecode < 0 || scale <= 0 || timecode > math.MaxInt64/int64(scale) {
		return 0, false
	}
	return time.Duration(timecode) * scale, true
}

// elements takes in bytes of the open fragment.
func (p *put) elements(ctx context.Context, ev fragment.Event, rules limits.Rules) error {
	if p.open == nil {
		return fail(sluice.InternalError, "elements outside a fragment")
	}
	for i := range ev.Frames {
		f := &ev.Frames[i]
		if !p.known(f.Track) {
			return fail(sluice.TrackNumberMismatch, "a frame of track %d, which the header has not", f.Track)
		}
		if err := p.order.frame(f.Track, f.Timecode, rules.FragmentOrder); err != nil {
			return fail(sluice.FragmentTimecodeLesserThanBefore, "%w", err)
		}
		if p.frames == 0 {
			p.earliest, p.latest = f.Timecode, f.Timecode
		}
		p.earliest, p.latest = min(p.earliest, f.Timecode), max(p.latest, f.Timecode)
		if most := rules.FragmentDuration; most > 0 && p.latest-p.earliest > most {
			return fail(sluice.MaxFragmentDurationReached, "%v from the first frame to the last, at most %v", p.latest-p.earliest, most)
		}
		p.frames++
		p.tracks[f.Track] = true
	}
	return p.open.Append(ctx, within(p.block, ev.Bytes), ev.Frames)
}

// within gives part as a piece of block when it is one, so that what comes to lie
// behind it in the block can be joined to it: pieces in many runs would have to
// be gathered to be sealed.
func within(block, part []byte) []byte {
	if len(part) == 0 || len(block) == 0 {
		return part
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(block)))
	if at >= uintptr(len(block)) || uintptr(len(block))-at < uintptr(len(part)) {
		return part
	}
	return block[at : at+uintptr(len(part))]
}

func (p *put) known(track uint32) bool {
	for i := range p.header.Tracks {
		if p.header.Tracks[i].Number == uint64(track) {
			return true
		}
	}
	return false
}

// end takes in the end of the open fragment.
func (p *put) end(ctx context.Context) error {
	if p.open == nil {
		return fail(sluice.InternalError, "the end of no fragment")
	}
	for i := range p.header.Tracks {
		if n := p.header.Tracks[i].Number; !p.tracks[uint32(n)] {
			return fail(sluice.FramesMissingForTrack, "no frame of track %d", n)
		}
	}
	p.order.end()
	open := p.open
	p.open = nil
	p.fragments++
	frames, complete, told := p.frames, time.Now(), p.s.o.Events
	p.acks.expect(ticket{
		t: open.Commit(context.WithoutCancel(ctx)), timecode: p.timecode, number: open.Number(), durable: open.Durable(),
		done: func(err error) {
			if err != nil {
				told.FragmentAborted(int(stream.AckCode(err)))
			} else {
				told.FragmentDone(frames, time.Since(complete))
			}
		},
	})
	return nil
}
