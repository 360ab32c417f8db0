package api

import (
	"context"
	"strings"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
)

// tagRows are the tag operations: the older three by stream name or ARN, with
// tags as a map; the newer three by ARN, with tags as a list, and with a capital
// first letter in their paths.
func (a *API) tagRows() []Operation {
	row := func(o Operation) Operation {
		o.Service, o.Action, o.Class = "kinesisvideo", actionOf(o.Name), limits.Tags
		o.Stream = FromBody
		if strings.HasSuffix(o.Name, "Stream") {
			o.BadARN = sluice.InvalidResourceFormat
			o.Errors = append(o.Errors, sluice.InvalidResourceFormat)
		}
		o.Errors = append(o.Errors, sluice.ResourceNotFound)
		return o
	}
	tooMany := []sluice.Code{sluice.TagsPerResourceExceededLimit}
	return []Operation{
		row(Operation{Name: "TagStream", Path: "/tagStream", Input: tagStreamInput{}, Need: NeedActive, JSON: a.tagStream, Errors: tooMany}),
		row(Operation{Name: "UntagStream", Path: "/untagStream", Input: untagStreamInput{}, Need: NeedActive, JSON: a.untagStream}),
		row(Operation{Name: "ListTagsForStream", Path: "/listTagsForStream", Input: listTagsInput{}, Need: NeedStream, JSON: a.listTags,
			Doc: "All tags are in the first answer; no NextToken is ever given out."}),
		row(Operation{Name: "TagResource", Path: "/TagResource", Input: tagResourceInput{}, Need: NeedActive, JSON: a.tagResource, Errors: tooMany}),
		row(Operation{Name: "UntagResource", Path: "/UntagResource", Input: untagResourceInput{}, Need: NeedActive, JSON: a.untagResource}),
		row(Operation{Name: "ListTagsForResource", Path: "/ListTagsForResource", Input: listResourceTagsInput{}, Need: NeedStream, JSON: a.listResourceTags,
			Doc: "All tags are in the first answer; no NextToken is ever given out."}),
	}
}

// reservedTags refuses the keys that AWS keeps for itself.
func reservedTags(tags map[string]string) error {
	for k := range tags {
		if strings.HasPrefix(strings.ToLower(k), "aws:") {
			return invalid("Tags key %s: must not begin with aws:, which is reserved", quote(k))
		}
	}
	return nil
}

type tagStreamInput struct {
	StreamName string            `shape:"min=1,max=256"`
	StreamARN  string            `shape:"min=1,max=1024"`
	Tags       map[string]string `shape:"required,min=1,key.min=1,key.max=128,key.pattern=tag,value.max=256,value.pattern=tag"`
}

func (a *API) tagStream(ctx context.Context, c *Call) (any, error) {
	return nil, a.tag(ctx, c, c.Input.(*tagStreamInput).Tags)
}

func (a *API) tag(ctx context.Context, c *Call, tags map[string]string) error {
	if err := reservedTags(tags); err != nil {
		return err
	}
	_, err := a.o.Catalog.Tag(ctx, c.Ref, tags)
	return err
}

type untagStreamInput struct {
	StreamName string   `shape:"min=1,max=256"`
	StreamARN  string   `shape:"min=1,max=1024"`
	TagKeyList []string `shape:"required,min=1,max=50,value.min=1,value.max=128,value.pattern=tag"`
}

func (a *API) untagStream(ctx context.Context, c *Call) (any, error) {
	_, err := a.o.Catalog.Untag(ctx, c.Ref, c.Input.(*untagStreamInput).TagKeyList)
	return nil, err
}

type listTagsInput struct {
	NextToken  string `shape:"max=1024,pattern=token"`
	StreamName string `shape:"min=1,max=256"`
	StreamARN  string `shape:"min=1,max=1024"`
}

func (a *API) listTags(ctx context.Context, c *Call) (any, error) {
	return a.tagsOf(ctx, c, c.Input.(*listTagsInput).NextToken)
}

// tagsOf is the one page there is: fifty tags fit.
func (a *API) tagsOf(ctx context.Context, c *Call, token string) (any, error) {
	if token != "" {
		return nil, invalid("NextToken: was not given out by this operation")
	}
	s, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	if s.Tags == nil {
		s.Tags = map[string]string{}
	}
	return struct {
		NextToken *string
		Tags      map[string]string
	}{nil, s.Tags}, nil
}

type tagResourceInput struct {
	ResourceARN string `shape:"required,min=1,max=1024"`
	Tags        []struct {
		Key   string  `shape:"required,min=1,max=128,pattern=tag"`
		Value *string `shape:"required,max=256,pattern=tag"`
	} `shape:"required,min=1"`
}

func (a *API) tagResource(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*tagResourceInput)
	tags := make(map[string]string, len(in.Tags))
	for i, t := range in.Tags {
		if _, twice := tags[t.Key]; twice {
			return nil, invalid("Tags[%d].Key %s: is given twice", i, quote(t.Key))
		}
		tags[t.Key] = *t.Value
	}
	return nil, a.tag(ctx, c, tags)
}

type untagResourceInput struct {
	ResourceARN string   `shape:"required,min=1,max=1024"`
	TagKeyList  []string `shape:"required,min=1,max=50,value.min=1,value.max=128,value.pattern=tag"`
}

func (a *API) untagResource(ctx context.Context, c *Call) (any, error) {
	_, err := a.o.Catalog.Untag(ctx, c.Ref, c.Input.(*untagResourceInput).TagKeyList)
	return nil, err
}

type listResourceTagsInput struct {
	NextToken   string `shape:"max=1024,pattern=token"`
	ResourceARN string `shape:"required,min=1,max=1024"`
}

func (a *API) listResourceTags(ctx context.Context, c *Call) (any, error) {
	return a.tagsOf(ctx, c, c.Input.(*listResourceTagsInput).NextToken)
}
