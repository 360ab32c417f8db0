package cli

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/store/segment"
)

func newInspectCommand(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Print what is in a media file of the store",
		Long: `Print the header of a media file (media/STREAM/*.rec in the data directory) and
its records, one a line, each read and checked. Damaged places are named with
their offset. The media itself is encrypted and stays so.`,
		Example: `  sluice inspect sluice-data/media/*/0000000000000001.rec`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return inspect(env.Stdout, f, asJSON)
		},
	}
	jsonVar(cmd, &asJSON)
	return cmd
}

// inspected is a record as --json prints it.
type inspected struct {
	Offset   int64    `json:"offset"`
	Size     int64    `json:"size"` // in the file, with header and padding
	Fragment string   `json:"fragment,omitempty"`
	Position *uint64  `json:"position,omitempty"`
	Server   string   `json:"server,omitempty"`
	Producer string   `json:"producer,omitempty"`
	LengthMs uint32   `json:"length_ms"`
	Bytes    uint32   `json:"bytes"`
	Tracks   []string `json:"tracks,omitempty"`
	Sealed   int64    `json:"sealed"`
	Damaged  string   `json:"damaged,omitempty"`
}

func inspect(w io.Writer, f *os.File, asJSON bool) error {
	head := make([]byte, segment.BlockSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	h, headErr := segment.ParseFileHeader(head[:n])
	if headErr != nil && n < segment.BlockSize {
		return fmt.Errorf("%s: %w", f.Name(), headErr)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSONLine(w, map[string]any{"stream": h.Stream, "file": h.File, "created": timeText(h.Created), "size": fi.Size()})
	} else {
		err = printPairs(w, "stream", string(h.Stream), "file", strconv.FormatUint(h.File, 10), "created", timeText(h.Created), "size", sizeText(fi.Size()))
	}
	if err != nil {
		return err
	}
	lines := &table{header: []string{"OFFSET", "FRAGMENT", "POSITION", "SERVER", "PRODUCER", "LENGTH", "SIZE", "TRACKS", "SEALED"}}
	damaged, records := 0, 0
	if headErr != nil {
		damaged++
		lines.add("0", headErr.Error())
	}
	for rec, err := range segment.Scan(f, fi.Size()) {
		if err != nil && !errors.Is(err, segment.ErrFormat) {
			return err
		}
		l := inspected{Offset: rec.Offset}
		if err != nil {
			damaged++
			l.Damaged = err.Error()
			lines.add(strconv.FormatInt(l.Offset, 10), l.Damaged)
		} else {
			records++
			h := rec.Header
			l = inspected{
				Offset: rec.Offset, Size: segment.RecordSize(h.Sealed), Fragment: h.Number.String(), Position: &h.Position,
				Server: timeText(h.Number.ServerTime()), Producer: timeText(time.UnixMilli(h.ProducerMs)),
				LengthMs: h.LengthMs, Bytes: h.Bytes, Tracks: trackList(h.Tracks), Sealed: h.Sealed,
			}
			lines.add(strconv.FormatInt(l.Offset, 10), l.Fragment, strconv.FormatUint(h.Position, 10), l.Server, l.Producer,
				(time.Duration(l.LengthMs) * time.Millisecond).String(), strconv.FormatUint(uint64(l.Bytes), 10), strings.Join(l.Tracks, ","), strconv.FormatInt(l.Sealed, 10))
		}
		if asJSON {
			if err := printJSONLine(w, l); err != nil {
				return err
			}
		}
	}
	if !asJSON {
		if err := lines.print(w); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%d records, %d damaged places\n", records, damaged); err != nil {
			return err
		}
	}
	if damaged > 0 {
		return &exitError{code: ExitIncomplete}
	}
	return nil
}

func trackList(set uint32) (out []string) {
	for ; set != 0; set &= set - 1 {
		out = append(out, strconv.Itoa(bits.TrailingZeros32(set)+1))
	}
	return out
}
