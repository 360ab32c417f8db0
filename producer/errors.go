package producer

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// Error is a failure with the Status of the developer guide that it belongs to;
// errors.Is finds the Status and the cause.
type Error struct {
	Status Status
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() []error { return []error{e.Status, e.Err} }

func invalid(status Status, format string, args ...any) error {
	return &Error{status, fmt.Errorf(format, args...)}
}

func wrap(status Status, err error) error {
	if err == nil {
		return nil
	}
	return &Error{status, fmt.Errorf("%s: %w", status.Name(), err)}
}

// ackError is a session that ended with an ERROR acknowledgement. errors.Is finds
// the sluice.AckErrorCode and the Status.
type ackError struct{ code sluice.AckErrorCode }

func (e ackError) Error() string   { return "acknowledgement " + e.code.Error() }
func (e ackError) Unwrap() []error { return []error{e.code, StatusOfAck(e.code)} }

// failure is what a failed call or session calls for.
type failure uint8

const (
	failNetwork failure = iota // try again soon
	failLimit                  // throttled: try again later
	failAuth                   // look for other credentials
	failGone                   // describe the stream again
	failRefused                // somebody has to act: try again slowly
	failFinal                  // no try can help
)

func (k failure) mostWait() time.Duration {
	switch k {
	case failLimit:
		return mostLimited
	case failAuth, failRefused, failGone:
		return mostRefused
	}
	return mostWait
}

// kindOf sorts the failures of calls and sessions. What the service refuses on
// the ground of its argument is not tried again when it is the control plane that
// says so: the argument does not change.
func kindOf(err error) failure {
	var a ackError
	if errors.As(err, &a) {
		switch c := a.code; {
		case c == sluice.StreamDeleted:
			return failGone
		case c == sluice.StreamNotActive, c >= sluice.KMSKeyAccessDenied && c <= sluice.KMSKeyNotFound:
			return failRefused
		}
		return failNetwork
	}
	switch code := codeOf(err); code {
	case sluice.AccessDenied, sluice.NotAuthorized, "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId",
		"InvalidSignatureException", "SignatureDoesNotMatch", "MissingAuthenticationTokenException", "IncompleteSignatureException":
		return failAuth
	case sluice.ResourceNotFound:
		return failGone
	case sluice.ClientLimitExceeded, sluice.ConnectionLimitExceeded, "ThrottlingException":
		return failLimit
	case sluice.AccountStreamLimitExceeded, sluice.DeviceStreamLimitExceeded, sluice.ResourceInUse, sluice.InvalidDevice:
		return failRefused
	case sluice.InvalidArgument, "ValidationException", "SerializationException", sluice.TagsPerResourceExceededLimit:
		var p *kvsapi.APIError
		if errors.As(err, &p) {
			return failRefused
		}
		return failFinal
	}
	var e *Error
	if errors.As(err, &e) {
		if e.Status == StatusStreamIsBeingDeleted {
			return failGone
		}
	}
	switch status := statusOf(err); {
	case status == http.StatusTooManyRequests, status >= 500:
		return failLimit
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return failAuth
	case status == http.StatusNotFound:
		return failGone
	case status == http.StatusRequestTimeout:
		return failNetwork
	case status >= 400:
		return failRefused
	}
	return failNetwork
}

// serviceError adds to the error of a call to the service the Status that the
// official producer has for what it answered.
func serviceError(call Status, err error) error {
	if err == nil {
		return nil
	}
	var op *smithy.OperationError
	if errors.As(err, &op) && op.Operation() == "GetDataEndpoint" {
		call = StatusGetStreamingEndpointCallFailed
	}
	return wrap(call, &Error{answerStatus(err), err})
}

// answerStatus sorts what a call was answered with.
func answerStatus(err error) Status {
	switch codeOf(err) {
	case sluice.ResourceInUse:
		return StatusServiceCallResourceInUse
	case sluice.ClientLimitExceeded, sluice.ConnectionLimitExceeded, "ThrottlingException":
		return StatusServiceCallClientLimit
	case sluice.DeviceStreamLimitExceeded:
		return StatusServiceCallDeviceLimit
	case sluice.AccountStreamLimitExceeded:
		return StatusServiceCallStreamLimit
	case sluice.InvalidDevice:
		return StatusServiceCallDeviceNotFound
	case sluice.ResourceNotFound:
		return StatusServiceCallResourceNotFound
	}
	switch kind, status := kindOf(err), statusOf(err); {
	case kind == failAuth:
		return StatusServiceCallNotAuthorized
	case kind == failGone:
		return StatusServiceCallResourceNotFound
	case status == http.StatusRequestTimeout, status == http.StatusGatewayTimeout, status == 598, status == 599:
		return StatusServiceCallTimeout
	case status >= 400 && status < 500 && kind != failLimit:
		return StatusServiceCallInvalidArgument
	case status == http.StatusTooManyRequests:
		return StatusServiceCallClientLimit
	}
	var late interface{ Timeout() bool }
	if errors.Is(err, errControl) || errors.As(err, &late) && late.Timeout() {
		return StatusServiceCallTimeout
	}
	return StatusServiceCallUnknown
}

// codeOf is the exception name in err's chain, or "".
func codeOf(err error) sluice.Code {
	var e smithy.APIError
	if errors.As(err, &e) {
		return sluice.Code(e.ErrorCode())
	}
	return ""
}

// statusOf is the HTTP status in err's chain, or 0.
func statusOf(err error) int {
	var p *kvsapi.APIError
	if errors.As(err, &p) {
		return p.Status
	}
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}
