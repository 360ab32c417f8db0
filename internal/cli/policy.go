package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth/policy"
)

func newPolicyCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Try, check and list policies",
		Example: `  sluice policy simulate cam1 PutMedia garden
  sluice policy simulate --file policy.json PutMedia
  sluice policy check policy.json`,
	}
	flags := addClientFlags(env, cmd)
	cmd.AddCommand(newSimulateCommand(env, flags), newPolicyCheckCommand(env), newPolicyListCommand(env, flags))
	return cmd
}

// verdict is the answer of a simulation.
type verdict struct {
	Action    string   `json:"Action"`
	Resource  string   `json:"Resource"`
	Decision  string   `json:"Decision"` // allowed, explicitDeny, implicitDeny
	Reason    string   `json:"Reason"`
	Missing   []string `json:"MissingContext,omitempty"` // condition keys that were not given
	Statement []string `json:"Statements,omitempty"`     // what each statement says
}

func (v verdict) String() string {
	s := fmt.Sprintf("%s on %s: %s", v.Action, v.Resource, v.Reason)
	if len(v.Missing) > 0 {
		s += " (not given: " + strings.Join(v.Missing, ", ") + ")"
	}
	return s
}

func newSimulateCommand(env *Env, flags *clientFlags) *cobra.Command {
	var files, context []string
	var asJSON, explain bool
	cmd := &cobra.Command{
		Use:   "simulate [USER] ACTION [RESOURCE] [--file POLICY]... [--context KEY=VALUE]...",
		Short: "Say whether a user may do something, and by which statement",
		Long: `Say in one line whether a user's policies, with those of its groups, allow an
action, and which statement decides. The server evaluates them as it does for a
call; nothing is done.

USER is a name or an ARN. ACTION is a name such as PutMedia, or service:Name.
RESOURCE is a stream's name, an ARN, or left out for "*".

With --file the policies of the files decide, without a user and without a
server. A condition key of the request is given by --context; one given twice
has two values.

The exit code is 0 for allowed and 4 for denied.`,
		Example: `  sluice policy simulate cam1 PutMedia garden
  sluice policy simulate cam1 GetMedia garden --context aws:SourceIp=10.0.0.7 --explain
  sluice policy simulate --file policy.json kinesisvideo:PutMedia arn:aws:kinesisvideo:us-west-2:000000000000:stream/garden/1`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := contextOf(cmd, context)
			if err != nil {
				return err
			}
			user := ""
			if len(files) == 0 {
				user, args = args[0], args[1:]
			}
			if len(args) == 0 || len(args) > 2 {
				return usagef(cmd, "%s: want %s", cmd.CommandPath(), map[bool]string{true: "USER ACTION [RESOURCE]", false: "ACTION [RESOURCE]"}[len(files) == 0])
			}
			action, resource := args[0], "*"
			if !strings.Contains(action, ":") && action != "*" {
				action = "kinesisvideo:" + action
			}
			if len(args) == 2 {
				resource = args[1]
			}
			var v verdict
			if user == "" {
				v, err = simulateFiles(env, files, policy.Request{Action: action, Resource: resource, Context: keys})
			} else {
				v, err = simulateUser(cmd.Context(), flags, user, action, resource, keys)
			}
			if err != nil {
				return err
			}
			if err := printVerdict(env, v, asJSON, explain); err != nil || v.Decision == "allowed" {
				return err
			}
			return &exitError{code: ExitDenied}
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&files, "file", nil, "policy document to evaluate instead of a user's (- is stdin)")
	fs.StringArrayVar(&context, "context", nil, "condition key of the request, KEY=VALUE")
	fs.BoolVar(&explain, "explain", false, "say what each statement does, one line each")
	jsonVar(cmd, &asJSON)
	return cmd
}

func contextOf(cmd *cobra.Command, pairs []string) (map[string][]string, error) {
	keys := map[string][]string{}
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, usagef(cmd, "%s: --context %q is not KEY=VALUE", cmd.CommandPath(), pair)
		}
		keys[k] = append(keys[k], v)
	}
	return keys, nil
}

func printVerdict(env *Env, v verdict, asJSON, explain bool) error {
	if !explain {
		v.Statement = nil
	}
	if asJSON {
		return printJSON(env.Stdout, v)
	}
	if _, err := fmt.Fprintln(env.Stdout, v); err != nil {
		return err
	}
	for _, s := range v.Statement {
		if _, err := fmt.Fprintln(env.Stdout, "  "+s); err != nil {
			return err
		}
	}
	return nil
}

func parsePolicy(env *Env, name string) (*policy.Document, error) {
	text, err := readPolicy(env, name)
	if err != nil {
		return nil, err
	}
	d, err := policy.Parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d.Name = name
	return d, nil
}

func simulateFiles(env *Env, files []string, q policy.Request) (verdict, error) {
	var docs []*policy.Document
	for _, name := range files {
		d, err := parsePolicy(env, name)
		if err != nil {
			return verdict{}, err
		}
		docs = append(docs, d)
	}
	d := policy.Evaluate(docs, q)
	v := verdict{Action: q.Action, Resource: q.Resource, Decision: "implicitDeny", Reason: d.Reason}
	switch {
	case d.Allowed:
		v.Decision = "allowed"
	case d.Explicit:
		v.Decision = "explicitDeny"
	}
	given := map[string]bool{}
	for k := range q.Context {
		given[strings.ToLower(k)] = true
	}
	for _, k := range policy.Keys(docs) {
		if !given[k] {
			v.Missing = append(v.Missing, k)
		}
	}
	for _, f := range policy.Explain(docs, q) {
		v.Statement = append(v.Statement, f.String())
	}
	return v, nil
}

func simulateUser(ctx context.Context, flags *clientFlags, user, action, resource string, keys map[string][]string) (verdict, error) {
	iam, err := flags.iam(ctx)
	if err != nil {
		return verdict{}, err
	}
	if !strings.HasPrefix(user, "arn:") {
		var out struct {
			ARN string `xml:"GetUserResult>User>Arn"`
		}
		if err := iam.call(ctx, &out, "GetUser", "UserName", user); err != nil {
			return verdict{}, err
		}
		user = out.ARN
	}
	if resource, err = resourceOf(ctx, flags, iam, resource); err != nil {
		return verdict{}, err
	}
	params := []string{"PolicySourceArn", user, "ActionNames.member.1", action, "ResourceArns.member.1", resource}
	n := 0
	for k, values := range keys {
		n++
		prefix := fmt.Sprintf("ContextEntries.member.%d.", n)
		params = append(params, prefix+"ContextKeyName", k, prefix+"ContextKeyType", "string")
		for i, v := range values {
			params = append(params, fmt.Sprintf("%sContextKeyValues.member.%d", prefix, i+1), v)
		}
	}
	var out struct {
		Results []struct {
			EvalActionName, EvalResourceName, EvalDecision string

			Missing   []string `xml:"MissingContextValues>member"`
			Reason    string   `xml:"SluiceReason"`
			Findings  []string `xml:"SluiceFindings>member"`
			Statement []struct {
				SourcePolicyID string `xml:"SourcePolicyId"`
				Line           int    `xml:"StartPosition>Line"`
			} `xml:"MatchedStatements>member"`
		} `xml:"SimulatePrincipalPolicyResult>EvaluationResults>member"`
	}
	if err := iam.call(ctx, &out, "SimulatePrincipalPolicy", params...); err != nil {
		return verdict{}, err
	}
	if len(out.Results) != 1 {
		return verdict{}, fmt.Errorf("SimulatePrincipalPolicy: %d results for one action", len(out.Results))
	}
	r := out.Results[0]
	v := verdict{Action: r.EvalActionName, Resource: r.EvalResourceName, Decision: r.EvalDecision, Reason: r.Reason, Missing: r.Missing, Statement: r.Findings}
	if v.Reason == "" { // AWS has no such element
		v.Reason = r.EvalDecision
		if len(r.Statement) > 0 {
			v.Reason += fmt.Sprintf(" by %s, line %d", r.Statement[0].SourcePolicyID, r.Statement[0].Line)
		}
	}
	return v, nil
}

// resourceOf takes RESOURCE of a command line: "*", an ARN, or the name of a
// stream. A stream that is not there gets the creation code 0, as the server's
// door gives it.
func resourceOf(ctx context.Context, flags *clientFlags, iam *iamClient, s string) (string, error) {
	if s == "*" || strings.HasPrefix(s, "arn:") {
		return s, nil
	}
	if err := sluice.ValidateStreamName(s); err != nil {
		return "", err
	}
	k, err := flags.client(ctx)
	if err != nil {
		return "", err
	}
	d, err := k.Control().DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &s})
	if err == nil && d.StreamInfo != nil && d.StreamInfo.StreamARN != nil {
		return *d.StreamInfo.StreamARN, nil
	}
	if err != nil && exitCode(err) != ExitNotFound && exitCode(err) != ExitDenied {
		return "", err
	}
	account, err := iam.account(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("arn:aws:kinesisvideo:%s:%s:stream/%s/0", iam.cfg.Region, account, s), nil
}

func newPolicyCheckCommand(env *Env) *cobra.Command {
	type result struct {
		File       string `json:"File"`
		Sound      bool   `json:"Sound"`
		Statements int    `json:"Statements,omitempty"`
		Problem    string `json:"Problem,omitempty"`
	}
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "check FILE...",
		Short:   "Say whether policy documents are sound, and where they are not",
		Example: "  sluice policy check policy.json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			var results []result
			for _, name := range args {
				d, err := parsePolicy(env, name)
				if err != nil {
					errs = append(errs, err)
					results = append(results, result{File: name, Problem: err.Error()})
					continue
				}
				n := len(d.Statements)
				results = append(results, result{File: name, Sound: true, Statements: n})
				if asJSON {
					continue
				}
				if _, err := fmt.Fprintf(env.Stdout, "%s: sound, %d statement%s\n", name, n, map[bool]string{false: "s"}[n == 1]); err != nil {
					return err
				}
			}
			if !asJSON {
				return errors.Join(errs...)
			}
			if err := printJSON(env.Stdout, results); err != nil || len(errs) == 0 {
				return err
			}
			return &exitError{code: ExitFailure}
		},
	}
	jsonVar(cmd, &asJSON)
	return cmd
}

func newPolicyListCommand(env *Env, flags *clientFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List managed policies",
		Example: "  sluice policy list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			iam, err := flags.iam(cmd.Context())
			if err != nil {
				return err
			}
			all, err := iam.policies(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(env.Stdout, append([]managedPolicy{}, all...))
			}
			t := table{header: []string{"POLICY", "ATTACHED", "ARN"}}
			for _, p := range all {
				t.add(p.Name, fmt.Sprint(p.Attached), p.ARN)
			}
			return t.print(env.Stdout)
		},
	}
	jsonVar(cmd, &asJSON)
	return cmd
}
