package mkv_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
)

// session is seconds of a 2 Mbit/s, 30 fps camera, as a native producer sends
// it: a Cluster each 2 s, key frames six times the size of the others.
func session(seconds int) (b []byte, frames int) {
	b = mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendInfo(b, mkv.Info{MuxingApp: "bench", WritingApp: "bench"})
	b = mkv.AppendTracks(b, []sluice.Track{{
		Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC",
		Video: &sluice.Video{Width: 1280, Height: 720}, CodecPrivate: make([]byte, 40),
	}})
	const group = 60
	unit := 2_000_000 / 8 * 2 / (group + 5)
	payload := make([]byte, 6*unit)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for n := range seconds * 30 {
		at := n * 1000 / 30
		f := sluice.Frame{Track: 1, Data: payload[:unit]}
		if n%group == 0 {
			b = mkv.AppendCluster(b, uint64(at))
			f.Key, f.Data = true, payload
		}
		b = mkv.AppendSimpleBlock(b, int16(at%2000), &f)
		frames++
	}
	return b, frames
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

func benchDemux(b *testing.B, o mkv.Options, step int) {
	in, want := session(60)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	frames := 0
	for b.Loop() {
		d := mkv.NewDemuxer(o)
		got := 0
		for rest := in; len(rest) > 0; {
			n := min(step, len(rest))
			d.Feed(rest[:n])
			rest = rest[n:]
			got += drain(b, d)
		}
		if got != want {
			b.Fatalf("%d frames, want %d", got, want)
		}
		frames += got
	}
	b.ReportMetric(float64(frames)/b.Elapsed().Seconds(), "blocks/s")
}

// The whole session in one slice.
func BenchmarkDemuxSlice(b *testing.B) { benchDemux(b, mkv.Options{}, 1<<30) }

// In pieces as a socket gives them; payloads are reported where they lie.
func BenchmarkDemux32KiB(b *testing.B) { benchDemux(b, mkv.Options{SplitFrames: true}, 32<<10) }

// In the same pieces, cut frames put together again.
func BenchmarkDemux32KiBWhole(b *testing.B) { benchDemux(b, mkv.Options{}, 32<<10) }

// Through a TCP connection on the loopback: mostly the kernel's copies.
func BenchmarkDemuxSocket(b *testing.B) {
	in, want := session(60)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Skip("no loopback: ", err)
	}
	defer l.Close()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	buf := make([]byte, 32<<10)
	for b.Loop() {
		done := make(chan error, 1)
		go func() {
			c, err := net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
			if err == nil {
				_, err = c.Write(in)
				c.Close()
			}
			done <- err
		}()
		c, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		d := mkv.NewDemuxer(mkv.Options{SplitFrames: true})
		got := 0
		for {
			n, err := c.Read(buf)
			d.Feed(buf[:n])
			got += drain(b, d)
			if err != nil {
				break
			}
		}
		c.Close()
		if err := <-done; err != nil || got != want {
			b.Fatalf("%d frames, want %d: %v", got, want, err)
		}
	}
}
