package codec

import (
	"fmt"

	"github.com/sluicevideo/sluice"
)

// Params is all that a packager needs to know of a track.
type Params struct {
	Kind  Kind
	Codec string // RFC 6381; for G.711 the sample entry's name (alaw, ulaw)
	// Config is what MP4 stores: the body of avcC, hvcC or dOps, or the
	// AudioSpecificConfig; nil for G.711. NAL lengths in it are those of Framing,
	// or four bytes when frames come in Annex B and have to be converted.
	Config  []byte
	Framing Framing // of the frames as declared; zero for codecs without NAL units

	// ParameterSets in decoding order (VPS, SPS, PPS), for MPEG-TS.
	ParameterSets [][]byte
	Width, Height int
	FrameRate     float64 // stated by the codec itself; 0: not stated
	Reorder       int     // pictures; see SPS.Reorder

	AAC        *AACConfig // AAC only
	SampleRate int        // Hz: the clock of the sound
	Channels   int
}

// Parse reads a track's codec private data. Errors wrap ErrMissing, ErrInvalid
// or ErrUnsupported and name the track.
//
// H.264 and H.265 tracks may carry their parameter sets in Annex B, as producers
// do that forgot to set the NAL adaptation flags; their frames are then expected
// with start codes too. AAC without codec private data is built from the track's
// audio settings, as Matroska allows for the old A_AAC/… names only.
func Parse(t *sluice.Track) (*Params, error) {
	p := &Params{Kind: KindOf(t)}
	var err error
	switch p.Kind {
	case H264:
		err = p.parseH264(t.CodecPrivate)
	case H265:
		err = p.parseH265(t.CodecPrivate)
	case AAC:
		err = p.parseAAC(t.CodecPrivate)
	case ALaw, MuLaw:
		err = p.parseG711(t.CodecPrivate)
	case Opus:
		err = p.parseOpus(t.CodecPrivate)
	default:
		if t.CodecID == "A_MS/ACM" && len(t.CodecPrivate) == 0 {
			err = ErrMissing
		} else {
			err = ErrUnsupported
		}
	}
	if err != nil {
		return nil, fmt.Errorf("track %d (%s): %w", t.Number, t.CodecID, err)
	}
	if p.Width == 0 && t.Video != nil {
		p.Width, p.Height = int(min(t.Video.Width, maxPictureSide)), int(min(t.Video.Height, maxPictureSide))
	}
	return p, nil
}

func (p *Params) parseH264(private []byte) error {
	if len(private) == 0 {
		return ErrMissing
	}
	var c *AVCConfig
	var err error
	if IsAnnexB(private) {
		_, sps, pps := ParameterSets(H264, private, FramingAnnexB)
		if c, err = NewAVCConfig(sps, pps); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		p.Framing = FramingAnnexB
	} else {
		if c, err = ParseAVCConfig(private); err != nil {
			return err
		}
		p.Framing = Framing(c.LengthSize)
	}
	sps, err := ParseH264SPS(c.SPS[0])
	if err != nil {
		return err
	}
	p.Codec, p.Config = c.Codec(), c.Append(nil)
	p.ParameterSets = append(append(p.ParameterSets, c.SPS...), c.PPS...)
	p.Width, p.Height, p.FrameRate, p.Reorder = sps.Width, sps.Height, sps.FrameRate, sps.Reorder
	return nil
}

func (p *Params) parseH265(private []byte) error {
	if len(private) == 0 {
		return ErrMissing
	}
	var c *HEVCConfig
	var err error
	if IsAnnexB(private) {
		if c, err = NewHEVCConfig(ParameterSets(H265, private, FramingAnnexB)); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		p.Framing = FramingAnnexB
	} else {
		if c, err = ParseHEVCConfig(private); err != nil {
			return err
		}
		p.Framing = Framing(c.LengthSize)
	}
	sps, err := ParseH265SPS(c.SPS[0])
	if err != nil {
		return err
	}
	p.Codec, p.Config = c.Codec(), c.Append(nil)
	p.ParameterSets = append(append(append(p.ParameterSets, c.VPS...), c.SPS...), c.PPS...)
	p.Width, p.Height, p.FrameRate, p.Reorder = sps.Width, sps.Height, sps.FrameRate, sps.Reorder
	return nil
}

func (p *Params) parseAAC(private []byte) error {
	if len(private) == 0 {
		return ErrMissing
	}
	c, err := ParseAACConfig(private)
	if err != nil {
		return err
	}
	p.AAC, p.Codec, p.Config = c, c.Codec(), private
	p.SampleRate, p.Channels = c.SampleRate, c.Channels
	return nil
}

func (p *Params) parseG711(private []byte) error {
	w, err := ParseWaveFormat(private)
	if err != nil {
		return err
	}
	p.Codec = "alaw"
	if p.Kind == MuLaw {
		p.Codec = "ulaw"
	}
	p.SampleRate, p.Channels = w.SampleRate, w.Channels
	return nil
}

func (p *Params) parseOpus(private []byte) error {
	if len(private) == 0 {
		return ErrMissing
	}
	h, err := ParseOpusHead(private)
	if err != nil {
		return err
	}
	p.Codec, p.Config = "opus", h.AppendDOps(nil)
	p.SampleRate, p.Channels = OpusRate, h.Channels
	return nil
}

// ConfigFromFrame builds codec private data (an avcC or hvcC body with lengths
// of four bytes) from the parameter sets inside a frame, or inside codec private
// data in Annex B. It returns an error that wraps ErrMissing when one is absent.
func ConfigFromFrame(k Kind, frame []byte, f Framing) ([]byte, error) {
	vps, sps, pps := ParameterSets(k, frame, f)
	switch k {
	case H264:
		c, err := NewAVCConfig(sps, pps)
		if err != nil {
			return nil, err
		}
		return c.Append(nil), nil
	case H265:
		c, err := NewHEVCConfig(vps, sps, pps)
		if err != nil {
			return nil, err
		}
		return c.Append(nil), nil
	}
	return nil, fmt.Errorf("%s has no parameter sets: %w", k, ErrUnsupported)
}
