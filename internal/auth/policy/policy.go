// Package policy reads IAM policy documents and decides by them.
//
// It covers identity policies: the documents that are attached to users and
// groups. A request is allowed when at least one statement allows it and none
// denies it; what no statement speaks of is denied. There are no principals
// here, no resource policies, no permission boundaries and no storage.
//
// It holds the elements Version (2008-10-17 and 2012-10-17), Id, Statement
// (object or list), Sid, Effect, Action and NotAction, Resource and
// NotResource, Condition; the wildcards * and ?; policy variables with default
// values; the String, Numeric, Date, Bool, Binary, IpAddress, Arn and Null
// operators with ...IfExists, ForAllValues and ForAnyValue.
//
// Two spellings of the developer guide are understood besides today's: the
// action prefix "kinesis-video:" is "kinesisvideo:", and the resource
// arn:aws:kinesis-video:REGION:ACCOUNT:NAME is the stream of that name,
// arn:aws:kinesisvideo:REGION:ACCOUNT:stream/NAME/*.
//
// Specification: "IAM JSON policy elements reference" and "Policy evaluation
// logic" of the IAM User Guide.
package policy

import (
	"fmt"
	"strings"
)

// MaxDocument is the size of the largest document Parse reads, in bytes. IAM's
// own quotas (2,048 to 6,144 characters, white space not counted) are smaller
// and belong to whoever stores policies.
const MaxDocument = 128 << 10

// Bounds of one document. The longest ARN is 2,048 characters.
const (
	maxDepth   = 16
	maxString  = 2048
	maxMembers = 256 // of one object
)

// Document is a policy that has been read and found sound. It is immutable and
// safe for concurrent use, apart from Name, which belongs to whoever parsed it.
type Document struct {
	// Name is how decisions call this document, such as "policy write of user
	// cam". Parse leaves it empty.
	Name       string
	Version    string // 2008-10-17 when the document has none
	ID         string
	Statements []Statement

	contextual bool
}

// NeedsContext reports whether any statement looks at the request's context:
// it has a condition or a policy variable.
func (d *Document) NeedsContext() bool { return d.contextual }

// Statement is one statement of a Document.
type Statement struct {
	SID   string
	Allow bool // Effect: Allow or Deny
	Index int  // place in the document, from 0
	// Where it stands in the text: lines and columns count from 1, End is
	// behind its last character.
	Start, End Position

	actions    set
	resources  set
	conditions []condition
}

// Position is a place in a document's text. Both count from 1; columns count
// bytes.
type Position struct{ Line, Column int }

func (s *Statement) String() string {
	if s.SID != "" {
		return fmt.Sprintf("Statement[%d] (%s)", s.Index, s.SID)
	}
	return fmt.Sprintf("Statement[%d]", s.Index)
}

func (s *Statement) effect() string {
	if s.Allow {
		return "Allow"
	}
	return "Deny"
}

// set is the patterns of Action or Resource, or of their Not forms.
type set struct {
	not      bool
	patterns []pattern
}

// Request is what is asked: may the caller do Action to Resource?
type Request struct {
	// Action is service:Operation; case does not matter.
	Action string
	// Resource is an ARN, or "*" for an operation that has no one resource.
	Resource string
	// Context is the condition keys of this request; case of the keys does not
	// matter, and most keys have one value. A key without values counts as
	// absent. It is only read.
	Context map[string][]string
}

// Decision is the outcome for one Request.
type Decision struct {
	Allowed bool
	// Explicit: a statement decided. Without it nothing spoke of the request,
	// and it is denied.
	Explicit  bool
	Policy    string // Name of the deciding document
	Statement string // the deciding statement: "Statement[2] (sid)"
	At        Position
	Reason    string // one line for people
}

// Evaluate decides q by docs. The first deny found decides; else the first
// allow; else the answer is no.
func Evaluate(docs []*Document, q Request) Decision {
	in := input{action: normalizeAction(q.Action), resource: q.Resource, context: q.Context}
	var by *Statement
	var from *Document
	for _, d := range docs {
		for i := range d.Statements {
			s := &d.Statements[i]
			if by != nil && s.Allow {
				continue // allowed already: only a deny can change that
			}
			if !s.matches(&in) {
				continue
			}
			if !s.Allow {
				return decide(d, s, q)
			}
			by, from = s, d
		}
	}
	if by != nil {
		return decide(from, by, q)
	}
	return Decision{Reason: "no identity-based policy allows the " + q.Action + " action"}
}

func decide(d *Document, s *Statement, q Request) Decision {
	out := Decision{Allowed: s.Allow, Explicit: true, Policy: d.Name, Statement: s.String(), At: s.Start}
	verb := "allowed by "
	if !s.Allow {
		verb = "explicitly denied by "
	}
	out.Reason = verb + out.Statement + of(d)
	return out
}

func of(d *Document) string {
	if d.Name == "" {
		return ""
	}
	return " of " + d.Name
}

// input is a Request made ready for many statements.
type input struct {
	action   string
	resource string
	context  map[string][]string
}

// lookup finds a context key; name is in lower case.
func (in *input) lookup(name string) ([]string, bool) {
	if v, ok := in.context[name]; ok {
		return v, len(v) > 0
	}
	for k, v := range in.context {
		if len(k) == len(name) && strings.EqualFold(k, name) {
			return v, len(v) > 0
		}
	}
	return nil, false
}

func (s *Statement) matches(in *input) bool {
	if !s.actions.match(in.action, in) || !s.resources.match(in.resource, in) {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(in) {
			return false
		}
	}
	return true
}

func (s *set) match(text string, in *input) bool {
	for i := range s.patterns {
		matched, known := s.patterns[i].match(text, in)
		if !known {
			// A variable without a value: the statement does not apply, in the
			// Not form either, where "no match" would mean everything.
			if s.not {
				return false
			}
			continue
		}
		if matched {
			return !s.not
		}
	}
	return s.not
}

// normalizeAction makes action names comparable: lower case, one prefix for
// the service that the guide spells in two ways.
func normalizeAction(s string) string {
	s = strings.ToLower(s)
	if rest, ok := strings.CutPrefix(s, "kinesis-video:"); ok {
		return "kinesisvideo:" + rest
	}
	return s
}
