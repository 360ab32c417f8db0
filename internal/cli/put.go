package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// putter is one run of 'sluice put'.
type putter struct {
	env   *Env
	flags *clientFlags

	stream    string
	file      string
	images    string
	fps       float64
	realtime  bool
	loop      bool
	raw       bool
	create    bool
	retention time.Duration
	timecode  string
	start     time.Time
	maxKbps   int
	acks      bool
	asJSON    bool
	drain     time.Duration

	mu       sync.Mutex
	received int
	last     sluice.Ack
	errors   map[sluice.AckErrorCode]int
	dropped  producer.Range
}

func newPutCommand(env *Env) *cobra.Command {
	p := &putter{env: env, errors: map[sluice.AckErrorCode]int{}}
	cmd := &cobra.Command{
		Use:   "put STREAM FILE|- [--realtime] [--loop] [--start TIME] [--create]",
		Short: "Send media: Matroska, MP4, elementary streams, pictures",
		Long: `Send a file, or what comes on standard input, to a stream.

FILE is Matroska or WebM (.mkv, .webm, and standard input), MP4 (.mp4, .m4v,
.mov), or an elementary stream in Annex B (.h264, .264, .h265, .265, .hevc).
--from-images DIR sends the pictures in a directory instead. What is sent is kept
in memory until the service has stored it, and a connection that breaks is made
again. With --raw Matroska is sent as it is, in one request.

The first frame is of the producer time --start, or of now. --timecode absolute
without --start takes the times in the file as times of the clock.

` + timeHelp + `.`,
		Example: `  sluice put cam1 film.mkv --create --retention 24h
  sluice put cam1 film.mp4 --realtime --loop
  sluice put cam1 yesterday.mp4 --start 2026-05-01T12:00:00Z
  sluice put cam1 --from-images frames/ --fps 30
  ffmpeg -i rtsp://camera/live -c copy -f matroska - | sluice put cam1 -`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.stream = args[0]
			if len(args) == 2 {
				p.file = args[1]
			}
			if err := p.check(cmd); err != nil {
				return err
			}
			if p.raw {
				return p.runRaw(cmd.Context())
			}
			return p.run(cmd.Context())
		},
	}
	p.flags = addClientFlags(env, cmd)
	fs := cmd.Flags()
	fs.BoolVar(&p.realtime, "realtime", false, "send at the pace of the media's times")
	fs.BoolVar(&p.loop, "loop", false, "begin again at the end, until interrupted")
	fs.StringVar(&p.timecode, "timecode", "relative", "what the clusters count from: relative or absolute")
	timeVar(env, fs, &p.start, "start", "producer time of the first frame")
	fs.BoolVar(&p.create, "create", false, "create the stream if it does not exist")
	durationVar(fs, &p.retention, "retention", 24*time.Hour, "retention of a stream that is created, in whole hours; 0 stores nothing")
	fs.BoolVar(&p.acks, "acks", false, "print each acknowledgement")
	fs.IntVar(&p.maxKbps, "max-kbps", 0, "send at most so many kilobits a second")
	fs.StringVar(&p.images, "from-images", "", "send the .jpg, .h264 or .h265 files of a directory, one frame each")
	fs.Float64Var(&p.fps, "fps", 0, "frames a second of --from-images and of elementary streams")
	fs.BoolVar(&p.raw, "raw", false, "send Matroska as it is, in one request")
	durationVar(fs, &p.drain, "drain", 30*time.Second, "how long to wait for the last acknowledgements")
	jsonVar(cmd, &p.asJSON)
	return cmd
}

func (p *putter) check(cmd *cobra.Command) error {
	switch {
	case p.file == "" && p.images == "":
		return usagef(cmd, "want FILE, - or --from-images DIR")
	case p.file != "" && p.images != "":
		return usagef(cmd, "FILE and --from-images exclude each other")
	case p.timecode != "relative" && p.timecode != "absolute":
		return usagef(cmd, "--timecode %q: want relative or absolute", p.timecode)
	case p.raw && (p.images != "" || p.loop || p.realtime || p.create):
		return usagef(cmd, "--raw excludes --from-images, --loop, --realtime and --create")
	case p.loop && p.file == "-":
		return usagef(cmd, "--loop: standard input cannot be read again")
	case strings.HasPrefix(p.stream, "arn:") && !p.raw:
		ref, err := sluice.ParseARN(p.stream)
		if err != nil {
			return usagef(cmd, "%s", err)
		}
		p.stream = ref.Name
	}
	return nil
}

// warn says so when the stream keeps nothing of what is sent.
func (p *putter) warn(ctx context.Context, client *kvsapi.Client) error {
	in := &kinesisvideo.DescribeStreamInput{StreamName: aws.String(p.stream)}
	if strings.HasPrefix(p.stream, "arn:") {
		in = &kinesisvideo.DescribeStreamInput{StreamARN: aws.String(p.stream)}
	}
	out, err := client.Control().DescribeStream(ctx, in)
	if err == nil && aws.ToInt32(out.StreamInfo.DataRetentionInHours) == 0 {
		p.keepsNothing()
	}
	return err
}

func (p *putter) keepsNothing() {
	fmt.Fprintf(p.env.Stderr, "%s keeps nothing (retention 0): this is for live viewers only; see 'sluice stream retention'\n", p.stream)
}

func (p *putter) source() (producer.MediaSource, error) {
	o := producer.FileOptions{Start: p.start, Realtime: p.realtime, Loop: p.loop, KeepTimes: p.timecode == "absolute" && p.start.IsZero()}
	if p.images != "" {
		return &producer.ImageFileMediaSource{Dir: p.images, FPS: p.fps, FileOptions: o}, nil
	}
	open := func() (io.ReadCloser, error) { return openInput(p.env, p.file) }
	switch strings.ToLower(filepath.Ext(p.file)) {
	case ".mp4", ".m4v", ".mov":
		return producer.MP4File(p.file, o), nil
	case ".h264", ".264", ".h265", ".265", ".hevc":
		return producer.AnnexBFile(p.file, p.fps, o), nil
	}
	return &producer.MKVSource{Open: open, FileOptions: o}, nil
}

func (p *putter) run(ctx context.Context) error {
	c, err := producer.New(ctx, producer.Options{
		Service: kvsapi.Options{Endpoint: p.flags.endpoint, Region: p.flags.region, Profile: p.flags.profile, CAFile: p.flags.caFile, Getenv: p.env.Getenv},
		Logger:  p.flags.logger(),
	})
	if err != nil {
		return err
	}
	defer func() {
		over, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(over) // what there is to tell, Free told
	}()
	client, err := p.flags.client(ctx)
	if err != nil {
		return err
	}
	switch err := p.warn(ctx, client); {
	case exitCode(err) != ExitNotFound:
	case !p.create:
		// A stream that is missing is a mistake here, not a state to wait out.
		return err
	case p.retention == 0:
		p.keepsNothing()
	}
	info := &producer.StreamInfo{NoCreate: !p.create, Retention: p.retention, MaxKbps: p.maxKbps, OnEvent: p.event}
	if p.retention == 0 {
		info.Retention = producer.NoRetention
	}
	if p.timecode == "relative" {
		info.Timecodes = sluice.TimecodeRelative
	}
	src, err := p.source()
	if err != nil {
		return err
	}
	r, err := c.Register(ctx, p.stream, src, info)
	if err != nil {
		return err
	}
	began := time.Now()
	r.Start(ctx)
	stop := p.progress(r.Stream(), began)
	playErr := r.Wait()
	over, cancel := context.WithTimeout(context.Background(), p.drain)
	defer cancel()
	report, err := r.Free(over)
	stop()
	if playErr != nil && !errors.Is(playErr, context.Canceled) {
		return playErr
	}
	if err != nil && len(report.Undelivered) == 0 {
		return err
	}
	if err := p.summary(r.Stream().Metrics(), report, time.Since(began)); err != nil {
		return err
	}
	switch {
	case report.Err != nil:
		return report.Err
	case len(report.Undelivered) > 0:
		return fmt.Errorf("%d fragments were not acknowledged as stored: %w", len(report.Undelivered), ErrIncomplete)
	case p.dropped.Fragments > 0:
		return fmt.Errorf("%d fragments were not taken: %w", p.dropped.Fragments, ErrIncomplete)
	}
	return nil
}

// event prints acknowledgements and remembers what went wrong.
func (p *putter) event(e producer.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case producer.AckReceived:
		p.ack(e.Ack)
	case producer.FragmentDropped:
		p.dropped.Fragments++
		p.dropped.Frames += e.Frames
	}
}

func (p *putter) ack(a sluice.Ack) {
	p.received++
	p.last = a
	if a.Event == sluice.AckError {
		p.errors[a.Code]++
	}
	if p.acks {
		fmt.Fprintln(p.env.Stdout, a)
	}
}

// progress keeps a line on a terminal up to date.
func (p *putter) progress(s *producer.Stream, began time.Time) (stop func()) {
	if !p.env.Terminal || p.acks || p.asJSON {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(500 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-done:
				fmt.Fprint(p.env.Stderr, "\r\x1b[K")
				return
			case <-t.C:
				m := s.Metrics()
				fmt.Fprintf(p.env.Stderr, "\r\x1b[K%s: %d frames, %s sent, %s/s, %d fragments stored, %s buffered, %s",
					p.stream, m.PutFrames, sizeText(m.TransferredBytes), sizeText(int64(m.CurrentTransferRate)), m.PersistedAcks,
					sizeText(m.OverallViewSize), time.Since(began).Round(time.Second))
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func (p *putter) summary(m producer.StreamMetrics, r producer.Report, took time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	type errorCount struct {
		Code  int    `json:"code"`
		Name  string `json:"name"`
		Count int    `json:"count"`
	}
	var errs []errorCount
	text := ""
	for code, n := range p.errors {
		errs = append(errs, errorCount{int(code), code.String(), n})
		text += fmt.Sprintf(", %d %s", n, code)
	}
	if p.asJSON {
		return printJSON(p.env.Stdout, struct {
			Stream      string       `json:"stream"`
			Frames      int64        `json:"frames"`
			Bytes       int64        `json:"bytes"`
			Seconds     float64      `json:"seconds"`
			Buffering   int64        `json:"buffering"`
			Received    int64        `json:"received"`
			Persisted   int64        `json:"persisted"`
			Errors      []errorCount `json:"errors,omitempty"`
			Resent      int64        `json:"resent"`
			Dropped     int          `json:"dropped"`
			Undelivered int          `json:"undelivered"`
			Last        string       `json:"last_fragment,omitempty"`
		}{p.stream, m.PutFrames, m.TransferredBytes, took.Seconds(), m.BufferedAcks, m.ReceivedAcks, m.PersistedAcks, errs,
			m.ResentFragments, p.dropped.Fragments, len(r.Undelivered), numberText(p.last.Number)})
	}
	frames := ""
	if m.PutFrames > 0 {
		frames = fmt.Sprintf("%d frames, ", m.PutFrames)
	}
	_, err := fmt.Fprintf(p.env.Stdout, "%s: %s%s in %s; acknowledgements: %d BUFFERING, %d RECEIVED, %d PERSISTED%s\n",
		p.stream, frames, sizeText(m.TransferredBytes), took.Round(time.Millisecond), m.BufferedAcks, m.ReceivedAcks, m.PersistedAcks, text)
	return err
}

func numberText(n sluice.FragmentNumber) string {
	if n.IsZero() {
		return ""
	}
	return n.String()
}

// runRaw sends Matroska as it is.
func (p *putter) runRaw(ctx context.Context) error {
	client, err := p.flags.client(ctx)
	if err != nil {
		return err
	}
	in, err := openInput(p.env, p.file)
	if err != nil {
		return err
	}
	defer in.Close()
	_ = p.warn(ctx, client) // it is only a hint
	timecodes := sluice.TimecodeRelative
	if p.timecode == "absolute" {
		timecodes = sluice.TimecodeAbsolute
	}
	began := time.Now()
	sum, err := producer.PutMedia(ctx, producer.PutMediaInput{
		Client: client, Stream: streamRef(p.stream), Media: in, Timecodes: timecodes, Start: p.start, MaxKbps: p.maxKbps,
		OnAck: func(a sluice.Ack) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.ack(a)
		},
	})
	m := producer.StreamMetrics{
		TransferredBytes: sum.Bytes, BufferedAcks: int64(sum.Buffering), ReceivedAcks: int64(sum.Received), PersistedAcks: int64(sum.Persisted),
	}
	if sum.RequestID != "" || err == nil {
		if err := p.summary(m, producer.Report{}, time.Since(began)); err != nil {
			return err
		}
	}
	if err != nil && len(sum.Errors) > 0 {
		return fmt.Errorf("%w: %w", err, ErrIncomplete)
	}
	return err
}
