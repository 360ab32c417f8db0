package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// iamClient calls the Query API of IAM and STS: one POST a call, a form in, XML
// out. The SDK's package for IAM would add tens of megabytes for some ten
// actions.
type iamClient struct {
	cfg      aws.Config
	endpoint string // "": AWS's own
	region   string
}

func (f *clientFlags) iam(ctx context.Context) (*iamClient, error) {
	cfg, endpoint, err := f.config(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = http.DefaultClient
	}
	if endpoint == "" && cfg.BaseEndpoint != nil {
		endpoint = *cfg.BaseEndpoint
	}
	c := &iamClient{cfg: cfg, endpoint: endpoint, region: cfg.Region}
	if f.endpoint == "" {
		if own := f.env.Getenv("AWS_ENDPOINT_URL_IAM"); own != "" {
			c.endpoint = own
		}
	}
	if c.endpoint == "" {
		c.region = "us-east-1" // where AWS's IAM is signed for
	}
	return c, nil
}

const maxAnswer = 8 << 20

// call does one action. params is names and values; into takes the answer's
// XML, beginning at the ...Response element.
func (c *iamClient) call(ctx context.Context, into any, action string, params ...string) error {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	service := "iam"
	if action == "GetCallerIdentity" {
		service = "sts"
		form.Set("Version", "2011-06-15")
	}
	for i := 0; i+1 < len(params); i += 2 {
		if params[i+1] != "" {
			form.Set(params[i], params[i+1])
		}
	}
	endpoint := c.endpoint
	if endpoint == "" {
		endpoint = "https://" + service + ".amazonaws.com"
	}
	body := form.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(endpoint, "/")+"/", strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	creds, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, creds, r, hex.EncodeToString(sum[:]), service, c.region, time.Now()); err != nil {
		return err
	}
	res, err := c.cfg.HTTPClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: answer: %w", action, err)
	}
	if res.StatusCode != http.StatusOK {
		var e struct {
			Error struct{ Code, Message string }
		}
		if xml.Unmarshal(answer, &e) != nil || e.Error.Code == "" {
			return fmt.Errorf("%s: %s: %s", action, res.Status, bytes.TrimSpace(answer[:min(len(answer), 200)]))
		}
		return &kvsapi.APIError{Operation: action, Code: sluice.Code(e.Error.Code), Message: e.Error.Message, Status: res.StatusCode,
			RequestID: res.Header.Get("X-Amzn-Requestid"), Help: kvsapi.HelpURL(res)}
	}
	if into == nil {
		return nil
	}
	if err := xml.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s: answer: %w", action, err)
	}
	return nil
}

// pages calls a listing until it has no more; each page is handed to take,
// which returns its marker, "" at the end.
func (c *iamClient) pages(ctx context.Context, action string, params []string, page func() any, take func() (marker string)) error {
	marker := ""
	for {
		if err := c.call(ctx, page(), action, append(params, "Marker", marker)...); err != nil {
			return err
		}
		if marker = take(); marker == "" {
			return nil
		}
	}
}

// account is the number of the account that the credentials belong to.
func (c *iamClient) account(ctx context.Context) (string, error) {
	var who struct {
		Account string `xml:"GetCallerIdentityResult>Account"`
	}
	err := c.call(ctx, &who, "GetCallerIdentity")
	return who.Account, err
}

// policyARN takes POLICY of a command line: an ARN, or the name of one of
// AWS's or of the account's own.
func (c *iamClient) policyARN(ctx context.Context, s string) (string, error) {
	if strings.HasPrefix(s, "arn:") {
		return s, nil
	}
	all, err := c.policies(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if strings.EqualFold(p.Name, s) {
			return p.ARN, nil
		}
	}
	return "", &smithy.GenericAPIError{Code: "NoSuchEntity", Message: "there is no managed policy " + s}
}

type managedPolicy struct {
	Name        string `xml:"PolicyName" json:"PolicyName"`
	ARN         string `xml:"Arn" json:"Arn"`
	Attached    int    `xml:"AttachmentCount" json:"AttachmentCount"`
	Description string `xml:"Description" json:"Description,omitempty"`
}

func (c *iamClient) policies(ctx context.Context) ([]managedPolicy, error) {
	type page struct {
		List   []managedPolicy `xml:"ListPoliciesResult>Policies>member"`
		Marker string          `xml:"ListPoliciesResult>Marker"`
	}
	var p page
	var all []managedPolicy
	err := c.pages(ctx, "ListPolicies", nil, func() any { p = page{}; return &p }, func() string {
		all = append(all, p.List...)
		return p.Marker
	})
	return all, err
}
