package playback_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/playback"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text, tokens put aside, with a file under testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	text = regexp.MustCompile(`SessionToken=Ci[A-Za-z0-9_-]+~*`).ReplaceAllString(text, "SessionToken=TOKEN~")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, text, want)
	}
}

func onDemand(clock string) playback.Request {
	return playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, Selector: clock, From: start.Add(-time.Hour), To: start.Add(time.Minute)}
}

func TestPlaylists(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	with := func(r playback.Request, change func(*playback.Request)) playback.Request {
		change(&r)
		return r
	}
	m := newMemory()
	m.play(c, 8)
	m.pass(time.Hour) // ranges lie in the past
	p := newPlayer(t, m)
	for _, tt := range []struct {
		name  string
		r     playback.Request
		track int
	}{
		{"on-demand", onDemand("SERVER_TIMESTAMP"), 1},
		{"on-demand-producer", onDemand("PRODUCER_TIMESTAMP"), 1},
		{"on-demand-sound", onDemand("PRODUCER_TIMESTAMP"), 2},
		{"on-demand-timestamps", with(onDemand("PRODUCER_TIMESTAMP"), func(r *playback.Request) { r.DisplayTimestamp = "ALWAYS" }), 1},
		{"on-demand-ts", with(onDemand("PRODUCER_TIMESTAMP"), func(r *playback.Request) { r.Container = "MPEG_TS" }), 1},
		{"on-demand-max", with(onDemand("PRODUCER_TIMESTAMP"), func(r *playback.Request) { r.MaxResults = 3 }), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := p.mustOpen(tt.r)
			golden(t, tt.name+".master.m3u8", p.text(playback.MasterPlaylist+"?SessionToken="+token))
			golden(t, tt.name+".m3u8", p.media(token, tt.track, ""))
		})
	}
	t.Run("dash", func(t *testing.T) {
		r := onDemand("PRODUCER_TIMESTAMP")
		r.Protocol, r.DisplayNumber, r.DisplayTimestamp = playback.DASH, "ALWAYS", "ALWAYS"
		golden(t, "on-demand.mpd", p.text(playback.Manifest+"?SessionToken="+p.mustOpen(r)))
	})
}

func TestLivePlaylists(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	for _, clock := range []string{"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"} {
		t.Run(clock, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			m.play(c, 7)
			p := newPlayer(t, m)
			token := p.mustOpen(playback.Request{Selector: clock})
			golden(t, "live-"+clock+".m3u8", p.media(token, 1, ""))
			m.play(c, 2)
			golden(t, "live-"+clock+"-later.m3u8", p.media(token, 1, ""))
			m.play(c, 20)
			last := p.media(token, 1, "")
			// Another process with the same key goes on where this one was.
			if got := newPlayer(t, m).media(token, 1, ""); got != last {
				t.Errorf("after a restart:\n%s\nbefore:\n%s", got, last)
			}
		})
	}
	t.Run("dash", func(t *testing.T) {
		t.Parallel()
		m := newMemory()
		m.play(c, 7)
		p := newPlayer(t, m)
		token := p.mustOpen(playback.Request{Protocol: playback.DASH, Selector: "PRODUCER_TIMESTAMP"})
		m.play(c, 2)
		golden(t, "live.mpd", p.text(playback.Manifest+"?SessionToken="+token))
		// Numbers of the manifest name the same fragments as HLS's segments.
		if _, err := p.get(playback.MediaFragment + "?SessionToken=" + token + "&TrackNumber=1&Number=3"); err != nil {
			t.Error(err)
		}
		if _, err := p.get(playback.MediaFragment + "?SessionToken=" + token + "&TrackNumber=1&Number=8"); sluice.CodeOf(err) != sluice.ResourceNotFound {
			t.Errorf("beyond the end: %v", err)
		}
	})
}

// listing is a media playlist as a player reads it.
type listing struct {
	sequence, discontinuities, target int
	segments                          []segment
	ended                             bool
}

type segment struct {
	uri, init     string
	duration      float64
	discontinuity bool
	time          string
	number        sluice.FragmentNumber
}

func read(t testing.TB, text string) listing {
	t.Helper()
	var l listing
	var s segment
	number := func(v string) int {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("%q in\n%s", v, text)
		}
		return n
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "#EXT-X-TARGETDURATION":
			l.target = number(value)
		case "#EXT-X-MEDIA-SEQUENCE":
			l.sequence = number(value)
		case "#EXT-X-DISCONTINUITY-SEQUENCE":
			l.discontinuities = number(value)
		case "#EXT-X-DISCONTINUITY":
			s.discontinuity = true
		case "#EXT-X-MAP":
			s.init = strings.Split(value, `"`)[1]
		case "#EXT-X-PROGRAM-DATE-TIME":
			s.time = value
		case "#EXT-X-ENDLIST":
			l.ended = true
		case "#EXTINF":
			f, err := strconv.ParseFloat(strings.TrimSuffix(value, ","), 64)
			if err != nil {
				t.Fatal(err)
			}
			s.duration = f
		default:
			if line != "" && line[0] != '#' {
				s.uri = line
				if _, rest, ok := strings.Cut(line, "FragmentNumber="); ok {
					n, _, _ := strings.Cut(rest, "&")
					s.number, _ = sluice.ParseFragmentNumber(n)
				}
				l.segments = append(l.segments, s)
				s = segment{init: s.init}
			}
		}
	}
	return l
}

func (l listing) numbers() []int {
	var out []int
	for _, s := range l.segments {
		out = append(out, int(s.number.Sequence())-1000)
	}
	return out
}

// TestSelection: which fragments a session on demand has.
func TestSelection(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	// Fragments 0 to 4 begin at 0, 1.28, 2.56, 3.84, 5.12 s, by both clocks.
	plain := func(m *memory) {
		for i := range 5 {
			m.add(&c.fragments[i], c.header.Tracks, at(float64(i)*1.28), at(float64(i)*1.28))
		}
	}
	for _, tt := range []struct {
		name     string
		fill     func(m *memory)
		clock    string
		from, to time.Time
		guide    bool
		want     []int
	}{
		{"start is inclusive", plain, "SERVER_TIMESTAMP", at(1.28), at(3), false, []int{1, 2}},
		{"end is inclusive", plain, "SERVER_TIMESTAMP", at(1.28), at(3.84), false, []int{1, 2, 3}},
		{"one that runs past the start is not in it", plain, "SERVER_TIMESTAMP", at(1.5), at(4), false, []int{2, 3}},
		{"in the guide it is", plain, "SERVER_TIMESTAMP", at(1.5), at(4), true, []int{1, 2, 3}},
		{"producer time", plain, "PRODUCER_TIMESTAMP", at(1.28), at(3.84), false, []int{1, 2, 3}},
		{"equal producer times: the newer fragment", func(m *memory) {
			plain(m)
			m.add(&c.fragments[2], c.header.Tracks, at(6.4), at(2.56))
		}, "PRODUCER_TIMESTAMP", at(0), at(10), false, []int{0, 1, 5, 3, 4}},
		{"an older recording of the same time stays alone", func(m *memory) {
			plain(m)
			// Hours later, after others, the same range is sent again.
			m.add(&c.fragments[0], c.header.Tracks, at(7200), at(7200))
			m.add(&c.fragments[1], c.header.Tracks, at(7201.28), at(1.28))
			m.add(&c.fragments[2], c.header.Tracks, at(7202.56), at(2.56))
		}, "PRODUCER_TIMESTAMP", at(0), at(10), false, []int{0, 1, 2, 3, 4}},
		{"what was sent late, in one go, is there", func(m *memory) {
			for i := range 3 {
				m.add(&c.fragments[i], c.header.Tracks, at(3600+float64(i)/10), at(float64(i)*1.28))
			}
		}, "PRODUCER_TIMESTAMP", at(0), at(10), false, []int{0, 1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			tt.fill(m)
			m.pass(10 * time.Hour)
			p := newPlayer(t, m)
			if tt.guide {
				p = newPlayer(t, m, guide)
			}
			token := p.mustOpen(playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, Selector: tt.clock, From: tt.from, To: tt.to})
			l := read(t, p.media(token, 1, ""))
			if got := l.numbers(); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			// What is listed loads, and nothing else does.
			for n := range m.fragments {
				_, err := p.get(fmt.Sprintf("%s?FragmentNumber=%s&SessionToken=%s&TrackNumber=1", playback.MediaFragment, n, token))
				listed := slices.ContainsFunc(l.segments, func(s segment) bool { return s.number == n })
				if listed && err != nil {
					t.Errorf("fragment %d: %v", n.Sequence()-1000, err)
				}
				inRange := !m.fragments[n].Producer.Before(tt.from) && !m.fragments[n].Producer.After(tt.to)
				if !listed && !inRange && sluice.CodeOf(err) != sluice.AccessDenied {
					t.Errorf("fragment %d is not in the session: %v", n.Sequence()-1000, err)
				}
			}
		})
	}
}

// TestLiveNeverGoesBack: a live session passes over fragments that are older than
// its newest, and its sequence numbers stay those of the fragments.
func TestLiveNeverGoesBack(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	p := newPlayer(t, m)
	add := func(i int, producer float64) {
		m.add(&c.fragments[i%8], c.header.Tracks, m.Now(), start.Add(time.Duration(producer*float64(time.Second))))
		m.pass(1280 * time.Millisecond)
	}
	add(0, 0)
	add(1, 1.28)
	token := p.mustOpen(playback.Request{Selector: "PRODUCER_TIMESTAMP"})
	p.media(token, 1, "")
	add(2, 2.56)
	add(3, 2.56) // equal
	add(4, 0.5)  // older
	add(5, 3.84)
	l := read(t, p.media(token, 1, ""))
	if got := l.numbers(); !slices.Equal(got, []int{0, 1, 2, 5}) || l.sequence != 0 {
		t.Errorf("got %v from %d", got, l.sequence)
	}
	for i := range 5 {
		add(6+i, 5.12+1.28*float64(i))
	}
	l = read(t, p.media(token, 1, ""))
	if got := l.numbers(); !slices.Equal(got, []int{6, 7, 8, 9, 10}) || l.sequence != 4 {
		t.Errorf("got %v from %d, want the fifth segment first", got, l.sequence)
	}
	if got := read(t, newPlayer(t, m).media(token, 1, "")); got.sequence != 4 || !slices.Equal(got.numbers(), l.numbers()) {
		t.Errorf("after a restart: %v from %d", got.numbers(), got.sequence)
	}
}

// TestReplay: fragments appear as time passes from the start, up to the end.
func TestReplay(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	for _, clock := range []string{"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"} {
		t.Run(clock, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			m.play(c, 20)
			m.pass(time.Hour)
			p := newPlayer(t, m)
			first := start.Add(-30 * time.Millisecond)
			token := p.mustOpen(playback.Request{PlaybackMode: "LIVE_REPLAY", HasSelector: true, HasRange: true, Selector: clock, From: first, To: first.Add(13 * time.Second), MaxResults: 3})
			var seen []int
			last := -1
			for range 30 {
				l := read(t, p.media(token, 1, ""))
				if l.sequence < last {
					t.Fatalf("sequence %d after %d", l.sequence, last)
				}
				last = l.sequence
				for i, n := range l.numbers() {
					if at := l.sequence + i; at == len(seen) {
						seen = append(seen, n)
					} else if at > len(seen) || seen[at] != n {
						t.Fatalf("segment %d is fragment %d after %v", at, n, seen)
					}
				}
				if l.ended {
					break
				}
				m.pass(time.Second)
			}
			want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
			if clock == "SERVER_TIMESTAMP" {
				want = want[:11]
			}
			if !slices.Equal(seen, want) {
				t.Errorf("got %v, want %v", seen, want)
			}
			if l := read(t, p.media(token, 1, "")); !l.ended {
				t.Error("not ended")
			}
		})
	}
}

// TestHeaderChange: new codec private data begins a new MAP; in the guide it is an
// error, and so it is anywhere when tracks change.
func TestHeaderChange(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	changed := slices.Clone(c.header.Tracks)
	changed[0].CodecPrivate = append(slices.Clone(changed[0].CodecPrivate), 0) // trailing byte: the same SPS
	m := newMemory()
	for i, tracks := range [][]sluice.Track{c.header.Tracks, c.header.Tracks, changed, changed, c.header.Tracks, c.header.Tracks[:1]} {
		now := m.Now()
		m.add(&c.fragments[i], tracks, now, now)
		m.pass(1280 * time.Millisecond)
	}
	m.pass(time.Hour)
	p := newPlayer(t, m)
	token := p.mustOpen(onDemand("PRODUCER_TIMESTAMP"))
	l := read(t, p.media(token, 1, ""))
	var inits []string
	var breaks []bool
	for i, s := range l.segments {
		if i == 0 || s.init != l.segments[i-1].init {
			inits = append(inits, s.init)
		}
		breaks = append(breaks, s.discontinuity)
	}
	if len(inits) != 4 || !slices.Equal(breaks, []bool{false, false, true, false, true, true}) {
		t.Errorf("inits %v, discontinuities %v", inits, breaks)
	}
	for _, uri := range inits {
		if _, err := p.get(uri); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.get(l.segments[2].uri); err != nil {
		t.Errorf("changed headers: %v", err)
	}
	if _, err := p.get(l.segments[5].uri); sluice.CodeOf(err) != sluice.UnsupportedStreamMediaType {
		t.Errorf("changed tracks: %v", err)
	}
	g := newPlayer(t, m, guide)
	l = read(t, g.media(g.mustOpen(onDemand("PRODUCER_TIMESTAMP")), 1, ""))
	if _, err := g.get(l.segments[1].uri); err != nil {
		t.Error(err)
	}
	if _, err := g.get(l.segments[2].uri); sluice.CodeOf(err) != sluice.InvalidCodecPrivateData {
		t.Errorf("guide: %v", err)
	}
}

// TestDiscontinuities: gaps and overlaps over 50 ms, by mode.
func TestDiscontinuities(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	for i, gap := range []int{0, 0, 40, 60, -40, -60} {
		m.pass(time.Duration(gap) * time.Millisecond)
		now := m.Now()
		m.add(&c.fragments[1+i], c.header.Tracks, now, now)
		m.pass(1280 * time.Millisecond)
	}
	m.pass(time.Hour)
	p := newPlayer(t, m)
	for mode, want := range map[string][]bool{
		"ALWAYS":           {true, true, true, true, true, true},
		"NEVER":            {false, false, false, false, false, false},
		"ON_DISCONTINUITY": {false, false, false, true, false, true},
	} {
		r := onDemand("PRODUCER_TIMESTAMP")
		r.DiscontinuityMode = mode
		var got []bool
		for _, s := range read(t, p.media(p.mustOpen(r), 1, "")).segments {
			got = append(got, s.discontinuity)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", mode, got, want)
		}
	}
}

// TestRetention: a session goes on while its oldest fragments expire.
func TestRetention(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.about.Retention = time.Minute
	m.play(c, 8)
	m.pass(20 * time.Second)
	p := newPlayer(t, m)
	r := onDemand("SERVER_TIMESTAMP")
	r.To = m.clock
	token := p.mustOpen(r)
	before := read(t, p.media(token, 1, ""))
	m.pass(35 * time.Second)
	after := read(t, p.media(token, 1, ""))
	if len(before.segments) != 8 || len(after.segments) >= 8 || len(after.segments) == 0 {
		t.Fatalf("%d segments, then %d", len(before.segments), len(after.segments))
	}
	// The one that expired is not there; the rest plays on, init included.
	if _, err := newPlayer(t, m).get(before.segments[0].uri); sluice.CodeOf(err) != sluice.ResourceNotFound {
		t.Errorf("expired segment: %v", err)
	}
	for _, uri := range []string{after.segments[0].uri, after.segments[0].init} {
		if _, err := newPlayer(t, m).get(uri); err != nil {
			t.Error(err)
		}
	}
	m.pass(time.Minute)
	if _, err := p.get(fmt.Sprintf("%s?SessionToken=%s&TrackNumber=1", playback.MediaPlaylist, token)); sluice.CodeOf(err) != sluice.ResourceNotFound {
		t.Errorf("all expired: %v", err)
	}
}

// TestLongPlaylists: a thousand and five thousand fragments.
func TestLongPlaylists(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	for i := range 5200 {
		now := m.Now()
		m.add(&c.fragments[i%8], c.header.Tracks, now, now)
		m.pass(1280 * time.Millisecond)
	}
	m.pass(10 * time.Hour)
	p := newPlayer(t, m)
	for _, tt := range []struct {
		max  int64
		want int
	}{{0, 1000}, {1000, 1000}, {5000, 5000}} {
		token := p.mustOpen(playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, From: start, To: start.Add(5 * time.Hour), MaxResults: tt.max})
		l := read(t, p.media(token, 1, ""))
		if len(l.segments) != tt.want {
			t.Errorf("%d: %d segments", tt.max, len(l.segments))
		}
		if _, err := p.get(l.segments[tt.want-1].uri); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.open(playback.Request{MaxResults: 5001}); sluice.CodeOf(err) != sluice.InvalidArgument {
		t.Errorf("5001: %v", err)
	}
}

// TestResources: HEAD, ranges, conditions, types.
func TestResources(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 4)
	p := newPlayer(t, m)
	token := p.mustOpen(playback.Request{Selector: "PRODUCER_TIMESTAMP"})
	l := read(t, p.media(token, 1, ""))
	uri := l.segments[1].uri
	whole, err := p.get(uri)
	if err != nil {
		t.Fatal(err)
	}
	body, etag := whole.Body.String(), whole.Header().Get("ETag")
	if got := whole.Header().Get("Content-Type"); got != "video/mp4" || etag == "" || whole.Header().Get("Content-Length") != strconv.Itoa(len(body)) {
		t.Errorf("headers %v", whole.Header())
	}
	for i, tt := range []struct {
		method string
		header []string
		status int
		body   string
	}{
		{http.MethodHead, nil, 200, ""},
		{http.MethodGet, []string{"Range", "bytes=100-299"}, 206, body[100:300]},
		{http.MethodGet, []string{"Range", "bytes=-50"}, 206, body[len(body)-50:]},
		{http.MethodGet, []string{"Range", "bytes=99999999-"}, 416, ""},
		{http.MethodGet, []string{"If-None-Match", etag}, 304, ""},
	} {
		w, err := p.call(tt.method, uri, tt.header...)
		if err != nil || w.Code != tt.status || tt.status < 400 && w.Body.String() != tt.body {
			t.Errorf("%d: %d, %d bytes, %v", i, w.Code, w.Body.Len(), err)
		}
	}
	if again, _ := p.get(uri); again.Body.String() != body || m.reads > 2 {
		t.Errorf("a second viewer: %d reads of the archive", m.reads)
	}
	other := sluice.MakeFragmentNumber(999_999, uint64(start.UnixMilli()), 3) // another stream's
	if _, err := p.get(fmt.Sprintf("%s?FragmentNumber=%s&SessionToken=%s&TrackNumber=1", playback.MediaFragment, other, token)); sluice.CodeOf(err) != sluice.AccessDenied {
		t.Errorf("another stream's fragment: %v", err)
	}
	sound, err := p.get(strings.Replace(uri, "TrackNumber=1", "TrackNumber=2", 1))
	if err != nil || sound.Header().Get("Content-Type") != "audio/mp4" {
		t.Errorf("sound: %v, %v", sound.Header(), err)
	}
	for _, bad := range []string{
		strings.Replace(uri, "TrackNumber=1", "TrackNumber=3", 1), strings.Replace(uri, "TrackNumber=1", "TrackNumber=x", 1),
		strings.Replace(uri, "FragmentNumber=9", "FragmentNumber=8", 1), strings.Replace(uri, playback.MediaFragment, playback.TSFragment, 1),
	} {
		if _, err := p.get(bad); err == nil {
			t.Errorf("%.80s: no error", bad)
		}
	}
}
