package mkv_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// check holds whatever the input is: the events carry the input's bytes, they
// do not depend on how it was fed, frames lie inside their blocks, and masters
// are balanced.
func check(t *testing.T, in []byte) {
	t.Helper()
	for _, o := range modes {
		// Small limits are met by small inputs.
		o.MaxFrame, o.MaxElement, o.MaxTags, o.MaxTracks, o.MaxDepth = 4<<10, 512, 8, 4, 8
		events, err := collect(in, len(in)+1, true, o)
		if got := emit(events); !bytes.HasPrefix(in, got) {
			t.Fatalf("other bytes come back: %x of %x", got, in)
		}
		bytewise, err1 := collect(in, 1, true, o)
		if !reflect.DeepEqual(err, err1) {
			t.Fatalf("byte by byte: %v, at once: %v", err1, err)
		}
		if !reflect.DeepEqual(whole(bytewise), whole(events)) {
			t.Fatalf("byte by byte: %s\nat once: %s", tree(bytewise), tree(events))
		}
		level := 0
		for _, e := range events {
			switch e.Kind {
			case mkv.Start:
				if e.Level != level {
					t.Fatalf("start of %s at level %d, want %d", mkv.Name(e.ID), e.Level, level)
				}
				level++
			case mkv.End:
				level--
				if e.Level != level {
					t.Fatalf("end of %s at level %d, want %d", mkv.Name(e.ID), e.Level, level)
				}
			}
			end := e.Offset
			for _, f := range e.Frames {
				if f.Offset < end || f.Size < 0 || f.Offset+int64(f.Size) > e.EndOffset() || f.Track == 0 {
					t.Fatalf("%+v does not lie in %s", f, mkv.Name(e.ID))
				}
				if !o.SplitFrames && !bytes.Equal(f.Data, in[f.Offset:][:f.Size]) {
					t.Fatalf("%+v has other bytes", f)
				}
				end = f.Offset + int64(f.Size)
			}
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add(cat(head, segment, info, tracks, cluster(0, simple(0, "a"), el(mkv.IDBlockGroup, 1, el(mkv.IDBlock, 1, []byte{0x81, 0, 0, 0, 9}), u(mkv.IDBlockDuration, 4))),
		mkv.AppendTags(nil, sluice.Tag{Name: "n", Value: "v"}), cluster(9)))
	f.Add(cat(head, el(mkv.IDSegment, 8, tracks, el(mkv.IDCluster, 3, u(mkv.IDTimestamp, 7), simple(0, "x")), el(mkv.IDCues, 1, el(mkv.IDCuePoint, 1))), head, segment))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) <= 16<<10 {
			check(t, in)
		}
	})
}

func FuzzBlock(f *testing.F) {
	f.Add([]byte{0x81, 0, 0, 0x80, 1, 2, 3}, false)
	f.Add([]byte{0x40, 1, 0xFF, 0xFF, 0x09}, true)
	f.Fuzz(func(t *testing.T, b []byte, group bool) {
		if len(b) > 4<<10 {
			return
		}
		block := el(mkv.IDSimpleBlock, 8, b)
		if group {
			block = el(mkv.IDBlockGroup, 4, el(mkv.IDBlock, 2, b), u(mkv.IDBlockDuration, uint64(len(b))))
		}
		check(t, cat(head, segment, cluster(1000, block, simple(1, "after"))))
	})
}

func FuzzLacing(f *testing.F) {
	f.Add(uint8(1), []byte{2, 1, 255, 2, 9, 9, 9})
	f.Add(uint8(2), []byte{1, 9, 9})
	f.Add(uint8(3), []byte{2, 0x82, 0xC0, 9, 9, 9, 9, 9})
	f.Fuzz(func(t *testing.T, lacing uint8, b []byte) {
		if len(b) > 4<<10 {
			return
		}
		in := cat(head, segment, cluster(0, el(mkv.IDSimpleBlock, 8, []byte{0x81, 0, 0, lacing & 3 << 1}, b)))
		check(t, in)
		// What is accepted fills the block to its last byte.
		events, _ := collect(in, len(in), true, mkv.Options{})
		if last := events[len(events)-1]; last.ID == mkv.IDSegment {
			for _, e := range events {
				if n := len(e.Frames); n > 0 && e.Frames[n-1].Offset+int64(e.Frames[n-1].Size) != e.EndOffset() {
					t.Fatalf("%+v ends before its block", e.Frames)
				}
			}
		}
	})
}

func FuzzTags(f *testing.F) {
	f.Add(mkv.AppendTags(nil, sluice.Tag{Name: "a", Value: "b"}, sluice.Tag{Name: "c"})[12:])
	f.Add(el(mkv.IDTag, 1, el(mkv.IDTargets, 1, u(0x63C5, 7)), el(mkv.IDSimpleTag, 1, el(mkv.IDSimpleTag, 1, ebml.AppendString(nil, mkv.IDTagName, "in", 1)))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) <= 4<<10 {
			check(t, cat(head, segment, el(mkv.IDTags, 8, b), cluster(0)))
		}
	})
}
