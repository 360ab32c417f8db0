package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// byVar gives cmd the flag --by.
func byVar(cmd *cobra.Command, v *sluice.Clock) {
	cmd.Flags().Var(&clockValue{v}, "by", "which time of a fragment counts: server or producer")
}

// clockValue is a Clock as a flag.
type clockValue struct{ c *sluice.Clock }

func (v *clockValue) Type() string { return "CLOCK" }
func (v *clockValue) String() string {
	if v.c != nil && *v.c == sluice.ProducerClock {
		return "producer"
	}
	return "server"
}
func (v *clockValue) Set(s string) error {
	switch s {
	case "server":
		*v.c = sluice.ServerClock
	case "producer":
		*v.c = sluice.ProducerClock
	default:
		return fmt.Errorf("%q: want server or producer", s)
	}
	return nil
}

// isNumber tells a fragment number, of 47 digits, from epoch seconds.
func isNumber(s string) bool {
	return len(s) > 20 && strings.Trim(s, "0123456789") == ""
}

// parseFrom reads the value of --from: where GetMedia starts.
func parseFrom(cmd *cobra.Command, env *Env, s string, by sluice.Clock) (sluice.StartSelector, error) {
	switch {
	case s == "now":
		return sluice.StartSelector{Type: sluice.SelectNow}, nil
	case s == "earliest":
		return sluice.StartSelector{Type: sluice.SelectEarliest}, nil
	case isNumber(s):
		n, err := sluice.ParseFragmentNumber(s)
		if err != nil {
			return sluice.StartSelector{}, usagef(cmd, "--from: %s", err)
		}
		return sluice.StartSelector{Type: sluice.SelectFragmentNumber, After: n}, nil
	}
	t, err := parseTime(s, env.Now())
	if err != nil {
		return sluice.StartSelector{}, usagef(cmd, "--from: %s, earliest, or a fragment number to go on after", err)
	}
	from := sluice.StartSelector{Type: sluice.SelectServerTimestamp, Time: t}
	if by == sluice.ProducerClock {
		from.Type = sluice.SelectProducerTimestamp
	}
	return from, nil
}

// getter is one run of 'sluice get'.
type getter struct {
	env    *Env
	flags  *clientFlags
	client *kvsapi.Client
	stream sluice.StreamRef
	by     sluice.Clock
	from   sluice.StartSelector
	to     time.Time     // zero: no end
	length time.Duration // zero: no end
	last   sluice.FragmentNumber
	raw    bool
	output string
}

func newGetCommand(env *Env) *cobra.Command {
	var from, to string
	g := &getter{env: env}
	cmd := &cobra.Command{
		Use:   "get STREAM [--from PLACE] [--to TIME | --for DURATION] [-o FILE|-]",
		Short: "Save a stream's media, from the archive, live, or both",
		Long: `Follow a stream with GetMedia and write its media as one Matroska file, in which
players can seek: its times begin at 0, and DATE_RECORDED among its tags says when
that was. With -o - the document is made for reading while it is written, and has
the Clusters as they came, with their times.

PLACE is earliest, now, a TIME, or a fragment number or continuation token, after
which it goes on. Without --to and --for it follows the stream until it is
interrupted. Where the tracks change or the time goes back a file cannot go on:
the next one gets a number in its name.

` + timeHelp + `.`,
		Example: `  sluice get cam1 --from earliest --to now -o cam1.mkv
  sluice get cam1 --from -1h --for 5m -o five-minutes.mkv
  sluice get cam1 -o - | ffplay -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			g.stream = streamRef(args[0])
			if g.from, err = parseFrom(cmd, env, from, g.by); err != nil {
				return err
			}
			if to != "" {
				if g.length > 0 {
					return usagef(cmd, "--to and --for exclude each other")
				}
				if g.to, err = parseTime(to, env.Now()); err != nil {
					return usagef(cmd, "--to: %s", err)
				}
			}
			if g.output == "-" && env.Terminal {
				return usagef(cmd, "media on a terminal is no use: name a file with -o, or pipe it on")
			}
			if g.client, err = g.flags.client(cmd.Context()); err != nil {
				return err
			}
			return g.run(cmd.Context())
		},
	}
	g.flags = addClientFlags(env, cmd)
	fs := cmd.Flags()
	fs.StringVar(&from, "from", "now", "PLACE to start at")
	fs.StringVar(&to, "to", "", "TIME to end at: the last fragment is the one that begins then or before")
	durationVar(fs, &g.length, "for", 0, "how much to get")
	byVar(cmd, &g.by)
	fs.BoolVar(&g.raw, "raw", false, "write the chunks as the service sends them, tags and all")
	outputVar(cmd, &g.output, "-", "file to write; -: stdout")
	return cmd
}

// errEnough ends a run that has all it was asked for.
var errEnough = errors.New("enough")

func (g *getter) run(ctx context.Context) error {
	if err := g.prepare(ctx); err != nil {
		return err
	}
	w, err := newMediaFile(g.env, g.output, g.raw)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Live, the time may run out while nothing comes. The fragment that is on its
	// way when it does gets the time of the longest one.
	switch now := g.env.Now(); {
	case g.length > 0 && g.from.Type == sluice.SelectNow:
		g.to = now.Add(g.length)
		fallthrough
	case g.to.After(now):
		timer := time.AfterFunc(g.to.Sub(now)+20*time.Second, func() { cancel(errEnough) })
		defer timer.Stop()
	}
	follower := &parser.Follower{Client: g.client, Stream: g.stream, From: g.from, Logger: g.flags.logger()}
	var s summary
	for f, err := range follower.Fragments(ctx) {
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			err = errors.Join(err, w.close())
			g.report(&s, w)
			return err
		}
		at := f.Server
		if g.by == sluice.ProducerClock {
			at = f.Producer
		}
		if g.length > 0 && g.to.IsZero() {
			g.to = at.Add(g.length)
		}
		if !g.to.IsZero() && at.After(g.to) {
			break
		}
		if err := w.write(ctx, f); err != nil {
			return errors.Join(err, w.close())
		}
		s.add(f)
		if !g.last.IsZero() && f.Number.Compare(g.last) >= 0 {
			break
		}
	}
	err = w.close()
	g.report(&s, w)
	return err
}

// prepare says why there is nothing when there is nothing, and finds the last
// fragment of an end that lies in the past: the stream itself would only fall
// silent after it.
func (g *getter) prepare(ctx context.Context) error {
	past := !g.to.IsZero() && !g.to.After(g.env.Now())
	if g.from.Type != sluice.SelectEarliest && !past {
		return nil
	}
	in := &kinesisvideo.DescribeStreamInput{}
	if g.stream.ARN != "" {
		in.StreamARN = &g.stream.ARN
	} else {
		in.StreamName = &g.stream.Name
	}
	out, err := g.client.Control().DescribeStream(ctx, in)
	if err != nil {
		return err
	}
	end := g.env.Now()
	if past {
		end = g.to
	}
	found := false
	if aws.ToInt32(out.StreamInfo.DataRetentionInHours) > 0 {
		// The last hour first: a long archive need not be listed whole.
		for _, begin := range []time.Time{end.Add(-time.Hour), time.Unix(1, 0)} {
			list := parser.List(ctx, g.client, kvsapi.ListFragmentsInput{Stream: g.stream, Clock: g.by, From: begin, To: end.Add(time.Second), Max: 1000})
			for f, err := range list {
				if err != nil {
					return err
				}
				at := f.ServerTimestamp
				if g.by == sluice.ProducerClock {
					at = f.ProducerTimestamp
				}
				if at.After(end) {
					continue
				}
				found = true
				if !past {
					break // there is something: that was the question
				}
				if f.Number.Compare(g.last) > 0 {
					g.last = f.Number
				}
			}
			if found {
				return nil
			}
		}
	}
	why := "it has no fragment yet"
	if aws.ToInt32(out.StreamInfo.DataRetentionInHours) == 0 {
		why = "it keeps nothing (retention 0; see 'sluice stream retention')"
	}
	if past {
		return &exitError{code: ExitNotFound, err: fmt.Errorf("%s: no fragment until %s: %s", g.stream, timeText(end), why)}
	}
	fmt.Fprintf(g.env.Stderr, "%s: %s; waiting for media\n", g.stream, why)
	return nil
}

// summary is what was got.
type summary struct {
	fragments, frames int
	bytes             int64
	first, last       time.Time // server times
	token             sluice.FragmentNumber
}

func (s *summary) add(f *parser.Fragment) {
	if s.fragments == 0 {
		s.first = f.Server
	}
	s.fragments++
	s.frames += len(f.Frames)
	s.bytes += int64(len(f.Bytes))
	s.last, s.token = f.Server, f.Number
}

func (g *getter) report(s *summary, w *mediaFile) {
	if s.fragments == 0 {
		fmt.Fprintln(g.env.Stderr, "no fragments")
		return
	}
	fmt.Fprintf(g.env.Stderr, "%d fragments, %d frames, %s, from %s to %s", s.fragments, s.frames, sizeText(s.bytes), timeText(s.first), timeText(s.last))
	if len(w.names) > 0 {
		fmt.Fprintf(g.env.Stderr, ", in %s", strings.Join(w.names, ", "))
	}
	fmt.Fprintf(g.env.Stderr, "; go on with --from %s\n", s.token)
}
