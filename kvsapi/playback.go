package kvsapi

import (
	"context"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice"
)

// The modes of a streaming session (PlaybackMode).
const (
	Live       = "LIVE"
	LiveReplay = "LIVE_REPLAY"
	OnDemand   = "ON_DEMAND"
)

// HLSInput asks for an HLS session. What is left zero is the server's default.
type HLSInput struct {
	Stream           sluice.StreamRef
	Mode             string       // Live, LiveReplay, OnDemand
	Clock            sluice.Clock // the playlist's times, and those of From and To
	From, To         time.Time    // LiveReplay: From and perhaps To; OnDemand: both
	Container        string       // FRAGMENTED_MP4, MPEG_TS
	Discontinuity    string       // ALWAYS, NEVER, ON_DISCONTINUITY
	DisplayTimestamp bool
	Expires          time.Duration
	MaxFragments     int
	// SkipUnsupported, of Sluice only, leaves out sound that HLS cannot carry
	// instead of refusing the session; AWS passes over it.
	SkipUnsupported bool
}

// GetHLSStreamingSessionURL returns the URL of a master playlist. Whoever has the
// URL can play: it carries a token.
func (c *Client) GetHLSStreamingSessionURL(ctx context.Context, in *HLSInput) (string, error) {
	s, err := c.HLSSession(ctx, in)
	return s.URL, err
}

// StreamingSession is an opened session.
type StreamingSession struct {
	URL string
	// Skipped is the codec of sound that was left out; "": none was.
	Skipped string
}

// HLSSession is GetHLSStreamingSessionURL with what Sluice says beside the URL.
func (c *Client) HLSSession(ctx context.Context, in *HLSInput) (StreamingSession, error) {
	w := struct {
		streamName
		PlaybackMode                    string            `json:",omitempty"`
		HLSFragmentSelector             *fragmentSelector `json:",omitempty"`
		ContainerFormat                 string            `json:",omitempty"`
		DiscontinuityMode               string            `json:",omitempty"`
		DisplayFragmentTimestamp        string            `json:",omitempty"`
		Expires                         int64             `json:",omitempty"`
		MaxMediaPlaylistFragmentResults int               `json:",omitempty"`
		SkipUnsupported                 bool              `json:",omitempty"`
	}{
		nameOf(in.Stream), in.Mode, rangeSelector(in.Clock, in.From, in.To), in.Container, in.Discontinuity,
		display(in.DisplayTimestamp), int64(in.Expires / time.Second), in.MaxFragments, in.SkipUnsupported,
	}
	var out struct{ HLSStreamingSessionURL, SkippedCodec string }
	err := c.postJSON(ctx, in.Stream, apiGetHLS, "GetHLSStreamingSessionURL", "/getHLSStreamingSessionURL", w, &out)
	return StreamingSession{out.HLSStreamingSessionURL, out.SkippedCodec}, err
}

// DASHInput asks for a DASH session. What is left zero is the server's default.
type DASHInput struct {
	Stream           sluice.StreamRef
	Mode             string
	Clock            sluice.Clock
	From, To         time.Time
	DisplayTimestamp bool
	DisplayNumber    bool
	Expires          time.Duration
	MaxFragments     int
	SkipUnsupported  bool // as in HLSInput
}

// GetDASHStreamingSessionURL returns the URL of a manifest. Whoever has the URL
// can play: it carries a token.
func (c *Client) GetDASHStreamingSessionURL(ctx context.Context, in *DASHInput) (string, error) {
	s, err := c.DASHSession(ctx, in)
	return s.URL, err
}

// DASHSession is GetDASHStreamingSessionURL with what Sluice says beside the URL.
func (c *Client) DASHSession(ctx context.Context, in *DASHInput) (StreamingSession, error) {
	w := struct {
		streamName
		PlaybackMode               string            `json:",omitempty"`
		DASHFragmentSelector       *fragmentSelector `json:",omitempty"`
		DisplayFragmentTimestamp   string            `json:",omitempty"`
		DisplayFragmentNumber      string            `json:",omitempty"`
		Expires                    int64             `json:",omitempty"`
		MaxManifestFragmentResults int               `json:",omitempty"`
		SkipUnsupported            bool              `json:",omitempty"`
	}{
		nameOf(in.Stream), in.Mode, rangeSelector(in.Clock, in.From, in.To),
		display(in.DisplayTimestamp), display(in.DisplayNumber), int64(in.Expires / time.Second), in.MaxFragments, in.SkipUnsupported,
	}
	var out struct{ DASHStreamingSessionURL, SkippedCodec string }
	err := c.postJSON(ctx, in.Stream, apiGetDASH, "GetDASHStreamingSessionURL", "/getDASHStreamingSessionURL", w, &out)
	return StreamingSession{out.DASHStreamingSessionURL, out.SkippedCodec}, err
}

func display(yes bool) string {
	if yes {
		return "ALWAYS"
	}
	return ""
}

// GetClip returns an MP4 file of the fragments between from and to, up to the
// service's limits.
func (c *Client) GetClip(ctx context.Context, stream sluice.StreamRef, clock sluice.Clock, from, to time.Time) (*Media, error) {
	in := struct {
		streamName
		ClipFragmentSelector *fragmentSelector
	}{nameOf(stream), rangeSelector(clock, from, to)}
	return c.media(c.post(ctx, stream, apiGetClip, "GetClip", "/getClip", in))
}

// ImagesInput asks for pictures out of a stream.
type ImagesInput struct {
	Stream        sluice.StreamRef
	Clock         sluice.Clock
	From, To      time.Time
	Interval      time.Duration // 0: the server's default
	Format        string        // JPEG, PNG
	Quality       int           // JPEG, 1 to 100; 0: the server's default
	Width, Height int           // pixels; 0: not given
	Max           int
	NextToken     string
}

// Image is one picture, or why there is none.
type Image struct {
	Time    time.Time
	Error   string // NO_MEDIA, MEDIA_ERROR; "": there is a picture
	Content []byte
}

// GetImages returns one page of pictures and the token of the next page: "" after
// the last.
func (c *Client) GetImages(ctx context.Context, in *ImagesInput) (images []Image, next string, err error) {
	w := struct {
		streamName
		ImageSelectorType string
		StartTimestamp    epoch
		EndTimestamp      epoch
		SamplingInterval  int64 `json:",omitempty"`
		Format            string
		FormatConfig      map[string]string `json:",omitempty"`
		WidthPixels       int               `json:",omitempty"`
		HeightPixels      int               `json:",omitempty"`
		MaxResults        int               `json:",omitempty"`
		NextToken         string            `json:",omitempty"`
	}{
		streamName: nameOf(in.Stream), ImageSelectorType: clockName(in.Clock), StartTimestamp: epoch(in.From), EndTimestamp: epoch(in.To),
		SamplingInterval: in.Interval.Milliseconds(), Format: in.Format, WidthPixels: in.Width, HeightPixels: in.Height,
		MaxResults: in.Max, NextToken: in.NextToken,
	}
	if in.Quality != 0 {
		w.FormatConfig = map[string]string{"JPEGQuality": strconv.Itoa(in.Quality)}
	}
	var out struct {
		Images []struct {
			TimeStamp    epoch
			Error        string
			ImageContent []byte
		}
		NextToken string
	}
	if err := c.postJSON(ctx, in.Stream, apiGetImages, "GetImages", "/getImages", w, &out); err != nil {
		return nil, "", err
	}
	images = make([]Image, len(out.Images))
	for i, p := range out.Images {
		images[i] = Image{time.Time(p.TimeStamp), p.Error, p.ImageContent}
	}
	return images, out.NextToken, nil
}
