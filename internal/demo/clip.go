// Package demo is the demo camera: a short recording with picture and sound,
// embedded in the binary and played in a loop as if it were live. It is a client
// like any other: it sends through package producer.
package demo

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
)

// clip is made by scripts/demo-clip.sh.
//
//go:embed clip.mkv
var clip []byte

// The clip's own figures: 256 pictures and 480 packets of sound are both
// exactly Length long, so that it loops without a seam.
const (
	Length    = 10240 * time.Millisecond
	FrameRate = 25
	pictures  = 256
	packets   = 480
)

// Load reads the recording: its tracks (1 picture, 2 sound) and its frames in
// the order in which they are sent, with times from 0 up to Length. The bytes
// are the binary's own: read only.
func Load() ([]sluice.Track, []sluice.Frame, error) {
	d := mkv.NewDemuxer(mkv.Options{Shallow: true})
	d.Feed(clip)
	d.Close()
	var frames []sluice.Frame
	count := map[uint64]int{}
	limit := map[uint64]int{1: pictures, 2: packets}
	for {
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("demo clip: %w", err)
		}
		for _, f := range e.Frames {
			// The encoder ends with a packet that fills up its last block of
			// samples: in a loop it would lie over the next round's first.
			if count[f.Track] == limit[f.Track] {
				continue
			}
			n := count[f.Track]
			count[f.Track]++
			// Milliseconds in the file are rounded; the true times are known.
			f.Timecode = Length * time.Duration(n) / time.Duration(limit[f.Track])
			frames = append(frames, f.Frame)
		}
	}
	if count[1] != pictures || count[2] != packets {
		return nil, nil, fmt.Errorf("demo clip: %d pictures and %d packets, want %d and %d", count[1], count[2], pictures, packets)
	}
	// The file leads with sound; a fragment begins with its key frame.
	slices.SortStableFunc(frames, func(a, b sluice.Frame) int {
		return cmp.Or(cmp.Compare(a.Timecode, b.Timecode), cmp.Compare(a.Track, b.Track))
	})
	return d.Tracks(), frames, nil
}
