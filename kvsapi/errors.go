package kvsapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/sluicevideo/sluice"
)

// APIError is a refusal by the service. It is also a smithy.APIError, as the
// errors of the SDK's own clients are.
type APIError struct {
	Operation string      // PutMedia, ...
	Code      sluice.Code // exception name, such as ResourceNotFoundException; "" when the answer named none
	Message   string
	Status    int    // HTTP status
	RequestID string // x-amzn-RequestId; "" when there was none
	Help      string // URL of what a Sluice server says about this error; "" from other servers
}

var _ smithy.APIError = (*APIError)(nil)

func (e *APIError) Error() string {
	s := fmt.Sprintf("%s: %s (status %d", e.Operation, firstOf(string(e.Code), http.StatusText(e.Status)), e.Status)
	if e.RequestID != "" {
		s += ", request " + e.RequestID
	}
	s += ")"
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// ErrorCode is Code as a string (smithy.APIError).
func (e *APIError) ErrorCode() string { return string(e.Code) }

// ErrorMessage is Message (smithy.APIError).
func (e *APIError) ErrorMessage() string { return e.Message }

// ErrorFault says whose mistake it was, by the status (smithy.APIError).
func (e *APIError) ErrorFault() smithy.ErrorFault {
	if e.Status >= 500 {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

// maxErrorBody bounds what is read of an answer that is a refusal.
const maxErrorBody = 64 << 10

// readError makes the error of an answer that is not 200, as the SDKs read it:
// the code from x-amzn-ErrorType, else from the body, cut at ':' and after '#'.
// It closes the body.
func readError(operation string, r *http.Response) *APIError {
	defer r.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxErrorBody))
	var b struct {
		Message string `json:"Message"` // any case: encoding/json matches "message" too
		Code    string `json:"code"`
		Type    string `json:"__type"`
	}
	_ = json.Unmarshal(body, &b) // an answer that is no JSON has a status still
	code := firstOf(r.Header.Get("X-Amzn-Errortype"), b.Code, b.Type)
	code, _, _ = strings.Cut(code, ":")
	if _, after, ok := strings.Cut(code, "#"); ok {
		code = after
	}
	return &APIError{
		Operation: operation,
		Code:      sluice.Code(code),
		Message:   b.Message,
		Status:    r.StatusCode,
		RequestID: r.Header.Get("X-Amzn-Requestid"),
		Help:      HelpURL(r),
	}
}

// HelpURL is what an answer's Link with rel="help" (RFC 8288) leads to, as a whole
// URL; "" when there is none, or it leads away from the server that answered. Only
// the form that Sluice writes is read.
func HelpURL(r *http.Response) string {
	target, ok := strings.CutSuffix(r.Header.Get("Link"), `>; rel="help"`)
	target, begins := strings.CutPrefix(target, "<")
	if !ok || !begins || r.Request == nil || r.Request.URL == nil {
		return ""
	}
	u, err := r.Request.URL.Parse(target)
	if err != nil || u.Host != r.Request.URL.Host {
		return "" // another server's page is not for showing
	}
	u.User = nil
	return u.String()
}
