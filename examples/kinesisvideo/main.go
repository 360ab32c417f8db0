// Command kinesisvideo is the tour of the API that the Kinesis Video Streams
// guide calls KinesisVideoExample: it makes a stream anew, puts a Matroska file
// into it, gets it back while it is put, logs fragments and frames, and writes
// what came back as one Matroska file.
//
//	go run ./examples/kinesisvideo -endpoint-url http://127.0.0.1:4566 -stream demo -out merged.mkv film.mkv
//
// Without -endpoint-url it talks to AWS. Credentials and region come from where
// the AWS command line takes them. The stream is DELETED first if it exists.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], nil, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "kinesisvideo:", err)
		os.Exit(1)
	}
}

// run is main with its surroundings handed in; getenv nil is the process's.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	fs := flag.NewFlagSet("kinesisvideo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	endpoint := fs.String("endpoint-url", "", "URL of the service; empty is AWS")
	region := fs.String("region", "", "region to sign for")
	caFile := fs.String("ca-file", "", "PEM file of the authorities to trust")
	name := fs.String("stream", "kinesisvideo-example", "stream to make; deleted first if it is there")
	out := fs.String("out", "merged.mkv", "file to write")
	frames := fs.Bool("frames", false, "log each frame too")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return errors.New("usage: kinesisvideo [flags] FILE.mkv")
	}
	level := slog.LevelInfo
	if *frames {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	client, err := kvsapi.New(ctx, kvsapi.Options{Endpoint: *endpoint, Region: *region, CAFile: *caFile, Getenv: getenv})
	if err != nil {
		return err
	}
	if err := recreate(ctx, client, *name, log); err != nil {
		return err
	}
	in, err := os.Open(fs.Arg(0))
	if err != nil {
		return err
	}
	defer in.Close()
	file, err := os.Create(*out)
	if err != nil {
		return err
	}
	stream := sluice.StreamRef{Name: *name}
	if err := putAndGet(ctx, client, stream, in, file, log); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// recreate deletes the stream, if there is one, and makes it again.
func recreate(ctx context.Context, client *kvsapi.Client, name string, log *slog.Logger) error {
	control := client.Control()
	describe := func() (*types.StreamInfo, error) {
		d, err := control.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &name})
		if err != nil {
			return nil, err
		}
		return d.StreamInfo, nil
	}
	var missing *types.ResourceNotFoundException
	info, err := describe()
	if err == nil {
		log.Info("deleting the stream that is there", "stream", name)
		if _, err := control.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: info.StreamARN}); err != nil {
			return err
		}
		err = until(ctx, func() (bool, error) {
			_, err := describe()
			if errors.As(err, &missing) {
				return true, nil
			}
			return false, err
		})
		if err != nil {
			return err
		}
	} else if !errors.As(err, &missing) {
		return err
	}
	_, err = control.CreateStream(ctx, &kinesisvideo.CreateStreamInput{
		StreamName: &name, DataRetentionInHours: aws.Int32(24), MediaType: aws.String("video/h264"),
	})
	if err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		info, err := describe()
		return err == nil && info.Status == types.StatusActive, err
	})
}

// until asks again, twice a second, until done says yes.
func until(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// putAndGet puts in and, at the same time, gets what is persisted and merges it
// into out.
func putAndGet(ctx context.Context, client *kvsapi.Client, stream sluice.StreamRef, in io.Reader, out io.Writer, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type sent struct {
		last sluice.FragmentNumber
		err  error
	}
	put := make(chan sent, 1)
	go func() {
		last, err := putMedia(ctx, client, stream, in, log)
		put <- sent{last, err}
		if err != nil {
			cancel()
		}
	}()

	// The end is known when the put has ended: the last fragment persisted. Until
	// then the reader waits for the next one.
	got := make(chan sluice.FragmentNumber)
	done := make(chan error, 1)
	go func() {
		defer close(got)
		done <- getMedia(ctx, client, stream, out, log, got)
	}()
	var target, newest sluice.FragmentNumber
	ended := false
	for {
		select {
		case s := <-put:
			if s.err != nil {
				<-done
				return s.err
			}
			target, ended, put = s.last, true, nil
		case n, ok := <-got:
			if !ok {
				return <-done
			}
			newest = n
		}
		if ended && newest.Compare(target) >= 0 {
			cancel()
			for range got {
			}
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			log.Info("done", "last_fragment", target.String())
			return nil
		}
	}
}

// putMedia streams the file and logs the acknowledgements. It returns the last
// fragment that was persisted.
func putMedia(ctx context.Context, client *kvsapi.Client, stream sluice.StreamRef, in io.Reader, log *slog.Logger) (last sluice.FragmentNumber, err error) {
	session, err := client.PutMedia(ctx, &kvsapi.PutMediaInput{
		Stream: stream, TimecodeType: sluice.TimecodeRelative, ProducerStart: time.Now(), Body: in,
	})
	if err != nil {
		return last, err
	}
	defer session.Close()
	for {
		ack, err := session.Next()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		log.Info("ack", "event", ack.Event, "timecode", ack.Timecode, "fragment", ack.Number.String())
		switch ack.Event {
		case sluice.AckPersisted:
			last = ack.Number
		case sluice.AckError:
			return last, fmt.Errorf("fragment %v: %w", ack.Number, ack.Code)
		}
	}
}

// getMedia follows the stream from its first fragment: it logs, merges, and
// tells which fragment is done.
func getMedia(ctx context.Context, client *kvsapi.Client, stream sluice.StreamRef, out io.Writer, log *slog.Logger, got chan<- sluice.FragmentNumber) error {
	follower := &parser.Follower{
		Client: client, Stream: stream, From: sluice.StartSelector{Type: sluice.SelectEarliest}, Logger: log,
	}
	merger := parser.NewMerger(out, parser.MergeOptions{ClustersOnly: true})
	for f, err := range follower.Fragments(ctx) {
		if err != nil {
			return err
		}
		log.Info("fragment", "number", f.Number.String(), "server", f.Server, "producer", f.Producer,
			"behind_now", f.Behind, "frames", len(f.Frames), "bytes", len(f.Bytes))
		for _, x := range f.Frames {
			log.Debug("frame", "track", x.Track, "timecode", x.Timecode, "key", x.Key, "bytes", len(x.Data))
		}
		if err := parser.NewReader(bytes.NewReader(f.Bytes)).Visit(ctx, merger); err != nil {
			return err
		}
		select {
		case got <- f.Number:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
