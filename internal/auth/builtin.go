package auth

import (
	"time"

	"github.com/sluicevideo/sluice/internal/auth/policy"
)

// ARNs of the managed policies that are always there, under AWS's names.
const (
	AdministratorAccess = "arn:aws:iam::aws:policy/AdministratorAccess"
	VideoFullAccess     = "arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsFullAccess"
	VideoReadOnlyAccess = "arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess"
)

var builtinARNs = []string{AdministratorAccess, VideoFullAccess, VideoReadOnlyAccess}

// builtinPolicies are AWS's documents, which also allow the extensions that the
// console shows streams by. Their dates are those of AWS's first versions.
func builtinPolicies() map[string]*ManagedPolicy {
	out := map[string]*ManagedPolicy{}
	for i, p := range []ManagedPolicy{
		{ID: "ANPAIWMBCKSKIEE64ZLYK", Name: "AdministratorAccess", Description: "Provides full access to AWS services and resources.",
			Document: statement(`"*"`), Created: time.Date(2015, 2, 6, 18, 39, 46, 0, time.UTC)},
		{ID: "ANPAIZAN5AK7E7UVYIAZY", Name: "AmazonKinesisVideoStreamsFullAccess", Description: "Provides full access to Amazon Kinesis Video Streams.",
			Document: statement(`["kinesisvideo:*", "sluice:*"]`), Created: time.Date(2017, 12, 1, 23, 27, 18, 0, time.UTC)},
		{ID: "ANPAJDS2DKUCYTEA7M6UA", Name: "AmazonKinesisVideoStreamsReadOnlyAccess", Description: "Provides read only access to Amazon Kinesis Video Streams.",
			Document: statement(`["kinesisvideo:Describe*", "kinesisvideo:Get*", "kinesisvideo:List*", "sluice:Describe*", "sluice:Get*"]`), Created: time.Date(2017, 12, 1, 23, 14, 32, 0, time.UTC)},
	} {
		p.ARN, p.Path, p.BuiltIn = builtinARNs[i], "/", true
		d, err := policy.Parse([]byte(p.Document))
		if err != nil {
			panic("auth: built-in policy " + p.Name + ": " + err.Error())
		}
		d.Name = "policy " + p.ARN
		p.parsed = d
		out[p.ARN] = &p
	}
	return out
}

func statement(actions string) string {
	return `{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ` + actions + `,
            "Resource": "*"
        }
    ]
}`
}
