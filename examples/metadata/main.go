// Metadata puts metadata on fragments: where the camera is on every one, and that
// something moved on those in which it did.
//
//	go run ./examples/metadata cam1
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
		log.Fatal("usage: metadata STREAM")
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string) error {
	client, err := producer.New(ctx, producer.Options{})
	if err != nil {
		return err
	}
	defer client.Close(ctx)
	// A track of pictures in a codec of our own: the service stores what it does not
	// know.
	track := sluice.Track{Type: sluice.TrackVideo, CodecID: "V_UNCOMPRESSED", Name: "thumbnails"}
	stream, err := client.NewStream(producer.StreamInfo{Name: name, Tracks: []sluice.Track{track}})
	if err != nil {
		return err
	}
	// Persistent: on this fragment and every later one, until it is replaced, or
	// removed with an empty value.
	if err := stream.PutMetadata("Lat", "47.608013N", true); err != nil {
		return err
	}
	if err := stream.PutMetadata("Long", "-122.335167W", true); err != nil {
		return err
	}
	at := time.Now()
	for i := range 100 {
		frame := producer.FrameAt(at.Add(time.Duration(i)*100*time.Millisecond), i%10 == 0, fmt.Appendf(nil, "picture %d", i))
		if i == 42 {
			// With the frame itself, so that it is on the fragment of this frame, also
			// when the frame begins one.
			frame.Tags = []sluice.Tag{{Name: "motion", Value: "true"}}
		}
		if err := stream.PutFrame(ctx, frame); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = stream.Stop(ctx)
	return err
}
