package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
	"github.com/sluicevideo/sluice/parser"
)

func newMKVCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mkv VERB",
		Short: "Look at Matroska files and saved GetMedia output, and merge them",
		Example: `  sluice mkv dump film.mkv --frames
  sluice mkv merge first.mkv second.mkv -o both.mkv`,
	}
	cmd.AddCommand(newMKVDumpCommand(env), newMKVMergeCommand(env))
	return cmd
}

func newMKVDumpCommand(env *Env) *cobra.Command {
	var frames, asJSON bool
	cmd := &cobra.Command{
		Use:   "dump FILE|- [--frames] [--json]",
		Short: "Print the elements of a Matroska file, or its frames",
		Long: `Print the element tree of a Matroska file, of a PutMedia body or of saved
GetMedia output: offset, size, name and value of each element.

--frames prints one line a frame instead. With --json that is one object a frame
with track, pts_ns, key, size and sha256, and, where there are any, the fragment
number and the server and producer timestamps; without --frames --json prints one
object an element. Input that ends inside an element is printed as far as it
goes, with exit code 5.`,
		Example: `  sluice mkv dump film.mkv
  sluice get cam1 --for 10s -o - | sluice mkv dump - --frames --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := openInput(env, args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			out := bufio.NewWriter(env.Stdout)
			var v parser.Visitor = &treePrinter{w: out}
			switch {
			case frames && asJSON:
				v = framesJSON(out)
			case frames:
				v = framesText(out)
			case asJSON:
				v = elementsJSON(out)
			}
			err = parser.NewReader(in).Visit(cmd.Context(), v)
			return incomplete(errors.Join(out.Flush(), err))
		},
	}
	cmd.Flags().BoolVar(&frames, "frames", false, "print frames instead of elements")
	jsonVar(cmd, &asJSON)
	return cmd
}

// incomplete gives input that was cut its exit code.
func incomplete(err error) error {
	if errors.Is(err, mkv.ErrTruncated) {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return err
}

// treePrinter prints elements, indented, a line each: offset, size, name, value.
type treePrinter struct{ w io.Writer }

func (p *treePrinter) Visit(_ context.Context, e parser.Element) error {
	if e.Kind == mkv.End || !e.First && e.Kind == mkv.Data {
		return nil
	}
	size := strconv.FormatInt(e.Size, 10)
	if e.Size == ebml.UnknownSize {
		size = "unknown"
	}
	line := fmt.Sprintf("%10d %10s  %s%s  %s", e.Offset, size, strings.Repeat("  ", e.Level), e.Name(), valueText(e.Event))
	_, err := fmt.Fprintln(p.w, strings.TrimRight(line, " "))
	return err
}

// valueText is what an element says, for people. Text is quoted, so that no
// file can steer a terminal.
func valueText(e *mkv.Event) string {
	switch v := valueOf(e).(type) {
	case nil:
		return ""
	case string:
		return strconv.Quote(v)
	default:
		return fmt.Sprint(v)
	}
}

// shownBytes is how much of a binary value is shown.
const shownBytes = 16

// valueOf is an element's value: a number, a text, a time, or a description of
// a block or of bytes; nil for what has none to show.
func valueOf(e *mkv.Event) any {
	if e.Kind != mkv.Data || !e.Last {
		return nil
	}
	b := e.Payload()
	switch mkv.TypeOf(e.ID) {
	case mkv.Uint:
		v, _ := ebml.Uint(b)
		return v
	case mkv.Int:
		v, _ := ebml.Int(b)
		return v
	case mkv.Float:
		v, _ := ebml.Float(b)
		return v
	case mkv.Date:
		v, _ := ebml.Date(b)
		return timeText(v)
	case mkv.String:
		return ebml.String(b)
	case mkv.Binary:
		if e.ID == mkv.IDSimpleBlock || e.ID == mkv.IDBlock {
			return blockText(e)
		}
		if len(b) > shownBytes {
			return bytesText(hex.EncodeToString(b[:shownBytes]) + "...")
		}
		return bytesText(hex.EncodeToString(b))
	}
	return nil
}

// bytesText is text that is not quoted when printed.
type bytesText string

func blockText(e *mkv.Event) any {
	if len(e.Frames) == 0 {
		return nil
	}
	f := &e.Frames[0]
	s := fmt.Sprintf("track %d, %v", f.Track, f.Timecode)
	for _, flag := range []struct {
		on   bool
		name string
	}{{f.Key, "key"}, {f.Discardable, "discardable"}, {f.Invisible, "invisible"}} {
		if flag.on {
			s += ", " + flag.name
		}
	}
	if len(e.Frames) > 1 {
		s += fmt.Sprintf(", %d frames", len(e.Frames))
	}
	return bytesText(s)
}

// elementsJSON prints one object an element.
func elementsJSON(w io.Writer) parser.Visitor {
	return parser.VisitorFunc(func(_ context.Context, e parser.Element) error {
		if e.Kind == mkv.End || !e.First && e.Kind == mkv.Data {
			return nil
		}
		return printJSONLine(w, struct {
			Offset int64  `json:"offset"`
			Header int    `json:"header"`
			Size   *int64 `json:"size"` // null: unknown
			Level  int    `json:"level"`
			ID     string `json:"id"`
			Name   string `json:"name"`
			Value  any    `json:"value,omitempty"`
		}{e.Offset, e.Header, knownSize(e.Size), e.Level, e.ID.String(), e.Name(), valueOf(e.Event)})
	})
}

func knownSize(n int64) *int64 {
	if n == ebml.UnknownSize {
		return nil
	}
	return &n
}

// framesJSON prints one object a frame.
func framesJSON(w io.Writer) parser.Visitor {
	return parser.FrameFunc(func(_ context.Context, f parser.Frame) error {
		sum := sha256.Sum256(f.Data)
		line := struct {
			Track    uint64 `json:"track"`
			PTS      int64  `json:"pts_ns"`
			Key      bool   `json:"key"`
			Size     int    `json:"size"`
			SHA256   string `json:"sha256"`
			Fragment string `json:"fragment_number,omitempty"`
			Server   string `json:"server_timestamp,omitempty"`
			Producer string `json:"producer_timestamp,omitempty"`
		}{f.Track, f.Timecode.Nanoseconds(), f.Key, len(f.Data), hex.EncodeToString(sum[:]), "", timeText(f.Chunk.Server), timeText(f.Chunk.Producer)}
		if !f.Chunk.Number.IsZero() {
			line.Fragment = f.Chunk.Number.String()
		}
		return printJSONLine(w, line)
	})
}

// framesText prints a line a frame, and one a fragment before its first.
func framesText(w io.Writer) parser.Visitor {
	var last *fragment.Chunk
	return parser.FrameFunc(func(_ context.Context, f parser.Frame) error {
		if f.Chunk != last && !f.Chunk.Number.IsZero() {
			if _, err := fmt.Fprintf(w, "fragment %v  server %s  producer %s\n", f.Chunk.Number, timeText(f.Chunk.Server), timeText(f.Chunk.Producer)); err != nil {
				return err
			}
		}
		last = f.Chunk
		key := ""
		if f.Key {
			key = "  key"
		}
		_, err := fmt.Fprintf(w, "track %d  %14.6f s  %8d bytes%s\n", f.Track, f.Timecode.Seconds(), len(f.Data), key)
		return err
	})
}

func newMKVMergeCommand(env *Env) *cobra.Command {
	var output string
	var split, stop, clusters bool
	cmd := &cobra.Command{
		Use:   "merge IN... -o OUT [--split | --stop] [--clusters-only]",
		Short: "Join the chunks of saved GetMedia output into one Matroska file",
		Long: `Join chunks that have the same header and ascending timecodes. What cannot be
joined begins a new segment, with the reason on stderr: in the same file, which is
what the official merger does, or with --split in a file of its own (OUT, then
OUT-2, OUT-3, ... before the extension), or not at all with --stop.

The tags of the service stay in the output unless --clusters-only is given.`,
		Example: "  sluice mkv merge monday.mkv tuesday.mkv -o both.mkv --clusters-only",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if output == "" {
				return usagef(cmd, "%s: -o OUT is missing", cmd.CommandPath())
			}
			if split && (stop || output == "-") {
				return usagef(cmd, "%s: --split goes neither with --stop nor with -o -", cmd.CommandPath())
			}
			files := &segments{env: env, name: output, split: split}
			defer func() { err = errors.Join(err, files.close()) }()
			m := parser.NewMerger(nil, parser.MergeOptions{StopAtMismatch: stop, ClustersOnly: clusters, Segment: files.next})
			var cut error
			for _, name := range args {
				in, err := openInput(env, name)
				if err != nil {
					return err
				}
				err = parser.NewReader(in).Visit(cmd.Context(), m)
				in.Close()
				if errors.Is(err, mkv.ErrTruncated) {
					cut = fmt.Errorf("%s: %w", name, err)
				} else if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			fmt.Fprintf(env.Stderr, "%d clusters, %d blocks, %d segments\n", m.Clusters, m.Blocks, m.Segments)
			return incomplete(cut)
		},
	}
	outputVar(cmd, &output, "", "file to write, - for standard output")
	cmd.Flags().BoolVar(&split, "split", false, "begin a file of its own for what cannot be joined")
	cmd.Flags().BoolVar(&stop, "stop", false, "end where something cannot be joined")
	cmd.Flags().BoolVar(&clusters, "clusters-only", false, "leave out tags, Cues, SeekHead and Void")
	return cmd
}

// segments hands a merger the file of each segment.
type segments struct {
	env   *Env
	name  string
	split bool
	count int
	file  io.WriteCloser
	out   *bufio.Writer
}

func (s *segments) next(why parser.Why) (io.Writer, error) {
	s.count++
	if s.count > 1 {
		fmt.Fprintf(s.env.Stderr, "segment %d begins: %s\n", s.count, why)
		if !s.split {
			return nil, nil
		}
	}
	if err := s.close(); err != nil {
		return nil, err
	}
	name := s.name
	if s.count > 1 {
		ext := filepath.Ext(name)
		name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), s.count, ext)
	}
	f, err := createOutput(s.env, name)
	if err != nil {
		return nil, err
	}
	s.file, s.out = f, bufio.NewWriter(f)
	return s.out, nil
}

func (s *segments) close() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.out.Flush(), s.file.Close())
	s.file = nil
	return err
}
