package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// source is one kvssrc: it reads a stream frame by frame, as the frames arrive,
// and goes on behind the last frame after a broken connection.
type source struct {
	s      settings
	t      *teller
	client *kvsapi.Client
	stop   time.Time // zero: never

	mu     sync.Mutex
	begin  sluice.StartSelector // from start-at
	from   sluice.StartSelector
	seekTo time.Time // producer time in a stored range; zero: its beginning
	frames chan sourceFrame
	cancel context.CancelFunc
	done   sync.WaitGroup
	wait   context.Context // of next
	wake   context.CancelFunc
}

type sourceFrame struct {
	data               []byte
	pts, dts, duration int64
	flags              uint32
	track              int32  // 1 video, 2 audio
	tracks             uint32 // of the chunk: 1 video, 2 audio, 3 both
	caps               string
	codecData          []byte
	end                int // not flowOK: the last one
}

func newSource(s settings, t *teller) (*source, error) {
	ctx := context.Background()
	o, err := s.service()
	if err != nil {
		return nil, err
	}
	r := &source{s: s, t: t}
	if r.client, err = kvsapi.New(ctx, o); err != nil {
		return nil, err
	}
	now := time.Now()
	r.from = sluice.StartSelector{Type: sluice.SelectNow}
	switch s.StartAt {
	case "", "now":
	case "earliest":
		r.from.Type = sluice.SelectEarliest
	default:
		at, err := parseTime(s.StartAt, now)
		if err != nil {
			return nil, fmt.Errorf("start-at: %w", err)
		}
		r.startAt(at)
	}
	if s.StopAt != "" {
		if r.stop, err = parseTime(s.StopAt, now); err != nil {
			return nil, fmt.Errorf("stop-at: %w", err)
		}
	}
	r.begin = r.from
	r.wait, r.wake = context.WithCancel(ctx)
	return r, nil
}

func (r *source) startAt(at time.Time) {
	r.from = sluice.StartSelector{Type: sluice.SelectServerTimestamp, Time: at}
	if r.s.TimeOf == 1 {
		r.from.Type = sluice.SelectProducerTimestamp
	}
}

// parseTime reads a time as all verbs of Sluice do: RFC 3339, seconds since the
// epoch, now, or a duration before now such as -90s.
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "now" {
		return now, nil
	}
	if strings.HasPrefix(s, "-") {
		if d, err := time.ParseDuration(s); err == nil {
			return now.Add(d), nil
		}
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return time.UnixMicro(int64(f * 1e6)), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: want RFC 3339, seconds since the epoch, now, or -90s", s)
}

// start begins reading, on a goroutine of its own. The lock is held.
func (r *source) start() {
	ctx, cancel := context.WithCancel(context.Background())
	frames := make(chan sourceFrame, 64)
	r.frames, r.cancel = frames, cancel
	from, seekTo := r.from, r.seekTo
	r.done.Go(func() { r.run(ctx, frames, from, seekTo) })
}

// next waits for a frame.
func (r *source) next() (sourceFrame, int) {
	r.mu.Lock()
	if r.frames == nil {
		r.start()
	}
	frames, wait := r.frames, r.wait
	r.mu.Unlock()
	select {
	case f := <-frames:
		return f, f.end
	case <-wait.Done():
		return sourceFrame{}, flowFlushing
	}
}

func (r *source) unblock(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.wake()
	} else if r.wait.Err() != nil {
		r.wait, r.wake = context.WithCancel(context.Background())
	}
}

// stored reports whether the source is of a range that lies in the past: what is
// there now is all of it.
func (r *source) stored() bool { return !r.stop.IsZero() && r.stop.Before(time.Now()) }

// seek goes on at the fragment that holds a producer time.
func (r *source) seek(at time.Time) {
	stored := r.stored()
	r.restart(func() {
		r.seekTo = at
		if !stored {
			r.from = sluice.StartSelector{Type: sluice.SelectProducerTimestamp, Time: at}
		}
	})
}

// seekLive goes on with what arrives from now on.
func (r *source) seekLive() {
	r.restart(func() { r.from = sluice.StartSelector{Type: sluice.SelectNow} })
}

// rewind goes back to where start-at says.
func (r *source) rewind() {
	r.restart(func() { r.from, r.seekTo = r.begin, time.Time{} })
}

func (r *source) restart(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
	r.frames, r.cancel = nil, nil
	change()
}

func (r *source) close() {
	r.unblock(true)
	r.mu.Lock()
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	r.done.Wait()
	r.t.stop()
}

// place is how far reading has come.
type place struct {
	whole  sluice.FragmentNumber // the last fragment that was read to its end
	number sluice.FragmentNumber // the one being read
	start  time.Time             // its producer time
	frames int                   // of it that were handed on
	told   map[uint64]string     // caps of the tracks, as told
}

// enter begins the chunk of a fragment. A producer sends a fragment again that the
// service did not answer for, under a new number: it has the same start, and what
// was handed on of it counts.
func (p *place) enter(number sluice.FragmentNumber, start time.Time) {
	if number.Compare(p.number) <= 0 {
		return
	}
	if p.number.IsZero() || p.whole == p.number || !start.Equal(p.start) {
		p.frames = 0
	}
	p.number, p.start = number, start
}

// left ends the chunk of a fragment.
func (p *place) left(number sluice.FragmentNumber) {
	if number.Compare(p.whole) > 0 {
		p.whole = number
	}
}

// next is where to go on from.
func (p *place) next(from sluice.StartSelector) sluice.StartSelector {
	switch {
	case !p.whole.IsZero():
		return sluice.StartSelector{Type: sluice.SelectFragmentNumber, After: p.whole}
	case !p.number.IsZero():
		return sluice.StartSelector{Type: sluice.SelectProducerTimestamp, Time: p.start}
	}
	return from
}

const (
	firstDelay = 250 * time.Millisecond
	mostDelay  = 5 * time.Second
	// stopGrace is how long behind stop-at a fragment may arrive that belongs to
	// the range.
	stopGrace = 15 * time.Second
)

// run reads until the range ends, ctx does, or nothing more can be had.
func (r *source) run(ctx context.Context, out chan<- sourceFrame, from sluice.StartSelector, seekTo time.Time) {
	at := place{told: map[uint64]string{}}
	send := func(f sourceFrame) bool {
		select {
		case out <- f:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if r.stored() {
		switch err := r.readStored(ctx, from, seekTo, &at, send); {
		case ctx.Err() != nil:
		case err != nil:
			r.fail(err)
			send(sourceFrame{end: flowError})
		default:
			send(sourceFrame{end: flowEOS})
		}
		return
	}
	if !seekTo.IsZero() {
		from = r.fragmentAt(ctx, seekTo, from)
	}
	reading := ctx
	if !r.stop.IsZero() {
		var cancel context.CancelFunc
		reading, cancel = context.WithDeadline(ctx, r.stop.Add(stopGrace))
		defer cancel()
	}
	for delay := firstDelay; ctx.Err() == nil; {
		before := at
		ended, err := r.read(reading, from, &at, send)
		if ctx.Err() != nil {
			return
		}
		if ended || reading.Err() != nil {
			send(sourceFrame{end: flowEOS})
			return
		}
		if !parser.WorthRetrying(err) {
			r.fail(err)
			send(sourceFrame{end: flowError})
			return
		}
		from = at.next(from)
		if at.whole != before.whole || at.number != before.number || at.frames != before.frames {
			delay = firstDelay
		}
		s := newStructure("kvs-reconnect").add("wait", int64(delay))
		if err != nil {
			s.add("error", err.Error())
		}
		r.t.tell(eventMessage, s)
		select {
		case <-time.After(delay):
		case <-reading.Done():
		}
		delay = min(2*delay, mostDelay)
	}
}

// fragmentAt selects the fragment that holds a producer time, when one is stored
// that begins shortly before; else what comes behind it.
func (r *source) fragmentAt(ctx context.Context, at time.Time, otherwise sluice.StartSelector) sluice.StartSelector {
	in := kvsapi.ListFragmentsInput{
		Stream: sluice.StreamRef{Name: r.s.StreamName}, Clock: sluice.ProducerClock,
		From: at.Add(-30 * time.Second), To: at,
	}
	var start time.Time
	for f, err := range parser.List(ctx, r.client, in) {
		if err != nil {
			return otherwise
		}
		if f.ProducerTimestamp.After(start) && !f.ProducerTimestamp.After(at) {
			start = f.ProducerTimestamp
		}
	}
	if start.IsZero() {
		return otherwise
	}
	return sluice.StartSelector{Type: sluice.SelectProducerTimestamp, Time: start}
}

func (r *source) fail(err error) {
	r.t.tell(eventError, newStructure("kvs-error").add("status", uint32(0)).add("message", err.Error()).add("final", true))
}

// readStored reads a range that lies in the past, from the fragment that holds
// seekTo on.
func (r *source) readStored(ctx context.Context, from sluice.StartSelector, seekTo time.Time, at *place, send func(sourceFrame) bool) error {
	stream := sluice.StreamRef{Name: r.s.StreamName}
	in := kvsapi.ListFragmentsInput{Stream: stream, From: from.Time, To: r.stop}
	if from.Time.IsZero() {
		in.From = time.Unix(1, 0)
	}
	if r.s.TimeOf == 1 {
		in.Clock = sluice.ProducerClock
	}
	var list []kvsapi.FragmentInfo
	for f, err := range parser.List(ctx, r.client, in) {
		if err != nil {
			return err
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b kvsapi.FragmentInfo) int { return a.Number.Compare(b.Number) })
	first := 0
	for i, f := range list {
		if !f.ProducerTimestamp.After(seekTo) {
			first = i
		}
	}
	var numbers []sluice.FragmentNumber
	for _, f := range list[min(first, len(list)):] {
		numbers = append(numbers, f.Number)
	}
	for f, err := range parser.FetchList(ctx, r.client, stream, numbers, parser.FetchOptions{Parallel: 2}) {
		if err != nil {
			return err
		}
		if f.Err != nil { // expired since it was listed, or damaged
			r.t.tell(eventMessage, newStructure("kvs-missing").add("number", f.Number.String()).add("error", f.Err.Error()))
			continue
		}
		for _, frame := range f.Frames {
			if out, ok := r.frame(parser.Frame{Frame: frame, Info: trackOf(f.Chunk, frame.Track), Chunk: f.Chunk}, at); ok && !send(out) {
				return ctx.Err()
			}
		}
	}
	return nil
}

func trackOf(c *fragment.Chunk, number uint64) *sluice.Track {
	for i := range c.Tracks {
		if c.Tracks[i].Number == number {
			return &c.Tracks[i]
		}
	}
	return nil
}

// read reads one GetMedia answer. It reports whether the range has ended.
func (r *source) read(ctx context.Context, from sluice.StartSelector, at *place, send func(sourceFrame) bool) (ended bool, err error) {
	media, err := r.client.GetMedia(ctx, sluice.StreamRef{Name: r.s.StreamName}, from)
	if err != nil {
		return false, err
	}
	// The reader does not look at ctx while it waits for bytes.
	defer context.AfterFunc(ctx, func() { media.Close() })()
	defer media.Close()
	seen := 0 // frames of the chunk at hand, in this answer
	var number sluice.FragmentNumber
	for f, err := range parser.NewReader(media).Frames(ctx) {
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, err
		}
		c := f.Chunk
		if c.Err != nil {
			return false, c.Err
		}
		if c.Number != number {
			if !number.IsZero() {
				at.left(number)
			}
			number, seen = c.Number, 0
			at.enter(number, c.Producer)
			start := c.Server
			if r.s.TimeOf == 1 {
				start = c.Producer
			}
			if !r.stop.IsZero() && start.After(r.stop) {
				return true, nil
			}
		}
		seen++
		if number.Compare(at.number) < 0 || seen <= at.frames {
			continue // it was handed on before the connection broke
		}
		at.frames++
		if out, ok := r.frame(f, at); ok && !send(out) {
			return false, ctx.Err()
		}
	}
	return false, io.ErrUnexpectedEOF
}

// frame turns a frame into what the plugin pushes; not every track has a pad.
func (r *source) frame(f parser.Frame, at *place) (sourceFrame, bool) {
	caps, codecData := capsOf(f.Info)
	if caps == "" {
		return sourceFrame{}, false
	}
	out := sourceFrame{data: append([]byte(nil), f.Data...), track: 1, dts: -1, duration: -1}
	if f.Info.Type == sluice.TrackAudio {
		out.track = 2
	}
	for i := range f.Chunk.Tracks {
		if c, _ := capsOf(&f.Chunk.Tracks[i]); c != "" {
			out.tracks |= map[bool]uint32{false: 1, true: 2}[f.Chunk.Tracks[i].Type == sluice.TrackAudio]
		}
	}
	begin := time.Duration(f.Chunk.Timecode) * f.Chunk.Scale
	out.pts = f.Chunk.Producer.UnixNano() + int64(f.Timecode-begin)
	if f.Duration > 0 {
		out.duration = int64(f.Duration)
	}
	if f.Key || f.Info.Type == sluice.TrackAudio {
		out.flags |= frameKey
	}
	if f.Discardable {
		out.flags |= frameDiscardable
	}
	if told := caps + string(codecData); at.told[f.Track] != told {
		at.told[f.Track] = told
		out.caps, out.codecData = caps, codecData
	}
	return out, true
}

// capsOf are the caps of a track, without its codec data; "" when there are none.
func capsOf(t *sluice.Track) (caps string, codecData []byte) {
	if t == nil {
		return "", nil
	}
	size := ""
	if t.Video != nil && t.Video.Width > 0 {
		size = fmt.Sprintf(", width=(int)%d, height=(int)%d", t.Video.Width, t.Video.Height)
	}
	sound := func(rate, channels int) string {
		return fmt.Sprintf(", rate=(int)%d, channels=(int)%d", rate, channels)
	}
	rate, channels := 0, 0
	if t.Audio != nil {
		rate, channels = int(t.Audio.SamplingFrequency), int(max(t.Audio.Channels, 1))
	}
	cpd := t.CodecPrivate
	switch t.CodecID {
	case "V_MPEG4/ISO/AVC":
		if len(cpd) > 0 && cpd[0] == 1 {
			return "video/x-h264, stream-format=(string)avc, alignment=(string)au" + size, cpd
		}
		return "video/x-h264, stream-format=(string)byte-stream, alignment=(string)au" + size, nil
	case "V_MPEGH/ISO/HEVC":
		if len(cpd) > 22 && cpd[0] <= 1 {
			return "video/x-h265, stream-format=(string)hvc1, alignment=(string)au" + size, cpd
		}
		return "video/x-h265, stream-format=(string)byte-stream, alignment=(string)au" + size, nil
	case "V_VP8":
		return "video/x-vp8" + size, nil
	case "V_VP9":
		return "video/x-vp9" + size, nil
	case "V_MS/VFW/FOURCC":
		return "image/jpeg" + size, nil
	case "A_AAC", "A_AAC/MPEG4/LC":
		return "audio/mpeg, mpegversion=(int)4, stream-format=(string)raw" + sound(rate, channels), cpd
	case "A_OPUS":
		return "audio/x-opus, channel-mapping-family=(int)0" + sound(48000, channels), nil
	case "A_MS/ACM":
		if len(cpd) >= 8 {
			name := map[uint16]string{6: "audio/x-alaw", 7: "audio/x-mulaw"}[binary.LittleEndian.Uint16(cpd)]
			if name != "" {
				return name + sound(int(binary.LittleEndian.Uint32(cpd[4:])), int(binary.LittleEndian.Uint16(cpd[2:]))), nil
			}
		}
	}
	return "", nil
}
