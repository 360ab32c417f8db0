package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
)

// TestLimitsAndPermissions: every operation raises ClientLimitExceededException
// over its rate, and AccessDeniedException without a permission.
func TestLimitsAndPermissions(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"CreateStream": `{"StreamName":"new%d"}`, "ListStreams": `{}`,
		"UpdateStream":        `{"StreamName":"cam","CurrentVersion":"x"}`,
		"UpdateDataRetention": `{"StreamName":"cam","CurrentVersion":"x","Operation":"INCREASE_DATA_RETENTION","DataRetentionChangeInHours":1}`,
		"DeleteStream":        `{"StreamARN":"ARN","CurrentVersion":"x"}`,
		"GetDataEndpoint":     `{"StreamName":"cam","APIName":"PUT_MEDIA"}`,
		"TagStream":           `{"StreamName":"cam","Tags":{"a":"b"}}`,
		"UntagStream":         `{"StreamName":"cam","TagKeyList":["a"]}`,
		"TagResource":         `{"ResourceARN":"ARN","Tags":[{"Key":"a","Value":"b"}]}`,
		"UntagResource":       `{"ResourceARN":"ARN","TagKeyList":["a"]}`,
		"ListTagsForResource": `{"ResourceARN":"ARN"}`,
	}
	rates, err := limits.RatesOf("current")
	if err != nil {
		t.Fatal(err)
	}
	// So few that a busy machine makes more.
	rates.CreateCalls, rates.ListCalls, rates.StreamCalls = 0.1, 0.1, 0.1
	rates.HLSCalls, rates.HLSBurst, rates.DASHCalls = 0.1, 1, 0.1
	s := start(t, nil)
	s.Limits.Set(limits.Rules{}, rates)
	first, err := s.Catalog.Create(t.Context(), catalog.New{Name: "cam"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range api.New(api.Options{}).Operations() {
		if o.Service != "kinesisvideo" || o.Protocol != api.RestJSON || o.JSON == nil || o.Class == limits.Free {
			continue
		}
		if o.Class == limits.ListFragments {
			continue // counted by what it returns, not by calls
		}
		body := bodies[o.Name]
		if body == "" {
			body = `{"StreamName":"cam"}`
		}
		body = strings.ReplaceAll(body, "ARN\":\"ARN\"", "ARN\":\""+first.ARN.String()+"\"")
		call := func(user string, i int) (int, string) {
			b := body
			if strings.Contains(b, "%d") {
				b = fmt.Sprintf(b, i)
			}
			res, text := s.post(t, o.Path, user, b)
			return res.StatusCode, res.Header.Get("x-amzn-ErrorType") + " " + text
		}
		if status, text := call("nobody", 0); status != http.StatusForbidden ||
			!strings.Contains(text, `AccessDeniedException {"message":"User: arn:aws:iam::000000000000:user/nobody is not authorized to perform: kinesisvideo:`+o.Name+" on resource: ") {
			t.Errorf("%s without permission: %d %s", o.Name, status, text)
		}
		throttled := ""
		for i := range 10 {
			if status, text := call("ROOT", i); strings.HasPrefix(text, "ClientLimitExceededException") && status == 400 {
				throttled = text
			}
		}
		if !strings.Contains(throttled, "Limit exceeded on number of requests for "+o.Name+" API") {
			t.Errorf("%s was never throttled: %s", o.Name, throttled)
		}
	}
}
