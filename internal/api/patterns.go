package api

import (
	"regexp"
	"unicode"
)

// pattern is a rule on the characters of a member, with the text of the model.
type pattern struct {
	text  string
	match func(string) bool
}

var mediaTypes = regexp.MustCompile(`^[\w\-.+]+/[\w\-.+]+(,[\w\-.+]+/[\w\-.+]+)*$`)

// patterns are the rules that shapes name.
var patterns = map[string]pattern{
	"name":       {`[a-zA-Z0-9_.-]+`, every(func(c rune) bool { return alnum(c) || c == '_' || c == '.' || c == '-' })},
	"version":    {`[a-zA-Z0-9]+`, every(alnum)},
	"digits":     {`[0-9]+`, every(func(c rune) bool { return c >= '0' && c <= '9' })},
	"media-type": {`[\w\-\.\+]+/[\w\-\.\+]+(,[\w\-\.\+]+/[\w\-\.\+]+)*`, mediaTypes.MatchString},
	"token":      {`[a-zA-Z0-9+/=]*`, every(func(c rune) bool { return alnum(c) || c == '+' || c == '/' || c == '=' })},
	"tag": {`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`, every(func(c rune) bool {
		switch c {
		case '_', '.', ':', '/', '=', '+', '-', '@':
			return true
		}
		return c != unicode.ReplacementChar && (unicode.Is(unicode.L, c) || unicode.Is(unicode.Z, c) || unicode.Is(unicode.N, c))
	})},
}

func every(ok func(rune) bool) func(string) bool {
	return func(s string) bool {
		for _, c := range s {
			if !ok(c) {
				return false
			}
		}
		return true
	}
}

func alnum(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
