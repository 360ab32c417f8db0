package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

const (
	// capsWait: the stream begins when all pads have told their caps, or so long
	// after the first frame.
	capsWait = 2 * time.Second
	// mostPending bounds what waits for that, in frames.
	mostPending = 600
)

// sink is one kvssink: a client of its own, so that elements share nothing.
type sink struct {
	s      settings
	tell   func(kind int, s *structure)
	client *producer.Client

	mu      sync.Mutex
	stream  *producer.Stream
	tracks  map[int]sluice.Track
	adts    map[int]bool // tracks whose packets have ADTS headers
	order   []int        // tracks of stream, in the order of their numbers
	pending []pendingFrame
	marks   []sluice.Tag // event tags for the fragment of the next picture
	first   time.Time    // when the first frame came
	wait    context.Context
	cancel  context.CancelFunc
	closed  bool
	metrics bool // the first key frame has been told of
	ended   sync.WaitGroup
}

type pendingFrame struct {
	track int
	f     producer.Frame
}

func newSink(s settings, tell func(int, *structure)) (*sink, error) {
	ctx := context.Background()
	if s.StreamingType == 1 {
		return nil, errors.New("streaming-type near-realtime is not supported, as in the official element: use realtime or offline")
	}
	service, err := s.service()
	if err != nil {
		return nil, err
	}
	k := &sink{s: s, tell: tell, tracks: map[int]sluice.Track{}, adts: map[int]bool{}}
	k.wait, k.cancel = context.WithCancel(ctx)
	k.client, err = producer.New(ctx, producer.Options{
		StorageSize: max(int64(s.StorageSize)<<20, producer.MinStorageSize),
		Service:     service,
		Logger:      slog.New(slog.DiscardHandler), // events go onto the bus
		OnEvent:     k.event,
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// trackCaps are the caps of a pad.
type trackCaps struct {
	Type     string `json:"type"`
	Caps     string `json:"caps"`
	Format   string `json:"stream-format"`
	Width    int    `json:"width"`
	Height   int    `json:"height"`
	Rate     int    `json:"rate"`
	Channels int    `json:"channels"`
}

func (c trackCaps) track(codecData []byte) (sluice.Track, error) {
	switch c.Caps {
	case "video/x-h264", "video/x-h265":
		var cpd []byte
		if c.Format != "byte-stream" {
			if len(codecData) == 0 {
				return sluice.Track{}, fmt.Errorf("%s with stream-format=%s has no codec_data: put a parser (h264parse, h265parse) in front", c.Caps, c.Format)
			}
			cpd = codecData
		}
		t := producer.H264(cpd)
		if c.Caps == "video/x-h265" {
			t = producer.H265(cpd)
		}
		if c.Width > 0 && c.Height > 0 {
			t.Video = &sluice.Video{Width: uint64(c.Width), Height: uint64(c.Height)}
		}
		return t, nil
	case "audio/mpeg":
		t, err := producer.AAC(c.Rate, c.Channels)
		if err == nil && len(codecData) > 0 {
			t.CodecPrivate = codecData
		}
		return t, err
	case "audio/x-alaw":
		return producer.G711(producer.ALaw, c.Rate, c.Channels)
	case "audio/x-mulaw":
		return producer.G711(producer.MuLaw, c.Rate, c.Channels)
	}
	return sluice.Track{}, fmt.Errorf("caps %s can't be sent", c.Caps)
}

// setTrack adds a track, or changes one: new parameters of a codec take effect
// at its next key frame, in a new session.
func (k *sink) setTrack(n int, c trackCaps, codecData []byte) error {
	t, err := c.track(codecData)
	if err != nil {
		return err
	}
	if c.Type == "video" && k.s.TrackName != "" {
		t.Name = k.s.TrackName
	} else if c.Type == "audio" {
		t.Name = "audio"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	old, had := k.tracks[n]
	k.tracks[n] = t
	k.adts[n] = c.Format == "adts"
	if k.stream == nil || had && old.CodecID == t.CodecID && string(old.CodecPrivate) == string(t.CodecPrivate) {
		return nil
	}
	if had && old.CodecID == t.CodecID && len(t.CodecPrivate) > 0 {
		return k.stream.SetCodecPrivate(k.number(n), t.CodecPrivate)
	}
	// Another codec, or a track that came late: a new header, in a new stream
	// object of the same name. What the old one holds is still sent.
	k.retire(k.stream)
	k.stream = nil
	k.first = time.Now()
	return nil
}

// stripADTS gives the packet of AAC behind its ADTS header of 7 bytes, or of 9
// with a checksum; nil when there is none (ISO 14496-3, 1.A.2).
func stripADTS(b []byte) []byte {
	if len(b) < 7 || b[0] != 0xff || b[1]&0xf6 != 0xf0 {
		return nil
	}
	n := 7
	if b[1]&1 == 0 {
		n = 9
	}
	if len(b) <= n {
		return nil
	}
	return b[n:]
}

// number is the Matroska number of a pad's track.
func (k *sink) number(pad int) uint64 {
	for i, n := range k.order {
		if n == pad {
			return uint64(i + 1)
		}
	}
	return 0
}

// retire lets a stream send what it has, in the background.
func (k *sink) retire(s *producer.Stream) {
	k.ended.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		k.stopped(s.Stop(ctx))
	})
}

func (k *sink) stopped(r producer.Report, err error) {
	frames := 0
	for _, u := range r.Undelivered {
		frames += u.Frames
	}
	if frames > 0 {
		k.tell(eventMessage, newStructure("kvs-undelivered").add("frames", frames).add("fragments", len(r.Undelivered)).
			add("from", unixNano(r.Undelivered[0].Start)).add("to", unixNano(r.Undelivered[len(r.Undelivered)-1].End)))
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		k.tell(eventMessage, newStructure("kvs-stop-failed").add("error", err.Error()))
	}
}

// begin makes the stream once the tracks are known. The lock is held.
func (k *sink) begin() error {
	k.order = k.order[:0]
	var tracks []sluice.Track
	for _, n := range []int{1, 2} {
		if t, ok := k.tracks[n]; ok {
			k.order = append(k.order, n)
			t.Number, t.UID = uint64(len(k.order)), uint64(len(k.order))
			tracks = append(tracks, t)
		}
	}
	info := producer.StreamInfo{
		Name: k.s.StreamName, Retention: time.Duration(k.s.Retention) * time.Hour,
		Tags: k.s.Tags, KMSKeyID: k.s.KMSKeyID, NoCreate: !k.s.AllowCreate,
		Tracks: tracks, MaxLatency: seconds(k.s.MaxLatency),
		FragmentDuration: time.Duration(k.s.FragmentDuration) * time.Millisecond,
		ByDuration:       !k.s.KeyFrameFragmentation,
		TimecodeScale:    time.Duration(k.s.TimecodeScale) * time.Millisecond,
		ClockTimes:       !k.s.FrameTimecodes,
		NoAcks:           !k.s.FragmentAcks, NoRestart: !k.s.RestartOnError, NoMetrics: !k.s.Recalculate,
		FrameRate: k.s.FrameRate, Bandwidth: k.s.Bandwidth,
		BufferDuration: seconds(k.s.BufferDuration), ReplayDuration: seconds(k.s.ReplayDuration),
		ConnectionStaleness: seconds(k.s.Staleness),
		OnEvent:             k.event,
	}
	if k.s.Retention == 0 {
		info.Retention = producer.NoRetention
	}
	if k.s.StreamingType == 2 {
		info.Type = producer.Offline
	}
	if !k.s.AbsoluteTimes {
		info.Timecodes = sluice.TimecodeRelative
	}
	if k.s.SpoolDir != "" {
		info.Spool = &producer.Spool{Dir: k.s.SpoolDir}
	}
	s, err := k.client.NewStream(info)
	if err != nil {
		return err
	}
	k.stream = s
	return nil
}

// take gives the frames that waited, now that their tracks have numbers. The
// lock is held.
func (k *sink) take() []producer.Frame {
	frames := make([]producer.Frame, len(k.pending))
	for i, p := range k.pending {
		frames[i] = p.f
		frames[i].Track = k.number(p.track)
	}
	k.pending = nil
	return frames
}

// ready reports whether the stream may begin: all pads have caps, or the first
// frame has waited long enough. The lock is held.
func (k *sink) ready() bool {
	_, video := k.tracks[1]
	_, audio := k.tracks[2]
	return video == k.s.Video && audio == k.s.Audio || time.Since(k.first) > capsWait || len(k.pending) >= mostPending
}

// put takes a frame; data is only lent.
func (k *sink) put(track int, data []byte, pts, dts, duration int64, flags uint32) int {
	f := producer.Frame{
		PTS: time.Duration(pts), DTS: time.Duration(dts), NoDTS: dts < 0,
		Key: flags&frameKey != 0, Discardable: flags&frameDiscardable != 0, Data: data,
	}
	if pts < 0 {
		f.PTS, f.DTS, f.NoDTS = time.Duration(time.Now().UnixNano()), 0, true
	}
	if duration > 0 {
		f.Duration = time.Duration(duration)
	}
	k.mu.Lock()
	if track == 2 && k.s.Video {
		f.Key = false // the picture decides where a fragment begins
	}
	if k.adts[track] {
		if f.Data = stripADTS(data); f.Data == nil {
			k.mu.Unlock()
			return flowOK // not the beginning of a packet
		}
	}
	if k.stream == nil {
		if k.first.IsZero() {
			k.first = time.Now()
		}
		if !k.ready() {
			f.Data = append([]byte(nil), f.Data...)
			k.pending = append(k.pending, pendingFrame{track, f})
			k.mu.Unlock()
			return flowOK
		}
		if err := k.begin(); err != nil {
			k.mu.Unlock()
			k.fatal(err)
			return flowError
		}
	}
	stream, wait, pending := k.stream, k.wait, k.take()
	number := k.number(track)
	if number == 1 {
		f.Tags, k.marks = k.marks, nil
	}
	k.mu.Unlock()

	for _, p := range pending {
		if flow := k.putFrame(wait, stream, p); flow != flowOK {
			return flow
		}
	}
	f.Track = number
	flow := k.putFrame(wait, stream, f)
	if k.s.Metrics && f.Key && number == 1 {
		k.tellMetrics(stream, pts)
	}
	return flow
}

func (k *sink) putFrame(ctx context.Context, s *producer.Stream, f producer.Frame) int {
	if f.Track == 0 {
		return flowOK // a track that the header does not have
	}
	err := s.PutFrame(ctx, f)
	switch {
	case err == nil:
		return flowOK
	case ctx.Err() != nil:
		return flowFlushing
	}
	k.fatal(err)
	return flowError
}

func (k *sink) fatal(err error) {
	k.tell(eventError, newStructure("kvs-error").add("status", uint32(statusOf(err))).add("message", err.Error()).add("final", true))
}

func statusOf(err error) producer.Status {
	var e *producer.Error
	if errors.As(err, &e) {
		return e.Status
	}
	var s producer.Status
	if errors.As(err, &s) {
		return s
	}
	return producer.StatusInternalError
}

func (k *sink) metadata(name, value string, persist bool) error {
	s, err := k.begun()
	if err != nil {
		return err
	}
	return s.PutMetadata(name, value, persist)
}

// begun is the stream, begun now with the tracks there are when frames wait.
func (k *sink) begun() (*producer.Stream, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stream == nil {
		if len(k.tracks) == 0 {
			return nil, errors.New("no caps yet")
		}
		if err := k.begin(); err != nil {
			return nil, err
		}
	}
	return k.stream, nil
}

// flush ends the open fragment: what comes next belongs to another time.
func (k *sink) flush() {
	k.mu.Lock()
	s := k.stream
	k.pending = nil
	k.mu.Unlock()
	if s != nil {
		s.EndFragment()
	}
}

// drain ends the fragment and waits until everything is acknowledged.
func (k *sink) drain(timeout time.Duration) bool {
	k.mu.Lock()
	if k.stream == nil && len(k.pending) > 0 && k.begin() == nil {
		// A recording shorter than the wait for caps.
		for _, p := range k.take() {
			k.putFrame(k.wait, k.stream, p)
		}
	}
	s, wait := k.stream, k.wait
	k.stream = nil
	k.first = time.Time{}
	k.mu.Unlock()
	if s == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(wait, timeout)
	defer cancel()
	r, err := s.Stop(ctx)
	k.stopped(r, err)
	return err == nil && len(r.Undelivered) == 0
}

// unblock lets whoever waits in put or drain return, until it is taken back.
func (k *sink) unblock(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if on {
		k.cancel()
	} else if k.wait.Err() != nil {
		k.wait, k.cancel = context.WithCancel(context.Background())
	}
}

// close ends the stream. It returns when nothing is told any more; what is
// buffered gets until the timeout, but no longer than a state change may take.
func (k *sink) close(timeout time.Duration) {
	k.unblock(true)
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), min(timeout, closeWait))
	defer cancel()
	k.client.Close(ctx)
	k.ended.Wait()
}

// closeWait is how long READY to NULL may take when media is left: EOS is where
// a pipeline waits for it.
const closeWait = 2 * time.Second
