package producer

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

// Limits of the developer guide ("Producer SDK Limits").
const (
	MaxStreams           = 128 // of a client; Options.MaxStreams sets another
	MaxDeviceNameLen     = 128
	MaxStreamNameLen     = 256
	MaxTags              = 50
	MaxTagNameLen        = 128
	MaxTagValueLen       = 1024
	MinStorageSize       = 10 << 20
	MaxStorageSize       = 10 << 30
	MaxKMSKeyIDLen       = 2048
	MaxContentTypeLen    = 128
	MaxCodecIDLen        = 32
	MaxTrackNameLen      = 32
	MaxCodecPrivateLen   = 1 << 20
	MaxTracks            = 3
	MaxMetadataItems     = 10 // of a fragment
	MaxMetadataNameLen   = 128
	MaxMetadataValueLen  = 256
	MinFragmentDuration  = time.Second
	MaxFragmentDuration  = 30 * time.Second
	MinTimecodeScale     = 100 * time.Nanosecond
	MaxTimecodeScale     = time.Second
	MinBufferDuration    = 20 * time.Second
	MinRetention         = time.Hour
	MaxRetention         = 10 * 365 * 24 * time.Hour
	MaxConnectionAge     = 40 * time.Minute // the service ends one at 45 minutes
	maxServiceFragment   = 50_000_000       // bytes
	serviceFragmentLimit = 20 * time.Second
)

// NoRetention asks for a stream that stores nothing.
const NoRetention time.Duration = -1

// StreamingType says what happens when media comes faster than it can be sent.
type StreamingType uint8

const (
	// Realtime never holds the source up: what finds no room pushes the oldest
	// fragment out.
	Realtime StreamingType = iota
	// Offline loses nothing: PutFrame waits for room. It needs retention and
	// acknowledgements.
	Offline
)

// NALAdaptation says how the NAL units of H.264 and H.265 frames, and their
// codec private data, are turned over. The values of the flags are the guide's.
type NALAdaptation uint8

const (
	// AdaptAuto goes by the codec private data: an avcC or hvcC record means that
	// frames stand as they should; none, or one in Annex B, means that both are
	// Annex B and become length-prefixed.
	AdaptAuto NALAdaptation = 0
	// AdaptNone passes frames and codec private data on as they are
	// (NAL_ADAPTATION_FLAG_NONE).
	AdaptNone NALAdaptation = 1 << 0
	// AdaptAnnexBFrames turns start codes into lengths of four bytes
	// (NAL_ADAPTATION_ANNEXB_NALS). Without codec private data it is built from
	// the first key frame.
	AdaptAnnexBFrames NALAdaptation = 1 << 3
	// AdaptAVCCFrames turns lengths into start codes (NAL_ADAPTATION_AVCC_NALS).
	AdaptAVCCFrames NALAdaptation = 1 << 4
	// AdaptAnnexBCPD builds an avcC or hvcC record of codec private data in
	// Annex B (NAL_ADAPTATION_ANNEXB_CPD_NALS).
	AdaptAnnexBCPD NALAdaptation = 1 << 5
)

// StreamInfo describes a stream to a Client. The zero value of each field is the
// default of the developer guide ("Kinesis Video Stream Structures"), named in
// brackets where the guide has another name for it.
type StreamInfo struct {
	// Name [stream_name]: 1 to 256 of a-z A-Z 0-9 _ . -. Empty: a random one.
	Name string
	// Retention [retention_period] of a stream that has to be created. 0: one
	// hour. The retention that the stream has decides when fragments are let go.
	Retention time.Duration
	// Tags [tags] put on the stream, at most 50.
	Tags map[string]string
	// KMSKeyID [kms_key_id] of a stream that has to be created.
	KMSKeyID string
	// NoCreate: a stream that does not exist is an error and not created.
	NoCreate bool
	// Type [streaming_type].
	Type StreamingType
	// ContentType [content_type], such as video/h264,audio/aac. Empty: from the
	// tracks.
	ContentType string
	// Tracks [codec_id, track_name, codecPrivateData]: one to three. Numbers that
	// are zero are given in order.
	Tracks []sluice.Track

	// MaxLatency [max_latency] that media may wait unsent before LatencyPressure
	// is reported. 0: never.
	MaxLatency time.Duration
	// FragmentDuration [fragment_duration]. 0: 2 s. It counts with ByDuration only.
	FragmentDuration time.Duration
	// ByDuration [key_frame_fragmentation = false] begins a fragment at the first
	// key frame after FragmentDuration instead of at every key frame. A stream
	// without a video track is always cut by duration.
	ByDuration bool
	// TimecodeScale [timecode_scale]. 0: 1 ms.
	TimecodeScale time.Duration
	// ClockTimes [frame_timecodes = false]: frames are stamped when they are put.
	ClockTimes bool
	// Timecodes [absolute_fragment_timestamps]: what the clusters count from. With
	// absolute ones Frame.PTS counts from the Unix epoch; with relative ones from
	// any point, and the first frame is taken to be of the moment it is put, or of
	// Start.
	Timecodes sluice.TimecodeType
	// Start is the producer time of PTS 0 in a stream with relative timecodes.
	// Zero: the first frame's PTS is now.
	Start time.Time
	// NoAcks [fragment_acks = false] asks for no acknowledgements: a fragment is
	// let go ReplayDuration after it was sent.
	NoAcks bool
	// NoRestart [restart_on_error = false]: the first error ends the stream.
	NoRestart bool
	// NoMetrics [recalculate_metrics = false] leaves the rates out of Metrics.
	NoMetrics bool
	// NALs [nal_adaptation_flags].
	NALs NALAdaptation
	// FrameRate [frame_rate] and Bandwidth [avg_bandwidth_bps], bits a second, are
	// what is expected. Nothing depends on them, because buffers grow and shrink with
	// what really comes; Bandwidth is what to give StorageFor. 0: 25 and 4 Mibit/s.
	FrameRate int
	Bandwidth int

	// BufferDuration [buffer_duration] that is kept at most. 0: 120 s.
	BufferDuration time.Duration
	// ReplayDuration [replay_duration] goes back, after a failure in which the
	// host is not known to be alive, over fragments that were RECEIVED and not
	// PERSISTED. What was never RECEIVED is always sent again. 0: 40 s.
	ReplayDuration time.Duration
	// ConnectionStaleness [connection_staleness] without an acknowledgement that is
	// due, after which the session is given up. 0: 30 s.
	ConnectionStaleness time.Duration
	// SegmentUUID of the Matroska segments. Zero: random.
	SegmentUUID [16]byte

	// IdleTimeout without a frame, after which the fragment and the session are
	// ended; the next key frame begins new ones. 0: 20 s; the service breaks a
	// session off at 30 s.
	IdleTimeout time.Duration
	// TrackWait is how long frames wait for a track that is behind, to be put in
	// order. After it the stream goes on without that track. 0: 1 s.
	TrackWait time.Duration
	// LongestFragment is where a fragment is cut though there is no key frame: the
	// service refuses longer ones. 0: 19 s.
	LongestFragment time.Duration
	// MaxKbps bounds the upload. 0: not bounded.
	MaxKbps int
	// Spool keeps media on disk through an outage or a restart. Nil: memory only.
	Spool *Spool

	// OnEvent is told what happens. It is called by one goroutine at a time, in
	// order, with no lock held; when it is slow, events wait in a bounded queue,
	// and when that is full the oldest are counted in EventsLost.
	OnEvent func(Event)
}

// H264 is a video track of H.264 named as the official producer names it. cpd
// may be an avcC record, parameter sets in Annex B, or nil: then it is built from
// the first key frame, which is in Annex B.
func H264(cpd []byte) sluice.Track {
	return sluice.Track{Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC", Name: "kvs_video_track", CodecPrivate: cpd}
}

// H265 is a video track of H.265; see H264.
func H265(cpd []byte) sluice.Track {
	return sluice.Track{Type: sluice.TrackVideo, CodecID: "V_MPEGH/ISO/HEVC", Name: "kvs_video_track", CodecPrivate: cpd}
}

// MJPEG is a video track whose frames are JPEG pictures of the given size.
func MJPEG(width, height int) sluice.Track {
	h := codec.BitmapInfo{Width: width, Height: height, BitCount: 24, Compression: [4]byte{'M', 'J', 'P', 'G'}}
	return sluice.Track{
		Type: sluice.TrackVideo, CodecID: "V_MS/VFW/FOURCC", Name: "kvs_video_track", CodecPrivate: h.Append(nil),
		Video: &sluice.Video{Width: uint64(width), Height: uint64(height)},
	}
}

// AAC is an audio track of AAC LC.
func AAC(sampleRate, channels int) (sluice.Track, error) {
	c := codec.AACConfig{ObjectType: 2, SampleRate: sampleRate, Channels: channels}
	cpd, err := c.Append(nil)
	if err != nil {
		return sluice.Track{}, fmt.Errorf("AAC track: %w", err)
	}
	return audioTrack("A_AAC", cpd, sampleRate, channels), nil
}

// Law is a kind of G.711.
type Law uint8

const (
	ALaw  Law = codec.WaveALaw
	MuLaw Law = codec.WaveMuLaw
)

// G711 is an audio track of G.711: one or two channels at 8000 to 192000 Hz.
func G711(law Law, sampleRate, channels int) (sluice.Track, error) {
	if sampleRate < 8000 || sampleRate > 192000 || channels < 1 || channels > 2 || law != ALaw && law != MuLaw {
		return sluice.Track{}, fmt.Errorf("G.711 track: %d channels at %d Hz: want A-law or µ-law, 1 or 2 channels, 8000 to 192000 Hz", channels, sampleRate)
	}
	return audioTrack("A_MS/ACM", codec.NewG711(uint16(law), channels, sampleRate).Append(nil), sampleRate, channels), nil
}

func audioTrack(codecID string, cpd []byte, rate, channels int) sluice.Track {
	return sluice.Track{
		Type: sluice.TrackAudio, CodecID: codecID, Name: "kvs_audio_track", CodecPrivate: cpd,
		Audio: &sluice.Audio{SamplingFrequency: float64(rate), Channels: uint64(channels)},
	}
}

// StorageFor is the size of a content store for streams of a bitrate buffered
// for a time: the guide's formula, with a fifth added.
func StorageFor(streams int, bitsPerSecond int, buffer time.Duration) int64 {
	n := int64(float64(streams) * float64(bitsPerSecond) / 8 * buffer.Seconds() * 1.2)
	return min(max(n, MinStorageSize), MaxStorageSize)
}

// withDefaults fills in what is zero and checks the guide's limits. Errors wrap
// the Status of the rule and name the field.
func (in StreamInfo) withDefaults() (StreamInfo, error) {
	orElse := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	orElse(&in.Retention, time.Hour)
	orElse(&in.FragmentDuration, 2*time.Second)
	orElse(&in.TimecodeScale, time.Millisecond)
	orElse(&in.BufferDuration, 120*time.Second)
	orElse(&in.ReplayDuration, 40*time.Second)
	orElse(&in.ConnectionStaleness, 30*time.Second)
	orElse(&in.IdleTimeout, 20*time.Second)
	orElse(&in.TrackWait, time.Second)
	orElse(&in.LongestFragment, serviceFragmentLimit-time.Second)
	if in.FrameRate == 0 {
		in.FrameRate = 25
	}
	if in.Bandwidth == 0 {
		in.Bandwidth = 4 << 20
	}
	if in.Name == "" {
		in.Name = randomName()
	}
	in.Tracks = append([]sluice.Track(nil), in.Tracks...)
	if err := in.numberTracks(); err != nil {
		return in, err
	}
	if in.ContentType == "" {
		in.ContentType = contentType(in.Tracks)
	}
	if in.ReplayDuration > in.BufferDuration {
		in.ReplayDuration = in.BufferDuration
	}
	return in, in.check()
}

func (in *StreamInfo) check() error {
	if err := sluice.ValidateStreamName(in.Name); err != nil {
		return invalid(StatusInvalidStreamNameLength, "%v", err)
	}
	if in.Retention != NoRetention && (in.Retention < MinRetention || in.Retention > MaxRetention || in.Retention%time.Hour != 0) {
		return invalid(StatusInvalidRetentionPeriod, "StreamInfo.Retention %v: want NoRetention, or whole hours from %v to %v", in.Retention, MinRetention, MaxRetention)
	}
	if len(in.Tags) > MaxTags {
		return invalid(StatusMaxTagCount, "StreamInfo.Tags: %d, at most %d", len(in.Tags), MaxTags)
	}
	for k, v := range in.Tags {
		if k == "" || len(k) > MaxTagNameLen {
			return invalid(StatusInvalidTagNameLength, "StreamInfo.Tags: a name of %d bytes, want 1 to %d", len(k), MaxTagNameLen)
		}
		if len(v) > MaxTagValueLen {
			return invalid(StatusInvalidTagValueLength, "StreamInfo.Tags[%q]: a value of %d bytes, at most %d", k, len(v), MaxTagValueLen)
		}
	}
	if len(in.KMSKeyID) > MaxKMSKeyIDLen {
		return invalid(StatusInvalidArgLen, "StreamInfo.KMSKeyID: %d characters, at most %d", len(in.KMSKeyID), MaxKMSKeyIDLen)
	}
	if len(in.ContentType) > MaxContentTypeLen {
		return invalid(StatusMKVInvalidContentTypeLength, "StreamInfo.ContentType: %d bytes, at most %d", len(in.ContentType), MaxContentTypeLen)
	}
	if in.FragmentDuration < MinFragmentDuration || in.FragmentDuration > MaxFragmentDuration {
		return invalid(StatusMKVInvalidClusterDuration, "StreamInfo.FragmentDuration %v: want %v to %v", in.FragmentDuration, MinFragmentDuration, MaxFragmentDuration)
	}
	if in.LongestFragment < MinFragmentDuration {
		return invalid(StatusMKVInvalidClusterDuration, "StreamInfo.LongestFragment %v: at least %v", in.LongestFragment, MinFragmentDuration)
	}
	if in.TimecodeScale < MinTimecodeScale || in.TimecodeScale > MaxTimecodeScale {
		return invalid(StatusMKVInvalidTimecodeScale, "StreamInfo.TimecodeScale %v: want %v to %v", in.TimecodeScale, MinTimecodeScale, MaxTimecodeScale)
	}
	if in.BufferDuration < MinBufferDuration {
		return invalid(StatusInvalidContentViewDuration, "StreamInfo.BufferDuration %v: at least %v", in.BufferDuration, MinBufferDuration)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"MaxLatency", in.MaxLatency}, {"ReplayDuration", in.ReplayDuration}, {"ConnectionStaleness", in.ConnectionStaleness},
		{"IdleTimeout", in.IdleTimeout}, {"TrackWait", in.TrackWait},
	} {
		if d.value < 0 {
			return invalid(StatusInvalidArg, "StreamInfo.%s %v: is negative", d.name, d.value)
		}
	}
	if in.Type == Offline && (in.Retention == NoRetention || in.NoAcks) {
		return invalid(StatusOfflineModeWithZeroRetention, "StreamInfo.Type Offline needs Retention and acknowledgements")
	}
	if in.NALs&AdaptAnnexBFrames != 0 && in.NALs&AdaptAVCCFrames != 0 {
		return invalid(StatusMKVBothAnnexBAndAVCC, "StreamInfo.NALs: AdaptAnnexBFrames and AdaptAVCCFrames at once")
	}
	if in.MaxKbps < 0 {
		return invalid(StatusInvalidArg, "StreamInfo.MaxKbps %d: is negative", in.MaxKbps)
	}
	if in.Spool != nil {
		return in.Spool.check()
	}
	return nil
}

// numberTracks gives numbers and UIDs to tracks without, and checks the rest.
func (in *StreamInfo) numberTracks() error {
	if len(in.Tracks) == 0 {
		return invalid(StatusTrackInfoMissing, "StreamInfo.Tracks: none, want 1 to %d", MaxTracks)
	}
	if len(in.Tracks) > MaxTracks {
		return invalid(StatusMaxTrackCountExceeded, "StreamInfo.Tracks: %d, at most %d", len(in.Tracks), MaxTracks)
	}
	seen := map[uint64]bool{}
	for i := range in.Tracks {
		t := &in.Tracks[i]
		if t.Number == 0 {
			t.Number = uint64(i + 1)
		}
		if t.UID == 0 {
			t.UID = t.Number
		}
		if t.Number > 126 {
			return invalid(StatusTrackInfoMissing, "StreamInfo.Tracks[%d].Number %d: want 1 to 126", i, t.Number)
		}
		if seen[t.Number] {
			return invalid(StatusDuplicateTrackID, "StreamInfo.Tracks[%d].Number %d: used twice", i, t.Number)
		}
		seen[t.Number] = true
		if t.CodecID == "" || len(t.CodecID) > MaxCodecIDLen {
			return invalid(StatusMKVInvalidCodecIDLength, "StreamInfo.Tracks[%d].CodecID: %d bytes, want 1 to %d", i, len(t.CodecID), MaxCodecIDLen)
		}
		if len(t.Name) > MaxTrackNameLen {
			return invalid(StatusMKVInvalidTrackNameLength, "StreamInfo.Tracks[%d].Name: %d bytes, at most %d", i, len(t.Name), MaxTrackNameLen)
		}
		if len(t.CodecPrivate) > MaxCodecPrivateLen {
			return invalid(StatusMKVInvalidCodecPrivateLength, "StreamInfo.Tracks[%d].CodecPrivate: %d bytes, at most %d", i, len(t.CodecPrivate), MaxCodecPrivateLen)
		}
		if t.Type == 0 {
			t.Type = sluice.TrackVideo
			if strings.HasPrefix(t.CodecID, "A_") {
				t.Type = sluice.TrackAudio
			}
		}
	}
	return nil
}

// contentType is the media type for a set of tracks, as the official producers
// name them.
func contentType(tracks []sluice.Track) string {
	var parts []string
	for i := range tracks {
		t := &tracks[i]
		name := ""
		switch codec.KindOf(t) {
		case codec.H264:
			name = "video/h264"
		case codec.H265:
			name = "video/h265"
		case codec.AAC:
			name = "audio/aac"
		case codec.ALaw:
			name = "audio/alaw"
		case codec.MuLaw:
			name = "audio/mulaw"
		case codec.MJPEG:
			name = "video/x-matroska"
		default:
			switch t.Type {
			case sluice.TrackVideo:
				name = "video/x-matroska"
			case sluice.TrackAudio:
				name = "audio/x-matroska"
			default:
				name = "application/octet-stream"
			}
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ",")
}
