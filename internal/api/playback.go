package api

import (
	"context"
	"net/http"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/playback"
	"github.com/sluicevideo/sluice/internal/playback/dash"
	"github.com/sluicevideo/sluice/internal/playback/hls"
)

// playbackRows are the sessions and clips of archived media, and the resources
// that players load with a session's token (guide: "Actions / Amazon Kinesis
// Video Streams Archived Media"; wire-protocol of the playback URLs in docs/api.md).
func (a *API) playbackRows() []Operation {
	errors := []sluice.Code{sluice.ResourceNotFound, sluice.NoDataRetention, sluice.UnsupportedStreamMediaType,
		sluice.MissingCodecPrivateData, sluice.InvalidCodecPrivateData}
	call := func(o Operation) Operation {
		o.Path = "/" + string(o.Name[0]|0x20) + o.Name[1:]
		o.Service, o.Action = "kinesisvideo", actionOf(o.Name)
		o.Stream, o.Need = FromBody, NeedActive
		return o
	}
	rows := []Operation{
		call(Operation{
			Name: "GetHLSStreamingSessionURL", Class: limits.HLSSession, Input: hlsInput{}, JSON: a.hlsSession, Errors: errors,
			Doc: "Any client may append &LowLatency=1 to the URL of a LIVE session for low-latency HLS. " +
				"SkipUnsupported (true), which the service does not have, leaves out sound that HLS here cannot carry instead of refusing the session, and SkippedCodec in the answer names it.",
		}),
		call(Operation{
			Name: "GetDASHStreamingSessionURL", Class: limits.DASHSession, Input: dashInput{}, JSON: a.dashSession, Errors: errors,
			Doc: "Media times are the selected timestamps, counted from the epoch; gaps are not closed, players pass over them.",
		}),
		call(Operation{
			Name: "GetClip", Class: limits.DASHSession, Input: clipInput{}, Raw: a.clip, Errors: append(errors[:len(errors):len(errors)], sluice.InvalidMediaFrame),
			Doc: "The first fragments of the range that the limits allow, without the gaps between them.",
		}),
	}
	resource := func(protocol playback.Protocol, path, name, doc string, serve func(*playback.Viewer, http.ResponseWriter, *http.Request) error) {
		class := limits.Playlist
		if path == playback.MediaFragment || path == playback.TSFragment || path == playback.PartFragment {
			class = limits.Segment
		}
		prefix := "/hls/v1/"
		if protocol == playback.DASH {
			prefix = "/dash/v1/"
		}
		rows = append(rows, Operation{
			Name: name, Method: http.MethodGet, Path: prefix + path, Protocol: Plain, Service: "kinesisvideo", Auth: Token,
			Errors: []sluice.Code{sluice.AccessDenied, sluice.ResourceNotFound}, Doc: doc,
			Raw: func(w http.ResponseWriter, r *http.Request, c *Call) error {
				v, err := a.viewer(c, r, protocol)
				if err != nil {
					return err
				}
				if err := c.Limits().Allow(class, v.Key(name)); err != nil {
					return err
				}
				return serve(v, w, r)
			},
		})
	}
	text := func(kind string, make func(*playback.Viewer, context.Context) ([]byte, error)) func(*playback.Viewer, http.ResponseWriter, *http.Request) error {
		return func(v *playback.Viewer, w http.ResponseWriter, r *http.Request) error {
			b, err := make(v, r.Context())
			if err != nil {
				return err
			}
			return playback.WriteText(w, r, kind, b)
		}
	}
	media := func(get func(*playback.Viewer, context.Context) (*playback.Body, error)) func(*playback.Viewer, http.ResponseWriter, *http.Request) error {
		return func(v *playback.Viewer, w http.ResponseWriter, r *http.Request) error {
			b, err := get(v, r.Context())
			if err != nil {
				return err
			}
			if err := a.o.Limits.Pace(limits.Segment, v.Key("")).WaitN(r.Context(), int(min(b.Size(), 1<<30))); err != nil {
				return err
			}
			return b.Write(w, r)
		}
	}
	fragment := func(name string, container playback.Container) func(*playback.Viewer, context.Context) (*playback.Body, error) {
		return func(v *playback.Viewer, ctx context.Context) (*playback.Body, error) {
			return v.Fragment(ctx, name, container)
		}
	}
	const player = "For players, with the SessionToken of the URL that opened the session; 403 when the session is over."
	resource(playback.HLS, playback.MasterPlaylist, "GetHLSMasterPlaylist", player, text(hls.ContentType, (*playback.Viewer).Master))
	resource(playback.HLS, playback.MediaPlaylist, "GetHLSMediaPlaylist", player+" Low-latency sessions take _HLS_msn and _HLS_part.", text(hls.ContentType, (*playback.Viewer).Media))
	resource(playback.HLS, playback.InitFragment, "GetMP4InitFragment", player, media((*playback.Viewer).Init))
	resource(playback.HLS, playback.MediaFragment, "GetMP4MediaFragment", player, media(fragment("GetMP4MediaFragment", playback.FragmentedMP4)))
	resource(playback.HLS, playback.PartFragment, "GetMP4Part", player+" A partial segment of low-latency HLS; not in the service.", media((*playback.Viewer).Part))
	resource(playback.HLS, playback.TSFragment, "GetTSFragment", player, media(fragment("GetTSFragment", playback.MPEGTS)))
	resource(playback.DASH, playback.Manifest, "GetDASHManifest", player, text(dash.ContentType, (*playback.Viewer).Manifest))
	resource(playback.DASH, playback.InitFragment, "GetMP4InitFragment", player, media((*playback.Viewer).Init))
	resource(playback.DASH, playback.MediaFragment, "GetMP4MediaFragment", player, media(fragment("GetMP4MediaFragment", playback.FragmentedMP4)))
	return rows
}

// errNoPlayback answers where a server was put together without playback.
func errNoPlayback() error {
	return &sluice.Error{Code: sluice.UnsupportedOperation, Msg: "this server has no playback"}
}

// viewer opens the session of a token and lets the record say whose it is.
func (a *API) viewer(c *Call, r *http.Request, protocol playback.Protocol) (*playback.Viewer, error) {
	if a.o.Playback == nil {
		return nil, errNoPlayback()
	}
	v, err := a.o.Playback.Viewer(r, protocol)
	if err != nil {
		return nil, err
	}
	c.Ref = sluice.StreamRef{Name: v.Stream.Name}
	c.As(Identity{AccessKeyID: v.Session.AccessKeyID})
	return v, nil
}

type playbackSelector struct {
	FragmentSelectorType string `shape:"enum=PRODUCER_TIMESTAMP|SERVER_TIMESTAMP"`
	TimestampRange       *timestampRange
}

// ends are the bounds of a range, either of which may be missing; the guide of
// 2019 spells them otherwise.
func (t *timestampRange) ends() (from, to time.Time) {
	for _, v := range []*time.Time{t.StartTimestamp, t.StartTimeStamp} {
		if v != nil && from.IsZero() {
			from = *v
		}
	}
	for _, v := range []*time.Time{t.EndTimestamp, t.EndTimeStamp} {
		if v != nil && to.IsZero() {
			to = *v
		}
	}
	return from, to
}

type hlsInput struct {
	StreamName                      string `shape:"min=1,max=256"`
	StreamARN                       string `shape:"min=1,max=1024"`
	PlaybackMode                    string `shape:"enum=LIVE|LIVE_REPLAY|ON_DEMAND"`
	HLSFragmentSelector             *playbackSelector
	ContainerFormat                 string `shape:"enum=FRAGMENTED_MP4|MPEG_TS"`
	DiscontinuityMode               string `shape:"enum=ALWAYS|NEVER|ON_DISCONTINUITY"`
	DisplayFragmentTimestamp        string `shape:"enum=ALWAYS|NEVER"`
	Expires                         *int64 `shape:"min=300,max=43200"`
	MaxMediaPlaylistFragmentResults *int64 `shape:"min=1"`
	SkipUnsupported                 bool
}

type dashInput struct {
	StreamName                 string `shape:"min=1,max=256"`
	StreamARN                  string `shape:"min=1,max=1024"`
	PlaybackMode               string `shape:"enum=LIVE|LIVE_REPLAY|ON_DEMAND"`
	DASHFragmentSelector       *playbackSelector
	DisplayFragmentTimestamp   string `shape:"enum=ALWAYS|NEVER"`
	DisplayFragmentNumber      string `shape:"enum=ALWAYS|NEVER"`
	Expires                    *int64 `shape:"min=300,max=43200"`
	MaxManifestFragmentResults *int64 `shape:"min=1"`
	SkipUnsupported            bool
}

func (a *API) open(ctx context.Context, c *Call, r *playback.Request, selector *playbackSelector, expires, most *int64) (token string, session *playback.Session, err error) {
	if a.o.Playback == nil {
		return "", nil, errNoPlayback()
	}
	s, err := c.Stream(ctx)
	if err != nil {
		return "", nil, err
	}
	r.Stream, r.AccessKeyID, r.Remote, r.Secure = s, c.Identity.AccessKeyID, c.Remote, c.Secure
	if selector != nil {
		r.HasSelector, r.Selector = true, selector.FragmentSelectorType
		if t := selector.TimestampRange; t != nil {
			r.HasRange = true
			r.From, r.To = t.ends()
		}
	}
	if expires != nil {
		r.Expires = *expires
	}
	if most != nil {
		r.MaxResults = *most
	}
	return a.o.Playback.Open(ctx, r)
}

func (a *API) hlsSession(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*hlsInput)
	token, session, err := a.open(ctx, c, &playback.Request{
		Protocol: playback.HLS, PlaybackMode: in.PlaybackMode, Container: in.ContainerFormat, DiscontinuityMode: in.DiscontinuityMode,
		DisplayTimestamp: in.DisplayFragmentTimestamp, SkipUnsupported: in.SkipUnsupported,
	}, in.HLSFragmentSelector, in.Expires, in.MaxMediaPlaylistFragmentResults)
	if err != nil {
		return nil, err
	}
	return struct {
		HLSStreamingSessionURL string
		SkippedCodec           string `json:",omitempty"`
	}{c.BaseURL() + "/hls/v1/" + playback.MasterPlaylist + "?SessionToken=" + token, session.Skipped}, nil
}

func (a *API) dashSession(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*dashInput)
	token, session, err := a.open(ctx, c, &playback.Request{
		Protocol: playback.DASH, PlaybackMode: in.PlaybackMode, DisplayTimestamp: in.DisplayFragmentTimestamp,
		DisplayNumber: in.DisplayFragmentNumber, SkipUnsupported: in.SkipUnsupported,
	}, in.DASHFragmentSelector, in.Expires, in.MaxManifestFragmentResults)
	if err != nil {
		return nil, err
	}
	return struct {
		DASHStreamingSessionURL string
		SkippedCodec            string `json:",omitempty"`
	}{c.BaseURL() + "/dash/v1/" + playback.Manifest + "?SessionToken=" + token, session.Skipped}, nil
}

type clipInput struct {
	StreamName           string `shape:"min=1,max=256"`
	StreamARN            string `shape:"min=1,max=1024"`
	ClipFragmentSelector *struct {
		FragmentSelectorType string          `shape:"required,enum=PRODUCER_TIMESTAMP|SERVER_TIMESTAMP"`
		TimestampRange       *timestampRange `shape:"required"`
	} `shape:"required"`
}

func (a *API) clip(w http.ResponseWriter, r *http.Request, c *Call) error {
	in := c.Input.(*clipInput)
	if a.o.Playback == nil {
		return errNoPlayback()
	}
	s, err := c.Stream(r.Context())
	if err != nil {
		return err
	}
	from, to := in.ClipFragmentSelector.TimestampRange.ends()
	switch {
	case from.IsZero():
		return invalid("ClipFragmentSelector.TimestampRange.StartTimestamp: must be given")
	case to.IsZero():
		return invalid("ClipFragmentSelector.TimestampRange.EndTimestamp: must be given")
	}
	clip, err := a.o.Playback.Clip(r.Context(), &playback.ClipRequest{Stream: s, Selector: in.ClipFragmentSelector.FragmentSelectorType, From: from, To: to})
	if err != nil {
		return err
	}
	return clip.ServeHTTP(w, r)
}
