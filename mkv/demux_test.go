package mkv_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// collect feeds in, in pieces of at most step bytes, and returns copies of the
// events, the pieces of one element joined, and the final error: ErrMore when
// not closed.
func collect(in []byte, step int, closed bool, o mkv.Options) (events []mkv.Event, err error) {
	d := mkv.NewDemuxer(o)
	drain := func() error {
		for {
			ev, err := d.Next()
			if err != nil {
				return err
			}
			e := *ev
			e.Raw = bytes.Clone(e.Raw)
			e.Tags = append([]mkv.Tag(nil), e.Tags...)
			e.Frames = append([]mkv.Frame(nil), e.Frames...)
			for i := range e.Frames {
				e.Frames[i].Data = bytes.Clone(e.Frames[i].Data)
			}
			if e.Kind == mkv.Data && !e.First {
				last := &events[len(events)-1]
				e.Raw = append(last.Raw, e.Raw...)
				e.First = last.First
				events = events[:len(events)-1]
			}
			events = append(events, e)
		}
	}
	err = mkv.ErrMore
	for len(in) > 0 && errors.Is(err, mkv.ErrMore) {
		n := min(step, len(in))
		piece := bytes.Clone(in[:n]) // so that nothing is read beyond the piece
		d.Feed(piece)
		err = drain()
		for i := range piece {
			piece[i] = 0xAA // nor after it was reported
		}
		in = in[n:]
	}
	if closed && errors.Is(err, mkv.ErrMore) {
		d.Close()
		err = drain()
	}
	return events, err
}

// emit is the input again, made from the events.
func emit(events []mkv.Event) []byte {
	var b []byte
	for _, e := range events {
		b = append(b, e.Raw...)
	}
	return b
}

// tree is events as a short text: "Segment{Cluster{Timestamp SimpleBlock}}".
func tree(events []mkv.Event) string {
	var b strings.Builder
	for _, e := range events {
		switch e.Kind {
		case mkv.Start:
			b.WriteString(mkv.Name(e.ID) + "{")
		case mkv.Data:
			b.WriteString(mkv.Name(e.ID) + " ")
		case mkv.End:
			s := strings.TrimSuffix(b.String(), " ")
			b.Reset()
			b.WriteString(s + "} ")
		}
	}
	return strings.TrimSpace(b.String())
}

var modes = map[string]mkv.Options{
	"whole": {},
	"split": {SplitFrames: true},
	"live":  {SplitFrames: true, Shallow: true, OpenSegment: true},
}

func TestRecordingsComeBack(t *testing.T) {
	t.Parallel()
	for _, name := range mediatest.MKV(t) {
		for mode, o := range modes {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				in := mediatest.File(t, name)
				want, wantErr := collect(in, len(in), true, o)
				cut := name == "getmedia-captures/output-get-media-equal-timecode.mkv"
				if cut != errors.Is(wantErr, mkv.ErrTruncated) || !cut && !errors.Is(wantErr, io.EOF) {
					t.Fatal(wantErr)
				}
				again := emit(want)
				if !bytes.HasPrefix(in, again) || !cut && len(again) != len(in) {
					t.Fatalf("%d bytes come back of %d", len(again), len(in))
				}
				for _, step := range []int{1, 13, 4096} {
					got, err := collect(in, step, true, o)
					if !reflect.DeepEqual(err, wantErr) {
						t.Fatalf("in pieces of %d: %v, want %v", step, err, wantErr)
					}
					if cut {
						// How much of the cut element was reported is not the same.
						got, want = whole(got), whole(want)
					}
					if !reflect.DeepEqual(got, want) {
						t.Errorf("in pieces of %d bytes: other events", step)
					}
				}
			})
		}
	}
}

func whole(events []mkv.Event) []mkv.Event {
	if n := len(events); n > 0 && events[n-1].Kind == mkv.Data && !events[n-1].Last {
		return events[:n-1]
	}
	return events
}

func TestRecordingsFrames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][3]int{
		"putmedia-captures/video-h264-01.body.mkv":          {0, 750, 0},
		"putmedia-captures/av-h264-aac-01.body.mkv":         {0, 750, 1155},
		"putmedia-captures/video-h264-relative-01.body.mkv": {0, 240, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events, _ := collect(mediatest.File(t, name), 32<<10, true, mkv.Options{})
			var got [3]int
			for _, e := range events {
				for _, f := range e.Frames {
					got[f.Track]++
					if len(f.Data) != f.Size {
						t.Fatalf("frame at %d has %d bytes of %d", f.Offset, len(f.Data), f.Size)
					}
				}
			}
			if got != want {
				t.Errorf("frames by track %v, want %v", got, want)
			}
		})
	}
}

// Building blocks of the documents below.

var (
	head    = mkv.AppendHeader(nil)
	segment = mkv.AppendSegment(nil)
	info    = mkv.AppendInfo(nil, mkv.Info{MuxingApp: "t", WritingApp: "t"})
	tracks  = mkv.AppendTracks(nil, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC"}})
)

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// el is an element with a size of width bytes.
func el(id ebml.ID, width int, parts ...[]byte) []byte {
	return ebml.AppendBytes(nil, id, cat(parts...), width)
}

func u(id ebml.ID, v uint64) []byte { return ebml.AppendUint(nil, id, v) }

func simple(ticks int16, data string) []byte {
	return mkv.AppendSimpleBlock(nil, ticks, &sluice.Frame{Track: 1, Key: true, Data: []byte(data)})
}

func cluster(ticks uint64, parts ...[]byte) []byte {
	return cat(mkv.AppendCluster(nil, ticks), cat(parts...))
}

func TestShapes(t *testing.T) {
	t.Parallel()
	tags := mkv.AppendTags(nil, sluice.Tag{Name: "a", Value: "b"})
	oldHead := el(ebml.IDHeader, 1, ebml.AppendString(nil, ebml.IDDocType, "matroska\x00", 1))
	const tagsTree = "Tags{Tag{SimpleTag{TagName TagString}}}"
	const headTree = "EBML{EBMLVersion EBMLReadVersion EBMLMaxIDLength EBMLMaxSizeLength DocType DocTypeVersion DocTypeReadVersion} "
	const infoTree = "Info{TimestampScale MuxingApp WritingApp}"
	const tracksTree = "Tracks{TrackEntry{TrackNumber TrackUID TrackType CodecID}}"
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"tags before Info and Tracks",
			cat(oldHead, segment, tags, info, tracks, cluster(0, simple(0, "x"))),
			"EBML{DocType} Segment{" + tagsTree + " " + infoTree + " " + tracksTree + " Cluster{Timestamp Position SimpleBlock}}"},
		{"known Segment with trailing Cues",
			cat(head, el(mkv.IDSegment, 8, tracks, el(mkv.IDCluster, 3, u(mkv.IDTimestamp, 7), simple(0, "x")),
				el(mkv.IDCues, 1, el(mkv.IDCuePoint, 1, u(mkv.IDCueTime, 7))))),
			headTree + "Segment{" + tracksTree + " Cluster{Timestamp SimpleBlock} Cues{CuePoint{CueTime}}}"},
		{"a second document",
			cat(oldHead, segment, cluster(1, simple(0, "x")), oldHead, segment, cluster(2)),
			"EBML{DocType} Segment{Cluster{Timestamp Position SimpleBlock}} EBML{DocType} Segment{Cluster{Timestamp Position}}"},
		{"unknown Cluster ends at Tags, Cues, Cluster",
			cat(oldHead, segment, cluster(1), tags, cluster(2), el(mkv.IDCues, 1), cluster(3), cluster(4)),
			"EBML{DocType} Segment{Cluster{Timestamp Position} " + tagsTree + " Cluster{Timestamp Position} Cues{} Cluster{Timestamp Position} Cluster{Timestamp Position}}"},
		{"unknown Cluster in a known Segment",
			cat(oldHead, el(mkv.IDSegment, 1, cluster(1, simple(0, "x"))), el(ebml.IDVoid, 1)),
			"EBML{DocType} Segment{Cluster{Timestamp Position SimpleBlock}} Void"},
		{"8-byte unknown sizes",
			cat(oldHead, ebml.AppendHeader(nil, mkv.IDSegment, ebml.UnknownSize, 8), ebml.AppendHeader(nil, mkv.IDCluster, ebml.UnknownSize, 5), u(mkv.IDTimestamp, 1)),
			"EBML{DocType} Segment{Cluster{Timestamp}}"},
		{"Void, CRC-32 and unknown ids anywhere",
			cat(oldHead, el(ebml.IDVoid, 8, make([]byte, 300)), segment, el(ebml.IDVoid, 1),
				el(mkv.IDInfo, 2, el(ebml.IDCRC32, 1, []byte("1234")), el(0x4FFE, 4, []byte("zz"))),
				cluster(1, el(ebml.IDVoid, 1, []byte("abc")), simple(0, "x"), el(0x2FFFFE, 1))),
			"EBML{DocType} Void Segment{Void Info{CRC-32 0x4FFE} Cluster{Timestamp Position Void SimpleBlock 0x2FFFFE}}"},
		{"a group with additions",
			cat(oldHead, segment, cluster(5, el(mkv.IDBlockGroup, 1, el(mkv.IDBlock, 1, []byte{0x81, 0, 3, 0, 9}),
				el(0x75A1, 1, el(0xA6, 1, u(0xEE, 1), el(0xA5, 1, []byte("alpha")))), u(mkv.IDBlockDuration, 40), el(mkv.IDReferenceBlock, 1, []byte{0xFF})))),
			"EBML{DocType} Segment{Cluster{Timestamp Position BlockGroup{Block BlockAdditions{BlockMore{BlockAddID BlockAdditional}} BlockDuration ReferenceBlock}}}"},
		{"nothing", nil, ""},
		{"a value in the wrong place is passed over",
			cat(oldHead, segment, el(mkv.IDInfo, 1, u(mkv.IDPixelWidth, 3))), "EBML{DocType} Segment{Info{PixelWidth}}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for mode, o := range modes {
				for _, step := range []int{1, 2, 3, 1 << 20} {
					events, err := collect(c.in, step, true, o)
					if !errors.Is(err, io.EOF) {
						t.Fatalf("%s, pieces of %d: %v", mode, step, err)
					}
					if !bytes.Equal(emit(events), c.in) {
						t.Errorf("%s, pieces of %d: the bytes do not come back", mode, step)
					}
					if got := tree(events); got != c.want && mode != "live" {
						t.Errorf("%s, pieces of %d:\n got %s\nwant %s", mode, step, got, c.want)
					}
				}
			}
		})
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	frame := func(track uint64, at, dur time.Duration, flags, data string) sluice.Frame {
		return sluice.Frame{Track: track, Timecode: at, Duration: dur, Data: []byte(data),
			Key: strings.Contains(flags, "k"), Discardable: strings.Contains(flags, "d"), Invisible: strings.Contains(flags, "i")}
	}
	raw := func(b ...byte) []byte { return b }
	ms := time.Millisecond
	audio := mkv.AppendTracks(nil, []sluice.Track{{Number: 1, Type: sluice.TrackAudio, CodecID: "A_AAC", DefaultDuration: 20 * ms}})
	for _, c := range []struct {
		name string
		in   []byte
		want []sluice.Frame
	}{
		{"flags", cluster(100, el(mkv.IDSimpleBlock, 8, raw(0x81, 0, 0, 0x80, 'a')), el(mkv.IDSimpleBlock, 1, raw(0x82, 0, 1, 0x08)), el(mkv.IDSimpleBlock, 2, raw(0x40, 200, 0, 2, 0x01, 'b', 'c'))),
			[]sluice.Frame{frame(1, 100*ms, 0, "k", "a"), frame(2, 101*ms, 0, "i", ""), frame(200, 102*ms, 0, "d", "bc")}},
		{"block timecode below the Cluster's", cluster(100, simple(-101, "a")), []sluice.Frame{frame(1, -ms, 0, "k", "a")}},
		{"epoch milliseconds", cluster(1600994737365, simple(40, "a")), []sluice.Frame{frame(1, 1600994737405*ms, 0, "k", "a")}},
		{"group", cluster(10, el(mkv.IDBlockGroup, 1, el(mkv.IDBlock, 1, raw(0x81, 0, 5, 0x08, 'x')), u(mkv.IDBlockDuration, 40)),
			el(mkv.IDBlockGroup, 1, el(mkv.IDReferenceBlock, 1, raw(0)), el(mkv.IDBlock, 1, raw(0x81, 0, 6, 0, 'y')))),
			[]sluice.Frame{frame(1, 15*ms, 40*ms, "ki", "x"), frame(1, 16*ms, 0, "", "y")}},
		{"Xiph lacing", cluster(0, el(mkv.IDSimpleBlock, 2, raw(0x81, 0, 0, 0x82, 2, 1, 255, 2), []byte("a"), bytes.Repeat([]byte("b"), 257), []byte("ccc"))),
			[]sluice.Frame{frame(1, 0, 0, "k", "a"), frame(1, 0, 0, "k", strings.Repeat("b", 257)), frame(1, 0, 0, "k", "ccc")}},
		{"fixed lacing", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 0x84, 2), []byte("aabbcc"))),
			[]sluice.Frame{frame(1, 0, 0, "k", "aa"), frame(1, 0, 0, "k", "bb"), frame(1, 0, 0, "k", "cc")}},
		{"EBML lacing, RFC 9559's numbers", cluster(0, el(mkv.IDSimpleBlock, 2, raw(0x81, 0, 0, 0x86, 3, 0x43, 0x20, 0x5E, 0xD3, 0x80|0x3F+1), // 800, -300, +1
			bytes.Repeat([]byte("a"), 800), bytes.Repeat([]byte("b"), 500), bytes.Repeat([]byte("c"), 501), []byte("d"))),
			[]sluice.Frame{frame(1, 0, 0, "k", strings.Repeat("a", 800)), frame(1, 0, 0, "k", strings.Repeat("b", 500)), frame(1, 0, 0, "k", strings.Repeat("c", 501)), frame(1, 0, 0, "k", "d")}},
		{"laces count by DefaultDuration", cat(audio, cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 0x84, 1), []byte("ab")))),
			[]sluice.Frame{frame(1, 0, 0, "k", "a"), frame(1, 20*ms, 0, "k", "b")}},
		{"laces share a BlockDuration", cluster(0, el(mkv.IDBlockGroup, 1, el(mkv.IDBlock, 1, raw(0x81, 0, 0, 0x04, 1), []byte("ab")), u(mkv.IDBlockDuration, 40))),
			[]sluice.Frame{frame(1, 0, 20*ms, "k", "a"), frame(1, 20*ms, 20*ms, "k", "b")}},
		{"100 ns ticks", cat(mkv.AppendInfo(nil, mkv.Info{Scale: 100}), cluster(30, simple(3, "a"))), []sluice.Frame{frame(1, 3300, 0, "k", "a")}},
		{"1 s ticks", cat(mkv.AppendInfo(nil, mkv.Info{Scale: time.Second}), cluster(30, simple(-3, "a"))), []sluice.Frame{frame(1, 27*time.Second, 0, "k", "a")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := cat(head, segment, c.in)
			for mode, o := range modes {
				for _, step := range []int{1, 5, 1 << 20} {
					events, err := collect(in, step, true, o)
					if !errors.Is(err, io.EOF) {
						t.Fatalf("%s: %v", mode, err)
					}
					var got []sluice.Frame
					for _, e := range events {
						for _, f := range e.Frames {
							if o.SplitFrames {
								if f.Data != nil {
									t.Error("SplitFrames, and a frame with Data")
								}
								f.Data = in[f.Offset : f.Offset+int64(f.Size)]
							}
							if len(f.Data) == 0 {
								f.Data = []byte{}
							}
							got = append(got, f.Frame)
						}
					}
					if !reflect.DeepEqual(got, c.want) {
						t.Fatalf("%s, pieces of %d:\n got %+v\nwant %+v", mode, step, got, c.want)
					}
				}
			}
		})
	}
}

func TestTracksAndTags(t *testing.T) {
	t.Parallel()
	entry := func(parts ...[]byte) []byte { return el(mkv.IDTrackEntry, 4, parts...) }
	in := cat(head, segment, el(mkv.IDTracks, 4,
		entry(u(mkv.IDTrackNumber, 1), u(mkv.IDTrackUID, 77), u(mkv.IDTrackType, 1),
			ebml.AppendString(nil, mkv.IDTrackName, "kinesis_video\x00\x00\x00", 0),
			ebml.AppendString(nil, mkv.IDCodecID, "V_MPEG4/ISO/AVC"+strings.Repeat("\x00", 17), 0),
			ebml.AppendBytes(nil, mkv.IDCodecPrivate, []byte{1, 2, 3, 0}, 0), u(mkv.IDDefaultDuration, 40_000_000),
			el(mkv.IDVideo, 1, u(mkv.IDPixelWidth, 640), u(mkv.IDPixelHeight, 480))),
		entry(u(mkv.IDTrackNumber, 2), u(mkv.IDTrackType, 2), ebml.AppendString(nil, mkv.IDCodecID, "A_AAC", 0),
			el(mkv.IDAudio, 1, ebml.AppendFloat(nil, mkv.IDSamplingFrequency, 48000), u(mkv.IDChannels, 2), u(mkv.IDBitDepth, 16)))),
		cluster(0), el(mkv.IDTags, 8,
			el(mkv.IDTag, 8, el(mkv.IDTargets, 1), el(mkv.IDSimpleTag, 8, ebml.AppendString(nil, mkv.IDTagName, "outer", 8), ebml.AppendString(nil, mkv.IDTagString, "1", 4),
				el(mkv.IDSimpleTag, 1, ebml.AppendString(nil, mkv.IDTagName, "inner", 1))), el(mkv.IDSimpleTag, 1, ebml.AppendString(nil, mkv.IDTagName, "second", 1), el(mkv.IDTagString, 8))),
			el(mkv.IDTag, 1, el(mkv.IDSimpleTag, 1, ebml.AppendString(nil, mkv.IDTagName, "of track", 1)), el(mkv.IDTargets, 1, u(0x63C5, 77)))))
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(in)
	var tags []mkv.Tag
	for {
		ev, err := d.Next()
		if err != nil {
			break
		}
		tags = append(tags, ev.Tags...)
	}
	wantTracks := []sluice.Track{
		{Number: 1, UID: 77, Type: sluice.TrackVideo, Name: "kinesis_video", CodecID: "V_MPEG4/ISO/AVC", CodecPrivate: []byte{1, 2, 3, 0},
			DefaultDuration: 40 * time.Millisecond, Video: &sluice.Video{Width: 640, Height: 480}},
		{Number: 2, Type: sluice.TrackAudio, CodecID: "A_AAC", Audio: &sluice.Audio{SamplingFrequency: 48000, Channels: 2, BitDepth: 16}},
	}
	if got := d.Tracks(); !reflect.DeepEqual(got, wantTracks) {
		t.Errorf("tracks\n got %+v\nwant %+v", got, wantTracks)
	}
	wantTags := []mkv.Tag{{Tag: sluice.Tag{Name: "outer", Value: "1"}}, {Tag: sluice.Tag{Name: "inner"}}, {Tag: sluice.Tag{Name: "second"}},
		{Tag: sluice.Tag{Name: "of track"}, Targeted: true}}
	if !reflect.DeepEqual(tags, wantTags) {
		t.Errorf("tags\n got %+v\nwant %+v", tags, wantTags)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	raw := func(b ...byte) []byte { return b }
	nest := func(n int) []byte {
		b := el(mkv.IDSimpleTag, 8)
		for range n {
			b = el(mkv.IDSimpleTag, 8, b)
		}
		return el(mkv.IDTags, 8, el(mkv.IDTag, 8, b))
	}
	in := cat(head, segment)
	for _, c := range []struct {
		name string
		body []byte
		o    mkv.Options
		want error
		path string
		at   int // offset from the body's start
	}{
		{"garbage id", raw(0x00, 1, 2), mkv.Options{}, ebml.ErrID, "Segment", 0},
		{"reserved id", raw(0xFF, 0x80), mkv.Options{}, ebml.ErrID, "Segment", 0},
		{"garbage size", raw(0xEC, 0x00), mkv.Options{}, ebml.ErrSize, "Segment", 0},
		{"block outside a Cluster", simple(0, "x"), mkv.Options{}, mkv.ErrMisplaced, "Segment/SimpleBlock", 0},
		{"block before the Timestamp", el(mkv.IDCluster, 1, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 0))), mkv.Options{}, mkv.ErrMisplaced, "Segment/Cluster/SimpleBlock", 5},
		{"Tags inside a known Cluster", el(mkv.IDCluster, 1, u(mkv.IDTimestamp, 1), el(mkv.IDTags, 1)), mkv.Options{}, mkv.ErrMisplaced, "Segment/Cluster/Tags", 8},
		{"unknown-size Info", ebml.AppendHeader(nil, mkv.IDInfo, ebml.UnknownSize, 1), mkv.Options{}, mkv.ErrUnknownSize, "Segment/Info", 0},
		{"unknown-size unknown element", ebml.AppendHeader(nil, 0x4FFE, ebml.UnknownSize, 1), mkv.Options{}, mkv.ErrUnknownSize, "Segment/0x4FFE", 0},
		{"unknown-size block", cluster(0, ebml.AppendHeader(nil, mkv.IDSimpleBlock, ebml.UnknownSize, 1)), mkv.Options{}, mkv.ErrUnknownSize, "Segment/Cluster/SimpleBlock", 18},
		{"child longer than its parent", el(mkv.IDInfo, 1, raw(0x4D, 0x80, 0x85, 'a')), mkv.Options{}, mkv.ErrOverrun, "Segment/Info/MuxingApp", 5},
		{"block longer than its Cluster", el(mkv.IDCluster, 1, u(mkv.IDTimestamp, 1), raw(0xA3, 0x85, 0x81, 0, 0)), mkv.Options{}, mkv.ErrOverrun, "Segment/Cluster/SimpleBlock", 8},
		{"huge block", cluster(0, ebml.AppendHeader(nil, mkv.IDSimpleBlock, 1<<55, 8)), mkv.Options{}, mkv.ErrFrameSize, "Segment/Cluster/SimpleBlock", 18},
		{"huge group", cluster(0, ebml.AppendHeader(nil, mkv.IDBlockGroup, 1<<55, 8)), mkv.Options{}, mkv.ErrFrameSize, "Segment/Cluster/BlockGroup", 18},
		{"huge codec private", el(mkv.IDTracks, 8, el(mkv.IDTrackEntry, 8, el(mkv.IDCodecPrivate, 8, make([]byte, 300<<10)))), mkv.Options{}, mkv.ErrElementSize, "Segment/Tracks/TrackEntry/CodecPrivate", 21},
		{"huge text", el(mkv.IDInfo, 8, el(mkv.IDTitle, 8, make([]byte, 100))), mkv.Options{MaxElement: 99}, mkv.ErrElementSize, "Segment/Info/Title", 12},
		{"nine bytes of integer", el(mkv.IDInfo, 1, el(mkv.IDTimestampScale, 1, make([]byte, 9))), mkv.Options{}, ebml.ErrValue, "Segment/Info/TimestampScale", 5},
		{"three bytes of float", el(mkv.IDInfo, 1, el(mkv.IDDuration, 1, make([]byte, 3))), mkv.Options{}, ebml.ErrValue, "Segment/Info/Duration", 5},
		{"scale 0", el(mkv.IDInfo, 1, u(mkv.IDTimestampScale, 0)), mkv.Options{}, mkv.ErrTimestamp, "Segment/Info/TimestampScale", 5},
		{"timestamp beyond ns", cluster(1<<50, simple(0, "")), mkv.Options{}, mkv.ErrTimestamp, "Segment/Cluster/Timestamp", 5},
		{"block time beyond ns", cluster(9223372036854, simple(32767, "")), mkv.Options{}, mkv.ErrTimestamp, "Segment/Cluster/SimpleBlock", 18},
		{"depth", nest(20), mkv.Options{}, mkv.ErrDepth, "", -1},
		{"tracks", el(mkv.IDTracks, 1, el(mkv.IDTrackEntry, 1), el(mkv.IDTrackEntry, 1)), mkv.Options{MaxTracks: 1}, mkv.ErrTrackCount, "Segment/Tracks/TrackEntry", 7},
		{"tags", mkv.AppendTags(nil, sluice.Tag{Name: "a"}, sluice.Tag{Name: "b"}), mkv.Options{MaxTags: 1}, mkv.ErrTagCount, "Segment/Tags/Tag/SimpleTag", -1},
		{"tag size", mkv.AppendTags(nil, sluice.Tag{Name: "aaaa"}), mkv.Options{MaxTagSize: 3}, mkv.ErrTagSize, "Segment/Tags/Tag/SimpleTag/TagName", -1},
		{"empty block", cluster(0, el(mkv.IDSimpleBlock, 1)), mkv.Options{}, mkv.ErrBlock, "Segment/Cluster/SimpleBlock", 18},
		{"track 0", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x80, 0, 0, 0))), mkv.Options{}, mkv.ErrBlock, "Segment/Cluster/SimpleBlock", 18},
		{"lace without a count", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 2))), mkv.Options{}, mkv.ErrLacing, "Segment/Cluster/SimpleBlock", 18},
		{"Xiph lace too long", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 2, 1, 9, 1, 1))), mkv.Options{}, mkv.ErrLacing, "Segment/Cluster/SimpleBlock", 18},
		{"Xiph lace without end", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 2, 1, 255, 255))), mkv.Options{}, mkv.ErrLacing, "Segment/Cluster/SimpleBlock", 18},
		{"fixed lace that does not divide", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 4, 1, 1, 2, 3))), mkv.Options{}, mkv.ErrLacing, "Segment/Cluster/SimpleBlock", 18},
		{"EBML lace below zero", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 6, 2, 0x81, 0x80, 1, 1, 1))), mkv.Options{}, mkv.ErrLacing, "Segment/Cluster/SimpleBlock", 18},
		{"too many laces", cluster(0, el(mkv.IDSimpleBlock, 1, raw(0x81, 0, 0, 4, 1, 1, 2))), mkv.Options{MaxLaces: 1}, mkv.ErrLaceCount, "Segment/Cluster/SimpleBlock", 18},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc := cat(in, c.body)
			for _, step := range []int{1, 1 << 20} {
				for _, split := range []bool{false, true} {
					c.o.SplitFrames = split
					_, err := collect(doc, step, true, c.o)
					var e *mkv.Error
					if !errors.Is(err, c.want) || !errors.As(err, &e) {
						t.Fatalf("%v, want %v", err, c.want)
					}
					if c.path != "" && e.Path != c.path {
						t.Errorf("path %s, want %s", e.Path, c.path)
					}
					if c.at >= 0 && e.Offset != int64(len(in)+c.at) {
						t.Errorf("offset %d, want %d", e.Offset-int64(len(in)), c.at)
					}
				}
			}
		})
	}
	for name, in := range map[string][]byte{
		"no header":   segment,
		"text":        []byte("GET / HTTP/1.1\r\n"),
		"doc type":    el(ebml.IDHeader, 1, ebml.AppendString(nil, ebml.IDDocType, "mp4", 1)),
		"id length":   el(ebml.IDHeader, 1, u(ebml.IDMaxIDLength, 5)),
		"size length": el(ebml.IDHeader, 1, u(ebml.IDMaxSizeLength, 9)),
		"version":     el(ebml.IDHeader, 1, u(ebml.IDReadVersion, 2)),
	} {
		_, err := collect(in, 1, true, mkv.Options{})
		if !errors.Is(err, mkv.ErrDocType) && !errors.Is(err, mkv.ErrNoHeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A stream cut at any byte: every complete element is reported, and only an
// end inside an element of known size is an error.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	in := cat(head, segment, info, tracks, cluster(0, simple(0, "abc"), el(mkv.IDBlockGroup, 1, el(mkv.IDBlock, 1, []byte{0x81, 0, 0, 0, 9}))),
		mkv.AppendTags(nil, sluice.Tag{Name: "n", Value: "v"}))
	all, _ := collect(in, len(in), true, mkv.Options{})
	ends := map[int]bool{0: true}
	for _, e := range all {
		switch {
		case e.Kind == mkv.Start && e.Size == ebml.UnknownSize:
			ends[int(e.Offset)+e.Header] = true
		case e.Level == 1 && e.Offset > int64(len(head)) || e.Level == 2 && (e.ID == mkv.IDSimpleBlock || e.ID == mkv.IDBlockGroup || e.ID == mkv.IDTimestamp || e.ID == mkv.IDPosition) || e.Level == 0:
			if e.Kind != mkv.Start && e.Size != ebml.UnknownSize {
				ends[int(e.EndOffset())] = true
			}
		}
	}
	for n := range in {
		events, err := collect(in[:n], 1<<20, true, mkv.Options{})
		if ends[n] != errors.Is(err, io.EOF) || !ends[n] != errors.Is(err, mkv.ErrTruncated) {
			t.Errorf("cut at %d: %v", n, err)
		}
		if got := emit(events); !bytes.HasPrefix(in, got) {
			t.Errorf("cut at %d: other bytes", n)
		}
	}
}

func TestFeedBeforeDrained(t *testing.T) {
	t.Parallel()
	in := cat(head, segment, cluster(0, simple(0, "abc"), simple(1, "def")))
	d := mkv.NewDemuxer(mkv.Options{})
	var got []byte
	for i := range in {
		d.Feed(in[i : i+1])
		if i%5 == 0 {
			if ev, err := d.Next(); err == nil {
				got = append(got, ev.Raw...)
			}
		}
	}
	d.Close()
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Raw...)
	}
	if !bytes.Equal(got, in) {
		t.Error("other bytes")
	}
}

func TestAllocatesOnlyWhatArrived(t *testing.T) {
	t.Parallel()
	in := cat(head, segment, cluster(0, ebml.AppendHeader(nil, mkv.IDSimpleBlock, 60<<20, 8), []byte{0x81, 0, 0, 0}))
	n := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := mkv.NewDemuxer(mkv.Options{})
			d.Feed(in)
			for {
				if _, err := d.Next(); err != nil {
					break
				}
			}
		}
	}).AllocedBytesPerOp()
	if n > 8<<10 {
		t.Errorf("%d bytes allocated for a block that has not come", n)
	}
}

func ExampleDemuxer() {
	in := cat(head, segment, tracks, cluster(1000, simple(0, "key frame"), simple(33, "next")))
	d := mkv.NewDemuxer(mkv.Options{})
	for len(in) > 0 {
		n := min(10, len(in)) // as a socket gives them
		d.Feed(in[:n])
		in = in[n:]
		for {
			ev, err := d.Next()
			if err != nil { // ErrMore
				break
			}
			for _, f := range ev.Frames {
				fmt.Println(f.Track, f.Timecode, string(f.Data))
			}
		}
	}
	// Output:
	// 1 1s key frame
	// 1 1.033s next
}
