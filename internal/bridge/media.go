package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"log/slog"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpfragmented"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph265"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpmjpeg"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpmpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/pion/rtp"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// rtpSession is a client that pulls or a session that pushes to us.
type rtpSession interface {
	OnPacketRTP(medi *description.Media, forma format.Format, cb gortsplib.OnPacketRTPFunc)
	PacketPTS(medi *description.Media, pkt *rtp.Packet) (int64, bool)
	PacketNTP(medi *description.Media, pkt *rtp.Packet) (time.Time, bool)
}

// errNoMedia: nothing in the description can be sent on.
var errNoMedia = errors.New("no H.264, H.265, M-JPEG, AAC or G.711 in what the camera offers")

// medium is one RTP medium of the session that is used.
type medium struct {
	media  *description.Media
	forma  format.Format
	number uint64 // of the stream's track
	track  sluice.Track
	known  bool // track is complete
	// decode makes frames of a packet: units of a picture, or packets of sound that
	// are step apart.
	decode func(p *rtp.Packet) (frames [][]byte, step time.Duration, err error)
	// picture turns a picture's units into one frame and says whether it is a key
	// frame.
	picture func(units [][]byte) (data []byte, key bool)
	buf     []byte

	clock   clock // by the camera's reports
	stamped bool
}

// choose takes the first video and, unless it is not wanted, the first sound that
// can be sent on.
func choose(desc *description.Session, sound bool, log *slog.Logger) ([]*medium, error) {
	var video, audio *medium
	for _, m := range desc.Medias {
		for _, f := range m.Formats {
			k, err := newMedium(m, f)
			switch {
			case err != nil:
				return nil, err
			case k == nil:
				log.Info("medium passed over", "type", string(m.Type), "codec", f.Codec())
			case k.track.Type == sluice.TrackVideo && video == nil:
				video = k
			case k.track.Type == sluice.TrackAudio && audio == nil && sound:
				audio = k
			}
		}
	}
	var all []*medium
	for _, k := range []*medium{video, audio} {
		if k != nil {
			k.number = uint64(len(all) + 1)
			k.track.Number = k.number
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		return nil, errNoMedia
	}
	return all, nil
}

// annexB joins units with start codes.
func (k *medium) annexB(units [][]byte) []byte {
	k.buf = k.buf[:0]
	for _, u := range units {
		if len(u) > 0 {
			k.buf = append(append(k.buf, 0, 0, 0, 1), u...)
		}
	}
	return k.buf
}

// newMedium is nil without an error for what cannot be sent on.
func newMedium(m *description.Media, forma format.Format) (*medium, error) {
	k := &medium{media: m, forma: forma, known: true}
	switch f := forma.(type) {
	case *format.H264:
		d, err := f.CreateDecoder()
		if err != nil {
			return nil, fmt.Errorf("H.264: %w", err)
		}
		if sps, pps := f.SafeParams(); sps != nil && pps != nil {
			k.track = producer.H264(k.annexB([][]byte{sps, pps}))
			k.buf = nil
		} else {
			k.track = producer.H264(nil)
		}
		k.decode = func(p *rtp.Packet) ([][]byte, time.Duration, error) {
			au, err := d.Decode(p)
			return au, 0, passOver(err, rtph264.ErrMorePacketsNeeded, rtph264.ErrNonStartingPacketAndNoPrevious)
		}
		k.picture = func(units [][]byte) ([]byte, bool) { return k.annexB(units), isKey(units, false) }
	case *format.H265:
		d, err := f.CreateDecoder()
		if err != nil {
			return nil, fmt.Errorf("H.265: %w", err)
		}
		if vps, sps, pps := f.SafeParams(); vps != nil && sps != nil && pps != nil {
			k.track = producer.H265(k.annexB([][]byte{vps, sps, pps}))
			k.buf = nil
		} else {
			k.track = producer.H265(nil)
		}
		k.decode = func(p *rtp.Packet) ([][]byte, time.Duration, error) {
			au, err := d.Decode(p)
			return au, 0, passOver(err, rtph265.ErrMorePacketsNeeded, rtph265.ErrNonStartingPacketAndNoPrevious)
		}
		k.picture = func(units [][]byte) ([]byte, bool) { return k.annexB(units), isKey(units, true) }
	case *format.MJPEG:
		d, err := f.CreateDecoder()
		if err != nil {
			return nil, fmt.Errorf("M-JPEG: %w", err)
		}
		k.track, k.known = sluice.Track{Type: sluice.TrackVideo}, false
		k.decode = func(p *rtp.Packet) ([][]byte, time.Duration, error) {
			img, err := d.Decode(p)
			if err != nil {
				return nil, 0, passOver(err, rtpmjpeg.ErrMorePacketsNeeded, rtpmjpeg.ErrNonStartingPacketAndNoPrevious)
			}
			if !k.known {
				size, err := jpeg.DecodeConfig(bytes.NewReader(img))
				if err != nil {
					return nil, 0, fmt.Errorf("M-JPEG: %w", err)
				}
				k.track, k.known = producer.MJPEG(size.Width, size.Height), true
				k.track.Number = k.number
			}
			return [][]byte{img}, 0, nil
		}
		k.picture = func(units [][]byte) ([]byte, bool) { return units[0], true }
	case *format.MPEG4Audio:
		if f.Config == nil {
			return nil, nil
		}
		d, err := f.CreateDecoder()
		if err != nil {
			return nil, fmt.Errorf("AAC: %w", err)
		}
		if err := k.aac(f.Config); err != nil {
			return nil, err
		}
		step := aacStep(f.Config)
		k.decode = func(p *rtp.Packet) ([][]byte, time.Duration, error) {
			aus, err := d.Decode(p)
			return aus, step, passOver(err, rtpmpeg4audio.ErrMorePacketsNeeded)
		}
	case *format.MPEG4AudioLATM:
		return k, k.latm(f)
	case *format.G711:
		law := producer.ALaw
		if f.MULaw {
			law = producer.MuLaw
		}
		track, err := producer.G711(law, f.SampleRate, f.ChannelCount)
		if err != nil {
			return nil, nil // more channels than the service takes
		}
		d, err := f.CreateDecoder()
		if err != nil {
			return nil, fmt.Errorf("G.711: %w", err)
		}
		k.track = track
		bytesPerSecond := f.SampleRate * f.ChannelCount
		k.decode = func(p *rtp.Packet) ([][]byte, time.Duration, error) {
			samples, err := d.Decode(p)
			if err != nil || len(samples) == 0 {
				return nil, 0, err
			}
			return [][]byte{samples}, time.Duration(len(samples)) * time.Second / time.Duration(bytesPerSecond), nil
		}
	default:
		return nil, nil
	}
	return k, nil
}

// aac makes the track of a configuration.
func (k *medium) aac(c *mpeg4audio.AudioSpecificConfig) error {
	cpd, err := c.Marshal()
	if err != nil {
		return fmt.Errorf("AAC: %w", err)
	}
	k.track = sluice.Track{
		Number: k.number, Type: sluice.TrackAudio, CodecID: "A_AAC", Name: "kvs_audio_track", CodecPrivate: cpd,
		Audio: &sluice.Audio{SamplingFrequency: float64(c.SampleRate), Channels: uint64(c.ChannelCount)},
	}
	k.known = true
	return nil
}

func aacStep(c *mpeg4audio.AudioSpecificConfig) time.Duration {
	return 1024 * time.Second / time.Duration(max(c.SampleRate, 1))
}

// latm takes AAC in LATM (RFC 6416), as GStreamer sends it: one program with one
// layer. The configuration is in the SDP, or in band.
func (k *medium) latm(f *format.MPEG4AudioLATM) error {
	d, err := f.CreateDecoder()
	if err != nil {
		return fmt.Errorf("AAC in LATM: %w", err)
	}
	element := mpeg4audio.AudioMuxElement{MuxConfigPresent: f.CPresent, StreamMuxConfig: f.StreamMuxConfig}
	config := func() *mpeg4audio.AudioSpecificConfig {
		m := element.StreamMuxConfig
		if m == nil || len(m.Programs) != 1 || len(m.Programs[0].Layers) != 1 {
			return nil
		}
		return m.Programs[0].Layers[0].AudioSpecificConfig
	}
	k.track, k.known = sluice.Track{Type: sluice.TrackAudio}, false
	if c := config(); c != nil {
		if err := k.aac(c); err != nil {
			return err
		}
	}
	k.decode = func(p *rtp.Packet) (frames [][]byte, step time.Duration, err error) {
		b, err := d.Decode(p)
		if err != nil {
			return nil, 0, passOver(err, rtpfragmented.ErrMorePacketsNeeded)
		}
		c := config()
		if !f.CPresent && c != nil && element.StreamMuxConfig.NumSubFrames == 0 {
			// The common case, without what the configuration says behind the
			// AudioSpecificConfig: GStreamer sends those with an extension, which
			// the parser takes for what follows.
			frame, err := latmPayload(b)
			return [][]byte{frame}, aacStep(c), err
		}
		if err := element.Unmarshal(b); err != nil {
			return nil, 0, fmt.Errorf("AAC in LATM: %w", err)
		}
		c = config()
		if c == nil {
			return nil, 0, errors.New("AAC in LATM: more than one program or layer")
		}
		if !k.known {
			if err := k.aac(c); err != nil {
				return nil, 0, err
			}
		}
		for _, sub := range element.Payloads {
			frames = append(frames, sub[0][0])
		}
		return frames, aacStep(c), nil
	}
	return nil
}

// latmPayload is the frame in an AudioMuxElement of one sub-frame, program and layer
// with lengths (ISO/IEC 14496-3, PayloadLengthInfo and PayloadMux).
func latmPayload(b []byte) ([]byte, error) {
	n, at := 0, 0
	for at < len(b) {
		n += int(b[at])
		at++
		if b[at-1] != 255 {
			break
		}
	}
	if n == 0 || n > len(b)-at {
		return nil, fmt.Errorf("AAC in LATM: a frame of %d bytes where %d are left", n, len(b)-at)
	}
	return b[at : at+n], nil
}

// passOver is nil for the errors that only say that a packet completes nothing.
func passOver(err error, quiet ...error) error {
	for _, q := range quiet {
		if errors.Is(err, q) {
			return nil
		}
	}
	return err
}

// isKey looks for an IDR picture, or in H.265 for any picture that decoding can
// start at.
func isKey(units [][]byte, h265 bool) bool {
	for _, u := range units {
		if len(u) == 0 {
			continue
		}
		if h265 {
			if t := u[0] >> 1 & 0x3f; t >= 16 && t <= 23 {
				return true
			}
		} else if u[0]&0x1f == 5 {
			return true
		}
	}
	return false
}

// feed takes the packets of a session to a stream.
type feed struct {
	ctx    context.Context
	rtp    rtpSession
	media  []*medium
	log    *slog.Logger
	stat   *counters
	ensure func(tracks []sluice.Track) (*producer.Stream, error)
	fail   func(error) // ends the session

	mu     sync.Mutex // packets of several media may come at once
	clock  clock
	stream *producer.Stream
}

// start takes packets from now on.
func (f *feed) start() {
	for _, k := range f.media {
		f.rtp.OnPacketRTP(k.media, k.forma, func(p *rtp.Packet) { f.packet(k, p) })
	}
}

func (f *feed) packet(k *medium, p *rtp.Packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stat.packet(len(p.Payload))
	ticks, ok := f.rtp.PacketPTS(k.media, p)
	if !ok {
		return // the track's place beside the others is not known yet
	}
	frames, step, err := k.decode(p)
	if err != nil {
		f.stat.decodeError(err)
		return
	}
	if len(frames) == 0 {
		return
	}
	if f.stream == nil && !f.ready() {
		return
	}
	rate := int64(max(k.forma.ClockRate(), 1))
	pts := time.Duration(ticks/rate)*time.Second + time.Duration(ticks%rate)*time.Second/time.Duration(rate)
	at := f.at(k, p, pts)
	if k.picture != nil {
		data, key := k.picture(frames)
		if len(data) > 0 {
			f.put(k, at, 0, key, data)
		}
		return
	}
	for i, data := range frames {
		if len(data) > 0 {
			f.put(k, at.Add(time.Duration(i)*step), step, true, data)
		}
	}
}

// at is a packet's producer time. The camera's reports put each medium in its
// place; what has none is placed by arrival, all media by one clock.
func (f *feed) at(k *medium, p *rtp.Packet, pts time.Duration) time.Time {
	ntp, haveNTP := f.rtp.PacketNTP(k.media, p)
	c := &f.clock
	if haveNTP && f.clock.believes(ntp) {
		if !k.clock.have {
			k.clock = clock{source: f.clock.source, now: f.clock.now}
			if k.stamped {
				k.clock = f.clock // from here it is led to where the camera says
			}
		}
		c = &k.clock
	}
	k.stamped = true
	at := c.at(pts, ntp, haveNTP)
	f.stat.timed(at, c.offset, c.seen, c.trusted)
	return at
}

// ready makes the stream once all tracks are known.
func (f *feed) ready() bool {
	var tracks []sluice.Track
	for _, k := range f.media {
		if !k.known {
			return false
		}
		tracks = append(tracks, k.track)
	}
	s, err := f.ensure(tracks)
	if err != nil {
		f.fail(err)
		return false
	}
	f.stream = s
	return true
}

func (f *feed) put(k *medium, at time.Time, d time.Duration, key bool, data []byte) {
	fr := producer.FrameAt(at, key, data)
	fr.Track, fr.Duration, fr.NoDTS = k.number, d, true
	if err := f.stream.PutFrame(f.ctx, fr); err != nil {
		f.stat.putError(err)
		if errors.Is(err, producer.StatusStreamHasBeenStopped) {
			f.fail(err)
		}
	}
}
