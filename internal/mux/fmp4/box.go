package fmp4

import "encoding/binary"

// writer builds nested boxes (ISO/IEC 14496-12 §4.2): open leaves room for the
// size, close fills it in.
type writer struct{ b []byte }

func (w *writer) u8(v ...byte)  { w.b = append(w.b, v...) }
func (w *writer) u16(v uint16)  { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32)  { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64)  { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) text(s string) { w.b = append(w.b, s...) }
func (w *writer) zero(n int) {
	for range n {
		w.b = append(w.b, 0)
	}
}

func (w *writer) open(name string) int {
	at := len(w.b)
	w.u32(0)
	w.text(name)
	return at
}

func (w *writer) openFull(name string, version byte, flags uint32) int {
	at := w.open(name)
	w.u32(uint32(version)<<24 | flags)
	return at
}

func (w *writer) close(at int) { binary.BigEndian.PutUint32(w.b[at:], uint32(len(w.b)-at)) }

func (w *writer) putU32(at int, v uint32) { binary.BigEndian.PutUint32(w.b[at:], v) }
