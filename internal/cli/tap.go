package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// tap prints a stream as it passes.
type tap struct {
	env    *Env
	client *kvsapi.Client
	stream sluice.StreamRef
	from   sluice.StartSelector
	frames bool
	json   bool
	length time.Duration

	count, bytes int // of the chunk
	tracks       string
}

func newTapCommand(env *Env) *cobra.Command {
	t := &tap{env: env}
	var flags *clientFlags
	var from string
	var by sluice.Clock
	cmd := &cobra.Command{
		Use:   "tap STREAM [--from PLACE] [--frames]",
		Short: "Show fragments, frames and tags as they pass",
		Long: `Follow a stream with GetMedia and print a line for each fragment when it begins and
when it ends, each tag of its producer, and with --frames each frame. PLACE is as
in 'sluice get'.`,
		Example: `  sluice tap cam1
  sluice tap cam1 --from earliest --frames --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			t.stream = streamRef(args[0])
			if t.from, err = parseFrom(cmd, env, from, by); err != nil {
				return err
			}
			if t.client, err = flags.client(cmd.Context()); err != nil {
				return err
			}
			return t.run(cmd.Context())
		},
	}
	flags = addClientFlags(env, cmd)
	fs := cmd.Flags()
	fs.StringVar(&from, "from", "now", "PLACE to start at")
	byVar(cmd, &by)
	durationVar(fs, &t.length, "for", 0, "how long to watch; 0: until interrupted")
	fs.BoolVar(&t.frames, "frames", false, "print each frame too")
	cmd.Flags().BoolVar(&t.json, "json", false, "print a JSON object a line")
	return cmd
}

// run follows one connection after the other; each goes on after the last
// fragment that was seen whole.
func (t *tap) run(ctx context.Context) error {
	if t.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.length, errEnough)
		defer cancel()
	}
	for {
		err := t.connection(ctx)
		switch {
		case errors.Is(context.Cause(ctx), errEnough):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, io.EOF):
			return err
		}
		fmt.Fprintln(t.env.Stderr, "the server ended the connection; calling again")
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// connection prints one GetMedia to its end, which is io.EOF.
func (t *tap) connection(ctx context.Context) error {
	media, err := t.client.GetMedia(ctx, t.stream, t.from)
	if err != nil {
		return err
	}
	defer media.Close()
	err = parser.NewReader(media).Visit(ctx,
		&parser.Chunks{Started: t.started, Ended: t.ended},
		parser.VisitorFunc(func(_ context.Context, e parser.Element) error { t.bytes += len(e.Raw); return nil }),
		parser.FrameFunc(t.frame),
	)
	if err == nil {
		return io.EOF
	}
	return err
}

func (t *tap) started(_ context.Context, c *fragment.Chunk) error {
	t.count, t.bytes = 0, 0
	if t.json {
		return printJSONLine(t.env.Stdout, map[string]any{"begin": c.Number.String(), "server": timeText(c.Server), "producer": timeText(c.Producer)})
	}
	if now := tracksText(c.Tracks); now != t.tracks {
		t.tracks = now
		fmt.Fprintf(t.env.Stdout, "tracks    %s\n", now)
	}
	_, err := fmt.Fprintf(t.env.Stdout, "fragment  %s  server %s  producer %s\n", c.Number, timeText(c.Server), timeText(c.Producer))
	return err
}

func (t *tap) ended(_ context.Context, c *fragment.Chunk) error {
	if c.Err != nil {
		return c.Err
	}
	if c.Complete {
		t.from = sluice.StartSelector{Type: sluice.SelectFragmentNumber, After: c.Number}
	}
	if t.json {
		tags := []map[string]string{}
		for _, g := range c.Tags {
			tags = append(tags, map[string]string{"name": g.Name, "value": g.Value})
		}
		return printJSONLine(t.env.Stdout, map[string]any{
			"end": c.Number.String(), "complete": c.Complete, "frames": t.count, "bytes": t.bytes, "behind_ms": c.Behind.Milliseconds(), "tags": tags,
		})
	}
	for _, g := range c.Tags {
		fmt.Fprintf(t.env.Stdout, "  tag     %q = %q\n", g.Name, g.Value)
	}
	state := fmt.Sprintf("%s behind now", c.Behind)
	if !c.Complete {
		state = "broken off"
	}
	_, err := fmt.Fprintf(t.env.Stdout, "  end     %d frames, %s, %s\n", t.count, sizeText(int64(t.bytes)), state)
	return err
}

func (t *tap) frame(_ context.Context, f parser.Frame) error {
	t.count++
	if !t.frames {
		return nil
	}
	if t.json {
		return printJSONLine(t.env.Stdout, map[string]any{
			"frame": f.Timecode.Microseconds(), "track": f.Track, "key": f.Key, "size": len(f.Data), "fragment": f.Chunk.Number.String(),
		})
	}
	key := ""
	if f.Key {
		key = "  key"
	}
	_, err := fmt.Fprintf(t.env.Stdout, "  frame   track %d  %.3f s  %d bytes%s\n", f.Track, f.Timecode.Seconds(), len(f.Data), key)
	return err
}

// tracksText is the tracks in a line.
func tracksText(tracks []sluice.Track) string {
	var list []string
	for _, tr := range tracks {
		s := fmt.Sprintf("%d %s %s", tr.Number, tr.Type, tr.CodecID)
		if tr.Video != nil {
			s += fmt.Sprintf(" %dx%d", tr.Video.Width, tr.Video.Height)
		}
		if tr.Audio != nil {
			s += fmt.Sprintf(" %g Hz, %d channels", tr.Audio.SamplingFrequency, tr.Audio.Channels)
		}
		list = append(list, s)
	}
	return strings.Join(list, "; ")
}
