package ts_test

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/mux"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
	"github.com/sluicevideo/sluice/internal/mux/ts"
)

const picture = "testsrc2=size=320x180:rate=25:duration=4"

var media = []struct{ name, input, video, audio string }{
	{"H.264 without B-frames, AAC", picture, "-c:v libx264 -bf 0 -g 25 -pix_fmt yuv420p", "-c:a aac -ac 2"},
	{"H.264 with B-frames, AAC", picture, "-c:v libx264 -bf 3 -b_strategy 0 -g 25 -pix_fmt yuv420p", "-c:a aac"},
	{"H.264 at 5 frames a second", "testsrc2=size=320x180:rate=5:duration=4", "-c:v libx264 -bf 0 -g 5 -pix_fmt yuv420p", ""},
	{"H.265 with B-frames, AAC", picture, "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=none:bframes=3:keyint=25:open-gop=0", "-c:a aac"},
}

func segments(t *testing.T, source string) [][]byte {
	t.Helper()
	header, fragments := muxtest.Read(t, source)
	if len(fragments) < 3 {
		t.Fatalf("%d fragments in the source", len(fragments))
	}
	var out [][]byte
	for i := range fragments {
		var runs []ts.Run
		for n := range header.Tracks {
			p, err := codec.Parse(&header.Tracks[n])
			if err != nil {
				t.Fatal(err)
			}
			s := fragments[i].Samples(uint32(header.Tracks[n].Number), 0)
			mux.Schedule(s, 0)
			runs = append(runs, ts.Run{Params: p, Samples: s})
		}
		b, err := ts.AppendSegment(nil, uint64(i)+13, runs...)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func TestSegmentsDecodeAsTheSource(t *testing.T) {
	t.Parallel()
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			source := muxtest.Media(t, m.input, m.video, m.audio)
			out := segments(t, source)
			whole := muxtest.Write(t, "whole.ts", out...)
			if got, want := muxtest.Hashes(t, whole, "v:0"), muxtest.Hashes(t, source, "v:0"); !slices.Equal(got, want) {
				t.Errorf("%d frames decode differently from the source's %d", len(got), len(want))
			}
			if m.audio != "" {
				got := muxtest.Run(t, "ffmpeg", "-i", whole, "-map", "0:a:0", "-f", "s16le", "-")
				want := muxtest.Run(t, "ffmpeg", "-i", source, "-map", "0:a:0", "-f", "s16le", "-")
				if !strings.Contains(want, got[len(got)/4:len(got)/4*3]) {
					t.Error("sound decodes differently from the source's")
				}
			}
			for i, b := range out {
				// Each alone starts with a key frame and decodes without a word.
				alone := muxtest.Write(t, "segment.ts", b)
				if n := len(muxtest.Hashes(t, alone, "v:0")); n == 0 {
					t.Errorf("segment %d: no frames", i)
				}
			}
			check(t, bytes.Join(out, nil))
			monotone(t, whole)
		})
	}
}

func monotone(t *testing.T, path string) {
	t.Helper()
	last := int64(-1)
	for line := range strings.Lines(muxtest.Run(t, "ffprobe", "-select_streams", "v:0", "-show_entries", "packet=dts", "-of", "csv=p=0", path)) {
		line = strings.Trim(line, ",\n")
		if line == "" {
			continue
		}
		dts, err := strconv.ParseInt(line, 10, 64)
		if err != nil || dts <= last {
			t.Errorf("DTS %q after %d", line, last)
		}
		last = dts
	}
}

// check reads packet by packet: counters go on without a gap, the clock comes at
// least each 100 ms, goes forward, and lies before the decoding time.
func check(t *testing.T, b []byte) {
	t.Helper()
	if len(b)%188 != 0 {
		t.Fatalf("%d bytes are no whole packets", len(b))
	}
	counters := map[int]byte{}
	lastClock := int64(-1)
	for at := 0; at < len(b); at += 188 {
		p := b[at : at+188]
		if p[0] != 0x47 {
			t.Fatalf("packet at %d: no sync byte", at)
		}
		pid := int(p[1]&0x1f)<<8 | int(p[2])
		payload := p[3]&0x10 != 0
		last, seen := counters[pid]
		want := last
		if payload {
			want = (last + 1) & 15
		}
		if seen && p[3]&15 != want {
			t.Fatalf("packet at %d, PID %#x: counter %d, want %d", at, pid, p[3]&15, want)
		}
		counters[pid] = p[3] & 15
		if p[3]&0x20 != 0 && p[4] > 0 && p[5]&0x10 != 0 {
			clock := int64(p[6])<<25 | int64(p[7])<<17 | int64(p[8])<<9 | int64(p[9])<<1 | int64(p[10])>>7
			if lastClock >= 0 && (clock <= lastClock || clock-lastClock > 9000) {
				t.Errorf("packet at %d: clock %d after %d", at, clock, lastClock)
			}
			lastClock = clock
		}
	}
	if lastClock < 0 {
		t.Error("no clock reference")
	}
}

func TestTinyFrames(t *testing.T) {
	t.Parallel()
	// The smallest units there are still spread over whole rounds of the counter.
	video := &codec.Params{Kind: codec.H264, Framing: 4, Reorder: -1}
	audio := &codec.Params{Kind: codec.AAC, AAC: &codec.AACConfig{ObjectType: 2, SampleRate: 48000, Channels: 1}}
	var all []byte
	for i := range 5 {
		v := []mux.Sample{{Data: []byte{0, 0, 0, 1, 0x65}, PTS: time.Duration(i) * 50 * time.Millisecond, Key: true}}
		a := []mux.Sample{{Data: []byte{1}, PTS: time.Duration(i) * 50 * time.Millisecond, Key: true}}
		mux.Schedule(v, 50*time.Millisecond)
		mux.Schedule(a, 50*time.Millisecond)
		b, err := ts.AppendSegment(nil, uint64(i), ts.Run{Params: video, Samples: v}, ts.Run{Params: audio, Samples: a})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	check(t, all)
}

func BenchmarkSegment(b *testing.B) {
	const frames, size = 25, 10_000
	s := make([]mux.Sample, frames)
	for i := range s {
		data := make([]byte, size)
		data[2], data[3], data[4] = (size-4)>>8, (size-4)&0xff, 0x41
		s[i] = mux.Sample{Data: data, PTS: time.Duration(i) * 40 * time.Millisecond, Key: i == 0}
	}
	mux.Schedule(s, 0)
	b.ReportAllocs()
	b.SetBytes(frames * size)
	for b.Loop() {
		if _, err := ts.AppendSegment(nil, 0, ts.Run{Params: &codec.Params{Kind: codec.H264, Framing: 4}, Samples: s}); err != nil {
			b.Fatal(err)
		}
	}
}
