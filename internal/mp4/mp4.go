// Package mp4 reads the coded frames out of an MP4 or QuickTime file: its tracks,
// and each sample's place, times and key flag, of progressive and of fragmented
// files. It decodes nothing and reads sample data only when asked to.
//
// Files come from outside: boxes are bounded in size and depth, sample tables in
// length, and nothing is taken from a table without looking whether it is there.
//
// Sources: ISO/IEC 14496-12 (boxes), 14496-14 (esds), 14496-15 (avcC, hvcC).
package mp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sluicevideo/sluice"
)

// ErrInvalid is wrapped by every complaint about a file.
var ErrInvalid = errors.New("not a readable MP4 file")

const (
	maxMoov    = 256 << 20 // bytes of a moov or moof box
	maxDepth   = 12
	maxSamples = 20_000_000 // of a file: 90 hours of video and sound
	maxTracks  = 64
)

// Sample is one coded frame.
type Sample struct {
	Track    int // index into File.Tracks
	Offset   int64
	Size     int
	DTS, PTS time.Duration // of the presentation: edit lists are applied
	Duration time.Duration
	Key      bool
}

// File is an open file.
type File struct {
	r    io.ReaderAt
	size int64
	// Tracks are those of video and sound whose codec is known, in file order.
	Tracks  []sluice.Track
	Samples []Sample // by DTS, and in track order where that is equal

	tracks []*track
	count  int
}

type track struct {
	id        uint32
	index     int // in Tracks; -1: passed over
	scale     int64
	handler   string
	entry     sluice.Track
	editMedia int64 // media time at which the presentation begins
	editDelay int64 // of movie time before it
	hasEdit   bool

	sizes      []uint32
	fixedSize  uint32
	sizeCount  int
	chunks     []int64
	toChunk    [][3]uint32
	timeToSamp [][2]uint32
	offsets    [][2]int64
	sync       []uint32
	hasSync    bool
	defaults   trackDefaults
	next       int64 // decode time of the next fragment's first sample
}

type trackDefaults struct{ duration, size, flags uint32 }

// Open reads the tables of a file.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	movieScale := int64(1000)
	found := false
	err := f.top(func(kind string, at, end int64) error {
		switch kind {
		case "moov":
			b, err := f.load(kind, at, end)
			if err != nil {
				return err
			}
			found = true
			return f.moov(b, &movieScale)
		case "moof":
			b, err := f.load(kind, at, end)
			if err != nil {
				return err
			}
			return f.moof(b, at-8)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("no moov box: %w", ErrInvalid)
	}
	for _, t := range f.tracks {
		if t.index < 0 {
			continue
		}
		if err := f.table(t); err != nil {
			return nil, fmt.Errorf("track %d: %w", t.id, err)
		}
	}
	for i := range f.Samples {
		s := &f.Samples[i]
		t := f.trackOf(s.Track)
		shift := time.Duration(0)
		if t.hasEdit {
			shift = toTime(t.editDelay, movieScale) - toTime(t.editMedia, t.scale)
		}
		s.DTS += shift
		s.PTS += shift
	}
	slices.SortStableFunc(f.Samples, func(a, b Sample) int {
		switch {
		case a.DTS < b.DTS:
			return -1
		case a.DTS > b.DTS:
			return 1
		}
		return a.Track - b.Track
	})
	return f, nil
}

func (f *File) trackOf(index int) *track {
	for _, t := range f.tracks {
		if t.index == index {
			return t
		}
	}
	return nil
}

// Read appends a sample's bytes to b.
func (f *File) Read(b []byte, s Sample) ([]byte, error) {
	if s.Offset < 0 || s.Size < 0 || s.Offset > f.size || int64(s.Size) > f.size-s.Offset {
		return b, fmt.Errorf("sample at %d of %d bytes lies outside the file: %w", s.Offset, s.Size, ErrInvalid)
	}
	n := len(b)
	b = slices.Grow(b, s.Size)[:n+s.Size]
	if _, err := f.r.ReadAt(b[n:], s.Offset); err != nil {
		return b[:n], fmt.Errorf("sample at %d: %w", s.Offset, err)
	}
	return b, nil
}

// top yields the boxes of the file: kind, and where the contents are.
func (f *File) top(yield func(kind string, at, end int64) error) error {
	var h [16]byte
	for at := int64(0); at+8 <= f.size; {
		n, err := f.r.ReadAt(h[:min(16, f.size-at)], at)
		if n < 8 {
			return fmt.Errorf("box at %d: %w", at, err)
		}
		size, head := int64(binary.BigEndian.Uint32(h[:])), int64(8)
		switch size {
		case 0:
			size = f.size - at
		case 1:
			if n < 16 {
				return fmt.Errorf("box at %d: its size is cut off: %w", at, ErrInvalid)
			}
			size, head = int64(binary.BigEndian.Uint64(h[8:])), 16
		}
		if size < head || size > f.size-at {
			if len(f.tracks) > 0 {
				return nil // a file that is still being written, or was cut: what is whole counts
			}
			return fmt.Errorf("box %q at %d: a size of %d: %w", h[4:8], at, size, ErrInvalid)
		}
		if err := yield(string(h[4:8]), at+head, at+size); err != nil {
			return err
		}
		at += size
	}
	return nil
}

func (f *File) load(kind string, at, end int64) ([]byte, error) {
	if end-at > maxMoov {
		return nil, fmt.Errorf("%s box of %d bytes, at most %d: %w", kind, end-at, maxMoov, ErrInvalid)
	}
	b := make([]byte, end-at)
	if _, err := f.r.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("%s box: %w", kind, err)
	}
	return b, nil
}

// boxes yields the boxes in b.
func boxes(b []byte, depth int, yield func(kind string, b []byte, depth int) error) error {
	if depth > maxDepth {
		return fmt.Errorf("boxes nested deeper than %d: %w", maxDepth, ErrInvalid)
	}
	for len(b) >= 8 {
		size, head := uint64(binary.BigEndian.Uint32(b)), uint64(8)
		switch {
		case size == 0:
			size = uint64(len(b))
		case size == 1 && len(b) >= 16:
			size, head = binary.BigEndian.Uint64(b[8:]), 16
		}
		if size < head || size > uint64(len(b)) {
			return fmt.Errorf("box %q: a size of %d where %d bytes are left: %w", b[4:8], size, len(b), ErrInvalid)
		}
		if err := yield(string(b[4:8]), b[head:size], depth+1); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func (f *File) moov(b []byte, movieScale *int64) error {
	return boxes(b, 0, func(kind string, b []byte, depth int) error {
		switch kind {
		case "mvhd":
			if scale := timeScale(b); scale > 0 {
				*movieScale = scale
			}
		case "trak":
			if len(f.tracks) == maxTracks {
				return fmt.Errorf("more than %d tracks: %w", maxTracks, ErrInvalid)
			}
			t := &track{index: -1, scale: 1}
			if err := t.trak(b, depth); err != nil {
				return err
			}
			if t.entry.CodecID != "" {
				t.index = len(f.Tracks)
				t.entry.Number, t.entry.UID = uint64(t.index+1), uint64(t.index+1)
				f.Tracks = append(f.Tracks, t.entry)
			}
			f.tracks = append(f.tracks, t)
		case "mvex":
			return boxes(b, depth, func(kind string, b []byte, _ int) error {
				if kind != "trex" || len(b) < 24 {
					return nil
				}
				for _, t := range f.tracks {
					if t.id == binary.BigEndian.Uint32(b[4:]) {
						t.defaults = trackDefaults{binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])}
					}
				}
				return nil
			})
		}
		return nil
	})
}

// timeScale is that of an mvhd or mdhd box.
func timeScale(b []byte) int64 {
	at := 12
	if len(b) > 0 && b[0] == 1 {
		at = 20
	}
	if len(b) < at+4 {
		return 0
	}
	return int64(binary.BigEndian.Uint32(b[at:]))
}

func toTime(v, scale int64) time.Duration {
	if scale <= 0 {
		return 0
	}
	s, rest := v/scale, v%scale
	return time.Duration(s)*time.Second + time.Duration(rest)*time.Second/time.Duration(scale)
}
