package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/auth"
)

// exchange posts a code as a browser would, from remote.
func exchange(h http.Handler, code, remote string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/console/sign-in", strings.NewReader(`{"Code":"`+code+`"}`))
	r.RemoteAddr = remote
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func keys(context.Context) (auth.Credentials, error) {
	return auth.Credentials{AccessKeyID: "ASIAX", SecretAccessKey: "secret", SessionToken: "token", Expires: time.Unix(1e9, 0)}, nil
}

func TestSignInCode(t *testing.T) {
	t.Parallel()
	const here = "127.0.0.1:50000"
	offered := func() (http.Handler, string) {
		s := new(api.SignIn)
		return api.New(api.Options{SignIn: s}), s.Offer(keys)
	}
	h, code := offered()
	if len(code) != 32 {
		t.Fatalf("code %q: want 128 bits", code)
	}
	w := exchange(h, code, here)
	var got struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.AccessKeyID != "ASIAX" || got.SessionToken != "token" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	refused := exchange(h, code, here)
	for name, try := range map[string]func() *httptest.ResponseRecorder{
		"a second time": func() *httptest.ResponseRecorder { return refused },
		"wrong": func() *httptest.ResponseRecorder {
			h, code := offered()
			return exchange(h, strings.Repeat("0", len(code)), here)
		},
		"of zeros, when none is out": func() *httptest.ResponseRecorder {
			return exchange(api.New(api.Options{SignIn: new(api.SignIn)}), strings.Repeat("0", 32), here)
		},
		"no demo": func() *httptest.ResponseRecorder { return exchange(api.New(api.Options{}), code, here) },
		"from elsewhere": func() *httptest.ResponseRecorder {
			h, code := offered()
			return exchange(h, code, "192.0.2.7:50000")
		},
		"through a proxy here": func() *httptest.ResponseRecorder {
			h, code := offered()
			return exchange(h, code, here, "X-Forwarded-For", "127.0.0.1")
		},
		"through a proxy by its other header": func() *httptest.ResponseRecorder {
			h, code := offered()
			return exchange(h, code, "[::1]:50000", "Forwarded", "for=127.0.0.1")
		},
		"replaced by a newer one": func() *httptest.ResponseRecorder {
			s := new(api.SignIn)
			code := s.Offer(keys)
			s.Offer(keys)
			return exchange(api.New(api.Options{SignIn: s}), code, here)
		},
	} {
		w := try()
		if w.Code != 403 || w.Body.String() != refused.Body.String() || !strings.Contains(w.Body.String(), "not valid") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestSignInCodeEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(api.SignIn)
		h := api.New(api.Options{SignIn: s})
		code := s.Offer(keys)
		time.Sleep(api.CodeLife - time.Second)
		late := s.Offer(keys)
		if w := exchange(h, code, "127.0.0.1:1"); w.Code != 403 {
			t.Errorf("the older code: %d", w.Code)
		}
		time.Sleep(api.CodeLife)
		if w := exchange(h, late, "127.0.0.1:1"); w.Code != 403 {
			t.Errorf("after its time: %d", w.Code)
		}
		failing := s.Offer(func(context.Context) (auth.Credentials, error) { return auth.Credentials{}, errors.New("disk") })
		if w := exchange(h, failing, "127.0.0.1:1"); w.Code != 500 {
			t.Errorf("no keys: %d", w.Code)
		}
	})
}

// TestRoutesWithoutSignature names every row that asks for none.
func TestRoutesWithoutSignature(t *testing.T) {
	t.Parallel()
	var open []string
	for _, o := range api.New(api.Options{}).Operations() {
		if o.Auth == api.None {
			open = append(open, o.Name)
		}
	}
	if want := []string{"Preflight", "ExchangeSignInCode"}; !slices.Equal(open, want) {
		t.Errorf("rows that anybody may call: %v, want %v", open, want)
	}
}
