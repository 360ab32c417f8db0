package fragment_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/mkv"
)

// part is a fragment as a Reader reported it.
type part struct {
	ticks    int64
	lead     []byte
	bytes    []byte
	frames   []fragment.Entry
	tags     []sluice.Tag
	ended    bool
	explicit bool
}

type session struct {
	header *fragment.Header
	parts  []part
	err    error
}

// run feeds body in pieces of at most step bytes.
func run(body []byte, step int, closed bool, o fragment.Options) session {
	var s session
	r := fragment.NewReader(o)
	drain := func() bool {
		for {
			ev, err := r.Next()
			if errors.Is(err, fragment.ErrMore) {
				return true
			}
			if err != nil {
				s.err = err
				return false
			}
			switch ev.Kind {
			case fragment.HeaderComplete:
				s.header = ev.Header
			case fragment.Begin:
				s.parts = append(s.parts, part{ticks: ev.Timecode, lead: ev.Lead, tags: ev.Tags})
			case fragment.Elements:
				p := &s.parts[len(s.parts)-1]
				p.bytes = append(p.bytes, ev.Bytes...)
				p.frames = append(p.frames, ev.Frames...)
				p.tags = append(p.tags, ev.Tags...)
			case fragment.End:
				p := &s.parts[len(s.parts)-1]
				p.ended, p.explicit = true, ev.Explicit
			}
		}
	}
	for len(body) > 0 {
		n := min(step, len(body))
		// A copy each, so that nothing is adjacent in memory by chance.
		r.Feed(bytes.Clone(body[:n]))
		body = body[n:]
		if !drain() {
			return s
		}
	}
	if closed {
		r.Close()
		drain()
	}
	return s
}

func TestReaderOfRecordings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		parts  int
		frames [3]int // by track
		first  int64
	}{
		{"putmedia-captures/video-h264-01.body.mkv", 15, [3]int{0, 750, 0}, 0},
		{"putmedia-captures/av-h264-aac-01.body.mkv", 13, [3]int{0, 750, 1155}, 0},
		{"putmedia-captures/video-h264-relative-01.body.mkv", 6, [3]int{0, 240, 0}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			body := mediatest.File(t, c.name)
			s := run(body, len(body), true, fragment.Options{})
			if !errors.Is(s.err, io.EOF) {
				t.Fatal(s.err)
			}
			if len(s.parts) != c.parts {
				t.Fatalf("%d fragments, want %d", len(s.parts), c.parts)
			}
			var frames [3]int
			var rest []byte
			for i, p := range s.parts {
				if !p.ended || p.explicit != (i == len(s.parts)-1) {
					t.Errorf("fragment %d: ended %v, explicitly %v", i, p.ended, p.explicit)
				}
				for _, f := range p.frames {
					frames[f.Track]++
					// The payload is where the entry says: 4-byte NAL sizes of
					// H.264 fill it exactly.
					b := p.bytes[f.Offset : f.Offset+f.Size]
					for f.Track == 1 && len(b) > 0 {
						n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
						b = b[4+n:]
					}
				}
				rest = append(append(rest, p.lead...), p.bytes...)
			}
			if frames != c.frames {
				t.Errorf("frames by track %v, want %v", frames, c.frames)
			}
			if !bytes.HasSuffix(body, rest) || len(s.header.First)+len(rest) != len(body)+7 {
				t.Error("the fragments are not the body's bytes")
			}
		})
	}
}

func TestReaderInPiecesReportsTheSame(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"putmedia-captures/av-h264-aac-01.body.mkv", "putmedia-captures/video-h264-relative-01.body.mkv",
		"getmedia-captures/test_mixed_tags.mkv",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := mediatest.File(t, name)
			want := run(body, len(body), true, fragment.Options{})
			for _, step := range []int{1, 7, 1000, 32 << 10} {
				got := run(body, step, true, fragment.Options{})
				if !reflect.DeepEqual(got, want) {
					t.Errorf("in pieces of %d bytes: other events", step)
				}
			}
		})
	}
}

func TestReaderKeepsMemoryThatIsOneArrayTogether(t *testing.T) {
	t.Parallel()
	body := mediatest.File(t, "putmedia-captures/video-h264-01.body.mkv")
	r := fragment.NewReader(fragment.Options{})
	for rest := body; len(rest) > 0; {
		n := min(1000, len(rest))
		r.Feed(rest[:n])
		rest = rest[n:]
		for {
			ev, err := r.Next()
			if errors.Is(err, fragment.ErrMore) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if ev.Partial {
				t.Fatal("bytes of one array were handed out in pieces")
			}
		}
	}
}

func TestReaderEndsAtSecondHeader(t *testing.T) {
	t.Parallel()
	body := mediatest.File(t, "getmedia-captures/test_mixed_tags.mkv")
	s := run(body, len(body), true, fragment.Options{})
	if !errors.Is(s.err, fragment.ErrSecondHeader) {
		t.Fatal(s.err)
	}
	var e *mkv.Error
	if !errors.As(s.err, &e) || e.Offset == 0 || len(s.parts) != 1 || !s.parts[0].ended {
		t.Errorf("%v, %d fragments", s.err, len(s.parts))
	}
}
