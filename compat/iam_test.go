package compat_test

import (
	"testing"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// TestIAM manages users, keys, groups and policies with the AWS SDK for
// JavaScript; internal/api does it with boto3 and the AWS CLI.
func TestIAM(t *testing.T) {
	t.Parallel()
	program("node", "js/node_modules/@aws-sdk/client-iam", "iam.js")(t, sluicetest.Start(t), ":", "")
}
