package auth

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/sluicevideo/sluice"
)

// IAM's quotas ("IAM and AWS STS quotas"). Policy sizes count characters
// without white space.
const (
	maxKeysPerUser     = 2
	maxGroupsPerUser   = 10
	maxAttached        = 10
	maxInlineOfUser    = 2048 // together
	maxInlineOfGroup   = 5120 // together
	maxManagedDocument = 6144
)

func fail(code sluice.Code, format string, args ...any) error {
	return &sluice.Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

func lower(s string) string { return strings.ToLower(s) }

const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@_-"

// checkName is the rule for names: letters, digits and +=,.@_-
func checkName(field, s string, longest int) error {
	if s == "" || len(s) > longest {
		return fail(ValidationError, "%s: %d characters, must be 1 to %d", field, len(s), longest)
	}
	if strings.Trim(s, nameLetters) != "" {
		return fail(ValidationError, "The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", field)
	}
	return nil
}

func checkUserName(s string) error   { return checkName("userName", s, 64) }
func checkGroupName(s string) error  { return checkName("groupName", s, 128) }
func checkPolicyName(s string) error { return checkName("policyName", s, 128) }

// checkPath is the rule for paths: "/" or "/.../", printable ASCII.
func checkPath(s string) error {
	ok := len(s) <= 512 && strings.HasPrefix(s, "/") && strings.HasSuffix(s, "/") && !strings.Contains(s, "//")
	for i := range len(s) {
		ok = ok && s[i] > ' ' && s[i] < 0x7f
	}
	if !ok {
		return fail(ValidationError, "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}

// newID makes an id of IAM's form: four letters that tell the kind, sixteen
// random ones.
func newID(kind string) string {
	b := make([]byte, 10)
	rand.Read(b)
	return kind + base32.StdEncoding.EncodeToString(b)
}

// newSecret is 40 characters with 240 random bits, as IAM's are.
func newSecret() string {
	b := make([]byte, 30)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// checkAccessKeyID says whether s can be an access key id at all; what can't is
// not looked up.
func checkAccessKeyID(s string) bool {
	return len(s) >= 3 && len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

// size is the length of a policy as IAM's quotas count it.
func size(document string) int {
	n := 0
	for _, r := range document {
		if r != ' ' && r != '\t' && r != '\n' && r != '\r' {
			n++
		}
	}
	return n
}
