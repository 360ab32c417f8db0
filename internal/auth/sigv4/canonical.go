package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= 64<<10 {
		buffers.Put(b)
	}
}

// appendCanonical appends the canonical request:
//
//	method \n path \n query \n (name:value \n)* \n names \n payload hash
func appendCanonical(b []byte, r *http.Request, c *claim, path, payload string) ([]byte, error) {
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = append(b, path...)
	b = append(b, '\n')
	b = appendQuery(b, r.URL.RawQuery, c.query)
	b = append(b, '\n')
	start := len(b)
	for _, name := range c.signed {
		b = append(b, name...)
		b = append(b, ':')
		var err error
		if b, err = appendHeader(b, r, name); err != nil {
			return b, err
		}
		b = append(b, '\n')
		if len(b)-start > maxSignedBytes {
			return b, incomplete("the signed headers have more than %d bytes", maxSignedBytes)
		}
	}
	b = append(b, '\n')
	for i, name := range c.signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, payload...), nil
}

// appendHeader appends a header's canonical value. Three headers are not (or
// not always) in r.Header, because net/http consumed them.
func appendHeader(b []byte, r *http.Request, name string) ([]byte, error) {
	switch name {
	case "host":
		return appendTrimmed(b, r.Host), nil
	case "transfer-encoding":
		if len(r.TransferEncoding) > 0 {
			return append(b, strings.Join(r.TransferEncoding, ",")...), nil
		}
	case "content-length":
		if r.Header["Content-Length"] == nil && r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10), nil
		}
	}
	values := r.Header[http.CanonicalHeaderKey(name)]
	if len(values) == 0 {
		return b, incomplete("'%s' is a SignedHeader, but the request has no such header", name)
	}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, v)
	}
	return b, nil
}

// appendTrimmed appends s without outer white space, inner runs of spaces as
// one.
func appendTrimmed(b []byte, s string) []byte {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "  ") {
		return append(b, s...)
	}
	for i := range len(s) {
		if s[i] != ' ' || s[i-1] != ' ' { // s[0] is no space
			b = append(b, s[i])
		}
	}
	return b
}

// canonicalPaths is the path as sent, percent-encoded once more. With dot
// segments or double slashes there are two readings: the specification
// normalises them away, the SDKs for Go do not.
func canonicalPaths(r *http.Request) []string {
	p := r.URL.EscapedPath()
	if p == "" {
		p = "/"
	}
	plain := escapePath(p)
	if !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return []string{plain}
	}
	return []string{plain, escapePath(normalize(p))}
}

func normalize(p string) string {
	var out []string
	parts := strings.Split(p, "/")
	for _, s := range parts {
		switch s {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
		}
	}
	n := "/" + strings.Join(out, "/")
	if last := parts[len(parts)-1]; len(out) > 0 && (last == "" || last == "." || last == "..") {
		n += "/"
	}
	return n
}

func escapePath(p string) string {
	for i := range len(p) {
		if !unreserved(p[i]) && p[i] != '/' {
			return string(appendEscaped(nil, p, '/'))
		}
	}
	return p
}

const upperHex = "0123456789ABCDEF"

// appendEscaped percent-encodes all but the unreserved characters and keep.
func appendEscaped(b []byte, s string, keep byte) []byte {
	for i := range len(s) {
		c := s[i]
		if unreserved(c) || keep != 0 && c == keep {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// appendQuery appends the canonical query: each name and value decoded and
// encoded anew, sorted by name, then value. A piece that is not valid
// percent-encoding is taken literally. The signature itself is left out when
// it stands in the query; with header signing a parameter of that name is one
// like any other.
func appendQuery(b []byte, raw string, signatureInQuery bool) []byte {
	if raw == "" {
		return b
	}
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, value = reencode(name), reencode(value)
		if signatureInQuery && name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{name, value})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, p.name...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b
}

func reencode(s string) string {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		plain = s
	}
	return string(appendEscaped(nil, plain, 0))
}
