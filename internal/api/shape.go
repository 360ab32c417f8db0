package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sluicevideo/sluice"
)

// A shape is a Go struct whose fields are members of a JSON body:
//
//	type describeStreamInput struct {
//		StreamName string `shape:"min=1,max=256,pattern=name"`
//	}
//
// Member names are the fields', case-exact. Members that the shape does not
// have are passed over; null is as good as absent. Rules in the tag:
//
//	required        must be given
//	min=n, max=n    length in characters, number of entries, or value
//	pattern=p       a name of patterns
//	enum=A|B        one of these
//	secret          never recorded
//	key.max=n, value.pattern=p, ...   the rule for the keys or values of a map,
//	                                  or (value.) for the entries of a list
//
// Fields are string, bool, int64, float64, time.Time, slices of string or of
// shapes, map[string]string, nested shapes (by value), and pointers to any of
// them where absent must be told from zero.
type shape struct {
	members []member
	byName  map[string]int
}

type member struct {
	name     string
	index    int
	required bool
	secret   bool
	self     rule
	key      rule
	value    rule
	kind     reflect.Type // without the pointer
	pointer  bool
}

type rule struct {
	min, max       int64
	hasMin, hasMax bool
	pattern        string
	enum           []string
}

var shapes sync.Map // reflect.Type -> *shape; made from types alone, so it is no state

func shapeOfValue(v any) *shape { return shapeOf(reflect.TypeOf(v)) }

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{byName: make(map[string]int)}
	for i := range t.NumField() {
		f := t.Field(i)
		m := member{name: f.Name, index: i, kind: f.Type}
		if f.Type.Kind() == reflect.Pointer {
			m.kind, m.pointer = f.Type.Elem(), true
		}
		for part := range strings.SplitSeq(f.Tag.Get("shape"), ",") {
			m.addRule(t, part)
		}
		switch m.kind.Kind() {
		case reflect.Struct:
			if m.kind != timeType {
				shapeOf(m.kind)
			}
		case reflect.Slice:
			if m.kind.Elem().Kind() == reflect.Struct {
				shapeOf(m.kind.Elem())
			}
		}
		s.byName[m.name] = len(s.members)
		s.members = append(s.members, m)
	}
	shapes.Store(t, s)
	return s
}

func (m *member) addRule(t reflect.Type, part string) {
	to := &m.self
	if rest, ok := strings.CutPrefix(part, "key."); ok {
		to, part = &m.key, rest
	} else if rest, ok := strings.CutPrefix(part, "value."); ok {
		to, part = &m.value, rest
	}
	name, arg, _ := strings.Cut(part, "=")
	var err error
	switch name {
	case "":
	case "required":
		m.required = true
	case "secret":
		m.secret = true
	case "min":
		to.min, err = strconv.ParseInt(arg, 10, 64)
		to.hasMin = true
	case "max":
		to.max, err = strconv.ParseInt(arg, 10, 64)
		to.hasMax = true
	case "pattern":
		to.pattern = arg
		if _, ok := patterns[arg]; !ok {
			err = errors.New("no such pattern")
		}
	case "enum":
		to.enum = strings.Split(arg, "|")
	default:
		err = errors.New("no such rule")
	}
	if err != nil {
		panic(fmt.Sprintf("api: shape %v, member %s, rule %q: %v", t, m.name, part, err))
	}
}

var timeType = reflect.TypeFor[time.Time]()

// parseMembers takes a body apart at its top: nothing and null are {}.
func parseMembers(body []byte) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(body, &m); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, invalid("request body: not JSON at byte %d: %s", syntax.Offset, syntax.Error())
		}
		return nil, invalid("request body: must be a JSON object")
	}
	return m, nil
}

// Decode reads the members of a JSON body into the shape that to points to, and
// checks its rules. Its failures are InvalidArgumentException and name the
// member and the rule.
func Decode(body []byte, to any) error {
	members, err := parseMembers(body)
	if err != nil {
		return err
	}
	return decodeMembers(members, reflect.ValueOf(to).Elem(), "")
}

// shape is the step of the chain: body to Input, and the rules of naming a stream.
func (c *Call) shape() error {
	if c.malformed != nil {
		return c.malformed
	}
	if c.Op.Input != nil {
		v := reflect.New(reflect.TypeOf(c.Op.Input))
		if err := decodeMembers(c.members, v.Elem(), ""); err != nil {
			return err
		}
		c.Input = v.Interface()
	}
	if c.Op.Stream == nil {
		return nil
	}
	bad := c.Op.BadARN
	if bad == "" {
		bad = sluice.InvalidArgument
	}
	if c.Ref == (sluice.StreamRef{}) {
		return invalid("StreamName, StreamARN: one of them must be given")
	}
	if c.Ref.Name != "" {
		if err := sluice.ValidateStreamName(c.Ref.Name); err != nil {
			return invalid("%s", err)
		}
	}
	if c.Ref.ARN != "" {
		arn, err := sluice.ParseARN(c.Ref.ARN)
		if err != nil {
			member := "StreamARN"
			if c.members["ResourceARN"] != nil {
				member = "ResourceARN"
			}
			return &sluice.Error{Code: bad, Msg: member + ": " + err.Error()}
		}
		if c.Ref.Name != "" && c.Ref.Name != arn.Name {
			return invalid("StreamName, StreamARN: the ARN is of stream %q, the name is %q; they must agree", arn.Name, c.Ref.Name)
		}
	}
	return nil
}

func decodeMembers(members map[string]json.RawMessage, to reflect.Value, path string) error {
	for _, m := range shapeOf(to.Type()).members {
		raw, ok := members[m.name]
		if !ok || isNull(raw) {
			if m.required {
				return invalid("%s%s: must be given", path, m.name)
			}
			continue
		}
		v := to.Field(m.index)
		if m.pointer {
			v.Set(reflect.New(m.kind))
			v = v.Elem()
		}
		if err := decodeValue(raw, v, &m, path+m.name); err != nil {
			return err
		}
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 4 && raw[0] == 'n' }

func decodeValue(raw json.RawMessage, to reflect.Value, m *member, path string) error {
	switch {
	case to.Type() == timeType:
		t, err := parseTime(raw)
		if err != nil {
			return invalid("%s: %s", path, err)
		}
		to.Set(reflect.ValueOf(t))
		return nil
	case to.Kind() == reflect.Struct:
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil {
			return invalid("%s: must be an object", path)
		}
		return decodeMembers(members, to, path+".")
	}
	switch to.Kind() {
	case reflect.String:
		s, err := text(raw, &m.self, path)
		to.SetString(s)
		return err
	case reflect.Bool:
		var b bool
		if json.Unmarshal(raw, &b) != nil {
			return invalid("%s: must be true or false", path)
		}
		to.SetBool(b)
		return nil
	case reflect.Int64:
		n, err := parseInt(raw)
		if err != nil {
			return invalid("%s: %s", path, err)
		}
		to.SetInt(n)
		return m.self.number(float64(n), path)
	case reflect.Float64:
		var f float64
		if json.Unmarshal(raw, &f) != nil {
			return invalid("%s: must be a number", path)
		}
		to.SetFloat(f)
		return m.self.number(f, path)
	case reflect.Map:
		return decodeMap(raw, to, m, path)
	case reflect.Slice:
		return decodeList(raw, to, m, path)
	}
	panic("api: a shape has a member of type " + to.Type().String())
}

func decodeMap(raw json.RawMessage, to reflect.Value, m *member, path string) error {
	var entries map[string]json.RawMessage
	if json.Unmarshal(raw, &entries) != nil {
		return invalid("%s: must be an object of strings", path)
	}
	if err := m.self.count(len(entries), "entries", path); err != nil {
		return err
	}
	out := make(map[string]string, len(entries))
	for k, v := range entries {
		if err := m.key.text(k, path+" key"); err != nil {
			return err
		}
		if isNull(v) {
			v = json.RawMessage(`""`) // a tag's value is optional
		}
		s, err := text(v, &m.value, path+"["+quote(k)+"]")
		if err != nil {
			return err
		}
		out[k] = s
	}
	to.Set(reflect.ValueOf(out))
	return nil
}

func decodeList(raw json.RawMessage, to reflect.Value, m *member, path string) error {
	var entries []json.RawMessage
	if json.Unmarshal(raw, &entries) != nil {
		return invalid("%s: must be a list", path)
	}
	if err := m.self.count(len(entries), "entries", path); err != nil {
		return err
	}
	list := reflect.MakeSlice(to.Type(), len(entries), len(entries))
	entry := member{self: m.value}
	for i, raw := range entries {
		at := path + "[" + strconv.Itoa(i) + "]"
		if isNull(raw) {
			return invalid("%s: must not be null", at)
		}
		if err := decodeValue(raw, list.Index(i), &entry, at); err != nil {
			return err
		}
	}
	to.Set(list)
	return nil
}

func text(raw json.RawMessage, r *rule, path string) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", invalid("%s: must be a string", path)
	}
	return s, r.text(s, path)
}

func (r *rule) text(s, path string) error {
	if r.enum != nil {
		for _, e := range r.enum {
			if s == e {
				return nil
			}
		}
		return invalid("%s %s: must be one of %s", path, quote(s), strings.Join(r.enum, ", "))
	}
	if r.hasMin || r.hasMax {
		n := int64(utf8.RuneCountInString(s))
		if n < r.min || r.hasMax && n > r.max {
			return invalid("%s %s: length is %d, must be %s", path, quote(s), n, r.span())
		}
	}
	if p := patterns[r.pattern]; p.match != nil && !p.match(s) {
		return invalid("%s %s: must match %s", path, quote(s), p.text)
	}
	return nil
}

func (r *rule) count(n int, what, path string) error {
	if int64(n) < r.min || r.hasMax && int64(n) > r.max {
		return invalid("%s: has %d %s, must be %s", path, n, what, r.span())
	}
	return nil
}

func (r *rule) number(f float64, path string) error {
	if r.hasMin && f < float64(r.min) || r.hasMax && f > float64(r.max) {
		return invalid("%s: is %v, must be %s", path, strconv.FormatFloat(f, 'f', -1, 64), r.span())
	}
	return nil
}

func (r *rule) span() string {
	switch {
	case !r.hasMax:
		return "at least " + strconv.FormatInt(r.min, 10)
	case !r.hasMin:
		return "at most " + strconv.FormatInt(r.max, 10)
	}
	return strconv.FormatInt(r.min, 10) + " to " + strconv.FormatInt(r.max, 10)
}

func quote(s string) string {
	if utf8.RuneCountInString(s) > 64 {
		s = string([]rune(s)[:64]) + "..."
	}
	return strconv.Quote(s)
}

var errWhole = errors.New("must be a whole number")

// parseInt reads a whole number however it is written: some clients send 24.0
// or 2.4E1.
func parseInt(raw json.RawMessage) (int64, error) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f != math.Trunc(f) {
		return 0, errWhole
	}
	if math.Abs(f) >= 1<<53 {
		return 0, errors.New("is too large")
	}
	return int64(f), nil
}

var errTime = errors.New("must be a time: seconds since the epoch, or ISO 8601")

// parseTime reads seconds since the epoch (whole, decimal, scientific, also as
// a string) or ISO 8601, to the millisecond.
func parseTime(raw json.RawMessage) (time.Time, error) {
	s := string(raw)
	if strings.HasPrefix(s, `"`) {
		if json.Unmarshal(raw, &s) != nil {
			return time.Time{}, errTime
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "20060102T150405Z", "2006-01-02T15:04:05", "2006-01-02"} {
			if t, err := time.Parse(layout, s); err == nil {
				return inRange(t.Truncate(time.Millisecond).UTC())
			}
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e12 {
		return time.Time{}, errTime
	}
	return inRange(time.UnixMilli(int64(math.Round(f * 1000))).UTC())
}

func inRange(t time.Time) (time.Time, error) {
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}, errTime
	}
	return t, nil
}

// Timestamp prints a time as the service does: seconds since the epoch with a
// fraction, as a JSON number.
type Timestamp time.Time

// MarshalJSON is the wire form, to the millisecond.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(t).UnixMilli())/1000, 'f', 3, 64), nil
}
