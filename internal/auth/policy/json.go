package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Error says where a document is wrong and why.
type Error struct {
	Line, Column int    // from 1; columns count bytes
	Path         string // the element, such as Statement[1].Action; "" while the text is not JSON
	Reason       string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("line %d column %d: %s", e.Line, e.Column, e.Reason)
	}
	return fmt.Sprintf("line %d column %d: %s: %s", e.Line, e.Column, e.Path, e.Reason)
}

type nodeKind uint8

const (
	isObject nodeKind = iota
	isList
	isString
	isNumber
	isBool
	isNull
)

var kindNames = [...]string{isObject: "an object", isList: "a list", isString: "a string", isNumber: "a number", isBool: "a boolean", isNull: "null"}

// node is a JSON value that remembers its place. encoding/json forgets it, and
// lets duplicate names pass, which in a policy hide what a reader believes to
// be there.
type node struct {
	kind       nodeKind
	start, end int
	text       string // string: decoded; number, boolean: as written
	names      []node // object: the names, then in items the values
	items      []node
}

func (n *node) member(name string) *node {
	for i := range n.names {
		if n.names[i].text == name {
			return &n.items[i]
		}
	}
	return nil
}

// reader is a strict JSON parser (RFC 8259) over a bounded text.
type reader struct {
	text []byte
	at   int
}

// fault is an error at an offset; place turns it into an Error.
type fault struct {
	at     int
	path   string
	reason string
}

func (f *fault) Error() string { return f.reason }

func failAt(at int, path, format string, args ...any) *fault {
	return &fault{at: at, path: path, reason: fmt.Sprintf(format, args...)}
}

// lines is where each line of a text begins.
type lines []int

func linesOf(text []byte) lines {
	out := lines{0}
	for i, c := range text {
		if c == '\n' {
			out = append(out, i+1)
		}
	}
	return out
}

func (l lines) place(at int) Position {
	n, found := slices.BinarySearch(l, at)
	if !found {
		n--
	}
	return Position{Line: n + 1, Column: at - l[n] + 1}
}

func parseJSON(text []byte) (*node, *fault) {
	r := &reader{text: text}
	r.space()
	n, err := r.value(0)
	if err != nil {
		return nil, err
	}
	r.space()
	if r.at < len(text) {
		return nil, failAt(r.at, "", "%s after the end of the document", r.next())
	}
	return n, nil
}

func (r *reader) space() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.at]) >= 0 {
		r.at++
	}
}

// next names the character at hand in an error.
func (r *reader) next() string {
	if r.at >= len(r.text) {
		return "the end of the text"
	}
	c, _ := utf8.DecodeRune(r.text[r.at:])
	return fmt.Sprintf("%q", c)
}

func (r *reader) value(depth int) (*node, *fault) {
	if depth > maxDepth {
		return nil, failAt(r.at, "", "nested deeper than %d", maxDepth)
	}
	if r.at >= len(r.text) {
		return nil, failAt(r.at, "", "the text ends where a value should stand")
	}
	switch c := r.text[r.at]; {
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.list(depth)
	case c == '"':
		return r.str()
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	case c >= 'a' && c <= 'z':
		return r.word()
	}
	return nil, failAt(r.at, "", "%s where a value should stand", r.next())
}

func (r *reader) object(depth int) (*node, *fault) {
	n := &node{kind: isObject, start: r.at, names: make([]node, 0, 4), items: make([]node, 0, 4)}
	r.at++
	for {
		r.space()
		if r.at < len(r.text) && r.text[r.at] == '}' {
			if len(n.names) > 0 {
				return nil, failAt(r.at, "", "a comma before the closing brace")
			}
			break
		}
		if r.at >= len(r.text) || r.text[r.at] != '"' {
			return nil, failAt(r.at, "", "%s where a name in quotes should stand", r.next())
		}
		if len(n.names) == maxMembers {
			return nil, failAt(r.at, "", "more than %d names in one object", maxMembers)
		}
		name, err := r.str()
		if err != nil {
			return nil, err
		}
		if n.member(name.text) != nil {
			return nil, failAt(name.start, "", "%q stands twice in one object", name.text)
		}
		r.space()
		if r.at >= len(r.text) || r.text[r.at] != ':' {
			return nil, failAt(r.at, "", "%s where a colon should stand", r.next())
		}
		r.at++
		r.space()
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.names, n.items = append(n.names, *name), append(n.items, *v)
		more, err := r.more('}')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	r.at++
	n.end = r.at
	return n, nil
}

func (r *reader) list(depth int) (*node, *fault) {
	n := &node{kind: isList, start: r.at}
	r.at++
	for {
		r.space()
		if r.at < len(r.text) && r.text[r.at] == ']' {
			if len(n.items) > 0 {
				return nil, failAt(r.at, "", "a comma before the closing bracket")
			}
			break
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, *v)
		more, err := r.more(']')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	r.at++
	n.end = r.at
	return n, nil
}

// more steps over a comma, or stops at the closing character.
func (r *reader) more(closing byte) (bool, *fault) {
	r.space()
	if r.at < len(r.text) {
		switch r.text[r.at] {
		case ',':
			r.at++
			return true, nil
		case closing:
			return false, nil
		}
	}
	return false, failAt(r.at, "", "%s where a comma or %q should stand", r.next(), closing)
}

func (r *reader) str() (*node, *fault) {
	n := &node{kind: isString, start: r.at}
	escaped := false
	for r.at++; ; r.at++ {
		if r.at >= len(r.text) {
			return nil, failAt(n.start, "", "a string without its closing quote")
		}
		switch c := r.text[r.at]; {
		case c == '\\':
			escaped = true
			r.at++
		case c < ' ':
			return nil, failAt(r.at, "", "%q inside a string", c)
		case c == '"':
			r.at++
			n.end = r.at
			if !escaped {
				n.text = string(r.text[n.start+1 : n.end-1])
				return n, nil
			}
			if err := json.Unmarshal(r.text[n.start:n.end], &n.text); err != nil {
				return nil, failAt(n.start, "", "a string with a wrong escape")
			}
			return n, nil
		}
	}
}

func (r *reader) number() (*node, *fault) {
	n := &node{kind: isNumber, start: r.at}
	for r.at < len(r.text) && strings.IndexByte("+-0123456789.eE", r.text[r.at]) >= 0 {
		r.at++
	}
	n.end, n.text = r.at, string(r.text[n.start:r.at])
	if !json.Valid([]byte(n.text)) {
		return nil, failAt(n.start, "", "%s is not a number", n.text)
	}
	return n, nil
}

func (r *reader) word() (*node, *fault) {
	n := &node{start: r.at}
	for r.at < len(r.text) && r.text[r.at] >= 'a' && r.text[r.at] <= 'z' {
		r.at++
	}
	n.end, n.text = r.at, string(r.text[n.start:r.at])
	switch n.text {
	case "true", "false":
		n.kind = isBool
	case "null":
		n.kind = isNull
	default:
		return nil, failAt(n.start, "", "%s where a value should stand: strings need quotes", n.text)
	}
	return n, nil
}
