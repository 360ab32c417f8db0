package ts

import (
	"time"

	"github.com/sluicevideo/sluice/internal/codec"
)

// packer writes transport packets (13818-1 §2.4.3.2) behind each other.
type packer struct{ b []byte }

// packets writes the pieces of s, size bytes in all, as one PES packet. The last
// one of the segment takes as many packets as bring the counter back to 0.
func (p *packer) packets(s *stream, size int, key bool, dts time.Duration) {
	const whole = packetSize - 4
	adaptation := 0
	if s.clock {
		adaptation = 8
	} else if key {
		adaptation = 2
	}
	count := (size + adaptation + whole - 1) / whole
	if s.at == len(s.run.Samples) {
		count += int(-(s.counter + byte(count)) & 15)
	}
	piece, offset := 0, 0
	for i := range count {
		field := 0
		if i == 0 {
			field = adaptation
		}
		// Every packet still to come needs a byte.
		n := min(whole-field, size-(count-1-i))
		stuffing := whole - field - n
		p.header(s.pid, i == 0, field+stuffing > 0, true, s.counter)
		s.counter = (s.counter + 1) & 15
		if total := field + stuffing; total > 0 {
			p.b = append(p.b, byte(total-1))
			if total > 1 {
				flags := byte(0)
				if field > 0 && key {
					flags |= 0x40 // random access
				}
				if field == 8 {
					flags |= 0x10
				}
				p.b = append(p.b, flags)
				used := 2
				if field == 8 {
					p.reference(dts)
					used = 8
				}
				for range total - used {
					p.b = append(p.b, 0xff)
				}
			}
		}
		size -= n
		for n > 0 {
			take := min(n, len(s.pieces[piece])-offset)
			p.b = append(p.b, s.pieces[piece][offset:offset+take]...)
			n -= take
			if offset += take; offset == len(s.pieces[piece]) {
				piece, offset = piece+1, 0
			}
		}
	}
}

func (p *packer) header(pid uint16, start, adaptation, payload bool, counter byte) {
	high := byte(pid>>8) & 0x1f
	if start {
		high |= 0x40
	}
	control := counter & 15
	if adaptation {
		control |= 0x20
	}
	if payload {
		control |= 0x10
	}
	p.b = append(p.b, 0x47, high, byte(pid), control)
}

// reference appends a program clock reference: 33 bits of 90 kHz, then the
// extension to 27 MHz, which stays 0.
func (p *packer) reference(dts time.Duration) {
	t := ticks(dts - clockLead)
	p.b = append(p.b, byte(t>>25), byte(t>>17), byte(t>>9), byte(t>>1), byte(t<<7)|0x7e, 0)
}

// clocks writes clock references on their own, as long as s has none within
// maxClockGap before until.
func (p *packer) clocks(s *stream, until time.Duration) {
	for s.last >= 0 && until-s.last > maxClockGap {
		s.last += maxClockGap
		p.clockOnly(s)
	}
}

// clockOnly writes a packet that carries nothing but the clock at s.last. It does
// not count: the counter is that of the payload packet before it.
func (p *packer) clockOnly(s *stream) {
	p.header(s.pid, false, true, false, s.counter-1)
	p.b = append(p.b, packetSize-5, 0x10)
	p.reference(s.last)
	p.fill(packetSize - 4 - 8)
}

func (p *packer) fill(n int) {
	for range n {
		p.b = append(p.b, 0xff)
	}
}

// tables writes PAT and PMT, a packet each.
func (p *packer) tables(position uint64, runs []Run) {
	counter := byte(position & 15)
	p.section(0, counter, []byte{
		0x00, 0xb0, 13, 0x00, 0x01, 0xc1, 0, 0, // program association, stream 1, version 0
		0x00, 0x01, 0xe0 | pidPMT>>8, pidPMT & 0xff,
	})
	pmt := []byte{
		0x02, 0xb0, byte(13 + 5*len(runs)), 0x00, 0x01, 0xc1, 0, 0, // program 1
		0xe0 | pidFirst>>8, pidFirst & 0xff, // clock reference
		0xf0, 0,
	}
	for i, r := range runs {
		kind := byte(0x1b)
		switch r.Params.Kind {
		case codec.H265:
			kind = 0x24
		case codec.AAC:
			kind = 0x0f
		}
		pid := pidFirst + i
		pmt = append(pmt, kind, 0xe0|byte(pid>>8), byte(pid), 0xf0, 0)
	}
	p.section(pidPMT, counter, pmt)
}

func (p *packer) section(pid uint16, counter byte, table []byte) {
	p.header(pid, true, false, true, counter)
	p.b = append(p.b, 0) // pointer
	sum := crc(table)
	p.b = append(p.b, table...)
	p.b = append(p.b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	p.fill(packetSize - 5 - len(table) - 4)
}

// crc is CRC-32/MPEG-2 (13818-1 Annex A). Tables are short and rare, so bits do.
func crc(b []byte) uint32 {
	c := uint32(0xffffffff)
	for _, v := range b {
		c ^= uint32(v) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c11db7
			} else {
				c <<= 1
			}
		}
	}
	return c
}
