package store

import (
	"context"
	"fmt"
	"time"
)

// Clock is what was last known of the time, kept for who expires media: the time
// beside the machine's running time, and which start of the machine that counts
// from. Boot is 0 where that is not known; the time may have been later by Slack.
type Clock struct {
	Wall    time.Time
	Slack   time.Duration
	Running time.Duration
	Boot    int64
}

const (
	clockWallKey    = "clock_wall_ms"
	clockSlackKey   = "clock_slack_ms"
	clockRunningKey = "clock_running_ms"
	clockBootKey    = "clock_boot"
)

// Clock is what SetClock has kept. When nothing was, its Wall is the latest
// server timestamp of all media, and zero when there is none.
func (s *Store) Clock(ctx context.Context) (c Clock, err error) {
	wall, err := s.index.Meta(ctx, clockWallKey)
	if err != nil {
		return c, fmt.Errorf("store: %w", err)
	}
	if wall == 0 {
		if wall, err = s.index.Newest(ctx); err != nil || wall == 0 {
			return c, err
		}
		return Clock{Wall: time.UnixMilli(wall)}, nil
	}
	values := map[string]int64{}
	for _, key := range []string{clockSlackKey, clockRunningKey, clockBootKey} {
		if values[key], err = s.index.Meta(ctx, key); err != nil {
			return c, fmt.Errorf("store: %w", err)
		}
	}
	ms := func(key string) time.Duration { return time.Duration(values[key]) * time.Millisecond }
	return Clock{Wall: time.UnixMilli(wall), Slack: ms(clockSlackKey), Running: ms(clockRunningKey), Boot: values[clockBootKey]}, nil
}

// SetClock keeps what is known of the time, durably.
func (s *Store) SetClock(ctx context.Context, c Clock) error {
	err := s.index.SetMetas(ctx, map[string]int64{
		clockWallKey: c.Wall.UnixMilli(), clockSlackKey: c.Slack.Milliseconds(), clockRunningKey: c.Running.Milliseconds(), clockBootKey: c.Boot,
	})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
