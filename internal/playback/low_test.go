package playback_test

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
	"github.com/sluicevideo/sluice/internal/playback"
)

var partLine = regexp.MustCompile(`#EXT-X-PART:DURATION=([0-9.]+),URI="([^"]+)"(,INDEPENDENT=YES)?`)

// partsOf are the parts of a fragment that a playlist lists.
func partsOf(text string, n sluice.FragmentNumber) [][]string {
	return slices.DeleteFunc(partLine.FindAllStringSubmatch(text, -1), func(m []string) bool {
		return !strings.Contains(m[2], "FragmentNumber="+n.String()+"&")
	})
}

// low opens a low-latency session over three durable fragments.
func low(t *testing.T) (clip, *memory, *player, string) {
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	m.flows = time.Now()
	p := newPlayer(t, m)
	return c, m, p, p.mustOpen(playback.Request{Selector: "PRODUCER_TIMESTAMP", Expires: 3600})
}

func reload(token string, more string) string {
	return playback.MediaPlaylist + "?SessionToken=" + token + "&TrackNumber=1&LowLatency=1" + more
}

// TestLowLatencyParts: parts of the open fragment are listed as they arrive, load
// at once, are never longer than PART-TARGET, and are together what the segment
// is.
func TestLowLatencyParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m, p, token := low(t)
		f := &c.fragments[3]
		a := m.begin(f, c.header.Tracks, m.Now(), m.Now().Add(-30*time.Millisecond))
		p.text(reload(token, ""))
		synctest.Wait()
		var media [][]byte
		listed := 0
		for range len(f.Frames) {
			a.grow(f, 1)
			synctest.Wait()
			text := p.text(reload(token, ""))
			target := number(t, text, `PART-TARGET=([0-9.]+)`)
			parts := partsOf(text, a.head.Number)
			for _, q := range parts[listed:] {
				if d, _ := strconv.ParseFloat(q[1], 64); d > target {
					t.Errorf("part of %s s, PART-TARGET %v", q[1], target)
				}
				if (q[3] != "") != (listed == 0) {
					t.Errorf("part %d: independent %q", listed, q[3])
				}
				listed++
				media = append(media, []byte(p.text(q[2])))
			}
		}
		a.end(f, io.EOF)
		time.Sleep(100 * time.Millisecond)
		text := p.text(reload(token, ""))
		golden(t, "low-latency.m3u8", text)
		for _, q := range partsOf(text, a.head.Number)[listed:] {
			media = append(media, []byte(p.text(q[2])))
		}
		l := read(t, text)
		segment := p.text(l.segments[3].uri)
		if got, want := payload(media...), payload([]byte(segment)); !bytes.Equal(got, want) {
			t.Errorf("%d parts have %d bytes of media, the segment has %d", len(media), len(got), len(want))
		}
		if listed < 12 {
			t.Errorf("%d parts of 1.28 s were listed before the fragment was complete", listed)
		}
	})
}

// payload is what the mdat boxes hold.
func payload(pieces ...[]byte) (out []byte) {
	for _, b := range pieces {
		if i := bytes.Index(b, []byte("mdat")); i >= 0 {
			out = append(out, b[i+4:]...)
		}
	}
	return out
}

func number(t *testing.T, text, pattern string) float64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// answer is what a request that waits comes back with.
type answer struct {
	text string
	err  error
	at   time.Time
}

func (p *player) wait(uri string) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		w, err := p.get(uri)
		out <- answer{w.Body.String(), err, time.Now()}
	}()
	return out
}

// TestBlockingReload: a playlist that is asked for ahead of time comes when it has
// what was asked for, and after three target durations as it is.
func TestBlockingReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m, p, token := low(t)
		f := &c.fragments[3]
		begun := time.Now()
		waiting := p.wait(reload(token, "&_HLS_msn=3&_HLS_part=1"))
		synctest.Wait()
		a := m.begin(f, c.header.Tracks, m.Now(), m.Now().Add(-30*time.Millisecond))
		time.Sleep(100 * time.Millisecond)
		a.grow(f, 3)
		synctest.Wait()
		select {
		case got := <-waiting:
			t.Fatalf("came too early: %v\n%s", got.err, got.text)
		default:
		}
		time.Sleep(100 * time.Millisecond)
		a.grow(f, 12)
		got := <-waiting
		if got.err != nil || len(partsOf(got.text, a.head.Number)) < 2 || got.at.Sub(begun) != 200*time.Millisecond {
			t.Fatalf("after %v: %v\n%s", got.at.Sub(begun), got.err, got.text)
		}
		// A part that is hinted at is waited for as well.
		hint := regexp.MustCompile(`PRELOAD-HINT:TYPE=PART,URI="([^"]+)"`).FindStringSubmatch(got.text)
		part := p.wait(hint[1])
		synctest.Wait()
		time.Sleep(50 * time.Millisecond)
		a.grow(f, 12)
		if got := <-part; got.err != nil || !strings.Contains(got.text, "moof") {
			t.Fatalf("hinted part: %v", got.err)
		}
		// The whole segment.
		waiting = p.wait(reload(token, "&_HLS_msn=3"))
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		a.grow(f, 1000)
		a.end(f, io.EOF)
		if got := <-waiting; got.err != nil || len(read(t, got.text).segments) != 4 {
			t.Fatalf("whole segment: %v\n%s", got.err, got.text)
		}
		// Nothing more comes.
		begun = time.Now()
		got = <-p.wait(reload(token, "&_HLS_msn=4&_HLS_part=0"))
		if d := got.at.Sub(begun); got.err != nil || d != 3*time.Second {
			t.Errorf("after %v: %v", d, got.err)
		}
		for _, bad := range []string{"&_HLS_msn=9", "&_HLS_part=1", "&_HLS_msn=x"} {
			if _, err := p.get(reload(token, bad)); sluice.CodeOf(err) != sluice.InvalidArgument {
				t.Errorf("%s: %v", bad, err)
			}
		}
	})
}

// TestAbortedFragment: the producer is cut off in a fragment whose parts players
// have loaded. They go from the playlist, and the next fragment takes its place.
func TestAbortedFragment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m, p, token := low(t)
		f := &c.fragments[3]
		a := m.begin(f, c.header.Tracks, m.Now(), m.Now())
		a.grow(f, 40)
		p.text(reload(token, ""))
		synctest.Wait()
		parts := partsOf(p.text(reload(token, "")), a.head.Number)
		if len(parts) == 0 {
			t.Fatal("no parts")
		}
		p.text(parts[0][2])
		waiting := p.wait(reload(token, "&_HLS_msn=3&_HLS_part=12"))
		synctest.Wait()
		a.end(f, sluice.StreamReadError)
		m.pass(2 * time.Second)
		b := m.begin(&c.fragments[4], c.header.Tracks, m.Now(), m.Now())
		b.grow(&c.fragments[4], 1000)
		b.end(&c.fragments[4], io.EOF)
		got := <-waiting
		l := read(t, got.text)
		if got.err != nil || len(l.segments) != 4 || l.segments[3].number != b.head.Number || strings.Contains(got.text, a.head.Number.String()) {
			t.Errorf("%v\n%s", got.err, got.text)
		}
		if _, err := p.get(parts[1][2]); sluice.CodeOf(err) != sluice.ResourceNotFound && err != nil {
			t.Errorf("part of the aborted fragment: %v", err)
		}
	})
}

// TestPlainPlayersStayPlain: without the parameter nothing of low latency shows.
func TestPlainPlayersStayPlain(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	p := newPlayer(t, m)
	token := p.mustOpen(playback.Request{})
	if text := p.media(token, 1, ""); strings.Contains(text, "PART") || strings.Contains(text, "SERVER-CONTROL") {
		t.Errorf("got\n%s", text)
	}
	master := p.text(playback.MasterPlaylist + "?SessionToken=" + token + "&LowLatency=1")
	if !strings.Contains(master, "&LowLatency=1\n") {
		t.Errorf("the parameter is not passed on:\n%s", master)
	}
	always := newPlayer(t, m, func(o *playback.Options) { o.LowLatency = true })
	token = always.mustOpen(playback.Request{})
	if text := always.media(token, 1, ""); !strings.Contains(text, "PART-INF") {
		t.Errorf("--hls-low-latency:\n%s", text)
	}
	if text := always.media(token, 1, "&LowLatency=0"); strings.Contains(text, "PART-INF") {
		t.Errorf("refused by the player:\n%s", text)
	}
}

// TestPartsOfBFrames: parts of reordered pictures decode as the whole does.
func TestPartsOfBFrames(t *testing.T) {
	t.Parallel()
	muxtest.FFmpeg(t)
	for _, video := range []string{
		"-c:v libx264 -bf 3 -b_strategy 0 -g 25 -pix_fmt yuv420p",
		"-c:v libx264 -bf 0 -g 25 -pix_fmt yuv420p",
		"-c:v libx265 -pix_fmt yuv420p -x265-params log-level=none:bframes=2:keyint=25:open-gop=0",
	} {
		source := muxtest.Media(t, "testsrc2=size=320x180:rate=25:duration=4", video, "")
		header, fragments := muxtest.Read(t, source)
		var pieces [][]byte
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			m.add(&fragments[0], header.Tracks, m.Now(), m.Now())
			p := newPlayer(t, m)
			token := p.mustOpen(playback.Request{Selector: "PRODUCER_TIMESTAMP"})
			l := read(t, p.media(token, 1, ""))
			pieces = append(pieces, []byte(p.text(l.segments[0].init)), []byte(p.text(l.segments[0].uri)))
			for i := range fragments[1:] {
				f := &fragments[1+i]
				at := start.Add(f.Timecode - fragments[0].Timecode)
				m.pass(at.Sub(m.Now()))
				a := m.begin(f, header.Tracks, at, at)
				p.text(reload(token, ""))
				a.grow(f, 1000)
				a.end(f, io.EOF)
				synctest.Wait()
				for n := range 1000 {
					w, err := p.get(fmt.Sprintf("%s?FragmentNumber=%s&Part=%d&SessionToken=%s&TrackNumber=1", playback.PartFragment, a.head.Number, n, token))
					if err != nil {
						break
					}
					pieces = append(pieces, w.Body.Bytes())
				}
			}
		})
		if len(pieces) < 20 {
			t.Fatalf("%d pieces", len(pieces))
		}
		made := muxtest.Write(t, "parts.mp4", pieces...)
		if got, want := muxtest.Hashes(t, made, "v:0"), muxtest.Hashes(t, source, "v:0"); !slices.Equal(got, want) {
			t.Errorf("%s: %d pictures decode differently from the source's %d", video, len(got), len(want))
		}
	}
}

// TestPartsOutsideTheSession: a token opens no part of a fragment from before its
// session, and sessions without parts have none.
func TestPartsOutsideTheSession(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	p := newPlayer(t, m)
	old := read(t, p.media(p.mustOpen(playback.Request{}), 1, "")).segments[0]
	fn := regexp.MustCompile(`FragmentNumber=\d+`).FindString(old.uri)
	for _, c := range []struct {
		request playback.Request
		resource,
		query string
		want sluice.Code
	}{
		{playback.Request{MaxResults: 1}, playback.PartFragment, fn + "&Part=0&TrackNumber=1", sluice.AccessDenied},
		{playback.Request{MaxResults: 1}, playback.InitFragment, "TrackNumber=1&SequenceNumber=1", sluice.AccessDenied},
		{playback.Request{Container: "MPEG_TS"}, playback.PartFragment, fn + "&Part=0&TrackNumber=1", sluice.ResourceNotFound},
	} {
		token := p.mustOpen(c.request)
		if _, err := p.get(c.resource + "?SessionToken=" + token + "&" + c.query); sluice.CodeOf(err) != c.want {
			t.Errorf("%s?%s: %v, want %s", c.resource, c.query, err, c.want)
		}
	}
}
