package policy

import (
	"fmt"
	"strings"
)

// Finding is what one statement says about a request.
type Finding struct {
	Policy     string // Name of the document
	Statement  string // "Statement[0] (sid)"
	Start, End Position
	Effect     string // Allow or Deny
	Matched    bool
	Why        string // the first element that does not match, and what it wants; "" when Matched
}

func (f Finding) String() string {
	name := f.Statement
	if f.Policy != "" {
		name += " of " + f.Policy
	}
	if f.Matched {
		return fmt.Sprintf("%s at line %d: %s", name, f.Start.Line, f.Effect)
	}
	return fmt.Sprintf("%s at line %d does not apply: %s", name, f.Start.Line, f.Why)
}

// Explain tells what each statement of docs says about q, in order.
func Explain(docs []*Document, q Request) []Finding {
	in := input{action: normalizeAction(q.Action), resource: q.Resource, context: q.Context}
	var out []Finding
	for _, d := range docs {
		for i := range d.Statements {
			s := &d.Statements[i]
			f := Finding{Policy: d.Name, Statement: s.String(), Start: s.Start, End: s.End, Effect: s.effect(), Matched: s.matches(&in)}
			if !f.Matched {
				f.Why = s.why(q, &in)
			}
			out = append(out, f)
		}
	}
	return out
}

func (s *Statement) why(q Request, in *input) string {
	if !s.actions.match(in.action, in) {
		return s.actions.why("Action", q.Action)
	}
	if !s.resources.match(in.resource, in) {
		return s.resources.why("Resource", q.Resource)
	}
	for i := range s.conditions {
		if c := &s.conditions[i]; !c.holds(in) {
			return c.why(in)
		}
	}
	return ""
}

func (s *set) why(element, got string) string {
	var list []string
	for i := range s.patterns {
		list = append(list, s.patterns[i].source)
	}
	if s.not {
		return fmt.Sprintf("Not%s %s covers %s", element, short(list), got)
	}
	return fmt.Sprintf("%s %s does not cover %s", element, short(list), got)
}

func (c *condition) why(in *input) string {
	var list []string
	for i := range c.values {
		list = append(list, c.values[i].source)
	}
	got, ok := in.lookup(c.key)
	if !ok {
		return fmt.Sprintf("Condition %s %s %s: the request has no such key", c.written, c.name, short(list))
	}
	return fmt.Sprintf("Condition %s %s %s: the request has %s", c.written, c.name, short(list), short(got))
}

func short(list []string) string {
	const most = 4
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// Keys are the condition keys that docs look at, each once, in order of first
// use, in lower case: what a simulation needs to be told.
func Keys(docs []*Document) []string {
	var out []string
	seen := map[string]bool{}
	add := func(key string) {
		if !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	addPatterns := func(list []pattern) {
		for i := range list {
			for _, p := range list[i].pieces {
				if p.variable != "" {
					add(p.variable)
				}
			}
		}
	}
	for _, d := range docs {
		for i := range d.Statements {
			s := &d.Statements[i]
			addPatterns(s.resources.patterns)
			for j := range s.conditions {
				add(s.conditions[j].key)
				for k := range s.conditions[j].values {
					addPatterns([]pattern{s.conditions[j].values[k].text})
				}
			}
		}
	}
	return out
}
