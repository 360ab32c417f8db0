package api

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
)

// Exceptions that only the door raises.
const (
	codeTooLarge       sluice.Code = "RequestEntityTooLargeException"
	codeRequestTimeout sluice.Code = "RequestTimeoutException"
)

// statusClientGone is recorded when the client left before the answer; it is
// never sent.
const statusClientGone = 499

// statuses is the status of every exception. What is not in it is a fault of
// ours: 500.
var statuses = map[sluice.Code]int{
	sluice.AccountStreamLimitExceeded:   400,
	sluice.ClientLimitExceeded:          400,
	sluice.ConnectionLimitExceeded:      400,
	sluice.DeviceStreamLimitExceeded:    400,
	sluice.InvalidArgument:              400,
	sluice.InvalidCodecPrivateData:      400,
	sluice.InvalidDevice:                400,
	sluice.InvalidEndpoint:              400,
	sluice.InvalidMediaFrame:            400,
	sluice.InvalidResourceFormat:        400,
	sluice.MissingCodecPrivateData:      400,
	sluice.NoDataRetention:              400,
	sluice.ResourceInUse:                400,
	sluice.TagsPerResourceExceededLimit: 400,
	sluice.UnsupportedStreamMediaType:   400,
	sluice.VersionMismatch:              400,
	sluice.NotAuthorized:                401,
	sluice.ResourceNotFound:             404,
	sluice.UnsupportedOperation:         501,

	// The door.
	sluice.AccessDenied:                   403,
	sluice.UnknownOperation:               404,
	"InvalidSignatureException":           403,
	"UnrecognizedClientException":         403,
	"MissingAuthenticationTokenException": 403,
	"ExpiredTokenException":               403,
	"IncompleteSignatureException":        400,
	codeTooLarge:                          413,
	codeRequestTimeout:                    408,

	// IAM and STS.
	"NoSuchEntity":            404,
	"EntityAlreadyExists":     409,
	"DeleteConflict":          409,
	"LimitExceeded":           409,
	"MalformedPolicyDocument": 400,
	"InvalidInput":            400,
	"ValidationError":         400,

	// KMS.
	"NotFoundException":          400,
	"AlreadyExistsException":     400,
	"DisabledException":          400,
	"InvalidArnException":        400,
	"InvalidAliasNameException":  400,
	"InvalidCiphertextException": 400,
	"InvalidKeyUsageException":   400,
	"KMSInvalidStateException":   400,
	"LimitExceededException":     400,
	"ValidationException":        400,
}

// atTheDoor are the exceptions that are raised before an operation is reached;
// their body has a lower-case key.
var atTheDoor = map[sluice.Code]bool{
	sluice.AccessDenied:                   true,
	sluice.UnknownOperation:               true,
	"InvalidSignatureException":           true,
	"UnrecognizedClientException":         true,
	"MissingAuthenticationTokenException": true,
	"ExpiredTokenException":               true,
	"IncompleteSignatureException":        true,
	codeTooLarge:                          true,
	codeRequestTimeout:                    true,
}

// queryCodes are the door's exceptions as the Query protocol names them.
var queryCodes = map[sluice.Code]string{
	sluice.AccessDenied:                   "AccessDenied",
	sluice.UnknownOperation:               "InvalidAction",
	"InvalidSignatureException":           "SignatureDoesNotMatch",
	"UnrecognizedClientException":         "InvalidClientTokenId",
	"MissingAuthenticationTokenException": "MissingAuthenticationToken",
	"ExpiredTokenException":               "ExpiredToken",
	"IncompleteSignatureException":        "IncompleteSignature",
	sluice.InternalFailure:                "ServiceFailure",
	sluice.InvalidArgument:                "ValidationError",
	sluice.ClientLimitExceeded:            "Throttling",
	sluice.UnsupportedOperation:           "InvalidAction",
}

// StatusOf is the HTTP status of an exception.
func StatusOf(code sluice.Code) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// exception is an error as it is answered.
type exception struct {
	code   sluice.Code
	msg    string
	status int
}

func exceptionOf(err error) exception {
	var e *sluice.Error
	if !errors.As(err, &e) || e.Code == sluice.InternalFailure {
		// The cause is ours to read, in the log, by the request id.
		return exception{sluice.InternalFailure, "The request processing has failed because of an internal error.", 500}
	}
	return exception{e.Code, e.Msg, StatusOf(e.Code)}
}

func (c *Call) writeException(e exception) {
	h := c.out.Header()
	h["x-amzn-ErrorType"] = []string{string(e.code)}
	h["Link"] = []string{e.link()}
	if c.Op != nil && c.Op.Streams || e.code == codeTooLarge || e.code == codeRequestTimeout {
		// The rest of the body is not wanted. With this, net/http answers
		// without reading it first, which for a live stream would be never; and
		// with the deadline it does not wait for more of it after the answer.
		h["Connection"] = []string{"close"}
		http.NewResponseController(c.out).SetReadDeadline(time.Now().Add(time.Second))
	}
	// Pages that were meant for the success are not for the failure.
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	switch c.protocol() {
	case Query:
		c.writeQueryException(e)
	case JSON11:
		h["Content-Type"] = []string{"application/x-amz-json-1.1"}
		c.writeBody(e.status, map[string]string{"__type": string(e.code), "message": e.msg})
	default:
		h["Content-Type"] = []string{"application/json"}
		key := "Message"
		if atTheDoor[e.code] {
			key = "message"
		}
		c.writeBody(e.status, map[string]string{key: e.msg})
	}
}

func (c *Call) writeBody(status int, body map[string]string) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always marshal
	}
	c.writeWhole(status, b)
}

func (c *Call) protocol() Protocol {
	switch {
	case c.Op != nil:
		return c.Op.Protocol
	case c.Request.URL.Path != "/":
		return RestJSON
	case c.Request.Header.Get("X-Amz-Target") != "":
		return JSON11
	case c.Form != nil:
		return Query
	}
	return RestJSON
}

// Namespaces of the Query protocol's answers.
const (
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

func (c *Call) writeQueryException(e exception) {
	code, who := queryCodes[e.code], "Sender"
	if code == "" {
		code = string(e.code)
	}
	switch {
	case e.status >= 500:
		who = "Receiver"
	case e.code == sluice.UnknownOperation:
		e.status = 400 // InvalidAction (guide, Common Errors)
	}
	namespace := iamNamespace
	if c.Op != nil && c.Op.Service == "sts" || c.Form.Get("Version") == "2011-06-15" {
		namespace = stsNamespace
	}
	var msg strings.Builder
	xml.EscapeText(&msg, []byte(e.msg))
	c.out.Header()["Content-Type"] = []string{"text/xml"}
	c.out.WriteHeader(e.status)
	fmt.Fprintf(c.out, `<ErrorResponse xmlns="%s"><Error><Type>%s</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>`,
		namespace, who, code, msg.String(), c.RequestID)
}

func notFound() error {
	return &sluice.Error{Code: sluice.ResourceNotFound, Msg: "The requested stream is not found or not active."}
}

func tooLarge(most int64) error {
	return &sluice.Error{Code: codeTooLarge, Msg: fmt.Sprintf("request body: at most %d bytes", most)}
}

func invalid(format string, args ...any) error {
	return &sluice.Error{Code: sluice.InvalidArgument, Msg: fmt.Sprintf(format, args...)}
}

func unsupported(o *Operation, version string) error {
	return &sluice.Error{Code: sluice.UnsupportedOperation, Msg: strings.TrimRight(o.Name+" is not supported by Sluice "+version, " ") + "."}
}
