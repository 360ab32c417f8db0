package api

import (
	"context"
	"net/http"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/egress"
	"github.com/sluicevideo/sluice/internal/ingest"
	"github.com/sluicevideo/sluice/internal/limits"
)

// mediaRows are the operations on media, live and archived (guide: "Actions /
// Amazon Kinesis Video Streams Media" and "... Archived Media"; playback apart).
func (a *API) mediaRows() []Operation {
	return []Operation{
		{
			Name: "PutMedia", Path: "/putMedia", Service: "kinesisvideo", Action: actionOf("PutMedia"), Class: limits.PutMedia,
			Streams: true, Stream: FromHeader, Need: NeedActive, Raw: a.putMedia,
			Errors: []sluice.Code{sluice.ClientLimitExceeded, sluice.ResourceNotFound},
			Doc: "Members are headers: x-amzn-stream-name or x-amzn-stream-arn, x-amzn-fragment-timecode-type, x-amzn-producer-start-timestamp, " +
				"x-amzn-fragment-acknowledgment-required (0: errors only). The answer begins at once; RECEIVED comes together with PERSISTED, once the fragment " +
				"survives a power cut, and at the end of the fragment on a stream without retention. Trouble with the stream's KMS key is an ERROR acknowledgement.",
		},
		{
			Name: "GetMedia", Path: "/getMedia", Service: "kinesisvideo", Action: actionOf("GetMedia"), Class: limits.GetMedia,
			Input: getMediaInput{}, Stream: FromBody, Need: NeedActive, Raw: a.getMedia,
			Errors: []sluice.Code{sluice.ClientLimitExceeded, sluice.ConnectionLimitExceeded, sluice.ResourceNotFound},
			Doc: "Fragments are sent while they arrive. A fragment number and a continuation token are positions: reading starts at the first fragment above. " +
				"On a silent stream nothing is sent and the connection stays.",
		},
		{
			Name: "GetMediaForFragmentList", Path: "/getMediaForFragmentList", Service: "kinesisvideo", Action: actionOf("GetMediaForFragmentList"), Class: limits.FragmentList,
			Input: fragmentListInput{}, Stream: FromBody, Need: NeedActive, Raw: a.getMediaForFragmentList,
			Errors: []sluice.Code{sluice.ClientLimitExceeded, sluice.ConnectionLimitExceeded, sluice.ResourceNotFound},
			Doc:    "In the order asked. A fragment that is not there is a chunk of error tags in its place. The timestamp tags are named as in GetMedia, as the service names them.",
		},
		{
			Name: "ListFragments", Path: "/listFragments", Service: "kinesisvideo", Action: actionOf("ListFragments"), Class: limits.ListFragments,
			Input: listFragmentsInput{}, Stream: FromBody, Need: NeedActive, JSON: a.listFragments,
			Errors: []sluice.Code{sluice.ClientLimitExceeded, sluice.ResourceNotFound},
			Doc: "In the order of the selected time. Both ends of the range are inclusive and speak of a fragment's start. A NextToken carries the selector and the page size. " +
				"StartTimeStamp and EndTimeStamp, as the guide prints them, are taken too.",
		},
	}
}

func (a *API) putMedia(w http.ResponseWriter, r *http.Request, c *Call) error {
	return a.o.Ingest.Serve(w, r, ingest.Request{
		Ref: c.Ref, RequestID: c.RequestID, Remote: c.Remote.String(), Key: c.LimitKey(), Logger: c.Logger().With("stream", c.Ref.String()),
	})
}

type getMediaInput struct {
	StreamName    string         `shape:"min=1,max=256"`
	StreamARN     string         `shape:"min=1,max=1024"`
	StartSelector *startSelector `shape:"required"`
}

type startSelector struct {
	StartSelectorType   string `shape:"required,enum=FRAGMENT_NUMBER|SERVER_TIMESTAMP|PRODUCER_TIMESTAMP|NOW|EARLIEST|CONTINUATION_TOKEN"`
	AfterFragmentNumber string `shape:"min=1,max=128,pattern=digits"`
	StartTimestamp      *time.Time
	ContinuationToken   string `shape:"min=1,max=128,pattern=name"`
}

// selector checks what goes with the type. Members that another type would use
// are passed over.
func (in *startSelector) selector() (sluice.StartSelector, error) {
	s := sluice.StartSelector{Type: sluice.SelectorType(in.StartSelectorType)}
	text, field := "", ""
	switch s.Type {
	case sluice.SelectFragmentNumber:
		text, field = in.AfterFragmentNumber, "AfterFragmentNumber"
	case sluice.SelectContinuationToken:
		text, field = in.ContinuationToken, "ContinuationToken"
	case sluice.SelectServerTimestamp, sluice.SelectProducerTimestamp:
		if in.StartTimestamp == nil {
			return s, invalid("StartSelector.StartTimestamp: must be given with StartSelectorType %s", s.Type)
		}
		s.Time = *in.StartTimestamp
	}
	if field != "" {
		if text == "" {
			return s, invalid("StartSelector.%s: must be given with StartSelectorType %s", field, s.Type)
		}
		n, err := sluice.ParseFragmentNumber(text)
		if err != nil {
			return s, invalid("StartSelector.%s: is not a fragment number", field)
		}
		s.After = n
	}
	return s, nil
}

// mediaKey is the key of a connection: each has its own bandwidth.
func (c *Call) mediaKey() limits.Key {
	k := c.LimitKey()
	k.Session = c.RequestID
	return k
}

func (a *API) getMedia(w http.ResponseWriter, r *http.Request, c *Call) error {
	from, err := c.Input.(*getMediaInput).StartSelector.selector()
	if err != nil {
		return err
	}
	return a.o.Egress.GetMedia(w, r, egress.Request{Ref: c.Ref, Key: c.mediaKey(), Logger: c.Logger()}, from)
}

type fragmentListInput struct {
	StreamName string   `shape:"min=1,max=256"`
	StreamARN  string   `shape:"min=1,max=1024"`
	Fragments  []string `shape:"required,min=1,value.min=1,value.max=128,value.pattern=digits"`
}

func (a *API) getMediaForFragmentList(w http.ResponseWriter, r *http.Request, c *Call) error {
	in := c.Input.(*fragmentListInput)
	numbers := make([]sluice.FragmentNumber, len(in.Fragments))
	for i, text := range in.Fragments {
		n, err := sluice.ParseFragmentNumber(text)
		if err != nil {
			return invalid("Fragments[%d]: is not a fragment number", i)
		}
		numbers[i] = n
	}
	return a.o.Egress.FragmentList(w, r, egress.Request{Ref: c.Ref, Key: c.mediaKey(), Logger: c.Logger()}, numbers)
}

type listFragmentsInput struct {
	StreamName       string `shape:"min=1,max=256"`
	StreamARN        string `shape:"min=1,max=1024"`
	MaxResults       *int64 `shape:"min=1,max=1000"`
	NextToken        string `shape:"min=1,max=4096,pattern=token"`
	FragmentSelector *fragmentSelector
}

type fragmentSelector struct {
	FragmentSelectorType string          `shape:"required,enum=PRODUCER_TIMESTAMP|SERVER_TIMESTAMP"`
	TimestampRange       *timestampRange `shape:"required"`
}

// timestampRange has the model's spelling and the guide's.
type timestampRange struct {
	StartTimestamp, EndTimestamp *time.Time
	StartTimeStamp, EndTimeStamp *time.Time
}

func (t *timestampRange) bounds() (from, to time.Time, err error) {
	pick := func(a, b *time.Time, name string) (time.Time, error) {
		switch {
		case a != nil:
			return *a, nil
		case b != nil:
			return *b, nil
		}
		return time.Time{}, invalid("FragmentSelector.TimestampRange.%s: must be given", name)
	}
	if from, err = pick(t.StartTimestamp, t.StartTimeStamp, "StartTimestamp"); err != nil {
		return from, to, err
	}
	if to, err = pick(t.EndTimestamp, t.EndTimeStamp, "EndTimestamp"); err != nil {
		return from, to, err
	}
	return from, to, nil
}

type listFragmentsOutput struct {
	Fragments []fragmentOutput
	NextToken *string
}

type fragmentOutput struct {
	FragmentLengthInMilliseconds int64
	FragmentNumber               string
	FragmentSizeInBytes          int64
	ProducerTimestamp            Timestamp
	ServerTimestamp              Timestamp
}

func (a *API) listFragments(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*listFragmentsInput)
	st, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	q := egress.ListQuery{Token: in.NextToken}
	if in.MaxResults != nil {
		q.Max = int(*in.MaxResults)
	}
	if f := in.FragmentSelector; f != nil {
		q.Selected = true
		if f.FragmentSelectorType == string(sluice.SelectProducerTimestamp) {
			q.Clock = sluice.ProducerClock
		}
		if q.From, q.To, err = f.TimestampRange.bounds(); err != nil {
			return nil, err
		}
	}
	page, err := a.o.Egress.ListFragments(ctx, st.ID, q, c.LimitKey())
	if err != nil {
		return nil, err
	}
	out := listFragmentsOutput{Fragments: make([]fragmentOutput, len(page.Fragments))}
	for i, e := range page.Fragments {
		out.Fragments[i] = fragmentOf(e)
	}
	if page.Next != "" {
		out.NextToken = &page.Next
	}
	return out, nil
}
