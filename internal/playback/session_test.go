package playback_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/playback"
)

func TestToken(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	p := newPlayer(t, m)
	token := p.mustOpen(playback.Request{Expires: 600})
	if !strings.HasPrefix(token, "Ci") || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~") != "" || len(token) > 250 {
		t.Errorf("token of %d characters: %s", len(token), token)
	}
	uri := func(token string) string { return playback.MasterPlaylist + "?SessionToken=" + token }
	denied := func(what string, p *player, uri string) {
		t.Helper()
		if _, err := p.get(uri); sluice.CodeOf(err) != sluice.AccessDenied {
			t.Errorf("%s: %v", what, err)
		} else if strings.Contains(err.Error(), token[:40]) {
			t.Errorf("%s: the token stands in the error: %v", what, err)
		}
	}
	p.text(uri(token))
	newPlayer(t, m).text(uri(token)) // another server with the same key
	denied("another key", newPlayer(t, m, func(o *playback.Options) { o.Key[0]++ }), uri(token))
	denied("none", p, playback.MasterPlaylist)
	denied("another protocol", p, playback.Manifest+"?protocol=DASH&SessionToken="+token)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(token) {
		at := strings.IndexByte(alphabet, token[i])
		if at < 0 {
			continue
		}
		for bit := range 6 {
			denied("one bit", p, uri(token[:i]+string(alphabet[at^1<<bit])+token[i+1:]))
		}
	}
	denied("cut", p, uri(token[:len(token)-5]))
	m.pass(601 * time.Second)
	denied("expired", p, uri(token))
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	allowed := true
	asked := 0
	from := netip.MustParseAddr("2001:db8::7")
	p := newPlayer(t, m, func(o *playback.Options) {
		o.Permit = func(_ context.Context, s *playback.Session, action string, stream *catalog.Stream) error {
			if asked++; s.AccessKeyID != "AKIAIOSFODNN7EXAMPLE" || action != playback.ActionHLS || stream.Name != "cam" || s.Remote != from || !s.Secure {
				t.Errorf("asked for %s from %v, %s, %s", s.AccessKeyID, s.Remote, action, stream.Name)
			}
			if !allowed {
				return errors.New("no")
			}
			return nil
		}
	})
	uri := playback.MasterPlaylist + "?SessionToken=" + p.mustOpen(playback.Request{Expires: 3600, Remote: from, Secure: true})
	for range 5 {
		p.text(uri)
	}
	if asked != 1 {
		t.Errorf("asked %d times in one moment", asked)
	}
	allowed = false
	m.pass(5 * time.Second)
	if _, err := p.get(uri); sluice.CodeOf(err) != sluice.AccessDenied {
		t.Errorf("5 s after the key went: %v", err)
	}
	allowed = true
	m.pass(5 * time.Second)
	p.text(uri)
	m.deleted = true
	if _, err := p.get(uri); sluice.CodeOf(err) != sluice.ResourceNotFound {
		t.Errorf("deleted stream: %v", err)
	}
}

// TestSessionLimit: in the guide a stream has ten sessions; a new one ends the
// oldest.
func TestSessionLimit(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	p := newPlayer(t, m, func(o *playback.Options) { o.Limits = limits.New(limits.Rules{}, limits.Rates{HLSSessions: 3}) })
	var uris []string
	for range 5 {
		uris = append(uris, playback.MasterPlaylist+"?SessionToken="+p.mustOpen(playback.Request{}))
		m.pass(10 * time.Millisecond)
	}
	for i, uri := range uris {
		if _, err := p.get(uri); (err == nil) != (i >= 2) {
			t.Errorf("session %d: %v", i, err)
		}
	}
	// Not DASH: it has no such limit.
	p.mustOpen(playback.Request{Protocol: playback.DASH})
	if _, err := p.get(uris[2]); err != nil {
		t.Error(err)
	}
	m.pass(301 * time.Second)
	m.play(c, 1)
	for range 3 {
		p.text(playback.MasterPlaylist + "?SessionToken=" + p.mustOpen(playback.Request{}))
	}
}

func TestPlaybackRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // no time passes
		c := loadClip(t)
		m := newMemory()
		m.play(c, 8)
		p := newPlayer(t, m, func(o *playback.Options) {
			o.Limits = limits.New(limits.Rules{}, limits.Rates{MetadataPoints: 20, MediaPoints: 2})
		})
		token := p.mustOpen(playback.Request{Selector: "PRODUCER_TIMESTAMP"})
		uri := playback.MediaPlaylist + "?TrackNumber=1&SessionToken=" + token
		l := read(t, p.text(uri))
		var err error
		for range 5 {
			if _, err = p.get(uri); err != nil {
				break
			}
		}
		if sluice.CodeOf(err) != sluice.ClientLimitExceeded {
			t.Errorf("playlists: %v", err)
		}
		for range 3 {
			if _, err = p.get(l.segments[0].uri); err != nil {
				break
			}
		}
		if sluice.CodeOf(err) != sluice.ClientLimitExceeded {
			t.Errorf("fragments: %v", err)
		}
	})
}

// FuzzViewer: whatever a URL says, there is an answer.
func FuzzViewer(f *testing.F) {
	c := loadClip(f)
	m := newMemory()
	m.play(c, 3)
	p := newPlayer(f, m)
	token := p.mustOpen(playback.Request{Selector: "PRODUCER_TIMESTAMP"})
	dash := p.mustOpen(playback.Request{Protocol: playback.DASH})
	for n := range m.fragments {
		f.Add(uint8(2), "FragmentNumber="+n.String()+"&TrackNumber=1&SessionToken="+token)
		break
	}
	f.Add(uint8(0), "SessionToken="+token)
	f.Add(uint8(1), "TrackNumber=2&SessionToken="+token)
	f.Add(uint8(3), "TrackNumber=1&SequenceNumber=18446744073709551615&SessionToken="+token)
	f.Add(uint8(4), "TrackNumber=1&FragmentNumber=1&SessionToken="+token)
	f.Add(uint8(5), "SessionToken="+dash)
	f.Add(uint8(2), "Number=1&TrackNumber=1&SessionToken="+dash)
	f.Add(uint8(0), "SessionToken=Ci~~&%zz;")
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.URL.RawQuery = query
		for _, protocol := range []playback.Protocol{playback.HLS, playback.DASH} {
			v, err := p.p.Viewer(r, protocol)
			if err != nil {
				if sluice.CodeOf(err) == "" {
					t.Fatalf("%q: %v", query, err)
				}
				continue
			}
			if v.Session.LowLatency {
				continue // may wait for fragments that never come
			}
			switch which % 6 {
			case 0:
				_, err = v.Master(t.Context())
			case 1:
				_, err = v.Media(t.Context())
			case 2:
				_, err = v.Fragment(t.Context(), "GetMP4MediaFragment", playback.FragmentedMP4)
			case 3:
				_, err = v.Init(t.Context())
			case 4:
				_, err = v.Fragment(t.Context(), "GetTSFragment", playback.MPEGTS)
			case 5:
				_, err = v.Manifest(t.Context())
			}
			if err != nil && sluice.CodeOf(err) == "" {
				t.Fatalf("%d %q: %v", which, query, err)
			}
		}
	})
}

// FuzzToken: a token is what was sealed, or nothing.
func FuzzToken(f *testing.F) {
	c := loadClip(f)
	m := newMemory()
	m.play(c, 3)
	p := newPlayer(f, m)
	token := p.mustOpen(playback.Request{})
	f.Add(token)
	f.Add(token[:30])
	f.Add("CiE~")
	f.Fuzz(func(t *testing.T, s string) {
		got, _, err := p.p.Resume(t.Context(), s, playback.HLS)
		// Not the seed's text: the fuzzer's other processes have tokens of their own.
		if err == nil && (got.Stream != streamID || got.AccessKeyID != "AKIAIOSFODNN7EXAMPLE" || got.Max != 5) {
			t.Fatalf("%q opens as %+v", s, got)
		}
	})
}
