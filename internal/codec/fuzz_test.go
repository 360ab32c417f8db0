package codec_test

import (
	"bytes"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

// Seeds lie in testdata/fuzz and here; whatever parses must survive being built
// and parsed again.

func FuzzAVCConfig(f *testing.F) {
	for _, s := range []string{avcHigh, avcBaseline, avcProducer} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := codec.ParseAVCConfig(b)
		if err != nil {
			return
		}
		again, err := codec.ParseAVCConfig(c.Append(nil))
		if err != nil {
			t.Fatalf("built from %x: %v", b, err)
		}
		if !bytes.Equal(again.Append(nil), c.Append(nil)) {
			t.Fatalf("not stable: %x", b)
		}
	})
}

func FuzzHEVCConfig(f *testing.F) {
	c, err := codec.NewHEVCConfig([][]byte{unhex(f, hevcVPS)}, [][]byte{unhex(f, hevcSPS)}, [][]byte{unhex(f, hevcPPS)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := codec.ParseHEVCConfig(b)
		if err != nil {
			return
		}
		_ = c.Codec()
		if _, err := codec.ParseHEVCConfig(c.Append(nil)); err != nil {
			t.Fatalf("built from %x: %v", b, err)
		}
	})
}

func FuzzSPS(f *testing.F) {
	for _, s := range []string{hevcSPS, hevcSPS10, avcHigh[16:], avcBaseline[16:]} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (*codec.SPS, error){codec.ParseH264SPS, codec.ParseH265SPS} {
			if s, err := parse(b); err == nil && (s.Width <= 0 || s.Height <= 0) {
				t.Fatalf("%x: %+v", b, s)
			}
		}
	})
}

func FuzzAAC(f *testing.F) {
	for _, s := range []string{"1210", "1190", "2b11880800", "17800bb80a00", "fff1508015a3fcabcd"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := codec.ParseAACConfig(b); err == nil {
			_, _ = c.AppendADTS(nil, len(b))
			_ = c.Codec()
		}
		if _, frame, rest, err := codec.StripADTS(b); err == nil && len(frame)+len(rest) > len(b) {
			t.Fatalf("%x: %d + %d", b, len(frame), len(rest))
		}
	})
}

func FuzzNALs(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3}, uint8(4))
	f.Add([]byte{0, 0, 0, 2, 0x65, 1}, uint8(4))
	f.Fuzz(func(t *testing.T, b []byte, declared uint8) {
		for _, k := range []codec.Kind{codec.H264, codec.H265} {
			framing := codec.FramingOf(b, codec.Framing(declared))
			n := 0
			for nal, err := range codec.NALs(b, framing) {
				if err != nil {
					break
				}
				n += len(nal)
			}
			if n > len(b) {
				t.Fatalf("%x: %d bytes of NAL units", b, n)
			}
			codec.KeyFrame(k, b, framing)
			_, _ = codec.ConfigFromFrame(k, b, framing)
		}
		if framed := codec.AppendLengthPrefixed(nil, b); len(framed) > 0 && !codec.Fits(framed, 4) {
			t.Fatalf("%x: converted to %x", b, framed)
		}
	})
}

func FuzzTrack(f *testing.F) {
	f.Add("A_MS/ACM", unhex(f, "07000100401f0000e8030000010000000000"))
	f.Add("A_OPUS", unhex(f, "4f707573486561640102380180bb0000000000"))
	f.Add("V_MS/VFW/FOURCC", make([]byte, 40))
	f.Add("V_MPEG4/ISO/AVC", unhex(f, avcHigh))
	f.Fuzz(func(t *testing.T, id string, private []byte) {
		p, err := codec.Parse(&sluice.Track{CodecID: id, CodecPrivate: private})
		if err == nil && (p.Kind.Video() && p.Width <= 0 || p.Kind.Audio() && p.SampleRate <= 0) {
			t.Fatalf("%q %x: %+v", id, private, p)
		}
		codec.OpusDuration(private)
	})
}
