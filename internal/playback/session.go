package playback

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/mux/fmp4"
	"github.com/sluicevideo/sluice/internal/mux/ts"
	"github.com/sluicevideo/sluice/internal/store"
)

// Request is what GetHLSStreamingSessionURL and GetDASHStreamingSessionURL ask
// for. Texts are members of the call as sent; "" and 0 take the default.
type Request struct {
	Protocol    Protocol
	Stream      catalog.Stream
	AccessKeyID string
	Remote      netip.Addr // of the call that opens the session
	Secure      bool

	PlaybackMode      string
	HasSelector       bool
	Selector          string // FragmentSelectorType
	HasRange          bool
	From, To          time.Time // zero: not given
	Container         string
	DiscontinuityMode string
	DisplayTimestamp  string
	DisplayNumber     string
	Expires           int64
	MaxResults        int64
	SkipUnsupported   bool // ours
}

const (
	defaultExpires = 300
	minExpires     = 300
	maxExpires     = 43200
	// longestPlaylist is what a playlist may have where no limit is set.
	longestPlaylist = 10_000
	// liveAge: LIVE wants a fragment that is no older (API reference, ResourceNotFoundException).
	liveAge = 30 * time.Second
)

func (r *Request) operation() string {
	if r.Protocol == DASH {
		return "GetDASHStreamingSessionURL"
	}
	return "GetHLSStreamingSessionURL"
}

func (r *Request) selectorName() string {
	if r.Protocol == DASH {
		return "DASHFragmentSelector"
	}
	return "HLSFragmentSelector"
}

// pick is the value for text in names, or the first of them for "".
func pick[T any](member, text string, names []string, values ...T) (T, error) {
	if text == "" {
		return values[0], nil
	}
	if i := slices.Index(names, text); i >= 0 {
		return values[i], nil
	}
	return values[0], invalid(fmt.Sprintf("%s %q: must be one of %v", member, clip(text), names))
}

func switchOn(member, text string) (bool, error) {
	return pick(member, text, []string{"NEVER", "ALWAYS"}, false, true)
}

// session reads the request into a session, by the rules of the API reference.
func (p *Playback) session(r *Request) (*Session, error) {
	rules := p.o.Limits.Rules()
	s := &Session{Stream: r.Stream.ID, AccessKeyID: r.AccessKeyID, Remote: r.Remote, Secure: r.Secure, Protocol: r.Protocol, SkipUnknown: r.SkipUnsupported,
		LowLatency: p.o.LowLatency && r.Protocol == HLS, OneHeader: rules.PlaybackGuide || r.Protocol == DASH, Overlap: rules.PlaybackGuide}
	var err error
	if s.Mode, err = pick("PlaybackMode", r.PlaybackMode, []string{"LIVE", "LIVE_REPLAY", "ON_DEMAND"}, Live, LiveReplay, OnDemand); err != nil {
		return nil, err
	}
	if s.Clock, err = pick(r.selectorName()+".FragmentSelectorType", r.Selector, []string{"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"}, sluice.ServerClock, sluice.ProducerClock); err != nil {
		return nil, err
	}
	if s.Container, err = pick("ContainerFormat", r.Container, []string{"FRAGMENTED_MP4", "MPEG_TS"}, FragmentedMP4, MPEGTS); err != nil {
		return nil, err
	}
	byClock := Always
	if s.Clock == sluice.ProducerClock {
		byClock = Never
	}
	if s.Discontinuity, err = pick("DiscontinuityMode", r.DiscontinuityMode, []string{"", "ALWAYS", "NEVER", "ON_DISCONTINUITY"}, byClock, Always, Never, OnDiscontinuity); err != nil {
		return nil, err
	}
	if s.ShowTimes, err = switchOn("DisplayFragmentTimestamp", r.DisplayTimestamp); err != nil {
		return nil, err
	}
	if s.ShowNumbers, err = switchOn("DisplayFragmentNumber", r.DisplayNumber); err != nil {
		return nil, err
	}
	now := p.o.Now().UTC().Truncate(time.Millisecond)
	expires := r.Expires
	if expires == 0 {
		expires = defaultExpires
	}
	if expires < minExpires || expires > maxExpires {
		return nil, invalid(fmt.Sprintf("Expires: is %d, must be %d to %d seconds", expires, minExpires, maxExpires))
	}
	s.Created, s.Expires = now, now.Add(time.Duration(expires)*time.Second)
	if s.Max, err = p.maxResults(r, s.Mode); err != nil {
		return nil, err
	}
	if s.Mode == Live {
		s.LowLatency = s.LowLatency && s.Container == FragmentedMP4
	} else {
		s.LowLatency = false
	}
	return s, p.bounds(r, s, now)
}

func (p *Playback) maxResults(r *Request, mode Mode) (int, error) {
	name := "MaxMediaPlaylistFragmentResults"
	if r.Protocol == DASH {
		name = "MaxManifestFragmentResults"
	}
	most := int64(p.o.Limits.Rules().PlaylistFragments)
	if most == 0 {
		most = longestPlaylist
	}
	switch {
	case r.MaxResults < 0 || r.MaxResults > most:
		return 0, invalid(fmt.Sprintf("%s: is %d, must be 1 to %d", name, r.MaxResults, most))
	case r.MaxResults > 0:
		return int(r.MaxResults), nil
	case mode == OnDemand:
		return int(min(1000, most)), nil
	}
	return 5, nil
}

// bounds checks and takes the time range.
func (p *Playback) bounds(r *Request, s *Session, now time.Time) error {
	name := r.selectorName()
	if s.Mode == Live {
		if r.HasRange {
			return invalid(name + ".TimestampRange: must not be given with PlaybackMode LIVE")
		}
		return nil
	}
	if !r.HasSelector {
		return invalid(name + ": must be given with PlaybackMode " + r.PlaybackMode)
	}
	if !r.HasRange || r.From.IsZero() {
		return invalid(name + ".TimestampRange.StartTimestamp: must be given with PlaybackMode " + r.PlaybackMode)
	}
	s.From, s.To = r.From.UTC(), r.To.UTC()
	if r.To.IsZero() {
		if s.Mode == OnDemand {
			return invalid(name + ".TimestampRange.EndTimestamp: must be given with PlaybackMode ON_DEMAND")
		}
		s.To = time.Time{}
	}
	rules := p.o.Limits.Rules()
	most := rules.HLSRange
	if r.Protocol == DASH {
		most = rules.DASHRange
	}
	if s.Mode == LiveReplay {
		most = 0
	}
	return checkRange(name, s.Clock, s.From, s.To, most, now)
}

func checkRange(name string, clock sluice.Clock, from, to time.Time, most time.Duration, now time.Time) error {
	if to.IsZero() {
		return nil
	}
	if !to.After(from) {
		return invalid(name + ".TimestampRange.EndTimestamp: must be later than StartTimestamp")
	}
	if most > 0 && to.Sub(from) > most {
		return invalid(fmt.Sprintf("%s.TimestampRange.EndTimestamp: must be within %s of StartTimestamp", name, strings.TrimSuffix(most.String(), "0m0s")))
	}
	if clock == sluice.ServerClock && to.After(now) {
		return invalid(name + ".TimestampRange.EndTimestamp: must be in the past with FragmentSelectorType SERVER_TIMESTAMP")
	}
	return nil
}

// demands of a session.
func (s *Session) demands(operation string) demands {
	d := demands{supports: fmp4.Supports, guide: s.OneHeader && s.Protocol == HLS, skip: s.SkipUnknown, onlyAAC: s.Protocol == HLS, operation: operation}
	if s.Container == MPEGTS {
		d.supports = ts.Supports
	}
	return d
}

// Open starts a session and returns its token. It returns *sluice.Error for all
// that is the caller's to know.
func (p *Playback) Open(ctx context.Context, r *Request) (token string, s *Session, err error) {
	if s, err = p.session(r); err != nil {
		return "", nil, err
	}
	if r.Stream.Retention == 0 {
		return "", nil, &sluice.Error{Code: sluice.NoDataRetention,
			Msg: r.operation() + ": stream " + r.Stream.Name + " retains no data (DataRetentionInHours is 0)"}
	}
	list, err := p.first(ctx, s, r)
	if err != nil {
		return "", nil, err
	}
	if len(list) == 0 {
		if s.Mode == Live {
			return "", nil, notFound(r.operation() + ": stream " + r.Stream.Name + " has no fragments within the last 30 seconds")
		}
		return "", nil, notFound(r.operation() + ": stream " + r.Stream.Name + " has no fragments in the requested time range")
	}
	if err := p.describe(ctx, s, list); err != nil {
		if errors.Is(err, ErrGone) {
			return "", nil, notFound(r.operation() + ": the fragments of stream " + r.Stream.Name + " have expired")
		}
		return "", nil, err
	}
	if token, err = p.seal.Seal(s); err != nil {
		return "", nil, err
	}
	p.admit(s)
	return token, s, nil
}

// first gives the fragments that the session begins with, in playlist order.
func (p *Playback) first(ctx context.Context, s *Session, r *Request) ([]store.Entry, error) {
	switch s.Mode {
	case Live:
		list, err := p.newest(ctx, s.Stream, 0, s.Max)
		if err != nil || len(list) == 0 || list[len(list)-1].Server().Add(list[len(list)-1].Length()+liveAge).Before(s.Created) {
			return nil, err
		}
		return list, nil
	case LiveReplay:
		list, err := p.selectRange(ctx, s.Stream, s.Clock, s.From, s.To, s.Overlap, s.Max)
		if len(list) > 0 {
			// So much is there at once that a player can begin.
			s.Lead = max(startOf(&list[len(list)-1], s.Clock).Sub(s.From), 0)
		}
		return list, err
	}
	return p.selectRange(ctx, s.Stream, s.Clock, s.From, s.To, s.Overlap, min(s.Max, 2))
}

// describe looks into the first fragment: what it is, and whether it plays.
func (p *Playback) describe(ctx context.Context, s *Session, list []store.Entry) error {
	e := &list[0]
	sh, err := p.shape(ctx, s.Stream, e.Number)
	if err != nil {
		return err
	}
	operation := (&Request{Protocol: s.Protocol}).operation()
	sel, err := choose(sh.tracks, s.demands(operation))
	if err != nil {
		return err
	}
	s.Skipped = sel.skipped
	s.First, s.Position, s.Print = e.Number.Sequence(), e.Position, sh.print
	if s.Frame = sh.frame; s.Frame == 0 {
		// One frame that does not say how long it lasts: until the next fragment.
		s.Frame = time.Second
		if len(list) > 1 {
			if d := startOf(&list[1], s.Clock).Sub(startOf(e, s.Clock)); d > 0 && d <= maxStill {
				s.Frame = d
			}
		}
	}
	s.Frame = s.Frame.Truncate(time.Microsecond)
	s.Skew = e.Server().Sub(startOf(e, s.Clock))
	for i := range list {
		s.Target = max(s.Target, list[i].Length()+s.Frame)
	}
	s.Target = s.Target.Truncate(time.Millisecond)
	return nil
}

// maxStill is how long a lone frame may be taken to last.
const maxStill = 20 * time.Second

// admit counts a session where their number is limited: a new one ends the
// oldest (guide, "Limits").
func (p *Playback) admit(s *Session) {
	most := p.o.Limits.Rates().HLSSessions
	if most == 0 || s.Protocol != HLS {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.opened[s.Stream]
	list = append(slices.DeleteFunc(list, func(o admission) bool { return !o.expires.After(s.Created) }), admission{s.ID, s.Created, s.Expires})
	if over := len(list) - most; over > 0 {
		list = slices.Delete(list, 0, over)
	}
	p.opened[s.Stream] = list
}

// admission is a session that counts.
type admission struct {
	id               string
	created, expires time.Time
}

// admitted reports whether the session is still among those that count. Sessions
// from before a restart are not known; they end by newer ones all the same.
func (p *Playback) admitted(s *Session) bool {
	most := p.o.Limits.Rates().HLSSessions
	if most == 0 || s.Protocol != HLS {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.opened[s.Stream]
	if slices.ContainsFunc(list, func(o admission) bool { return o.id == s.ID }) {
		return true
	}
	return len(list) < most && (len(list) == 0 || s.Created.Before(list[0].created))
}

// permitAge is how long a permission is believed: a key that is gone ends its
// sessions no later.
const permitAge = 5 * time.Second

type permitKey struct {
	stream            sluice.StreamID
	accessKey, action string
	remote            netip.Addr
	secure            bool
}

type permit struct {
	asked time.Time
	err   error
}

// Resume opens the token of a request: the session, when it is still one, and
// its stream. Failures are AccessDeniedException (403) when the session is over
// or the token is not one of ours, and ResourceNotFoundException when the stream
// is gone.
func (p *Playback) Resume(ctx context.Context, token string, protocol Protocol) (*Session, catalog.Stream, error) {
	if token == "" {
		return nil, catalog.Stream{}, denied("SessionToken: must be given")
	}
	s, err := p.seal.Open(token)
	if err != nil || s.Protocol != protocol {
		return nil, catalog.Stream{}, denied("SessionToken: is not valid")
	}
	if !p.o.Now().Before(s.Expires) {
		return nil, catalog.Stream{}, denied("SessionToken: the session has expired")
	}
	if !p.admitted(s) {
		return nil, catalog.Stream{}, denied("SessionToken: the session has been ended by a newer one")
	}
	stream, err := p.o.Source.ByID(ctx, s.Stream)
	if err != nil {
		return nil, catalog.Stream{}, err
	}
	return s, stream, p.permitted(ctx, s, &stream)
}

func (p *Playback) permitted(ctx context.Context, s *Session, stream *catalog.Stream) error {
	if p.o.Permit == nil {
		return nil
	}
	action := ActionHLS
	if s.Protocol == DASH {
		action = ActionDASH
	}
	k := permitKey{s.Stream, s.AccessKeyID, action, s.Remote, s.Secure}
	now := p.o.Now()
	p.mu.Lock()
	last, ok := p.permits[k]
	p.mu.Unlock()
	if !ok || now.Sub(last.asked) >= permitAge || now.Before(last.asked) {
		last = permit{now, p.o.Permit(ctx, s, action, stream)}
		p.mu.Lock()
		if len(p.permits) >= maxTimelines {
			clear(p.permits)
		}
		p.permits[k] = last
		p.mu.Unlock()
	}
	if last.err != nil {
		return denied("SessionToken: the session's access key may no longer use it")
	}
	return nil
}
