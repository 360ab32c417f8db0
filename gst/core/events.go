package main

import (
	"fmt"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

func unixNano(t time.Time) int64 { return t.UnixNano() }

var ackTypes = map[sluice.AckEvent]int{
	sluice.AckBuffering: 1, sluice.AckReceived: 2, sluice.AckPersisted: 3, sluice.AckError: 4, sluice.AckIdle: 5,
}

// event turns what the producer tells into signals and messages of the element.
// The producer calls it on a goroutine of its own, with no lock held.
func (k *sink) event(e producer.Event) {
	message := func(name string) *structure { return newStructure("kvs-" + name) }
	stretch := func(s *structure, r producer.Range) *structure {
		return s.add("from", unixNano(r.Start)).add("to", unixNano(r.End)).add("frames", r.Frames).add("fragments", r.Fragments).add("bytes", r.Bytes)
	}
	switch e := e.(type) {
	case producer.AckReceived:
		s := newStructure("kvs-ack").add("type", ackTypes[e.Ack.Event]).add("timecode", uint64(e.Ack.Timecode)).add("error", uint32(e.Ack.Code))
		if !e.Ack.Number.IsZero() {
			s.add("number", e.Ack.Number.String())
		}
		k.t.tell(eventAck, s)
	case producer.StreamError:
		k.t.tell(eventError, newStructure("kvs-error").add("status", uint32(statusOf(e.Err))).add("message", e.Err.Error()).add("final", e.Final))
	case producer.Reconnecting:
		s := message("reconnect").add("attempt", e.Attempt).add("wait", int64(e.Wait))
		if e.Err != nil {
			s.add("error", e.Err.Error())
		}
		k.t.tell(eventMessage, s)
	case producer.SessionOpened:
		k.t.tell(eventMessage, message("connected").add("session", e.Session))
	case producer.SessionClosed:
		s := message("disconnected").add("session", e.Session)
		if e.Err != nil {
			s.add("error", e.Err.Error())
		}
		k.t.tell(eventMessage, s)
	case producer.ConnectionStale:
		k.t.tell(eventMessage, message("stale").add("since", int64(e.Since)))
	case producer.LatencyPressure:
		k.t.tell(eventMessage, message("latency-pressure").add("latency", int64(e.Latency)))
	case producer.StoragePressure:
		k.t.tell(eventMessage, message("storage-pressure").add("remaining", e.Remaining))
	case producer.BufferPressure:
		k.t.tell(eventMessage, message("buffer-pressure").add("remaining", int64(e.Remaining)))
	case producer.FragmentDropped:
		s := stretch(message("dropped"), e.Range).add("reason", e.Reason.String())
		if e.Err != nil {
			s.add("error", e.Err.Error())
		}
		k.t.tell(eventMessage, s)
	case producer.FramesSkipped:
		k.t.tell(eventMessage, stretch(message("skipped"), e.Range).add("track", uint64(e.Track)).add("reason", e.Reason.String()))
	case producer.FragmentResent:
		k.t.tell(eventMessage, stretch(message("resent"), e.Range))
	case producer.FragmentTooLong:
		k.t.tell(eventMessage, message("fragment-too-long").add("duration", int64(e.Duration)))
	case producer.TimestampRepaired:
		k.t.tell(eventMessage, message("timestamps-repaired").add("track", uint64(e.Track)).add("frames", e.Frames).add("by", int64(e.By)))
	case producer.StreamReady:
		k.t.tell(eventMessage, message("ready").add("stream-arn", e.ARN))
	}
}

// tellMetrics emits stream-client-metric: at the first frame and each key frame.
func (k *sink) tellMetrics(client *producer.Client, stream *producer.Stream, pts int64) {
	m, c := stream.Metrics(), client.Metrics()
	first := !k.metrics.Swap(true)
	k.t.tell(eventMetrics, newStructure("kvs-metrics").
		add("frame-pts", pts).add("on-first-frame", first).
		add("current-view-duration", int64(m.CurrentViewDuration)).add("overall-view-duration", int64(m.OverallViewDuration)).
		add("current-view-size", m.CurrentViewSize).add("overall-view-size", m.OverallViewSize).
		add("current-frame-rate", m.CurrentFrameRate).add("elementary-frame-rate", m.ElementaryFrameRate).
		add("current-transfer-rate", m.CurrentTransferRate).add("uptime", int64(m.Uptime)).
		add("transferred-bytes", m.TransferredBytes).add("total-sessions", m.TotalSessions).add("total-active-sessions", m.ActiveSessions).
		add("avg-session-duration", int64(m.AvgSessionDuration)).
		add("buffered-acks", m.BufferedAcks).add("received-acks", m.ReceivedAcks).add("persisted-acks", m.PersistedAcks).add("error-acks", m.ErrorAcks).
		add("dropped-frames", m.DroppedFrames).add("dropped-fragments", m.DroppedFragments).add("skipped-frames", m.SkippedFrames).
		add("storage-pressures", m.StoragePressures).add("latency-pressures", m.LatencyPressures).add("buffer-pressures", m.BufferPressures).
		add("stale-events", m.StaleEvents).add("put-frame-errors", m.PutFrameErrors).
		add("persisted-latency", int64(m.PersistedLatency)).
		add("content-store-size", c.ContentStoreSize).add("content-store-available-size", c.ContentStoreAvailableSize).
		add("content-store-allocated-size", c.ContentStoreAllocatedSize).add("total-content-views-size", c.TotalContentViewsSize).
		add("total-frame-rate", c.TotalFrameRate).add("total-transfer-rate", c.TotalTransferRate))
}

// marker puts the event tags onto the fragment that is open.
func (k *sink) marker(kinds int, prefix string, pairs map[string]string) error {
	if kinds&3 == 0 {
		return fmt.Errorf("kinds is %d, want 1 (image generation), 2 (notification) or 3", kinds)
	}
	if len(prefix) > 256 || len(pairs) > 10 {
		return fmt.Errorf("a prefix has at most 256 characters, and there are at most 10 pairs")
	}
	var tags []sluice.Tag
	if kinds&1 != 0 {
		tags = append(tags, sluice.Tag{Name: producer.MarkImage})
		if prefix != "" {
			tags = append(tags, sluice.Tag{Name: producer.MarkImagePrefix, Value: prefix})
		}
	}
	if kinds&2 != 0 {
		tags = append(tags, sluice.Tag{Name: producer.MarkNotification})
	}
	for name, value := range pairs {
		tags = append(tags, sluice.Tag{Name: name, Value: value})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.marks = append(k.marks, tags...)
	return nil
}
