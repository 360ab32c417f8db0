package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/bench"
)

// newBenchCommand measures a running server.
func newBenchCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Load a running server and measure it",
		Long: `Load a running server as cameras and readers do, and print what they saw. The
streams are made when they are not there, and stay: 'sluice stream delete' them
afterwards. With --pid, the server's process on this machine, its CPU and memory
are measured too. Load and server share the machine, so figures are for comparing,
not promises.`,
		Example: `  sluice bench put --streams 400 --pid $(pidof sluice)
  sluice bench latency --streams 100
  sluice bench get --streams 4 --connections 4`,
		Args: cobra.NoArgs,
	}
	flags := addClientFlags(env, cmd)
	var pid, streams, fps, hours int
	var prefix, bitrate string
	var fragment, length, warmup time.Duration
	fs := cmd.PersistentFlags()
	fs.IntVar(&pid, "pid", 0, "process id of the server, to measure its CPU and memory")
	fs.IntVar(&streams, "streams", 100, "how many streams")
	fs.StringVar(&prefix, "prefix", "bench", "what the streams' names begin with")
	fs.IntVar(&hours, "retention-hours", 24, "retention of the streams made; 0: nothing is kept")
	fs.StringVar(&bitrate, "bitrate", "2M", "bits a second of a stream (k, M)")
	fs.IntVar(&fps, "fps", 30, "frames a second")
	fs.DurationVar(&fragment, "fragment", time.Second, "length of a fragment")
	fs.DurationVar(&length, "for", 30*time.Second, "how long")
	fs.DurationVar(&warmup, "warm-up", 5*time.Second, "time at the beginning that is not measured")

	load := func(ctx context.Context) (*bench.Target, bench.Put, error) {
		cfg, endpoint, err := flags.config(ctx)
		if err != nil {
			return nil, bench.Put{}, err
		}
		if endpoint == "" {
			return nil, bench.Put{}, usagef(cmd, "bench needs the endpoint of a server: --endpoint-url, or 'eval $(sluice env)'")
		}
		bits, err := parseBits(bitrate)
		if err != nil {
			return nil, bench.Put{}, usagef(cmd, "--bitrate %s: %v", bitrate, err)
		}
		if streams < 1 || fps < 1 || fps > 1000 || fragment < time.Second/time.Duration(fps) || fragment > 20*time.Second || length <= warmup {
			return nil, bench.Put{}, usagef(cmd, "bench: --streams and --fps must be positive, --fragment a frame to 20s, --for longer than --warm-up")
		}
		t := &bench.Target{Config: cfg, Endpoint: endpoint, PID: pid}
		names, err := t.Streams(ctx, prefix, streams, int32(hours))
		return t, bench.Put{Streams: names, Bitrate: bits, FPS: fps, Fragment: fragment, Length: length, Warmup: warmup}, err
	}

	var inPhase, verify bool
	put := &cobra.Command{
		Use:   "put",
		Short: "Cameras: PutMedia sessions, and how soon their fragments are PERSISTED",
		Example: `  sluice bench put --streams 400 --pid $(pidof sluice)
  sluice bench put --streams 20 --for 20s --verify`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, p, err := load(cmd.Context())
			if err != nil {
				return err
			}
			p.InPhase, p.Verify = inPhase, verify
			r := p.Run(cmd.Context(), t)
			printPut(env.Stdout, r, pid)
			return r.Err
		},
	}
	put.Flags().BoolVar(&inPhase, "in-phase", false, "all cameras begin their fragments at the same moment")
	put.Flags().BoolVar(&verify, "verify", false, "read back every fragment that was PERSISTED and compare it with what was sent")

	var appendDir, metricsURL string
	single := &cobra.Command{
		Use:     "single",
		Short:   "One session as fast as it goes: the media of --for at --bitrate",
		Example: "  sluice bench single --bitrate 50M --for 60s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			streams, warmup = 1, 0
			t, p, err := load(cmd.Context())
			if err != nil {
				return err
			}
			p.FullRate = true
			if appendDir != "" {
				return compareSingle(cmd.Context(), env.Stdout, t, p, appendDir, metricsURL)
			}
			r := p.Run(cmd.Context(), t)
			printPut(env.Stdout, r, pid)
			return r.Err
		},
	}
	single.Flags().StringVar(&appendDir, "append-dir", "", "compare with plain appends to a file in this directory, before and after; take one on the server's disk")
	single.Flags().StringVar(&metricsURL, "metrics-url", "http://127.0.0.1:8471/metrics", "the server's metrics, which tell how large its batches are, for --append-dir")

	var readers int
	latency := &cobra.Command{
		Use:     "latency",
		Short:   "Frames: from their sending by PutMedia to their arrival by GetMedia",
		Example: "  sluice bench latency --streams 100 --readers 2",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, p, err := load(cmd.Context())
			if err != nil {
				return err
			}
			frames, r := (&bench.Latency{Put: p, Readers: readers}).Run(cmd.Context(), t)
			printPut(env.Stdout, r, pid)
			fmt.Fprintf(env.Stdout, "frame latency, %d readers a stream: %v\n", readers, frames)
			return r.Err
		},
	}
	latency.Flags().IntVar(&readers, "readers", 1, "GetMedia connections of each stream")

	var connections int
	get := &cobra.Command{
		Use:     "get",
		Short:   "The archive: GetMedia from the beginning to the end, over and over",
		Example: "  sluice bench get --streams 4 --connections 4",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, p, err := load(cmd.Context())
			if err != nil {
				return err
			}
			r := bench.Archive(cmd.Context(), t, p.Streams, connections, length)
			fmt.Fprintf(env.Stdout, "%d connections: %.0f MB/s", r.Connections, float64(r.Bytes)/1e6/r.Elapsed.Seconds())
			if pid != 0 {
				fmt.Fprintf(env.Stdout, ", server CPU %.2f cores", r.CPU)
			}
			fmt.Fprintf(env.Stdout, "; %d fragments in passes that were read to their end and checked\n", r.Fragments)
			return r.Err
		},
	}
	get.Flags().IntVar(&connections, "connections", 4, "GetMedia connections in all")

	var calls int
	list := &cobra.Command{
		Use:     "list",
		Short:   "ListFragments: pages of a thousand",
		Example: "  sluice bench list --streams 4",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, p, err := load(cmd.Context())
			if err != nil {
				return err
			}
			s, err := bench.List(cmd.Context(), t, p.Streams, calls)
			if err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "ListFragments: %v\n", s)
			return nil
		},
	}
	list.Flags().IntVar(&calls, "calls", 1000, "how many")

	cmd.AddCommand(put, single, latency, get, list)
	return cmd
}

func printPut(w io.Writer, r bench.PutResult, pid int) {
	fmt.Fprintf(w, "%d streams, %.1f MB/s for %v, %d fragments\n", r.Streams, float64(r.Bytes)/1e6/r.Elapsed.Seconds(), r.Elapsed.Round(time.Millisecond), r.Fragments)
	if r.Acks.Count > 0 {
		fmt.Fprintf(w, "PERSISTED after a fragment's last byte: %v\n", r.Acks)
	}
	if r.Received.Count > 0 {
		fmt.Fprintf(w, "RECEIVED after it: %v\n", r.Received)
	}
	if r.Behind.Count > 0 {
		fmt.Fprintf(w, "a fragment's last byte was sent late by: %v\n", r.Behind)
	}
	if pid != 0 {
		fmt.Fprintf(w, "server: CPU %.3f %% of a core a stream (%.2f cores), RSS %.1f MB, at most %.1f MB\n",
			r.CPU*100/float64(r.Streams), r.CPU, float64(r.RSS)/1e6, float64(r.RSSMost)/1e6)
	}
	fmt.Fprintf(w, "error acknowledgements and broken connections: %d\n", r.Errors)
	if v := r.Verified; v.Fragments+v.Lost > 0 {
		fmt.Fprintf(w, "read back and compared: %d fragments that were PERSISTED, %.1f GB; lost or different: %d\n", v.Fragments, float64(v.Bytes)/1e9, v.Lost)
	}
}

// compareSingle runs one session as fast as it goes beside a program that only
// appends. The size of a batch is the server's own choice, so a short session
// tells it first.
func compareSingle(ctx context.Context, w io.Writer, t *bench.Target, p bench.Put, dir, metrics string) error {
	session := func(p bench.Put) (bench.PutResult, int, error) {
		before, err := bench.ReadCommits(ctx, metrics)
		if err != nil {
			return bench.PutResult{}, 0, err
		}
		r := p.Run(ctx, t)
		after, err := bench.ReadCommits(ctx, metrics)
		return r, after.Mean(before), errors.Join(r.Err, err)
	}
	const length = 3 * time.Second
	try := p
	try.Length = p.Length / 4
	_, batch, err := session(try)
	if err != nil {
		return err
	}
	before, err := bench.Append(ctx, dir, batch, length)
	if err != nil {
		return err
	}
	r, batch, err := session(p)
	if err != nil {
		return err
	}
	after, err := bench.Append(ctx, dir, batch, length)
	if err != nil {
		return err
	}
	printPut(w, r, t.PID)
	fmt.Fprintf(w, "plain appends of %.2f MB, the server's mean batch: %.0f MB/s before, %.0f MB/s after; the session reached %.0f %% of their mean\n",
		float64(batch)/1e6, before/1e6, after/1e6, 200*float64(r.Bytes)/r.Elapsed.Seconds()/(before+after))
	return nil
}

// parseBits reads a bit rate such as 800k or 2M.
func parseBits(s string) (int64, error) {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(s, "%f%s", &n, &unit); err != nil && unit == "" && n == 0 {
		return 0, fmt.Errorf("want a number with k or M")
	}
	switch unit {
	case "":
	case "k":
		n *= 1e3
	case "M":
		n *= 1e6
	default:
		return 0, fmt.Errorf("want a number with k or M")
	}
	if n < 8000 || n > 1e10 {
		return 0, fmt.Errorf("want 8k to 10000M")
	}
	return int64(n), nil
}
