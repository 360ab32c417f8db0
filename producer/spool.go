package producer

import "io"

// Spool keeps media of a stream on disk.
type Spool struct{ Dir string }

func (sp *Spool) check() error { return nil }

type spoolFile struct{ r io.ReaderAt }
type spoolQueue struct{}

func (l *spoolLocation) readAt(p []byte, off, size int) (int, error) {
	return l.file.r.ReadAt(p[:min(len(p), size-off)], l.offset+int64(off))
}
func (s *Stream) openSpool() error          { return nil }
func (s *Stream) closeSpool()               {}
func (s *Stream) spoolRest()                {}
func (s *Stream) spoolLocked(f *fragment)   {}
func (s *Stream) unspoolLocked(f *fragment) {}
