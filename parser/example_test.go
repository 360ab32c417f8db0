package parser_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/parser"
)

func ExampleReader_Frames() {
	media := bytes.NewReader(append(chunk(1, 0, "key", "frame"), chunk(2, 1000, "key")...))
	for f, err := range parser.NewReader(media).Frames(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(f.Chunk.Number.Sequence(), f.Info.CodecID, f.Timecode, f.Key, string(f.Data))
	}
	// Output:
	// 1 V_MPEG4/ISO/AVC 0s true key
	// 1 V_MPEG4/ISO/AVC 1ms false frame
	// 2 V_MPEG4/ISO/AVC 1s true key
}

// Several consumers share one pass: the counterpart of the Java library's
// CompositeMkvElementVisitor.
func ExampleReader_Visit() {
	media := bytes.NewReader(append(chunk(1, 0, "key", "frame"), chunk(2, 1000, "key")...))
	merger := parser.NewMerger(io.Discard)
	count := parser.Count{}
	err := parser.NewReader(media).Visit(context.Background(), merger, count, &parser.Chunks{
		Ended: func(_ context.Context, c *fragment.Chunk) error {
			fmt.Println("fragment", c.Number.Sequence(), "complete:", c.Complete)
			return nil
		},
	})
	fmt.Println(count[mkv.IDSimpleBlock], "blocks,", merger.Segments, "segment", err)
	// Output:
	// fragment 1 complete: true
	// fragment 2 complete: true
	// 3 blocks, 1 segment <nil>
}

// Following a stream for as long as the context lives, and keeping it as one
// file.
func ExampleFollower() {
	ctx := context.Background()
	client, err := kvsapi.New(ctx, kvsapi.Options{Endpoint: "http://127.0.0.1:4566"})
	if err != nil {
		return
	}
	out, err := os.Create("camera.mkv")
	if err != nil {
		return
	}
	defer out.Close()
	merger := parser.NewMerger(out, parser.MergeOptions{ClustersOnly: true})
	follower := &parser.Follower{Client: client, Stream: sluice.StreamRef{Name: "camera"}}
	for f, err := range follower.Fragments(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := parser.NewReader(bytes.NewReader(f.Bytes)).Visit(ctx, merger); err != nil {
			return
		}
	}
}
