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
}

// PutResult is what the cameras saw.
type PutResult struct {
	Streams, Fragments int
	Bytes              int64
	Elapsed            time.Duration
	Acks               Summary // from a fragment's last byte to its PERSISTED
	Received           Summary // the same to its RECEIVED, of streams without retention
	CPU                float64 // of the server: share of a core
	RSS                int64   // of the server at the end, bytes
	Err                error
}

// Run sends, and reads the acknowledgements.
func (p *Put) Run(ctx context.Context, t *Target) PutResult {
	var (
		acks, received Latencies
		bad            failure
		sent           atomic.Int64
		fragments      atomic.Int64
		wg             sync.WaitGroup
		measuring      atomic.Bool
	)
	ctx, cancel := context.WithTimeout(ctx, p.Length+60*time.Second)
	defer cancel()
	conns := make([]net.Conn, len(p.Streams))
	readers := make([]*bufio.Reader, len(p.Streams))
	for i, name := range p.Streams {
		var err error
		conns[i], readers[i], _, err = t.call(ctx, "/putMedia", map[string]string{
			"X-Amzn-Stream-Name": name, "X-Amzn-Fragment-Timecode-Type": "ABSOLUTE",
			"X-Amzn-Fragment-Acknowledgment-Required": "1",
		}, nil, 1024)
		if err != nil {
			bad.add(err)
			continue
		}
		defer conns[i].Close()
	}
	start := time.Now().Add(200 * time.Millisecond).Truncate(time.Second).Add(time.Second)
	for i := range p.Streams {
		if conns[i] == nil {
			continue
		}
		c := &camera{p: p, conn: conns[i], bad: &bad, sent: &sent, measuring: &measuring, ended: map[int64]time.Time{}}
		c.begin = start
		if !p.InPhase {
			c.begin = start.Add(p.Fragment * time.Duration(i) / time.Duration(len(p.Streams)))
		}
		wg.Go(func() { c.send(ctx) })
		wg.Go(func() { c.read(readers[i], &acks, &received, &fragments) })
	}
	if !p.FullRate {
		time.Sleep(time.Until(start.Add(p.Warmup)))
	}
	measuring.Store(true)
	before, bytes0, began := usage(t.PID), sent.Load(), time.Now()
	if p.FullRate {
		bytes0 = 0
		wg.Wait() // the last fragment's PERSISTED is part of it
	} else {
		time.Sleep(time.Until(start.Add(p.Length)))
	}
	after, elapsed := usage(t.PID), time.Since(began)
	bytes1 := sent.Load()
	measuring.Store(false)
	wg.Wait()
	return PutResult{
		Streams: len(p.Streams), Fragments: int(fragments.Load()), Bytes: bytes1 - bytes0, Elapsed: elapsed,
		Acks: acks.Summary(), Received: received.Summary(),
		CPU: (after.CPU - before.CPU).Seconds() / elapsed.Seconds(), RSS: after.RSS, Err: bad.err(),
	}
}

// camera is one session.
type camera struct {
	p         *Put
	conn      net.Conn
	begin     time.Time
	bad       *failure
	sent      *atomic.Int64
	measuring *atomic.Bool

	mu    sync.Mutex
	ended map[int64]time.Time // when the last byte of a fragment went out, by timecode
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

// send sends frames at their times until the load is over.
func (c *camera) send(ctx context.Context) {
	p := c.p
	interval := time.Second / time.Duration(p.FPS)
	size := max(int(p.Bitrate/8/int64(p.FPS)), len(marker)+8)
	perFragment := max(int(p.Fragment/interval), 1)
	frames := int(p.Length / interval)
	payload := noise()
	head := header()
	stamp := make([]byte, len(marker)+8)
	copy(stamp, marker)
	var lead, chunk []byte
	at := uint64(0)
	if !p.FullRate {
		time.Sleep(time.Until(c.begin))
	}
	base := c.begin.UnixMilli()
	for n := 0; n < frames && ctx.Err() == nil; n++ {
		due := c.begin.Add(time.Duration(n) * interval)
		if !p.FullRate {
			time.Sleep(time.Until(due))
		}
		lead = lead[:0]
		if n == 0 {
			lead = append(lead, head...)
		}
		key := n%perFragment == 0
		if key {
			at = uint64(base + int64(n)*interval.Milliseconds())
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
		from := (n * 4099) % (len(payload) - size)
		if last {
			c.mu.Lock()
			c.ended[int64(at)] = time.Now()
			c.mu.Unlock()
		}
		rest := append(tail[:len(tail):len(tail)], "\r\n"...)
		bufs := net.Buffers{chunk, payload[from : from+size-len(stamp)], rest}
		if _, err := bufs.WriteTo(c.conn); err != nil {
			c.bad.add(fmt.Errorf("sending: %w", err))
			return
		}
		c.sent.Add(int64(total))
	}
	io.WriteString(c.conn, "0\r\n\r\n")
}

// read reads the acknowledgements to the end of the answer.
func (c *camera) read(r *bufio.Reader, acks, received *Latencies, fragments *atomic.Int64) {
	for {
		line, err := r.ReadSlice('\n')
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
			ended, ok := c.ended[a.Timecode]
			c.mu.Unlock()
			if !ok || !c.measuring.Load() {
				continue
			}
			if a.Event == sluice.AckReceived {
				received.add(now.Sub(ended))
				continue
			}
			fragments.Add(1)
			acks.add(now.Sub(ended))
		}
	}
}
