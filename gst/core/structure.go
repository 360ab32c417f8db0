package main

import (
	"fmt"
	"strings"
)

// structure is a GstStructure in its text form: name, field=(type)value, ...;
type structure struct{ b strings.Builder }

func newStructure(name string) *structure {
	s := &structure{}
	s.b.WriteString(name)
	return s
}

// add appends a field; the type of v picks GStreamer's.
func (s *structure) add(name string, v any) *structure {
	switch v := v.(type) {
	case string:
		fmt.Fprintf(&s.b, `, %s=(string)"%s"`, name, escape(v))
	case bool:
		fmt.Fprintf(&s.b, ", %s=(boolean)%t", name, v)
	case int:
		fmt.Fprintf(&s.b, ", %s=(int)%d", name, v)
	case int64:
		fmt.Fprintf(&s.b, ", %s=(gint64)%d", name, v)
	case uint32:
		fmt.Fprintf(&s.b, ", %s=(uint)%d", name, v)
	case uint64:
		fmt.Fprintf(&s.b, ", %s=(guint64)%d", name, v)
	case float64:
		fmt.Fprintf(&s.b, ", %s=(double)%g", name, v)
	default:
		panic(fmt.Sprintf("structure: field %s of type %T", name, v))
	}
	return s
}

func (s *structure) String() string { return s.b.String() + ";" }

// escape writes everything but plain characters as octal, which is how
// GStreamer itself writes text.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c > 0x7e:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
