package producer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

// ImageFileMediaSource puts the files of a directory as frames, in the order of
// their names: pictures in JPEG, or one coded picture of H.264 or H.265 a file, in
// Annex B, as in the sample data of the official producers. It is the guide's
// ImageFileMediaSource.
type ImageFileMediaSource struct {
	// Dir holds the files: .jpg, .jpeg, .h264, .264, .h265, .265 or .hevc, all of
	// one kind. Other files are passed over.
	Dir string
	// FPS is how many frames there are in a second. 0: 25.
	FPS float64
	FileOptions

	files []string
	kind  codec.Kind
}

const (
	maxImageFile  = 50 << 20
	maxImageFiles = 1_000_000
)

var imageKinds = map[string]codec.Kind{
	".jpg": codec.MJPEG, ".jpeg": codec.MJPEG, ".h264": codec.H264, ".264": codec.H264, ".h265": codec.H265, ".265": codec.H265, ".hevc": codec.H265,
}

// Configure lists the files and looks at the first.
func (m *ImageFileMediaSource) Configure(context.Context) (StreamInfo, error) {
	if m.FPS == 0 {
		m.FPS = 25
	}
	if m.FPS < 0.001 || m.FPS > 1000 {
		return StreamInfo{}, invalid(StatusInvalidArg, "ImageFileMediaSource.FPS %v: want 0.001 to 1000", m.FPS)
	}
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return StreamInfo{}, &Error{StatusDirectoryOpenFailed, err}
	}
	m.files, m.kind = nil, codec.Unknown
	for _, e := range entries {
		kind, ok := imageKinds[strings.ToLower(filepath.Ext(e.Name()))]
		if !ok || !e.Type().IsRegular() && e.Type()&os.ModeSymlink == 0 {
			continue
		}
		if m.kind == codec.Unknown {
			m.kind = kind
		}
		if kind != m.kind {
			return StreamInfo{}, invalid(StatusFormatError, "%s: holds files of %v and of %v", m.Dir, m.kind, kind)
		}
		if len(m.files) == maxImageFiles {
			return StreamInfo{}, invalid(StatusInvalidArg, "%s: more than %d files", m.Dir, maxImageFiles)
		}
		m.files = append(m.files, filepath.Join(m.Dir, e.Name()))
	}
	if len(m.files) == 0 {
		return StreamInfo{}, invalid(StatusInvalidArg, "%s: no .jpg, .h264 or .h265 file in it", m.Dir)
	}
	slices.Sort(m.files)
	var track sluice.Track
	info := fileInfo(nil, m.FileOptions)
	switch m.kind {
	case codec.MJPEG:
		first, err := readImage(m.files[0])
		if err != nil {
			return StreamInfo{}, err
		}
		size, err := jpeg.DecodeConfig(bytes.NewReader(first))
		if err != nil {
			return StreamInfo{}, invalid(StatusFormatError, "%s: %v", m.files[0], err)
		}
		track = MJPEG(size.Width, size.Height)
		// Every picture is a key frame: a fragment each would be too many.
		info.ByDuration = true
	case codec.H264:
		track = H264(nil)
	case codec.H265:
		track = H265(nil)
	}
	info.Tracks = []sluice.Track{track}
	info.FrameRate = int(m.FPS + 0.5)
	return info, nil
}

func readImage(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, &Error{StatusOpenFileFailed, err}
	}
	if st.Size() > maxImageFile {
		return nil, invalid(StatusReadFileFailed, "%s: %d bytes, at most %d", path, st.Size(), maxImageFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{StatusReadFileFailed, err}
	}
	return b, nil
}

// Run puts the files.
func (m *ImageFileMediaSource) Run(ctx context.Context, s *Stream) error {
	f := feeder{o: m.FileOptions, s: s}
	f.o.KeepTimes = false
	step := time.Duration(float64(time.Second) / m.FPS)
	for {
		for i, path := range m.files {
			data, err := readImage(path)
			if err != nil {
				return err
			}
			if len(data) == 0 {
				return invalid(StatusFormatError, "%s: is empty", path)
			}
			fr := Frame{PTS: time.Duration(i) * step, NoDTS: true, Duration: step, Data: data, Key: codec.KeyFrame(m.kind, data, codec.FramingAnnexB)}
			if err := f.put(ctx, fr); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(path), err)
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
