package producer

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
	"time"
)

// A spool file is the eight bytes SLSPOOL1 and records. All numbers are big endian.
//
//	record:   u32 length of the body | u32 CRC-32C of the body | body
//	body:     u8 kind | ...
//	header:   1 | u32 id | u64 epoch (ns since 1970, of PTS 0) | EBML, Segment, Info, Tracks
//	fragment: 2 | u32 header id | u64 id | u64 ticks | u64 start | u64 end | u64 highest PTS (ns)
//	            | u32 frames | u8 tracks (bits) | u8 flags | u32 length of the tail | tail | blocks
//	done:     3 | u64 id of a fragment, in this file or one before
//
// A header stands before the first fragment under it, in each file. Flags: 1
// explicit end, 2 the time went back before it.

const (
	recordHeader   = 1
	recordFragment = 2
	recordDone     = 3

	spoolExplicit = 1
	spoolJump     = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headerID is the id of every header: a file holds one at a time, and the newest
// counts.
const headerID = 0

func beginRecord(b []byte, kind byte) (_ []byte, at int) {
	at = len(b)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, kind), at
}

func endRecord(b []byte, at int) []byte {
	body := b[at+8:]
	binary.BigEndian.PutUint32(b[at:], uint32(len(body)))
	binary.BigEndian.PutUint32(b[at+4:], crc32.Checksum(body, castagnoli))
	return b
}

func appendHeaderRecord(b []byte, h *header) []byte {
	b, at := beginRecord(b, recordHeader)
	b = binary.BigEndian.AppendUint32(b, headerID)
	b = binary.BigEndian.AppendUint64(b, uint64(h.epoch.UnixNano()))
	return endRecord(append(b, h.bytes...), at)
}

// appendFragmentRecord also returns where the blocks begin.
func appendFragmentRecord(b []byte, f *fragment) (_ []byte, blocks int) {
	b, at := beginRecord(b, recordFragment)
	b = binary.BigEndian.AppendUint32(b, headerID)
	for _, v := range [...]int64{int64(f.spoolID), f.ticks, int64(f.start), int64(f.end), int64(f.maxPTS)} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(f.frames))
	flags := byte(0)
	if f.explicit {
		flags |= spoolExplicit
	}
	if f.jump {
		flags |= spoolJump
	}
	b = append(b, f.tracks, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.tail)))
	b = append(b, f.tail...)
	blocks = len(b)
	for off := 0; off < f.size; {
		c := f.chunks[off/chunkSize]
		n := min(chunkSize-off%chunkSize, f.size-off)
		b = append(b, c[off%chunkSize:off%chunkSize+n]...)
		off += n
	}
	return endRecord(b, at), blocks
}

func appendDone(b []byte, id uint64) []byte {
	b, at := beginRecord(b, recordDone)
	return endRecord(binary.BigEndian.AppendUint64(b, id), at)
}

// spoolRecord is a record as it was read.
type spoolRecord struct {
	kind   byte
	header uint32
	id     uint64
	body   []byte // behind kind and ids; valid during the call
	at     int64  // of body in the file
	size   int    // of the whole record
}

// fragment makes the fragment of a fragment record.
func (r spoolRecord) fragment(h *header, sf *spoolFile) *fragment {
	v := fields{b: r.body}
	f := &fragment{
		header: h, spoolID: r.id, complete: true, finishedAt: time.Now(),
		ticks: int64(v.u64()), start: time.Duration(v.u64()), end: time.Duration(v.u64()), maxPTS: time.Duration(v.u64()),
		frames: int(v.u32()), tracks: v.u8(),
	}
	flags := v.u8()
	f.explicit, f.jump = flags&spoolExplicit != 0, flags&spoolJump != 0
	n := int(v.u32())
	if n > len(v.b) {
		n = len(v.b)
	}
	f.tail = append([]byte(nil), v.b[:n]...)
	blocks := len(r.body) - len(v.b) + n
	f.size = len(r.body) - blocks
	f.disk = spoolLocation{file: sf, offset: r.at + int64(blocks), size: r.size}
	return f
}

// scanSpool yields the records of a file in order, up to the first that is not
// whole, and returns where it ends.
func scanSpool(r io.Reader, yield func(spoolRecord)) int64 {
	in := bufio.NewReaderSize(r, 64<<10)
	var magic [len(spoolMagic)]byte
	if _, err := io.ReadFull(in, magic[:]); err != nil || string(magic[:]) != spoolMagic {
		return 0
	}
	at := int64(len(magic))
	var head [8]byte
	var body []byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return at
		}
		n := binary.BigEndian.Uint32(head[:])
		if n < 1 || n > maxSpoolRecord {
			return at
		}
		if cap(body) < int(n) {
			// Not in one step: a length that is garbage must not take memory.
			body = make([]byte, 0, min(int(n), 1<<20))
		}
		body = body[:0]
		for len(body) < int(n) {
			step := min(int(n)-len(body), 1<<20)
			body = append(body, make([]byte, step)...)
			if _, err := io.ReadFull(in, body[len(body)-step:]); err != nil {
				return at
			}
		}
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
			return at
		}
		v := fields{b: body}
		r := spoolRecord{kind: v.u8(), size: 8 + int(n)}
		switch r.kind {
		case recordHeader:
			r.header = v.u32()
		case recordFragment:
			r.header = v.u32()
			r.id = v.u64()
		case recordDone:
			r.id = v.u64()
		}
		r.body, r.at = v.b, at+8+int64(len(body)-len(v.b))
		if !v.short && (r.kind != recordFragment || len(v.b) >= 4*8+4+1+1+4) {
			yield(r)
		}
		at += 8 + int64(n)
	}
}

// fields takes numbers off a slice; short says that it ran out.
type fields struct {
	b     []byte
	short bool
}

func (v *fields) take(n int) []byte {
	if len(v.b) < n {
		v.b, v.short = nil, true
		return make([]byte, n)
	}
	b := v.b[:n]
	v.b = v.b[n:]
	return b
}

func (v *fields) u8() byte     { return v.take(1)[0] }
func (v *fields) u32() uint32  { return binary.BigEndian.Uint32(v.take(4)) }
func (v *fields) u64() uint64  { return binary.BigEndian.Uint64(v.take(8)) }
func (v *fields) rest() []byte { return v.b }
