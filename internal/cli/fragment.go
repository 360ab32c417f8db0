package cli

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

func newFragmentCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fragment",
		Short: "List and get stored fragments",
		Example: `  sluice fragment list cam1 --from -1h
  sluice fragment get cam1 91343852333181432392682062607986518093512147583 -o one.mkv`,
	}
	flags := addClientFlags(env, cmd)
	cmd.AddCommand(fragmentList(env, flags), fragmentGet(env, flags))
	return cmd
}

// fragmentView is a fragment as --json prints it.
type fragmentView struct {
	FragmentNumber               string
	ServerTimestamp              string
	ProducerTimestamp            string
	FragmentLengthInMilliseconds int64
	FragmentSizeInBytes          int64
}

func fragmentList(env *Env, flags *clientFlags) *cobra.Command {
	var from, to time.Time
	var by sluice.Clock
	var most int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list STREAM [--from TIME] [--to TIME]",
		Short: "List stored fragments",
		Long: `List the stored fragments that begin in a range of time, in the stream's order.
LENGTH is from the first frame to the last.

` + timeHelp + `.`,
		Example: `  sluice fragment list cam1
  sluice fragment list cam1 --from 2026-01-31T08:00:00Z --to 2026-01-31T09:00:00Z --by producer --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to.IsZero() {
				to = env.Now().Add(24 * time.Hour) // producers' clocks may be ahead
			}
			if from.IsZero() {
				from = time.Unix(0, int64(time.Millisecond))
			}
			if to.Before(from) {
				return usagef(cmd, "--to is before --from")
			}
			client, err := flags.client(cmd.Context())
			if err != nil {
				return err
			}
			var list []kvsapi.FragmentInfo
			for f, err := range parser.List(cmd.Context(), client, kvsapi.ListFragmentsInput{Stream: streamRef(args[0]), Clock: by, From: from, To: to, Max: 1000}) {
				if err != nil {
					return err
				}
				list = append(list, f)
			}
			slices.SortFunc(list, func(a, b kvsapi.FragmentInfo) int { return a.Number.Compare(b.Number) })
			if most > 0 && len(list) > most {
				list = list[:most]
			}
			if asJSON {
				views := make([]fragmentView, len(list))
				for i, f := range list {
					views[i] = fragmentView{f.Number.String(), timeText(f.ServerTimestamp), timeText(f.ProducerTimestamp), f.Length.Milliseconds(), f.Size}
				}
				return printJSON(env.Stdout, views)
			}
			t := table{header: []string{"NUMBER", "SERVER TIME", "PRODUCER TIME", "LENGTH", "SIZE"}}
			for _, f := range list {
				t.add(f.Number.String(), timeText(f.ServerTimestamp), timeText(f.ProducerTimestamp), f.Length.String(), sizeText(f.Size))
			}
			return t.print(env.Stdout)
		},
	}
	fs := cmd.Flags()
	timeVar(env, fs, &from, "from", "TIME of the first (default: the beginning)")
	timeVar(env, fs, &to, "to", "TIME of the last (default: the end)")
	byVar(cmd, &by)
	fs.IntVar(&most, "max", 0, "at most so many; 0: all")
	jsonVar(cmd, &asJSON)
	return cmd
}

func fragmentGet(env *Env, flags *clientFlags) *cobra.Command {
	var raw bool
	var output string
	cmd := &cobra.Command{
		Use:   "get STREAM NUMBER... [-o FILE|-]",
		Short: "Save stored fragments as one Matroska file",
		Long: `Save fragments, named by their numbers, in the order given, as one Matroska file.
When some are not there the others are written, and the exit code is 5.`,
		Example: "  sluice fragment get cam1 91343852333181432392682062607986518093512147583 -o one.mkv",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "-" && env.Terminal {
				return usagef(cmd, "media on a terminal is no use: name a file with -o, or pipe it on")
			}
			var numbers []sluice.FragmentNumber
			for _, a := range args[1:] {
				n, err := sluice.ParseFragmentNumber(a)
				if err != nil {
					return usagef(cmd, "%s", err)
				}
				numbers = append(numbers, n)
			}
			client, err := flags.client(cmd.Context())
			if err != nil {
				return err
			}
			var w *mediaFile
			missing := 0
			for f, err := range parser.FetchList(cmd.Context(), client, streamRef(args[0]), numbers, parser.FetchOptions{}) {
				if err != nil {
					return err
				}
				if f.Err != nil {
					missing++
					fmt.Fprintln(env.Stderr, f.Err)
					continue
				}
				if w == nil { // a file of nothing is not made
					if w, err = newMediaFile(env, output, raw); err != nil {
						return err
					}
				}
				if err := w.write(cmd.Context(), f); err != nil {
					return errors.Join(err, w.close())
				}
			}
			if w != nil {
				if err := w.close(); err != nil {
					return err
				}
			}
			switch {
			case missing == len(numbers):
				return &exitError{code: ExitNotFound}
			case missing > 0:
				return fmt.Errorf("%w: %d of %d fragments", ErrIncomplete, missing, len(numbers))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "write the chunks as the service sends them, tags and all")
	outputVar(cmd, &output, "-", "file to write; -: stdout")
	return cmd
}
