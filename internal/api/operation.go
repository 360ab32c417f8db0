package api

import (
	"context"
	"fmt"
	"net/http"
	"reflect"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
)

// Protocol is how a call names its operation and carries its members.
type Protocol uint8

const (
	// RestJSON: the operation's own path, members as JSON in the body.
	RestJSON Protocol = iota
	// Query: POST / with a form whose Action names the operation; XML answers
	// (IAM, STS).
	Query
	// JSON11: POST / with the operation in X-Amz-Target (KMS).
	JSON11
	// Plain: the operation's own path, members in the URL (playback resources).
	Plain
)

// Auth is what a call must prove.
type Auth uint8

const (
	// Signature: Signature Version 4, header or query, then policy.
	Signature Auth = iota
	// Token: the handler verifies a session token of ours in the URL, and calls
	// Call.As with whom it stands for.
	Token
	// None: anyone may call.
	None
)

// Need is what must be true of the stream that a call names.
type Need uint8

const (
	// NeedNothing: the stream need not be there (CreateStream).
	NeedNothing Need = iota
	// NeedStream: there, whatever its status.
	NeedStream
	// NeedActive: there and not being deleted.
	NeedActive
)

// Operation is one row of the table. Everything that is said of an operation
// anywhere, in routing, policy, limits, records, metrics and docs/api.md, is
// said here.
type Operation struct {
	Name     string // "CreateStream"
	Method   string // "" is POST; GET serves HEAD too
	Path     string // "/createStream", exact; "/" for Query and JSON11; "*" for OPTIONS
	Target   string // JSON11: value of X-Amz-Target, "TrentService.Decrypt"
	Protocol Protocol
	Service  string // "kinesisvideo", "iam", "sts", "kms": what the signature is scoped to
	Action   string // "kinesisvideo:CreateStream"; "": no policy is asked
	Class    limits.Class
	Auth     Auth
	// MaxBody bounds the body in bytes; 0 is 256 KiB. Streams: the chain leaves
	// the body to the handler, which reads it as it arrives.
	MaxBody int64
	Streams bool

	// Input is the shape of the members: a value of a struct type (see Decode).
	// The chain decodes and checks it into Call.Input, a pointer to that type.
	Input any
	// Stream says which stream the call names; nil: none. FromBody,
	// FromName and FromHeader are the usual ones.
	Stream func(*Call) sluice.StreamRef
	Need   Need
	// BadARN is the exception for an ARN that cannot be one; "" is
	// InvalidArgumentException.
	BadARN sluice.Code
	// Resource is the ARN that policies see of a call that names no stream; nil
	// is "*".
	Resource func(*Call) string
	// Keys are condition keys that only this operation has; nil: none.
	Keys func(*Call) map[string][]string

	// Own reports whether a call is about the caller alone, so that no policy is
	// asked; nil: never.
	Own func(*Call) bool

	// Exactly one of JSON and Raw serves the call; none means that the
	// operation is known and not served by this version.
	//
	// JSON's result is the body of the answer, as JSON; nil is {}.
	JSON func(ctx context.Context, c *Call) (any, error)
	// Raw writes the answer itself. An error before the first byte becomes an
	// exception; after it the connection is broken, so that the client sees it.
	Raw func(w http.ResponseWriter, r *http.Request, c *Call) error

	Errors []sluice.Code // what it can raise beyond CommonErrors, for docs/api.md
	Doc    string        // differences worth knowing, for docs/api.md
}

// Served reports whether this version serves the operation.
func (o *Operation) Served() bool { return o.JSON != nil || o.Raw != nil }

const defaultMaxBody = 256 << 10

// FromBody is the stream that the members StreamName, StreamARN or ResourceARN
// of a JSON body name.
func FromBody(c *Call) sluice.StreamRef {
	arn := c.text("StreamARN")
	if arn == "" {
		arn = c.text("ResourceARN")
	}
	return sluice.StreamRef{Name: c.text("StreamName"), ARN: arn}
}

// FromName is the stream that StreamName alone names: an ARN beside it must not
// be what policies look at.
func FromName(c *Call) sluice.StreamRef { return sluice.StreamRef{Name: c.text("StreamName")} }

// FromHeader is the stream that PutMedia's headers name.
func FromHeader(c *Call) sluice.StreamRef {
	h := c.Request.Header
	return sluice.StreamRef{Name: h.Get("x-amzn-stream-name"), ARN: h.Get("x-amzn-stream-arn")}
}

// table finds the row of a request.
type table struct {
	rows    []*Operation
	paths   map[string]*Operation // RestJSON and Plain
	actions map[string]*Operation // Query
	targets map[string]*Operation // JSON11
}

// newTable panics on rows that contradict each other: they are written by us.
func newTable(rows []Operation) *table {
	t := &table{paths: map[string]*Operation{}, actions: map[string]*Operation{}, targets: map[string]*Operation{}}
	for i := range rows {
		o := &rows[i]
		if o.MaxBody == 0 {
			o.MaxBody = defaultMaxBody
		}
		if o.Method == "" {
			o.Method = http.MethodPost
		}
		if o.JSON != nil && o.Raw != nil || o.Name == "" || o.Path == "" || o.Service == "" {
			panic(fmt.Sprintf("api: row %d (%s) is incomplete", i, o.Name))
		}
		if o.Input != nil {
			shapeOf(reflect.TypeOf(o.Input)) // panics on a bad shape now, not at the first call
		}
		by, key := t.paths, o.Path
		switch o.Protocol {
		case Query:
			by, key = t.actions, o.Name
		case JSON11:
			by, key = t.targets, o.Target
		}
		if by[key] != nil {
			panic("api: two rows for " + key)
		}
		by[key] = o
		t.rows = append(t.rows, o)
	}
	return t
}

// byPath is the row that has the path to itself, or nil.
func (t *table) byPath(r *http.Request) *Operation {
	if r.Method == http.MethodOptions {
		return t.paths["*"]
	}
	o := t.paths[r.URL.Path]
	if o == nil || o.Method != r.Method && !(o.Method == http.MethodGet && r.Method == http.MethodHead) {
		return nil
	}
	return o
}

// byBody is the row of a call to "/", whose form or target names it, or nil.
func (t *table) byBody(c *Call) *Operation {
	if target := c.Request.Header.Get("X-Amz-Target"); target != "" {
		return t.targets[target]
	}
	if c.Form != nil {
		return t.actions[c.Form.Get("Action")]
	}
	return nil
}
