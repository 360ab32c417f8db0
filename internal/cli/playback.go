package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// viewing is what the verbs that open a streaming session share.
type viewing struct {
	env       *Env
	flags     *clientFlags
	from, to  time.Time
	by        sluice.Clock
	container string
	low       bool
	times     bool
	expires   time.Duration
	max       int
	json      bool
}

// rangeFlags gives cmd the flags of a time range.
func (v *viewing) rangeFlags(cmd *cobra.Command) {
	timeVar(v.env, cmd.Flags(), &v.from, "from", "TIME to start at (default: live)")
	timeVar(v.env, cmd.Flags(), &v.to, "to", "TIME to end at")
	byVar(cmd, &v.by)
}

func (v *viewing) sessionFlags(cmd *cobra.Command) {
	v.rangeFlags(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&v.times, "timestamps", false, "put the fragments' times into the playlist")
	durationVar(fs, &v.expires, "expires", 12*time.Hour, "how long the URL is good for, 5m to 12h")
	fs.IntVar(&v.max, "max-fragments", 0, "most fragments in a playlist (default: 5 live, 1000 on demand)")
	jsonVar(cmd, &v.json)
}

// mode is the PlaybackMode that the range means.
func (v *viewing) mode(cmd *cobra.Command) (string, error) {
	switch {
	case v.from.IsZero() && v.to.IsZero():
		return kvsapi.Live, nil
	case v.from.IsZero():
		return "", usagef(cmd, "--to needs --from")
	case v.to.IsZero():
		return kvsapi.LiveReplay, nil
	case !v.to.After(v.from):
		return "", usagef(cmd, "--to must be later than --from")
	}
	return kvsapi.OnDemand, nil
}

const sessionHelp = `Without --from the stream plays live; with --from alone it plays from then on as
if it were live; with --from and --to as a recording. Sound that players cannot
play is left out, which is said. Whoever has the URL can watch until it expires.

` + timeHelp + `.`

func newHLSCommand(env *Env) *cobra.Command {
	v := &viewing{env: env}
	cmd := &cobra.Command{
		Use:   "hls STREAM [--from TIME [--to TIME]] [--container mp4|ts] [--low-latency]",
		Short: "Print the URL of an HLS session, for any player",
		Long:  "Open an HLS session and print its URL.\n\n" + sessionHelp,
		Example: `  sluice hls cam1
  mpv "$(sluice hls cam1 --from -1h --to now)"
  sluice hls cam1 --low-latency`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := v.hls(cmd, args[0])
			if err != nil {
				return err
			}
			return v.print(s)
		},
	}
	v.flags = addClientFlags(env, cmd)
	v.sessionFlags(cmd)
	cmd.Flags().StringVar(&v.container, "container", "mp4", "what segments are: mp4, or ts for old players")
	cmd.Flags().BoolVar(&v.low, "low-latency", false, "low-latency HLS, for live viewing; Sluice only")
	return cmd
}

// hls opens a session.
func (v *viewing) hls(cmd *cobra.Command, stream string) (kvsapi.StreamingSession, error) {
	mode, err := v.mode(cmd)
	if err != nil {
		return kvsapi.StreamingSession{}, err
	}
	in := &kvsapi.HLSInput{
		Stream: streamRef(stream), Mode: mode, Clock: v.by, From: v.from, To: v.to, DisplayTimestamp: v.times,
		Expires: v.expires, MaxFragments: v.max, SkipUnsupported: true,
	}
	switch v.container {
	case "", "mp4":
	case "ts":
		in.Container = "MPEG_TS"
	default:
		return kvsapi.StreamingSession{}, usagef(cmd, "--container %q: want mp4 or ts", v.container)
	}
	if v.low && (mode != kvsapi.Live || in.Container != "") {
		return kvsapi.StreamingSession{}, usagef(cmd, "--low-latency is for live viewing as mp4")
	}
	c, err := v.flags.client(cmd.Context())
	if err != nil {
		return kvsapi.StreamingSession{}, err
	}
	s, err := c.HLSSession(cmd.Context(), in)
	if err == nil && v.low {
		s.URL += "&LowLatency=1"
	}
	return s, err
}

func (v *viewing) print(s kvsapi.StreamingSession) error {
	if s.Skipped != "" {
		fmt.Fprintf(v.env.Stderr, "The stream's sound is %s, which players of this kind cannot play: it is left out.\n", s.Skipped)
	}
	if v.json {
		return printJSON(v.env.Stdout, map[string]string{"URL": s.URL, "SkippedCodec": s.Skipped})
	}
	_, err := fmt.Fprintln(v.env.Stdout, s.URL)
	return err
}

func newDASHCommand(env *Env) *cobra.Command {
	v := &viewing{env: env}
	var numbers bool
	cmd := &cobra.Command{
		Use:   "dash STREAM [--from TIME [--to TIME]]",
		Short: "Print the URL of a DASH session, for any player",
		Long:  "Open a DASH session and print its URL.\n\n" + sessionHelp,
		Example: `  sluice dash cam1
  sluice dash cam1 --from -1h --to now`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			mode, err := v.mode(cmd)
			if err != nil {
				return err
			}
			c, err := v.flags.client(cmd.Context())
			if err != nil {
				return err
			}
			s, err := c.DASHSession(cmd.Context(), &kvsapi.DASHInput{
				Stream: streamRef(args[0]), Mode: mode, Clock: v.by, From: v.from, To: v.to, DisplayTimestamp: v.times, DisplayNumber: numbers,
				Expires: v.expires, MaxFragments: v.max, SkipUnsupported: true,
			})
			if err != nil {
				return err
			}
			return v.print(s)
		},
	}
	v.flags = addClientFlags(env, cmd)
	v.sessionFlags(cmd)
	cmd.Flags().BoolVar(&numbers, "numbers", false, "put the fragments' numbers into the manifest")
	return cmd
}

func newClipCommand(env *Env) *cobra.Command {
	v := &viewing{env: env}
	var output string
	cmd := &cobra.Command{
		Use:   "clip STREAM --from TIME --to TIME -o FILE|-",
		Short: "Save a time range as one MP4 file",
		Long: `Save the fragments between two times as one MP4 file, with GetClip. A clip has at
most 200 fragments and 100 MB, unless the server is set otherwise; longer ranges
are cut at the end. Gaps between fragments are left out.

` + timeHelp + `.`,
		Example: `  sluice clip cam1 --from -10m --to -8m -o door.mp4`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if v.from.IsZero() || v.to.IsZero() {
				return usagef(cmd, "--from and --to must be given")
			}
			if _, err := v.mode(cmd); err != nil {
				return err
			}
			if output == "" {
				return usagef(cmd, "-o must name a file, or - for standard output")
			}
			if output == "-" && env.Terminal {
				return usagef(cmd, "media on a terminal is no use: name a file with -o, or pipe it on")
			}
			return v.clip(cmd.Context(), streamRef(args[0]), output)
		},
	}
	v.flags = addClientFlags(env, cmd)
	v.rangeFlags(cmd)
	outputVar(cmd, &output, "", "FILE to write; - is standard output")
	return cmd
}

func (v *viewing) clip(ctx context.Context, stream sluice.StreamRef, output string) (err error) {
	c, err := v.flags.client(ctx)
	if err != nil {
		return err
	}
	m, err := c.GetClip(ctx, stream, v.by, v.from, v.to)
	if err != nil {
		return err
	}
	defer m.Close()
	w, err := createOutput(v.env, output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	p := &progress{w: v.env.Stderr, show: v.env.Terminal, total: m.Length, now: v.env.Now}
	n, err := io.Copy(w, io.TeeReader(m, p))
	p.end()
	if err != nil {
		return fmt.Errorf("clip broke off after %s: %w", sizeText(n), err)
	}
	if output != "-" {
		fmt.Fprintf(v.env.Stderr, "%s: %s\n", output, sizeText(n))
	}
	return nil
}

// progress shows on a terminal how far a download has come.
type progress struct {
	w       io.Writer
	show    bool
	total   int64 // -1: not known
	now     func() time.Time
	n       int64
	last    time.Time
	printed bool
}

func (p *progress) Write(b []byte) (int, error) {
	p.n += int64(len(b))
	if now := p.now(); p.show && now.Sub(p.last) >= 200*time.Millisecond {
		p.last, p.printed = now, true
		if p.total > 0 {
			fmt.Fprintf(p.w, "\r%s of %s (%d %%)\x1b[K", sizeText(p.n), sizeText(p.total), 100*p.n/p.total)
		} else {
			fmt.Fprintf(p.w, "\r%s\x1b[K", sizeText(p.n))
		}
	}
	return len(b), nil
}

func (p *progress) end() {
	if p.printed {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func newPlayCommand(env *Env) *cobra.Command {
	v := &viewing{env: env, expires: 12 * time.Hour}
	var player string
	cmd := &cobra.Command{
		Use:   "play STREAM [--from TIME [--to TIME]] [--player PROGRAM]",
		Short: "Watch a stream with an installed player",
		Long: `Open an HLS session and give it to mpv, ffplay or vlc, whichever is installed, or
to the program named. Without any of them the URL of the console, where streams
can be watched in the browser, is printed.

` + timeHelp + `.`,
		Example: `  sluice play cam1
  sluice play cam1 --from -1h --to now --player vlc`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := findPlayer(player)
			if err != nil {
				return err
			}
			if path == "" {
				return v.console(cmd.Context(), args[0])
			}
			s, err := v.hls(cmd, args[0])
			if err != nil {
				return err
			}
			if s.Skipped != "" {
				fmt.Fprintf(env.Stderr, "The stream's sound is %s, which HLS cannot carry: it is left out.\n", s.Skipped)
			}
			return v.play(cmd.Context(), path, s.URL)
		},
	}
	v.flags = addClientFlags(env, cmd)
	v.rangeFlags(cmd)
	cmd.Flags().StringVar(&player, "player", "", "PROGRAM to play with (default: mpv, ffplay or vlc)")
	return cmd
}

// players in the order of preference.
var players = []string{"mpv", "ffplay", "vlc"}

func findPlayer(name string) (string, error) {
	if name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("player: %w", err)
		}
		return path, nil
	}
	for _, p := range players {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	return "", nil
}

func (v *viewing) play(ctx context.Context, path, url string) error {
	cmd := exec.CommandContext(ctx, path, url)
	if strings.HasSuffix(path, "mpv") {
		// mpv reads it from here, so the token stays off the list of processes.
		cmd = exec.CommandContext(ctx, path, "--playlist=-")
		cmd.Stdin = strings.NewReader(url + "\n")
	}
	cmd.Stdout, cmd.Stderr = v.env.Stdout, v.env.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil // interrupted: the player was told to end
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (v *viewing) console(ctx context.Context, stream string) error {
	_, endpoint, err := v.flags.config(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(v.env.Stderr, "None of %s is installed.\n", strings.Join(players, ", "))
	if endpoint == "" {
		return errors.New("no player: install one, or open the stream in the console of AWS")
	}
	_, err = fmt.Fprintf(v.env.Stdout, "Watch %s in the console: %s\n", stream, endpoint)
	return err
}
