package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// userCommand is what the verbs of 'sluice user' share.
type userCommand struct {
	env   *Env
	flags *clientFlags
	json  bool
}

func newUserCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Make users, their access keys and their policies",
		Example: `  sluice user create cam1
  sluice user key create cam1
  sluice user policy attach cam1 AmazonKinesisVideoStreamsFullAccess`,
	}
	c := &userCommand{env: env, flags: addClientFlags(env, cmd)}
	key := &cobra.Command{Use: "key", Short: "Make, list, switch and delete the access keys of a user", Example: `  sluice user key create cam1
  sluice user key list cam1`}
	key.AddCommand(c.keyCreate(), c.keyList(), c.keySwitch("activate", "Active", "Let an access key be used again"),
		c.keySwitch("deactivate", "Inactive", "Stop an access key from being used, until it is activated"), c.keyDelete())
	policy := &cobra.Command{Use: "policy", Short: "Say what a user may do", Example: `  sluice user policy attach cam1 AmazonKinesisVideoStreamsReadOnlyAccess
  sluice user policy put cam1 write policy.json`}
	policy.AddCommand(c.policyPut(), c.policyGet(), c.policyList(), c.policyDelete(),
		c.policyAttach("attach", "AttachUserPolicy", "Give a user a managed policy"),
		c.policyAttach("detach", "DetachUserPolicy", "Take a managed policy from a user"))
	cmd.AddCommand(c.create(), c.list(), c.delete(), key, policy)
	return cmd
}

// verb makes a command that has --json and talks to IAM.
func (c *userCommand) verb(use, short, example string, args cobra.PositionalArgs, do func(ctx context.Context, iam *iamClient, args []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			iam, err := c.flags.iam(cmd.Context())
			if err != nil {
				return err
			}
			return do(cmd.Context(), iam, args)
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

// answer prints v with --json, else the sentence.
func (c *userCommand) answer(v any, format string, args ...any) error {
	if c.json {
		return printJSON(c.env.Stdout, v)
	}
	_, err := fmt.Fprintf(c.env.Stdout, format+"\n", args...)
	return err
}

type iamUser struct {
	Name    string `xml:"UserName" json:"UserName"`
	ID      string `xml:"UserId" json:"UserId"`
	ARN     string `xml:"Arn" json:"Arn"`
	Path    string `xml:"Path" json:"Path"`
	Created string `xml:"CreateDate" json:"CreateDate"`
}

type iamKey struct {
	ID      string `xml:"AccessKeyId" json:"AccessKeyId"`
	Secret  string `xml:"SecretAccessKey" json:"SecretAccessKey,omitempty"`
	Status  string `xml:"Status" json:"Status"`
	User    string `xml:"UserName" json:"UserName"`
	Created string `xml:"CreateDate" json:"CreateDate"`
}

func (c *userCommand) create() *cobra.Command {
	var path string
	cmd := c.verb("create USER [--path PATH]", "Make a user, who may do nothing yet", "  sluice user create cam1", cobra.ExactArgs(1),
		func(ctx context.Context, iam *iamClient, args []string) error {
			var out struct {
				User iamUser `xml:"CreateUserResult>User"`
			}
			if err := iam.call(ctx, &out, "CreateUser", "UserName", args[0], "Path", path); err != nil {
				return err
			}
			return c.answer(out.User, "%s", out.User.ARN)
		})
	cmd.Flags().StringVar(&path, "path", "", "path of the user, such as /cameras/ (default /)")
	return cmd
}

func (c *userCommand) list() *cobra.Command {
	var prefix string
	cmd := c.verb("list [--path PATH]", "List users", "  sluice user list --json", cobra.NoArgs,
		func(ctx context.Context, iam *iamClient, _ []string) error {
			type page struct {
				Users  []iamUser `xml:"ListUsersResult>Users>member"`
				Marker string    `xml:"ListUsersResult>Marker"`
			}
			var p page
			all := []iamUser{}
			err := iam.pages(ctx, "ListUsers", []string{"PathPrefix", prefix, "MaxItems", "1000"}, func() any { p = page{}; return &p }, func() string {
				all = append(all, p.Users...)
				return p.Marker
			})
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(c.env.Stdout, all)
			}
			t := table{header: []string{"USER", "PATH", "CREATED", "ID"}}
			for _, u := range all {
				t.add(u.Name, u.Path, u.Created, u.ID)
			}
			return t.print(c.env.Stdout)
		})
	cmd.Flags().StringVar(&prefix, "path", "", "only users whose path begins so")
	return cmd
}

func (c *userCommand) delete() *cobra.Command {
	var force bool
	cmd := c.verb("delete USER [--force]", "Delete a user", "  sluice user delete cam1 --force", cobra.ExactArgs(1),
		func(ctx context.Context, iam *iamClient, args []string) error {
			if force {
				if err := iam.strip(ctx, args[0]); err != nil {
					return err
				}
			}
			if err := iam.call(ctx, nil, "DeleteUser", "UserName", args[0]); err != nil {
				return err
			}
			return c.answer(map[string]string{"Deleted": args[0]}, "deleted %s", args[0])
		})
	cmd.Flags().BoolVar(&force, "force", false, "delete its access keys and policies and leave its groups too")
	return cmd
}

// strip takes from a user what stands in the way of deleting it.
func (c *iamClient) strip(ctx context.Context, user string) error {
	var has struct {
		Keys     []string `xml:"ListAccessKeysResult>AccessKeyMetadata>member>AccessKeyId"`
		Inline   []string `xml:"ListUserPoliciesResult>PolicyNames>member"`
		Attached []string `xml:"ListAttachedUserPoliciesResult>AttachedPolicies>member>PolicyArn"`
		Groups   []string `xml:"ListGroupsForUserResult>Groups>member>GroupName"`
	}
	// IAM's quotas keep each of these lists within one page.
	for _, list := range []string{"ListAccessKeys", "ListUserPolicies", "ListAttachedUserPolicies", "ListGroupsForUser"} {
		if err := c.call(ctx, &has, list, "UserName", user); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		action, parameter string
		values            []string
	}{
		{"DeleteAccessKey", "AccessKeyId", has.Keys},
		{"DeleteUserPolicy", "PolicyName", has.Inline},
		{"DetachUserPolicy", "PolicyArn", has.Attached},
		{"RemoveUserFromGroup", "GroupName", has.Groups},
	} {
		for _, v := range part.values {
			if err := c.call(ctx, nil, part.action, "UserName", user, part.parameter, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *userCommand) keyCreate() *cobra.Command {
	return c.verb("create USER", "Make an access key; its secret is shown this once", "  sluice user key create cam1", cobra.ExactArgs(1),
		func(ctx context.Context, iam *iamClient, args []string) error {
			var out struct {
				Key iamKey `xml:"CreateAccessKeyResult>AccessKey"`
			}
			if err := iam.call(ctx, &out, "CreateAccessKey", "UserName", args[0]); err != nil {
				return err
			}
			if c.json {
				return printJSON(c.env.Stdout, out.Key)
			}
			return printPairs(c.env.Stdout, "access key id", out.Key.ID, "secret access key", out.Key.Secret)
		})
}

func (c *userCommand) keyList() *cobra.Command {
	return c.verb("list USER", "List the access keys of a user", "  sluice user key list cam1", cobra.ExactArgs(1),
		func(ctx context.Context, iam *iamClient, args []string) error {
			var out struct {
				Keys []iamKey `xml:"ListAccessKeysResult>AccessKeyMetadata>member"`
			}
			if err := iam.call(ctx, &out, "ListAccessKeys", "UserName", args[0]); err != nil {
				return err
			}
			if c.json {
				return printJSON(c.env.Stdout, append([]iamKey{}, out.Keys...))
			}
			t := table{header: []string{"ACCESS KEY ID", "STATUS", "CREATED"}}
			for _, k := range out.Keys {
				t.add(k.ID, k.Status, k.Created)
			}
			return t.print(c.env.Stdout)
		})
}

func (c *userCommand) keySwitch(verb, status, short string) *cobra.Command {
	return c.verb(verb+" USER ACCESS-KEY-ID", short, "  sluice user key "+verb+" cam1 AKIAIOSFODNN7EXAMPLE", cobra.ExactArgs(2),
		func(ctx context.Context, iam *iamClient, args []string) error {
			if err := iam.call(ctx, nil, "UpdateAccessKey", "UserName", args[0], "AccessKeyId", args[1], "Status", status); err != nil {
				return err
			}
			return c.answer(map[string]string{"AccessKeyId": args[1], "Status": status}, "%s of %s is %s", args[1], args[0], strings.ToLower(status))
		})
}

func (c *userCommand) keyDelete() *cobra.Command {
	return c.verb("delete USER ACCESS-KEY-ID", "Delete an access key for good", "  sluice user key delete cam1 AKIAIOSFODNN7EXAMPLE", cobra.ExactArgs(2),
		func(ctx context.Context, iam *iamClient, args []string) error {
			if err := iam.call(ctx, nil, "DeleteAccessKey", "UserName", args[0], "AccessKeyId", args[1]); err != nil {
				return err
			}
			return c.answer(map[string]string{"Deleted": args[1]}, "deleted %s of %s", args[1], args[0])
		})
}

func (c *userCommand) policyPut() *cobra.Command {
	return c.verb("put USER NAME FILE", "Set an inline policy from a file (- is stdin)", "  sluice user policy put cam1 write policy.json", cobra.ExactArgs(3),
		func(ctx context.Context, iam *iamClient, args []string) error {
			text, err := readPolicy(c.env, args[2])
			if err != nil {
				return err
			}
			if err := iam.call(ctx, nil, "PutUserPolicy", "UserName", args[0], "PolicyName", args[1], "PolicyDocument", text); err != nil {
				return err
			}
			return c.answer(map[string]string{"PolicyName": args[1], "UserName": args[0]}, "policy %s of %s is set", args[1], args[0])
		})
}

func (c *userCommand) policyGet() *cobra.Command {
	return c.verb("get USER NAME", "Print an inline policy", "  sluice user policy get cam1 write", cobra.ExactArgs(2),
		func(ctx context.Context, iam *iamClient, args []string) error {
			var out struct {
				Document string `xml:"GetUserPolicyResult>PolicyDocument"`
			}
			if err := iam.call(ctx, &out, "GetUserPolicy", "UserName", args[0], "PolicyName", args[1]); err != nil {
				return err
			}
			text, err := url.PathUnescape(out.Document)
			if err != nil {
				return fmt.Errorf("policy %s: %w", args[1], err)
			}
			return c.answer(map[string]string{"PolicyDocument": text, "PolicyName": args[1], "UserName": args[0]}, "%s", strings.TrimRight(text, "\n"))
		})
}

func (c *userCommand) policyList() *cobra.Command {
	return c.verb("list USER", "List the policies of a user: inline, attached, and by its groups", "  sluice user policy list cam1", cobra.ExactArgs(1),
		func(ctx context.Context, iam *iamClient, args []string) error {
			type line struct {
				Policy string `json:"Policy"`
				From   string `json:"From"` // inline, attached, group NAME
			}
			lines := []line{}
			var own struct {
				Inline   []string `xml:"ListUserPoliciesResult>PolicyNames>member"`
				Attached []string `xml:"ListAttachedUserPoliciesResult>AttachedPolicies>member>PolicyArn"`
				Groups   []string `xml:"ListGroupsForUserResult>Groups>member>GroupName"`
			}
			for _, list := range []string{"ListUserPolicies", "ListAttachedUserPolicies", "ListGroupsForUser"} {
				if err := iam.call(ctx, &own, list, "UserName", args[0]); err != nil {
					return err
				}
			}
			for _, name := range own.Inline {
				lines = append(lines, line{name, "inline"})
			}
			for _, arn := range own.Attached {
				lines = append(lines, line{arn, "attached"})
			}
			for _, group := range own.Groups {
				var of struct {
					Inline   []string `xml:"ListGroupPoliciesResult>PolicyNames>member"`
					Attached []string `xml:"ListAttachedGroupPoliciesResult>AttachedPolicies>member>PolicyArn"`
				}
				for _, list := range []string{"ListGroupPolicies", "ListAttachedGroupPolicies"} {
					if err := iam.call(ctx, &of, list, "GroupName", group); err != nil {
						return err
					}
				}
				for _, name := range append(of.Inline, of.Attached...) {
					lines = append(lines, line{name, "group " + group})
				}
			}
			if c.json {
				return printJSON(c.env.Stdout, lines)
			}
			t := table{header: []string{"POLICY", "FROM"}}
			for _, l := range lines {
				t.add(l.Policy, l.From)
			}
			return t.print(c.env.Stdout)
		})
}

func (c *userCommand) policyDelete() *cobra.Command {
	return c.verb("delete USER NAME", "Delete an inline policy", "  sluice user policy delete cam1 write", cobra.ExactArgs(2),
		func(ctx context.Context, iam *iamClient, args []string) error {
			if err := iam.call(ctx, nil, "DeleteUserPolicy", "UserName", args[0], "PolicyName", args[1]); err != nil {
				return err
			}
			return c.answer(map[string]string{"Deleted": args[1]}, "deleted policy %s of %s", args[1], args[0])
		})
}

func (c *userCommand) policyAttach(verb, action, short string) *cobra.Command {
	return c.verb(verb+" USER POLICY", short+" (name or ARN)", "  sluice user policy "+verb+" cam1 AmazonKinesisVideoStreamsReadOnlyAccess", cobra.ExactArgs(2),
		func(ctx context.Context, iam *iamClient, args []string) error {
			arn, err := iam.policyARN(ctx, args[1])
			if err != nil {
				return err
			}
			if err := iam.call(ctx, nil, action, "UserName", args[0], "PolicyArn", arn); err != nil {
				return err
			}
			return c.answer(map[string]string{"PolicyArn": arn, "UserName": args[0]}, "%sed %s", verb, arn)
		})
}

// readPolicy reads a policy document; IAM's own limit is checked by the server.
func readPolicy(env *Env, name string) (string, error) {
	in, err := openInput(env, name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	const most = 128 << 10
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%s: more than %d bytes: no policy is that long", name, most)
	}
	return string(b), err
}
