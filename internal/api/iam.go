package api

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/auth/iamapi"
)

// iamErrors are what the actions of IAM can raise, each by its nature.
var iamErrors = []sluice.Code{auth.NoSuchEntity, auth.EntityAlreadyExists, auth.DeleteConflict, auth.LimitExceeded,
	auth.MalformedPolicyDocument, auth.InvalidInput, auth.ValidationError}

// iamRows are users, groups, policies and GetCallerIdentity: the Query protocol
// of IAM and STS.
func (a *API) iamRows() []Operation {
	var rows []Operation
	for _, action := range iamapi.Actions(a.o.Users) {
		o := Operation{
			Name: action.Name, Path: "/", Protocol: Query, Service: action.Service, Action: action.Permission,
			MaxBody: queryMaxBody,
			Resource: func(c *Call) string {
				if a.o.Users == nil {
					return "*"
				}
				return action.Resource(c.Request.Context(), c.query())
			},
			Keys: func(c *Call) map[string][]string { return action.Keys(c.query()) },
			Raw: func(w http.ResponseWriter, r *http.Request, c *Call) error {
				return a.serveIAM(r.Context(), w, c, action)
			},
		}
		if action.Service == iamapi.IAM {
			o.Errors = iamErrors
		}
		switch action.Name {
		case "GetPolicyVersion", "ListPolicyVersions":
			o.Doc = "A managed policy has one version, v1."
		case "CreatePolicy", "CreateUser":
			o.Doc = "Tags and permission boundaries are refused."
		case "SimulatePrincipalPolicy", "SimulateCustomPolicy":
			o.Doc = "Each result also has `SluiceReason`, one line, and for small simulations `SluiceFindings`, one line for each statement."
		case "GetCallerIdentity":
			o.Doc = "Any caller may ask, whatever the policies say."
		}
		if action.Name == "SimulatePrincipalPolicy" {
			o.Own = func(c *Call) bool { return c.Identity.ARN != "" && c.Form.Get("PolicySourceArn") == c.Identity.ARN }
			o.Doc = "Who asks about itself needs no permission. " + o.Doc
		}
		rows = append(rows, o)
	}
	return rows
}

// query is the call as iamapi wants it.
func (c *Call) query() iamapi.Call {
	return iamapi.Call{Form: c.Form, Caller: c.Identity, RequestID: c.RequestID}
}

func (a *API) serveIAM(ctx context.Context, w http.ResponseWriter, c *Call, action iamapi.Action) error {
	// What a record may hold of the form: names, and never a document.
	for _, name := range []string{"UserName", "GroupName", "PolicyName", "PolicyArn", "AccessKeyId", "Status", "Path"} {
		if v := c.Form.Get(name); v != "" {
			c.Note(slog.String(name, clip(v, 200)))
		}
	}
	if a.o.Users == nil {
		return unsupported(c.Op, a.o.Version)
	}
	answer, err := action.Serve(ctx, c.query())
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = []string{"text/xml"}
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(answer)
	return err
}
