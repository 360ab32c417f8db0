package api

import (
	"strings"

	"github.com/sluicevideo/sluice"
)

// helpPage is docs/troubleshooting.md as the console serves it.
const helpPage = "/console/docs/troubleshooting.html"

// headings are the ids of the headings of docs/troubleshooting.md that answer
// exceptions.
var headings = map[sluice.Code]string{
	sluice.InternalFailure:              "the-request-processing-has-failed-because-of-an-internal-error",
	sluice.AccountStreamLimitExceeded:   "accountstreamlimitexceededexception",
	sluice.ClientLimitExceeded:          "clientlimitexceededexception",
	sluice.ConnectionLimitExceeded:      "connectionlimitexceededexception",
	sluice.DeviceStreamLimitExceeded:    "accountstreamlimitexceededexception", // of the model; never raised
	sluice.InvalidArgument:              "invalidargumentexception",
	sluice.InvalidCodecPrivateData:      "invalidcodecprivatedataexception",
	sluice.InvalidDevice:                "invalidargumentexception", // of the model; never raised
	sluice.InvalidEndpoint:              "invalidargumentexception", // of the model; never raised
	sluice.InvalidMediaFrame:            "invalidmediaframeexception",
	sluice.InvalidResourceFormat:        "invalidargumentexception",
	sluice.MissingCodecPrivateData:      "no-codec-private-data",
	sluice.NoDataRetention:              "retention-0",
	sluice.ResourceInUse:                "resourceinuseexception",
	sluice.TagsPerResourceExceededLimit: "tagsperresourceexceededlimitexception",
	sluice.UnsupportedStreamMediaType:   "unsupported-codec",
	sluice.VersionMismatch:              "versionmismatchexception",
	sluice.NotAuthorized:                "is-not-authorized-to-perform",
	sluice.ResourceNotFound:             "the-requested-stream-is-not-found-or-not-active",
	sluice.UnsupportedOperation:         "unsupportedoperationexception",

	sluice.AccessDenied:               "is-not-authorized-to-perform",
	sluice.UnknownOperation:           "unknownoperationexception",
	sluice.InvalidSignature:           "the-request-signature-we-calculated-does-not-match-the-signature-you-provided",
	sluice.UnrecognizedClient:         "the-security-token-included-in-the-request-is-invalid",
	sluice.MissingAuthenticationToken: "missing-authentication-token",
	sluice.IncompleteSignature:        "missing-authentication-token",
	"ExpiredTokenException":           "the-security-token-included-in-the-request-is-expired",
	codeTooLarge:                      "requestentitytoolargeexception",
	codeRequestTimeout:                "requesttimeoutexception",

	"NoSuchEntity":            "nosuchentity",
	"EntityAlreadyExists":     "entityalreadyexists",
	"DeleteConflict":          "deleteconflict",
	"LimitExceeded":           "limitexceeded",
	"MalformedPolicyDocument": "malformedpolicydocument",
	"InvalidInput":            "invalidargumentexception",
	"ValidationError":         "invalidargumentexception",

	"NotFoundException":          "errors-of-keys",
	"AlreadyExistsException":     "errors-of-keys",
	"DisabledException":          "errors-of-keys",
	"InvalidArnException":        "errors-of-keys",
	"InvalidAliasNameException":  "errors-of-keys",
	"InvalidCiphertextException": "errors-of-keys",
	"InvalidKeyUsageException":   "errors-of-keys",
	"KMSInvalidStateException":   "errors-of-keys",
	"LimitExceededException":     "limitexceeded",
	"ValidationException":        "invalidargumentexception",
}

// special are exceptions whose message, and not their name, tells what is wrong.
var special = []struct {
	code           sluice.Code
	words, heading string
}{
	{sluice.AccessDenied, "SessionToken: ", "the-session-is-over"},
	{sluice.AccessDenied, "sign-in code", "the-sign-in-code-is-not-valid"},
	{sluice.ResourceNotFound, " has no fragments ", "has-no-fragments"},
}

// heading is the id of the heading that answers an exception.
func (e exception) heading() string {
	for _, s := range special {
		if e.code == s.code && strings.Contains(e.msg, s.words) {
			return s.heading
		}
	}
	return headings[e.code]
}

// link is the value of the Link header (RFC 8288) of an exception. It stands in
// a header and not in the message, because clients compare messages.
func (e exception) link() string {
	page := helpPage
	if h := e.heading(); h != "" {
		page += "#" + h
	}
	return "<" + page + `>; rel="help"`
}
