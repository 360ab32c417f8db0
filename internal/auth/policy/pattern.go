package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The wildcards of a compiled pattern. Control characters are refused in
// policies, so they cannot stand for themselves.
const (
	star   = '\x01' // any characters, none included
	single = '\x02' // one character

	wildcards = "\x01\x02"
	starText  = "\x01"
)

// pattern is a string of a policy with its wildcards and variables.
type pattern struct {
	source string // as written, for people
	kind   patternKind
	text   string  // exact and prefix: what to compare with; glob: with wildcards compiled
	pieces []piece // variable: what to put together at each match
}

type patternKind uint8

const (
	matchAll patternKind = iota
	matchExact
	matchPrefix
	matchGlob
	matchVariable
)

// piece is compiled text, or a variable in it.
type piece struct {
	text     string
	variable string // lower case; "" for text
	fallback *string
}

// compile reads a pattern. Without wild, * and ? are letters like any others
// (StringEquals); without variables, so is ${...} (Version 2008-10-17).
func compile(source string, wild, variables bool) (pattern, error) {
	p := pattern{source: source}
	var b strings.Builder
	b.Grow(len(source))
	var pieces []piece
	for i := 0; i < len(source); {
		c := source[i]
		switch {
		case c < ' ' || c == 0x7f:
			return p, fmt.Errorf("%q has a control character", source)
		case wild && c == '*':
			b.WriteByte(star)
		case wild && c == '?':
			b.WriteByte(single)
		case variables && c == '$' && strings.HasPrefix(source[i:], "${"):
			end := strings.IndexByte(source[i:], '}')
			if end < 0 {
				return p, fmt.Errorf("%q has a policy variable without its closing brace", source)
			}
			inner := source[i+2 : i+end]
			i += end + 1
			if inner == "*" || inner == "?" || inner == "$" {
				b.WriteString(inner)
				continue
			}
			v, err := parseVariable(inner)
			if err != nil {
				return p, fmt.Errorf("%q: %w", source, err)
			}
			pieces = append(pieces, piece{text: b.String()}, v)
			b.Reset()
			continue
		default:
			b.WriteByte(c)
		}
		i++
	}
	text := b.String()
	if len(pieces) > 0 {
		p.kind, p.pieces = matchVariable, append(pieces, piece{text: text})
		return p, nil
	}
	p.kind, p.text = classify(text)
	return p, nil
}

// classify finds the cheapest way to match.
func classify(text string) (patternKind, string) {
	n := strings.IndexAny(text, wildcards)
	switch {
	case n < 0:
		return matchExact, text
	case text == starText:
		return matchAll, text
	case n == len(text)-1 && text[n] == star:
		return matchPrefix, text[:n]
	}
	return matchGlob, text
}

var errVariable = errors.New("a policy variable is ${key} or ${key, 'default'}")

func parseVariable(inner string) (piece, error) {
	name, rest, hasDefault := strings.Cut(inner, ",")
	v := piece{variable: strings.ToLower(strings.TrimSpace(name))}
	if v.variable == "" || strings.ContainsAny(v.variable, " '${*?") {
		return v, errVariable
	}
	if hasDefault {
		rest = strings.TrimSpace(rest)
		if len(rest) < 2 || rest[0] != '\'' || rest[len(rest)-1] != '\'' {
			return v, errVariable
		}
		rest = rest[1 : len(rest)-1]
		v.fallback = &rest
	}
	return v, nil
}

// match compares text with the pattern. known is false when the pattern has a
// variable to which the request gives no value.
func (p *pattern) match(text string, in *input) (matched, known bool) {
	switch p.kind {
	case matchAll:
		return true, true
	case matchExact:
		return p.text == text, true
	case matchPrefix:
		return strings.HasPrefix(text, p.text), true
	case matchGlob:
		return glob(p.text, text), true
	}
	compiled, ok := p.expand(in)
	return ok && glob(compiled, text), ok
}

// expand is the compiled pattern with its variables put in, as letters: a
// value's own asterisks are no wildcards.
func (p *pattern) expand(in *input) (string, bool) {
	if p.kind != matchVariable {
		switch p.kind {
		case matchPrefix:
			return p.text + starText, true
		default:
			return p.text, true
		}
	}
	var b strings.Builder
	for _, piece := range p.pieces {
		b.WriteString(piece.text)
		if piece.variable == "" {
			continue
		}
		values, ok := in.lookup(piece.variable)
		switch {
		case ok && len(values) == 1 && !strings.ContainsAny(values[0], wildcards):
			b.WriteString(values[0])
		case !ok && piece.fallback != nil:
			b.WriteString(*piece.fallback)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// glob matches text with a compiled pattern.
func glob(pattern, text string) bool {
	if strings.IndexByte(pattern, single) >= 0 {
		return globRunes(pattern, text)
	}
	// With stars alone, the pieces between them are found one after the other:
	// the leftmost place of each is as good as any.
	head, rest, ok := strings.Cut(pattern, starText)
	if !ok {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		piece, after, more := strings.Cut(rest, starText)
		if !more {
			return strings.HasSuffix(text, piece)
		}
		at := strings.Index(text, piece)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(piece):], after
	}
}

// globRunes is glob with ?, in time proportional to the product of the lengths
// at worst: only the last star is ever tried again.
func globRunes(pattern, text string) bool {
	p, t := 0, 0
	starAt, retry := -1, 0
	for t < len(text) {
		if p < len(pattern) {
			switch c := pattern[p]; {
			case c == star:
				starAt, retry = p, t
				p++
				continue
			case c == single:
				_, size := utf8.DecodeRuneInString(text[t:])
				p++
				t += size
				continue
			case c == text[t]:
				p++
				t++
				continue
			}
		}
		if starAt < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(text[retry:])
		retry += size
		p, t = starAt+1, retry
	}
	for p < len(pattern) && pattern[p] == star {
		p++
	}
	return p == len(pattern)
}
