package server

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/retention"
	"github.com/sluicevideo/sluice/internal/store"
)

// sweeping reclaims space until it is stopped.
type sweeping struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// newSweeper makes the sweeper over the catalog's streams. A deleted stream is
// swept at once, so that its name is free soon.
func (p *parts) newSweeper() *retention.Sweeper {
	sweeper := retention.New(retention.Options{
		Streams: func(ctx context.Context) iter.Seq2[retention.Stream, error] {
			return func(yield func(retention.Stream, error) bool) {
				all, err := p.catalog.All(ctx)
				if err != nil {
					yield(retention.Stream{}, err)
					return
				}
				for _, s := range all {
					if !yield(retention.Stream{ID: s.ID, Name: s.Name, Retention: s.Retention, MaxBytes: p.capOf(s.Name), Deleting: s.Status == catalog.Deleting}, nil) {
						return
					}
				}
			}
		},
		Store:          p.store,
		Dropped:        func(ctx context.Context, id sluice.StreamID) error { return p.catalog.Forget(ctx, id) },
		MaxBytes:       int64(p.s.cfg.MaxBytes),
		StreamMaxBytes: int64(p.s.cfg.StreamMaxBytes),
		AcceptClock:    p.s.cfg.AcceptClock,
		Synchronised:   clockSynchronised,
		Logger:         p.s.log,
		OnCapped:       func(_ sluice.StreamID, c store.Capped) { p.events.FragmentsTrimmed(c.Fragments) },
	})
	p.catalog.OnChange(func(s catalog.Stream) {
		if s.Status == catalog.Deleting {
			sweeper.Wake()
		}
	})
	return sweeper
}

// sweep starts the sweeper.
func (p *parts) sweep() *sweeping {
	ctx, cancel := context.WithCancel(context.Background())
	w := &sweeping{cancel: cancel}
	w.wg.Go(func() { p.sweeper.Run(ctx) })
	w.wg.Go(func() { p.purgeKeys(ctx) })
	return w
}

// capOf is the cap that a stream has by its name, as the sweeper wants it.
func (p *parts) capOf(name string) int64 {
	switch most, own := p.s.cfg.StreamCaps[name]; {
	case !own:
		return 0
	case most == 0:
		return -1
	default:
		return int64(most)
	}
}

// purgeEvery is how often keys whose waiting time is over are looked for. They
// are of no use from the moment it is; this is when they are erased.
const purgeEvery = 10 * time.Minute

func (p *parts) purgeKeys(ctx context.Context) {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		if _, err := p.keyring.Purge(ctx); err != nil && ctx.Err() == nil {
			p.s.log.Error("keys to be deleted are still there", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *sweeping) stop() {
	if w == nil {
		return
	}
	w.cancel()
	w.wg.Wait()
}
