package producer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// Every media source has the one life cycle of the guide: it is made, registered,
// started, stopped and started again, and freed; then its name is free.
func TestMediaSourceLifeCycle(t *testing.T) {
	t.Parallel()
	dir, images := t.TempDir(), t.TempDir()
	x264 := []string{"-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2", "-c:v", "libx264", "-g", "25", "-bf", "0", "-pix_fmt", "yuv420p"}
	for _, name := range []string{"a.mkv", "a.mp4", "a.h264"} {
		ffmpeg(t, append(x264, filepath.Join(dir, name))...)
	}
	ffmpeg(t, "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2", "-q:v", "5", filepath.Join(images, "%03d.jpg"))
	loop := producer.FileOptions{Loop: true}
	for name, source := range map[string]func() producer.MediaSource{
		"mkv":     func() producer.MediaSource { return mkvFile(filepath.Join(dir, "a.mkv"), loop) },
		"mp4":     func() producer.MediaSource { return mp4File(filepath.Join(dir, "a.mp4"), loop) },
		"annex b": func() producer.MediaSource { return annexB(filepath.Join(dir, "a.h264"), loop) },
		"images": func() producer.MediaSource {
			return &producer.ImageFileMediaSource{Dir: images, FPS: 25, FileOptions: loop}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			c := d.client()
			r, err := c.Register(t.Context(), "cam", source(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if m := r.Stream().Metrics(); m.PutFrames != 0 {
				t.Errorf("%d frames before Start", m.PutFrames)
			}
			if _, err := c.Register(t.Context(), "cam", source(), nil); !errors.Is(err, producer.StatusDuplicateStreamName) {
				t.Errorf("a second source of the name: %v", err)
			}
			at := 0
			for range 2 {
				r.Start(t.Context())
				r.Start(t.Context()) // it runs already
				all := d.wait(func(all []stored) bool { return len(all) >= at+3 })
				if err := r.Stop(); err != nil {
					t.Fatal(err)
				}
				at = len(all)
				if err := r.Stop(); err != nil {
					t.Error(err)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			report, err := r.Free(ctx)
			if err != nil || len(report.Undelivered) > 0 {
				t.Errorf("%v, %d undelivered", err, len(report.Undelivered))
			}
			if err := r.Stream().PutFrame(t.Context(), producer.FrameAt(epoch, true, []byte{1})); !errors.Is(err, producer.StatusStreamHasBeenStopped) {
				t.Errorf("after Free: %v", err)
			}
			again, err := c.Register(t.Context(), "cam", source(), nil)
			if err != nil {
				t.Fatalf("the name is not free: %v", err)
			}
			if _, err := again.Free(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// A client has 128 streams, or as many as its options say.
func TestStreamsOfAClient(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	for want, change := range map[int]func(*producer.Options){
		128: func(*producer.Options) {},
		300: func(o *producer.Options) { o.MaxStreams = 300 },
	} {
		c := d.client(change)
		for i := range want + 1 {
			_, err := c.NewStream(producer.StreamInfo{Name: fmt.Sprintf("cam-%d", i), Tracks: []sluice.Track{video()}})
			if errors.Is(err, producer.StatusMaxStreamCount) != (i == want) {
				t.Errorf("stream %d of %d: %v", i+1, want, err)
			}
		}
		if n := len(c.Streams()); n != want {
			t.Errorf("%d streams, want %d", n, want)
		}
	}
	if _, err := producer.New(t.Context(), producer.Options{MaxStreams: -1}); !errors.Is(err, producer.StatusMinStreamCount) {
		t.Errorf("-1 streams: %v", err)
	}
	for size, ok := range map[int64]bool{10<<20 - 1: false, 10 << 20: true, 10 << 30: true, 10<<30 + 1: false} {
		o := d.options()
		o.StorageSize = size
		c, err := producer.New(t.Context(), o)
		if ok != (err == nil) || err != nil && !errors.Is(err, producer.StatusInvalidStorageSize) {
			t.Errorf("a store of %d bytes: %v", size, err)
		}
		if c != nil {
			_ = c.Close(t.Context())
		}
	}
}

// With NoRestart the first error is the last: the stream ends with it, and says
// what was not delivered.
func TestNoRestart(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onComplete = func(_ *doubleSession, f *stored) verdict {
		if f.timecode == epoch.Add(2*time.Second).UnixMilli() {
			return verdict{err: sluice.ArchivalError}
		}
		return verdict{}
	}
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle, NoRestart: true})
	put(t, s, 0, 76, 25)
	closed := await[producer.StreamClosed](t, r, nil)
	if !errors.Is(closed.Err, sluice.ArchivalError) {
		t.Errorf("closed with %v", closed.Err)
	}
	report, err := s.Stop(t.Context())
	if !errors.Is(err, producer.StatusAckFragmentArchivalError) || len(report.Undelivered) != 2 || !report.Undelivered[0].Start.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("%v, undelivered %+v", err, report.Undelivered)
	}
	if d.session(2) != nil {
		t.Error("a second session")
	}
}

// A request in the background says when it is answered, and ends when it is closed.
func TestPutMediaInTheBackground(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.exists = true
	c, err := kvsapi.New(t.Context(), d.options().Service)
	if err != nil {
		t.Fatal(err)
	}
	media, in := io.Pipe()
	acks := make(chan sluice.Ack, 100)
	u, err := producer.StartPutMedia(t.Context(), producer.PutMediaInput{
		Client: c, Stream: sluice.StreamRef{Name: "cam"}, Media: media, Start: epoch, OnAck: func(a sluice.Ack) { acks <- a },
	})
	if err != nil {
		t.Fatal(err)
	}
	camera := sluicetest.Camera{Seed: 1}
	go func() {
		_, _ = in.Write(camera.Header())
		for i := range 3 {
			_, _ = in.Write(camera.Fragment(i, epoch.Add(time.Duration(i)*time.Second).UnixMilli()))
		}
	}()
	for n := 0; n < 2; {
		select {
		case a := <-acks:
			if a.Event == sluice.AckPersisted {
				n++
			}
		case <-time.After(5 * time.Minute):
			t.Fatal("stuck: no acknowledgements")
		}
	}
	_ = u.Close() // the third fragment has not ended
	in.Close()
	sum, err := u.Wait()
	if err == nil || sum.Persisted != 2 || sum.Bytes == 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}
