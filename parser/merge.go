package parser

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// Why says why a Merger begins a new output segment.
type Why uint8

const (
	First         Why = iota + 1 // it is the first
	HeaderDiffers                // the EBML header is not that of the chunk before
	TracksDiffer                 // the Tracks are not those of the chunk before
	TimecodeBack                 // the Cluster's timecode is not above the one before
)

func (w Why) String() string {
	switch w {
	case First:
		return "it is the first"
	case HeaderDiffers:
		return "the EBML header differs"
	case TracksDiffer:
		return "the tracks differ"
	case TimecodeBack:
		return "the timecode goes back"
	}
	return fmt.Sprintf("reason %d", uint8(w))
}

// MergeOptions are the ways to merge. The zero value writes what the official
// OutputSegmentMerger writes, byte for byte.
type MergeOptions struct {
	// StopAtMismatch ends, with ErrDone, where a second segment would begin.
	StopAtMismatch bool
	// ClustersOnly leaves out of the output what does not belong in a file that
	// is kept: the tags, SeekHead, Cues and Void beside the Clusters.
	ClustersOnly bool
	// Segment is called before an output segment begins. The writer it returns
	// takes the segment; nil goes on with the one before.
	Segment func(why Why) (io.Writer, error)
}

// Merger joins chunks into one Matroska document as long as their EBML headers
// and tracks are equal and the first Cluster's timecode increases from chunk to
// chunk; otherwise it begins a new document in the same output. Of a chunk that
// is joined, what stands before its Cluster and its leading tags is left out.
// It is a Visitor, may see several inputs one after the other, and holds one
// chunk's header at most. (OutputSegmentMerger.)
type Merger struct {
	// What was written so far.
	Segments, Clusters, Blocks int

	w     io.Writer
	o     MergeOptions
	state mergeState

	header    bytes.Buffer // the chunk's, until it is known whether to write it
	lead      bytes.Buffer // of a chunk that will be joined, until its timecode is known
	inSegment bool
	at        ebml.ID // the element of the Segment that is open
	ebml      signature
	tracks    signature
	last      uint64 // timecode of the last Cluster
	hasLast   bool
	skip      bool // ClustersOnly: the element of the Segment that is open is left out
}

type mergeState uint8

const (
	betweenChunks mergeState = iota
	inHeader
	inLead
	copying
	merged
)

// signature is the meaning of a master element and all in it, without sizes.
type signature struct{ now, before []byte }

// maxMergeHeader bounds what a Merger holds.
const maxMergeHeader = 16 << 20

// NewMerger makes a merger that writes to w; nil is for those who hand out
// every writer in MergeOptions.Segment.
func NewMerger(w io.Writer, o ...MergeOptions) *Merger {
	m := &Merger{w: w}
	if len(o) > 0 {
		m.o = o[0]
	}
	return m
}

// Visit takes the next element.
func (m *Merger) Visit(_ context.Context, e Element) error {
	if m.state == merged {
		return ErrDone
	}
	switch {
	case e.Kind == mkv.Start && e.ID == ebml.IDHeader:
		m.beginChunk()
	case e.Kind == mkv.Start && e.ID == mkv.IDSegment:
		m.inSegment = true
	}
	if m.inSegment && e.Level == 1 && (e.Kind == mkv.Start || e.Kind == mkv.Data && e.First) {
		m.at = e.ID
		m.skip = m.o.ClustersOnly && leftOut(e.ID)
	}
	if m.skip && e.Level > 0 {
		return nil
	}
	m.sign(e)
	if m.state == inHeader && (e.ID == mkv.IDCluster || e.ID == mkv.IDTags) && e.Kind == mkv.Start {
		if err := m.decide(); err != nil {
			return err
		}
	}
	if m.state == inLead && e.ID == mkv.IDTimestamp {
		if err := m.join(e); err != nil {
			return err
		}
	}
	return m.write(e)
}

func leftOut(id ebml.ID) bool {
	return id == mkv.IDTags || id == mkv.IDSeekHead || id == mkv.IDCues || id == ebml.IDVoid || id == ebml.IDCRC32
}

// beginChunk forgets the header of a chunk that came to nothing.
func (m *Merger) beginChunk() {
	if m.state == copying {
		for _, s := range []*signature{&m.ebml, &m.tracks} {
			s.before = append(s.before[:0], s.now...)
		}
	}
	m.ebml.now, m.tracks.now = m.ebml.now[:0], m.tracks.now[:0]
	m.header.Reset()
	m.lead.Reset()
	m.state = inHeader
	m.inSegment, m.skip, m.at = false, false, 0
}

// sign notes what e says of the header and the tracks. What follows the first
// Cluster or Tags of a chunk that is not joined does not count, as in the
// official merger.
func (m *Merger) sign(e Element) {
	if m.state != inHeader && m.state != inLead {
		return
	}
	var s *signature
	switch {
	case !m.inSegment:
		s = &m.ebml
	case m.at == mkv.IDTracks && e.Level > 0:
		s = &m.tracks
	default:
		return
	}
	s.now = append(s.now, byte(e.Kind))
	s.now = binary.BigEndian.AppendUint32(s.now, uint32(e.ID))
	if e.Kind != mkv.Data {
		return
	}
	data := e.Raw
	if e.First {
		data = e.Payload()
	}
	if mkv.TypeOf(e.ID) == mkv.Uint {
		data = bytes.TrimLeft(data, "\x00") // the same number in more bytes
	}
	s.now = binary.BigEndian.AppendUint32(s.now, uint32(len(data)))
	s.now = append(s.now, data...)
}

// decide says, where a chunk's header ends, whether the chunk can be joined.
func (m *Merger) decide() error {
	var why Why
	switch {
	case m.Segments == 0:
		why = First
	case !bytes.Equal(m.ebml.now, m.ebml.before):
		why = HeaderDiffers
	case !bytes.Equal(m.tracks.now, m.tracks.before):
		why = TracksDiffer
	default:
		m.state = inLead
		return nil
	}
	m.state = copying
	return m.segment(why)
}

// join writes the start of a chunk whose timecode is now known.
func (m *Merger) join(e Element) error {
	if ticks, err := ebml.Uint(e.Payload()); err == nil && m.hasLast && ticks <= m.last {
		if err := m.segment(TimecodeBack); err != nil {
			return err
		}
	}
	m.state = copying
	_, err := m.w.Write(m.lead.Bytes())
	return err
}

// segment begins an output segment with the header held back.
func (m *Merger) segment(why Why) error {
	if m.o.StopAtMismatch && m.Segments > 0 {
		m.state = merged
		return ErrDone
	}
	if m.o.Segment != nil {
		w, err := m.o.Segment(why)
		if err != nil {
			return err
		}
		if w != nil {
			m.w = w
		}
	}
	m.Segments++
	_, err := m.w.Write(m.header.Bytes())
	return err
}

// write puts e where the state says.
func (m *Merger) write(e Element) error {
	raw := e.Raw
	switch m.state {
	case inHeader:
		if e.ID == mkv.IDSegment && e.Kind == mkv.Start && e.Size != ebml.UnknownSize {
			// The output will be longer than the chunk.
			raw = ebml.AppendHeader(nil, mkv.IDSegment, ebml.UnknownSize, 8)
		}
		m.header.Write(raw)
	case inLead:
		m.lead.Write(raw)
	case copying:
		switch {
		case e.ID == mkv.IDTimestamp:
			m.last, _ = ebml.Uint(e.Payload())
			m.hasLast = true
			m.Clusters++
		case e.ID == mkv.IDSimpleBlock && e.Last || e.ID == mkv.IDBlockGroup && e.Kind == mkv.End:
			m.Blocks++
		}
		if len(raw) > 0 {
			if _, err := m.w.Write(raw); err != nil {
				return err
			}
		}
	}
	if m.header.Len()+m.lead.Len() > maxMergeHeader {
		return fmt.Errorf("merger: a header of more than %d bytes", maxMergeHeader)
	}
	return nil
}
