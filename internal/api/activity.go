package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
)

// activityRows are what the console shows and no operation of the service tells:
// where a stream has footage, and what happens on it now. They are signed and
// subject to policies like every other row, under the prefix sluice.
func (a *API) activityRows() []Operation {
	return []Operation{
		{
			Name: "GetTimeline", Path: "/getTimeline", Service: "kinesisvideo", Action: "sluice:GetTimeline",
			Input: timelineInput{}, Stream: FromBody, Need: NeedActive, JSON: a.getTimeline,
			Errors: []sluice.Code{sluice.ResourceNotFound},
			Doc: "An extension of Sluice. Spans of the range that have durable fragments inside the retention, in time order: Start, End, Fragments and (about) Bytes. " +
				"The range is looked at in Buckets steps (1000 when not given), so gaps shorter than a step may not show; the cost depends on their number and not on that of the fragments.",
		},
		{
			Name: "DescribeStreamActivity", Path: "/describeStreamActivity", Service: "kinesisvideo", Action: "sluice:DescribeStreamActivity",
			Input: streamActivityInput{}, Stream: FromBody, Need: NeedActive, JSON: a.describeStreamActivity,
			Errors: []sluice.Code{sluice.ResourceNotFound},
			Doc: "An extension of Sluice. What happens on a stream now: PutMedia sessions, readers of GetMedia, first and last fragment, what is stored, rates of the last fragments, " +
				"the producer's lag (server minus producer timestamp of the last fragment), tracks with their codec as RFC 6381 names it, the last acknowledgements that were sent and the last of them that were errors (newest first) and memory. " +
				"Sessions, rates, acknowledgements and errors are those since the server began.",
		},
	}
}

type timelineInput struct {
	StreamName     string     `shape:"min=1,max=256"`
	StreamARN      string     `shape:"min=1,max=1024"`
	TimestampType  string     `shape:"enum=SERVER_TIMESTAMP|PRODUCER_TIMESTAMP"`
	StartTimestamp *time.Time `shape:"required"`
	EndTimestamp   *time.Time `shape:"required"`
	Buckets        *int64     `shape:"min=1,max=5000"`
}

type timelineSpan struct {
	Start, End Timestamp
	Fragments  int64
	Bytes      int64
}

func (a *API) getTimeline(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*timelineInput)
	s, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	if !in.StartTimestamp.Before(*in.EndTimestamp) {
		return nil, invalid("EndTimestamp: must be later than StartTimestamp")
	}
	clock := sluice.ServerClock
	if in.TimestampType == string(sluice.SelectProducerTimestamp) {
		clock = sluice.ProducerClock
	}
	buckets := int64(1000)
	if in.Buckets != nil {
		buckets = *in.Buckets
	}
	// Rounded up, so that there are never more steps than were asked for.
	step := (in.EndTimestamp.Sub(*in.StartTimestamp).Milliseconds() + buckets - 1) / buckets
	found, err := a.o.Streams.Coverage(ctx, s.ID, clock, *in.StartTimestamp, *in.EndTimestamp, time.Duration(max(step, 1))*time.Millisecond)
	if err != nil {
		return nil, err
	}
	out := struct{ Spans []timelineSpan }{make([]timelineSpan, len(found))}
	for i, f := range found {
		out.Spans[i] = timelineSpan{Timestamp(f.Start), Timestamp(f.End), f.Fragments, f.Bytes}
	}
	return out, nil
}

type streamActivityInput struct {
	StreamName string `shape:"min=1,max=256"`
	StreamARN  string `shape:"min=1,max=1024"`
}

type activityOutput struct {
	Sessions                []activitySession
	Readers                 int
	FirstFragment           *fragmentOutput
	LastFragment            *lastFragmentOutput
	FragmentCount           uint64
	StoredBytes             uint64
	BitsPerSecond           float64
	FramesPerSecond         float64
	FragmentsPerSecond      float64
	ProducerLagMilliseconds int64
	Tracks                  []activityTrack
	Acks                    []activityAck
	Errors                  []activityError
	MemoryBytes             int64
}

type activitySession struct {
	ID, Remote, UserAgent string
	Since                 Timestamp
	Fragments, Bytes      int64
}

type lastFragmentOutput struct {
	fragmentOutput
	Durable bool
}

type activityTrack struct {
	Number            uint64
	Type, CodecID     string
	Codec             string // RFC 6381; "": it has no such name
	Width             int    `json:",omitempty"`
	Height            int    `json:",omitempty"`
	SamplingFrequency int    `json:",omitempty"`
	Channels          int    `json:",omitempty"`
	HasCodecPrivate   bool
}

type activityAck struct {
	Time           Timestamp
	EventType      string
	FragmentNumber string `json:",omitempty"`
	ErrorID        int    `json:"ErrorId,omitempty"`
}

type activityError struct {
	Time           Timestamp
	ErrorID        int `json:"ErrorId"`
	ErrorCode      string
	FragmentNumber string `json:",omitempty"`
	Detail         string
}

func (a *API) describeStreamActivity(ctx context.Context, c *Call) (any, error) {
	s, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	x := a.o.Streams.Activity(s.ID)
	out := &activityOutput{
		Sessions: []activitySession{}, Tracks: []activityTrack{}, Acks: []activityAck{}, Errors: []activityError{},
		Readers: x.Readers, BitsPerSecond: x.Rate.Bits, FramesPerSecond: x.Rate.Pictures, FragmentsPerSecond: x.Rate.Fragments, MemoryBytes: x.TailBytes,
	}
	for _, p := range x.Sessions {
		out.Sessions = append(out.Sessions, activitySession{clip(p.ID, 64), p.Remote, clip(p.Agent, 256), Timestamp(now.Add(-p.Age)), p.Fragments, p.Bytes})
	}
	for _, s := range slices.Backward(x.Acks) {
		out.Acks = append(out.Acks, activityAck{Timestamp(s.Time), string(s.Ack.Event), numberOf(s.Ack), int(s.Ack.Code)})
	}
	for _, e := range slices.Backward(x.Errors) {
		out.Errors = append(out.Errors, activityError{Timestamp(e.Time), int(e.Ack.Code), e.Ack.Code.String(), numberOf(e.Ack), clip(e.Reason, 500)})
	}
	if !x.LastFragment.IsZero() {
		out.LastFragment = &lastFragmentOutput{fragmentOutput{
			FragmentLengthInMilliseconds: x.LastLength.Milliseconds(), FragmentNumber: x.LastFragment.String(), FragmentSizeInBytes: x.LastBytes,
			ProducerTimestamp: Timestamp(x.LastProducer), ServerTimestamp: Timestamp(x.LastServer),
		}, x.LastDurable}
		out.ProducerLagMilliseconds = x.LastServer.Sub(x.LastProducer).Milliseconds()
	}
	if err := a.addHoldings(ctx, s.ID, &x, out); err != nil {
		return nil, err
	}
	for i := range x.Tracks {
		out.Tracks = append(out.Tracks, describeTrack(&x.Tracks[i]))
	}
	return out, nil
}

// numberOf is the number of an acknowledgement's fragment; "": it has none.
func numberOf(a sluice.Ack) string {
	if a.Number.IsZero() {
		return ""
	}
	return a.Number.String()
}

// addHoldings adds what the archive has, which is also all that is known of a
// stream on which nothing happened since the server began.
func (a *API) addHoldings(ctx context.Context, id sluice.StreamID, x *stream.Activity, out *activityOutput) error {
	h, err := a.o.Streams.Holdings(ctx, id)
	if errors.Is(err, store.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	first := fragmentOf(h.First)
	out.FirstFragment, out.FragmentCount, out.StoredBytes = &first, h.Fragments, h.Bytes
	if out.LastFragment != nil {
		return nil
	}
	out.LastFragment = &lastFragmentOutput{fragmentOf(h.Last), true}
	out.ProducerLagMilliseconds = h.Last.Server().Sub(h.Last.Producer()).Milliseconds()
	if a.o.Archive != nil {
		// Who cannot read it, because its key is disabled or it is damaged, gets
		// no tracks; everything else is true all the same.
		if f, err := a.o.Archive.Fragment(ctx, id, h.Last.Number, false); err == nil {
			x.Tracks = f.Tracks
		}
	}
	return nil
}

func fragmentOf(e store.Entry) fragmentOutput {
	return fragmentOutput{
		FragmentLengthInMilliseconds: int64(e.LengthMs), FragmentNumber: e.Number.String(), FragmentSizeInBytes: int64(e.Bytes),
		ProducerTimestamp: Timestamp(e.Producer()), ServerTimestamp: Timestamp(e.Server()),
	}
}

func describeTrack(t *sluice.Track) activityTrack {
	out := activityTrack{Number: t.Number, Type: t.Type.String(), CodecID: clip(t.CodecID, 128), HasCodecPrivate: len(t.CodecPrivate) > 0}
	if t.Video != nil {
		out.Width, out.Height = int(min(t.Video.Width, 1<<16)), int(min(t.Video.Height, 1<<16))
	}
	if t.Audio != nil {
		out.SamplingFrequency, out.Channels = int(min(max(t.Audio.SamplingFrequency, 0), 1<<24)), int(min(t.Audio.Channels, 1<<8))
	}
	// What the codec itself says counts more than what stands around it.
	if p, err := codec.Parse(t); err == nil {
		out.Codec = p.Codec
		if p.Width > 0 {
			out.Width, out.Height = p.Width, p.Height
		}
		if p.SampleRate > 0 {
			out.SamplingFrequency, out.Channels = p.SampleRate, p.Channels
		}
	}
	return out
}
