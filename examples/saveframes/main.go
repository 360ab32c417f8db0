// Command saveframes saves each frame of a stream, or of a file, as a file of
// its own, with its metadata in a file of the same name with .json behind it.
//
//	go run ./examples/saveframes -endpoint-url http://127.0.0.1:4566 -stream demo -n 100 -dir frames
//	sluice get demo --for 10s -o - | go run ./examples/saveframes -dir frames -
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], nil, os.Stdin, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "saveframes:", err)
		os.Exit(1)
	}
}

// run is main with its surroundings handed in; getenv nil is the process's.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stderr io.Writer) error {
	fs := flag.NewFlagSet("saveframes", flag.ContinueOnError)
	fs.SetOutput(stderr)
	endpoint := fs.String("endpoint-url", "", "URL of the service; empty is AWS")
	region := fs.String("region", "", "region to sign for")
	caFile := fs.String("ca-file", "", "PEM file of the authorities to trust")
	name := fs.String("stream", "", "stream to read, from its first fragment on")
	dir := fs.String("dir", "frames", "folder to write to")
	most := fs.Int("n", 0, "frames to save; 0 is all there are, or until interrupted")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if (*name == "") == (fs.NArg() == 0) || fs.NArg() > 1 {
		return errors.New("usage: saveframes [flags] -stream NAME | FILE | -")
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	frames, err := func() (iter.Seq2[parser.Frame, error], error) {
		switch {
		case *name != "":
			client, err := kvsapi.New(ctx, kvsapi.Options{Endpoint: *endpoint, Region: *region, CAFile: *caFile, Getenv: getenv})
			return streamFrames(ctx, client, *name), err
		case fs.Arg(0) == "-":
			return parser.NewReader(stdin).Frames(ctx), nil
		}
		return fileFrames(ctx, fs.Arg(0)), nil
	}()
	if err != nil {
		return err
	}
	n := 0
	for f, err := range frames {
		if errors.Is(err, context.Canceled) {
			break
		}
		if err != nil {
			return err
		}
		if err := save(*dir, n, f); err != nil {
			return err
		}
		if n++; n == *most {
			break
		}
	}
	fmt.Fprintf(stderr, "%d frames in %s\n", n, *dir)
	return nil
}

// streamFrames is the frames of a stream, whole fragment by whole fragment, so
// that none comes twice when a connection breaks.
func streamFrames(ctx context.Context, client *kvsapi.Client, name string) iter.Seq2[parser.Frame, error] {
	return func(yield func(parser.Frame, error) bool) {
		follower := &parser.Follower{
			Client: client, Stream: sluice.StreamRef{Name: name}, From: sluice.StartSelector{Type: sluice.SelectEarliest},
		}
		for f, err := range follower.Fragments(ctx) {
			if err != nil {
				yield(parser.Frame{}, err)
				return
			}
			for x, err := range parser.NewReader(bytes.NewReader(f.Bytes)).Frames(ctx) {
				if !yield(x, err) {
					return
				}
			}
		}
	}
}

func fileFrames(ctx context.Context, path string) iter.Seq2[parser.Frame, error] {
	return func(yield func(parser.Frame, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(parser.Frame{}, err)
			return
		}
		defer f.Close()
		parser.NewReader(f).Frames(ctx)(yield)
	}
}

// save writes a frame's payload and what is known of it. The names are numbers
// only: nothing that came in becomes a path.
func save(dir string, n int, f parser.Frame) error {
	base := filepath.Join(dir, fmt.Sprintf("%08d-track%d", n, f.Track))
	if err := os.WriteFile(base+".bin", f.Data, 0o644); err != nil {
		return err
	}
	meta := struct {
		Track      uint64       `json:"track"`
		Codec      string       `json:"codec,omitempty"`
		TimecodeNs int64        `json:"timecode_ns"`
		Key        bool         `json:"key"`
		Bytes      int          `json:"bytes"`
		Fragment   string       `json:"fragment_number,omitempty"`
		Server     *time.Time   `json:"server_timestamp,omitempty"`
		Producer   *time.Time   `json:"producer_timestamp,omitempty"`
		Tags       []sluice.Tag `json:"tags,omitempty"`
	}{Track: f.Track, TimecodeNs: f.Timecode.Nanoseconds(), Key: f.Key, Bytes: len(f.Data), Tags: f.Chunk.Tags}
	if f.Info != nil {
		meta.Codec = f.Info.CodecID
	}
	if c := f.Chunk; !c.Number.IsZero() {
		meta.Fragment, meta.Server, meta.Producer = c.Number.String(), &c.Server, &c.Producer
	}
	b, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(base+".json", append(b, '\n'), 0o644)
}
