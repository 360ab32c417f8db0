package iamapi

import (
	"net/url"
	"strings"
	"time"

	"github.com/sluicevideo/sluice/internal/auth"
)

// list is written even when it is empty: SDKs then give their callers an empty
// list, and not none.
type list[T any] struct {
	Members []T `xml:"member"`
}

func listOf[T, U any](in []U, one func(U) T) list[T] {
	out := list[T]{Members: make([]T, 0, len(in))}
	for _, v := range in {
		out.Members = append(out.Members, one(v))
	}
	return out
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// document is how policies are written in answers: percent-encoded (RFC 3986).
func document(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

type user struct {
	Path       string `xml:",omitempty"`
	UserName   string `xml:",omitempty"`
	UserID     string `xml:"UserId"`
	ARN        string `xml:"Arn"`
	CreateDate string `xml:",omitempty"`
}

func userOf(u auth.User) user { return user{u.Path, u.Name, u.ID, u.ARN, date(u.Created)} }

type group struct {
	Path       string
	GroupName  string
	GroupID    string `xml:"GroupId"`
	ARN        string `xml:"Arn"`
	CreateDate string
}

func groupOf(g auth.Group) group { return group{g.Path, g.Name, g.ID, g.ARN, date(g.Created)} }

type accessKey struct {
	UserName        string
	AccessKeyID     string `xml:"AccessKeyId"`
	Status          string
	SecretAccessKey string `xml:",omitempty"`
	CreateDate      string
}

func accessKeyOf(k auth.AccessKey) accessKey {
	status := "Inactive"
	if k.Active {
		status = "Active"
	}
	return accessKey{UserName: k.UserName, AccessKeyID: k.ID, Status: status, CreateDate: date(k.Created)}
}

type managedPolicy struct {
	PolicyName                    string
	PolicyID                      string `xml:"PolicyId"`
	ARN                           string `xml:"Arn"`
	Path                          string
	DefaultVersionID              string `xml:"DefaultVersionId"`
	AttachmentCount               int
	PermissionsBoundaryUsageCount int
	IsAttachable                  bool
	Description                   string `xml:",omitempty"`
	CreateDate                    string
	UpdateDate                    string
}

func managedOf(p auth.ManagedPolicy) managedPolicy {
	return managedPolicy{PolicyName: p.Name, PolicyID: p.ID, ARN: p.ARN, Path: p.Path, DefaultVersionID: onlyVersion,
		AttachmentCount: p.Attachments, IsAttachable: true, Description: p.Description, CreateDate: date(p.Created), UpdateDate: date(p.Created)}
}

// onlyVersion: managed policies have one version here; another text is another
// policy.
const onlyVersion = "v1"

type policyVersion struct {
	Document         string `xml:",omitempty"`
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
	CreateDate       string
}

type attachedPolicy struct {
	PolicyName string
	PolicyARN  string `xml:"PolicyArn"`
}
