package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/mkv"
)

// Put is a load of cameras.
type Put struct {
	Streams  []string
	Bitrate  int64         // bits a second of each
	FPS      int           // frames a second
	Fragment time.Duration // length of a fragment
	Length   time.Duration // how long to send
	Warmup   time.Duration // at its beginning, what is not measured
	InPhase  bool          // all cameras begin their fragments at the same moment
	FullRate bool          // do not keep time: send Length of media as fast as it goes
	Verify   bool          // read back every fragment that was PERSISTED, and compare
}

// PutResult is what the cameras saw.
type PutResult struct {
	Streams, Fragments int
	Bytes              int64
	Elapsed            time.Duration
	Acks               Summary // from a fragment's last byte to its PERSISTED
	Received           Summary // the same to its RECEIVED, of streams without retention
	Behind             Summary // how late the last byte of a fragment went out: the server reads slower than the camera sends
	CPU                float64 // of the server: share of a core
	RSS, RSSMost       int64   // of the server at the end and at its highest, bytes
	Errors             int     // error acknowledgements, and connections that broke
	Verified           Verified
	Err                error
}

// Run sends, and reads the acknowledgements.
func (p *Put) Run(ctx context.Context, t *Target) PutResult {
	r := &put{Put: p}
	var wg sync.WaitGroup
	sending, cancel := context.WithTimeout(ctx, p.Length+60*time.Second)
	defer cancel()
	cameras := make([]*camera, 0, len(p.Streams))
	for _, name := range p.Streams {
		conn, answer, _, err := t.call(sending, "/putMedia", map[string]string{
			"X-Amzn-Stream-Name": name, "X-Amzn-Fragment-Timecode-Type": "ABSOLUTE",
			"X-Amzn-Fragment-Acknowledgment-Required": "1",
		}, nil, 1024)
		if err != nil {
			r.bad.add(err)
			continue
		}
		defer conn.Close()
		if c, ok := conn.(*net.TCPConn); ok && p.FullRate {
			unpaced(c)
		} else if ok {
			// Else the kernel hides seconds of media, and a camera never learns that
			// the server reads slower than it sends.
			c.SetWriteBuffer(cameraBuffer)
		}
		defer context.AfterFunc(sending, func() { conn.SetDeadline(time.Unix(1, 0)) })()
		cameras = append(cameras, &camera{put: r, stream: name, conn: conn, answer: answer, sent: map[int64]*sent{}})
	}
	start := time.Now().Add(200 * time.Millisecond).Truncate(time.Second).Add(time.Second)
	for i, c := range cameras {
		c.begin = start
		if !p.InPhase {
			c.begin = start.Add(p.Fragment * time.Duration(i) / time.Duration(len(p.Streams)))
		}
		wg.Go(func() { c.send(sending) })
		wg.Go(c.read)
	}
	if !p.FullRate {
		time.Sleep(time.Until(start.Add(p.Warmup)))
	}
	r.measuring.Store(true)
	before, bytes, began := usage(t.PID), r.bytes.Load(), time.Now()
	if p.FullRate {
		bytes = 0
		wg.Wait() // the last fragment's PERSISTED is part of it
	} else {
		time.Sleep(time.Until(start.Add(p.Length)))
	}
	after, elapsed := usage(t.PID), time.Since(began)
	bytes = r.bytes.Load() - bytes
	r.measuring.Store(false)
	wg.Wait()
	end := usage(t.PID)
	result := PutResult{
		Streams: len(p.Streams), Fragments: int(r.fragments.Load()), Bytes: bytes, Elapsed: elapsed,
		Acks: r.acks.Summary(), Received: r.received.Summary(), Behind: r.behind.Summary(),
		CPU: (after.CPU - before.CPU).Seconds() / elapsed.Seconds(), RSS: after.RSS, RSSMost: max(after.RSS, end.Most), Errors: r.bad.number(),
	}
	if p.Verify {
		result.Verified = p.verify(ctx, t, cameras, &r.bad)
	}
	result.Err = r.bad.err()
	return result
}

const cameraBuffer = 128 << 10

// put is a load that runs.
type put struct {
	*Put
	acks, received, behind Latencies
	bad                    failure
	bytes, fragments       atomic.Int64
	measuring              atomic.Bool
}

// camera is one session.
type camera struct {
	*put
	stream string
	conn   net.Conn
	answer *bufio.Reader
	begin  time.Time

	mu   sync.Mutex
	sent map[int64]*sent // fragments whose last byte went out, by timecode
	kept []kept          // of the goroutine that reads
}

// sent is a fragment that was sent.
type sent struct {
	first, frames int // its frames
	ended         time.Time
	measured      bool
}

// kept is a fragment that was PERSISTED.
type kept struct {
	number sluice.FragmentNumber
	*sent
}

func header() []byte {
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendInfo(b, mkv.Info{Scale: time.Millisecond, MuxingApp: "sluice bench", WritingApp: "sluice bench"})
	return mkv.AppendTracks(b, []sluice.Track{{
		Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC", Video: &sluice.Video{Width: 1920, Height: 1080},
	}})
}

var endTag = mkv.AppendTags(nil, sluice.Tag{Name: fragment.TagEndOfFragment})

// marker begins the payload of a frame whose latency is measured; the time of
// sending follows, in ns since the epoch.
var marker = []byte("\x00sluice bench \xf0\x9f\x95\xb0\x00")

// interval is the time from a frame to the next.
func (p *Put) interval() time.Duration { return time.Second / time.Duration(p.FPS) }

// perFragment is how many frames a fragment has, the last one of a load apart.
func (p *Put) perFragment() int { return max(int(p.Fragment/p.interval()), 1) }

// payload is what follows the stamp in frame n: the same for every camera.
func (p *Put) payload(n int) []byte {
	from, size := p.place(n)
	return noise()[from : from+size]
}

// place is where in the noise the payload of frame n lies.
func (p *Put) place(n int) (from, size int) {
	size = p.frameSize()
	return (n * 4099) % (len(noise()) - size), size - len(marker) - 8
}

// write sends frame n between its head and what follows it.
func (c *camera) write(head []byte, n int, rest []byte) error {
	bufs := net.Buffers{head, c.payload(n), rest}
	_, err := bufs.WriteTo(c.conn)
	return err
}

// fromFile is from which size on a frame that need not keep time is sent from a
// file: the kernel then takes it from the page cache, and one processor less is
// busy with copying what the server is to be measured with.
const fromFile = 64 << 10

func (c *camera) writeFile(conn *net.TCPConn, noise *os.File, head []byte, n int, rest []byte) error {
	from, size := c.place(n)
	if _, err := conn.Write(head); err != nil {
		return err
	}
	if _, err := noise.Seek(int64(from), io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyN(conn, noise, int64(size)); err != nil {
		return err
	}
	_, err := conn.Write(rest)
	return err
}

// noiseFile is a file, without a name, that holds the noise.
func noiseFile() (*os.File, error) {
	file, err := os.CreateTemp("", "sluice-bench")
	if err != nil {
		return nil, err
	}
	_, err = file.Write(noise())
	if err := errors.Join(err, os.Remove(file.Name())); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// send sends frames at their times until the load is over. Who is behind its
// time by then stops at a fragment's end.
func (c *camera) send(ctx context.Context) {
	interval, size, perFragment := c.interval(), c.frameSize(), c.perFragment()
	frames := int(c.Length / interval)
	head := header()
	stamp := make([]byte, len(marker)+8)
	copy(stamp, marker)
	var lead, chunk []byte
	at := uint64(0)
	write := c.write
	if tcp, ok := c.conn.(*net.TCPConn); ok && c.FullRate && size >= fromFile {
		file, err := noiseFile()
		if err != nil {
			c.bad.add(err)
			return
		}
		defer file.Close()
		write = func(head []byte, n int, rest []byte) error { return c.writeFile(tcp, file, head, n, rest) }
	}
	if !c.FullRate {
		time.Sleep(time.Until(c.begin))
	}
	base := c.begin.UnixMilli()
	first := 0
	for n := 0; n < frames && ctx.Err() == nil; n++ {
		due := c.begin.Add(time.Duration(n) * interval)
		if !c.FullRate {
			time.Sleep(time.Until(due))
		}
		lead = lead[:0]
		if n == 0 {
			lead = append(lead, head...)
		}
		key := n%perFragment == 0
		if key {
			if !c.FullRate && time.Since(c.begin) > c.Length {
				break
			}
			first, at = n, uint64(base+int64(n)*interval.Milliseconds())
			lead = mkv.AppendCluster(lead, at)
		}
		after := int16(base + int64(n)*interval.Milliseconds() - int64(at))
		f := sluice.Frame{Track: 1, Key: key}
		lead = mkv.AppendSimpleBlockHeader(lead, after, &f, size)
		binary.BigEndian.PutUint64(stamp[len(marker):], uint64(time.Now().UnixNano()))
		last := n%perFragment == perFragment-1 || n == frames-1
		var tail []byte
		if last {
			tail = endTag
		}
		total := len(lead) + size + len(tail)
		chunk = append(strconv.AppendInt(chunk[:0], int64(total), 16), "\r\n"...)
		chunk = append(chunk, lead...)
		chunk = append(chunk, stamp...)
		var done *sent
		if last {
			done = &sent{first: first, frames: n + 1 - first, measured: c.measuring.Load(), ended: time.Now()}
			c.mu.Lock()
			c.sent[int64(at)] = done
			c.mu.Unlock()
		}
		rest := append(tail[:len(tail):len(tail)], "\r\n"...)
		if err := write(chunk, n, rest); err != nil {
			c.bad.add(fmt.Errorf("sending: %w", err))
			return
		}
		if last && done.measured && !c.FullRate {
			c.behind.add(time.Since(due))
		}
		c.bytes.Add(int64(total))
	}
	io.WriteString(c.conn, "0\r\n\r\n")
}

// read reads the acknowledgements to the end of the answer.
func (c *camera) read() {
	for {
		line, err := c.answer.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			c.bad.add(fmt.Errorf("acknowledgements: %w", err))
			return
		}
		now := time.Now()
		if len(line) < 3 || line[0] != '{' {
			if bytes.Equal(line, []byte("0\r\n")) {
				return
			}
			continue
		}
		a, err := sluice.ParseAck(line)
		if err != nil {
			c.bad.add(err)
			return
		}
		switch a.Event {
		case sluice.AckError:
			c.bad.add(fmt.Errorf("acknowledgement %s", a))
		case sluice.AckPersisted, sluice.AckReceived:
			c.mu.Lock()
			f := c.sent[a.Timecode]
			c.mu.Unlock()
			if f == nil {
				continue
			}
			if a.Event == sluice.AckPersisted && c.Verify {
				c.kept = append(c.kept, kept{a.Number, f})
			}
			switch {
			case !f.measured:
			case a.Event == sluice.AckReceived:
				c.received.add(now.Sub(f.ended))
			default:
				c.fragments.Add(1)
				c.acks.add(now.Sub(f.ended))
			}
		}
	}
}
