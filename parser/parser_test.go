package parser_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
	"github.com/sluicevideo/sluice/parser"
)

const captures = "getmedia-captures/"

// chunk is a chunk as GetMedia sends it.
func chunk(seq int, ticks uint64, frames ...string) []byte {
	return chunkOf("V_MPEG4/ISO/AVC", seq, ticks, frames...)
}

var epoch = time.UnixMilli(1700000000000).UTC()

func numberOf(seq int) sluice.FragmentNumber {
	return sluice.MakeFragmentNumber(sluice.Sequence(seq), uint64(epoch.UnixMilli())+uint64(seq), 1)
}

func chunkOf(codec string, seq int, ticks uint64, frames ...string) []byte {
	n := numberOf(seq)
	return fragment.AppendTrailingTags(openChunk(codec, seq, ticks, frames...), time.Duration(seq)*time.Millisecond, n)
}

// openChunk is a chunk without its trailing tags.
func openChunk(codec string, seq int, ticks uint64, frames ...string) []byte {
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendInfo(b, mkv.Info{MuxingApp: "t", WritingApp: "t"})
	b = mkv.AppendTracks(b, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: codec}})
	b = fragment.AppendLeadingTags(b, numberOf(seq), numberOf(seq).ServerTime(), epoch.Add(time.Duration(ticks)*time.Millisecond))
	b = mkv.AppendCluster(b, ticks)
	for i, f := range frames {
		b = mkv.AppendSimpleBlock(b, int16(i), &sluice.Frame{Track: 1, Key: i == 0, Data: []byte(f)})
	}
	return b
}

func TestElements(t *testing.T) {
	t.Parallel()
	in := mediatest.File(t, captures+"output_get_media.mkv")
	var again []byte
	for e, err := range parser.NewReader(iotest.HalfReader(bytes.NewReader(in))).Elements(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, e.Raw...)
	}
	if !bytes.Equal(again, in) {
		t.Error("the elements are not the input")
	}
	n := 0
	for e, err := range parser.NewReader(bytes.NewReader(in)).Elements(t.Context(), mkv.IDSimpleBlock) {
		if err != nil || e.ID != mkv.IDSimpleBlock || e.Name() != "SimpleBlock" {
			t.Fatal(e.Name(), err)
		}
		n++
	}
	if n != 300 {
		t.Errorf("%d blocks, want 300", n)
	}
}

func TestElementsEnd(t *testing.T) {
	t.Parallel()
	in := chunk(1, 0, "aaa")
	broken := errors.New("reset by peer")
	last := func(ctx context.Context, src io.Reader) (n int, err error) {
		var e parser.Element
		for e, err = range parser.NewReader(src).Elements(ctx) {
			if err == nil {
				n += len(e.Raw)
			}
		}
		return n, err
	}
	if n, err := last(t.Context(), bytes.NewReader(in[:len(in)-1])); !errors.Is(err, mkv.ErrTruncated) || n == 0 {
		t.Errorf("cut: %d, %v", n, err)
	}
	if n, err := last(t.Context(), io.MultiReader(bytes.NewReader(in), iotest.ErrReader(broken))); !errors.Is(err, broken) || n != len(in) {
		t.Errorf("broken source: %d of %d, %v", n, len(in), err)
	}
	if n, err := last(t.Context(), iotest.DataErrReader(bytes.NewReader(in))); err != nil || n != len(in) {
		t.Errorf("data with EOF: %d of %d, %v", n, len(in), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := last(ctx, bytes.NewReader(in)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := last(t.Context(), strings.NewReader("<html>")); !errors.Is(err, mkv.ErrNoHeader) {
		t.Errorf("text: %v", err)
	}
}

func TestFragmentsAndFrames(t *testing.T) {
	t.Parallel()
	in := mediatest.File(t, captures+"test_mixed_tags.mkv")
	var all []byte
	var frames []sluice.Frame
	i := 0
	for f, err := range parser.NewReader(iotest.HalfReader(bytes.NewReader(in))).Fragments(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if !f.Complete || f.Index != i || len(f.Frames) != 10 || f.Timecode != int64(i)*5000 || f.Token != f.Number || len(f.Tracks) != 1 {
			t.Errorf("fragment %d: %+v with %d frames", i, f.Chunk, len(f.Frames))
		}
		all = append(all, f.Bytes...)
		frames = append(frames, f.Frames...)
		i++
	}
	if i != 10 || !bytes.Equal(all, in) {
		t.Errorf("%d fragments, %d bytes of %d", i, len(all), len(in))
	}
	i = 0
	for f, err := range parser.NewReader(bytes.NewReader(in)).Frames(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(f.Frame, frames[i]) || !bytes.Equal(in[f.Offset:][:len(f.Data)], f.Data) {
			t.Errorf("frame %d differs", i)
		}
		if f.Info == nil || f.Info.Name != "test track" || f.Chunk.Index != i/10 {
			t.Errorf("frame %d: track %+v of chunk %d", i, f.Info, f.Chunk.Index)
		}
		i++
	}
	if i != 100 {
		t.Errorf("%d frames", i)
	}
}

func TestFragmentsWithoutTrailingTags(t *testing.T) {
	t.Parallel()
	in := append(openChunk("V", 1, 0, "a"), openChunk("V", 2, 10, "b")...)
	in = fragment.AppendListErrorTags(in, numberOf(3), sluice.StreamReadError, sluice.ResourceNotFound, "gone")
	in = append(in, chunk(4, 30, "d")...)
	in = ebml.AppendVoid(in, 9) // filler behind the trailing tags
	var got []string
	for f, err := range parser.NewReader(bytes.NewReader(in)).Fragments(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		s := "none"
		if len(f.Frames) > 0 {
			s = string(f.Frames[0].Data)
		}
		if f.Err != nil {
			s = f.Err.Error()
		}
		if f.Complete {
			s += " complete"
		}
		got = append(got, s)
	}
	want := []string{"a", "b", "fragment " + numberOf(3).String() + ": service: 4000 STREAM_READ_ERROR (ResourceNotFoundException: gone)", "d complete"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, err := range parser.NewReader(bytes.NewReader(in), parser.Options{MaxFragment: 200}).Fragments(t.Context()) {
		if !errors.Is(err, parser.ErrFragmentSize) {
			t.Errorf("over the limit: %v", err)
		}
	}
}

func TestVisitorsShareAPass(t *testing.T) {
	t.Parallel()
	in := mediatest.File(t, captures+"output_get_media.mkv")
	var merged, sizes bytes.Buffer
	count := parser.Count{}
	frames, tags, firstTwo := 0, 0, 0
	var started, ended []sluice.FragmentNumber
	merger := parser.NewMerger(&merged)
	err := parser.NewReader(bytes.NewReader(in)).Visit(t.Context(),
		merger, count, parser.Sizes(&sizes),
		parser.FrameFunc(func(_ context.Context, f parser.Frame) error { frames++; return nil }),
		parser.TagFunc(func(_ context.Context, c *fragment.Chunk, tag sluice.Tag) error { tags++; return nil }),
		&parser.Chunks{
			Started: func(_ context.Context, c *fragment.Chunk) error {
				if c.Complete || c.Server.IsZero() || len(c.Tracks) != 1 {
					t.Errorf("at its start: %+v", c)
				}
				started = append(started, c.Number)
				return nil
			},
			Ended: func(_ context.Context, c *fragment.Chunk) error {
				if !c.Complete {
					t.Errorf("at its end: %+v", c)
				}
				ended = append(ended, c.Number)
				return nil
			},
		},
		parser.Only(parser.VisitorFunc(func(context.Context, parser.Element) error {
			if firstTwo++; firstTwo == 2 {
				return parser.ErrDone
			}
			return nil
		}), mkv.IDCluster),
	)
	if err != nil {
		t.Fatal(err)
	}
	if frames != 300 || count[mkv.IDSimpleBlock] != 300 || count[mkv.IDCluster] != 5 || count[mkv.IDSegment] != 5 || firstTwo != 2 {
		t.Errorf("%d frames, %d blocks, %d clusters, %d", frames, count[mkv.IDSimpleBlock], count[mkv.IDCluster], firstTwo)
	}
	if len(started) != 5 || !reflect.DeepEqual(started, ended) || tags < 5*9 {
		t.Errorf("started %v, ended %v, %d tags", started, ended, tags)
	}
	if merger.Segments != 1 || merger.Clusters != 5 || merger.Blocks != 300 {
		t.Errorf("%+v", merger)
	}
	lines := strings.Split(strings.TrimSpace(sizes.String()), "\n")
	if lines[0] != "0,5,35,EBML" && !strings.HasSuffix(lines[0], ",EBML") {
		t.Errorf("first line of sizes %q", lines[0])
	}
	failure := errors.New("mine")
	err = parser.NewReader(bytes.NewReader(in)).Visit(t.Context(), count, parser.FrameFunc(func(context.Context, parser.Frame) error { return failure }))
	if !errors.Is(err, failure) {
		t.Errorf("a visitor's error: %v", err)
	}
}

// What the official OutputSegmentMerger (parser library 1.2.5) makes of the
// recordings.
func TestMergerEqualsTheOfficial(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sum string
		segments  int
	}{
		{"empty-mkv-with-tags.mkv", "3168aa9b80568bb9d97815527dc5439bb5955df9b76adc2936423c20e0290004", 1},
		{"output-get-media-equal-timecode.mkv", "3a5e2d4f4e53e28a819ab26552f515888db45af6809d779c32289a864cc21499", 2},
		{"output_get_media.mkv", "2b72e9ca4e69abd796b8fec469d1ae3fa7d4d90e703f9f225f9464fdc3c1481e", 1},
		{"output_get_media_sparse_fragments.mkv", "3b997b5e51e40916fe04ac23bd5fc7de9c7cc534dcfc91136c80f4f30677d620", 1},
		{"test_mixed_tags.mkv", "e8fdddd5ed2bd30c6edc8aa3e5ed13f43f2fd6723f998ecc0256d1d5a78c0835", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sum := sha256.New()
			m := parser.NewMerger(sum)
			err := parser.NewReader(bytes.NewReader(mediatest.File(t, captures+c.name))).Visit(t.Context(), m)
			if err != nil && !errors.Is(err, mkv.ErrTruncated) {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != c.sum || m.Segments != c.segments {
				t.Errorf("sha256 %s, %d segments; want %s, %d", got, m.Segments, c.sum, c.segments)
			}
		})
	}
}

func TestMergerSaysWhy(t *testing.T) {
	t.Parallel()
	in := bytes.Join([][]byte{chunk(1, 0, "a"), chunk(2, 10, "b"), chunk(3, 10, "c"), chunkOf("OTHER", 4, 20, "d"), chunkOf("OTHER", 5, 30, "e"), chunk(6, 40, "f")}, nil)
	var why []parser.Why
	var files []*bytes.Buffer
	m := parser.NewMerger(nil, parser.MergeOptions{ClustersOnly: true, Segment: func(w parser.Why) (io.Writer, error) {
		why = append(why, w)
		files = append(files, new(bytes.Buffer))
		return files[len(files)-1], nil
	}})
	if err := parser.NewReader(bytes.NewReader(in)).Visit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if want := []parser.Why{parser.First, parser.TimecodeBack, parser.TracksDiffer, parser.TracksDiffer}; !reflect.DeepEqual(why, want) {
		t.Errorf("%v, want %v", why, want)
	}
	var got []string
	for _, f := range files {
		s := ""
		for x, err := range parser.NewReader(f).Frames(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if !x.Chunk.Number.IsZero() {
				t.Error("the service's tags were kept")
			}
			s += string(x.Data)
		}
		got = append(got, s)
	}
	if want := []string{"ab", "c", "de", "f"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}

	var out bytes.Buffer
	m = parser.NewMerger(&out, parser.MergeOptions{StopAtMismatch: true})
	if err := parser.NewReader(bytes.NewReader(in)).Visit(t.Context(), m); err != nil || m.Segments != 1 || m.Clusters != 2 {
		t.Errorf("stop at the first: %+v, %v", m, err)
	}
	// Several inputs, one after the other.
	out.Reset()
	m = parser.NewMerger(&out)
	for _, in := range [][]byte{chunk(1, 0, "a"), chunk(2, 10, "b")} {
		if err := parser.NewReader(bytes.NewReader(in)).Visit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if m.Segments != 1 || m.Clusters != 2 || m.Blocks != 2 {
		t.Errorf("two inputs: %+v", m)
	}
}
