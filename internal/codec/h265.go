package codec

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// h265Profile is the general part of profile_tier_level.
type h265Profile struct {
	space, idc    uint8
	high          bool // tier
	compatibility uint32
	constraints   [6]byte
	level         uint8
}

// HEVCConfig is an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3), the
// codec private data of H.265.
type HEVCConfig struct {
	LengthSize                                 int // 1, 2 or 4
	VPS, SPS, PPS                              [][]byte
	Other                                      [][]byte // SEI units in the record
	ChromaFormat, BitDepthLuma, BitDepthChroma uint8

	profile            h265Profile
	minSegmentation    uint16
	parallelism        uint8
	averageRate        uint16
	constantRateLayers byte // constantFrameRate, numTemporalLayers, temporalIdNested in their places
}

// ParseHEVCConfig reads an hvcC body. The parameter sets alias b; they are
// sorted by their own NAL type, not by the array they lie in, which some
// producers get wrong.
func ParseHEVCConfig(b []byte) (*HEVCConfig, error) {
	if len(b) < 23 {
		return nil, fmt.Errorf("hvcC of %d bytes: at least 23: %w", len(b), ErrInvalid)
	}
	// Version 0 was written by encoders before the standard was final.
	if b[0] > 1 {
		return nil, fmt.Errorf("hvcC version %d, want 1: %w", b[0], ErrInvalid)
	}
	c := &HEVCConfig{
		LengthSize:   int(b[21]&3) + 1,
		ChromaFormat: b[16] & 3, BitDepthLuma: b[17]&7 + 8, BitDepthChroma: b[18]&7 + 8,
		profile: h265Profile{
			space: b[1] >> 6, high: b[1]&0x20 != 0, idc: b[1] & 0x1f,
			compatibility: binary.BigEndian.Uint32(b[2:]), constraints: [6]byte(b[6:12]), level: b[12],
		},
		minSegmentation: binary.BigEndian.Uint16(b[13:]) & 0xfff, parallelism: b[15] & 3,
		averageRate: binary.BigEndian.Uint16(b[19:]), constantRateLayers: b[21] &^ 3,
	}
	if c.LengthSize == 3 {
		return nil, fmt.Errorf("hvcC: NAL length of 3 bytes: %w", ErrInvalid)
	}
	arrays := int(b[22])
	rest := b[23:]
	for range arrays {
		if len(rest) < 3 {
			return nil, fmt.Errorf("hvcC: ends before an array: %w", ErrInvalid)
		}
		n := int(binary.BigEndian.Uint16(rest[1:]))
		rest = rest[3:]
		for range n {
			if len(rest) < 2 {
				return nil, fmt.Errorf("hvcC: ends inside an array: %w", ErrInvalid)
			}
			size := int(binary.BigEndian.Uint16(rest))
			if size == 0 || size > len(rest)-2 {
				return nil, fmt.Errorf("hvcC: NAL unit of %d bytes where %d are left: %w", size, len(rest)-2, ErrInvalid)
			}
			nal := rest[2 : 2+size]
			if IsParameterSet(H265, nal) {
				c.VPS, c.SPS, c.PPS = sortParameterSet(H265, nal, c.VPS, c.SPS, c.PPS)
			} else {
				c.Other = append(c.Other, nal)
			}
			rest = rest[2+size:]
		}
	}
	if len(c.SPS) == 0 || len(c.PPS) == 0 {
		return nil, fmt.Errorf("hvcC: %d SPS and %d PPS, at least one of each: %w", len(c.SPS), len(c.PPS), ErrInvalid)
	}
	return c, nil
}

// NewHEVCConfig makes a record with lengths of four bytes from parameter sets,
// which it keeps by reference. The profile comes from the first SPS.
func NewHEVCConfig(vps, sps, pps [][]byte) (*HEVCConfig, error) {
	if len(vps) == 0 || len(sps) == 0 || len(pps) == 0 {
		return nil, fmt.Errorf("H.265 with %d VPS, %d SPS and %d PPS: at least one of each: %w", len(vps), len(sps), len(pps), ErrMissing)
	}
	if err := checkSets(64, vps, sps, pps); err != nil {
		return nil, err
	}
	s, err := ParseH265SPS(sps[0])
	if err != nil {
		return nil, err
	}
	c := &HEVCConfig{
		LengthSize: 4, VPS: vps, SPS: sps, PPS: pps, profile: s.h265,
		ChromaFormat: s.ChromaFormat, BitDepthLuma: s.BitDepthLuma, BitDepthChroma: s.BitDepthChroma,
		constantRateLayers: s.temporalLayers << 3,
	}
	if s.temporalNested {
		c.constantRateLayers |= 4
	}
	return c, nil
}

// Append appends the hvcC body to b, arrays complete and in the order VPS, SPS,
// PPS, SEI.
func (c *HEVCConfig) Append(b []byte) []byte {
	first := c.profile.space<<6 | c.profile.idc
	if c.profile.high {
		first |= 0x20
	}
	b = append(b, 1, first)
	b = binary.BigEndian.AppendUint32(b, c.profile.compatibility)
	b = append(b, c.profile.constraints[:]...)
	b = append(b, c.profile.level)
	b = binary.BigEndian.AppendUint16(b, 0xf000|c.minSegmentation)
	b = append(b, 0xfc|c.parallelism, 0xfc|c.ChromaFormat, 0xf8|(c.BitDepthLuma-8), 0xf8|(c.BitDepthChroma-8))
	b = binary.BigEndian.AppendUint16(b, c.averageRate)
	b = append(b, c.constantRateLayers|byte(c.LengthSize-1))
	count := len(b)
	b = append(b, 0)
	for _, array := range []struct {
		kind byte
		nals [][]byte
	}{{h265VPS, c.VPS}, {h265SPS, c.SPS}, {h265PPS, c.PPS}, {39, c.Other}} {
		if len(array.nals) == 0 {
			continue
		}
		b[count]++
		b = append(b, 0x80|array.kind)
		b = binary.BigEndian.AppendUint16(b, uint16(len(array.nals)))
		b = appendSets(b, array.nals)
	}
	return b
}

// Codec is the name of ISO/IEC 14496-15 Annex E, such as hvc1.1.6.L93.90.
func (c *HEVCConfig) Codec() string {
	var s strings.Builder
	s.WriteString("hvc1.")
	if c.profile.space > 0 {
		s.WriteByte('A' + c.profile.space - 1)
	}
	s.WriteString(strconv.Itoa(int(c.profile.idc)))
	s.WriteByte('.')
	s.WriteString(strconv.FormatUint(uint64(bits.Reverse32(c.profile.compatibility)), 16))
	if c.profile.high {
		s.WriteString(".H")
	} else {
		s.WriteString(".L")
	}
	s.WriteString(strconv.Itoa(int(c.profile.level)))
	last := len(c.profile.constraints)
	for last > 0 && c.profile.constraints[last-1] == 0 {
		last--
	}
	for _, v := range c.profile.constraints[:last] {
		s.WriteByte('.')
		s.WriteString(strconv.FormatUint(uint64(v), 16))
	}
	return s.String()
}

// ParseH265SPS reads an SPS NAL unit, its two header bytes included.
func ParseH265SPS(nal []byte) (*SPS, error) {
	if NALType(H265, nal) != h265SPS || len(nal) < 16 {
		return nil, fmt.Errorf("H.265 SPS: not one (%d bytes): %w", len(nal), ErrInvalid)
	}
	r := &bitReader{b: unescape(nal[2:])}
	r.skip(4) // sps_video_parameter_set_id
	maxSubLayers := int(r.u(3))
	s := &SPS{temporalLayers: uint8(maxSubLayers) + 1, temporalNested: r.flag(), Reorder: -1}
	s.h265 = h265ProfileTierLevel(r, maxSubLayers)
	s.Profile, s.Level = s.h265.idc, s.h265.level
	r.ue() // sps_seq_parameter_set_id
	chroma := r.ue()
	if chroma > 3 {
		return nil, fmt.Errorf("H.265 SPS: chroma_format_idc %d: %w", chroma, ErrInvalid)
	}
	s.ChromaFormat = uint8(chroma)
	separatePlanes := chroma == 3 && r.flag()
	width, height := int(r.ue()), int(r.ue())
	var left, right, top, bottom int
	if r.flag() {
		left, right, top, bottom = int(r.ue()), int(r.ue()), int(r.ue()), int(r.ue())
	}
	luma, chromaDepth := r.ue(), r.ue()
	if luma > 8 || chromaDepth > 8 {
		return nil, fmt.Errorf("H.265 SPS: bit depth %d, %d: %w", luma+8, chromaDepth+8, ErrInvalid)
	}
	s.BitDepthLuma, s.BitDepthChroma = uint8(luma)+8, uint8(chromaDepth)+8
	if r.over {
		return nil, fmt.Errorf("H.265 SPS of %d bytes: ends too early: %w", len(nal), ErrInvalid)
	}
	unitX, unitY := 1, 1
	if !separatePlanes && (chroma == 1 || chroma == 2) {
		unitX = 2
		if chroma == 1 {
			unitY = 2
		}
	}
	if err := s.setSize(width, height, (left+right)*unitX, (top+bottom)*unitY); err != nil {
		return nil, err
	}
	s.FrameRate = h265FrameRate(r, maxSubLayers, s)
	return s, nil
}

func h265ProfileTierLevel(r *bitReader, maxSubLayers int) h265Profile {
	p := h265Profile{space: uint8(r.u(2)), high: r.flag(), idc: uint8(r.u(5)), compatibility: r.u(32)}
	for i := range p.constraints {
		p.constraints[i] = uint8(r.u(8))
	}
	p.level = uint8(r.u(8))
	var profilePresent, levelPresent [8]bool
	for i := range maxSubLayers {
		profilePresent[i], levelPresent[i] = r.flag(), r.flag()
	}
	if maxSubLayers > 0 {
		r.skip(2 * (8 - maxSubLayers))
	}
	for i := range maxSubLayers {
		if profilePresent[i] {
			r.skip(88)
		}
		if levelPresent[i] {
			r.skip(8)
		}
	}
	return p
}

// h265FrameRate reads from behind the bit depths to the timing information; 0
// when it is absent or the SPS ends before. On the way it sets s.Reorder.
func h265FrameRate(r *bitReader, maxSubLayers int, s *SPS) float64 {
	pocBits := int(r.ue()) + 4
	if pocBits > 16 {
		return 0
	}
	from := maxSubLayers
	if r.flag() {
		from = 0
	}
	for range maxSubLayers - from + 1 {
		r.ue()
		if n := r.ue(); !r.over && n <= 16 {
			s.Reorder = int(n) // the highest layer's, which is the last, counts
		}
		r.ue()
	}
	for range 6 {
		r.ue() // block sizes and transform depths
	}
	if enabled := r.flag(); enabled && r.flag() {
		skipH265ScalingLists(r)
	}
	r.skip(2) // amp, sample adaptive offset
	if r.flag() {
		r.skip(8)
		r.ue()
		r.ue()
		r.skip(1)
	}
	if !skipH265ShortTermSets(r) {
		return 0
	}
	if r.flag() {
		n := r.ue()
		if n > 32 {
			return 0
		}
		r.skip(int(n) * (pocBits + 1))
	}
	r.skip(2) // temporal mvp, strong intra smoothing
	if !r.flag() {
		return 0
	}
	skipVUIColour(r)
	r.skip(3) // neutral chroma, field sequence, frame field info
	if r.flag() {
		for range 4 {
			r.ue()
		}
	}
	if !r.flag() {
		return 0
	}
	units, scale := r.u(32), r.u(32)
	if r.over || units == 0 {
		return 0
	}
	return plausibleRate(float64(scale) / float64(units))
}

func skipH265ScalingLists(r *bitReader) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for m := 0; m < 6; m += step {
			if !r.flag() {
				r.ue()
				continue
			}
			if size > 1 {
				r.se()
			}
			for range min(64, 1<<(4+2*size)) {
				r.se()
				if r.over {
					return
				}
			}
		}
	}
}

// skipH265ShortTermSets passes the short-term reference picture sets; each may
// be told as a difference to the one before (23008-2 §7.3.7).
func skipH265ShortTermSets(r *bitReader) bool {
	sets := r.ue()
	if sets > 64 {
		return false
	}
	deltas := uint32(0) // NumDeltaPocs of the set before
	for i := range sets {
		if i > 0 && r.flag() {
			r.skip(1)
			r.ue()
			kept := uint32(0)
			for range deltas + 1 {
				used := r.flag()
				if used || r.flag() {
					kept++
				}
			}
			deltas = kept
		} else {
			negative, positive := r.ue(), r.ue()
			if negative > 16 || positive > 16 {
				return false
			}
			deltas = negative + positive
			for range deltas {
				r.ue()
				r.skip(1)
			}
		}
		if r.over {
			return false
		}
	}
	return true
}
