package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/api"
)

// TestListStreamsByTag walks the pages of a tag among streams of which most do
// not have it.
func TestListStreamsByTag(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *api.Options) {
		o.Auth = door{allow: func(id api.Identity, q api.Access) bool {
			return id.UserName == "reader" && strings.HasPrefix(q.Action, "kinesisvideo:List") || q.Action == "kinesisvideo:ListStreams"
		}}
	})
	var lab, all []string
	for i := range 1200 { // over two of the steps in which the catalog is looked through
		name, tags := fmt.Sprintf("cam-%04d", i), map[string]string(nil)
		switch {
		case i%100 == 7:
			tags = map[string]string{"site": "lab", "z": ""}
			lab = append(lab, name)
			all = append(all, name)
		case i%100 == 8:
			tags = map[string]string{"site": "house=1"}
			all = append(all, name)
		}
		s.create(t, name, tags)
	}
	pages := func(user, begin string, size int, prefix string) (names []string) {
		t.Helper()
		for token := ""; ; {
			in := map[string]any{"MaxResults": size, "TagCondition": map[string]string{"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": begin}}
			if token != "" {
				in["NextToken"] = token
			}
			if prefix != "" {
				in["StreamNameCondition"] = map[string]string{"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": prefix}
			}
			body, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			res, text := s.post(t, "/listStreams", user, string(body))
			var out struct {
				NextToken      string
				StreamInfoList []struct{ StreamName string }
			}
			if err := json.Unmarshal([]byte(text), &out); err != nil || res.StatusCode != http.StatusOK || len(out.StreamInfoList) > size {
				t.Fatalf("%s: %d %s", begin, res.StatusCode, text)
			}
			for _, i := range out.StreamInfoList {
				names = append(names, i.StreamName)
			}
			if token = out.NextToken; token == "" {
				return names
			}
		}
	}
	for _, c := range []struct {
		begin, prefix string
		size          int
		want          []string
	}{
		{"site=lab", "", 5, lab},
		{"site=lab", "", 12, lab},
		{"si", "", 100, all},
		{"site=house=", "cam-01", 100, []string{"cam-0108"}},
		{"z=", "", 1000, lab},
		{"ite", "", 100, nil},
		{"site=lab", "cam-9", 100, nil},
	} {
		if got := pages("reader", c.begin, c.size, c.prefix); !slices.Equal(got, c.want) {
			t.Errorf("%q of %q by %d: %v, want %v", c.begin, c.prefix, c.size, got, c.want)
		}
	}
	const tagged = `{"TagCondition":{"ComparisonOperator":"BEGINS_WITH","ComparisonValue":"site"}`
	for _, c := range []struct {
		user, body string
		status     int
		text       string
	}{
		{"lister", `{}`, 200, "cam-0000"},
		{"lister", tagged + `}`, 403, "kinesisvideo:ListTagsForStream"}, // else a search would tell the tags
		{"reader", `{"TagCondition":{}}`, 400, "TagCondition.ComparisonOperator"},
		{"reader", `{"TagCondition":{"ComparisonOperator":"ENDS_WITH","ComparisonValue":"a"}}`, 400, "TagCondition.ComparisonOperator"},
		{"reader", `{"TagCondition":{"ComparisonOperator":"BEGINS_WITH","ComparisonValue":"<"}}`, 400, "TagCondition.ComparisonValue"},
	} {
		if res, text := s.post(t, "/listStreams", c.user, c.body); res.StatusCode != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s %s: %d %.200s", c.user, c.body, res.StatusCode, text)
		}
	}
	// A token of one condition is none of another's.
	res, text := s.post(t, "/listStreams", "reader", tagged+`,"MaxResults":1}`)
	var out struct{ NextToken string }
	if err := json.Unmarshal([]byte(text), &out); err != nil || out.NextToken == "" {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	if res, text := s.post(t, "/listStreams", "reader", `{"MaxResults":1,"NextToken":"`+out.NextToken+`"}`); res.StatusCode != 400 {
		t.Errorf("foreign token: %d %s", res.StatusCode, text)
	}
}
