package policy

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// condition is one operator applied to one key.
type condition struct {
	written  string // the operator as written
	key      string // lower case
	name     string // the key as written
	op       operator
	each     quantifier
	ifExists bool
	values   []value
}

type quantifier uint8

const (
	plain quantifier = iota
	forAll
	forAny
)

// operator is a comparison, and whether a match means no.
type operator struct {
	compare func(v *value, got string, in *input) bool
	read    func(s string, variables bool) (value, error)
	negated bool
	null    bool
}

// value is what a policy compares with, read once.
type value struct {
	source string
	text   pattern
	number float64
	time   time.Time
	prefix netip.Prefix
	yes    bool
	bytes  string
}

var operators = map[string]operator{
	"StringEquals":              {compare: matchText, read: readText},
	"StringNotEquals":           {compare: matchText, read: readText, negated: true},
	"StringEqualsIgnoreCase":    {compare: matchFold, read: readText},
	"StringNotEqualsIgnoreCase": {compare: matchFold, read: readText, negated: true},
	"StringLike":                {compare: matchText, read: readGlob},
	"StringNotLike":             {compare: matchText, read: readGlob, negated: true},

	"NumericEquals":            {compare: numeric(func(a, b float64) bool { return a == b }), read: readNumber},
	"NumericNotEquals":         {compare: numeric(func(a, b float64) bool { return a == b }), read: readNumber, negated: true},
	"NumericLessThan":          {compare: numeric(func(a, b float64) bool { return a < b }), read: readNumber},
	"NumericLessThanEquals":    {compare: numeric(func(a, b float64) bool { return a <= b }), read: readNumber},
	"NumericGreaterThan":       {compare: numeric(func(a, b float64) bool { return a > b }), read: readNumber},
	"NumericGreaterThanEquals": {compare: numeric(func(a, b float64) bool { return a >= b }), read: readNumber},

	"DateEquals":            {compare: dated(func(c int) bool { return c == 0 }), read: readTime},
	"DateNotEquals":         {compare: dated(func(c int) bool { return c == 0 }), read: readTime, negated: true},
	"DateLessThan":          {compare: dated(func(c int) bool { return c < 0 }), read: readTime},
	"DateLessThanEquals":    {compare: dated(func(c int) bool { return c <= 0 }), read: readTime},
	"DateGreaterThan":       {compare: dated(func(c int) bool { return c > 0 }), read: readTime},
	"DateGreaterThanEquals": {compare: dated(func(c int) bool { return c >= 0 }), read: readTime},

	"Bool":         {compare: matchBool, read: readBool},
	"BinaryEquals": {compare: matchBinary, read: readBinary},
	"IpAddress":    {compare: matchAddress, read: readPrefix},
	"NotIpAddress": {compare: matchAddress, read: readPrefix, negated: true},
	"ArnEquals":    {compare: matchARN, read: readARN},
	"ArnLike":      {compare: matchARN, read: readARN},
	"ArnNotEquals": {compare: matchARN, read: readARN, negated: true},
	"ArnNotLike":   {compare: matchARN, read: readARN, negated: true},
	"Null":         {read: readBool, null: true},
}

func (p *parser) conditionBlock(n *node, path string) ([]condition, *fault) {
	if n.kind != isObject {
		return nil, failAt(n.start, path, "must be an object, not %s", kindNames[n.kind])
	}
	var out []condition
	for i := range n.names {
		c, err := readOperator(n.names[i].text)
		if err != nil {
			return nil, failAt(n.names[i].start, path, "%v", err)
		}
		at := path + "." + c.written
		keys := &n.items[i]
		if keys.kind != isObject {
			return nil, failAt(keys.start, at, "must be an object of condition keys, not %s", kindNames[keys.kind])
		}
		if len(keys.names) == 0 {
			return nil, failAt(keys.start, at, "has no condition key")
		}
		for j := range keys.names {
			one := c
			one.name = keys.names[j].text
			one.key = strings.ToLower(one.name)
			if vendor, rest, ok := strings.Cut(one.name, ":"); !ok || vendor == "" || rest == "" || len(one.name) > maxString {
				return nil, failAt(keys.names[j].start, at, "condition key %q must be service:name, as in aws:SourceIp", one.name)
			}
			var fail *fault
			if one.values, fail = p.conditionValues(&keys.items[j], &one, at+"."+one.name); fail != nil {
				return nil, fail
			}
			out = append(out, one)
			p.contextual = true
		}
	}
	return out, nil
}

func readOperator(name string) (condition, error) {
	c := condition{written: name}
	rest := name
	if r, ok := strings.CutPrefix(rest, "ForAllValues:"); ok {
		rest, c.each = r, forAll
	} else if r, ok := strings.CutPrefix(rest, "ForAnyValue:"); ok {
		rest, c.each = r, forAny
	}
	rest, c.ifExists = strings.CutSuffix(rest, "IfExists")
	op, ok := operators[rest]
	if !ok {
		for known := range operators {
			if strings.EqualFold(known, rest) {
				return c, fmt.Errorf("there is no operator %q; it is spelled %s", name, known)
			}
		}
		return c, fmt.Errorf("there is no operator %q", name)
	}
	if op.null && (c.ifExists || c.each != plain) {
		return c, fmt.Errorf("operator %q: Null takes neither IfExists nor a set prefix", name)
	}
	c.op = op
	return c, nil
}

func (p *parser) conditionValues(n *node, c *condition, path string) ([]value, *fault) {
	items := []node{*n}
	if n.kind == isList {
		if items = n.items; len(items) == 0 {
			return nil, failAt(n.start, path, "is empty")
		}
	}
	var out []value
	for i := range items {
		item := &items[i]
		if item.kind != isString && item.kind != isNumber && item.kind != isBool {
			return nil, failAt(item.start, path, "must be a string or a list of strings, not %s", kindNames[item.kind])
		}
		if len(item.text) > maxString {
			return nil, failAt(item.start, path, "has %d bytes, at most %d are allowed", len(item.text), maxString)
		}
		v, err := c.op.read(item.text, p.variables)
		if err != nil {
			return nil, failAt(item.start, path, "%v", err)
		}
		v.source = item.text
		out = append(out, v)
	}
	return out, nil
}

// holds decides the condition. A key that the request does not have fails a
// comparison, and passes a negated one ("IAM JSON policy elements: Condition
// operators").
func (c *condition) holds(in *input) bool {
	got, ok := in.lookup(c.key)
	if c.op.null {
		for i := range c.values {
			if c.values[i].yes == !ok {
				return true
			}
		}
		return false
	}
	if !ok {
		switch {
		case c.ifExists, c.each == forAll:
			return true
		case c.each == forAny:
			return false
		}
		return c.op.negated
	}
	switch c.each {
	case forAll:
		for _, g := range got {
			if c.matches(g, in) == c.op.negated {
				return false
			}
		}
		return true
	case forAny:
		for _, g := range got {
			if c.matches(g, in) != c.op.negated {
				return true
			}
		}
		return false
	}
	matched := false
	for _, g := range got {
		matched = matched || c.matches(g, in)
	}
	return matched != c.op.negated
}

// matches reports whether any of the policy's values fits.
func (c *condition) matches(got string, in *input) bool {
	for i := range c.values {
		if c.op.compare(&c.values[i], got, in) {
			return true
		}
	}
	return false
}

func readText(s string, variables bool) (v value, err error) {
	v.text, err = compile(s, false, variables)
	return v, err
}

func readGlob(s string, variables bool) (v value, err error) {
	v.text, err = compile(s, true, variables)
	return v, err
}

func matchText(v *value, got string, in *input) bool {
	matched, known := v.text.match(got, in)
	return matched && known
}

func matchFold(v *value, got string, in *input) bool {
	want, known := v.text.expand(in)
	return known && strings.EqualFold(want, got)
}

func readNumber(s string, _ bool) (v value, err error) {
	v.number, err = parseNumber(s)
	if err != nil {
		return v, fmt.Errorf("%q is not a number", s)
	}
	return v, nil
}

func parseNumber(s string) (float64, error) {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, strconv.ErrSyntax
	}
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && math.IsInf(f, 0) {
		err = strconv.ErrRange
	}
	return f, err
}

func numeric(is func(got, want float64) bool) func(*value, string, *input) bool {
	return func(v *value, got string, _ *input) bool {
		n, err := parseNumber(got)
		return err == nil && is(n, v.number)
	}
}

func readTime(s string, _ bool) (v value, err error) {
	v.time, err = parseTime(s)
	return v, err
}

// parseTime reads the ISO 8601 forms of W3C's note on date formats, and
// seconds since the epoch.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "20060102T150405Z"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if n, err := parseNumber(s); err == nil && len(s) > 4 && math.Abs(n) < 1e11 {
		return time.UnixMilli(int64(n * 1000)), nil
	}
	if len(s) == 4 {
		if t, err := time.Parse("2006", s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date: want ISO 8601, as in 2026-11-22T13:00:00Z, or seconds since the epoch", s)
}

func dated(is func(cmp int) bool) func(*value, string, *input) bool {
	return func(v *value, got string, _ *input) bool {
		t, err := parseTime(got)
		return err == nil && is(t.Compare(v.time))
	}
}

func readBool(s string, _ bool) (v value, err error) {
	switch strings.ToLower(s) {
	case "true":
		v.yes = true
	case "false":
	default:
		return v, fmt.Errorf("%q must be true or false", s)
	}
	return v, nil
}

func matchBool(v *value, got string, _ *input) bool {
	return strings.EqualFold(got, strconv.FormatBool(v.yes))
}

func readBinary(s string, _ bool) (v value, err error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return v, fmt.Errorf("%q is not base64", s)
	}
	v.bytes = string(b)
	return v, nil
}

func matchBinary(v *value, got string, _ *input) bool {
	b, err := base64.StdEncoding.DecodeString(got)
	return err == nil && string(b) == v.bytes
}

func readPrefix(s string, _ bool) (v value, err error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		v.prefix = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		return v, nil
	}
	v.prefix, err = netip.ParsePrefix(s)
	if err != nil {
		return v, fmt.Errorf("%q is not an address or CIDR block, as in 203.0.113.0/24", s)
	}
	v.prefix = v.prefix.Masked()
	return v, nil
}

func matchAddress(v *value, got string, _ *input) bool {
	addr, err := netip.ParseAddr(got)
	return err == nil && v.prefix.Contains(addr.WithZone("").Unmap())
}

func readARN(s string, variables bool) (v value, err error) {
	if s != "*" && !strings.HasPrefix(s, "arn:") {
		return v, fmt.Errorf("%q must be an ARN", s)
	}
	v.text, err = compile(completeARN(s), true, variables)
	return v, err
}

// matchARN compares the six fields one by one: a wildcard does not reach over
// a colon, except in the last field.
func matchARN(v *value, got string, in *input) bool {
	want, known := v.text.expand(in)
	if !known {
		return false
	}
	w, g := strings.SplitN(want, ":", 6), strings.SplitN(got, ":", 6)
	if len(w) != 6 || len(g) != 6 {
		return false
	}
	for i := range w {
		if !glob(w[i], g[i]) {
			return false
		}
	}
	return true
}
