package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/parser"
)

// mediaFile writes fragments as they came, or merged into as few Matroska files
// as can hold them. Which fragments a file can hold, parser.Merger says. A regular
// file gets the frames in a form in which players can seek: sizes, duration and
// an index of key frames, its times beginning at 0. Standard output, and whatever
// else cannot be written twice, gets the merger's output, with the Clusters as
// they came.
type mediaFile struct {
	env    *Env
	name   string
	raw    bool
	merger *parser.Merger
	out    io.WriteCloser
	frames *mkv.FileWriter // over out; nil: the merger writes it
	now    *parser.Fragment
	names  []string
}

func newMediaFile(env *Env, name string, raw bool) (*mediaFile, error) {
	w := &mediaFile{env: env, name: name, raw: raw}
	if raw {
		return w, w.next("")
	}
	w.merger = parser.NewMerger(nil, parser.MergeOptions{ClustersOnly: true, Segment: func(why parser.Why) (io.Writer, error) {
		if w.name == "-" && w.out != nil {
			fmt.Fprintf(env.Stderr, "a new Matroska document begins: %s\n", why)
			return nil, nil
		}
		if err := w.begin(why); err != nil {
			return nil, err
		}
		return w.document()
	}})
	return w, nil
}

// begin makes the file of the next document.
func (w *mediaFile) begin(why parser.Why) error {
	suffix := ""
	if len(w.names) > 0 {
		suffix = fmt.Sprintf("-%d", len(w.names)+1)
		fmt.Fprintf(w.env.Stderr, "a new file begins: %s\n", why)
	}
	return w.next(suffix)
}

func (w *mediaFile) next(suffix string) error {
	if err := w.close(); err != nil {
		return err
	}
	name := w.name
	if suffix != "" {
		ext := filepath.Ext(name)
		name = strings.TrimSuffix(name, ext) + suffix + ext
	}
	out, err := createOutput(w.env, name)
	if err != nil {
		return err
	}
	w.out = out
	if name != "-" {
		w.names = append(w.names, name)
	}
	return nil
}

// document begins the document in the file that was just made, and gives what the
// merger writes to.
func (w *mediaFile) document() (io.Writer, error) {
	f, ok := w.out.(*os.File)
	if !ok {
		return w.out, nil
	}
	if about, err := f.Stat(); err != nil || !about.Mode().IsRegular() {
		return w.out, nil
	}
	o := mkv.FileOptions{Info: mkv.Info{Scale: w.now.Scale, MuxingApp: "Sluice", WritingApp: "sluice get"}}
	if !w.now.Producer.IsZero() {
		o.Tags = []sluice.Tag{{Name: "DATE_RECORDED", Value: w.now.Producer.UTC().Format("2006-01-02 15:04:05.000")}}
	}
	frames, err := mkv.NewFileWriter(&openEnded{File: f}, w.now.Tracks, o)
	if errors.Is(err, mkv.ErrFrame) { // tracks that cannot be told apart
		return w.out, nil
	}
	w.frames = frames
	return io.Discard, err
}

// openEnded is a file whose Segment has no size until it is known: a run that is
// killed leaves what players can read.
type openEnded struct {
	*os.File
	begun bool
}

// Write writes p, which at first is the beginning of the document.
func (f *openEnded) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		// The Segment's id, and a size of 8 bytes.
		if at := bytes.Index(p, []byte{0x18, 0x53, 0x80, 0x67, 0x01, 0, 0, 0, 0, 0, 0, 0}); at >= 0 {
			p = bytes.Clone(p)
			for i := range p[at+5 : at+12] {
				p[at+5+i] = 0xff
			}
		}
	}
	return f.File.Write(p)
}

func (w *mediaFile) write(ctx context.Context, f *parser.Fragment) error {
	if w.raw {
		_, err := w.out.Write(f.Bytes)
		return err
	}
	w.now = f
	if err := parser.NewReader(bytes.NewReader(f.Bytes)).Visit(ctx, w.merger); err != nil {
		return err
	}
	for i := 0; w.frames != nil && i < len(f.Frames); i++ {
		if err := w.frames.WriteFrame(f.Frames[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *mediaFile) close() error {
	if w.out == nil {
		return nil
	}
	var err error
	if w.frames != nil {
		err = w.frames.Close()
	}
	err = errors.Join(err, w.out.Close())
	w.out, w.frames = nil, nil
	return err
}
