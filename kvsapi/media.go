package kvsapi

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/sluicevideo/sluice"
)

// Media is the answer of GetMedia, GetMediaForFragmentList or GetClip. It is read
// once, and must be closed.
type Media struct {
	io.ReadCloser
	ContentType string // video/webm, video/mp4
	RequestID   string
	Length      int64 // bytes that will come; -1: not known
}

type startSelector struct {
	StartSelectorType   sluice.SelectorType
	AfterFragmentNumber *sluice.FragmentNumber `json:",omitempty"`
	ContinuationToken   *sluice.FragmentNumber `json:",omitempty"`
	StartTimestamp      *epoch                 `json:",omitempty"`
}

func selector(s sluice.StartSelector) startSelector {
	w := startSelector{StartSelectorType: s.Type}
	switch s.Type {
	case sluice.SelectFragmentNumber:
		w.AfterFragmentNumber = &s.After
	case sluice.SelectContinuationToken:
		w.ContinuationToken = &s.After
	case sluice.SelectServerTimestamp, sluice.SelectProducerTimestamp:
		e := epoch(s.Time)
		w.StartTimestamp = &e
	}
	return w
}

// GetMedia follows a stream from the place that from names: chunks of Matroska,
// one a fragment, until ctx ends, the Media is closed or the server ends it.
func (c *Client) GetMedia(ctx context.Context, stream sluice.StreamRef, from sluice.StartSelector) (*Media, error) {
	in := struct {
		streamName
		StartSelector startSelector
	}{nameOf(stream), selector(from)}
	return c.media(c.post(ctx, stream, apiGetMedia, "GetMedia", "/getMedia", in))
}

// GetMediaForFragmentList returns the chunks of 1 to 1000 fragments, in the order
// given. One that is not there becomes a chunk of error tags.
func (c *Client) GetMediaForFragmentList(ctx context.Context, stream sluice.StreamRef, fragments []sluice.FragmentNumber) (*Media, error) {
	in := struct {
		streamName
		Fragments []sluice.FragmentNumber
	}{nameOf(stream), fragments}
	return c.media(c.post(ctx, stream, apiGetMediaForFragmentList, "GetMediaForFragmentList", "/getMediaForFragmentList", in))
}

// ListFragmentsInput selects the fragments whose start lies in From to To, both
// included.
type ListFragmentsInput struct {
	Stream   sluice.StreamRef
	Clock    sluice.Clock // which of a fragment's times From and To are
	From, To time.Time    // both zero: no selector, which only a request with NextToken may leave out
	Max      int          // 1 to 1000; 0: the server's default
	// NextToken goes on where an earlier answer ended. It carries the selector.
	NextToken string
}

// FragmentInfo is one fragment of a list.
type FragmentInfo struct {
	Number            sluice.FragmentNumber
	Size              int64 // bytes, without what the service adds
	ProducerTimestamp time.Time
	ServerTimestamp   time.Time
	// Length is from the first frame's time to the last frame's, so without the
	// duration of the last.
	Length time.Duration
}

// ListFragments returns one page, in no promised order, and the token of the next
// page: "" after the last.
func (c *Client) ListFragments(ctx context.Context, in *ListFragmentsInput) (fragments []FragmentInfo, next string, err error) {
	w := struct {
		streamName
		MaxResults       int               `json:",omitempty"`
		NextToken        string            `json:",omitempty"`
		FragmentSelector *fragmentSelector `json:",omitempty"`
	}{streamName: nameOf(in.Stream), MaxResults: in.Max, NextToken: in.NextToken}
	if !in.From.IsZero() || !in.To.IsZero() {
		w.FragmentSelector = rangeSelector(in.Clock, in.From, in.To)
	}
	var out struct {
		Fragments []struct {
			FragmentNumber               sluice.FragmentNumber
			FragmentSizeInBytes          int64
			ProducerTimestamp            epoch
			ServerTimestamp              epoch
			FragmentLengthInMilliseconds int64
		}
		NextToken string
	}
	if err := c.postJSON(ctx, in.Stream, apiListFragments, "ListFragments", "/listFragments", w, &out); err != nil {
		return nil, "", err
	}
	fragments = make([]FragmentInfo, len(out.Fragments))
	for i, f := range out.Fragments {
		fragments[i] = FragmentInfo{
			Number: f.FragmentNumber, Size: f.FragmentSizeInBytes,
			ProducerTimestamp: time.Time(f.ProducerTimestamp), ServerTimestamp: time.Time(f.ServerTimestamp),
			Length: time.Duration(f.FragmentLengthInMilliseconds) * time.Millisecond,
		}
	}
	return fragments, out.NextToken, nil
}

type timestampRange struct {
	StartTimestamp epoch
	EndTimestamp   *epoch `json:",omitempty"`
}

type fragmentSelector struct {
	FragmentSelectorType string
	TimestampRange       *timestampRange `json:",omitempty"`
}

func clockName(c sluice.Clock) string {
	if c == sluice.ProducerClock {
		return "PRODUCER_TIMESTAMP"
	}
	return "SERVER_TIMESTAMP"
}

// rangeSelector leaves out what is zero: a live session has no range, a replay
// may have no end.
func rangeSelector(clock sluice.Clock, from, to time.Time) *fragmentSelector {
	s := &fragmentSelector{FragmentSelectorType: clockName(clock)}
	if !from.IsZero() {
		s.TimestampRange = &timestampRange{StartTimestamp: epoch(from)}
		if !to.IsZero() {
			e := epoch(to)
			s.TimestampRange.EndTimestamp = &e
		}
	}
	return s
}

func (c *Client) media(resp *http.Response, err error) (*Media, error) {
	if err != nil {
		return nil, err
	}
	return &Media{
		ReadCloser:  resp.Body,
		ContentType: resp.Header.Get("Content-Type"),
		RequestID:   resp.Header.Get("X-Amzn-Requestid"),
		Length:      resp.ContentLength,
	}, nil
}
