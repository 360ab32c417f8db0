package codec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Written by x264 and x265 for sizes that need cropping.
const (
	avcHigh     = "01640028ffe1001a67640028acd940780227a9b01100000303e90000ea600f18319601000668ebe3cb22c0fdf8f800"
	avcBaseline = "0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20"
	// From the official producer: a high profile without the bytes at the end.
	avcProducer = "0164001effe1001e6764001eacb405017fcb80b5060606a50000030001000003003c8f162ea001000468ef3cb0"

	hevcVPS10 = "40010c01ffff022000000300900000030000030078959809"
	hevcSPS10 = "420101022000000300900000030000030078a003c08010e754d96566924caf016808000003000800000300c040"
	hevcPPS   = "4401c172b46240"
	hevcVPS   = "40010c01ffff01600000030090000003000003003c959809"
	hevcSPS   = "42010101600000030090000003000003003ca00a080f165959a4932bc05a0200000300040000030032c019289c003d08000f4244"
)

func TestParseH264(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, private string
		codec         string
		width, height int
		rate          float64
		reorder       int
	}{
		{"high, cropped", avcHigh, "avc1.640028", 1918, 1078, 30000. / 1001, 2},
		{"baseline", avcBaseline, "avc1.42c01e", 640, 360, 25, 0},
		{"producer", avcProducer, "avc1.64001e", 640, 360, 30, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := codec.Parse(&sluice.Track{Number: 1, CodecID: "V_MPEG4/ISO/AVC", CodecPrivate: unhex(t, tt.private)})
			if err != nil {
				t.Fatal(err)
			}
			if p.Codec != tt.codec || p.Framing != codec.FramingLength4 || len(p.ParameterSets) != 2 {
				t.Errorf("got %s, framing %d, %d parameter sets", p.Codec, p.Framing, len(p.ParameterSets))
			}
			if p.Reorder != tt.reorder {
				t.Errorf("reorder %d, want %d", p.Reorder, tt.reorder)
			}
			if p.Width != tt.width || p.Height != tt.height || math.Abs(p.FrameRate-tt.rate) > 1e-6 {
				t.Errorf("got %d×%d at %v, want %d×%d at %v", p.Width, p.Height, p.FrameRate, tt.width, tt.height, tt.rate)
			}
		})
	}
}

func TestAVCConfigRoundTrip(t *testing.T) {
	t.Parallel()
	for _, private := range []string{avcHigh, avcBaseline} {
		c, err := codec.ParseAVCConfig(unhex(t, private))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(c.Append(nil)); got != private {
			t.Errorf("append: got %s, want %s", got, private)
		}
		made, err := codec.NewAVCConfig(c.SPS, c.PPS)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(made.Append(nil)); got != private {
			t.Errorf("made: got %s, want %s", got, private)
		}
	}
	// The bytes that the producer leaves out come back.
	c, err := codec.ParseAVCConfig(unhex(t, avcProducer))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(c.Append(nil)); got != avcProducer+"fdf8f800" {
		t.Errorf("got %s", got)
	}
}

func TestParseH265(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, vps, sps string
		codec          string
		width, height  int
		rate           float64
	}{
		{"main 10, cropped", hevcVPS10, hevcSPS10, "hvc1.2.4.L120.90", 1918, 1078, 24},
		{"main, with hrd", hevcVPS, hevcSPS, "hvc1.1.6.L60.90", 320, 240, 12.5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			vps, sps, pps := unhex(t, tt.vps), unhex(t, tt.sps), unhex(t, hevcPPS)
			made, err := codec.NewHEVCConfig([][]byte{vps}, [][]byte{sps}, [][]byte{pps})
			if err != nil {
				t.Fatal(err)
			}
			private := made.Append(nil)
			again, err := codec.ParseHEVCConfig(private)
			if err != nil {
				t.Fatal(err)
			}
			if got := again.Append(nil); !bytes.Equal(got, private) {
				t.Errorf("round trip: got %x, want %x", got, private)
			}
			var annexB []byte
			for _, nal := range [][]byte{vps, sps, pps} {
				annexB = append(append(annexB, 0, 0, 0, 1), nal...)
			}
			for private, framing := range map[string]codec.Framing{string(private): codec.FramingLength4, string(annexB): codec.FramingAnnexB} {
				p, err := codec.Parse(&sluice.Track{Number: 1, CodecID: "V_MPEGH/ISO/HEVC", CodecPrivate: []byte(private)})
				if err != nil {
					t.Fatal(err)
				}
				if p.Codec != tt.codec || p.Width != tt.width || p.Height != tt.height || math.Abs(p.FrameRate-tt.rate) > 1e-6 || p.Framing != framing {
					t.Errorf("got %s %d×%d at %v, framing %d", p.Codec, p.Width, p.Height, p.FrameRate, p.Framing)
				}
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		track sluice.Track
		want  error
	}{
		{"no avcC", sluice.Track{CodecID: "V_MPEG4/ISO/AVC"}, codec.ErrMissing},
		{"no hvcC", sluice.Track{CodecID: "V_MPEGH/ISO/HEVC"}, codec.ErrMissing},
		{"no AudioSpecificConfig", sluice.Track{CodecID: "A_AAC"}, codec.ErrMissing},
		{"no WAVEFORMATEX", sluice.Track{CodecID: "A_MS/ACM"}, codec.ErrMissing},
		{"avcC version", sluice.Track{CodecID: "V_MPEG4/ISO/AVC", CodecPrivate: make([]byte, 40)}, codec.ErrInvalid},
		{"avcC cut", sluice.Track{CodecID: "V_MPEG4/ISO/AVC", CodecPrivate: unhex(t, avcHigh)[:20]}, codec.ErrInvalid},
		{"hvcC cut", sluice.Track{CodecID: "V_MPEGH/ISO/HEVC", CodecPrivate: []byte{1, 2}}, codec.ErrInvalid},
		{"AAC rate", sluice.Track{CodecID: "A_AAC", CodecPrivate: []byte{0x17, 0x00}}, codec.ErrInvalid},
		{"VP9", sluice.Track{CodecID: "V_VP9"}, codec.ErrUnsupported},
		{"PCM", sluice.Track{CodecID: "A_PCM/INT/LIT"}, codec.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := codec.Parse(&tt.track); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestAAC(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hex            string
		object         int
		rate, channels int
		extension      int
	}{
		{"1210", 2, 44100, 2, 0},
		{"1190", 2, 48000, 2, 0},
		{"1588", 2, 8000, 1, 0},
		{"2b11880800", 5, 24000, 2, 48000}, // explicit SBR
	} {
		c, err := codec.ParseAACConfig(unhex(t, tt.hex))
		if err != nil {
			t.Fatal(err)
		}
		if c.ObjectType != tt.object || c.SampleRate != tt.rate || c.Channels != tt.channels || c.ExtensionRate != tt.extension {
			t.Errorf("%s: got %+v", tt.hex, c)
		}
		if c.ExtensionRate != 0 {
			continue // read only: nothing of ours makes SBR
		}
		if got, err := c.Append(nil); err != nil || hex.EncodeToString(got) != tt.hex {
			t.Errorf("append: got %x, %v, want %s", got, err, tt.hex)
		}
	}
	c := &codec.AACConfig{ObjectType: 2, SampleRate: 6000, Channels: 1}
	b, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := codec.ParseAACConfig(b)
	if err != nil || *again != *c {
		t.Errorf("rate without an index: got %+v, %v", again, err)
	}
}

func TestADTS(t *testing.T) {
	t.Parallel()
	c := codec.AACConfig{ObjectType: 2, SampleRate: 48000, Channels: 2}
	frame := bytes.Repeat([]byte{0xab}, 700)
	b, err := c.AppendADTS(nil, len(frame))
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, frame...)
	if !codec.IsADTS(b) {
		t.Error("not seen as ADTS")
	}
	got, raw, rest, err := codec.StripADTS(append(b, b...))
	if err != nil {
		t.Fatal(err)
	}
	if got != c || !bytes.Equal(raw, frame) || !bytes.Equal(rest, b) {
		t.Errorf("got %+v, %d bytes, %d left", got, len(raw), len(rest))
	}
}

func TestNALs(t *testing.T) {
	t.Parallel()
	annexB := []byte{0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 9, 0, 0, 3, 1, 0}
	var got []string
	for nal := range codec.AnnexB(annexB) {
		got = append(got, hex.EncodeToString(nal))
	}
	if want := []string{"670102", "6803", "650900000301"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	framed := codec.AppendLengthPrefixed(nil, annexB)
	if want := "0000000367010200000002680300000006650900000301"; hex.EncodeToString(framed) != want {
		t.Errorf("length-prefixed: got %x, want %s", framed, want)
	}
	back, err := codec.AppendAnnexB(nil, framed, 4)
	if err != nil {
		t.Fatal(err)
	}
	if want := "0000000167010200000001680300000001650900000301"; hex.EncodeToString(back) != want {
		t.Errorf("annex B: got %x, want %s", back, want)
	}
	if _, err := codec.AppendAnnexB(nil, framed[:len(framed)-1], 4); !errors.Is(err, codec.ErrInvalid) {
		t.Errorf("cut frame: got %v", err)
	}
	for _, tt := range []struct {
		frame    []byte
		declared codec.Framing
		want     codec.Framing
	}{
		{framed, 4, 4},
		{annexB, 4, codec.FramingAnnexB},
		{annexB, codec.FramingAnnexB, codec.FramingAnnexB},
		{framed, codec.FramingAnnexB, 4},
		{[]byte{9, 9, 9, 9, 9}, 4, codec.FramingBroken},
	} {
		if got := codec.FramingOf(tt.frame, tt.declared); got != tt.want {
			t.Errorf("framing of %x declared %d: got %d, want %d", tt.frame, tt.declared, got, tt.want)
		}
	}
}

func TestKeyFrame(t *testing.T) {
	t.Parallel()
	nal := func(first byte) []byte { return []byte{0, 0, 0, 3, first, 1, 1} }
	for _, tt := range []struct {
		kind codec.Kind
		nals []byte
		want bool
	}{
		{codec.H264, slices.Concat(nal(9), nal(0x67), nal(0x65)), true},
		{codec.H264, slices.Concat(nal(9), nal(0x41)), false},
		{codec.H265, nal(19 << 1), true},
		{codec.H265, nal(21 << 1), true}, // CRA, which the official producer does not see
		{codec.H265, nal(16 << 1), true},
		{codec.H265, nal(1 << 1), false},
		{codec.AAC, []byte{1}, true},
		{codec.H264, nil, false},
	} {
		if got := codec.KeyFrame(tt.kind, tt.nals, codec.FramingLength4); got != tt.want {
			t.Errorf("%s %x: got %v", tt.kind, tt.nals, got)
		}
	}
}

func TestWaveBitmapOpus(t *testing.T) {
	t.Parallel()
	w := codec.NewG711(codec.WaveALaw, 1, 8000)
	if got := hex.EncodeToString(w.Append(nil)); got != "06000100401f0000401f0000010008000000" {
		t.Errorf("G.711: got %s", got)
	}
	// The official producer's: bytes a second divided by eight, no bit depth.
	p, err := codec.Parse(&sluice.Track{CodecID: "A_MS/ACM", CodecPrivate: unhex(t, "07000100401f0000e8030000010000000000")})
	if err != nil || p.Kind != codec.MuLaw || p.SampleRate != 8000 || p.Channels != 1 {
		t.Errorf("µ-law: got %+v, %v", p, err)
	}
	h := &codec.BitmapInfo{Width: 640, Height: 480, BitCount: 24, Compression: [4]byte{'M', 'J', 'P', 'G'}}
	again, err := codec.ParseBitmapInfo(h.Append(nil))
	if err != nil || again.Width != 640 || again.Height != 480 || again.Compression != h.Compression {
		t.Errorf("bitmap: got %+v, %v", again, err)
	}
	if k := codec.KindOf(&sluice.Track{CodecID: "V_MS/VFW/FOURCC", CodecPrivate: h.Append(nil)}); k != codec.MJPEG {
		t.Errorf("kind: got %s", k)
	}
	head := unhex(t, "4f707573486561640102380180bb0000000000")
	o, err := codec.ParseOpusHead(head)
	if err != nil || o.Channels != 2 || o.PreSkip != 312 || !bytes.Equal(o.Append(nil), head) {
		t.Errorf("opus: got %+v, %v", o, err)
	}
	if got := hex.EncodeToString(o.AppendDOps(nil)); got != "000201380000bb80000000" {
		t.Errorf("dOps: got %s", got)
	}
}
