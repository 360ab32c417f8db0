package fmp4

import (
	"fmt"
	"math"
	"time"

	"github.com/sluicevideo/sluice/internal/mux"
)

// File lays out a progressive MP4: ftyp, moov with the whole index, then one mdat
// with the chunks in the order they were added. Sizes and times are told first,
// without the media; then Head is sent and the chunks' bytes behind it, so a
// player starts at the first byte and nothing is held in memory but the index.
type File struct {
	tracks []fileTrack
	order  []chunk
	bytes  int64
}

type chunk struct {
	track   int
	samples uint32
	size    int64
}

type fileTrack struct {
	Track
	start   time.Duration // of the first sample, on the file's timeline
	clock   int64         // decoding time in ticks, where the next sample begins
	base    int64         // ticks of start
	samples []fileSample
	unsync  bool // some sample is no sync sample
	offsets bool // some composition offset is not 0
}

type fileSample struct {
	size, duration uint32
	offset         int32
	key            bool
}

// NewFile begins a file with the tracks.
func NewFile(tracks ...Track) *File {
	f := &File{}
	for _, t := range tracks {
		f.tracks = append(f.tracks, fileTrack{Track: t})
	}
	return f
}

// AddChunk adds the frames of track i (as given to NewFile) in one fragment;
// samples are scheduled and lie on the file's timeline, which begins at 0; sizes
// are their bytes in the file (see Size). Data is not used.
func (f *File) AddChunk(i int, samples []mux.Sample, sizes []uint32) {
	if len(samples) == 0 {
		return
	}
	t := &f.tracks[i]
	if len(t.samples) == 0 {
		t.start = samples[0].DTS
		t.base = mux.Ticks(t.start, t.Timescale)
		t.clock = t.base
	} else if gap := mux.Ticks(samples[0].DTS, t.Timescale) - t.clock; gap != 0 {
		// The last frame of the fragment before stays until this one begins.
		last := &t.samples[len(t.samples)-1]
		d := min(max(int64(last.duration)+gap, 1), math.MaxUint32)
		t.clock += d - int64(last.duration)
		last.duration = uint32(d)
	}
	c := chunk{track: i, samples: uint32(len(samples))}
	for n := range samples {
		s := &samples[n]
		end := s.DTS + s.Duration
		if n+1 < len(samples) {
			end = samples[n+1].DTS
		}
		d := min(max(mux.Ticks(end, t.Timescale)-t.clock, 1), math.MaxUint32)
		offset := int32(mux.Ticks(s.PTS, t.Timescale) - t.clock)
		t.samples = append(t.samples, fileSample{size: sizes[n], duration: uint32(d), offset: offset, key: s.Key})
		t.clock += d
		t.unsync = t.unsync || !s.Key
		t.offsets = t.offsets || offset != 0
		c.size += int64(sizes[n])
	}
	f.bytes += c.size
	f.order = append(f.order, c)
}

// Head returns ftyp, moov and the header of mdat; total is the size of the whole
// file. The caller sends Head and then the frames of each chunk.
func (f *File) Head() (head []byte, total int64, err error) {
	long := f.bytes > math.MaxUint32-(64<<20)
	size := 0
	// The chunk offsets depend on the size of moov, which does not depend on them.
	for range 2 {
		w := &writer{b: make([]byte, 0, max(size, 4096))}
		ftyp(w, "isom", "isom", "iso2", "mp41")
		if err := f.movie(w, int64(size), long); err != nil {
			return nil, 0, err
		}
		if long {
			w.u32(1)
			w.text("mdat")
			w.u64(uint64(f.bytes) + 16)
		} else {
			w.u32(uint32(f.bytes) + 8)
			w.text("mdat")
		}
		head, size = w.b, len(w.b)
	}
	return head, int64(len(head)) + f.bytes, nil
}

func (f *File) movie(w *writer, mediaAt int64, long bool) error {
	var longest uint64
	tracks := make([]Track, 0, len(f.tracks))
	for i := range f.tracks {
		t := &f.tracks[i]
		t.Duration = uint64(t.clock - t.base)
		tracks = append(tracks, t.Track)
		longest = max(longest, uint64(t.clock)*movieTimescale/uint64(t.Timescale))
	}
	moov := w.open("moov")
	movieHeader(w, longest, tracks)
	for i := range f.tracks {
		t := &f.tracks[i]
		if len(t.samples) == 0 {
			continue
		}
		if err := f.trackBox(w, i, mediaAt, long); err != nil {
			return fmt.Errorf("track %d: %w", t.ID, err)
		}
	}
	w.close(moov)
	return nil
}

func (f *File) trackBox(w *writer, i int, mediaAt int64, long bool) error {
	t := &f.tracks[i]
	open, err := trackHead(w, t.Track)
	if err != nil {
		return err
	}
	t.times(w)
	sizes := w.openFull("stsz", 0, 0)
	w.u32(0)
	w.u32(uint32(len(t.samples)))
	for _, s := range t.samples {
		w.u32(s.size)
	}
	w.close(sizes)
	f.chunks(w, i, mediaAt, long)
	trackTail(w, open)
	if t.base > 0 {
		t.editList(w, open[0])
	}
	return nil
}

// times writes stts, ctts and stss.
func (t *fileTrack) times(w *writer) {
	runs(w, "stts", 0, t.samples, func(s *fileSample) uint32 { return s.duration })
	if t.offsets {
		runs(w, "ctts", 1, t.samples, func(s *fileSample) uint32 { return uint32(s.offset) })
	}
	if t.unsync && t.Params.Kind.Video() {
		at := w.openFull("stss", 0, 0)
		count := len(w.b)
		w.u32(0)
		n := uint32(0)
		for i := range t.samples {
			if t.samples[i].key {
				w.u32(uint32(i) + 1)
				n++
			}
		}
		w.putU32(count, n)
		w.close(at)
	}
}

// runs writes a table of (count, value).
func runs(w *writer, name string, version byte, samples []fileSample, value func(*fileSample) uint32) {
	at := w.openFull(name, version, 0)
	count := len(w.b)
	w.u32(0)
	entries := uint32(0)
	for i := 0; i < len(samples); {
		v, n := value(&samples[i]), uint32(1)
		for i+int(n) < len(samples) && value(&samples[i+int(n)]) == v {
			n++
		}
		w.u32(n)
		w.u32(v)
		entries++
		i += int(n)
	}
	w.putU32(count, entries)
	w.close(at)
}

// chunks writes stsc and stco or co64.
func (f *File) chunks(w *writer, i int, mediaAt int64, long bool) {
	at := w.openFull("stsc", 0, 0)
	count := len(w.b)
	w.u32(0)
	entries, number, last := uint32(0), uint32(0), uint32(0)
	for _, c := range f.order {
		if c.track != i {
			continue
		}
		number++
		if c.samples != last {
			w.u32(number)
			w.u32(c.samples)
			w.u32(1)
			entries++
			last = c.samples
		}
	}
	w.putU32(count, entries)
	w.close(at)
	name := "stco"
	if long {
		name = "co64"
	}
	at = w.openFull(name, 0, 0)
	w.u32(number)
	offset := mediaAt
	for _, c := range f.order {
		if c.track == i {
			if long {
				w.u64(uint64(offset))
			} else {
				w.u32(uint32(offset))
			}
		}
		offset += c.size
	}
	w.close(at)
}

// editList delays a track that begins after the file does, so that sound and
// picture stay together. It goes at the end of the trak box, which is closed.
func (t *fileTrack) editList(w *writer, trak int) {
	edts := w.open("edts")
	elst := w.openFull("elst", 1, 0)
	w.u32(2)
	w.u64(uint64(t.base) * movieTimescale / uint64(t.Timescale))
	w.u64(math.MaxUint64) // -1: nothing is shown
	w.u32(0x00010000)
	w.u64(t.Duration * movieTimescale / uint64(t.Timescale))
	w.u64(0)
	w.u32(0x00010000)
	w.close(elst)
	w.close(edts)
	w.close(trak)
}
