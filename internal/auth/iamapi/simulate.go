package iamapi

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/auth/policy"
)

const simulationParams = "PolicyInputList ActionNames ResourceArns ContextEntries Marker MaxItems"

var simulations = map[string]Action{
	"SimulatePrincipalPolicy": {params: "PolicySourceArn " + simulationParams, resource: simulated, serve: simulatePrincipal},
	"SimulateCustomPolicy":    {params: simulationParams, serve: simulateCustom},
}

// Bounds of one simulation: each combination is evaluated, and answered.
const (
	maxSimulatedActions   = 200
	maxSimulatedResources = 50
	maxSimulatedPolicies  = 50
	maxContextEntries     = 100
	maxExplained          = 20 // combinations for which every statement is explained
)

func simulated(c *Call) string { return c.get("PolicySourceArn") }

type position struct{ Line, Column int }

type matchedStatement struct {
	SourcePolicyID   string `xml:"SourcePolicyId"`
	SourcePolicyType string
	StartPosition    position
	EndPosition      position
}

type evaluation struct {
	EvalActionName       string
	EvalResourceName     string
	EvalDecision         string
	MatchedStatements    list[matchedStatement]
	MissingContextValues list[string]
	// Reason and Findings are ours; SDKs pass over elements they don't know.
	Reason   string       `xml:"SluiceReason"`
	Findings list[string] `xml:"SluiceFindings"`
}

func simulatePrincipal(c *Call) (any, error) {
	arn, err := c.need("PolicySourceArn")
	if err != nil {
		return nil, err
	}
	context, err := c.contextEntries()
	if err != nil {
		return nil, err
	}
	owner, err := c.principal(arn)
	if err != nil {
		return nil, err
	}
	docs, err := c.auth.Documents(c.ctx, owner)
	if err != nil {
		return nil, err
	}
	if !owner.Group {
		u, err := c.auth.User(c.ctx, owner.Name)
		if err != nil {
			return nil, err
		}
		context = c.auth.Context(u, context)
	}
	return c.simulate(docs, context)
}

// principal is the user or group of an ARN.
func (c *Call) principal(arn string) (auth.Owner, error) {
	fields := strings.SplitN(arn, ":", 6)
	bad := &sluice.Error{Code: auth.InvalidInput, Msg: "policySourceArn: must be the ARN of a user or group of this account"}
	if len(fields) != 6 || fields[4] != c.auth.Account() {
		return auth.Owner{}, bad
	}
	kind, _, _ := strings.Cut(fields[5], "/")
	name := fields[5][strings.LastIndexByte(fields[5], '/')+1:]
	var found string
	switch kind {
	case "user":
		u, err := c.auth.User(c.ctx, name)
		if err != nil {
			return auth.Owner{}, err
		}
		found = u.ARN
	case "group":
		g, err := c.auth.Group(c.ctx, name)
		if err != nil {
			return auth.Owner{}, err
		}
		found = g.ARN
	default:
		return auth.Owner{}, bad
	}
	if !strings.EqualFold(found, arn) {
		return auth.Owner{}, &sluice.Error{Code: auth.NoSuchEntity, Msg: clip(arn) + " does not exist."}
	}
	return auth.Owner{Group: kind == "group", Name: name}, nil
}

func simulateCustom(c *Call) (any, error) {
	if c.get("PolicyInputList.member.1") == "" {
		_, err := c.need("PolicyInputList")
		return nil, err
	}
	context, err := c.contextEntries()
	if err != nil {
		return nil, err
	}
	return c.simulate(nil, context)
}

// contextEntries reads ContextEntries.member.N.ContextKeyName and its values.
func (c *Call) contextEntries() (map[string][]string, error) {
	out := map[string][]string{}
	for i := 1; ; i++ {
		prefix := fmt.Sprintf("ContextEntries.member.%d.", i)
		name := c.get(prefix + "ContextKeyName")
		if name == "" {
			return out, nil
		}
		if i > maxContextEntries {
			return nil, invalid("contextEntries: more than %d", maxContextEntries)
		}
		values, err := c.list(prefix+"ContextKeyValues", maxContextEntries)
		if err != nil {
			return nil, err
		}
		out[name] = values
	}
}

func (c *Call) simulate(docs []*policy.Document, context map[string][]string) (any, error) {
	texts, err := c.list("PolicyInputList", maxSimulatedPolicies)
	if err != nil {
		return nil, err
	}
	docs = append([]*policy.Document{}, docs...)
	for i, text := range texts {
		d, err := policy.Parse([]byte(text))
		if err != nil {
			return nil, &sluice.Error{Code: auth.InvalidInput, Msg: fmt.Sprintf("PolicyInputList.member.%d: %v", i+1, err)}
		}
		d.Name = fmt.Sprintf("PolicyInputList.%d", i+1)
		docs = append(docs, d)
	}
	actions, err := c.list("ActionNames", maxSimulatedActions)
	if err != nil {
		return nil, err
	}
	if len(actions) == 0 {
		_, err := c.need("ActionNames")
		return nil, err
	}
	resources, err := c.list("ResourceArns", maxSimulatedResources)
	if err != nil {
		return nil, err
	}
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	// A page is cut by place before anything is evaluated: the input, which
	// makes the order, comes with every call.
	places := make([]string, len(actions)*len(resources))
	for i := range places {
		places[i] = fmt.Sprintf("%06d", i)
	}
	explain := len(places) <= maxExplained
	places, p, err := page(c, places, func(s string) string { return s })
	if err != nil {
		return nil, err
	}
	missing := missingKeys(docs, context)
	return struct {
		EvaluationResults list[evaluation]
		paging
	}{listOf(places, func(place string) evaluation {
		i, _ := strconv.Atoi(place)
		e := evaluate(docs, policy.Request{Action: actions[i/len(resources)], Resource: resources[i%len(resources)], Context: context}, explain)
		e.MissingContextValues.Members = missing
		return e
	}), p}, nil
}

func missingKeys(docs []*policy.Document, context map[string][]string) []string {
	given := map[string]bool{}
	for k := range context {
		given[strings.ToLower(k)] = true
	}
	out := []string{}
	for _, k := range policy.Keys(docs) {
		if !given[k] {
			out = append(out, k)
		}
	}
	return out
}

func evaluate(docs []*policy.Document, q policy.Request, explain bool) evaluation {
	d := policy.Evaluate(docs, q)
	e := evaluation{EvalActionName: q.Action, EvalResourceName: q.Resource, EvalDecision: "implicitDeny", Reason: d.Reason}
	effect := "Allow"
	switch {
	case d.Allowed:
		e.EvalDecision = "allowed"
	case d.Explicit:
		e.EvalDecision, effect = "explicitDeny", "Deny"
	}
	for _, f := range policy.Explain(docs, q) {
		if explain {
			e.Findings.Members = append(e.Findings.Members, f.String())
		}
		if f.Matched && f.Effect == effect {
			e.MatchedStatements.Members = append(e.MatchedStatements.Members, matchedStatement{f.Policy, "IAM Policy",
				position(f.Start), position(f.End)})
		}
	}
	return e
}
