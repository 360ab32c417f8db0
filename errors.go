package sluice

import "errors"

// Code is an exception name as the API reference spells it, for example
// ResourceNotFoundException.
type Code string

// Error is a failure that an API caller is meant to see.
type Error struct {
	Code Code   // exception name
	Msg  string // safe for the caller: names the field and the rule, no secret
	Err  error  // cause; logged, never sent; may be nil
}

func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Msg
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the Code of the first *Error in err's chain, or "".
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// The exception names of the API reference.
const (
	AccessDenied                 Code = "AccessDeniedException"
	AccountStreamLimitExceeded   Code = "AccountStreamLimitExceededException"
	ClientLimitExceeded          Code = "ClientLimitExceededException"
	ConnectionLimitExceeded      Code = "ConnectionLimitExceededException"
	DeviceStreamLimitExceeded    Code = "DeviceStreamLimitExceededException"
	InternalFailure              Code = "InternalFailureException"
	InvalidArgument              Code = "InvalidArgumentException"
	InvalidCodecPrivateData      Code = "InvalidCodecPrivateDataException"
	InvalidDevice                Code = "InvalidDeviceException"
	InvalidEndpoint              Code = "InvalidEndpointException"
	InvalidMediaFrame            Code = "InvalidMediaFrameException"
	InvalidResourceFormat        Code = "InvalidResourceFormatException"
	MissingCodecPrivateData      Code = "MissingCodecPrivateDataException"
	NoDataRetention              Code = "NoDataRetentionException"
	NotAuthorized                Code = "NotAuthorizedException"
	ResourceInUse                Code = "ResourceInUseException"
	ResourceNotFound             Code = "ResourceNotFoundException"
	TagsPerResourceExceededLimit Code = "TagsPerResourceExceededLimitException"
	UnsupportedOperation         Code = "UnsupportedOperationException"
	UnknownOperation             Code = "UnknownOperationException"
	UnsupportedStreamMediaType   Code = "UnsupportedStreamMediaTypeException"
	VersionMismatch              Code = "VersionMismatchException"
)

// The errors of the door: who is calling could not be told from the signature.
// AccessDenied is theirs too.
const (
	IncompleteSignature        Code = "IncompleteSignatureException"        // malformed: 400
	InvalidSignature           Code = "InvalidSignatureException"           // wrong, out of scope, expired: 403
	MissingAuthenticationToken Code = "MissingAuthenticationTokenException" // none at all: 403
	UnrecognizedClient         Code = "UnrecognizedClientException"         // unknown or inactive access key: 403
)
