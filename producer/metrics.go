package producer

import (
	"time"

	"github.com/sluicevideo/sluice"
)

// ClientMetrics are those of the guide ("ClientMetrics"), in bytes, frames and
// seconds.
type ClientMetrics struct {
	ContentStoreSize          int64   // contentStoreSize
	ContentStoreAvailableSize int64   // contentStoreAvailableSize
	ContentStoreAllocatedSize int64   // contentStoreAllocatedSize
	TotalContentViewsSize     int64   // totalContentViewsSize: bookkeeping beside the store
	TotalFrameRate            float64 // totalFrameRate, frames/s put
	TotalElementaryFrameRate  float64 // totalElementaryFrameRate, frames/s by the frames' own times
	TotalTransferRate         float64 // totalTransferRate, bytes/s sent
	AvgAPICallRetryCount      float64 // clientAvgApiCallRetryCount: reconnects a stream

	Streams           int
	StoragePressures  int64
	CredentialsExpire time.Time // zero: never, or not known yet
}

// StreamMetrics are those of the guide ("StreamMetrics") and of the headers after
// it, and what they lack.
type StreamMetrics struct {
	CurrentViewDuration time.Duration // currentViewDuration: media not sent yet
	OverallViewDuration time.Duration // overallViewDuration: media buffered
	CurrentViewSize     int64         // currentViewSize, bytes
	OverallViewSize     int64         // overallViewSize, bytes
	CurrentFrameRate    float64       // currentFrameRate, frames/s put, of the first video track
	CurrentTransferRate float64       // currentTransferRate, bytes/s sent
	Uptime              time.Duration // uptime
	TransferredBytes    int64         // transferredBytes
	TotalSessions       int64         // totalSessions
	ActiveSessions      int           // totalActiveSessions
	AvgSessionDuration  time.Duration // avgSessionDuration
	BufferedAcks        int64         // bufferedAcks
	ReceivedAcks        int64         // receivedAcks
	PersistedAcks       int64         // persistedAcks
	ErrorAcks           int64         // errorAcks
	DroppedFrames       int64         // droppedFrames
	DroppedFragments    int64         // droppedFragments
	SkippedFrames       int64         // skippedFrames
	StoragePressures    int64         // storagePressures
	LatencyPressures    int64         // latencyPressures
	BufferPressures     int64         // bufferPressures
	StaleEvents         int64         // staleEvents
	PutFrameErrors      int64         // putFrameErrors
	ControlLatency      time.Duration // cplApiCallLatency
	DataLatency         time.Duration // dataApiCallLatency: PutMedia accepted
	ElementaryFrameRate float64       // elementaryFrameRate, frames/s by the frames' own times
	APICallRetries      int64         // streamApiCallRetryCount

	PutFrames        int64
	PutBytes         int64
	RepairedFrames   int64         // with a time that was moved
	ResentBytes      int64         // sent again after a session failed
	ResentFragments  int64         //
	BufferingLatency time.Duration // first byte of a fragment to BUFFERING
	PersistedLatency time.Duration // fragment complete to PERSISTED
	SpooledFragments int           // on disk now
	SpooledBytes     int64         // on disk now
	LastError        error         // what the last reconnect was for
	Gaps             []Gap         // the newest 64
	SessionExpires   time.Time     // when the session makes way for the next
	DeclaredTracks   int           // of the newest fragment
	NewestFrame      time.Time     // producer time of the newest frame
	StreamARN        string        // "" while not known
	Retention        time.Duration // of the stream; NoRetention: none
}

// Gap is media that is lost.
type Gap struct {
	Range
	Reason DropReason
}

const maxGaps = 64

// counters are what Metrics is made of. The stream's mutex guards them.
type counters struct {
	created time.Time

	putFrames, putBytes                               int64
	putFrameErrors                                    int64
	droppedFrames, droppedFragments                   int64
	skippedFrames, repairedFrames                     int64
	sessions                                          int64
	acks                                              [4]int64
	resentBytes, resentFragments                      int64
	storagePressures, latencyPressures                int64
	bufferPressures, staleEvents                      int64
	reconnects                                        int64
	transferred                                       int64
	frameRate, elementaryRate, transferRate           ema
	sessionLength, control, data, buffering, persists ema

	lastPut  time.Time
	lastPTS  time.Duration
	window   time.Time
	inWindow int64

	lastError error
	gaps      []Gap
	report    Report
}

// ema is an exponential moving average with the official weight of 0.05 for a new
// sample. The first twenty count alike: what a start is like does not linger.
type ema struct {
	value float64
	n     int
}

func (e *ema) add(v float64) {
	if e.n < 20 {
		e.n++
	}
	e.value += (v - e.value) / float64(e.n)
}

func (e *ema) duration() time.Duration { return time.Duration(e.value) }

func (m *counters) putFrame(main bool, pts time.Duration, size int, now time.Time, rates bool) {
	m.putFrames++
	m.putBytes += int64(size)
	if !main || !rates {
		return
	}
	if !m.lastPut.IsZero() {
		if d := now.Sub(m.lastPut); d > 0 {
			m.frameRate.add(d.Seconds()) // of the interval: that of the rate would favour bursts
		}
		if d := pts - m.lastPTS; d > 0 {
			m.elementaryRate.add(d.Seconds())
		}
	}
	m.lastPut, m.lastPTS = now, pts
}

func (m *counters) sentBytes(n int, now time.Time, rates bool) {
	m.transferred += int64(n)
	if !rates {
		return
	}
	m.inWindow += int64(n)
	if m.window.IsZero() {
		m.window = now
	}
	if d := now.Sub(m.window); d > 200*time.Millisecond {
		m.transferRate.add(float64(m.inWindow) / d.Seconds())
		m.window, m.inWindow = now, 0
	}
}

func (m *counters) ack(e sluice.AckEvent) {
	switch e {
	case sluice.AckBuffering:
		m.acks[0]++
	case sluice.AckReceived:
		m.acks[1]++
	case sluice.AckPersisted:
		m.acks[2]++
	case sluice.AckError:
		m.acks[3]++
	}
}

func (m *counters) sessionOpened(took time.Duration) {
	m.sessions++
	m.data.add(float64(took))
}

func (m *counters) sessionOver(ss *session, now time.Time) {
	if !ss.opened.IsZero() {
		m.sessionLength.add(float64(now.Sub(ss.opened)))
	}
}

func (m *counters) controlLatency(d time.Duration)   { m.control.add(float64(d)) }
func (m *counters) bufferingLatency(d time.Duration) { m.buffering.add(float64(d)) }
func (m *counters) persistedLatency(d time.Duration) { m.persists.add(float64(d)) }

func (m *counters) addGap(r Range, why DropReason) {
	// Fragments that follow each other are one gap.
	if n := len(m.gaps); n > 0 {
		g := &m.gaps[n-1]
		if g.Reason == why && r.Start.Sub(g.End).Abs() < 250*time.Millisecond {
			g.End = r.End
			g.Frames += r.Frames
			g.Bytes += r.Bytes
			g.Fragments += r.Fragments
			return
		}
	}
	if len(m.gaps) == maxGaps {
		m.gaps = append(m.gaps[:0], m.gaps[1:]...)
	}
	m.gaps = append(m.gaps, Gap{r, why})
}

func inverse(e ema) float64 {
	if e.value == 0 {
		return 0
	}
	return 1 / e.value
}

// Metrics are the stream's figures at this moment.
func (s *Stream) Metrics() StreamMetrics {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.m
	out := StreamMetrics{
		CurrentFrameRate: inverse(m.frameRate), CurrentTransferRate: m.transferRate.value,
		Uptime: time.Since(m.created), TransferredBytes: m.transferred,
		TotalSessions: m.sessions, AvgSessionDuration: m.sessionLength.duration(),
		BufferedAcks: m.acks[0], ReceivedAcks: m.acks[1], PersistedAcks: m.acks[2], ErrorAcks: m.acks[3],
		DroppedFrames: m.droppedFrames, DroppedFragments: m.droppedFragments, SkippedFrames: m.skippedFrames,
		StoragePressures: m.storagePressures, LatencyPressures: m.latencyPressures, BufferPressures: m.bufferPressures,
		StaleEvents: m.staleEvents, PutFrameErrors: m.putFrameErrors,
		ControlLatency: m.control.duration(), DataLatency: m.data.duration(),
		ElementaryFrameRate: inverse(m.elementaryRate), APICallRetries: m.reconnects,
		PutFrames: m.putFrames, PutBytes: m.putBytes, RepairedFrames: m.repairedFrames,
		ResentBytes: m.resentBytes, ResentFragments: m.resentFragments,
		BufferingLatency: m.buffering.duration(), PersistedLatency: m.persists.duration(),
		LastError: m.lastError, Gaps: append([]Gap(nil), m.gaps...),
		StreamARN: s.arn, Retention: s.retention,
	}
	out.CurrentViewDuration, out.CurrentViewSize = s.unsentLocked()
	for _, f := range s.frags {
		if f.state != done {
			out.OverallViewDuration += f.end - f.start
			out.OverallViewSize += int64(f.size)
		}
		if f.disk.file != nil {
			out.SpooledFragments++
			out.SpooledBytes += int64(f.disk.size)
		}
	}
	for _, ss := range append([]*session{s.active}, s.draining...) {
		if ss != nil && !ss.opened.IsZero() {
			out.ActiveSessions++
			out.SessionExpires = ss.expires
		}
	}
	if s.header != nil {
		out.DeclaredTracks = len(s.header.tracks)
	}
	if m.putFrames > 0 {
		out.NewestFrame = s.timeOf(s.newestPTS)
	}
	return out
}

// Metrics are the client's figures at this moment.
func (c *Client) Metrics() ClientMetrics {
	used := c.store.inUse()
	out := ClientMetrics{
		ContentStoreSize: c.store.limit, ContentStoreAllocatedSize: used, ContentStoreAvailableSize: c.store.limit - used,
	}
	streams := c.Streams()
	var retries int64
	for _, s := range streams {
		s.mu.Lock()
		out.TotalFrameRate += inverse(s.m.frameRate)
		out.TotalElementaryFrameRate += inverse(s.m.elementaryRate)
		out.TotalTransferRate += s.m.transferRate.value
		out.TotalContentViewsSize += int64(len(s.frags)) * fragmentOverhead
		retries += s.m.reconnects
		s.mu.Unlock()
	}
	out.Streams = len(streams)
	if len(streams) > 0 {
		out.AvgAPICallRetryCount = float64(retries) / float64(len(streams))
	}
	c.mu.Lock()
	out.StoragePressures = c.pressed
	out.CredentialsExpire = c.expires
	c.mu.Unlock()
	return out
}

// fragmentOverhead is what a buffered fragment takes beside its media: the
// structure and its list of chunks.
const fragmentOverhead = 512
