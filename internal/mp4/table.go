package mp4

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sluicevideo/sluice"
)

func (t *track) trak(b []byte, depth int) error {
	return boxes(b, depth, func(kind string, b []byte, depth int) error {
		switch kind {
		case "tkhd":
			at := 12
			if len(b) > 0 && b[0] == 1 {
				at = 20
			}
			if len(b) >= at+4 {
				t.id = binary.BigEndian.Uint32(b[at:])
			}
		case "mdhd":
			if scale := timeScale(b); scale > 0 {
				t.scale = scale
			}
		case "hdlr":
			if len(b) >= 12 {
				t.handler = string(b[8:12])
			}
		case "elst":
			t.edits(b)
		case "stsd":
			if len(b) >= 8 {
				return boxes(b[8:], depth, t.sampleEntry)
			}
		case "edts", "mdia", "minf", "stbl":
			return t.trak(b, depth)
		default:
			return t.stbl(kind, b)
		}
		return nil
	})
}

// edits takes the shift that an edit list describes: an empty edit before, and
// the media time at which the rest begins. More than that is for editors.
func (t *track) edits(b []byte) {
	if len(b) < 8 {
		return
	}
	wide, n := b[0] == 1, int(binary.BigEndian.Uint32(b[4:]))
	b = b[8:]
	for range min(n, 16) {
		var duration, media int64
		switch {
		case wide && len(b) >= 20:
			duration, media, b = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), b[20:]
		case !wide && len(b) >= 12:
			duration, media, b = int64(binary.BigEndian.Uint32(b)), int64(int32(binary.BigEndian.Uint32(b[4:]))), b[12:]
		default:
			return
		}
		if duration < 0 || duration > math.MaxInt32*1000 || media > math.MaxInt32*int64(1<<20) {
			return
		}
		if media == -1 {
			t.editDelay += duration
			t.hasEdit = true
			continue
		}
		if media >= 0 {
			t.editMedia, t.hasEdit = media, true
		}
		return
	}
}

// list is the entries of a full box with a count: width bytes each.
func list(kind string, b []byte, at, width int) ([]byte, int, error) {
	if len(b) < at+4 {
		return nil, 0, fmt.Errorf("%s box of %d bytes: %w", kind, len(b), ErrInvalid)
	}
	n := int64(binary.BigEndian.Uint32(b[at:]))
	b = b[at+4:]
	if n > maxSamples || n*int64(width) > int64(len(b)) {
		return nil, 0, fmt.Errorf("%s box: %d entries in %d bytes: %w", kind, n, len(b), ErrInvalid)
	}
	return b, int(n), nil
}

func (t *track) stbl(kind string, b []byte) error {
	u32 := func(b []byte, i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
	switch kind {
	case "stts", "ctts":
		e, n, err := list(kind, b, 4, 8)
		if err != nil {
			return err
		}
		for i := range n {
			a, v := u32(e, 8*i), u32(e, 8*i+4)
			if kind == "stts" {
				t.timeToSamp = append(t.timeToSamp, [2]uint32{a, v})
			} else {
				// Version 0 says unsigned; files with negative offsets under it are
				// common, and real offsets are small.
				t.offsets = append(t.offsets, [2]int64{int64(a), int64(int32(v))})
			}
		}
	case "stsc":
		e, n, err := list(kind, b, 4, 12)
		if err != nil {
			return err
		}
		for i := range n {
			t.toChunk = append(t.toChunk, [3]uint32{u32(e, 12*i), u32(e, 12*i+4), u32(e, 12*i+8)})
		}
	case "stsz":
		if len(b) < 12 {
			return fmt.Errorf("stsz box of %d bytes: %w", len(b), ErrInvalid)
		}
		if t.fixedSize = u32(b, 4); t.fixedSize != 0 {
			t.sizeCount = int(min(u32(b, 8), maxSamples))
			return nil
		}
		e, n, err := list(kind, b, 8, 4)
		if err != nil {
			return err
		}
		t.sizeCount = n
		for i := range n {
			t.sizes = append(t.sizes, u32(e, 4*i))
		}
	case "stco", "co64":
		width := 4
		if kind == "co64" {
			width = 8
		}
		e, n, err := list(kind, b, 4, width)
		if err != nil {
			return err
		}
		for i := range n {
			if width == 4 {
				t.chunks = append(t.chunks, int64(u32(e, 4*i)))
			} else {
				t.chunks = append(t.chunks, int64(binary.BigEndian.Uint64(e[8*i:])))
			}
		}
	case "stss":
		e, n, err := list(kind, b, 4, 4)
		if err != nil {
			return err
		}
		t.hasSync = true
		for i := range n {
			t.sync = append(t.sync, u32(e, 4*i))
		}
	}
	return nil
}

// table makes samples of the tables of a progressive file.
func (f *File) table(t *track) error {
	var (
		n             = 0
		dts           = int64(0)
		time, timeN   = 0, uint32(0)
		off, offN     = 0, int64(0)
		sync, segment = 0, 0
	)
	for chunk := 0; chunk < len(t.chunks) && n < t.sizeCount; chunk++ {
		for segment+1 < len(t.toChunk) && uint32(chunk+1) >= t.toChunk[segment+1][0] {
			segment++
		}
		if segment >= len(t.toChunk) {
			break
		}
		at := t.chunks[chunk]
		for range t.toChunk[segment][1] {
			if n >= t.sizeCount {
				break
			}
			if f.count++; f.count > maxSamples {
				return fmt.Errorf("more than %d samples: %w", maxSamples, ErrInvalid)
			}
			size := t.fixedSize
			if size == 0 {
				size = t.sizes[n]
			}
			for time < len(t.timeToSamp) && timeN >= t.timeToSamp[time][0] {
				time, timeN = time+1, 0
			}
			var d, shift int64
			if time < len(t.timeToSamp) {
				d = int64(t.timeToSamp[time][1])
				timeN++
			}
			for off < len(t.offsets) && offN >= t.offsets[off][0] {
				off, offN = off+1, 0
			}
			if off < len(t.offsets) {
				shift = t.offsets[off][1]
				offN++
			}
			key := !t.hasSync
			for sync < len(t.sync) && t.sync[sync] < uint32(n+1) {
				sync++
			}
			if sync < len(t.sync) && t.sync[sync] == uint32(n+1) {
				key = true
			}
			f.Samples = append(f.Samples, Sample{
				Track: t.index, Offset: at, Size: int(size), Key: key,
				DTS: toTime(dts, t.scale), PTS: toTime(dts+shift, t.scale), Duration: toTime(d, t.scale),
			})
			at += int64(size)
			dts += d
			n++
		}
	}
	return nil
}

// moof makes samples of a movie fragment that begins at start.
func (f *File) moof(b []byte, start int64) error {
	return boxes(b, 0, func(kind string, b []byte, depth int) error {
		if kind != "traf" {
			return nil
		}
		return f.traf(b, depth, start)
	})
}

const nonSync = 1 << 16 // sample_is_non_sync_sample in sample flags

func (f *File) traf(b []byte, depth int, start int64) error {
	var t *track
	base, cursor := start, int64(-1)
	var d trackDefaults
	return boxes(b, depth, func(kind string, b []byte, _ int) error {
		r := reader{b: b}
		flags := r.u32() & 0xffffff
		switch kind {
		case "tfhd":
			id := r.u32()
			for _, k := range f.tracks {
				if k.id == id {
					t = k
				}
			}
			if t == nil {
				return nil
			}
			d = t.defaults
			if flags&1 != 0 {
				base = int64(r.u64())
			}
			if flags&2 != 0 {
				r.u32()
			}
			if flags&8 != 0 {
				d.duration = r.u32()
			}
			if flags&0x10 != 0 {
				d.size = r.u32()
			}
			if flags&0x20 != 0 {
				d.flags = r.u32()
			}
		case "tfdt":
			if t == nil {
				return nil
			}
			if len(b) > 0 && b[0] == 1 {
				t.next = int64(r.u64() & math.MaxInt64)
			} else {
				t.next = int64(r.u32())
			}
		case "trun":
			if t == nil {
				return nil
			}
			n := r.u32()
			at := cursor
			if flags&1 != 0 {
				at = base + int64(int32(r.u32()))
			} else if at < 0 {
				at = base
			}
			first := d.flags
			if flags&4 != 0 {
				first = r.u32()
			}
			for i := range n {
				s := d
				var shift int64
				if i == 0 {
					s.flags = first
				}
				if flags&0x100 != 0 {
					s.duration = r.u32()
				}
				if flags&0x200 != 0 {
					s.size = r.u32()
				}
				if flags&0x400 != 0 {
					s.flags = r.u32()
				}
				if flags&0x800 != 0 {
					shift = int64(int32(r.u32()))
				}
				if r.short {
					return fmt.Errorf("trun box: %d samples in %d bytes: %w", n, len(b), ErrInvalid)
				}
				if f.count++; f.count > maxSamples {
					return fmt.Errorf("more than %d samples: %w", maxSamples, ErrInvalid)
				}
				if t.index >= 0 {
					f.Samples = append(f.Samples, Sample{
						Track: t.index, Offset: at, Size: int(s.size), Key: s.flags&nonSync == 0,
						DTS: toTime(t.next, t.scale), PTS: toTime(t.next+shift, t.scale), Duration: toTime(int64(s.duration), t.scale),
					})
				}
				at += int64(s.size)
				t.next += int64(s.duration)
			}
			cursor = at
		}
		if r.short {
			return fmt.Errorf("%s box of %d bytes: %w", kind, len(b), ErrInvalid)
		}
		return nil
	})
}

// reader takes big-endian numbers off a slice; short says that it ran out.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) u32() uint32 {
	if len(r.b) < 4 {
		r.b, r.short = nil, true
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) u64() uint64 { return uint64(r.u32())<<32 | uint64(r.u32()) }

// sampleEntry reads a track's first sample entry of a codec that is known.
func (t *track) sampleEntry(kind string, b []byte, depth int) error {
	if t.entry.CodecID != "" {
		return nil
	}
	e := &t.entry
	switch kind {
	case "avc1", "avc3", "hvc1", "hev1", "jpeg", "mjpa", "mp4v":
		if len(b) < 78 {
			return nil
		}
		e.Type = sluice.TrackVideo
		e.Video = &sluice.Video{Width: uint64(binary.BigEndian.Uint16(b[24:])), Height: uint64(binary.BigEndian.Uint16(b[26:]))}
		id := map[string]string{"avc1": "V_MPEG4/ISO/AVC", "avc3": "V_MPEG4/ISO/AVC", "hvc1": "V_MPEGH/ISO/HEVC", "hev1": "V_MPEGH/ISO/HEVC", "jpeg": "V_MJPEG", "mjpa": "V_MJPEG"}[kind]
		err := boxes(b[78:], depth, func(kind string, b []byte, _ int) error {
			switch kind {
			case "avcC", "hvcC":
				e.CodecPrivate = append([]byte(nil), b...)
			case "esds":
				if object, _ := descriptors(b); object == objectMJPEG {
					id = "V_MJPEG"
				}
			}
			return nil
		})
		e.CodecID = id
		return err
	case "mp4a", "alaw", "ulaw":
		if len(b) < 28 {
			return nil
		}
		e.Type = sluice.TrackAudio
		e.Audio = &sluice.Audio{Channels: uint64(binary.BigEndian.Uint16(b[16:])), SamplingFrequency: float64(binary.BigEndian.Uint32(b[24:]) >> 16)}
		rest := b[28:]
		switch binary.BigEndian.Uint16(b[8:]) { // QuickTime's longer forms
		case 1:
			rest = rest[min(16, len(rest)):]
		case 2:
			rest = rest[min(36, len(rest)):]
		}
		if kind != "mp4a" {
			e.CodecID = map[string]string{"alaw": codecALaw, "ulaw": codecMuLaw}[kind]
			return nil
		}
		return t.esds(rest, depth)
	}
	return nil
}

func (t *track) esds(b []byte, depth int) error {
	return boxes(b, depth, func(kind string, b []byte, depth int) error {
		switch kind {
		case "wave":
			return t.esds(b, depth)
		case "esds":
			object, config := descriptors(b)
			if object == objectAAC && len(config) >= 2 {
				t.entry.CodecID = "A_AAC"
				t.entry.CodecPrivate = append([]byte(nil), config...)
			}
		}
		return nil
	})
}

// The codec ids of G.711 carry their law until the reader of the file makes the
// codec private data: MP4 has none.
const (
	codecALaw  = "A_MS/ACM;alaw"
	codecMuLaw = "A_MS/ACM;ulaw"

	objectAAC   = 0x40
	objectMJPEG = 0x6c
)

// Law is the law of a G.711 track, "alaw" or "ulaw", or "".
func Law(t *sluice.Track) string {
	switch t.CodecID {
	case codecALaw:
		return "alaw"
	case codecMuLaw:
		return "ulaw"
	}
	return ""
}

// descriptors finds the object type and the decoder's configuration in an esds
// box (ISO/IEC 14496-1, ES_Descriptor).
func descriptors(b []byte) (object byte, config []byte) {
	if len(b) < 4 {
		return 0, nil
	}
	b = b[4:]
	for len(b) >= 2 {
		tag, n, at := b[0], 0, 1
		for range 4 {
			if at >= len(b) {
				return object, config
			}
			c := b[at]
			at++
			n = n<<7 | int(c&0x7f)
			if c&0x80 == 0 {
				break
			}
		}
		body := b[at:min(at+n, len(b))]
		switch tag {
		case 3: // ES_Descriptor: its parts lie behind id and flags
			skip := 3
			if len(body) >= 3 {
				if body[2]&0x80 != 0 {
					skip += 2
				}
				if body[2]&0x40 != 0 && len(body) > skip {
					skip += 1 + int(body[skip])
				}
				if body[2]&0x20 != 0 {
					skip += 2
				}
			}
			b = body[min(skip, len(body)):]
			continue
		case 4: // DecoderConfigDescriptor
			if len(body) < 13 {
				return object, config
			}
			object = body[0]
			b = body[13:]
			continue
		case 5:
			return object, body
		}
		b = b[at+len(body):]
	}
	return object, config
}
