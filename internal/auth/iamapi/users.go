package iamapi

import (
	"strings"

	"github.com/sluicevideo/sluice/internal/auth"
)

var userActions = map[string]Action{
	"CreateUser": {params: "UserName Path", resource: newUser, serve: createUser},
	"GetUser":    {params: "UserName", resource: userARN, serve: getUser},
	"ListUsers":  {params: "PathPrefix Marker MaxItems", resource: allUsers, serve: listUsers},
	"DeleteUser": {params: "UserName", resource: userARN, serve: deleteUser},

	"CreateAccessKey": {params: "UserName", resource: userARN, serve: createAccessKey},
	"ListAccessKeys":  {params: "UserName Marker MaxItems", resource: userARN, serve: listAccessKeys},
	"UpdateAccessKey": {params: "UserName AccessKeyId Status", resource: userARN, serve: updateAccessKey},
	"DeleteAccessKey": {params: "UserName AccessKeyId", resource: userARN, serve: deleteAccessKey},
}

// userARN is the ARN of the user that a call names, or of the caller. A user
// that is not there has one as well, so that who may not look learns nothing.
func userARN(c *Call) string {
	name, err := c.userName()
	if err != nil {
		return c.Caller.ARN
	}
	if u, err := c.auth.User(c.ctx, name); err == nil {
		return u.ARN
	}
	return c.auth.UserARN(name)
}

// newUser is the ARN that a user will have.
func newUser(c *Call) string {
	return strings.TrimSuffix(c.auth.UserARN(""), "/") + newPath(c) + c.get("UserName")
}

func newPath(c *Call) string {
	if p := c.get("Path"); p != "" {
		return p
	}
	return "/"
}

func allUsers(c *Call) string { return c.auth.UserARN("") }

func createUser(c *Call) (any, error) {
	name, err := c.need("UserName")
	if err != nil {
		return nil, err
	}
	u, err := c.auth.CreateUser(c.ctx, name, c.get("Path"))
	return struct{ User user }{userOf(u)}, err
}

func getUser(c *Call) (any, error) {
	if c.get("UserName") == "" && c.Caller.Root {
		return struct{ User user }{user{UserID: c.Caller.UserID, ARN: c.Caller.ARN}}, nil
	}
	name, err := c.userName()
	if err != nil {
		return nil, err
	}
	u, err := c.auth.User(c.ctx, name)
	return struct{ User user }{userOf(u)}, err
}

func listUsers(c *Call) (any, error) {
	n, err := c.maxItems()
	if err != nil {
		return nil, err
	}
	after, err := c.marker()
	if err != nil {
		return nil, err
	}
	prefix := c.get("PathPrefix")
	if prefix == "/" {
		prefix = "" // all paths begin with it
	}
	all, err := c.auth.Users(c.ctx, prefix, after, n+1)
	if err != nil {
		return nil, err
	}
	var p paging
	if len(all) > n {
		all = all[:n]
		p = truncatedAt(all[n-1].Name)
	}
	return struct {
		Users list[user]
		paging
	}{listOf(all, userOf), p}, nil
}

func deleteUser(c *Call) (any, error) {
	name, err := c.need("UserName")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.DeleteUser(c.ctx, name)
}

func createAccessKey(c *Call) (any, error) {
	name, err := c.userName()
	if err != nil {
		return nil, err
	}
	k, secret, err := c.auth.CreateAccessKey(c.ctx, name)
	if err != nil {
		return nil, err
	}
	out := accessKeyOf(k)
	out.SecretAccessKey = secret.SecretAccessKey
	return struct{ AccessKey accessKey }{out}, nil
}

func listAccessKeys(c *Call) (any, error) {
	name, err := c.userName()
	if err != nil {
		return nil, err
	}
	all, err := c.auth.AccessKeys(c.ctx, name)
	if err != nil {
		return nil, err
	}
	all, p, err := page(c, all, func(k auth.AccessKey) string { return date(k.Created) + k.ID })
	return struct {
		UserName          string
		AccessKeyMetadata list[accessKey]
		paging
	}{name, listOf(all, accessKeyOf), p}, err
}

func updateAccessKey(c *Call) (any, error) {
	name, err := c.userName()
	if err != nil {
		return nil, err
	}
	id, status, err := c.need2("AccessKeyId", "Status")
	if err != nil {
		return nil, err
	}
	if status != "Active" && status != "Inactive" {
		return nil, invalid("status: must be Active or Inactive")
	}
	return nil, c.auth.SetAccessKeyActive(c.ctx, name, id, status == "Active")
}

func deleteAccessKey(c *Call) (any, error) {
	name, err := c.userName()
	if err != nil {
		return nil, err
	}
	id, err := c.need("AccessKeyId")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.DeleteAccessKey(c.ctx, name, id)
}

func getCallerIdentity(c *Call) (any, error) {
	return struct {
		ARN     string `xml:"Arn"`
		UserID  string `xml:"UserId"`
		Account string
	}{c.Caller.ARN, c.Caller.UserID, c.Caller.Account}, nil
}
