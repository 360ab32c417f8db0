// Manycameras plays one recording into many streams at once, as a recorder with
// many cameras does: one client, one budget of memory, a stream for each.
//
//	go run ./examples/manycameras film.mp4 16
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice/producer"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: manycameras FILE.mp4 NUMBER")
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], n); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, path string, n int) error {
	client, err := producer.New(ctx, producer.Options{
		// Room for 30 seconds of 2 Mbit/s from each camera while the service is away.
		StorageSize: producer.StorageFor(n, 2_000_000, 30*time.Second),
		MaxStreams:  n,
	})
	if err != nil {
		return err
	}
	var cameras []*producer.Registration
	for i := range n {
		source := producer.MP4File(path, producer.FileOptions{Realtime: true})
		camera, err := client.Register(ctx, fmt.Sprintf("camera-%d", i+1), source, nil)
		if err != nil {
			return err
		}
		camera.Start(ctx)
		cameras = append(cameras, camera)
	}
	for _, camera := range cameras {
		if err := camera.Wait(); err != nil {
			return err
		}
	}
	// Not under ctx: that may have ended, and what is buffered shall be sent still.
	drain, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err = client.Close(drain)
	for _, camera := range cameras {
		m := camera.Stream().Metrics()
		fmt.Printf("%s: %d frames, %d fragments stored, %d dropped\n", camera.Stream().Name(), m.PutFrames, m.PersistedAcks, m.DroppedFragments)
	}
	return err
}
