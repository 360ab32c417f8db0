package codec

import (
	"encoding/binary"
	"fmt"
)

// AVCConfig is an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3), the
// codec private data of H.264.
type AVCConfig struct {
	Profile, Compatibility, Level uint8
	LengthSize                    int // of the lengths before NAL units: 1, 2 or 4
	SPS, PPS, SPSExt              [][]byte
	// Of the high profiles only; ChromaFormat is 1 (4:2:0) in the others.
	ChromaFormat, BitDepthLuma, BitDepthChroma uint8
}

// hasHighFields: the profiles whose record ends with chroma format and depths.
func hasHighFields(profile uint8) bool {
	return profile == 100 || profile == 110 || profile == 122 || profile == 144 || profile == 244
}

// ParseAVCConfig reads an avcC body. The parameter sets alias b. The four bytes
// at the end that high profiles should have, and which the official producer
// leaves out, may be missing.
func ParseAVCConfig(b []byte) (*AVCConfig, error) {
	if len(b) < 7 {
		return nil, fmt.Errorf("avcC of %d bytes: at least 7: %w", len(b), ErrInvalid)
	}
	if b[0] != 1 {
		return nil, fmt.Errorf("avcC version %d, want 1: %w", b[0], ErrInvalid)
	}
	c := &AVCConfig{
		Profile: b[1], Compatibility: b[2], Level: b[3], LengthSize: int(b[4]&3) + 1,
		ChromaFormat: 1, BitDepthLuma: 8, BitDepthChroma: 8,
	}
	if c.LengthSize == 3 {
		return nil, fmt.Errorf("avcC: NAL length of 3 bytes: %w", ErrInvalid)
	}
	rest := b[5:]
	var err error
	if c.SPS, rest, err = parameterSetList(rest, 0x1f, "SPS"); err != nil {
		return nil, err
	}
	if c.PPS, rest, err = parameterSetList(rest, 0xff, "PPS"); err != nil {
		return nil, err
	}
	if len(c.SPS) == 0 {
		return nil, fmt.Errorf("avcC: no SPS: %w", ErrInvalid)
	}
	if len(c.PPS) == 0 {
		return nil, fmt.Errorf("avcC: no PPS: %w", ErrInvalid)
	}
	if hasHighFields(c.Profile) && len(rest) >= 4 {
		c.ChromaFormat, c.BitDepthLuma, c.BitDepthChroma = rest[0]&3, rest[1]&7+8, rest[2]&7+8
		if ext, _, err := parameterSetList(rest[3:], 0xff, "SPS extension"); err == nil {
			c.SPSExt = ext
		}
	} else if hasHighFields(c.Profile) {
		// Left out: what the SPS says is the same.
		if sps, err := ParseH264SPS(c.SPS[0]); err == nil {
			c.ChromaFormat, c.BitDepthLuma, c.BitDepthChroma = sps.ChromaFormat, sps.BitDepthLuma, sps.BitDepthChroma
		}
	}
	return c, nil
}

func parameterSetList(b []byte, countMask byte, what string) (sets [][]byte, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("avcC: ends before the number of %s: %w", what, ErrInvalid)
	}
	n := int(b[0] & countMask)
	b = b[1:]
	for range n {
		if len(b) < 2 {
			return nil, nil, fmt.Errorf("avcC: ends inside the list of %s: %w", what, ErrInvalid)
		}
		size := int(binary.BigEndian.Uint16(b))
		if size == 0 || size > len(b)-2 {
			return nil, nil, fmt.Errorf("avcC: %s of %d bytes where %d are left: %w", what, size, len(b)-2, ErrInvalid)
		}
		sets = append(sets, b[2:2+size])
		b = b[2+size:]
	}
	return sets, b, nil
}

// NewAVCConfig makes a record with lengths of four bytes from parameter sets,
// which it keeps by reference. Profile and level come from the first SPS.
func NewAVCConfig(sps, pps [][]byte) (*AVCConfig, error) {
	if len(sps) == 0 || len(pps) == 0 {
		return nil, fmt.Errorf("H.264 with %d SPS and %d PPS: at least one of each: %w", len(sps), len(pps), ErrMissing)
	}
	if err := checkSets(31, sps, pps); err != nil {
		return nil, err
	}
	s, err := ParseH264SPS(sps[0])
	if err != nil {
		return nil, err
	}
	return &AVCConfig{
		Profile: s.Profile, Compatibility: s.Compatibility, Level: s.Level, LengthSize: 4, SPS: sps, PPS: pps,
		ChromaFormat: s.ChromaFormat, BitDepthLuma: s.BitDepthLuma, BitDepthChroma: s.BitDepthChroma,
	}, nil
}

// checkSets refuses what the counts and lengths of a record cannot hold.
func checkSets(most int, lists ...[][]byte) error {
	for _, l := range lists {
		if len(l) > most {
			return fmt.Errorf("%d parameter sets of one kind, at most %d: %w", len(l), most, ErrInvalid)
		}
		for _, s := range l {
			if len(s) > 1<<16-1 {
				return fmt.Errorf("parameter set of %d bytes, at most 65535: %w", len(s), ErrInvalid)
			}
		}
	}
	return nil
}

// Append appends the avcC body to b.
func (c *AVCConfig) Append(b []byte) []byte {
	b = append(b, 1, c.Profile, c.Compatibility, c.Level, 0xfc|byte(c.LengthSize-1))
	b = appendSets(append(b, 0xe0|byte(len(c.SPS))), c.SPS)
	b = appendSets(append(b, byte(len(c.PPS))), c.PPS)
	if hasHighFields(c.Profile) {
		b = append(b, 0xfc|c.ChromaFormat, 0xf8|(c.BitDepthLuma-8), 0xf8|(c.BitDepthChroma-8))
		b = appendSets(append(b, byte(len(c.SPSExt))), c.SPSExt)
	}
	return b
}

func appendSets(b []byte, sets [][]byte) []byte {
	for _, s := range sets {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b
}

// Codec is the RFC 6381 name, such as avc1.4d4032.
func (c *AVCConfig) Codec() string {
	return fmt.Sprintf("avc1.%02x%02x%02x", c.Profile, c.Compatibility, c.Level)
}

// SPS is what a sequence parameter set says.
type SPS struct {
	Profile, Compatibility, Level uint8 // Compatibility: the constraint flags (H.264)
	ChromaFormat                  uint8 // 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4
	BitDepthLuma, BitDepthChroma  uint8
	Width, Height                 int     // of the picture shown, after cropping
	FrameRate                     float64 // frames a second from the timing information; 0: not given
	Reorder                       int     // most pictures that precede one in decoding and follow it in display; -1: not given

	h265 h265Profile
	// H.265 only.
	temporalLayers uint8
	temporalNested bool
}

const maxPictureSide = 1 << 16

// ParseH264SPS reads an SPS NAL unit, its header byte included.
func ParseH264SPS(nal []byte) (*SPS, error) {
	if NALType(H264, nal) != h264SPS || len(nal) < 4 {
		return nil, fmt.Errorf("H.264 SPS: not one (%d bytes): %w", len(nal), ErrInvalid)
	}
	r := &bitReader{b: unescape(nal[1:])}
	s := &SPS{Profile: uint8(r.u(8)), Compatibility: uint8(r.u(8)), Level: uint8(r.u(8)), ChromaFormat: 1, BitDepthLuma: 8, BitDepthChroma: 8, Reorder: -1}
	r.ue() // seq_parameter_set_id
	separatePlanes := false
	switch s.Profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma := r.ue()
		if chroma > 3 {
			return nil, fmt.Errorf("H.264 SPS: chroma_format_idc %d: %w", chroma, ErrInvalid)
		}
		s.ChromaFormat = uint8(chroma)
		if chroma == 3 {
			separatePlanes = r.flag()
		}
		luma, chromaDepth := r.ue(), r.ue()
		if luma > 6 || chromaDepth > 6 {
			return nil, fmt.Errorf("H.264 SPS: bit depth %d, %d: %w", luma+8, chromaDepth+8, ErrInvalid)
		}
		s.BitDepthLuma, s.BitDepthChroma = uint8(luma)+8, uint8(chromaDepth)+8
		r.skip(1) // qpprime_y_zero_transform_bypass_flag
		if r.flag() {
			skipH264ScalingLists(r, chroma)
		}
	}
	r.ue() // log2_max_frame_num_minus4
	switch r.ue() {
	case 0:
		r.ue()
	case 1:
		r.skip(1)
		r.se()
		r.se()
		n := r.ue()
		if n > 255 {
			return nil, fmt.Errorf("H.264 SPS: %d reference frames in a cycle: %w", n, ErrInvalid)
		}
		for range n {
			r.se()
		}
	}
	r.ue()    // max_num_ref_frames
	r.skip(1) // gaps_in_frame_num_value_allowed_flag
	mbWidth, mapHeight := int(r.ue())+1, int(r.ue())+1
	frameOnly := r.flag()
	if !frameOnly {
		r.skip(1)
	}
	r.skip(1) // direct_8x8_inference_flag
	var left, right, top, bottom int
	if r.flag() {
		left, right, top, bottom = int(r.ue()), int(r.ue()), int(r.ue()), int(r.ue())
	}
	if r.over {
		return nil, fmt.Errorf("H.264 SPS of %d bytes: ends too early: %w", len(nal), ErrInvalid)
	}
	fieldFactor := 2
	if frameOnly {
		fieldFactor = 1
	}
	unitX, unitY := 1, fieldFactor
	if !separatePlanes {
		switch s.ChromaFormat {
		case 1:
			unitX, unitY = 2, 2*fieldFactor
		case 2:
			unitX = 2
		}
	}
	if err := s.setSize(mbWidth*16, mapHeight*16*fieldFactor, (left+right)*unitX, (top+bottom)*unitY); err != nil {
		return nil, err
	}
	if r.flag() {
		h264VUI(r, s)
	}
	if s.Profile == 66 {
		s.Reorder = 0 // Baseline has no B slices
	}
	return s, nil
}

func (s *SPS) setSize(width, height, cropX, cropY int) error {
	if width <= 0 || height <= 0 || width > maxPictureSide || height > maxPictureSide || cropX < 0 || cropY < 0 || cropX >= width || cropY >= height {
		return fmt.Errorf("SPS: picture of %d×%d cropped by %d×%d: %w", width, height, cropX, cropY, ErrInvalid)
	}
	s.Width, s.Height = width-cropX, height-cropY
	return nil
}

func skipH264ScalingLists(r *bitReader, chroma uint32) {
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if !r.flag() {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := int32(8), int32(8)
		for range size {
			if next != 0 {
				next = (last + r.se() + 256) % 256
			}
			if next != 0 {
				last = next
			}
			if r.over {
				return
			}
		}
	}
}

// h264VUI reads the usability information as far as it goes. What is cut or
// absent is no error: both figures are hints.
func h264VUI(r *bitReader, s *SPS) {
	skipVUIColour(r)
	if r.flag() { // timing_info_present_flag
		units, scale := r.u(32), r.u(32)
		r.skip(1)
		if !r.over && units > 0 {
			s.FrameRate = plausibleRate(float64(scale) / (2 * float64(units)))
		}
	}
	nal := r.flag()
	if nal {
		skipH264HRD(r)
	}
	vcl := r.flag()
	if vcl {
		skipH264HRD(r)
	}
	if nal || vcl {
		r.skip(1)
	}
	r.skip(1) // pic_struct_present_flag
	if !r.flag() {
		return
	}
	r.skip(1)
	for range 4 {
		r.ue()
	}
	if n := r.ue(); !r.over && n <= 16 {
		s.Reorder = int(n)
	}
}

func skipH264HRD(r *bitReader) {
	n := r.ue()
	if n > 31 {
		r.over = true
		return
	}
	r.skip(8)
	for range n + 1 {
		r.ue()
		r.ue()
		r.skip(1)
	}
	r.skip(20)
}

// skipVUIColour passes the part that H.264 and H.265 have in common: aspect
// ratio, overscan, video signal type, chroma location.
func skipVUIColour(r *bitReader) {
	if r.flag() && r.u(8) == 255 {
		r.skip(32)
	}
	if r.flag() {
		r.skip(1)
	}
	if r.flag() {
		r.skip(4)
		if r.flag() {
			r.skip(24)
		}
	}
	if r.flag() {
		r.ue()
		r.ue()
	}
}

// plausibleRate drops what encoders write when they do not know (90000, 1e9).
func plausibleRate(f float64) float64 {
	if f < 0.01 || f > 1000 {
		return 0
	}
	return f
}
