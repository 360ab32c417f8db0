package producer

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

// A spool file comes from a disk that may have been written half or flipped bits:
// whatever is in it, reading ends, and what it gives is within the file.
func FuzzSpoolFile(f *testing.F) {
	h := newHeader([]sluice.Track{H264(nil)}, time.Millisecond, [16]byte{1}, time.Unix(0, 0))
	h.tracks[0].Number = 1
	fr := &fragment{header: h, spoolID: 7, ticks: 5, frames: 1, tracks: 1, complete: true, tail: endOfFragment, chunks: []*chunk{new(chunk)}}
	fr.append([]byte("blocks"))
	b, _ := appendFragmentRecord(appendHeaderRecord([]byte(spoolMagic), h), fr)
	f.Add(appendDone(b, 7))
	f.Add([]byte(spoolMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		sf := &spoolFile{closed: true}
		end := scanSpool(bytes.NewReader(b), func(r spoolRecord) {
			switch r.kind {
			case recordHeader:
				_, _ = loadHeader(r.body)
			case recordFragment:
				g := r.fragment(h, sf)
				if g.size < 0 || g.disk.offset+int64(g.size) > int64(len(b)) {
					t.Fatalf("fragment at %d of %d bytes in a file of %d", g.disk.offset, g.size, len(b))
				}
			}
		})
		if end > int64(len(b)) {
			t.Fatalf("ends at %d of %d", end, len(b))
		}
	})
}

// Cutting an elementary stream into pictures loses no byte and ends.
func FuzzAccessUnits(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x67\x01\x00\x00\x01\x68\x02\x00\x00\x01\x65\x88\x84\x00\x00\x01\x41\x9a"), false)
	f.Add([]byte("\x00\x00\x01\x40\x01\x00\x00\x01\x26\x01\x80\x00\x00\x01\x02\x01\x80"), true)
	f.Fuzz(func(t *testing.T, b []byte, h265 bool) {
		kind := codec.H264
		if h265 {
			kind = codec.H265
		}
		a := &accessUnits{r: bytes.NewReader(b), kind: kind}
		n := 0
		for {
			au, err := a.next()
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
			if len(au) == 0 {
				t.Fatal("an empty picture")
			}
			if !bytes.HasPrefix(b[bytes.Index(b, au):], au) {
				t.Fatal("a picture that is not in the stream")
			}
			n += len(au)
		}
		if n > len(b) {
			t.Fatalf("%d bytes of pictures in a stream of %d", n, len(b))
		}
	})
}

// Credential files are written by other programs.
func FuzzRotatingFile(f *testing.F) {
	f.Add("CREDENTIALS AKID secret")
	f.Add("CREDENTIALS AKID 2099-01-01T00:00:00Z secret token")
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseRotating(text, now)
		if err == nil && (!c.HasKeys() || c.Expires.After(now.Add(maxCredentialLife)) || !c.Expires.After(now)) {
			t.Fatalf("%q is taken, expires %v", text, c.Expires)
		}
	})
}
