package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/kvsapi"
)

// media opens a GetMedia call.
func (t *Target) media(ctx context.Context, stream string, from map[string]any, buffer int) (io.Reader, io.Closer, error) {
	body, err := json.Marshal(map[string]any{"StreamName": stream, "StartSelector": from})
	if err != nil {
		return nil, nil, err
	}
	conn, _, resp, err := t.call(ctx, "/getMedia", map[string]string{"Content-Type": "application/json"}, body, buffer)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return resp.Body, closer(func() error { stop(); return conn.Close() }), nil
}

type closer func() error

func (c closer) Close() error { return c() }

// Latency is what readers of a load of cameras see of its frames.
type Latency struct {
	Put     Put
	Readers int // of each stream
}

// Run sends and reads live, and measures each frame from its sending to its
// last byte at the reader.
func (l *Latency) Run(ctx context.Context, t *Target) (frames Summary, put PutResult) {
	var (
		lat  Latencies
		bad  failure
		wg   sync.WaitGroup
		open sync.WaitGroup
	)
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, name := range l.Put.Streams {
		for range l.Readers {
			open.Add(1)
			wg.Go(func() {
				r, c, err := t.media(reading, name, map[string]any{"StartSelectorType": "NOW"}, 64<<10)
				open.Done()
				if err != nil {
					bad.add(err)
					return
				}
				defer c.Close()
				// It reads until the connection ends, which is an error unless we ended it.
				if err := stamps(r, &lat, l.Put.frameSize()); reading.Err() == nil {
					bad.add(err)
				}
			})
		}
	}
	open.Wait()
	put = l.Put.Run(ctx, t)
	cancel()
	wg.Wait()
	if err := bad.err(); err != nil {
		put.Err = errors.Join(put.Err, err)
	}
	return lat.Summary(), put
}

func (p *Put) frameSize() int { return max(int(p.Bitrate/8/int64(p.FPS)), len(marker)+8) }

// stamps finds the times in the frames and waits for each frame's last byte.
func stamps(r io.Reader, lat *Latencies, size int) error {
	buf := make([]byte, 0, 256<<10)
	for {
		if cap(buf)-len(buf) < 32<<10 {
			buf = append(make([]byte, 0, max(256<<10, 2*len(buf))), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		now := time.Now().UnixNano()
		buf = buf[:len(buf)+n]
		for {
			i := bytes.Index(buf, marker)
			if i < 0 {
				// Keep what may be the beginning of a marker.
				keep := min(len(buf), len(marker)-1)
				buf = buf[len(buf)-keep:]
				break
			}
			if len(buf)-i < size {
				buf = buf[i:]
				break
			}
			sent := int64(binary.BigEndian.Uint64(buf[i+len(marker):]))
			lat.add(time.Duration(now - sent))
			buf = buf[i+size:]
		}
		if err != nil {
			return err
		}
	}
}

// GetResult is how fast an archive was read.
type GetResult struct {
	Connections int
	Bytes       int64
	Fragments   int
	Elapsed     time.Duration
	CPU         float64 // of the server: share of a core
	Err         error
}

// Archive reads each stream from its beginning to its last fragment, again and
// again for a time, with that many connections in all. Each pass is checked: the
// length, and the last token.
func Archive(ctx context.Context, t *Target, streams []string, connections int, length time.Duration) GetResult {
	var bad failure
	type want struct {
		bytes     int64
		last      sluice.FragmentNumber
		fragments int
	}
	client := t.Client()
	wants := make([]want, len(streams))
	for i, name := range streams {
		w := &wants[i]
		in := kvsapi.ListFragmentsInput{Stream: sluice.StreamRef{Name: name}}
		for {
			page, next, err := client.ListFragments(ctx, &in)
			if err != nil {
				return GetResult{Err: err}
			}
			for _, f := range page {
				w.bytes += f.Size
				w.fragments++
				if f.Number.Compare(w.last) > 0 {
					w.last = f.Number
				}
			}
			if in.NextToken = next; next == "" {
				break
			}
		}
		if w.fragments == 0 {
			return GetResult{Err: fmt.Errorf("stream %s holds nothing: run the put benchmark on it first", name)}
		}
	}
	var total, fragments atomic.Int64
	var wg sync.WaitGroup
	before, began := usage(t.PID), time.Now()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	// A dial that runs into the deadline says "i/o timeout" before ctx has ended.
	over := func() bool { return ctx.Err() != nil || time.Since(began) >= length }
	for i := range connections {
		wg.Go(func() {
			w := wants[i%len(streams)]
			for !over() {
				r, c, err := t.media(ctx, streams[i%len(streams)], map[string]any{"StartSelectorType": "EARLIEST"}, 256<<10)
				if err != nil {
					if !over() {
						bad.add(err)
					}
					return
				}
				n, err := pass(r, w.last, &total)
				c.Close()
				switch {
				case over():
				case err != nil:
					bad.add(err)
					return
				case n < w.bytes:
					bad.add(fmt.Errorf("%d bytes came, at least %d should", n, w.bytes))
					return
				default:
					fragments.Add(int64(w.fragments))
				}
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	after := usage(t.PID)
	return GetResult{
		Connections: connections, Bytes: total.Load(), Fragments: int(fragments.Load()), Elapsed: elapsed,
		CPU: (after.CPU - before.CPU).Seconds() / elapsed.Seconds(), Err: bad.err(),
	}
}

// pass reads up to the trailing tag with the token.
func pass(r io.Reader, last sluice.FragmentNumber, total *atomic.Int64) (n int64, err error) {
	token := append([]byte(fragment.TagContinuationToken), 0x44, 0x87, 0x10, 0, 0, 47)
	token = last.Append(token)
	buf := make([]byte, 512<<10)
	var tail []byte
	for {
		k, err := r.Read(buf)
		n += int64(k)
		total.Add(int64(k))
		// The token is looked for at the end of what has come: nothing follows it
		// while the reader waits at the live end.
		tail = append(tail, buf[max(0, k-len(token)):k]...)
		if len(tail) > len(token) {
			tail = append(tail[:0], tail[len(tail)-len(token):]...)
		}
		if bytes.Equal(tail, token) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// List is ListFragments over streams in turn: the first page of a thousand, on
// connections that are kept.
func List(ctx context.Context, t *Target, streams []string, calls int) (Summary, error) {
	var lat Latencies
	client := t.Client()
	for i := range calls {
		began := time.Now()
		_, _, err := client.ListFragments(ctx, &kvsapi.ListFragmentsInput{Stream: sluice.StreamRef{Name: streams[i%len(streams)]}, Max: 1000})
		if err != nil {
			return Summary{}, err
		}
		lat.add(time.Since(began))
	}
	return lat.Summary(), nil
}
