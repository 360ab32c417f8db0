package fragment_test

import (
	"errors"
	"fmt"

	"github.com/sluicevideo/sluice/fragment"
)

func ExampleReader() {
	body := cat(ordinary, cluster(1000, block(0, "key frame"), block(40, "next")), tag("place", "door"), endTag, cluster(3000, block(0, "key frame")))
	r := fragment.NewReader(fragment.Options{})
	for len(body) > 0 {
		n := min(100, len(body)) // as the socket gives them
		r.Feed(body[:n])
		body = body[n:]
		for {
			ev, err := r.Next()
			if errors.Is(err, fragment.ErrMore) {
				break
			}
			if err != nil {
				fmt.Println(err) // the acknowledgement to send: 4006, 4009, ...
				return
			}
			switch ev.Kind {
			case fragment.HeaderComplete:
				fmt.Println("header with track", ev.Header.Tracks[0].CodecID)
			case fragment.Begin:
				fmt.Println("fragment begins at tick", ev.Timecode)
			case fragment.Elements:
				for _, f := range ev.Frames {
					fmt.Println("  frame of", f.Size, "bytes at", f.Timecode)
				}
				for _, t := range ev.Tags {
					fmt.Printf("  tag %s=%s\n", t.Name, t.Value)
				}
			case fragment.End:
				fmt.Println("fragment ends, by tag:", ev.Explicit)
			}
		}
	}
	// Output:
	// header with track V_MPEG4/ISO/AVC
	// fragment begins at tick 1000
	//   frame of 9 bytes at 1s
	//   frame of 4 bytes at 1.04s
	//   tag place=door
	//   tag AWS_KINESISVIDEO_END_OF_FRAGMENT=
	// fragment ends, by tag: true
	// fragment begins at tick 3000
	//   frame of 9 bytes at 3s
}
