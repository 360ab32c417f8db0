package sluicetest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
)

// Camera makes Matroska as a producer sends it, one video track, without any
// picture in it: the payload is random, so that it is found nowhere by chance,
// and the same for the same Seed, so that it can be compared.
type Camera struct {
	Seed   uint64
	Frames int           // of a fragment; 0: 25
	Size   int           // bytes of a frame; 0: 1000
	Every  time.Duration // between frames, whole milliseconds; 0: 40 ms
}

func (c Camera) frames() int {
	if c.Frames == 0 {
		return 25
	}
	return c.Frames
}

func (c Camera) every() time.Duration {
	if c.Every == 0 {
		return 40 * time.Millisecond
	}
	return c.Every
}

// Length is a fragment's.
func (c Camera) Length() time.Duration { return time.Duration(c.frames()) * c.every() }

// Header is what a session begins with.
func (c Camera) Header() []byte {
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendInfo(b, mkv.Info{})
	return mkv.AppendTracks(b, []sluice.Track{{
		Number: 1, UID: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC", Video: &sluice.Video{Width: 640, Height: 480},
	}})
}

// Fragment is fragment i with the timecode at, in ms.
func (c Camera) Fragment(i int, at int64) []byte {
	size := c.Size
	if size == 0 {
		size = 1000
	}
	r := rand.New(rand.NewPCG(c.Seed, uint64(i)))
	b := mkv.AppendCluster(nil, uint64(at))
	payload := make([]byte, size)
	for n := range c.frames() {
		for k := range payload {
			payload[k] = byte(r.Uint32())
		}
		b = mkv.AppendSimpleBlock(b, int16(time.Duration(n)*c.every()/time.Millisecond), &sluice.Frame{Track: 1, Key: n == 0, Data: payload})
	}
	return b
}

// Put sends n fragments in one session as fast as they are taken, the first with
// the timecode start, and returns their acknowledgements when the session has
// ended. An ERROR acknowledgement is among them, not an error.
func (c Camera) Put(ctx context.Context, client *kvsapi.Client, stream sluice.StreamRef, n int, start time.Time) ([]sluice.Ack, error) {
	body, media := io.Pipe()
	session, err := client.PutMedia(ctx, &kvsapi.PutMediaInput{Stream: stream, TimecodeType: sluice.TimecodeAbsolute, ProducerStart: start, Body: body})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	go func() {
		_, err := media.Write(c.Header())
		for i := 0; i < n && err == nil; i++ {
			_, err = media.Write(c.Fragment(i, start.Add(time.Duration(i)*c.Length()).UnixMilli()))
		}
		media.CloseWithError(err)
	}()
	var acks []sluice.Ack
	for {
		a, err := session.Next()
		if err == io.EOF {
			return acks, nil
		}
		if err != nil {
			return acks, fmt.Errorf("after %d acknowledgements: %w", len(acks), err)
		}
		acks = append(acks, a)
	}
}
