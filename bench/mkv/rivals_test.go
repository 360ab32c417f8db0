// Package mkvbench holds our demuxer against others that are written in Go. It
// is a module of its own so that they are no dependency of ours.
package mkvbench

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/at-wat/ebml-go"
	"github.com/at-wat/ebml-go/mkvcore"
	"github.com/at-wat/ebml-go/webm"
	"github.com/remko/go-mkvparse"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
)

// session is a minute of a 2 Mbit/s, 30 fps camera, as a native producer sends
// it, but that the Clusters' sizes are known when known is set, for the one rival
// that ends at the second Cluster of unknown size (TestUnknownClusters).
func session(known bool) (b []byte, frames int) {
	b = mkv.AppendHeader(nil)
	b = mkv.AppendSegment(b)
	b = mkv.AppendInfo(b, mkv.Info{MuxingApp: "bench", WritingApp: "bench"})
	b = mkv.AppendTracks(b, []sluice.Track{{
		Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC",
		Video: &sluice.Video{Width: 1280, Height: 720}, CodecPrivate: make([]byte, 40),
	}})
	const group = 60
	const unit = 2_000_000 / 8 * 2 / (group + 5)
	payload := make([]byte, 6*unit)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	start := 0
	close := func() {
		if known && start > 0 {
			size := len(b) - start - 5
			head := append([]byte{0x1F, 0x43, 0xB6, 0x75, 0x01, 0, 0, 0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, b[start+5:]...)
			b = append(b[:start], head...)
		}
	}
	for n := range 60 * 30 {
		at := n * 1000 / 30
		f := sluice.Frame{Track: 1, Data: payload[:unit]}
		if n%group == 0 {
			close()
			start = len(b)
			b = mkv.AppendCluster(b, uint64(at))
			f.Key, f.Data = true, payload
		}
		b = mkv.AppendSimpleBlock(b, int16(at%2000), &f)
		frames++
	}
	close()
	return b, frames
}

func run(b *testing.B, known bool, parse func(b *testing.B, in []byte) int) {
	in, want := session(known)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		got := parse(b, in)
		if got != want {
			b.Fatalf("%d frames, want %d", got, want)
		}
		total += got
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "blocks/s")
}

func drain(b *testing.B, d *mkv.Demuxer) (frames int) {
	for {
		ev, err := d.Next()
		if errors.Is(err, mkv.ErrMore) {
			return frames
		}
		if err != nil {
			b.Fatal(err)
		}
		frames += len(ev.Frames)
	}
}

// Ours, the session in one slice.
func BenchmarkSluiceSlice(b *testing.B) {
	run(b, false, func(b *testing.B, in []byte) int {
		d := mkv.NewDemuxer(mkv.Options{})
		d.Feed(in)
		return drain(b, d)
	})
}

// Ours, from an io.Reader as the rivals, every frame whole in memory as theirs.
func BenchmarkSluiceReader(b *testing.B) {
	buf := make([]byte, 32<<10)
	run(b, false, func(b *testing.B, in []byte) (frames int) {
		d := mkv.NewDemuxer(mkv.Options{})
		r := bytes.NewReader(in)
		for {
			n, err := r.Read(buf)
			d.Feed(buf[:n])
			frames += drain(b, d)
			if errors.Is(err, io.EOF) {
				return frames
			}
		}
	})
}

// at-wat/ebml-go, ebml.Unmarshal of the whole document into a struct.
func BenchmarkAtWatUnmarshal(b *testing.B) {
	run(b, false, func(b *testing.B, in []byte) (frames int) {
		var doc struct {
			Header  webm.EBMLHeader `ebml:"EBML"`
			Segment webm.Segment    `ebml:"Segment"`
		}
		if err := ebml.Unmarshal(bytes.NewReader(in), &doc, ebml.WithIgnoreUnknown(true)); err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		for _, c := range doc.Segment.Cluster {
			frames += len(c.SimpleBlock)
		}
		return frames
	})
}

// at-wat/ebml-go, mkvcore.NewSimpleBlockReader, frame by frame.
func BenchmarkAtWatSimpleBlockReader(b *testing.B) {
	run(b, true, func(b *testing.B, in []byte) int { return simpleBlocks(b, in) })
}

func simpleBlocks(tb testing.TB, in []byte) (frames int) {
	tracks, err := mkvcore.NewSimpleBlockReader(bytes.NewReader(in), mkvcore.WithOnFatalHandler(func(err error) {}))
	if err != nil || len(tracks) != 1 {
		tb.Fatal(err)
	}
	defer tracks[0].Close()
	for {
		_, _, _, err := tracks[0].Read()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			tb.Fatal(err)
		}
		frames++
	}
}

type counter struct {
	mkvparse.DefaultHandler
	frames int
}

func (c *counter) HandleMasterBegin(mkvparse.ElementID, mkvparse.ElementInfo) (bool, error) {
	return true, nil
}

func (c *counter) HandleBinary(id mkvparse.ElementID, _ []byte, _ mkvparse.ElementInfo) error {
	if id == mkvparse.SimpleBlockElement {
		c.frames++
	}
	return nil
}

// remko/go-mkvparse, mkvparse.Parse with a handler that counts blocks.
func BenchmarkRemkoParse(b *testing.B) {
	run(b, false, func(b *testing.B, in []byte) int {
		return parsed(b, in)
	})
}

func parsed(tb testing.TB, in []byte) int {
	var c counter
	if err := mkvparse.Parse(bytes.NewReader(in), &c); err != nil {
		tb.Fatal(err)
	}
	return c.frames
}

// Which rivals read the session as it is, and which one only with Clusters of
// known size.
func TestUnknownClusters(t *testing.T) {
	unknown, frames := session(false)
	known, _ := session(true)
	for _, c := range []struct {
		name string
		got  int
		want int
	}{
		{"mkvparse.Parse, unknown", parsed(t, unknown), frames},
		{"mkvparse.Parse, known", parsed(t, known), frames},
		{"SimpleBlockReader, unknown", simpleBlocks(t, unknown), 60}, // the first Cluster
		{"SimpleBlockReader, known", simpleBlocks(t, known), frames},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d frames, want %d of %d", c.name, c.got, c.want, frames)
		}
	}
}
