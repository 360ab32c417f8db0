// Offlineupload sends a recording of yesterday under the time at which it was made,
// as fast as the service takes it, and goes on where it was if it is started
// again.
//
//	go run ./examples/offlineupload yesterday.mp4 cam1 2026-05-01T12:00:00Z
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/sluicevideo/sluice/producer"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: offlineupload FILE.mp4 STREAM TIME")
	}
	start, err := time.Parse(time.RFC3339, os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], start); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, path, name string, start time.Time) error {
	client, err := producer.New(ctx, producer.Options{StorageSize: 64 << 20})
	if err != nil {
		return err
	}
	defer client.Close(ctx)
	spool, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	info := &producer.StreamInfo{
		// Offline: frames wait for room, none is dropped.
		Type:      producer.Offline,
		Retention: 7 * 24 * time.Hour,
		// What cannot be sent now stays on disk and is sent next time.
		Spool: &producer.Spool{Dir: filepath.Join(spool, "sluice-offlineupload")},
	}
	upload, err := client.Register(ctx, name, producer.MP4File(path, producer.FileOptions{Start: start}), info)
	if err != nil {
		return err
	}
	upload.Start(ctx)
	if err := upload.Wait(); err != nil {
		return err
	}
	drain, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	report, err := upload.Free(drain)
	m := upload.Stream().Metrics()
	fmt.Printf("%d frames, %d fragments stored, %d left in the spool\n", m.PutFrames, m.PersistedAcks, report.Spooled)
	return err
}
