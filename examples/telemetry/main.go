// Telemetry sends something that is neither picture nor sound: the readings of a
// sensor as JSON, each a frame. A stream is an ordered, durable, timed log of
// anything, such as RADAR returns or the log of a program.
//
//	go run ./examples/telemetry radar1
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// radar is a media source: it puts frames by itself once it is started.
type radar struct{ readings int }

// Configure says what the source puts.
func (*radar) Configure(context.Context) (producer.StreamInfo, error) {
	return producer.StreamInfo{
		Tracks:           []sluice.Track{{Type: sluice.TrackMetadata, CodecID: "S_TEXT/JSON", Name: "radar"}},
		ContentType:      "application/json",
		FragmentDuration: 2 * time.Second,
	}, nil
}

// Run puts readings until the context ends.
func (r *radar) Run(ctx context.Context, s *producer.Stream) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := range r.readings {
		reading, err := json.Marshal(map[string]float64{"angle": float64(i % 360), "distance": 10 + math.Sin(float64(i)/10)})
		if err != nil {
			return err
		}
		if err := s.PutFrame(ctx, producer.FrameAt(time.Now(), true, reading)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: telemetry STREAM")
	}
	if err := run(context.Background(), os.Args[1], 200); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string, readings int) error {
	client, err := producer.New(ctx, producer.Options{DeviceName: "roof"})
	if err != nil {
		return err
	}
	defer client.Close(ctx)
	source, err := client.Register(ctx, name, &radar{readings}, nil)
	if err != nil {
		return err
	}
	source.Start(ctx)
	if err := source.Wait(); err != nil {
		return err
	}
	drain, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = source.Free(drain)
	m := source.Stream().Metrics()
	fmt.Printf("%d readings, %d fragments stored\n", m.PutFrames, m.PersistedAcks)
	return err
}
