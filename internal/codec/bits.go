package codec

// bitReader reads a raw byte sequence payload, most significant bit first. Past
// the end it returns zeros and says so in over: a parser checks once, at its end.
type bitReader struct {
	b    []byte
	pos  int // in bits
	over bool
}

func (r *bitReader) bit() uint32 {
	i := r.pos >> 3
	if i >= len(r.b) {
		r.over = true
		return 0
	}
	v := uint32(r.b[i]>>(7-r.pos&7)) & 1
	r.pos++
	return v
}

func (r *bitReader) flag() bool { return r.bit() == 1 }

// u reads n bits, n ≤ 32.
func (r *bitReader) u(n int) uint32 {
	var v uint32
	for range n {
		v = v<<1 | r.bit()
	}
	return v
}

func (r *bitReader) skip(n int) {
	r.pos += n
	if r.pos > len(r.b)*8 {
		r.over = true
	}
}

// ue reads an unsigned Exp-Golomb code.
func (r *bitReader) ue() uint32 {
	zeros := 0
	for r.bit() == 0 {
		zeros++
		if zeros > 31 || r.over {
			r.over = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.u(zeros)
}

// se reads a signed Exp-Golomb code.
func (r *bitReader) se() int32 {
	v := r.ue()
	if v&1 == 1 {
		return int32(v/2 + 1)
	}
	return -int32(v / 2)
}

// maxParameterSet bounds how much of a parameter set is read. Real ones have
// some tens of bytes; with every scaling list some hundreds.
const maxParameterSet = 16 << 10

// unescape removes the emulation prevention bytes (the 3 in 0 0 3) of a NAL
// unit. The result is new bytes.
func unescape(nal []byte) []byte {
	if len(nal) > maxParameterSet {
		nal = nal[:maxParameterSet]
	}
	out := make([]byte, 0, len(nal))
	zeros := 0
	for _, c := range nal {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}
