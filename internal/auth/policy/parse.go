package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a policy document. Its error is an *Error with the place and the
// reason.
func Parse(text []byte) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, &Error{Line: 1, Column: 1, Reason: fmt.Sprintf("the document has %d bytes, at most %d are read", len(text), MaxDocument)}
	}
	d, err := parse(text)
	if err != nil {
		p := linesOf(text).place(err.at)
		return nil, &Error{Line: p.Line, Column: p.Column, Path: err.path, Reason: err.reason}
	}
	return d, nil
}

func parse(text []byte) (*Document, *fault) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return nil, failAt(i, "", "not UTF-8")
		}
		i += size
	}
	root, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	if root.kind != isObject {
		return nil, failAt(root.start, "", "a policy is an object, not %s", kindNames[root.kind])
	}
	if err := onlyNames(root, "", "Version", "Id", "Statement"); err != nil {
		return nil, err
	}
	d := &Document{Version: "2008-10-17"}
	if v := root.member("Version"); v != nil {
		if v.kind != isString || v.text != "2012-10-17" && v.text != "2008-10-17" {
			return nil, failAt(v.start, "Version", "must be \"2012-10-17\" or \"2008-10-17\"")
		}
		d.Version = v.text
	}
	if v := root.member("Id"); v != nil {
		if v.kind != isString {
			return nil, failAt(v.start, "Id", "must be a string, not %s", kindNames[v.kind])
		}
		d.ID = v.text
	}
	list := root.member("Statement")
	switch {
	case list == nil:
		return nil, failAt(root.start, "Statement", "is missing")
	case list.kind == isObject:
		list = &node{kind: isList, start: list.start, items: []node{*list}}
	case list.kind != isList:
		return nil, failAt(list.start, "Statement", "must be an object or a list of objects, not %s", kindNames[list.kind])
	case len(list.items) == 0:
		return nil, failAt(list.start, "Statement", "is empty")
	}
	p := &parser{lines: linesOf(text), variables: d.Version == "2012-10-17"}
	seen := map[string]bool{}
	d.Statements = make([]Statement, 0, len(list.items))
	for i := range list.items {
		s, err := p.statement(&list.items[i], i)
		if err != nil {
			return nil, err
		}
		if s.SID != "" && seen[s.SID] {
			return nil, failAt(list.items[i].member("Sid").start, "Statement["+strconv.Itoa(i)+"].Sid", "%q is the Sid of another statement too", s.SID)
		}
		seen[s.SID] = true
		d.Statements = append(d.Statements, *s)
	}
	d.contextual = p.contextual
	return d, nil
}

type parser struct {
	lines      lines
	variables  bool
	contextual bool
}

func (p *parser) statement(n *node, index int) (*Statement, *fault) {
	path := "Statement[" + strconv.Itoa(index) + "]"
	if n.kind != isObject {
		return nil, failAt(n.start, path, "must be an object, not %s", kindNames[n.kind])
	}
	for _, name := range []string{"Principal", "NotPrincipal"} {
		if v := n.member(name); v != nil {
			return nil, failAt(v.start, path+"."+name, "a policy of a user or group has no principal: it speaks of whom it is attached to")
		}
	}
	if err := onlyNames(n, path, "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"); err != nil {
		return nil, err
	}
	s := &Statement{Index: index, Start: p.lines.place(n.start), End: p.lines.place(n.end)}
	if v := n.member("Sid"); v != nil {
		if v.kind != isString || strings.Trim(v.text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
			return nil, failAt(v.start, path+".Sid", "must be letters and digits [0-9A-Za-z]*")
		}
		s.SID = v.text
	}
	switch v := n.member("Effect"); {
	case v == nil:
		return nil, failAt(n.start, path+".Effect", "is missing")
	case v.kind == isString && v.text == "Allow":
		s.Allow = true
	case v.kind == isString && v.text == "Deny":
	default:
		return nil, failAt(v.start, path+".Effect", "must be \"Allow\" or \"Deny\", exactly so")
	}
	var err *fault
	if s.actions, err = p.set(n, path, "Action", p.action); err != nil {
		return nil, err
	}
	if s.resources, err = p.set(n, path, "Resource", p.resource); err != nil {
		return nil, err
	}
	if v := n.member("Condition"); v != nil {
		if s.conditions, err = p.conditionBlock(v, path+".Condition"); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// set reads X or NotX: exactly one of them, a string or a list of strings.
func (p *parser) set(n *node, path, name string, one func(string) (pattern, error)) (set, *fault) {
	var out set
	v, not := n.member(name), n.member("Not"+name)
	switch {
	case v != nil && not != nil:
		return out, failAt(not.start, path+".Not"+name, "stands beside %s: a statement has one of the two", name)
	case v == nil && not == nil:
		return out, failAt(n.start, path+"."+name, "is missing: a statement has %s or Not%s", name, name)
	case v == nil:
		v, name, out.not = not, "Not"+name, true
	}
	values := []node{*v}
	if v.kind == isList {
		if values = v.items; len(values) == 0 {
			return out, failAt(v.start, path+"."+name, "is empty")
		}
	}
	out.patterns = make([]pattern, 0, len(values))
	for i := range values {
		at := func() string { // made only for an error
			if v.kind == isList {
				return fmt.Sprintf("%s.%s[%d]", path, name, i)
			}
			return path + "." + name
		}
		item := &values[i]
		if item.kind != isString {
			return out, failAt(item.start, at(), "must be a string, not %s", kindNames[item.kind])
		}
		if len(item.text) > maxString {
			return out, failAt(item.start, at(), "has %d bytes, at most %d are allowed", len(item.text), maxString)
		}
		c, err := one(item.text)
		if err != nil {
			return out, failAt(item.start, at(), "%v", err)
		}
		if c.kind == matchVariable {
			p.contextual = true
		}
		out.patterns = append(out.patterns, c)
	}
	return out, nil
}

func (p *parser) action(s string) (pattern, error) {
	if s != "*" {
		vendor, name, ok := strings.Cut(s, ":")
		if !ok || vendor == "" || name == "" {
			return pattern{}, fmt.Errorf("%q must be \"*\" or service:Operation, as in kinesisvideo:GetMedia", s)
		}
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*?"
		if strings.Trim(vendor, letters) != "" || strings.Trim(name, letters) != "" {
			return pattern{}, fmt.Errorf("%q has characters that no action has", s)
		}
	}
	c, err := compile(normalizeAction(s), true, false)
	c.source = s
	return c, err
}

func (p *parser) resource(s string) (pattern, error) {
	full := s
	if s != "*" {
		if !strings.HasPrefix(s, "arn:") {
			return pattern{}, fmt.Errorf("%q must be \"*\" or an ARN, arn:partition:service:region:account:resource", s)
		}
		full = completeARN(s)
	}
	c, err := compile(full, true, p.variables)
	c.source = s
	return c, err
}

// completeARN does two things to a resource as written: fields missing at the
// end are any (IAM User Guide, "Resource"), and the guide's older ARN of a
// stream becomes today's.
func completeARN(s string) string {
	if strings.Count(s, ":") >= 5 && !strings.Contains(s, "${") && !strings.Contains(s, ":kinesis-video:") {
		return s // as nearly all are
	}
	fields := splitARN(s)
	for len(fields) < 6 {
		fields = append(fields, "*")
	}
	if fields[2] == "kinesis-video" {
		fields[2] = "kinesisvideo"
		if name := fields[5]; name != "*" && !strings.Contains(name, "/") {
			fields[5] = "stream/" + name + "/*"
		}
	}
	return strings.Join(fields, ":")
}

// splitARN cuts at the first five colons that are not inside a policy variable.
func splitARN(s string) []string {
	var fields []string
	start := 0
	for i := 0; i < len(s) && len(fields) < 5; i++ {
		if s[i] == '$' && strings.HasPrefix(s[i:], "${") {
			if end := strings.IndexByte(s[i:], '}'); end > 0 {
				i += end
				continue
			}
		}
		if s[i] == ':' {
			fields = append(fields, s[start:i])
			start = i + 1
		}
	}
	return append(fields, s[start:])
}

// onlyNames refuses what is not an element, with the element meant if only its
// case is wrong.
func onlyNames(n *node, path string, allowed ...string) *fault {
	for i := range n.names {
		name := &n.names[i]
		if slices.Contains(allowed, name.text) {
			continue
		}
		hint := ""
		for _, a := range allowed {
			if strings.EqualFold(a, name.text) || strings.EqualFold(a, name.text+"s") || strings.EqualFold(a+"s", name.text) {
				hint = "; it is spelled " + a
			}
		}
		at := name.text
		if len(at) > 64 {
			at = at[:64]
		}
		if path != "" {
			at = path + "." + at
		}
		return failAt(name.start, at, "is no element of a policy%s", hint)
	}
	return nil
}
