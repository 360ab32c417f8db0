package producer_test

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/producer"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every flag of the guide, for frames and for codec private data.
func TestNALAdaptation(t *testing.T) {
	t.Parallel()
	sps := unhex(t, "67f4000d90d9b28283f602d4181819000003000100000300328f142996")
	pps := unhex(t, "68ebec448440")
	idr, slice := []byte{0x65, 1, 2, 3}, []byte{0x41, 9, 8}
	code := []byte{0, 0, 0, 1}
	join := func(nals ...[]byte) (out []byte) {
		for _, n := range nals {
			out = append(append(out, code...), n...)
		}
		return out
	}
	short := func(nals ...[]byte) (out []byte) { // start codes of three bytes, and a zero to spare
		for _, n := range nals {
			out = append(append(out, 0, 0, 1), n...)
		}
		return append(out, 0)
	}
	length := func(nals ...[]byte) (out []byte) {
		for _, n := range nals {
			out = append(append(out, 0, 0, 0, byte(len(n))), n...)
		}
		return out
	}
	config, err := codec.NewAVCConfig([][]byte{sps}, [][]byte{pps})
	if err != nil {
		t.Fatal(err)
	}
	avcC := config.Append(nil)
	annexCPD := join(sps, pps)
	for name, c := range map[string]struct {
		flags     producer.NALAdaptation
		cpd       []byte
		key, rest []byte
		wantCPD   []byte
		wantKey   []byte
		wantRest  []byte
	}{
		"auto, built from the stream": {0, nil, join(sps, pps, idr), join(slice), avcC, length(sps, pps, idr), length(slice)},
		"auto, Annex B given":         {0, annexCPD, join(idr), short(slice), avcC, length(idr), length(slice)},
		"auto, avcC given":            {0, avcC, length(idr), length(slice), avcC, length(idr), length(slice)},
		"none":                        {producer.AdaptNone, annexCPD, join(idr), join(slice), annexCPD, join(idr), join(slice)},
		"frames":                      {producer.AdaptAnnexBFrames, avcC, short(idr), join(slice), avcC, length(idr), length(slice)},
		"frames and codec":            {producer.AdaptAnnexBFrames | producer.AdaptAnnexBCPD, annexCPD, join(idr), join(slice), avcC, length(idr), length(slice)},
		"codec":                       {producer.AdaptAnnexBCPD, annexCPD, length(idr), length(slice), avcC, length(idr), length(slice)},
		"frames, Annex B codec kept":  {producer.AdaptAnnexBFrames, annexCPD, join(idr), join(slice), annexCPD, length(idr), length(slice)},
		"to Annex B":                  {producer.AdaptAVCCFrames, avcC, length(idr), length(slice), avcC, join(idr), join(slice)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			s := newStream(t, d.client(), producer.StreamInfo{Tracks: []sluice.Track{producer.H264(c.cpd)}, NALs: c.flags})
			for i, data := range [][]byte{c.key, c.rest} {
				if err := s.PutFrame(t.Context(), producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i == 0, data)); err != nil {
					t.Fatal(err)
				}
			}
			stop(t, s)
			all := d.fragments()
			if len(all) != 1 || len(all[0].frames) != 2 {
				t.Fatalf("fragments: %+v", all)
			}
			if got := all[0].header.Tracks[0].CodecPrivate; !bytes.Equal(got, c.wantCPD) {
				t.Errorf("codec private data %x, want %x", got, c.wantCPD)
			}
			for i, want := range [][]byte{c.wantKey, c.wantRest} {
				if got := all[0].frames[i].data; got != string(want) {
					t.Errorf("frame %d: %x, want %x", i, got, want)
				}
			}
		})
	}
	d := newDouble(t)
	c := d.client()
	s := newStream(t, c, producer.StreamInfo{Tracks: []sluice.Track{producer.H264(nil)}})
	if err := s.PutFrame(t.Context(), producer.FrameAt(epoch, true, length(idr))); err == nil {
		t.Error("a frame without a start code is taken as Annex B")
	}
	s = newStream(t, c, producer.StreamInfo{Name: "b", Tracks: []sluice.Track{producer.H264(avcC)}, NALs: producer.AdaptAVCCFrames})
	if err := s.PutFrame(t.Context(), producer.FrameAt(epoch, true, []byte{0, 0, 9, 9, 1})); err == nil {
		t.Error("a frame whose lengths do not add up is taken")
	}
}

// Other parameter sets in the stream begin a new session with a new header at
// their key frame.
func TestParameterSetsChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small, large := filepath.Join(dir, "a.h264"), filepath.Join(dir, "b.h264")
	ffmpeg(t, "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2", "-c:v", "libx264", "-g", "25", "-bf", "0", "-pix_fmt", "yuv420p", small)
	ffmpeg(t, "-f", "lavfi", "-i", "testsrc=size=128x96:rate=25:duration=2", "-c:v", "libx264", "-g", "25", "-bf", "0", "-pix_fmt", "yuv420p", large)
	d := newDouble(t)
	r, err := d.client().Register(t.Context(), "cam", annexB(small, producer.FileOptions{Start: epoch}), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Start(t.Context())
	if err := r.Wait(); err != nil {
		t.Fatal(err)
	}
	// The second recording through the same stream.
	src := annexB(large, producer.FileOptions{Start: epoch.Add(2 * time.Second)})
	if _, err := src.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), r.Stream()); err != nil {
		t.Fatal(err)
	}
	stop(t, r.Stream())
	var sizes []uint64
	for _, f := range d.fragments() {
		sizes = append(sizes, f.header.Tracks[0].Video.Width)
	}
	if !slices.Equal(sizes, []uint64{64, 64, 128, 128}) {
		t.Errorf("widths of the fragments: %v", sizes)
	}
	if got, want := hashes(t, sent(t, d, 1), "v"), hashes(t, small, "v"); !slices.Equal(got, want) {
		t.Error("the first session does not decode to the first recording")
	}
	if got, want := hashes(t, sent(t, d, 2), "v"), hashes(t, large, "v"); !slices.Equal(got, want) {
		t.Error("the second session does not decode to the second recording")
	}
}
