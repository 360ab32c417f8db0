package demo

import (
	"context"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// Camera plays the clip in a loop, at the pace of the clock and with its time.
// It is a producer.MediaSource.
type Camera struct {
	// OnFrame is told of each frame before it is sent: the picture's number
	// in the clip (-1 for sound) and its time. May be nil.
	OnFrame func(picture int, at time.Time)

	frames []sluice.Frame
}

// Configure gives the clip's tracks.
func (c *Camera) Configure(context.Context) (producer.StreamInfo, error) {
	tracks, frames, err := Load()
	if err != nil {
		return producer.StreamInfo{}, err
	}
	c.frames = frames
	return producer.StreamInfo{Tracks: tracks, ContentType: "video/h264,audio/aac"}, nil
}

// Run puts frames until ctx ends. Each goes out when its time has come, so that
// a viewer sees the moment that the clock shows.
func (c *Camera) Run(ctx context.Context, s *producer.Stream) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for begin := time.Now(); ; begin = begin.Add(Length) {
		picture := 0
		for _, f := range c.frames {
			at := begin.Add(f.Timecode)
			timer.Reset(time.Until(at))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
			n := -1
			if f.Track == 1 {
				n = picture
				picture++
			}
			if c.OnFrame != nil {
				c.OnFrame(n, at)
			}
			p := producer.FrameAt(at, f.Key && f.Track == 1, f.Data)
			p.Track = f.Track
			if err := s.PutFrame(ctx, p); err != nil {
				return err
			}
		}
	}
}
