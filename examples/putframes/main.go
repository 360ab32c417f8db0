// Putframes sends the pictures of an H.264 file frame by frame, as an encoder in
// the same program would hand them over.
//
//	eval "$(sluice env)"
//	go run ./examples/putframes film.h264 cam1
//
// The file is an elementary stream in Annex B with an access unit delimiter before
// each picture: ffmpeg -i film.mp4 -c copy -bsf:v h264_mp4toannexb,h264_metadata=aud=insert film.h264
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: putframes FILE.h264 STREAM")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, path, name string) error {
	film, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// Endpoint, region and credentials come from the environment.
	client, err := producer.New(ctx, producer.Options{})
	if err != nil {
		return err
	}
	defer client.Close(ctx)

	// Frames are in Annex B; the codec private data is taken from the first key
	// frame, and frames are turned into the form that players want.
	stream, err := client.NewStream(producer.StreamInfo{
		Name: name, Tracks: []sluice.Track{producer.H264(nil)},
		OnEvent: func(e producer.Event) {
			if ack, ok := e.(producer.AckReceived); ok {
				fmt.Println(ack.Ack)
			}
		},
	})
	if err != nil {
		return err
	}

	delimiter := []byte{0, 0, 0, 1, 9}
	at := time.Now()
	for _, picture := range bytes.Split(film, delimiter)[1:] {
		picture = append(bytes.Clone(delimiter), picture...)
		key := bytes.Contains(picture, []byte{0, 0, 1, 0x65})
		if err := stream.PutFrame(ctx, producer.FrameAt(at, key, picture)); err != nil {
			return err
		}
		at = at.Add(40 * time.Millisecond)
	}

	// Stop sends what is buffered and waits until it is stored.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	report, err := stream.Stop(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d frames sent, %d fragments not delivered\n", stream.Metrics().PutFrames, len(report.Undelivered))
	return nil
}
