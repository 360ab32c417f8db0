package producer

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
)

// MKVSource puts the frames of a Matroska file or stream: up to three tracks of
// video and sound, with their codec private data. Tags are not put: use PutMedia to
// send a file as it is.
type MKVSource struct {
	// Open opens the media. It is called by Configure, and again for each further
	// round and start.
	Open func() (io.ReadCloser, error)
	FileOptions

	in     io.ReadCloser
	demux  *mkv.Demuxer
	buf    []byte
	wanted map[uint64]bool
	tracks []sluice.Track
	early  []Frame       // frames that Configure has met
	first  time.Duration // of the first picture
}

// MKVFile is the source of a Matroska file.
func MKVFile(path string, o FileOptions) *MKVSource {
	return &MKVSource{Open: func() (io.ReadCloser, error) { return os.Open(path) }, FileOptions: o}
}

// maxEarly bounds the frames that Configure keeps while it looks for a picture.
const maxEarly = 120

// Configure reads up to the first picture.
func (m *MKVSource) Configure(ctx context.Context) (StreamInfo, error) {
	if err := m.open(); err != nil {
		return StreamInfo{}, err
	}
	for !m.metMain() && len(m.early) < maxEarly {
		err := m.read(ctx, func(f Frame) error {
			f.Data = slices.Clone(f.Data)
			m.early = append(m.early, f)
			return nil
		})
		if errors.Is(err, io.EOF) && len(m.early) > 0 {
			break
		}
		if err != nil {
			m.close()
			if errors.Is(err, io.EOF) {
				err = invalid(StatusUnexpectedEOF, "Matroska: no frame in it")
			}
			return StreamInfo{}, err
		}
	}
	var tracks []sluice.Track
	for _, t := range m.tracks {
		if m.wanted[t.Number] {
			tracks = append(tracks, t)
		}
	}
	m.first, _ = m.mainStart()
	info := fileInfo(tracks, m.FileOptions)
	// Frames stand as the codec private data says, or as they stood in the file.
	info.NALs = AdaptNone
	return info, nil
}

// metMain reports whether early holds the first picture, or any frame of a file
// without pictures.
func (m *MKVSource) metMain() bool {
	_, ok := m.mainStart()
	return ok
}

func (m *MKVSource) mainStart() (time.Duration, bool) {
	pictures := false
	for _, t := range m.tracks {
		pictures = pictures || m.wanted[t.Number] && t.Type == sluice.TrackVideo
	}
	for _, f := range m.early {
		for _, t := range m.tracks {
			if t.Number == f.Track && (t.Type == sluice.TrackVideo || !pictures) {
				return f.PTS, true
			}
		}
	}
	return 0, false
}

func (m *MKVSource) open() error {
	in, err := m.Open()
	if err != nil {
		return &Error{StatusOpenFileFailed, err}
	}
	m.in, m.demux, m.wanted, m.early = in, mkv.NewDemuxer(mkv.Options{}), nil, nil
	if m.buf == nil {
		m.buf = make([]byte, 64<<10)
	}
	return nil
}

func (m *MKVSource) close() {
	if m.in != nil {
		_ = m.in.Close() // it was only read
	}
	m.in, m.demux, m.early = nil, nil, nil
}

// choose takes the tracks of video and sound, the first three.
func (m *MKVSource) choose() {
	m.wanted, m.tracks = map[uint64]bool{}, nil
	for _, t := range m.demux.Tracks() {
		t.CodecPrivate = slices.Clone(t.CodecPrivate)
		m.tracks = append(m.tracks, t)
		if (t.Type == sluice.TrackVideo || t.Type == sluice.TrackAudio) && len(m.wanted) < MaxTracks && t.Number <= 126 {
			m.wanted[t.Number] = true
		}
	}
}

// read takes the next piece of input and hands out what frames it completes;
// io.EOF at the end. The frames' data is valid during the call.
func (m *MKVSource) read(ctx context.Context, put func(Frame) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := m.in.Read(m.buf)
	m.demux.Feed(m.buf[:n])
	end := errors.Is(err, io.EOF)
	if end {
		m.demux.Close()
	} else if err != nil {
		return &Error{StatusReadFileFailed, err}
	}
	for {
		ev, err := m.demux.Next()
		switch {
		case errors.Is(err, mkv.ErrMore):
			if end {
				return io.EOF
			}
			return nil
		case errors.Is(err, io.EOF):
			return io.EOF
		case err != nil:
			return invalid(StatusFormatError, "Matroska: %v", err)
		}
		if ev.ID == mkv.IDCluster && ev.Kind == mkv.Start && m.wanted == nil {
			m.choose()
		}
		for i := range ev.Frames {
			f := &ev.Frames[i]
			if !m.wanted[f.Track] || len(f.Data) == 0 {
				continue
			}
			fr := Frame{
				Track: f.Track, PTS: f.Timecode, NoDTS: true, Duration: f.Duration,
				Key: f.Key, Discardable: f.Discardable, Invisible: f.Invisible, Data: f.Data,
			}
			if err := put(fr); err != nil {
				return err
			}
		}
	}
}

// Run puts the frames.
func (m *MKVSource) Run(ctx context.Context, s *Stream) error {
	f := feeder{o: m.FileOptions, s: s, first: m.first, preset: true}
	defer m.close()
	for {
		if m.in == nil {
			if err := m.open(); err != nil {
				return err
			}
		}
		for _, fr := range m.early {
			if err := f.put(ctx, fr); err != nil {
				return err
			}
		}
		m.early = nil
		for {
			err := m.read(ctx, func(fr Frame) error { return f.put(ctx, fr) })
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		m.close()
		if !m.Loop {
			return nil
		}
		if f.frames == 0 {
			return errors.New("nothing to put")
		}
		f.again()
	}
}
