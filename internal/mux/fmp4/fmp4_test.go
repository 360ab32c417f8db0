package fmp4_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/mux"
	"github.com/sluicevideo/sluice/internal/mux/fmp4"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
)

const picture = "testsrc2=size=320x180:rate=25:duration=4"

// media are the codecs that MP4 takes, each as ffmpeg makes it.
var media = []struct{ name, input, video, audio string }{
	{"H.264 without B-frames, AAC", picture, "-c:v libx264 -bf 0 -g 25 -pix_fmt yuv420p", "-c:a aac -ac 2"},
	{"H.264 with B-frames, AAC", picture, "-c:v libx264 -bf 3 -b_strategy 0 -g 25 -pix_fmt yuv420p -x264-params open-gop=0", "-c:a aac"},
	{"H.264 with B-frames at 29.97", "testsrc2=size=320x180:rate=30000/1001:duration=4", "-c:v libx264 -bf 2 -g 30 -pix_fmt yuv420p", ""},
	{"H.264 of variable rate", "testsrc2=size=320x180:rate=25:duration=4,select='not(mod(n\\,3))+lt(n\\,30)'", "-c:v libx264 -bf 2 -g 25 -pix_fmt yuv420p -fps_mode vfr", ""},
	{"H.265, Opus", picture, "-c:v libx265 -g 25 -pix_fmt yuv420p -x265-params log-level=none:keyint=25:open-gop=0", "-c:a libopus -b:a 48k"},
	{"H.265 with B-frames, AAC", picture, "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=none:bframes=3:keyint=25:open-gop=0", "-c:a aac"},
	{"H.264, A-law", picture, "-c:v libx264 -bf 0 -g 25 -pix_fmt yuv420p", "-c:a pcm_alaw -ar 8000 -ac 1"},
	{"H.264, µ-law", picture, "-c:v libx264 -bf 0 -g 25 -pix_fmt yuv420p", "-c:a pcm_mulaw -ar 8000 -ac 1"},
}

func tracks(t testing.TB, list []sluice.Track) []fmp4.Track {
	t.Helper()
	var out []fmp4.Track
	for i := range list {
		p, err := codec.Parse(&list[i])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmp4.Track{ID: uint32(list[i].Number), Params: p, Timescale: fmp4.TimescaleOf(p)})
	}
	return out
}

func scheduled(f *muxtest.Fragment, track uint32) []mux.Sample {
	s := f.Samples(track, 0)
	mux.Schedule(s, 0)
	return s
}

func TestFragmentsDecodeAsTheSource(t *testing.T) {
	t.Parallel()
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			source := muxtest.Media(t, m.input, m.video, m.audio)
			header, fragments := muxtest.Read(t, source)
			if len(fragments) < 3 {
				t.Fatalf("%d fragments in the source", len(fragments))
			}
			tr := tracks(t, header.Tracks)
			all := segments(t, tr, fragments)
			for i := range tr {
				one := segments(t, tr[i:i+1], fragments)
				kind := "v:0"
				if tr[i].Params.Kind.Audio() {
					kind = "a:0"
				}
				same(t, source, muxtest.Write(t, "one.mp4", one...), kind)
				same(t, source, muxtest.Write(t, "all.mp4", all...), kind)
			}
		})
	}
}

func segments(t *testing.T, tr []fmp4.Track, fragments []muxtest.Fragment) [][]byte {
	t.Helper()
	head, err := fmp4.Init(tr...)
	if err != nil {
		t.Fatal(err)
	}
	out := [][]byte{head}
	for i := range fragments {
		var runs []fmp4.Run
		for _, track := range tr {
			runs = append(runs, fmp4.Run{Track: track, Samples: scheduled(&fragments[i], track.ID)})
		}
		if out, err = fmp4.AppendFragment(out, uint32(i), runs...); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func same(t *testing.T, source, made, stream string) {
	t.Helper()
	want, got := muxtest.Hashes(t, source, stream), muxtest.Hashes(t, made, stream)
	if strings.HasPrefix(stream, "a") && !slices.Equal(got, want) {
		// A demuxer may cut the encoder's delay off the front, or group samples
		// differently: compare what was decoded as a whole.
		w, g := samples(t, source), samples(t, made)
		const most = 4096 * 4 // bytes of delay
		if d := len(g) - len(w); d > most || d < -most || !bytes.Contains(w, g[len(g)/4:len(g)*3/4]) {
			t.Errorf("%s: %d bytes of sound that are not the source's %d", stream, len(g), len(w))
		}
		return
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d frames decode differently from the source's %d", stream, len(got), len(want))
	}
}

func samples(t *testing.T, path string) []byte {
	return []byte(muxtest.Run(t, "ffmpeg", "-i", path, "-map", "0:a:0", "-f", "s16le", "-"))
}

func TestFileDecodesAsTheSource(t *testing.T) {
	t.Parallel()
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			source := muxtest.Media(t, m.input, m.video, m.audio)
			header, fragments := muxtest.Read(t, source)
			tr := tracks(t, header.Tracks)
			f := fmp4.NewFile(tr...)
			var body [][]byte
			for i := range fragments {
				for n, track := range tr {
					s := scheduled(&fragments[i], track.ID)
					sizes := make([]uint32, len(s))
					for j := range s {
						size, err := fmp4.Size(track.Params, s[j].Data)
						if err != nil {
							t.Fatal(err)
						}
						sizes[j] = uint32(size)
						body = append(body, s[j].Data)
					}
					f.AddChunk(n, s, sizes)
				}
			}
			head, total, err := f.Head()
			if err != nil {
				t.Fatal(err)
			}
			made := append([][]byte{head}, body...)
			if got := fmp4.Length(made); got != total {
				t.Errorf("file has %d bytes, Head said %d", got, total)
			}
			path := muxtest.Write(t, "clip.mp4", made...)
			for i := range tr {
				kind := "v:0"
				if tr[i].Params.Kind.Audio() {
					kind = "a:0"
				}
				same(t, source, path, kind)
			}
		})
	}
}

// TestAnnexB: frames with start codes give the same file as those with lengths.
func TestAnnexB(t *testing.T) {
	t.Parallel()
	source := muxtest.Media(t, picture, "-c:v libx264 -bf 2 -g 25 -pix_fmt yuv420p", "")
	header, fragments := muxtest.Read(t, source)
	tr := tracks(t, header.Tracks)
	want := bytes.Join(segments(t, tr, fragments), nil)
	var private []byte
	for _, set := range tr[0].Params.ParameterSets {
		private = append(append(private, 0, 0, 0, 1), set...)
	}
	list := slices.Clone(header.Tracks)
	for _, declared := range [][]byte{private, list[0].CodecPrivate} {
		list[0].CodecPrivate = declared
		annexB := tracks(t, list)
		head, err := fmp4.Init(annexB...)
		if err != nil {
			t.Fatal(err)
		}
		out := [][]byte{head}
		for i := range fragments {
			s := scheduled(&fragments[i], 1)
			for j := range s {
				if s[j].Data, err = codec.AppendAnnexB(nil, s[j].Data, 4); err != nil {
					t.Fatal(err)
				}
			}
			if out, err = fmp4.AppendFragment(out, uint32(i), fmp4.Run{Track: annexB[0], Samples: s}); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(bytes.Join(out, nil), want) {
			t.Error("converted segments differ")
		}
	}
}

// TestContinuous: a fragment's durations add up to the next one's decode time.
func TestContinuous(t *testing.T) {
	t.Parallel()
	const frames, frame = 30, 33366700 * time.Nanosecond
	params := &codec.Params{Kind: codec.H264, Framing: 4}
	track := fmp4.Track{ID: 1, Params: params, Timescale: fmp4.VideoTimescale}
	next := uint64(0)
	for f := range 20 {
		s := make([]mux.Sample, frames)
		for i := range s {
			// Whole milliseconds, as Matroska has them.
			s[i] = mux.Sample{Data: []byte{0, 0, 0, 1, 0x41}, PTS: (time.Duration(f*frames+i) * frame).Truncate(time.Millisecond), Key: i == 0}
		}
		end := (time.Duration((f+1)*frames) * frame).Truncate(time.Millisecond)
		mux.Schedule(s, end-s[frames-1].PTS)
		out, err := fmp4.AppendFragment(nil, uint32(f), fmp4.Run{Track: track, Samples: s})
		if err != nil {
			t.Fatal(err)
		}
		base, sum := decodeTimes(t, out[0])
		if base != next {
			t.Fatalf("fragment %d begins at %d, the one before ended at %d", f, base, next)
		}
		next = base + sum
	}
}

func decodeTimes(t *testing.T, moof []byte) (base, sum uint64) {
	t.Helper()
	at := bytes.Index(moof, []byte("tfdt"))
	base = binary.BigEndian.Uint64(moof[at+8:])
	at = bytes.Index(moof, []byte("trun"))
	n := int(binary.BigEndian.Uint32(moof[at+8:]))
	for i := range n {
		sum += uint64(binary.BigEndian.Uint32(moof[at+16+16*i:]))
	}
	return base, sum
}

// TestEqualTimes: frames of one presentation time decode one tick apart and are
// shown when they say.
func TestEqualTimes(t *testing.T) {
	t.Parallel()
	track := fmp4.Track{ID: 1, Params: &codec.Params{Kind: codec.H264, Framing: 4}, Timescale: fmp4.VideoTimescale}
	s := []mux.Sample{
		{Data: []byte{0, 0, 0, 1, 0x65}, Key: true},
		{Data: []byte{0, 0, 0, 1, 0x41}},
		{Data: []byte{0, 0, 0, 1, 0x41}, PTS: 40 * time.Millisecond},
	}
	mux.Schedule(s, 40*time.Millisecond)
	out, err := fmp4.AppendFragment(nil, 1, fmp4.Run{Track: track, Samples: s})
	if err != nil {
		t.Fatal(err)
	}
	if _, sum := decodeTimes(t, out[0]); sum != 7200 {
		t.Errorf("durations add up to %d ticks, want 7200", sum)
	}
}

// second is a fragment of 1 s at 2 Mbit/s: 25 frames.
func second() ([]byte, []mux.Sample, fmp4.Track) {
	const frames = 25
	media := make([]byte, 250_000)
	s := make([]mux.Sample, frames)
	for i := range s {
		at := i * len(media) / frames
		end := (i + 1) * len(media) / frames
		binary.BigEndian.PutUint32(media[at:], uint32(end-at-4))
		media[at+4] = 0x41
		s[i] = mux.Sample{Data: media[at:end:end], PTS: time.Duration(i) * 40 * time.Millisecond, Key: i == 0}
	}
	track := fmp4.Track{ID: 1, Params: &codec.Params{Kind: codec.H264, Framing: 4}, Timescale: fmp4.VideoTimescale}
	return media, s, track
}

// TestNoCopy: the payload handed out is the payload handed in.
func TestNoCopy(t *testing.T) {
	t.Parallel()
	media, s, track := second()
	mux.Schedule(s, 0)
	out, err := fmp4.AppendFragment(nil, 1, fmp4.Run{Track: track, Samples: s})
	if err != nil {
		t.Fatal(err)
	}
	from := uintptr(unsafe.Pointer(&media[0]))
	aliased := 0
	for _, b := range out[1:] {
		if p := uintptr(unsafe.Pointer(&b[0])); p >= from && p < from+uintptr(len(media)) {
			aliased += len(b)
		}
	}
	if aliased != len(media) {
		t.Errorf("%d of %d payload bytes alias the input", aliased, len(media))
	}
}

func BenchmarkFragment(b *testing.B) {
	media, s, track := second()
	b.ReportAllocs()
	b.SetBytes(int64(len(media)))
	for b.Loop() {
		mux.Schedule(s, 0)
		if _, err := fmp4.AppendFragment(nil, 1, fmp4.Run{Track: track, Samples: s}); err != nil {
			b.Fatal(err)
		}
	}
}
