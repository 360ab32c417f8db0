package iamapi

import (
	"strings"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
)

var policyActions = map[string]Action{
	"PutUserPolicy":    {params: "UserName PolicyName PolicyDocument", resource: userARN, serve: ownerOf(put, "UserName")},
	"GetUserPolicy":    {params: "UserName PolicyName", resource: userARN, serve: ownerOf(getInline, "UserName")},
	"ListUserPolicies": {params: "UserName Marker MaxItems", resource: userARN, serve: ownerOf(listInline, "UserName")},
	"DeleteUserPolicy": {params: "UserName PolicyName", resource: userARN, serve: ownerOf(removeInline, "UserName")},

	"PutGroupPolicy":    {params: "GroupName PolicyName PolicyDocument", resource: groupARN, serve: ownerOf(put, "GroupName")},
	"GetGroupPolicy":    {params: "GroupName PolicyName", resource: groupARN, serve: ownerOf(getInline, "GroupName")},
	"ListGroupPolicies": {params: "GroupName Marker MaxItems", resource: groupARN, serve: ownerOf(listInline, "GroupName")},
	"DeleteGroupPolicy": {params: "GroupName PolicyName", resource: groupARN, serve: ownerOf(removeInline, "GroupName")},

	"AttachUserPolicy":         {params: "UserName PolicyArn", resource: userARN, keys: policyKeys, serve: ownerOf(attach, "UserName")},
	"DetachUserPolicy":         {params: "UserName PolicyArn", resource: userARN, keys: policyKeys, serve: ownerOf(detach, "UserName")},
	"ListAttachedUserPolicies": {params: "UserName PathPrefix Marker MaxItems", resource: userARN, serve: ownerOf(listAttached, "UserName")},

	"AttachGroupPolicy":         {params: "GroupName PolicyArn", resource: groupARN, keys: policyKeys, serve: ownerOf(attach, "GroupName")},
	"DetachGroupPolicy":         {params: "GroupName PolicyArn", resource: groupARN, keys: policyKeys, serve: ownerOf(detach, "GroupName")},
	"ListAttachedGroupPolicies": {params: "GroupName PathPrefix Marker MaxItems", resource: groupARN, serve: ownerOf(listAttached, "GroupName")},

	"CreatePolicy":       {params: "PolicyName Path Description PolicyDocument", resource: newPolicy, serve: createPolicy},
	"GetPolicy":          {params: "PolicyArn", resource: policyARN, serve: getPolicy},
	"GetPolicyVersion":   {params: "PolicyArn VersionId", resource: policyARN, serve: getPolicyVersion},
	"ListPolicyVersions": {params: "PolicyArn Marker MaxItems", resource: policyARN, serve: listPolicyVersions},
	"ListPolicies":       {params: "Scope OnlyAttached PathPrefix PolicyUsageFilter Marker MaxItems", resource: allPolicies, serve: listPolicies},
	"DeletePolicy":       {params: "PolicyArn", resource: policyARN, serve: deletePolicy},
}

// ownerOf makes one function serve users and groups: the parameter that names
// the owner decides.
func ownerOf(fn func(*Call, auth.Owner) (any, error), parameter string) func(*Call) (any, error) {
	return func(c *Call) (any, error) {
		name, err := c.need(parameter)
		if err != nil {
			return nil, err
		}
		return fn(c, auth.Owner{Group: parameter == "GroupName", Name: name})
	}
}

func put(c *Call, o auth.Owner) (any, error) {
	name, text, err := c.need2("PolicyName", "PolicyDocument")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.PutPolicy(c.ctx, o, name, text)
}

func getInline(c *Call, o auth.Owner) (any, error) {
	name, err := c.need("PolicyName")
	if err != nil {
		return nil, err
	}
	text, err := c.auth.Policy(c.ctx, o, name)
	out := struct {
		UserName       string `xml:",omitempty"`
		GroupName      string `xml:",omitempty"`
		PolicyName     string
		PolicyDocument string
	}{PolicyName: name, PolicyDocument: document(text)}
	if o.Group {
		out.GroupName = o.Name
	} else {
		out.UserName = o.Name
	}
	return out, err
}

func listInline(c *Call, o auth.Owner) (any, error) {
	all, err := c.auth.Policies(c.ctx, o)
	if err != nil {
		return nil, err
	}
	self := func(s string) string { return s }
	all, p, err := page(c, all, self)
	return struct {
		PolicyNames list[string]
		paging
	}{listOf(all, self), p}, err
}

func removeInline(c *Call, o auth.Owner) (any, error) {
	name, err := c.need("PolicyName")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.RemovePolicy(c.ctx, o, name)
}

func attach(c *Call, o auth.Owner) (any, error) {
	arn, err := c.need("PolicyArn")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.Attach(c.ctx, o, arn)
}

func detach(c *Call, o auth.Owner) (any, error) {
	arn, err := c.need("PolicyArn")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.Detach(c.ctx, o, arn)
}

func listAttached(c *Call, o auth.Owner) (any, error) {
	all, err := c.auth.Attached(c.ctx, o)
	if err != nil {
		return nil, err
	}
	all = withPath(all, c.get("PathPrefix"))
	all, p, err := page(c, all, func(p auth.ManagedPolicy) string { return p.ARN })
	return struct {
		AttachedPolicies list[attachedPolicy]
		paging
	}{listOf(all, func(p auth.ManagedPolicy) attachedPolicy { return attachedPolicy{p.Name, p.ARN} }), p}, err
}

func withPath(all []auth.ManagedPolicy, prefix string) []auth.ManagedPolicy {
	out := all[:0]
	for _, p := range all {
		if strings.HasPrefix(p.Path, prefix) {
			out = append(out, p)
		}
	}
	return out
}

func policyARN(c *Call) string { return c.get("PolicyArn") }

// policyKeys is the key with which a policy says which policies its user may
// give to others: without it, who may attach policies may make itself root.
func policyKeys(c *Call) map[string][]string {
	return map[string][]string{"iam:PolicyARN": {c.get("PolicyArn")}}
}

func allPolicies(c *Call) string { return "arn:aws:iam::" + c.auth.Account() + ":policy/" }

func newPolicy(c *Call) string {
	return "arn:aws:iam::" + c.auth.Account() + ":policy" + newPath(c) + c.get("PolicyName")
}

func createPolicy(c *Call) (any, error) {
	name, text, err := c.need2("PolicyName", "PolicyDocument")
	if err != nil {
		return nil, err
	}
	p, err := c.auth.CreateManaged(c.ctx, name, c.get("Path"), c.get("Description"), text)
	return struct{ Policy managedPolicy }{managedOf(p)}, err
}

func (c *Call) managed() (auth.ManagedPolicy, error) {
	arn, err := c.need("PolicyArn")
	if err != nil {
		return auth.ManagedPolicy{}, err
	}
	return c.auth.Managed(c.ctx, arn)
}

func getPolicy(c *Call) (any, error) {
	p, err := c.managed()
	return struct{ Policy managedPolicy }{managedOf(p)}, err
}

func getPolicyVersion(c *Call) (any, error) {
	p, err := c.managed()
	if err != nil {
		return nil, err
	}
	id, err := c.need("VersionId")
	if err != nil {
		return nil, err
	}
	if id != onlyVersion {
		return nil, &sluice.Error{Code: auth.NoSuchEntity, Msg: "Policy " + p.ARN + " version " + clip(id) + " does not exist or is not attachable."}
	}
	return struct{ PolicyVersion policyVersion }{policyVersion{document(p.Document), onlyVersion, true, date(p.Created)}}, nil
}

func listPolicyVersions(c *Call) (any, error) {
	p, err := c.managed()
	if err != nil {
		return nil, err
	}
	return struct {
		Versions list[policyVersion]
		paging
	}{list[policyVersion]{[]policyVersion{{"", onlyVersion, true, date(p.Created)}}}, paging{}}, nil
}

func listPolicies(c *Call) (any, error) {
	all, err := c.auth.ListManaged(c.ctx)
	if err != nil {
		return nil, err
	}
	scope := c.get("Scope")
	switch scope {
	case "", "All", "AWS", "Local":
	default:
		return nil, invalid("scope: must be All, AWS or Local")
	}
	switch c.get("PolicyUsageFilter") {
	case "", "PermissionsPolicy":
	default:
		return nil, invalid("policyUsageFilter: must be PermissionsPolicy, there are no permission boundaries here")
	}
	only := strings.EqualFold(c.get("OnlyAttached"), "true")
	kept := all[:0]
	for _, p := range withPath(all, c.get("PathPrefix")) {
		if scope == "AWS" && !p.BuiltIn || scope == "Local" && p.BuiltIn || only && p.Attachments == 0 {
			continue
		}
		kept = append(kept, p)
	}
	kept, p, err := page(c, kept, func(p auth.ManagedPolicy) string {
		if p.BuiltIn {
			return "0" + strings.ToLower(p.Name)
		}
		return "1" + strings.ToLower(p.Name)
	})
	return struct {
		Policies list[managedPolicy]
		paging
	}{listOf(kept, managedOf), p}, err
}

func deletePolicy(c *Call) (any, error) {
	arn, err := c.need("PolicyArn")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.DeleteManaged(c.ctx, arn)
}
