package producer

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

// Stream sends the frames of one stream. Its methods may be called by several
// goroutines; the frames of one track come from one at a time.
type Stream struct {
	client *Client
	info   StreamInfo
	log    *slog.Logger
	events eventQueue
	upload *rate.Limiter // nil: not bounded

	held   atomic.Int64 // bytes of the content store
	ctx    context.Context
	cancel context.CancelCauseFunc
	kick   chan struct{} // wakes the control loop
	ended  chan struct{} // closed when the control loop has returned
	wg     sync.WaitGroup

	mu     sync.Mutex
	tracks []*track
	cutter *track // whose key frames begin fragments

	// Buffer: fragments in order; those at the front that are done are taken off.
	frags   []*fragment
	nextSeq int64
	open    *fragment // the newest, while frames are added to it
	need    int64     // bytes that the frame under way lacked

	header      *header
	headerStale bool // codec private data changed
	uuid        [16]byte

	trackWait   time.Duration // what late tracks have been seen to need; see patienceLocked
	lastEmitted time.Duration // DTS of the newest frame that went into a fragment
	haveEmitted bool

	// The frontier that the next fragment must lie behind.
	lastStart, lastMax int64 // ticks of the newest fragment: first frame, highest
	haveLast           bool
	newestPTS          time.Duration

	epoch     time.Time // of PTS 0, relative timecodes only
	haveEpoch bool
	lastPut   time.Time
	skip      skipRun
	skipRest  bool // frames up to the next key frame belong to a fragment that is gone
	repair    repairRun

	persistent []sluice.Tag
	once       []sluice.Tag

	spool *spoolQueue

	// Sessions.
	active    *session   // that takes new fragments
	draining  []*session // that wait for their last acknowledgements
	sessions  int64      // ever
	ready     bool       // described or created
	arn       string
	retention time.Duration // what the stream has; NoRetention: none
	retryAt   time.Time
	backoff   backoff
	stopping  bool
	failed    error // for good
	stopped   chan struct{}

	pressure struct{ latency, buffer bool }
	m        counters
}

// Info is what the stream was made with, defaults filled in.
func (s *Stream) Info() StreamInfo { return s.info }

// Name is the stream's name.
func (s *Stream) Name() string { return s.info.Name }

func newStream(c *Client, info StreamInfo) (*Stream, error) {
	s := &Stream{
		client: c, info: info,
		log:  c.log.With("stream", info.Name),
		kick: make(chan struct{}, 1), ended: make(chan struct{}), stopped: make(chan struct{}),
		uuid: info.SegmentUUID, retention: info.Retention,
	}
	s.events.handle = info.OnEvent
	if s.uuid == [16]byte{} {
		s.uuid = randomUUID()
	}
	if info.MaxKbps > 0 {
		bytes := float64(info.MaxKbps) * 1000 / 8
		s.upload = rate.NewLimiter(rate.Limit(bytes), max(int(bytes/4), 4<<10))
	}
	for i := range info.Tracks {
		t, err := newTrack(i, info.Tracks[i], info.NALs)
		if err != nil {
			return nil, err
		}
		s.tracks = append(s.tracks, t)
		if s.cutter == nil && t.info.Type == sluice.TrackVideo {
			s.cutter = t
		}
	}
	if s.cutter == nil {
		s.cutter = s.tracks[0]
		s.info.ByDuration = true
	}
	if info.Timecodes == sluice.TimecodeRelative && !info.Start.IsZero() {
		s.epoch, s.haveEpoch = info.Start, true
	}
	s.m.created = time.Now()
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if info.Spool != nil {
		if err := s.openSpool(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func newTrack(i int, info sluice.Track, flags NALAdaptation) (*track, error) {
	t := &track{index: i, info: info, kind: codec.KindOf(&info), declared: codec.FramingLength4}
	if t.kind != codec.H264 && t.kind != codec.H265 {
		return t, nil
	}
	annexB := len(info.CodecPrivate) == 0 || codec.IsAnnexB(info.CodecPrivate)
	buildCPD := flags&AdaptAnnexBCPD != 0
	switch {
	case flags == AdaptAuto:
		if annexB {
			t.adapt = adaptToLength
		}
		buildCPD = annexB
	case flags&AdaptAnnexBFrames != 0:
		t.adapt = adaptToLength
	case flags&AdaptAVCCFrames != 0:
		t.adapt = adaptToAnnexB
		if p, err := codec.Parse(&info); err == nil && p.Framing != codec.FramingAnnexB {
			t.declared = p.Framing
		}
	}
	if buildCPD && len(info.CodecPrivate) > 0 && annexB {
		if err := t.learnSets(info.CodecPrivate); err != nil {
			return nil, invalid(StatusMKVAnnexBCPDMissing, "StreamInfo.Tracks[%d].CodecPrivate: %v", i, err)
		}
	}
	t.measure()
	return t, nil
}

// needsCodec reports whether frames have to wait until the codec private data is
// known.
func (t *track) needsCodec() bool { return t.adapt == adaptToLength && len(t.info.CodecPrivate) == 0 }

// learnSets builds the codec private data from parameter sets in Annex B.
func (t *track) learnSets(annexB []byte) error {
	vps, sps, pps := codec.ParameterSets(t.kind, annexB, codec.FramingAnnexB)
	var cpd []byte
	if t.kind == codec.H264 {
		c, err := codec.NewAVCConfig(sps, pps)
		if err != nil {
			return err
		}
		cpd = c.Append(nil)
	} else {
		c, err := codec.NewHEVCConfig(vps, sps, pps)
		if err != nil {
			return err
		}
		cpd = openArrays(c.Append(nil))
	}
	t.info.CodecPrivate = cpd
	t.info.Video = nil
	t.measure()
	return nil
}

// openArrays says in an hvcC record that more parameter sets may follow in the
// frames (array_completeness 0, ISO/IEC 14496-15 §8.3.3.1.2): they stay in them.
func openArrays(hvcC []byte) []byte {
	at := 23
	for range hvcC[22] {
		hvcC[at] &^= 0x80
		n := int(hvcC[at+1])<<8 | int(hvcC[at+2])
		at += 3
		for range n {
			at += 2 + int(hvcC[at])<<8 + int(hvcC[at+1])
		}
	}
	return hvcC
}

// measure takes the picture's size from the codec private data when the track
// does not say it.
func (t *track) measure() {
	if t.info.Video != nil || t.info.Type != sluice.TrackVideo || len(t.info.CodecPrivate) == 0 {
		return
	}
	if p, err := codec.Parse(&t.info); err == nil && p.Width > 0 {
		t.info.Video = &sluice.Video{Width: uint64(p.Width), Height: uint64(p.Height)}
	}
}

// SetCodecPrivate gives a track new codec private data from its next key frame
// on: a new session with a new header begins there, and no frame is lost. cpd is
// copied; with the adaptation flags for it, it may be in Annex B.
func (s *Stream) SetCodecPrivate(trackNumber uint64, cpd []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.track(trackNumber)
	if t == nil {
		return invalid(StatusMKVTrackInfoNotFound, "SetCodecPrivate: track %d is not one of the stream", trackNumber)
	}
	if len(cpd) > MaxCodecPrivateLen {
		return invalid(StatusMKVInvalidCodecPrivateLength, "SetCodecPrivate: %d bytes, at most %d", len(cpd), MaxCodecPrivateLen)
	}
	if string(cpd) == string(t.info.CodecPrivate) {
		return nil
	}
	if t.adapt == adaptToLength && codec.IsAnnexB(cpd) {
		if err := t.learnSets(cpd); err != nil {
			return invalid(StatusMKVAnnexBCPDMissing, "SetCodecPrivate: %v", err)
		}
	} else {
		t.info.CodecPrivate = append([]byte(nil), cpd...)
		t.info.Video = nil
		t.measure()
	}
	s.headerStale = true
	return nil
}

// track finds a track by its number; 0 is the first. It returns nil when there
// is none.
func (s *Stream) track(number uint64) *track {
	if number == 0 {
		return s.tracks[0]
	}
	for _, t := range s.tracks {
		if t.info.Number == number {
			return t
		}
	}
	return nil
}

// timeOf is the producer time of a PTS.
func (s *Stream) timeOf(pts time.Duration) time.Time {
	if s.info.Timecodes == sluice.TimecodeAbsolute {
		return time.Unix(0, int64(pts)).UTC()
	}
	return s.epoch.Add(pts)
}

// timeIn is the producer time of a PTS of f: one from the spool has an epoch of its
// own.
func (s *Stream) timeIn(f *fragment, pts time.Duration) time.Time {
	if s.info.Timecodes == sluice.TimecodeAbsolute {
		return s.timeOf(pts)
	}
	return f.header.epoch.Add(pts).UTC()
}

func (s *Stream) rangeOf(f *fragment) Range {
	return Range{Start: s.timeIn(f, f.start), End: s.timeIn(f, f.end), Frames: f.frames, Bytes: int64(f.size), Fragments: 1}
}

func (s *Stream) wakeLoop() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// PutMetadata adds a name and a text to the fragment that is open, or to the
// next when none is: to the one that the last frame went into. A persistent item
// is added to every fragment from this one on, until another of its name replaces
// it or an empty value removes it. Frame.Tags is for metadata that has to stay
// with one frame.
func (s *Stream) PutMetadata(name, value string, persistent bool) error {
	tag := sluice.Tag{Name: name, Value: value}
	if err := checkTag(tag); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	if persistent {
		for i := range s.persistent {
			if s.persistent[i].Name == name {
				if value == "" {
					s.persistent = append(s.persistent[:i:i], s.persistent[i+1:]...)
				} else {
					s.persistent[i].Value = value
				}
				return nil
			}
		}
		if value == "" {
			return nil
		}
	}
	if len(s.persistent)+len(s.once) >= MaxMetadataItems {
		return invalid(StatusMaxFragmentMetadataCount, "PutMetadata: %d items wait for the fragment already", MaxMetadataItems)
	}
	if persistent {
		s.persistent = append(s.persistent, tag)
	} else {
		s.once = append(s.once, tag)
	}
	return nil
}

func checkTag(t sluice.Tag) error {
	if t.Name == "" || len(t.Name) > MaxMetadataNameLen {
		return invalid(StatusMKVInvalidTagNameLength, "metadata: a name of %d bytes, want 1 to %d", len(t.Name), MaxMetadataNameLen)
	}
	if len(t.Value) > MaxMetadataValueLen {
		if t.Name == MarkImagePrefix {
			return invalid(StatusInvalidImagePrefixLength, "metadata %s: a prefix of %d bytes, at most %d", t.Name, len(t.Value), MaxMetadataValueLen)
		}
		return invalid(StatusMKVInvalidTagValueLength, "metadata %q: a value of %d bytes, at most %d", t.Name, len(t.Value), MaxMetadataValueLen)
	}
	if len(t.Name) >= 3 && t.Name[:3] == "AWS" {
		return invalid(StatusInvalidMetadataName, "metadata %q: names that begin with AWS are the service's", t.Name)
	}
	return nil
}

// The service's own metadata, with which a producer marks a fragment (producer
// semantics of the official SDK, "Event metadata"): they go into Frame.Tags.
const (
	MarkImage        = "AWS_KINESISVIDEO_IMAGE_GENERATION" // make pictures of the fragment; no value
	MarkImagePrefix  = "AWS_KINESISVIDEO_IMAGE_PREFIX"     // of their names, at most 256 characters
	MarkNotification = "AWS_KINESISVIDEO_NOTIFICATION"     // notify of the fragment; no value
)

// isMarker reports whether a tag with a name of the service's is one that
// producers may set.
func isMarker(t sluice.Tag) bool {
	return (t.Name == MarkImage || t.Name == MarkImagePrefix || t.Name == MarkNotification) && len(t.Value) <= MaxMetadataValueLen
}

// usableLocked is the error that ended the stream, if one did.
func (s *Stream) usableLocked() error {
	switch {
	case s.failed != nil:
		return s.failed
	case s.stopping:
		return invalid(StatusStreamHasBeenStopped, "stream %s was stopped", s.info.Name)
	}
	return nil
}
