package iamapi

import (
	"strings"

	"github.com/sluicevideo/sluice/internal/auth"
)

var groupActions = map[string]Action{
	"CreateGroup":         {params: "GroupName Path", resource: newGroup, serve: createGroup},
	"GetGroup":            {params: "GroupName Marker MaxItems", resource: groupARN, serve: getGroup},
	"ListGroups":          {params: "PathPrefix Marker MaxItems", resource: allGroups, serve: listGroups},
	"DeleteGroup":         {params: "GroupName", resource: groupARN, serve: deleteGroup},
	"AddUserToGroup":      {params: "GroupName UserName", resource: groupARN, serve: addUserToGroup},
	"RemoveUserFromGroup": {params: "GroupName UserName", resource: groupARN, serve: removeUserFromGroup},
	"ListGroupsForUser":   {params: "UserName Marker MaxItems", resource: userARN, serve: listGroupsForUser},
}

func groupARN(c *Call) string {
	name := c.get("GroupName")
	if g, err := c.auth.Group(c.ctx, name); err == nil {
		return g.ARN
	}
	return c.auth.GroupARN(name)
}

func newGroup(c *Call) string {
	return strings.TrimSuffix(c.auth.GroupARN(""), "/") + newPath(c) + c.get("GroupName")
}

func allGroups(c *Call) string { return c.auth.GroupARN("") }

func createGroup(c *Call) (any, error) {
	name, err := c.need("GroupName")
	if err != nil {
		return nil, err
	}
	g, err := c.auth.CreateGroup(c.ctx, name, c.get("Path"))
	return struct{ Group group }{groupOf(g)}, err
}

func getGroup(c *Call) (any, error) {
	name, err := c.need("GroupName")
	if err != nil {
		return nil, err
	}
	g, err := c.auth.Group(c.ctx, name)
	if err != nil {
		return nil, err
	}
	users, err := c.auth.GroupUsers(c.ctx, name)
	if err != nil {
		return nil, err
	}
	users, p, err := page(c, users, func(u auth.User) string { return strings.ToLower(u.Name) })
	return struct {
		Group group
		Users list[user]
		paging
	}{groupOf(g), listOf(users, userOf), p}, err
}

type groupList struct {
	Groups list[group]
	paging
}

func groupPage(c *Call, all []auth.Group, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	all, p, err := page(c, all, func(g auth.Group) string { return strings.ToLower(g.Name) })
	return groupList{listOf(all, groupOf), p}, err
}

func listGroups(c *Call) (any, error) {
	all, err := c.auth.Groups(c.ctx, c.get("PathPrefix"))
	return groupPage(c, all, err)
}

func listGroupsForUser(c *Call) (any, error) {
	name, err := c.need("UserName")
	if err != nil {
		return nil, err
	}
	all, err := c.auth.GroupsForUser(c.ctx, name)
	return groupPage(c, all, err)
}

func deleteGroup(c *Call) (any, error) {
	name, err := c.need("GroupName")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.DeleteGroup(c.ctx, name)
}

func addUserToGroup(c *Call) (any, error) {
	group, user, err := c.need2("GroupName", "UserName")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.AddUserToGroup(c.ctx, group, user)
}

func removeUserFromGroup(c *Call) (any, error) {
	group, user, err := c.need2("GroupName", "UserName")
	if err != nil {
		return nil, err
	}
	return nil, c.auth.RemoveUserFromGroup(c.ctx, group, user)
}
