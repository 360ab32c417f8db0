package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"runtime"
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
	earliest  bool // --from earliest; begin finds out when that is
	by        sluice.Clock
	container string
	low       bool
	times     bool
	expires   time.Duration
	max       int
	json      bool
}

// rangeFlags gives cmd the flags of a time range; absent is what it means that
// --from is not given.
func (v *viewing) rangeFlags(cmd *cobra.Command, absent string) {
	cmd.Flags().Var(&startValue{timeValue{t: &v.from, now: v.env.Now}, &v.earliest}, "from", "TIME to start at, or earliest"+absent)
	timeVar(v.env, cmd.Flags(), &v.to, "to", "TIME to end at")
	byVar(cmd, &v.by)
}

func (v *viewing) sessionFlags(cmd *cobra.Command) {
	v.rangeFlags(cmd, " (default: live)")
	fs := cmd.Flags()
	fs.BoolVar(&v.times, "timestamps", false, "put the fragments' times into the playlist")
	durationVar(fs, &v.expires, "expires", 12*time.Hour, "how long the URL is good for, 5m to 12h")
	fs.IntVar(&v.max, "max-fragments", 0, "most fragments in a playlist (default: 5 live, 1000 on demand)")
	jsonVar(cmd, &v.json)
}

// startValue is the TIME of --from, or earliest.
type startValue struct {
	timeValue
	earliest *bool
}

func (v *startValue) Set(s string) error {
	if *v.earliest = s == "earliest"; *v.earliest {
		*v.t, v.text = time.Time{}, s
		return nil
	}
	err := v.timeValue.Set(s)
	if err != nil {
		return fmt.Errorf("%w, or earliest", err)
	}
	return nil
}

// begin finds when the stream's first fragment begins, for --from earliest.
func (v *viewing) begin(ctx context.Context, c *kvsapi.Client, stream sluice.StreamRef) error {
	if !v.earliest {
		return nil
	}
	to := v.to
	if to.IsZero() {
		to = v.env.Now().Add(24 * time.Hour) // producers' clocks may be ahead
	}
	list, _, err := c.ListFragments(ctx, &kvsapi.ListFragmentsInput{Stream: stream, Clock: v.by, From: time.Unix(0, int64(time.Millisecond)), To: to, Max: 1000})
	if err != nil {
		return err
	}
	for _, f := range list {
		t := f.ServerTimestamp
		if v.by == sluice.ProducerClock {
			t = f.ProducerTimestamp
		}
		if v.from.IsZero() || t.Before(v.from) {
			v.from = t
		}
	}
	if v.from.IsZero() {
		return errors.New("--from earliest: the stream has no fragments that are kept")
	}
	return nil
}

// mode is the PlaybackMode that the range means.
func (v *viewing) mode(cmd *cobra.Command) (string, error) {
	started := v.earliest || !v.from.IsZero()
	switch {
	case !started && v.to.IsZero():
		return kvsapi.Live, nil
	case !started:
		return "", usagef(cmd, "--to needs --from")
	case v.to.IsZero():
		return kvsapi.LiveReplay, nil
	case !v.earliest && !v.to.After(v.from):
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
		Stream: streamRef(stream), Mode: mode, Clock: v.by, To: v.to, DisplayTimestamp: v.times,
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
	if err := v.begin(cmd.Context(), c, in.Stream); err != nil {
		return kvsapi.StreamingSession{}, err
	}
	in.From = v.from
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
			if err := v.begin(cmd.Context(), c, streamRef(args[0])); err != nil {
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
			if !v.earliest && v.from.IsZero() || v.to.IsZero() {
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
	v.rangeFlags(cmd, "")
	outputVar(cmd, &output, "", "FILE to write; - is standard output")
	return cmd
}

func (v *viewing) clip(ctx context.Context, stream sluice.StreamRef, output string) (err error) {
	c, err := v.flags.client(ctx)
	if err != nil {
		return err
	}
	if err := v.begin(ctx, c, stream); err != nil {
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
	var console bool
	cmd := &cobra.Command{
		Use:   "play STREAM [--from TIME [--to TIME]] [--player PROGRAM | --console]",
		Short: "Watch a stream with an installed player, or in the console",
		Long: `Open an HLS session and give it to mpv, ffplay or vlc, whichever is installed, or
to the program named. With --console, and where none of them is installed, the
stream's page of the console opens in the browser: the one that BROWSER names, or
the desktop's.

` + timeHelp + `.`,
		Example: `  sluice play cam1
  sluice play cam1 --from -1h --to now --player vlc
  sluice play cam1 --console`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if console && (player != "" || v.earliest || !v.from.IsZero() || !v.to.IsZero()) {
				return usagef(cmd, "--console goes without --player, --from and --to: the page has a timeline")
			}
			path, err := findPlayer(player)
			if err != nil {
				return err
			}
			if console || path == "" {
				return v.console(cmd.Context(), args[0], path == "")
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
	v.rangeFlags(cmd, " (default: live)")
	cmd.Flags().StringVar(&player, "player", "", "PROGRAM to play with (default: mpv, ffplay or vlc)")
	cmd.Flags().BoolVar(&console, "console", false, "open the stream's page of the console instead")
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

// console opens the stream's page in the browser, and says where it is in case
// that does nothing.
func (v *viewing) console(ctx context.Context, stream string, missing bool) error {
	_, endpoint, err := v.flags.config(ctx)
	if err != nil {
		return err
	}
	if missing {
		fmt.Fprintf(v.env.Stderr, "None of %s is installed.\n", strings.Join(players, ", "))
	}
	if endpoint == "" {
		return errors.New("no player: install one, or open the stream in the console of AWS")
	}
	if arn, err := sluice.ParseARN(stream); err == nil {
		stream = arn.Name
	}
	page := endpoint + "/console/#/stream/" + url.PathEscape(stream)
	if _, err := fmt.Fprintf(v.env.Stdout, "Watch %s in the console: %s\n", stream, page); err != nil {
		return err
	}
	if browser := v.browser(page); browser != nil {
		if out, err := exec.CommandContext(ctx, browser[0], browser[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", browser[0], err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// browser is the command that opens a page, or nil.
func (v *viewing) browser(page string) []string {
	if b := v.env.Getenv("BROWSER"); b != "" {
		return []string{b, page}
	}
	open := []string{"xdg-open", page}
	switch runtime.GOOS {
	case "darwin":
		open[0] = "open"
	case "windows":
		open = []string{"rundll32", "url.dll,FileProtocolHandler", page}
	}
	if _, err := exec.LookPath(open[0]); err != nil {
		return nil
	}
	return open
}
