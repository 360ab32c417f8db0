package producer

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/mp4"
)

// MP4Source puts the frames of an MP4 or QuickTime file, progressive or
// fragmented: up to three tracks of H.264, H.265, Motion JPEG, AAC or G.711.
type MP4Source struct {
	Path string
	FileOptions

	numbers map[int]uint64 // track of the file to track of the stream
}

// MP4File is the source of an MP4 file.
func MP4File(path string, o FileOptions) *MP4Source { return &MP4Source{Path: path, FileOptions: o} }

func (m *MP4Source) open() (*os.File, *mp4.File, error) {
	file, err := os.Open(m.Path)
	if err != nil {
		return nil, nil, &Error{StatusOpenFileFailed, err}
	}
	info, err := file.Stat()
	if err == nil {
		var f *mp4.File
		if f, err = mp4.Open(file, info.Size()); err == nil {
			return file, f, nil
		}
	}
	file.Close()
	return nil, nil, invalid(StatusFormatError, "%s: %v", m.Path, err)
}

// Configure reads the file's tables.
func (m *MP4Source) Configure(context.Context) (StreamInfo, error) {
	file, f, err := m.open()
	if err != nil {
		return StreamInfo{}, err
	}
	defer file.Close()
	m.numbers = map[int]uint64{}
	var tracks []sluice.Track
	for i, t := range f.Tracks {
		if len(tracks) == MaxTracks {
			break
		}
		switch mp4.Law(&t) {
		case "alaw":
			t.CodecID, t.CodecPrivate = "A_MS/ACM", g711Private(codec.WaveALaw, t.Audio)
		case "ulaw":
			t.CodecID, t.CodecPrivate = "A_MS/ACM", g711Private(codec.WaveMuLaw, t.Audio)
		}
		if t.Type == sluice.TrackVideo {
			t.Name = "kvs_video_track"
		} else {
			t.Name = "kvs_audio_track"
		}
		t.Number, t.UID = uint64(len(tracks)+1), uint64(len(tracks)+1)
		m.numbers[i] = t.Number
		tracks = append(tracks, t)
	}
	if len(tracks) == 0 {
		return StreamInfo{}, invalid(StatusTrackInfoMissing, "%s: no track of a codec that can be sent", m.Path)
	}
	if len(f.Samples) == 0 {
		return StreamInfo{}, invalid(StatusUnexpectedEOF, "%s: no frame in it", m.Path)
	}
	info := fileInfo(tracks, m.FileOptions)
	info.NALs = AdaptNone // MP4 holds them as the codec private data says
	return info, nil
}

func g711Private(law uint16, a *sluice.Audio) []byte {
	return codec.NewG711(law, int(max(a.Channels, 1)), int(a.SamplingFrequency)).Append(nil)
}

// Run puts the frames.
func (m *MP4Source) Run(ctx context.Context, s *Stream) error {
	file, in, err := m.open()
	if err != nil {
		return err
	}
	defer file.Close()
	f := feeder{o: m.FileOptions, s: s}
	for _, sample := range in.Samples {
		if t := in.Tracks[sample.Track].Type; t == sluice.TrackVideo || len(in.Tracks) == 1 {
			f.first, f.preset = sample.PTS, true
			break
		}
	}
	var data []byte
	for {
		for _, sample := range in.Samples {
			number, ok := m.numbers[sample.Track]
			if !ok || sample.Size == 0 {
				continue
			}
			if sample.Size > maxServiceFragment {
				return invalid(StatusFormatError, "%s: a frame of %d bytes", m.Path, sample.Size)
			}
			if data, err = in.Read(data[:0], sample); err != nil {
				return fmt.Errorf("%s: %w", m.Path, err)
			}
			fr := Frame{Track: number, PTS: sample.PTS, DTS: sample.DTS, Duration: sample.Duration, Key: sample.Key, Data: data}
			if err := f.put(ctx, fr); err != nil {
				return err
			}
		}
		if !m.Loop {
			return nil
		}
		if f.frames == 0 {
			return errors.New("nothing to put")
		}
		f.again()
	}
}
