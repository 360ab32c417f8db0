// Package iamapi speaks the Query protocol of IAM (2010-05-08) and STS
// (2011-06-15): actions with a form as input and XML as output, as AWS SDKs
// write and read them. What the actions do is in package auth; signatures,
// permissions, routing and the XML of errors belong to whoever serves the
// actions.
//
// A parameter that an action has in AWS and not here (tags, permission
// boundaries) is refused, not ignored: a policy that silently does not hold is
// worse than an error.
package iamapi

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
)

// Services, their versions, and the namespaces of their answers.
const (
	IAM = "iam"
	STS = "sts"

	iamVersion   = "2010-05-08"
	stsVersion   = "2011-06-15"
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// Call is one request: the form as sent, by whom.
type Call struct {
	Form      url.Values
	Caller    auth.Identity
	RequestID string

	ctx  context.Context
	auth *auth.Auth
}

// Action is one action of the two services.
type Action struct {
	Name    string // "CreateUser", the form's Action
	Service string // IAM or STS: what the signature must be scoped to
	// Permission is the action that policies see; "" needs none.
	Permission string

	params   string // the parameters it takes, separated by spaces
	resource func(*Call) string
	keys     func(*Call) map[string][]string
	serve    func(*Call) (any, error)
	auth     *auth.Auth
}

// Actions are all actions on a, by name.
func Actions(a *auth.Auth) []Action {
	var out []Action
	for _, table := range []map[string]Action{userActions, groupActions, policyActions, simulations} {
		for name, action := range table {
			action.Name, action.Service, action.Permission, action.auth = name, IAM, "iam:"+name, a
			out = append(out, action)
		}
	}
	out = append(out, Action{Name: "GetCallerIdentity", Service: STS, serve: getCallerIdentity, auth: a})
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Resource is the ARN that policies see.
func (a Action) Resource(ctx context.Context, c Call) string {
	if a.resource == nil {
		return "*"
	}
	c.ctx, c.auth = ctx, a.auth
	return a.resource(&c)
}

// Keys are the condition keys that policies see beside those of every call.
func (a Action) Keys(c Call) map[string][]string {
	if a.keys == nil {
		return nil
	}
	return a.keys(&c)
}

// Serve does the action and returns the XML of the answer. Errors a caller may
// see are *sluice.Error with IAM's codes.
func (a Action) Serve(ctx context.Context, c Call) ([]byte, error) {
	c.ctx, c.auth = ctx, a.auth
	version, namespace := iamVersion, iamNamespace
	if a.Service == STS {
		version, namespace = stsVersion, stsNamespace
	}
	if v := c.Form.Get("Version"); v != "" && v != version {
		return nil, &sluice.Error{Code: sluice.UnknownOperation, Msg: fmt.Sprintf("Could not find operation %s for version %s", a.Name, clip(v))}
	}
	if err := a.checkParameters(c.Form); err != nil {
		return nil, err
	}
	result, err := a.serve(&c)
	if err != nil {
		return nil, err
	}
	return encode(a.Name, namespace, result, c.RequestID)
}

func (a Action) checkParameters(form url.Values) error {
	allowed := strings.Fields(a.params)
	for name, values := range form {
		base, _, _ := strings.Cut(name, ".")
		known := base == "Action" || base == "Version" || strings.HasPrefix(base, "X-Amz-")
		for _, p := range allowed {
			known = known || p == base
		}
		if !known && strings.Join(values, "") != "" {
			return invalid("%s: %s does not take this parameter here", clip(base), a.Name)
		}
		if len(values) > 1 {
			return invalid("%s: given %d times", clip(base), len(values))
		}
	}
	return nil
}

// response is the outer form of every answer.
type response struct {
	XMLName   xml.Name
	Namespace string `xml:"xmlns,attr"`
	Result    any
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

// result gives the value the element name that the action wants.
type result struct {
	name  string
	value any
}

func (r result) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	return e.EncodeElement(r.value, xml.StartElement{Name: xml.Name{Local: r.name}})
}

func encode(action, namespace string, value any, requestID string) ([]byte, error) {
	out := response{XMLName: xml.Name{Local: action + "Response"}, Namespace: namespace, RequestID: requestID}
	if value != nil {
		out.Result = result{action + "Result", value}
	}
	return xml.Marshal(out)
}

func invalid(format string, args ...any) error {
	return &sluice.Error{Code: auth.ValidationError, Msg: fmt.Sprintf(format, args...)}
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

func (c *Call) get(name string) string { return c.Form.Get(name) }

// need is a parameter that must be there.
func (c *Call) need(name string) (string, error) {
	s := c.get(name)
	if s == "" {
		return "", invalid("1 validation error detected: Value null at '%s%s' failed to satisfy constraint: Member must not be null",
			strings.ToLower(name[:1]), name[1:])
	}
	return s, nil
}

// need2 is two of them.
func (c *Call) need2(a, b string) (string, string, error) {
	x, err := c.need(a)
	if err != nil {
		return "", "", err
	}
	y, err := c.need(b)
	return x, y, err
}

// userName is UserName, or the caller's own name where that may be left out.
func (c *Call) userName() (string, error) {
	if s := c.get("UserName"); s != "" {
		return s, nil
	}
	if c.Caller.UserName == "" {
		return "", invalid("Must specify userName when calling with non-User credentials")
	}
	return c.Caller.UserName, nil
}

// list is the members prefix.member.1, .2, and so on, at most most.
func (c *Call) list(prefix string, most int) ([]string, error) {
	var out []string
	for i := 1; ; i++ {
		v, ok := c.Form[prefix+".member."+strconv.Itoa(i)]
		if !ok {
			return out, nil
		}
		if i > most {
			return nil, invalid("%s: more than %d members", prefix, most)
		}
		out = append(out, v[0])
	}
}

const (
	defaultItems = 100
	mostItems    = 1000
)

func (c *Call) maxItems() (int, error) {
	s := c.get("MaxItems")
	if s == "" {
		return defaultItems, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > mostItems {
		return 0, invalid("maxItems: must be a number from 1 to %d", mostItems)
	}
	return n, nil
}

// marker is the key of the last item of the page before, "" at the start.
func (c *Call) marker() (string, error) {
	s := c.get("Marker")
	if s == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 2 || b[0] != 'm' || len(s) > 4096 {
		return "", &sluice.Error{Code: auth.InvalidInput, Msg: "Invalid Marker"}
	}
	return string(b[1:]), nil
}

// paging ends every list.
type paging struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

func truncatedAt(key string) paging {
	return paging{IsTruncated: true, Marker: base64.RawURLEncoding.EncodeToString([]byte("m" + key))}
}

// page cuts the page that the call asks for out of all, which is in order of
// key.
func page[T any](c *Call, all []T, key func(T) string) ([]T, paging, error) {
	n, err := c.maxItems()
	if err != nil {
		return nil, paging{}, err
	}
	after, err := c.marker()
	if err != nil {
		return nil, paging{}, err
	}
	if after != "" {
		for len(all) > 0 && key(all[0]) <= after {
			all = all[1:]
		}
	}
	if len(all) <= n {
		return all, paging{}, nil
	}
	return all[:n], truncatedAt(key(all[n-1])), nil
}
