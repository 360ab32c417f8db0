package api_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/api"
)

// everything has a member of each kind that shapes know.
type everything struct {
	Text     string `shape:"min=1,max=16,pattern=name"`
	Optional *string
	Choice   string `shape:"enum=A|B"`
	Whole    int64  `shape:"min=0,max=100"`
	Maybe    *int64
	Real     float64
	Yes      bool
	At       time.Time
	Tags     map[string]string `shape:"max=5,key.min=1,value.max=4,value.pattern=tag"`
	Names    []string          `shape:"max=5,value.min=1"`
	Pairs    []struct {
		Key   string `shape:"required"`
		Value *string
	}
	Nested *struct{ At time.Time }
}

func TestDecode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 13, 19, 19, 763e6, time.UTC)
	for _, body := range []string{
		`{"At":1795353559.763}`, `{"At":1.795353559763E9}`, `{"At":"1795353559.763"}`, `{"At":"2026-11-22T13:19:19.763Z"}`,
		`{"At":"2026-11-22T14:19:19.763+01:00"}`, `{"At":"2026-11-22T14:19:19.763+0100"}`, `{"At":1795353559.7630001}`,
	} {
		var got everything
		if err := api.Decode([]byte(body), &got); err != nil || !got.At.Equal(at) {
			t.Errorf("%s: %v, %v", body, got.At, err)
		}
	}
	for body, want := range map[string]time.Time{
		`{"At":1795353559}`:         at.Truncate(time.Second),
		`{"At":"20261122T131919Z"}`: at.Truncate(time.Second),
		`{"At":"2026-11-22"}`:       at.Truncate(24 * time.Hour),
		`{"At":0}`:                  time.Unix(0, 0),
		`{"At":null}`:               {},
	} {
		var got everything
		if err := api.Decode([]byte(body), &got); err != nil || !got.At.Equal(want) {
			t.Errorf("%s: %v, %v", body, got.At, err)
		}
	}
	for body, want := range map[string]string{
		`{"At":true}`:                         "At: must be a time",
		`{"At":"yesterday"}`:                  "At: must be a time",
		`{"At":1e40}`:                         "At: must be a time",
		`{"At":-1e12}`:                        "At: must be a time",
		`{"Text":""}`:                         `Text "": length is 0, must be 1 to 16`,
		`{"Text":"a/b"}`:                      `Text "a/b": must match [a-zA-Z0-9_.-]+`,
		`{"Choice":"C"}`:                      `Choice "C": must be one of A, B`,
		`{"Whole":101}`:                       "Whole: is 101, must be 0 to 100",
		`{"Whole":99999999999999999999}`:      "Whole: is too large",
		`{"Yes":"true"}`:                      "Yes: must be true or false",
		`{"Real":"1"}`:                        "Real: must be a number",
		`{"Names":{}}`:                        "Names: must be a list",
		`{"Names":["a","b","c","d","e","f"]}`: "Names: has 6 entries, must be at most 5",
		`{"Pairs":[{"Key":"a"},{}]}`:          "Pairs[1].Key: must be given",
		`{"Pairs":[7]}`:                       "Pairs[0]: must be an object",
		`{"Nested":{"At":"x"}}`:               "Nested.At: must be a time",
		`{"Tags":{"":"x"}}`:                   `Tags key "": length is 0`,
		`"text"`:                              "request body: must be a JSON object",
	} {
		err := api.Decode([]byte(body), new(everything))
		var e *sluice.Error
		if !errors.As(err, &e) || e.Code != sluice.InvalidArgument || !strings.HasPrefix(e.Msg, want) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"Text":"cam","Optional":null,"Choice":"A","Whole":1e1,"Maybe":5,"Real":-0.5,"Yes":true,"At":1.5e9}`,
		`{"Tags":{"a":"b","c":null},"Names":["x"],"Pairs":[{"Key":"k","Value":"v"}],"Nested":{"At":"2026-11-22T13:19:19Z"}}`,
		"null", "", " {\n\t\"Text\" : \"\\u00e9\" }", `{"Whole":1e309}`, `{"Text":"\ud800"}`, `[[[[`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var v everything
		err := api.Decode(body, &v)
		if err == nil {
			// What was accepted keeps the rules.
			if len(v.Tags) > 5 || len(v.Names) > 5 || v.Whole < 0 || v.Whole > 100 || v.Choice != "" && v.Choice != "A" && v.Choice != "B" ||
				v.Text != "" && sluice.ValidateStreamName(v.Text) != nil || len(v.Text) > 16 || v.At.Year() > 9999 {
				t.Errorf("%q made %+v", body, v)
			}
			return
		}
		var e *sluice.Error
		if !errors.As(err, &e) || e.Code != sluice.InvalidArgument || e.Msg == "" || len(e.Msg) > 2048 {
			t.Errorf("%q: %v", body, err)
		}
	})
}
