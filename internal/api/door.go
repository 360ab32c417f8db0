package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/auth/policy"
)

// Identity is whom a call was signed by.
type Identity = auth.Identity

// Access is the question that policies answer.
type Access = policy.Request

// Decision is the answer of the policies.
type Decision = policy.Decision

// Authenticator verifies signatures and asks policies; *auth.Auth does. Its
// failures are *sluice.Error with the door's exceptions.
type Authenticator interface {
	// Authenticate says who signed the request. body is the whole body;
	// streaming means that it is not known yet. service is what the credential
	// must be scoped to; "" is any.
	Authenticate(r *http.Request, body []byte, streaming bool, service string) (Identity, error)
	// Authorize adds to the question what does not depend on the request: who
	// is calling, and the time.
	Authorize(ctx context.Context, id Identity, q Access) (Decision, error)
}

func (a *API) authenticate(c *Call, r *http.Request) error {
	service, streaming := "kinesisvideo", false
	switch {
	case c.Op != nil:
		service, streaming = c.Op.Service, c.Op.Streams
	case r.URL.Path == "/":
		service = "" // an operation of IAM, STS or KMS that we don't know
	}
	id, err := a.o.Auth.Authenticate(r, c.Body, streaming, service)
	if err != nil {
		return err
	}
	c.Identity = id
	return nil
}

// Authorize asks the policies of the caller whether they allow action on what
// the call names. It returns AccessDeniedException.
func (c *Call) Authorize(ctx context.Context, action string) error {
	resource, name := "*", "*"
	keys := map[string][]string{
		"aws:SecureTransport": {fmt.Sprint(c.Secure)},
	}
	if c.Remote.IsValid() {
		keys["aws:SourceIp"] = []string{c.Remote.String()}
	}
	if ua := c.Request.UserAgent(); ua != "" {
		keys["aws:UserAgent"] = []string{ua}
	}
	if from := c.Request.Referer(); from != "" {
		keys["aws:Referer"] = []string{from}
	}
	c.tagKeys(keys)
	if c.Op.Keys != nil {
		maps.Copy(keys, c.Op.Keys(c))
	}
	switch {
	case c.Op.Stream != nil:
		var err error
		if resource, err = c.streamResource(ctx, keys); err != nil {
			return err
		}
		if name = c.Ref.String(); name == "" {
			name = resource
		}
	case c.Op.Resource != nil:
		resource = c.Op.Resource(c)
		name = resource
	}
	d, err := c.api.o.Auth.Authorize(ctx, c.Identity, Access{Action: action, Resource: resource, Context: keys})
	if err != nil {
		return err
	}
	if !d.Allowed {
		msg := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s", c.Identity.ARN, action, clip(name, 300))
		if d.Explicit {
			msg += " with an explicit deny"
		}
		return &sluice.Error{Code: sluice.AccessDenied, Msg: msg, Err: fmt.Errorf("policy: %s", d.Reason)}
	}
	return nil
}

// streamResource is the ARN that policies see. A stream that is not there has
// one too, with the creation code 0, so that the answer to a caller without
// permission is the same whether it is there or not.
func (c *Call) streamResource(ctx context.Context, keys map[string][]string) (string, error) {
	prefix := "arn:aws:kinesisvideo:" + c.api.o.Region + ":" + c.api.o.Account + ":stream/"
	if c.Ref == (sluice.StreamRef{}) {
		return prefix + "*", nil
	}
	s, err := c.Stream(ctx)
	switch sluice.CodeOf(err) {
	case sluice.ResourceNotFound, sluice.InvalidArgument:
		if c.Ref.ARN != "" {
			return c.Ref.ARN, nil
		}
		return prefix + c.Ref.Name + "/0", nil
	}
	if err != nil {
		return "", err
	}
	for k, v := range s.Tags {
		keys["aws:ResourceTag/"+k] = []string{v}
	}
	return s.ARN.String(), nil
}

// tagKeys adds what the request says of tags, in each of the forms that the
// operations have: a map, a list of pairs, a list of keys.
func (c *Call) tagKeys(keys map[string][]string) {
	var names []string
	if raw := c.members["Tags"]; raw != nil {
		var byName map[string]string
		var pairs []struct{ Key, Value string }
		if json.Unmarshal(raw, &byName) == nil {
			for k, v := range byName {
				keys["aws:RequestTag/"+k] = []string{v}
				names = append(names, k)
			}
		} else if json.Unmarshal(raw, &pairs) == nil {
			for _, p := range pairs {
				keys["aws:RequestTag/"+p.Key] = []string{p.Value}
				names = append(names, p.Key)
			}
		}
	}
	if raw := c.members["TagKeyList"]; raw != nil {
		var list []string
		if json.Unmarshal(raw, &list) == nil {
			names = append(names, list...)
		}
	}
	if names != nil {
		keys["aws:TagKeys"] = names
	}
}

// actionOf is the IAM action of an operation of Kinesis Video Streams.
func actionOf(operation string) string { return "kinesisvideo:" + operation }
