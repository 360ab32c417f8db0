package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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
	s       settings
	t       *teller
	metrics atomic.Bool // the first key frame has been told of

	// turn is read-locked while a frame is put into the stream, and locked while
	// the stream is begun or replaced, so that no frame overtakes one that waited.
	// It is taken before mu.
	turn sync.RWMutex

	mu      sync.Mutex
	video   bool             // there is such a pad
	audio   bool             //
	client  *producer.Client // of stream, or of the next one
	stream  *producer.Stream
	tracks  map[int]sluice.Track
	adts    map[int]bool // tracks whose packets have ADTS headers
	order   []int        // tracks of stream, in the order of their numbers
	late    bool         // a track has come for which the next key picture begins a new stream
	pending []pendingFrame
	early   []metadata   // for the stream, when it begins
	marks   []sluice.Tag // event tags for the fragment of the next picture
	first   time.Time    // when the first frame came
	wait    context.Context
	cancel  context.CancelFunc
	retired sync.WaitGroup // streams that send what is left
}

type pendingFrame struct {
	track int
	f     producer.Frame
}

type metadata struct {
	name, value string
	persist     bool
}

func newSink(s settings, t *teller) (*sink, error) {
	if s.StreamingType == 1 {
		return nil, errors.New("streaming-type near-realtime is not supported, as in the official element: use realtime or offline")
	}
	k := &sink{s: s, t: t, video: s.Video, audio: s.Audio, tracks: map[int]sluice.Track{}, adts: map[int]bool{}}
	k.wait, k.cancel = context.WithCancel(context.Background())
	client, err := k.newClient()
	if err != nil {
		return nil, err
	}
	k.client = client
	return k, nil
}

func (k *sink) newClient() (*producer.Client, error) {
	service, err := k.s.service()
	if err != nil {
		return nil, err
	}
	return producer.New(context.Background(), producer.Options{
		StorageSize: max(int64(k.s.StorageSize)<<20, producer.MinStorageSize),
		Service:     service,
		Logger:      slog.New(slog.DiscardHandler), // events go onto the bus
		OnEvent:     k.event,
	})
}

func (k *sink) pads(video, audio bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.video, k.audio = video, audio
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
	k.turn.Lock()
	defer k.turn.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	old, had := k.tracks[n]
	k.tracks[n] = t
	k.adts[n] = c.Format == "adts"
	if k.late && k.number(n) == 0 {
		return nil // the new stream will have it
	}
	if k.stream == nil || had && old.CodecID == t.CodecID && string(old.CodecPrivate) == string(t.CodecPrivate) {
		return nil
	}
	if had && old.CodecID == t.CodecID && len(t.CodecPrivate) > 0 {
		return k.stream.SetCodecPrivate(k.number(n), t.CodecPrivate)
	}
	if had && old.CodecID == t.CodecID && len(old.CodecPrivate) == 0 && c.Type == "video" {
		return nil // the key frames in Annex B have the parameters
	}
	// Another codec, or a track that came late: a new header, in a new stream
	// object of the same name. What the old one holds is still sent. For sound that
	// came late it begins with a key picture, so that no picture is lost.
	if !had && n == 2 && k.number(1) != 0 {
		k.late = true
		return nil
	}
	k.retire()
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

// retire lets the stream send what it has, in the background, with its client:
// the next stream of the same name has another. The lock is held.
func (k *sink) retire() {
	stream, client := k.stream, k.client
	k.stream, k.client, k.first = nil, nil, time.Now()
	k.retired.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), max(seconds(k.s.StopTimeout), time.Second))
		defer cancel()
		k.stopped(stream.Stop(ctx))
		client.Close(ctx)
	})
}

func (k *sink) stopped(r producer.Report, err error) {
	frames := 0
	for _, u := range r.Undelivered {
		frames += u.Frames
	}
	if frames > 0 {
		k.t.tell(eventMessage, newStructure("kvs-undelivered").add("frames", frames).add("fragments", len(r.Undelivered)).
			add("from", unixNano(r.Undelivered[0].Start)).add("to", unixNano(r.Undelivered[len(r.Undelivered)-1].End)))
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		k.t.tell(eventMessage, newStructure("kvs-stop-failed").add("error", err.Error()))
	}
}

// begin makes the stream once the tracks are known. The lock is held.
func (k *sink) begin() error {
	if k.client == nil {
		client, err := k.newClient()
		if err != nil {
			return err
		}
		k.client = client
	}
	k.order, k.late = k.order[:0], false
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
	for _, m := range k.early {
		s.PutMetadata(m.name, m.value, m.persist) // was checked when it came
	}
	k.early = nil
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
	return video == k.video && audio == k.audio || time.Since(k.first) > capsWait || len(k.pending) >= mostPending
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
	if track == 2 && k.video {
		f.Key = false // the picture decides where a fragment begins
	}
	adts := k.adts[track]
	k.mu.Unlock()
	if adts {
		if f.Data = stripADTS(data); f.Data == nil {
			return flowOK // not the beginning of a packet
		}
	}
	if flow, begun := k.putNow(track, f); begun {
		return flow
	}
	return k.putFirst(track, f)
}

// putNow puts a frame into the stream, if it has begun.
func (k *sink) putNow(track int, f producer.Frame) (flow int, begun bool) {
	k.turn.RLock()
	defer k.turn.RUnlock()
	k.mu.Lock()
	stream, wait := k.stream, k.wait
	if stream == nil || k.renews(track, f) {
		k.mu.Unlock()
		return 0, false
	}
	f.Track = k.number(track)
	if f.Track == 1 {
		f.Tags, k.marks = k.marks, nil
	}
	client := k.client
	k.mu.Unlock()
	flow = k.putFrame(wait, stream, f)
	if flow == flowFlushing && len(f.Tags) > 0 {
		k.mu.Lock() // the frame comes again, or another
		k.marks = append(f.Tags, k.marks...)
		k.mu.Unlock()
	}
	if k.s.Metrics && f.Key && f.Track == 1 {
		k.tellMetrics(client, stream, int64(f.PTS))
	}
	return flow, true
}

// renews reports whether a new stream begins with a frame. The lock is held.
func (k *sink) renews(track int, f producer.Frame) bool {
	return k.late && k.audio && track == 1 && f.Key
}

// putFirst keeps a frame until the stream may begin, or begins it.
func (k *sink) putFirst(track int, f producer.Frame) int {
	k.turn.Lock()
	defer k.turn.Unlock()
	k.mu.Lock()
	if k.stream != nil && k.renews(track, f) {
		k.retire()
	}
	f.Data = append([]byte(nil), f.Data...)
	k.pending = append(k.pending, pendingFrame{track, f})
	if k.first.IsZero() {
		k.first = time.Now()
	}
	if k.stream == nil {
		if !k.ready() {
			k.mu.Unlock()
			return flowOK
		}
		if err := k.begin(); err != nil {
			k.mu.Unlock()
			k.fatal(err)
			return flowError
		}
	}
	return k.putPending()
}

// putPending puts what waited. Both locks are held; mu is released.
func (k *sink) putPending() int {
	client, stream, wait, frames := k.client, k.stream, k.wait, k.take()
	for i := range frames {
		if frames[i].Track == 1 {
			frames[i].Tags, k.marks = k.marks, nil
			break
		}
	}
	k.mu.Unlock()
	for _, f := range frames {
		if flow := k.putFrame(wait, stream, f); flow != flowOK {
			return flow
		}
		if k.s.Metrics && f.Key && f.Track == 1 {
			k.tellMetrics(client, stream, int64(f.PTS))
		}
	}
	return flowOK
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
	k.t.tell(eventError, newStructure("kvs-error").add("status", uint32(statusOf(err))).add("message", err.Error()).add("final", true))
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

// metadata adds an item to the fragment that is open, or to the first one when
// nothing has begun.
func (k *sink) metadata(name, value string, persist bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stream != nil {
		return k.stream.PutMetadata(name, value, persist)
	}
	switch {
	case name == "" || len(name) > producer.MaxMetadataNameLen || strings.HasPrefix(name, "AWS"):
		return producer.StatusInvalidMetadataName
	case len(value) > producer.MaxMetadataValueLen:
		return producer.StatusMKVInvalidTagValueLength
	case len(k.early) >= producer.MaxMetadataItems:
		return producer.StatusMaxFragmentMetadataCount
	}
	k.early = append(k.early, metadata{name, value, persist})
	return nil
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
	k.turn.Lock()
	k.mu.Lock()
	if k.stream == nil && len(k.pending) > 0 && len(k.tracks) > 0 {
		// A recording shorter than the wait for caps.
		if err := k.begin(); err != nil {
			k.mu.Unlock()
			k.turn.Unlock()
			k.fatal(err)
			return false
		}
		k.putPending()
		k.mu.Lock()
	}
	stream, client, wait := k.stream, k.client, k.wait
	if stream != nil {
		k.stream, k.client = nil, nil
	}
	k.first = time.Time{}
	k.mu.Unlock()
	k.turn.Unlock()
	if stream == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(wait, timeout)
	defer cancel()
	r, err := stream.Stop(ctx)
	k.stopped(r, err)
	client.Close(ctx)
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

const (
	// closeWait is how long READY to NULL may take to deliver what is left, when
	// there is a connection: EOS is where a pipeline waits for it.
	closeWait = 2 * time.Second
	// closeWaitAlone is for a sink without a connection, or with nothing left.
	closeWaitAlone = 100 * time.Millisecond
)

// close ends the stream. It returns when nothing is told any more. What is left
// after a short wait is sent by a goroutine that nobody waits for, until the
// timeout: a program may begin the next pipeline meanwhile, or end.
func (k *sink) close(timeout time.Duration) {
	k.unblock(true)
	k.mu.Lock()
	stream, client := k.stream, k.client
	k.stream, k.client, k.pending = nil, nil, nil
	k.mu.Unlock()
	wait := closeWaitAlone
	if stream != nil {
		if stream.Metrics().ActiveSessions > 0 || k.s.SpoolDir != "" {
			wait = closeWait
		}
		if k.s.SpoolDir != "" {
			timeout = closeWait // the rest is in the spool, which the next one wants
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if stream != nil {
			k.stopped(stream.Stop(ctx))
		}
		if client != nil {
			client.Close(ctx)
		}
		k.retired.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(wait):
	}
	k.t.stop()
}
