package server

import (
	"context"
	"net/http"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/auth/sigv4"
)

// rootOnly knows the root access key and nobody else, and allows it everything.
type rootOnly struct {
	verifier *sigv4.Verifier
	root     Credentials
	account  string
}

func newRootOnly(region, account string, root Credentials) *rootOnly {
	return &rootOnly{sigv4.New(sigv4.Options{Region: region, GlobalServices: []string{"iam", "sts"}}), root, account}
}

func (a *rootOnly) Authenticate(r *http.Request, body []byte, streaming bool, service string) (api.Identity, error) {
	call := sigv4.Call{Body: body, Streaming: streaming}
	if service != "" {
		call.Services = []string{service}
	}
	_, err := a.verifier.Verify(r, call, func(id string) (string, error) {
		if id != a.root.AccessKeyID {
			return "", &sluice.Error{Code: "UnrecognizedClientException", Msg: "The security token included in the request is invalid."}
		}
		return a.root.SecretAccessKey, nil
	})
	if err != nil {
		return api.Identity{}, err
	}
	return api.Identity{Root: true, Account: a.account, ARN: "arn:aws:iam::" + a.account + ":root", AccessKeyID: a.root.AccessKeyID, UserID: a.account}, nil
}

func (a *rootOnly) Authorize(context.Context, api.Identity, api.Access) (api.Decision, error) {
	return api.Decision{Allowed: true, Reason: "root"}, nil
}
