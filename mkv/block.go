package mkv

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// The flags byte of a block (RFC 9559, SimpleBlock Structure).
const (
	flagKey         = 0x80 // SimpleBlock only
	flagInvisible   = 0x08
	flagLacing      = 0x06
	flagDiscardable = 0x01 // SimpleBlock only
)

// Lacing is how several frames share a block: the two bits of its flags.
type Lacing uint8

const (
	LacingNone  Lacing = 0
	LacingXiph  Lacing = 1
	LacingFixed Lacing = 2
	LacingEBML  Lacing = 3
)

// block reports a SimpleBlock or a Block: whole, or with SplitFrames as it
// arrives.
func (d *Demuxer) block(h ebml.Header, limit int64) (*Event, error) {
	switch {
	case h.Size == ebml.UnknownSize:
		return nil, d.fail(d.off, h.ID, ErrUnknownSize)
	case h.Size > limit-d.off-int64(h.Len):
		return nil, d.fail(d.off, h.ID, ErrOverrun)
	case h.Size > d.o.MaxFrame:
		return nil, d.fail(d.off, h.ID, ErrFrameSize)
	case !d.haveTime:
		return nil, d.fail(d.off, h.ID, errBeforeTimestamp)
	}
	total := h.Len + int(h.Size)
	if !d.o.SplitFrames && !d.want(total) {
		return d.short(h.ID)
	}
	for {
		err := d.parseBlock(h, d.win[min(h.Len, len(d.win)):min(total, len(d.win))])
		if err == nil {
			break
		}
		if !errors.Is(err, ebml.ErrShort) || len(d.win) >= total {
			if errors.Is(err, ebml.ErrShort) {
				err = ErrBlock
			}
			return nil, d.fail(d.off, h.ID, err)
		}
		// Lace sizes can be long; what is here says nothing of how long.
		if !d.want(min(total, len(d.win)+4)) {
			return d.short(h.ID)
		}
	}
	ev := d.begin(Data, h)
	ev.First = true
	if len(d.win) < total {
		d.left = int64(total)
		d.inPieces = *ev
		return d.piece()
	}
	ev.Last = true
	ev.Raw = d.take(total)
	if !d.o.SplitFrames {
		for i := range d.frames {
			f := &d.frames[i]
			at := int(f.Offset - ev.Offset)
			f.Data = ev.Raw[at : at+f.Size : at+f.Size]
		}
	}
	if h.ID == IDSimpleBlock {
		ev.Frames = d.frames
	}
	return ev, nil
}

var errBeforeTimestamp = fmt.Errorf("%w: a block before the Timestamp of its Cluster", ErrMisplaced)

// parseBlock reads a block's own header from b, which is the block's data or
// the first part of it, and sets d.frames. ErrShort: b is too short.
func (d *Demuxer) parseBlock(h ebml.Header, b []byte) error {
	track, n, err := ebml.ParseSize(b)
	if err != nil {
		if errors.Is(err, ebml.ErrSize) {
			return ErrBlock
		}
		return err
	}
	if len(b) < n+3 {
		return ebml.ErrShort
	}
	if track <= 0 {
		return ErrBlock
	}
	ticks := int64(int16(uint16(b[n])<<8 | uint16(b[n+1])))
	flags := b[n+2]
	n += 3
	at, ok := d.time(ticks)
	if !ok {
		return ErrTimestamp
	}
	f := Frame{
		Frame:  sluice.Frame{Track: uint64(track), Timecode: at, Invisible: flags&flagInvisible != 0},
		Offset: d.off + int64(h.Len+n),
		Size:   int(h.Size) - n,
	}
	if h.ID == IDSimpleBlock {
		f.Key = flags&flagKey != 0
		f.Discardable = flags&flagDiscardable != 0
	}
	if flags&flagLacing == 0 {
		d.frames = append(d.frames[:0], f)
		return nil
	}
	sizes, n2, err := laceSizes(d.sizes[:0], Lacing(flags&flagLacing>>1), b[n:], int(h.Size)-n, d.o.MaxLaces)
	d.sizes = sizes
	if err != nil {
		return err
	}
	step := d.laceStep(uint64(track))
	f.Offset += int64(n2)
	d.frames = d.frames[:0]
	for _, size := range sizes {
		f.Size = size
		d.frames = append(d.frames, f)
		f.Offset += int64(size)
		f.Timecode += step
		f.Duration = 0
	}
	return nil
}

// time is the Cluster's timestamp plus ticks, as time.
func (d *Demuxer) time(ticks int64) (time.Duration, bool) {
	rel := ticks * int64(d.scale) // 2^15 ticks of at most 2^40 ns
	at := d.clusterNs + rel
	if rel > 0 && at < d.clusterNs {
		return 0, false
	}
	return time.Duration(at), true
}

// setCluster takes in a Cluster's Timestamp.
func (d *Demuxer) setCluster(ticks uint64) error {
	hi, lo := bits.Mul64(ticks, d.scale)
	if hi != 0 || lo > math.MaxInt64 {
		return ErrTimestamp
	}
	d.cluster, d.clusterNs, d.haveTime = int64(ticks), int64(lo), true
	return nil
}

// laceStep is the time from one frame of a laced block to the next: the track's
// DefaultDuration, or 0 when it has none.
func (d *Demuxer) laceStep(track uint64) time.Duration {
	for i := range d.meta.tracks {
		if d.meta.tracks[i].Number == track {
			return d.meta.tracks[i].DefaultDuration
		}
	}
	return 0
}

// endGroup gives the frames of a BlockGroup what its other elements said.
func (d *Demuxer) endGroup() {
	n := len(d.frames)
	if n == 0 {
		return
	}
	each := time.Duration(0)
	if d.group.hasDuration {
		hi, lo := bits.Mul64(d.group.duration, d.scale)
		if hi == 0 && lo <= math.MaxInt64 {
			each = time.Duration(lo) / time.Duration(n)
		}
	}
	for i := range d.frames {
		f := &d.frames[i]
		f.Key = !d.group.references
		f.Duration = each
		if each > 0 && n > 1 {
			f.Timecode = d.frames[0].Timecode + time.Duration(i)*each
		}
	}
}

// laceSizes reads the lace sizes at the start of b (RFC 9559, Block Lacing) and
// appends the size of each frame to sizes. total is how long the block is from
// b on; b may be shorter, then the error can be ErrShort. n is how many bytes
// the sizes take. The sizes and n add up to total exactly, else ErrLacing.
func laceSizes(sizes []int, lacing Lacing, b []byte, total, most int) (_ []int, n int, err error) {
	short := func() error {
		if len(b) >= total {
			return ErrLacing
		}
		return ebml.ErrShort
	}
	if len(b) == 0 {
		return sizes, 0, short()
	}
	count := int(b[0]) + 1
	n = 1
	if count > most {
		return sizes, 0, ErrLaceCount
	}
	sum := 0
	switch lacing {
	case LacingFixed:
		if (total-n)%count != 0 {
			return sizes, 0, ErrLacing
		}
		for range count {
			sizes = append(sizes, (total-n)/count)
		}
		return sizes, n, nil
	case LacingXiph:
		for range count - 1 {
			size := 0
			for {
				if n >= len(b) {
					return sizes, 0, short()
				}
				c := int(b[n])
				n++
				size += c
				if c != 255 {
					break
				}
				if size > total {
					return sizes, 0, ErrLacing
				}
			}
			sizes = append(sizes, size)
			if sum += size; sum > total { // at once, so that no sum can overflow
				return sizes, 0, ErrLacing
			}
		}
	case LacingEBML:
		size := int64(0)
		for i := range count - 1 {
			if n > len(b) {
				return sizes, 0, short()
			}
			v, m, err := ebml.ParseSize(b[n:])
			switch {
			case errors.Is(err, ebml.ErrShort):
				return sizes, 0, short()
			case err != nil || v == ebml.UnknownSize:
				return sizes, 0, ErrLacing
			}
			n += m
			if i == 0 {
				size = v
			} else { // a signed difference: the value range shifted to be around 0
				size += v - (1<<(7*m-1) - 1)
			}
			if size < 0 || size > int64(total) {
				return sizes, 0, ErrLacing
			}
			sizes = append(sizes, int(size))
			if sum += int(size); sum > total {
				return sizes, 0, ErrLacing
			}
		}
	}
	last := total - n - sum
	if last < 0 {
		return sizes, 0, ErrLacing
	}
	return append(sizes, last), n, nil
}
