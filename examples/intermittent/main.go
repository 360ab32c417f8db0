// Intermittent is a source that sends only when something happens, such as a
// camera behind a motion detector: a few seconds, then nothing for a while.
//
//	go run ./examples/intermittent cam1
//
// EndFragment makes the service store what was sent without waiting for more. The
// session ends by itself after IdleTimeout, and the next key frame opens another.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: intermittent STREAM")
	}
	if err := run(context.Background(), os.Args[1], 3, 30*time.Second); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string, events int, quiet time.Duration) error {
	client, err := producer.New(ctx, producer.Options{})
	if err != nil {
		return err
	}
	defer client.Close(ctx)
	stream, err := client.NewStream(producer.StreamInfo{
		Name: name, Tracks: []sluice.Track{{Type: sluice.TrackVideo, CodecID: "V_UNCOMPRESSED"}},
		IdleTimeout: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	for event := range events {
		if event > 0 {
			time.Sleep(quiet)
		}
		for i := range 30 {
			frame := producer.FrameAt(time.Now(), i%10 == 0, fmt.Appendf(nil, "event %d picture %d", event, i))
			if i == 0 {
				frame.Tags = []sluice.Tag{{Name: "event", Value: fmt.Sprint(event)}}
			}
			if err := stream.PutFrame(ctx, frame); err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err := stream.EndFragment(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = stream.Stop(ctx)
	fmt.Printf("%d sessions\n", stream.Metrics().TotalSessions)
	return err
}
