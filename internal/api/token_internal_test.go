package api

import (
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
)

// FuzzToken: a token opens for its own condition only, whatever it is made of,
// and no other text opens at all.
func FuzzToken(f *testing.F) {
	f.Add("cam-1", "cam", "AAAAAAAAAAAA")
	f.Add("x", "", "")
	f.Add(strings.Repeat("n", 256), "n", "====")
	f.Fuzz(func(t *testing.T, name, prefix, text string) {
		if sluice.ValidateStreamName(name) == nil && (prefix == "" || sluice.ValidateStreamName(prefix) == nil) {
			token := makeToken(name, prefix)
			if got, err := openToken(token, prefix); err != nil || got != name {
				t.Errorf("%q of %q came back as %q, %v", name, prefix, got, err)
			}
			if got, err := openToken(token, prefix+"x"); err == nil {
				t.Errorf("the token of %q opened for another condition: %q", prefix, got)
			}
			if len(token) > 512 || !patterns["token"].match(token) {
				t.Errorf("token %q", token)
			}
		}
		if got, err := openToken(text, prefix); err == nil && text != "" && makeToken(got, prefix) != text {
			t.Errorf("%q opened as %q", text, got)
		}
	})
}
