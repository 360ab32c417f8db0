package producer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

// AnnexBSource puts the pictures of an elementary stream of H.264 or H.265, as
// encoders write to .h264 and .h265 files. Such a stream has no times: pictures
// are put FPS to a second, in the order in which they are decoded.
type AnnexBSource struct {
	// Open opens the media. It is called by Configure, and again for each further
	// round and start.
	Open func() (io.ReadCloser, error)
	// H265 says that it is H.265, not H.264.
	H265 bool
	// FPS is the pictures in a second. 0: what the stream says, or 25.
	FPS float64
	FileOptions

	in    io.ReadCloser
	split *accessUnits
	first []byte
}

// AnnexBFile is the source of an elementary stream in a file; its ending
// (.h265, .265, .hevc) tells H.265.
func AnnexBFile(path string, fps float64, o FileOptions) *AnnexBSource {
	ext := strings.ToLower(filepath.Ext(path))
	return &AnnexBSource{
		Open: func() (io.ReadCloser, error) { return os.Open(path) },
		H265: ext == ".h265" || ext == ".265" || ext == ".hevc", FPS: fps, FileOptions: o,
	}
}

func (m *AnnexBSource) kind() codec.Kind {
	if m.H265 {
		return codec.H265
	}
	return codec.H264
}

func (m *AnnexBSource) open() error {
	in, err := m.Open()
	if err != nil {
		return &Error{StatusOpenFileFailed, err}
	}
	m.in, m.split = in, &accessUnits{r: in, kind: m.kind()}
	return nil
}

func (m *AnnexBSource) close() {
	if m.in != nil {
		_ = m.in.Close() // it was only read
	}
	m.in, m.split, m.first = nil, nil, nil
}

// Configure reads the first picture.
func (m *AnnexBSource) Configure(context.Context) (StreamInfo, error) {
	if err := m.open(); err != nil {
		return StreamInfo{}, err
	}
	first, err := m.split.next()
	if err != nil {
		m.close()
		return StreamInfo{}, invalid(StatusFormatError, "Annex B: no picture in it: %v", err)
	}
	m.first = slices.Clone(first)
	track := H264(nil)
	if m.H265 {
		track = H265(nil)
	}
	if m.FPS == 0 {
		m.FPS = 25
		t := track
		t.CodecPrivate = m.first
		if p, err := codec.Parse(&t); err == nil && p.FrameRate >= 1 {
			m.FPS = p.FrameRate
		}
	}
	if m.FPS < 0.001 || m.FPS > 1000 {
		m.close()
		return StreamInfo{}, invalid(StatusInvalidArg, "AnnexBSource.FPS %v: want 0.001 to 1000", m.FPS)
	}
	info := fileInfo([]sluice.Track{track}, m.FileOptions)
	info.NALs = AdaptAnnexBFrames | AdaptAnnexBCPD
	info.FrameRate = int(m.FPS + 0.5)
	return info, nil
}

// Run puts the pictures.
func (m *AnnexBSource) Run(ctx context.Context, s *Stream) error {
	f := feeder{o: m.FileOptions, s: s}
	f.o.KeepTimes = false
	defer m.close()
	step := time.Duration(float64(time.Second) / m.FPS)
	for {
		if m.in == nil {
			if err := m.open(); err != nil {
				return err
			}
		}
		for n := 0; ; n++ {
			au := m.first
			m.first = nil
			if au == nil {
				var err error
				if au, err = m.split.next(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return err
				}
			}
			fr := Frame{PTS: time.Duration(n) * step, NoDTS: true, Duration: step, Data: au, Key: codec.KeyFrame(m.kind(), au, codec.FramingAnnexB)}
			if err := f.put(ctx, fr); err != nil {
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

// accessUnits cuts an elementary stream into pictures.
type accessUnits struct {
	r    io.Reader
	kind codec.Kind

	buf   []byte
	start int // of the picture that is being gathered
	scan  int // where the search for the next NAL unit goes on
	slice bool
	begun bool // buf[start] is a start code
	eof   bool
}

// next is the next picture with its parameter sets and other units, start codes
// and all. It is valid until the next call.
func (a *accessUnits) next() ([]byte, error) {
	for {
		// Each start code that is whole in the buffer, with the bytes that tell what
		// follows it.
		i := bytes.Index(a.buf[a.scan:], []byte{0, 0, 1})
		need := 5 // of a NAL unit: its header and the first byte of a slice
		if i >= 0 && (a.scan+i+3+need <= len(a.buf) || a.eof) {
			at := a.scan + i
			nal := a.buf[at+3:]
			code := at
			if code > a.start && a.buf[code-1] == 0 {
				code--
			}
			a.scan = at + 3
			if !a.begun {
				a.start, a.begun = code, true
			}
			begins, slice := a.look(nal)
			if a.slice && begins && code > a.start {
				au := a.buf[a.start:code]
				a.start, a.slice = code, slice
				return au, nil
			}
			a.slice = a.slice || slice
			continue
		}
		if i < 0 {
			a.scan = max(a.scan, len(a.buf)-2)
		}
		if a.eof {
			au := a.buf[a.start:]
			a.start = len(a.buf)
			if !a.slice || !a.begun {
				return nil, io.EOF
			}
			a.slice = false
			return au, nil
		}
		if err := a.fill(); err != nil {
			return nil, err
		}
	}
}

func (a *accessUnits) fill() error {
	if a.start > 0 {
		n := copy(a.buf, a.buf[a.start:])
		a.buf, a.scan, a.start = a.buf[:n], a.scan-a.start, 0
	}
	if len(a.buf) > maxServiceFragment {
		return invalid(StatusFormatError, "Annex B: no picture ends within %d bytes", maxServiceFragment)
	}
	a.buf = slices.Grow(a.buf, 64<<10)
	n, err := a.r.Read(a.buf[len(a.buf) : len(a.buf)+64<<10])
	a.buf = a.buf[:len(a.buf)+n]
	if errors.Is(err, io.EOF) {
		a.eof = true
	} else if err != nil {
		return &Error{StatusReadFileFailed, err}
	}
	return nil
}

// look says of a NAL unit whether a new picture begins with it when one has had
// its slices (H.264 §7.4.1.2.3, H.265 §7.4.2.4.4), and whether it is a slice.
func (a *accessUnits) look(nal []byte) (begins, slice bool) {
	t := codec.NALType(a.kind, nal)
	if a.kind == codec.H265 {
		slice = t >= 0 && t < 32
		first := len(nal) > 2 && nal[2]&0x80 != 0 // first_slice_segment_in_pic_flag
		return slice && first || t >= 32 && t <= 35 || t == 39 || t >= 41 && t <= 44 || t >= 48 && t <= 55, slice
	}
	slice = t >= 1 && t <= 5
	first := len(nal) > 1 && nal[1]&0x80 != 0 // first_mb_in_slice is 0
	return slice && first || t >= 6 && t <= 9 || t >= 14 && t <= 18, slice
}
