package producer

import (
	"bytes"
	"context"
	"errors"
	"math"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/mkv"
)

// errNoRoom says that the content store has to give way first.
var errNoRoom = errors.New("no room in the content store")

// PutFrame takes a frame into the stream. It does not wait for the network: in a
// Realtime stream it returns at once and in the worst case pushes the oldest
// fragment out (with a Spool, once the disk has not kept up for 10 s); in an Offline
// stream it waits for room until ctx ends.
//
// Times that no fragment can hold are repaired and reported, not refused. A frame
// that cannot belong to any fragment (before the first key frame) is counted and
// reported as skipped; that is no error. Errors are those of the caller (an
// unknown track, no data), of a stream that has ended, and StatusStoreOutOfMemory
// for a frame that is larger than the store.
func (s *Stream) PutFrame(ctx context.Context, f Frame) error {
	err := s.putFrame(ctx, &f)
	if err != nil {
		s.mu.Lock()
		s.m.putFrameErrors++
		s.mu.Unlock()
	}
	return err
}

func (s *Stream) putFrame(ctx context.Context, f *Frame) error {
	if len(f.Data) == 0 {
		if f.EndOfFragment {
			return s.EndFragment()
		}
		return invalid(StatusMKVInvalidFrameData, "Frame.Data: is empty")
	}
	for i := range f.Tags {
		if err := checkTag(f.Tags[i]); err != nil && !isMarker(f.Tags[i]) {
			return err
		}
	}
	for waiting := true; ; {
		s.mu.Lock()
		err := s.usableLocked()
		if err == nil && waiting {
			err = s.acceptLocked(f)
			waiting = err != nil
		}
		if err == nil {
			err = s.drainLocked(time.Now(), false)
		}
		need := s.need
		s.mu.Unlock()
		if !errors.Is(err, errNoRoom) {
			return err
		}
		if err := s.client.makeRoom(ctx, s, need); err != nil {
			return err
		}
	}
}

// acceptLocked takes a frame in: straight into a fragment, or into its track's
// queue when there are other tracks.
func (s *Stream) acceptLocked(f *Frame) error {
	t := s.track(f.Track)
	if t == nil {
		return invalid(StatusMKVTrackInfoNotFound, "Frame.Track %d: is not one of the stream", f.Track)
	}
	if f.PTS < math.MinInt64/4 || f.PTS > math.MaxInt64/4*3 {
		return invalid(StatusMKVMaxFrameTimecode, "Frame.PTS %v: is out of range", f.PTS)
	}
	now := time.Now()
	if s.info.ClockTimes {
		f.PTS = s.clock(now)
		f.DTS, f.NoDTS = f.PTS, false
	}
	if !s.haveEpoch {
		s.epoch, s.haveEpoch = now.Add(-f.PTS), true
	}
	if len(s.tracks) == 1 {
		err := s.emitLocked(t, f, now)
		if err == nil {
			s.lastPut = now
		}
		return err
	}
	if !s.client.store.reserve(int64(len(f.Data))) {
		s.need = int64(len(f.Data))
		return errNoRoom
	}
	if f.NoDTS {
		// The order between tracks goes by DTS: the best guess is that of the track.
		f.DTS, f.NoDTS = f.PTS, false
		if t.pending.len() > 0 || t.started {
			f.DTS = max(f.DTS, t.newestDTS())
		}
	}
	s.held.Add(int64(len(f.Data)))
	t.pending.push(*f, now)
	if t.silent {
		s.cameBackLocked(t, f)
	}
	s.lastPut = now
	return nil
}

func (t *track) newestDTS() time.Duration {
	if n := t.pending.len(); n > 0 {
		return t.pending.ring[(t.pending.head+n-1)%len(t.pending.ring)].DTS
	}
	return t.lastDTS
}

// clock is the PTS of a frame that is stamped now.
func (s *Stream) clock(now time.Time) time.Duration {
	if s.info.Timecodes == sluice.TimecodeAbsolute {
		return time.Duration(now.UnixNano())
	}
	if !s.haveEpoch {
		return 0
	}
	return now.Sub(s.epoch)
}

// emitLocked appends a frame to the fragment it belongs to. On errNoRoom nothing
// has changed, and it may be called again.
func (s *Stream) emitLocked(t *track, f *Frame, now time.Time) error {
	data, err := s.adaptLocked(t, f)
	if err != nil {
		return err
	}
	pts, dts, jump, moved := t.repair(f)
	key := f.Key || s.cutter.info.Type != sluice.TrackVideo
	ticks := floorDiv(int64(pts), int64(s.info.TimecodeScale))

	cut, why := s.cutLocked(t, key, jump, pts, ticks, len(data))
	if why != 0 {
		s.skippedLocked(t, pts, f, len(data), why)
		return nil
	}
	n := blockHeaderSize + len(data)
	var o *fragment
	more := (n + chunkSize - 1) / chunkSize
	if !cut {
		o = s.open
		more = o.chunksFor(n)
	}
	if more > 0 {
		bytes := int64(more) * chunkSize
		if !s.client.store.reserve(bytes) {
			s.need = bytes
			return errNoRoom
		}
		s.held.Add(bytes)
	}
	if cut {
		if s.open != nil {
			s.closeLocked(now, false)
		}
		before := pts
		pts, moved = s.beginLocked(t, pts, jump, moved)
		ticks = floorDiv(int64(pts), int64(s.info.TimecodeScale))
		dts += pts - before
		o = s.open
	}
	for range more {
		o.chunks = append(o.chunks, s.client.store.take())
	}
	s.skip.flush(s)
	s.repair.add(s, t, moved)

	var head [blockHeaderSize]byte
	block := sluice.Frame{Track: t.info.Number, Key: s.keyFlag(t, f), Invisible: f.Invisible, Discardable: f.Discardable}
	o.append(mkv.AppendSimpleBlockHeader(head[:0], int16(ticks-o.ticks), &block, len(data)))
	o.append(data)
	s.countLocked(t, f, o, pts, dts, now)
	for _, tag := range f.Tags {
		if len(s.persistent)+len(s.once) >= MaxMetadataItems {
			s.events.send(StreamError{Err: invalid(StatusMaxFragmentMetadataCount, "Frame.Tags: the fragment has %d items already", MaxMetadataItems), Time: s.timeOf(pts)})
			break
		}
		s.once = append(s.once, tag)
	}
	if f.EndOfFragment {
		s.closeLocked(now, true)
		s.skip.reason = SkipNoKeyFrame
	}
	s.wakeSenderLocked()
	return nil
}

// keyFlag is that of the block. Sound beside pictures has none, as in the official
// producer.
func (s *Stream) keyFlag(t *track, f *Frame) bool {
	return f.Key && t.info.Type == sluice.TrackVideo || s.cutter.info.Type != sluice.TrackVideo
}

// countLocked notes a frame that was appended to o.
func (s *Stream) countLocked(t *track, f *Frame, o *fragment, pts, dts time.Duration, now time.Time) {
	if t.started && dts > t.lastDTS {
		t.step = dts - t.lastDTS
	}
	t.started, t.lastDTS, t.lastPTS = true, dts, pts
	d := f.Duration
	if d == 0 {
		d = min(t.step, time.Second)
	}
	if o.frames == 0 || pts < o.start {
		o.start = min(pts, time.Duration(o.ticks)*s.info.TimecodeScale)
		if o.frames == 0 {
			o.start = pts
		}
	}
	o.end = max(o.end, pts+d)
	o.maxPTS = max(o.maxPTS, pts)
	o.frames++
	o.tracks |= 1 << t.index
	s.lastMax = max(s.lastMax, floorDiv(int64(pts), int64(s.info.TimecodeScale)))
	s.newestPTS = max(s.newestPTS, pts)
	s.m.putFrame(t == s.cutter, pts, len(f.Data), now, !s.info.NoMetrics)
}

// wakeSenderLocked tells the session that there is something to send, or the
// control loop that a session is wanted.
func (s *Stream) wakeSenderLocked() {
	if s.active == nil {
		s.wakeLoop()
		return
	}
	s.active.wakeUp()
}

// adaptLocked turns the NAL units of a frame over and learns codec private data
// from it. The result aliases f.Data or the track's scratch buffer.
func (s *Stream) adaptLocked(t *track, f *Frame) ([]byte, error) {
	switch t.adapt {
	case adaptToLength:
		if !codec.IsAnnexB(f.Data) {
			return nil, invalid(StatusMKVInvalidAnnexBFrame, "Frame.Data of track %d: does not begin with a start code, and NAL adaptation is from Annex B", t.info.Number)
		}
		t.scratch = codec.AppendLengthPrefixed(t.scratch[:0], f.Data)
		if f.Key {
			s.learnFromKey(t, f.Data)
		}
		return t.scratch, nil
	case adaptToAnnexB:
		var err error
		if t.scratch, err = codec.AppendAnnexB(t.scratch[:0], f.Data, int(t.declared)); err != nil {
			return nil, invalid(StatusMKVInvalidAVCCFrame, "Frame.Data of track %d: %v", t.info.Number, err)
		}
		return t.scratch, nil
	}
	return f.Data, nil
}

// learnFromKey compares the parameter sets of a key frame in Annex B with those
// known, and builds the codec private data anew when they are others.
func (s *Stream) learnFromKey(t *track, data []byte) {
	b := t.seen[:0]
	for nal := range codec.AnnexB(data) {
		if codec.IsParameterSet(t.kind, nal) {
			b = append(append(b, 0, 0, 0, 1), nal...)
		}
	}
	t.seen = b
	if len(b) == 0 || bytes.Equal(b, t.sets) {
		return
	}
	old := t.info.CodecPrivate
	video := t.info.Video
	if err := t.learnSets(b); err != nil {
		t.info.CodecPrivate, t.info.Video = old, video
		s.log.Debug("parameter sets of a key frame passed over", "track", t.info.Number, "error", err)
		return
	}
	t.sets = append(t.sets[:0], b...)
	if !bytes.Equal(old, t.info.CodecPrivate) {
		s.headerStale = s.headerStale || old != nil
	}
}

// cutLocked decides whether a frame begins a fragment, or why it can be in none.
func (s *Stream) cutLocked(t *track, key, jump bool, pts time.Duration, ticks int64, size int) (cut bool, why SkipReason) {
	if t.needsCodec() {
		return false, SkipNoCodec
	}
	o := s.open
	if o == nil {
		if t == s.cutter && key || t != s.cutter && s.cutter.silent {
			return true, 0
		}
		if s.skipRest {
			return false, SkipFragment
		}
		return false, SkipNoKeyFrame
	}
	declared := o.header.declares(t.info.Number)
	rel := ticks - o.ticks
	long := pts - o.start
	switch {
	case jump, rel > math.MaxInt16, rel < math.MinInt16:
		return true, 0
	case t == s.cutter && key && (!s.info.ByDuration || long >= s.info.FragmentDuration || s.headerStale || !declared):
		return true, 0
	case long >= s.info.LongestFragment && (t == s.cutter || s.cutter.silent), o.size+size > maxServiceFragment-1<<20:
		return true, 0
	case !declared:
		return false, SkipTrackUnknown
	}
	return false, 0
}

// nudge is how far the first frame of a fragment is moved to lie behind the
// fragment before: more than the jitter of an encoder, less than what one hears.
const nudge = 50 * time.Millisecond

// beginLocked opens a fragment at pts and returns the PTS its first frame gets:
// the service wants it later than every frame before in the session.
func (s *Stream) beginLocked(t *track, pts time.Duration, jump bool, moved time.Duration) (time.Duration, time.Duration) {
	scale := int64(s.info.TimecodeScale)
	ticks := floorDiv(int64(pts), scale)
	if s.haveLast && !jump && ticks <= s.lastMax {
		next := time.Duration((s.lastMax + 1) * scale)
		switch {
		case next-pts <= max(nudge, s.info.TimecodeScale):
			moved = max(moved, next-pts)
			pts, ticks = next, s.lastMax+1
		case ticks <= s.lastStart:
			jump = true
		}
	}
	h := s.headerLocked(t)
	s.nextSeq++
	o := &fragment{seq: s.nextSeq, header: h, ticks: ticks, start: pts, end: pts, maxPTS: pts, jump: jump}
	s.frags = append(s.frags, o)
	s.open, s.skipRest = o, false
	s.lastStart, s.lastMax, s.haveLast = ticks, ticks, true
	if jump {
		s.newestPTS = pts
	}
	s.backlogEventLocked(o)
	return pts, moved
}

// headerLocked is the header for a fragment that t begins: that of the fragment
// before unless a track fell silent or came back, or codec private data changed.
func (s *Stream) headerLocked(first *track) *header {
	var set []sluice.Track
	for _, t := range s.tracks {
		if t == first || !t.silent && !t.needsCodec() {
			set = append(set, t.info)
		}
	}
	if s.header != nil && !s.headerStale && len(set) == len(s.header.tracks) {
		same := true
		for i := range set {
			same = same && set[i].Number == s.header.tracks[i].Number
		}
		if same {
			return s.header
		}
	}
	if s.header != nil {
		s.events.send(TracksChanged{Tracks: set})
	}
	s.header = newHeader(set, s.info.TimecodeScale, s.uuid, s.timeOf(0))
	s.headerStale = false
	return s.header
}

// closeLocked completes the open fragment: nothing is added to it any more.
// explicit ends it at once with END_OF_FRAGMENT.
func (s *Stream) closeLocked(now time.Time, explicit bool) {
	o := s.open
	s.open = nil
	for _, set := range [...][]sluice.Tag{s.persistent, s.once} {
		for _, t := range set {
			o.tail = mkv.AppendTags(o.tail, t)
		}
	}
	clear(s.once)
	s.once = s.once[:0]
	o.complete, o.explicit, o.finishedAt = true, explicit, now
	if d := o.end - o.start; d > 10*time.Second {
		s.events.send(FragmentTooLong{d})
	}
	if o.state == queued {
		s.undeclareLocked(o)
	}
	s.spoolLocked(o)
}

// undeclareLocked takes tracks without a frame out of the header of a fragment
// that is not on its way: the service refuses it otherwise (4011).
func (s *Stream) undeclareLocked(o *fragment) {
	for _, t := range o.header.tracks {
		if k := s.track(t.Number); o.tracks&(1<<k.index) == 0 {
			o.header = s.reducedLocked(o)
			return
		}
	}
}

// reducedLocked is a header with the tracks that o has frames of.
func (s *Stream) reducedLocked(o *fragment) *header {
	var set []sluice.Track
	for _, t := range o.header.tracks {
		if k := s.track(t.Number); o.tracks&(1<<k.index) != 0 {
			set = append(set, t)
		}
	}
	return newHeader(set, o.header.scale, s.uuid, o.header.epoch)
}

// EndFragment ends the open fragment at once, so that the service stores it
// without waiting for the next. The next frame taken is a key frame. Without an
// open fragment it does nothing.
func (s *Stream) EndFragment() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	now := time.Now()
	if err := s.drainLocked(now, true); err != nil {
		return err
	}
	if s.open != nil {
		s.closeLocked(now, true)
		s.wakeSenderLocked()
	}
	return nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
