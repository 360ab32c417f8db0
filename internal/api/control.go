package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
)

// controlRows are the operations on streams themselves (guide: "Actions /
// Amazon Kinesis Video Streams").
func (a *API) controlRows() []Operation {
	row := func(o Operation) Operation {
		o.Path = "/" + strings.ToLower(o.Name[:1]) + o.Name[1:]
		o.Service, o.Action = "kinesisvideo", actionOf(o.Name)
		return o
	}
	return []Operation{
		row(Operation{
			Name: "CreateStream", Class: limits.CreateStream,
			Input: createStreamInput{}, Stream: FromName, Need: NeedNothing, JSON: a.createStream,
			Errors: []sluice.Code{sluice.AccountStreamLimitExceeded, sluice.ResourceInUse, sluice.TagsPerResourceExceededLimit},
			Doc:    "The stream is ACTIVE when the call answers. A KmsKeyId that means no key is taken, as in the guide: PutMedia and GetMedia say what is wrong with it. InvalidDeviceException and DeviceStreamLimitExceededException are never raised, as in the guide.",
		}),
		row(Operation{
			Name: "DescribeStream", Class: limits.Describe,
			Input: streamInput{}, Stream: FromBody, Need: NeedStream, JSON: a.describeStream,
			Errors: []sluice.Code{sluice.ResourceNotFound},
			Doc:    "A stream that is being deleted is shown with the status DELETING until its data key and media are gone.",
		}),
		row(Operation{
			Name: "ListStreams", Class: limits.ListStreams,
			Input: listStreamsInput{}, JSON: a.listStreams,
			Doc: "In the order of names. NextToken belongs to the condition it was given for. TagCondition is an extension of Sluice: streams of which a tag, written key=value, begins with " +
				"ComparisonValue; it needs kinesisvideo:ListTagsForStream too, and a page may be shorter than asked for although there is a next.",
		}),
		row(Operation{
			Name: "UpdateStream", Class: limits.UpdateStream,
			Input: updateStreamInput{}, Stream: FromBody, Need: NeedStream, JSON: a.updateStream,
			Errors: []sluice.Code{sluice.ResourceNotFound, sluice.ResourceInUse, sluice.VersionMismatch},
			Doc:    "Complete when it answers.",
		}),
		row(Operation{
			Name: "UpdateDataRetention", Class: limits.Retention,
			Input: updateRetentionInput{}, Stream: FromBody, Need: NeedStream, JSON: a.updateDataRetention,
			Errors: []sluice.Code{sluice.ResourceNotFound, sluice.ResourceInUse, sluice.VersionMismatch},
			Doc:    "DataRetentionChangeInHours is added or subtracted, as the service does today; with --limits guide it replaces the retention, as the guide says. The result lies in 0 to 87600.",
		}),
		row(Operation{
			Name: "DeleteStream", Class: limits.DeleteStream,
			Input: deleteStreamInput{}, Stream: FromBody, Need: NeedStream, JSON: a.deleteStream,
			Errors: []sluice.Code{sluice.ResourceNotFound, sluice.ResourceInUse, sluice.VersionMismatch},
			Doc:    "The media is unreadable when it answers: the stream's data key is erased. The name is free when the media is removed too.",
		}),
		row(Operation{
			Name: "GetDataEndpoint", Class: limits.Endpoint,
			Input: dataEndpointInput{}, Stream: FromBody, Need: NeedActive, JSON: a.getDataEndpoint,
			Errors: []sluice.Code{sluice.ResourceNotFound},
			Doc:    "--public-url, else the scheme and host that the client called.",
		}),
		row(Operation{
			Name: "DescribeNotificationConfiguration", Class: limits.Describe,
			Input: streamInput{}, Stream: FromBody, Need: NeedActive, JSON: a.describeNotification,
			Errors: []sluice.Code{sluice.ResourceNotFound},
			Doc:    "There is never a configuration: UpdateNotificationConfiguration is not served.",
		}),
		row(Operation{
			Name: "DescribeImageGenerationConfiguration", Class: limits.Describe,
			Input: streamInput{}, Stream: FromBody, Need: NeedActive, JSON: a.describeImageGeneration,
			Errors: []sluice.Code{sluice.ResourceNotFound},
			Doc:    "There is never a configuration: UpdateImageGenerationConfiguration is not served.",
		}),
		row(Operation{
			Name: "DescribeStreamStorageConfiguration", Class: limits.Describe,
			Input: streamInput{}, Stream: FromBody, Need: NeedActive, JSON: a.describeStorage,
			Errors: []sluice.Code{sluice.ResourceNotFound},
			Doc:    "Always HOT: there is one tier.",
		}),
	}
}

type createStreamInput struct {
	DeviceName                 string            `shape:"min=1,max=128,pattern=name"`
	StreamName                 string            `shape:"required,min=1,max=256,pattern=name"`
	MediaType                  string            `shape:"min=1,max=128,pattern=media-type"`
	KmsKeyId                   string            `shape:"min=1,max=2048"`
	DataRetentionInHours       int64             `shape:"min=0,max=87600"`
	Tags                       map[string]string `shape:"key.min=1,key.max=128,key.pattern=tag,value.max=256,value.pattern=tag"`
	StreamStorageConfiguration *struct {
		DefaultStorageTier string `shape:"required,enum=HOT|WARM"`
	}
}

func (a *API) createStream(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*createStreamInput)
	if err := reservedTags(in.Tags); err != nil {
		return nil, err
	}
	if t := in.StreamStorageConfiguration; t != nil && t.DefaultStorageTier != "HOT" {
		return nil, invalid("StreamStorageConfiguration.DefaultStorageTier %q: this server has the tier HOT only", t.DefaultStorageTier)
	}
	s, err := a.o.Catalog.Create(ctx, catalog.New{
		Name: in.StreamName, Device: in.DeviceName, MediaType: in.MediaType, KMSKeyID: a.resolveKey(in.KmsKeyId),
		Retention: time.Duration(in.DataRetentionInHours) * time.Hour, Tags: in.Tags,
	})
	if err != nil {
		return nil, err
	}
	return struct{ StreamARN string }{s.ARN.String()}, nil
}

// resolveKey turns a KmsKeyId into the ARN that is kept and shown. A key that is
// not there is kept as it was named: keys are not asked for before PutMedia and
// GetMedia, which fail then (guide, "Using User-Generated AWS KMS Master Keys").
func (a *API) resolveKey(id string) string {
	standard := "arn:aws:kms:" + a.o.Region + ":" + a.o.Account + ":alias/aws/kinesisvideo"
	if id == "" {
		return standard
	}
	if a.o.Keys != nil {
		if arn, err := a.o.Keys.Resolve(id); err == nil {
			return arn
		}
	}
	return id
}

type streamInput struct {
	StreamName string `shape:"min=1,max=256"`
	StreamARN  string `shape:"min=1,max=1024"`
}

// streamInfo has its keys in alphabetical order and prints absent ones as null,
// as the service does. The C producer gives up beyond 100 JSON tokens.
type streamInfo struct {
	CreationTime         Timestamp
	DataRetentionInHours int64
	DeviceName           *string
	KmsKeyId             string
	MediaType            *string
	Status               catalog.Status
	StreamARN            string
	StreamName           string
	Version              string
}

func infoOf(s *catalog.Stream) streamInfo {
	return streamInfo{
		CreationTime:         Timestamp(s.Created),
		DataRetentionInHours: int64(s.Retention / time.Hour),
		DeviceName:           orNull(s.Device),
		KmsKeyId:             s.KMSKeyID,
		MediaType:            orNull(s.MediaType),
		Status:               s.Status,
		StreamARN:            s.ARN.String(),
		StreamName:           s.Name,
		Version:              s.Version,
	}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (a *API) describeStream(ctx context.Context, c *Call) (any, error) {
	s, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	return struct{ StreamInfo streamInfo }{infoOf(&s)}, nil
}

type listStreamsInput struct {
	MaxResults          int64  `shape:"min=1,max=10000"`
	NextToken           string `shape:"max=1024,pattern=token"`
	StreamNameCondition *struct {
		ComparisonOperator string `shape:"enum=BEGINS_WITH"`
		ComparisonValue    string `shape:"min=1,max=256,pattern=name"`
	}
	TagCondition *struct {
		ComparisonOperator string `shape:"required,enum=BEGINS_WITH"`
		ComparisonValue    string `shape:"required,min=1,max=385,pattern=tag"`
	}
}

// tagScan is how many streams a page looks at to find those that have a tag.
const tagScan = 20_000

func (a *API) listStreams(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*listStreamsInput)
	limit, prefix := 10000, ""
	if in.MaxResults != 0 {
		limit = int(in.MaxResults)
	}
	if in.StreamNameCondition != nil {
		prefix = in.StreamNameCondition.ComparisonValue
	}
	condition, tag := prefix, ""
	if in.TagCondition != nil {
		// Who may not read tags must not find them out by asking.
		if err := c.Authorize(ctx, "kinesisvideo:ListTagsForStream"); err != nil {
			return nil, err
		}
		tag = in.TagCondition.ComparisonValue
		condition += "\x00" + tag
	}
	after, err := openToken(in.NextToken, condition)
	if err != nil {
		return nil, err
	}
	var list []catalog.Stream
	more := false
	if tag == "" {
		// One more than asked for tells whether there is a next page.
		if list, err = a.o.Catalog.List(ctx, prefix, after, limit+1); len(list) > limit {
			list, more = list[:limit], true
			after = list[limit-1].Name
		}
	} else {
		list, after, more, err = a.listTagged(ctx, prefix, tag, after, limit)
	}
	if err != nil {
		return nil, err
	}
	var out struct {
		NextToken      *string
		StreamInfoList []streamInfo
	}
	if more {
		token := makeToken(after, condition)
		out.NextToken = &token
	}
	out.StreamInfoList = make([]streamInfo, len(list))
	for i := range list {
		out.StreamInfoList[i] = infoOf(&list[i])
	}
	return out, nil
}

// listTagged is a page of the streams with a tag that, as key=value, begins with
// tag; last is the name up to which it looked.
func (a *API) listTagged(ctx context.Context, prefix, tag, after string, limit int) (list []catalog.Stream, last string, more bool, err error) {
	const step = 500
	for seen := 0; seen < tagScan; seen += step {
		some, err := a.o.Catalog.List(ctx, prefix, after, step)
		if err != nil {
			return nil, "", false, err
		}
		for i := range some {
			if after = some[i].Name; !hasTag(&some[i], tag) {
				continue
			}
			if list = append(list, some[i]); len(list) == limit {
				return list, after, true, nil
			}
		}
		if len(some) < step {
			return list, after, false, nil
		}
	}
	return list, after, true, nil
}

func hasTag(s *catalog.Stream, begin string) bool {
	for k, v := range s.Tags {
		if strings.HasPrefix(k+"="+v, begin) {
			return true
		}
	}
	return false
}

// makeToken is the place after name in the list of a condition, as
// base64(sum[8] name). The sum binds it to the condition; it hides nothing, for
// whoever may list streams may know their names.
func makeToken(name, prefix string) string {
	sum := tokenSum(name, prefix)
	return base64.StdEncoding.EncodeToString(append(sum[:], name...))
}

func openToken(token, prefix string) (name string, err error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(token)
	if err == nil && len(b) > 8 {
		name = string(b[8:])
		sum := tokenSum(name, prefix)
		if subtle.ConstantTimeCompare(sum[:], b[:8]) == 1 {
			return name, nil
		}
	}
	return "", invalid("NextToken: was not given out for this condition")
}

func tokenSum(name, prefix string) (sum [8]byte) {
	h := sha256.Sum256([]byte("ListStreams\x00" + prefix + "\x00" + name))
	return [8]byte(h[:8])
}

type updateStreamInput struct {
	StreamName     string  `shape:"min=1,max=256"`
	StreamARN      string  `shape:"min=1,max=1024"`
	CurrentVersion string  `shape:"required,min=1,max=64,pattern=version"`
	DeviceName     *string `shape:"min=1,max=128,pattern=name"`
	MediaType      *string `shape:"min=1,max=128,pattern=media-type"`
}

func (a *API) updateStream(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*updateStreamInput)
	_, err := a.o.Catalog.Update(ctx, c.Ref, in.CurrentVersion, catalog.Change{Device: in.DeviceName, MediaType: in.MediaType})
	return nil, err
}

type updateRetentionInput struct {
	StreamName                 string `shape:"min=1,max=256"`
	StreamARN                  string `shape:"min=1,max=1024"`
	CurrentVersion             string `shape:"required,min=1,max=64,pattern=version"`
	Operation                  string `shape:"required,enum=INCREASE_DATA_RETENTION|DECREASE_DATA_RETENTION"`
	DataRetentionChangeInHours int64  `shape:"required,min=1,max=87600"`
}

func (a *API) updateDataRetention(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*updateRetentionInput)
	_, err := a.o.Catalog.UpdateRetention(ctx, c.Ref, in.CurrentVersion, catalog.RetentionOp(in.Operation),
		time.Duration(in.DataRetentionChangeInHours)*time.Hour)
	return nil, err
}

type deleteStreamInput struct {
	StreamARN      string `shape:"required,min=1,max=1024"`
	CurrentVersion string `shape:"min=1,max=64,pattern=version"`
}

func (a *API) deleteStream(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*deleteStreamInput)
	_, err := a.o.Catalog.Delete(ctx, c.Ref, in.CurrentVersion)
	return nil, err
}

type dataEndpointInput struct {
	StreamName string `shape:"min=1,max=256"`
	StreamARN  string `shape:"min=1,max=1024"`
	APIName    string `shape:"required,enum=PUT_MEDIA|GET_MEDIA|LIST_FRAGMENTS|GET_MEDIA_FOR_FRAGMENT_LIST|GET_HLS_STREAMING_SESSION_URL|GET_DASH_STREAMING_SESSION_URL|GET_CLIP|GET_IMAGES"`
}

func (a *API) getDataEndpoint(_ context.Context, c *Call) (any, error) {
	base := c.BaseURL()
	if u, err := url.Parse(base); err != nil || u.Host == "" {
		return nil, invalid("Host %q: is no address that an endpoint could be made of", clip(c.Request.Host, 128))
	}
	return struct{ DataEndpoint string }{base}, nil
}

func (a *API) describeNotification(context.Context, *Call) (any, error) {
	return struct{ NotificationConfiguration *struct{} }{}, nil
}

func (a *API) describeImageGeneration(context.Context, *Call) (any, error) {
	return struct{ ImageGenerationConfiguration *struct{} }{}, nil
}

func (a *API) describeStorage(ctx context.Context, c *Call) (any, error) {
	s, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	type tier struct{ DefaultStorageTier string }
	return struct {
		StreamARN                  string
		StreamName                 string
		StreamStorageConfiguration tier
	}{s.ARN.String(), s.Name, tier{"HOT"}}, nil
}
