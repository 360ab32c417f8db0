package fragment_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// Building blocks of a session.

var (
	head      = mkv.AppendHeader(nil)
	segment   = mkv.AppendSegment(nil)
	info      = mkv.AppendInfo(nil, mkv.Info{MuxingApp: "t", WritingApp: "t"})
	tracks    = mkv.AppendTracks(nil, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC"}})
	endTag    = mkv.AppendTags(nil, sluice.Tag{Name: fragment.TagEndOfFragment})
	segment8  = ebml.AppendHeader(nil, mkv.IDSegment, ebml.UnknownSize, 8)
	ordinary  = cat(head, segment, info, tracks)
	ordinary8 = cat(head, segment8, info, tracks)
)

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func el(id ebml.ID, width int, parts ...[]byte) []byte {
	return ebml.AppendBytes(nil, id, cat(parts...), width)
}

func tag(name, value string) []byte {
	return mkv.AppendTags(nil, sluice.Tag{Name: name, Value: value})
}

func block(ticks int16, data string) []byte {
	return mkv.AppendSimpleBlock(nil, ticks, &sluice.Frame{Track: 1, Key: ticks == 0, Data: []byte(data)})
}

func cluster(ticks uint64, parts ...[]byte) []byte {
	return cat(mkv.AppendCluster(nil, ticks), cat(parts...))
}

// known is a Cluster of known size.
func known(width int, ticks uint64, parts ...[]byte) []byte {
	return el(mkv.IDCluster, width, ebml.AppendUint(nil, mkv.IDTimestamp, ticks), cat(parts...))
}

func TestWhereFragmentsEnd(t *testing.T) {
	t.Parallel()
	meta := tag("k", "v")
	c1, c2 := cluster(10, block(0, "aa"), block(5, "b")), cluster(20, block(0, "cc"))
	type want struct {
		lead, bytes []byte
		explicit    bool
		tags        int
		frames      int
	}
	for _, c := range []struct {
		name        string
		in          []byte
		first, rest []byte
		want        []want
	}{
		{"at the next Cluster and at the end of the body", cat(ordinary, c1, c2), ordinary8, ordinary8,
			[]want{{nil, c1, false, 0, 2}, {nil, c2, false, 0, 1}}},
		{"at the tag", cat(ordinary, c1, endTag, c2, endTag), ordinary8, ordinary8,
			[]want{{nil, cat(c1, endTag), true, 1, 2}, {nil, cat(c2, endTag), true, 1, 1}}},
		{"tags between Clusters belong to the one before", cat(ordinary, c1, meta, meta, c2), ordinary8, ordinary8,
			[]want{{nil, cat(c1, meta, meta), false, 2, 2}, {nil, c2, false, 0, 1}}},
		{"what follows the end goes in front of the next", cat(ordinary, c1, endTag, meta, el(ebml.IDVoid, 8, []byte("x")), c2), ordinary8, ordinary8,
			[]want{{nil, cat(c1, endTag), true, 1, 2}, {cat(meta, el(ebml.IDVoid, 8, []byte("x"))), c2, false, 1, 1}}},
		{"Tags before Info and Tracks stay in the first chunk", cat(head, segment, meta, info, tracks, c1, c2), cat(head, segment8, meta, info, tracks), ordinary8,
			[]want{{nil, c1, false, 1, 2}, {nil, c2, false, 0, 1}}},
		{"Tags between Info and Tracks too", cat(head, segment, info, meta, tracks, c1), cat(head, segment8, info, meta, tracks), ordinary8,
			[]want{{nil, c1, false, 1, 2}}},
		{"Tags after Tracks are in every chunk", cat(ordinary, meta, c1), cat(ordinary8, meta), cat(ordinary8, meta),
			[]want{{nil, c1, false, 0, 2}}},
		{"a file: known sizes, Void, trailing Cues and Tags",
			cat(head, el(ebml.IDVoid, 1), el(mkv.IDSegment, 8, el(mkv.IDSeekHead, 2, []byte("\x4D\xBB\x80")), el(ebml.IDVoid, 8, make([]byte, 4000)), info, tracks,
				known(3, 10, block(0, "aa"), block(-5, "b")), known(8, 20, block(0, "cc")), el(mkv.IDCues, 8), meta)),
			cat(head, el(ebml.IDVoid, 1), segment8, el(mkv.IDSeekHead, 2, []byte("\x4D\xBB\x80")), el(ebml.IDVoid, 8, make([]byte, 4000)), info, tracks),
			cat(head, el(ebml.IDVoid, 1), segment8, el(mkv.IDSeekHead, 2, []byte("\x4D\xBB\x80")), el(ebml.IDVoid, 8, make([]byte, 4000)), info, tracks),
			[]want{{nil, known(3, 10, block(0, "aa"), block(-5, "b")), false, 0, 2}, {nil, cat(known(8, 20, block(0, "cc")), el(mkv.IDCues, 8), meta), false, 1, 1}}},
		{"a Segment that is shorter than it says", cat(head, ebml.AppendHeader(nil, mkv.IDSegment, 1<<40, 8), info, tracks, c1), ordinary8, ordinary8,
			[]want{{nil, c1, false, 0, 2}}},
		{"one frame, groups, elements nobody knows", cat(ordinary, cluster(7, el(0x4FFE, 1, []byte("u")), el(mkv.IDBlockGroup, 1, el(mkv.IDBlock, 1, []byte{0x81, 0, 0, 0, 'x'})))), ordinary8, ordinary8,
			[]want{{nil, cluster(7, el(0x4FFE, 1, []byte("u")), el(mkv.IDBlockGroup, 1, el(mkv.IDBlock, 1, []byte{0x81, 0, 0, 0, 'x'}))), false, 0, 1}}},
		{"no frame", cat(ordinary, cluster(7), c1), ordinary8, ordinary8, []want{{nil, cluster(7), false, 0, 0}, {nil, c1, false, 0, 2}}},
		{"no body at all", nil, nil, nil, nil},
		{"no Cluster", ordinary, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []int{1, 3, 1 << 20} {
				s := run(c.in, step, true, fragment.Options{})
				if !errors.Is(s.err, io.EOF) {
					t.Fatalf("pieces of %d: %v", step, s.err)
				}
				if c.first == nil {
					if s.header != nil {
						t.Error("a header")
					}
				} else if !bytes.Equal(s.header.First, c.first) || !bytes.Equal(s.header.Rest, c.rest) {
					t.Errorf("header\n%x\n%x, want\n%x\n%x", s.header.First, s.header.Rest, c.first, c.rest)
				}
				if len(s.parts) != len(c.want) {
					t.Fatalf("pieces of %d: %d fragments, want %d", step, len(s.parts), len(c.want))
				}
				for i, w := range c.want {
					p := s.parts[i]
					if !bytes.Equal(p.lead, w.lead) || !bytes.Equal(p.bytes, w.bytes) || !p.ended || p.explicit != w.explicit || len(p.tags) != w.tags || len(p.frames) != w.frames {
						t.Errorf("pieces of %d, fragment %d:\n got %+v\nwant %+v", step, i, p, w)
					}
				}
			}
		})
	}
}

// The end by a tag is reported without waiting for a byte more, and blocks as
// soon as they are whole.
func TestReportedAtOnce(t *testing.T) {
	t.Parallel()
	r := fragment.NewReader(fragment.Options{})
	next := func() fragment.Kind {
		ev, err := r.Next()
		if errors.Is(err, fragment.ErrMore) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return ev.Kind
	}
	b := block(0, "payload")
	for _, s := range []struct {
		feed []byte
		want []fragment.Kind
	}{
		{ordinary, nil},
		{mkv.AppendCluster(nil, 5)[:5], []fragment.Kind{fragment.HeaderComplete}},
		{mkv.AppendCluster(nil, 5)[5:15], []fragment.Kind{fragment.Begin, fragment.Elements}},
		{mkv.AppendCluster(nil, 5)[15:], []fragment.Kind{fragment.Elements}},
		{b[:len(b)-1], nil},
		{b[len(b)-1:], []fragment.Kind{fragment.Elements}},
		{endTag[:len(endTag)-1], nil},
		{endTag[len(endTag)-1:], []fragment.Kind{fragment.Elements, fragment.End}},
	} {
		r.Feed(bytes.Clone(s.feed))
		var got []fragment.Kind
		for k := next(); k != 0; k = next() {
			got = append(got, k)
		}
		if !reflect.DeepEqual(got, s.want) {
			t.Errorf("after %x: %v, want %v", s.feed, got, s.want)
		}
	}
}

func TestSessionErrors(t *testing.T) {
	t.Parallel()
	many := func(n int) []byte {
		var b []byte
		for range n {
			b = append(b, tag("n", "v")...)
		}
		return b
	}
	c1 := cluster(10, block(0, "aa"))
	for _, c := range []struct {
		name  string
		in    []byte
		o     fragment.Options
		want  error
		ended int // fragments that are complete before it
	}{
		{"a second header", cat(ordinary, c1, ordinary), fragment.Options{}, fragment.ErrSecondHeader, 1},
		{"a second Segment", cat(ordinary, c1, segment), fragment.Options{}, fragment.ErrSecondHeader, 1},
		{"no tracks", cat(head, segment, info, c1), fragment.Options{}, fragment.ErrNoTracks, 0},
		{"a Cluster without time", cat(ordinary, ebml.AppendHeader(nil, mkv.IDCluster, ebml.UnknownSize, 1), c1), fragment.Options{}, fragment.ErrNoTimestamp, 0},
		{"a Cluster without time at the end", cat(ordinary, el(mkv.IDCluster, 1)), fragment.Options{}, fragment.ErrNoTimestamp, 0},
		{"an unknown Cluster without time at the end", cat(ordinary, ebml.AppendHeader(nil, mkv.IDCluster, ebml.UnknownSize, 1)), fragment.Options{}, fragment.ErrNoTimestamp, 0},
		{"eleven tags", cat(ordinary, c1, many(11)), fragment.Options{}, fragment.ErrTagLimit, 0},
		{"eleven tags before Info", cat(head, segment, many(11), info, tracks, c1), fragment.Options{}, fragment.ErrTagLimit, 0},
		{"eleven tags after the end", cat(ordinary, c1, endTag, many(11), c1), fragment.Options{}, fragment.ErrTagLimit, 1},
		{"a long name", cat(ordinary, c1, tag(strings.Repeat("n", 129), "")), fragment.Options{}, fragment.ErrTagLimit, 0},
		{"a long value", cat(ordinary, c1, tag("n", strings.Repeat("v", 257))), fragment.Options{}, fragment.ErrTagLimit, 0},
		{"a large header", cat(head, segment, el(ebml.IDVoid, 8, make([]byte, 2000)), info, tracks, c1), fragment.Options{MaxHeader: 1000}, fragment.ErrHeaderSize, 0},
		{"much after the end", cat(ordinary, c1, endTag, el(ebml.IDVoid, 8, make([]byte, 2000))), fragment.Options{MaxHeader: 1000}, fragment.ErrHeaderSize, 1},
		{"a large fragment", cat(ordinary, cluster(0, block(0, strings.Repeat("x", 600)), block(1, strings.Repeat("x", 600)))), fragment.Options{MaxFragment: 1000}, fragment.ErrFragmentSize, 0},
		{"a large frame", cat(ordinary, cluster(0, block(0, strings.Repeat("x", 1200)))), fragment.Options{MaxFragment: 1000}, fragment.ErrFragmentSize, 0},
		{"a large known Cluster, at its header", cat(ordinary, ebml.AppendHeader(nil, mkv.IDCluster, 2000, 8)), fragment.Options{MaxFragment: 1000}, fragment.ErrFragmentSize, 0},
		{"garbage", cat(ordinary, c1, c1, []byte{0}), fragment.Options{}, ebml.ErrID, 1},
		{"a block after the end", cat(ordinary, c1, endTag, block(1, "x")), fragment.Options{}, mkv.ErrMisplaced, 1},
		{"cut in a block", cat(ordinary, c1, c1)[:len(ordinary)+2*len(c1)-1], fragment.Options{}, mkv.ErrTruncated, 1},
		{"cut in a known Cluster", cat(ordinary, known(8, 1, block(0, "x"), block(1, "y")))[:len(ordinary)+12+3+16], fragment.Options{}, mkv.ErrTruncated, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []int{1, 1 << 20} {
				s := run(c.in, step, true, c.o)
				var e *mkv.Error
				if !errors.Is(s.err, c.want) || !errors.As(s.err, &e) {
					t.Fatalf("pieces of %d: %v, want %v", step, s.err, c.want)
				}
				ended := 0
				for _, p := range s.parts {
					if p.ended {
						ended++
					}
				}
				if ended != c.ended {
					t.Errorf("pieces of %d: %d complete fragments, want %d", step, ended, c.ended)
				}
			}
		})
	}
	// What is within the limits, and what does not count.
	for _, in := range [][]byte{
		cat(ordinary, c1, many(10), endTag, many(9), c1, tag(strings.Repeat("n", 128), strings.Repeat("v", 256))),
		cat(ordinary, c1, many(10), tag(fragment.TagNotification, ""), tag(fragment.TagImagePrefix, strings.Repeat("p", 300))),
		cat(ordinary, many(20), c1),
		cat(ordinary, c1, el(mkv.IDTags, 8, el(mkv.IDTag, 8, el(mkv.IDTargets, 1, ebml.AppendUint(nil, 0x63C5, 9)), el(mkv.IDSimpleTag, 8, ebml.AppendString(nil, mkv.IDTagName, strings.Repeat("n", 200), 8))))),
	} {
		if s := run(in, 1000, true, fragment.Options{}); !errors.Is(s.err, io.EOF) {
			t.Errorf("%v", s.err)
		}
	}
}

// A body cut anywhere and not closed never ends its open fragment, and what was
// handed out is whole elements.
func TestCutSession(t *testing.T) {
	t.Parallel()
	in := cat(ordinary, cluster(1, block(0, "aaa"), block(1, "bb")), tag("k", "v"), cluster(9, block(0, "c")), endTag)
	for n := range in {
		s := run(in[:n], 1<<20, false, fragment.Options{})
		if s.err != nil {
			t.Fatalf("cut at %d: %v", n, s.err)
		}
		for i, p := range s.parts {
			if p.ended && (i == 1 || n < len(ordinary)+len(cluster(1, block(0, "aaa"), block(1, "bb")))) {
				t.Errorf("cut at %d: fragment %d ended", n, i)
			}
			d := mkv.NewDemuxer(mkv.Options{})
			d.Feed(cat(s.header.First, p.bytes))
			d.Close()
			for {
				_, err := d.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("cut at %d: fragment %d is not whole elements: %v", n, i, err)
				}
			}
		}
	}
}

var indexCases = []fragment.Index{
	nil,
	{{Offset: 12, Size: 100, Track: 1, Key: true, Timecode: 1700000000123 * time.Millisecond}},
	{
		{Offset: 12, Size: 0, Track: 1, Key: true, Timecode: time.Hour},
		{Offset: 30, Size: 5, Track: 2, Discardable: true, Timecode: time.Hour - time.Millisecond, Duration: 21333333},
		{Offset: 35, Size: 5, Track: 2, Invisible: true, Timecode: time.Hour, Duration: 21333333},
		{Offset: 1 << 31, Size: 1 << 30, Track: 1<<32 - 1, Timecode: -5},
	},
}

func TestIndexBothWays(t *testing.T) {
	t.Parallel()
	for i, x := range indexCases {
		b, err := x.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back fragment.Index
		if err := back.UnmarshalBinary(b); err != nil || len(back) != len(x) || len(x) > 0 && !reflect.DeepEqual(back, x) {
			t.Errorf("%d: %+v, %v", i, back, err)
		}
		for n := range b {
			if err := back.UnmarshalBinary(b[:n]); !errors.Is(err, fragment.ErrIndex) {
				t.Errorf("%d cut at %d: %v", i, n, err)
			}
		}
	}
	if _, err := (fragment.Index{{Offset: 10, Size: 5}, {Offset: 12}}).MarshalBinary(); !errors.Is(err, fragment.ErrIndex) {
		t.Error("entries that overlap were taken")
	}
}

func FuzzIndex(f *testing.F) {
	for _, x := range indexCases {
		b, _ := x.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var x fragment.Index
		if x.UnmarshalBinary(b) != nil {
			return
		}
		again, err := x.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var y fragment.Index
		if err := y.UnmarshalBinary(again); err != nil || len(x) != len(y) || len(x) > 0 && !reflect.DeepEqual(x, y) {
			t.Fatalf("%+v became %+v: %v", x, y, err)
		}
	})
}

// FuzzSession: however a body is fed, the same fragments; their bytes are the
// body's; frames lie inside.
func FuzzSession(f *testing.F) {
	f.Add(cat(ordinary, tag("a", "b"), cluster(1, block(0, "aa")), endTag, tag("c", "d"), cluster(2, block(0, "b"))))
	f.Add(cat(head, el(mkv.IDSegment, 8, tracks, known(3, 1, block(0, "x")), el(mkv.IDCues, 1))))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 8<<10 {
			return
		}
		o := fragment.Options{MaxHeader: 2 << 10, MaxFragment: 2 << 10}
		s := run(in, len(in)+1, true, o)
		if other := run(in, 1, true, o); !reflect.DeepEqual(s, other) {
			t.Fatalf("byte by byte %+v\nat once %+v", other, s)
		}
		var body []byte
		for _, p := range s.parts {
			body = append(append(body, p.lead...), p.bytes...)
			end := uint32(0)
			for _, e := range p.frames {
				if e.Offset < end || uint64(e.Offset)+uint64(e.Size) > uint64(len(p.bytes)) {
					t.Fatalf("%+v is not in %d bytes", e, len(p.bytes))
				}
				end = e.Offset + e.Size
			}
			if b, err := fragment.Index(p.frames).MarshalBinary(); err != nil {
				t.Fatalf("%x: %v", b, err)
			}
		}
		if !bytes.Contains(in, body) {
			t.Fatal("fragments are not a part of the body")
		}
	})
}

// FuzzChunk: the reading side takes anything without a panic, and the same
// however it is fed.
func FuzzChunk(f *testing.F) {
	n := sluice.MakeFragmentNumber(5, 1700000000123, 9)
	at := time.UnixMilli(1700000000123)
	f.Add(cat(fragment.AppendTrailingTags(cat(fragment.AppendLeadingTags(bytes.Clone(ordinary8), n, at, at), cluster(1, block(0, "aa"))), time.Second, n), ordinary8))
	f.Add(fragment.AppendListErrorTags(nil, n, sluice.StreamReadError, sluice.ResourceNotFound, "gone"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 8<<10 {
			return
		}
		chunks, _, err := read(in, len(in)+1)
		others, _, err1 := read(in, 1)
		if !reflect.DeepEqual(chunks, others) || !reflect.DeepEqual(err, err1) {
			t.Fatalf("byte by byte %v, %v\nat once %v, %v", others, err1, chunks, err)
		}
	})
}
