package limits

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicevideo/sluice"
)

// Class is what an operation's calls count as. Operations that share a class
// share nothing but the figures: the buckets also carry the operation's name.
type Class uint8

const (
	Free Class = iota // not limited
	CreateStream
	UpdateStream
	DeleteStream
	Describe
	ListStreams
	Endpoint
	Tags
	Retention
	PutMedia
	GetMedia
	ListFragments
	FragmentList
	HLSSession
	DASHSession
	Playlist
	Segment
	MetadataPoints
	MediaPoints
)

// Key says whose call it is.
type Key struct {
	Operation string // its API name; part of every bucket's name
	Account   string
	Stream    string // stream name or id; "" for calls that name none
	Session   string // playback session
}

// Limits counts calls and connections and paces bytes. It is safe for any
// number of goroutines.
type Limits struct {
	rules atomic.Pointer[Rules]
	rates atomic.Pointer[Rates]

	mu      sync.Mutex // the maps and the counts in them
	buckets map[bucketKey]*rate.Limiter
	open    map[bucketKey]int
	sweepAt int
}

type bucketKey struct {
	class Class
	op    string
	scope byte // 'a'ccount, 's'tream, 'p'layback session, 'b'andwidth
	name  string
}

// sweepSize is how many buckets there may be before the full ones, which have
// nothing to remember, are forgotten.
const sweepSize = 4096

// New makes a counter of the figures given.
func New(rules Rules, rates Rates) *Limits {
	l := &Limits{buckets: make(map[bucketKey]*rate.Limiter), open: make(map[bucketKey]int), sweepAt: sweepSize}
	l.Set(rules, rates)
	return l
}

// Set changes the figures. Calls already counted stay counted only where the
// figure is as before.
func (l *Limits) Set(rules Rules, rates Rates) {
	l.rules.Store(&rules)
	l.rates.Store(&rates)
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.buckets)
}

// Rules are the rules in force.
func (l *Limits) Rules() Rules { return *l.rules.Load() }

// Rates are the rates in force.
func (l *Limits) Rates() Rates { return *l.rates.Load() }

// figuresOf gives calls/s for the account and for the stream or session, and
// the burst of the latter (0: the figure itself).
func (r *Rates) figuresOf(c Class) (account, each float64, burst int) {
	switch c {
	case CreateStream:
		return r.CreateCalls, r.CreateName, 0
	case UpdateStream:
		return r.UpdateCalls, r.StreamCalls, 0
	case DeleteStream:
		return r.DeleteCalls, r.StreamCalls, 0
	case Describe:
		return r.DescribeCalls, r.StreamCalls, 0
	case ListStreams:
		return r.ListCalls, 0, 0
	case Endpoint:
		return r.EndpointCalls, r.StreamCalls, 0
	case Tags:
		return r.TagCalls, r.StreamCalls, 0
	case Retention:
		return r.RetentionCalls, r.StreamCalls, 0
	case PutMedia:
		return 0, r.PutMediaCalls, 0
	case GetMedia:
		return 0, r.GetMediaCalls, 0
	case ListFragments:
		return 0, r.ListFragmentsCalls, 0
	case FragmentList:
		return 0, r.FragmentListCalls, 0
	case HLSSession:
		return 0, r.HLSCalls, r.HLSBurst
	case DASHSession:
		return 0, r.DASHCalls, 0
	case Playlist:
		return 0, r.PlaylistCalls, 0
	case Segment:
		return 0, r.SegmentCalls, 0
	case MetadataPoints:
		return 0, r.MetadataPoints, 0
	case MediaPoints:
		return 0, r.MediaPoints, 0
	}
	return 0, 0, 0
}

// Allow counts one call. It returns a *sluice.Error with
// ClientLimitExceededException when the account or the stream has made too many.
func (l *Limits) Allow(c Class, k Key) error { return l.Take(c, k, 1) }

// Take counts n at once, for the points of MetadataPoints and MediaPoints: they
// are shared by all operations of a stream. More than a second's worth at once
// is granted when the bucket is full, and then owed.
func (l *Limits) Take(c Class, k Key, n int) error {
	rates := l.rates.Load()
	account, each, burst := rates.figuresOf(c)
	if account == 0 && each == 0 || n <= 0 {
		return nil
	}
	scope, name := byte('s'), k.Stream
	op := k.Operation
	switch c {
	case Playlist, Segment:
		if rates.PlaybackPerSession {
			scope, name = 'p', k.Session
		}
	case MetadataPoints, MediaPoints:
		op = ""
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken *rate.Limiter
	if account != 0 {
		taken = l.bucketLocked(bucketKey{c, op, 'a', k.Account}, account, 0, now)
		if !takeN(taken, now, n) {
			return exceeded(k.Operation, "account "+k.Account, account)
		}
	}
	if each != 0 && name != "" {
		if !takeN(l.bucketLocked(bucketKey{c, op, scope, name}, each, burst, now), now, n) {
			if taken != nil {
				// A call that the stream refuses does not use up the account's.
				taken.ReserveN(now, -n)
			}
			return exceeded(k.Operation, "resource '"+k.Stream+"'", each)
		}
	}
	return nil
}

// takeN is AllowN, except that n beyond the burst is granted from a full bucket
// and leaves a debt: one large answer is never refused for ever.
func takeN(b *rate.Limiter, now time.Time, n int) bool {
	if n <= b.Burst() {
		return b.AllowN(now, n)
	}
	if b.TokensAt(now) < float64(b.Burst()) {
		return false
	}
	for n > 0 {
		part := min(n, b.Burst())
		b.ReserveN(now, part)
		n -= part
	}
	return true
}

func exceeded(op, of string, figure float64) error {
	return &sluice.Error{Code: sluice.ClientLimitExceeded,
		Msg: fmt.Sprintf("Limit exceeded on number of requests for %s API for %s: at most %v a second", op, of, figure)}
}

func (l *Limits) bucketLocked(k bucketKey, perSecond float64, burst int, now time.Time) *rate.Limiter {
	b := l.buckets[k]
	if b == nil {
		if len(l.buckets) >= l.sweepAt {
			for k, b := range l.buckets {
				if b.TokensAt(now) >= float64(b.Burst()) {
					delete(l.buckets, k)
				}
			}
			l.sweepAt = max(sweepSize, 2*len(l.buckets))
		}
		if burst == 0 {
			burst = max(1, int(math.Ceil(perSecond)))
		}
		b = rate.NewLimiter(rate.Limit(perSecond), burst)
		l.buckets[k] = b
	}
	return b
}

// Connect counts a connection of GetMedia or FragmentList on a stream. It
// returns a *sluice.Error with ConnectionLimitExceededException when there are
// too many; else release must be called once, when the connection ends.
func (l *Limits) Connect(c Class, k Key) (release func(), err error) {
	most := 0
	switch rates := l.rates.Load(); c {
	case GetMedia:
		most = rates.GetMediaConnections
	case FragmentList:
		most = rates.FragmentListConnections
	}
	key := bucketKey{c, "", 's', k.Stream}
	l.mu.Lock()
	defer l.mu.Unlock()
	if most != 0 && l.open[key] >= most {
		return nil, &sluice.Error{Code: sluice.ConnectionLimitExceeded,
			Msg: fmt.Sprintf("%s: stream '%s' has %d connections, at most %d", k.Operation, k.Stream, l.open[key], most)}
	}
	// Counted without a limit too: one may be set while connections are open.
	l.open[key]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open[key]--; l.open[key] == 0 {
			delete(l.open, key)
		}
	}), nil
}

// Pacer slows a reader or a writer down to the bandwidth of its class.
type Pacer struct {
	l   *Limits
	c   Class
	key bucketKey
}

// Pace gives the pacer of a class. Pacers of one stream share its bandwidth for
// PutMedia and Segment; GetMedia and FragmentList have it for each connection,
// named by k.Session.
func (l *Limits) Pace(c Class, k Key) Pacer {
	name := k.Stream
	if c == GetMedia || c == FragmentList {
		name = k.Session
	}
	return Pacer{l, c, bucketKey{c, "", 'b', name}}
}

// WaitN waits until n more bytes may pass. It returns ctx's error when that
// ends first.
func (p Pacer) WaitN(ctx context.Context, n int) error {
	var perSecond int64
	switch rates := p.l.rates.Load(); p.c {
	case PutMedia:
		perSecond = rates.PutMediaBandwidth
	case GetMedia:
		perSecond = rates.GetMediaBandwidth
	case FragmentList:
		perSecond = rates.FragmentListBandwidth
	case Segment:
		perSecond = rates.SegmentBandwidth
	}
	if perSecond == 0 {
		return nil
	}
	p.l.mu.Lock()
	b := p.l.bucketLocked(p.key, float64(perSecond), 0, time.Now())
	p.l.mu.Unlock()
	for n > 0 {
		part := min(n, b.Burst())
		if err := b.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}
