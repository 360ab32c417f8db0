package producer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// putAV puts video of 40 ms and audio of 20 ms; audio(i) says whether the sound at
// that video frame is put.
func putAV(t *testing.T, s *producer.Stream, from, n int, audio func(i int) bool) {
	t.Helper()
	for i := from; i < from+n; i++ {
		at := epoch.Add(time.Duration(i) * 40 * time.Millisecond)
		f := producer.FrameAt(at, i%25 == 0, fmt.Appendf(nil, "v%d", i))
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		for k := range 2 {
			if !audio(i) {
				continue
			}
			f := producer.FrameAt(at.Add(time.Duration(k)*20*time.Millisecond), true, fmt.Appendf(nil, "a%d.%d", i, k))
			f.Track = 2
			if err := s.PutFrame(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func byTrack(all []stored) (v, a []string) {
	for _, p := range payloads(all) {
		if strings.HasPrefix(p, "v") {
			v = append(v, p)
		} else {
			a = append(a, p)
		}
	}
	return v, a
}

func always(int) bool { return true }

func TestTwoTracks(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{Tracks: []sluice.Track{video(), audio()}})
	putAV(t, s, 0, 100, always)
	stop(t, s)
	all := d.fragments()
	v, a := byTrack(all)
	if len(v) != 100 || len(a) != 200 || len(all) != 4 {
		t.Fatalf("%d fragments, %d pictures, %d packets of sound", len(all), len(v), len(a))
	}
	for i, f := range all {
		var last time.Duration
		for _, fr := range f.frames {
			if fr.at < last {
				t.Errorf("fragment %d: %q at %v follows %v", i, fr.data, fr.at, last)
			}
			last = fr.at
			if fr.key != (fr.track == 1 && fr.at == f.frames[0].at) {
				t.Errorf("fragment %d: key flag of %q", i, fr.data)
			}
		}
		if f.frames[0].track != 1 {
			t.Errorf("fragment %d begins with sound", i)
		}
	}
	if m := s.Metrics(); m.TotalSessions != 1 {
		t.Errorf("%d sessions", m.TotalSessions)
	}
}

// Three tracks, the third of text that comes now and then.
func TestThreeTracks(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	text := sluice.Track{Type: sluice.TrackSubtitle, CodecID: "S_TEXT/UTF8", Name: "t"}
	s := newStream(t, d.client(), producer.StreamInfo{Tracks: []sluice.Track{video(), audio(), text}})
	for i := range 100 {
		putAV(t, s, i, 1, always)
		if i%10 != 5 {
			continue
		}
		f := producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), true, fmt.Appendf(nil, "t%d", i))
		f.Track = 3
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, s)
	all := d.fragments()
	count := map[byte]int{}
	for i, f := range all {
		if len(f.header.Tracks) != 3 || f.frames[0].track != 1 {
			t.Errorf("fragment %d: %d tracks, begins with track %d", i, len(f.header.Tracks), f.frames[0].track)
		}
		var last time.Duration
		for _, fr := range f.frames {
			count[fr.data[0]]++
			if fr.at < last {
				t.Errorf("fragment %d: %q at %v follows %v", i, fr.data, fr.at, last)
			}
			last = fr.at
		}
	}
	if len(all) != 4 || count['v'] != 100 || count['a'] != 200 || count['t'] != 10 {
		t.Errorf("%d fragments, %v", len(all), count)
	}
}

// Every timecode scale of the guide: all frames arrive, at the times of the scale.
// What a Cluster of 16 bits cannot hold begins another fragment.
func TestTimecodeScales(t *testing.T) {
	t.Parallel()
	for scale, fragments := range map[time.Duration]int{
		producer.MinTimecodeScale: 100, 20 * time.Microsecond: 8, time.Millisecond: 4, 40 * time.Millisecond: 4, producer.MaxTimecodeScale: 4,
	} {
		t.Run(scale.String(), func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			s := newStream(t, d.client(), producer.StreamInfo{TimecodeScale: scale})
			put(t, s, 0, 100, 25)
			stop(t, s)
			all := d.fragments()
			if got := payloads(all); !slices.Equal(got, want(0, 100)) || len(all) != fragments {
				t.Fatalf("%d frames in %d fragments", len(got), len(all))
			}
			i := 0
			for _, f := range all {
				for _, fr := range f.frames {
					if at := epoch.Add(time.Duration(i) * 40 * time.Millisecond).Truncate(scale); !time.Unix(0, int64(fr.at)).Equal(at) {
						t.Errorf("frame %d at %v, want %v", i, time.Unix(0, int64(fr.at)).UTC(), at)
					}
					i++
				}
			}
		})
	}
}

// A track that falls silent holds the other up for TrackWait at most; the session
// goes on without it, and with it again when it comes back.
func TestSilentTrack(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.onComplete = func(_ *doubleSession, f *stored) verdict {
		seen := map[uint64]bool{}
		for _, fr := range f.frames {
			seen[fr.track] = true
		}
		if len(seen) != len(f.header.Tracks) {
			return verdict{err: sluice.FramesMissingForTrack}
		}
		return verdict{}
	}
	s := newStream(t, d.client(), producer.StreamInfo{Tracks: []sluice.Track{video(), audio()}, TrackWait: 50 * time.Millisecond})
	sound := func(i int) bool { return i < 30 || i >= 110 }
	putAV(t, s, 0, 60, sound)
	d.wait(func(all []stored) bool { v, _ := byTrack(all); return len(v) >= 50 })
	putAV(t, s, 60, 140, sound)
	stop(t, s)
	v, a := byTrack(d.fragments())
	if len(v) != 200 {
		t.Errorf("%d pictures of 200", len(v))
	}
	// Sound that comes back in the middle of a fragment waits for the next.
	if m := s.Metrics(); len(a)+int(m.SkippedFrames) != 240 || m.SkippedFrames > 50 {
		t.Errorf("%d packets of sound, %d skipped", len(a), m.SkippedFrames)
	}
}

// Sound with a hole longer than fragments: those that were begun with it in the
// header and have none are sent again without it, and none is lost.
func TestHoleInATrack(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	refused := make(chan struct{}, 100)
	d.onComplete = func(_ *doubleSession, f *stored) verdict {
		seen := map[uint64]bool{}
		for _, fr := range f.frames {
			seen[fr.track] = true
		}
		if len(seen) != len(f.header.Tracks) {
			refused <- struct{}{}
			return verdict{err: sluice.FramesMissingForTrack}
		}
		return verdict{}
	}
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{Tracks: []sluice.Track{video(), audio()}, TrackWait: 10 * time.Second, OnEvent: r.handle})
	hole := func(i int) bool { return i == 0 || i >= 125 }
	putAV(t, s, 0, 25, hole)
	// The sound that is behind the hole is there already: pictures do not wait.
	f := producer.FrameAt(epoch.Add(4990*time.Millisecond), true, []byte("after the hole"))
	f.Track = 2
	if err := s.PutFrame(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	putAV(t, s, 25, 25, hole)
	d.wait(func(all []stored) bool { return len(all) == 1 }) // the second has begun, declared as the first
	putAV(t, s, 50, 5, hole)
	select {
	case <-refused: // and the third has begun, or is about to
	case <-time.After(2 * time.Minute):
		t.Fatal("stuck: nothing was refused")
	}
	putAV(t, s, 55, 95, hole)
	stop(t, s)
	v, _ := byTrack(d.fragments())
	if len(v) != 150 {
		t.Errorf("%d pictures of 150", len(v))
	}
	if lost := dropped(r); len(lost) > 0 {
		t.Errorf("dropped: %+v", lost)
	}
}

func TestAudioOnly(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	track, err := producer.G711(producer.MuLaw, 8000, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := newStream(t, d.client(), producer.StreamInfo{Tracks: []sluice.Track{track}})
	for i := range 500 {
		f := producer.FrameAt(epoch.Add(time.Duration(i)*20*time.Millisecond), false, fmt.Appendf(nil, "frame %d", i))
		if err := s.PutFrame(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, s)
	all := d.fragments()
	if got := payloads(all); !slices.Equal(got, want(0, 500)) || len(all) != 5 {
		t.Errorf("%d frames in %d fragments", len(got), len(all))
	}
	if tr := all[0].header.Tracks[0]; tr.CodecID != "A_MS/ACM" || len(tr.CodecPrivate) != 18 || tr.Audio.SamplingFrequency != 8000 {
		t.Errorf("track %+v", tr)
	}
}

func TestCodecPrivateChanges(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	track := video()
	track.CodecPrivate = []byte("one")
	s := newStream(t, d.client(), producer.StreamInfo{Tracks: []sluice.Track{track}})
	put(t, s, 0, 60, 25)
	if err := s.SetCodecPrivate(1, []byte("two")); err != nil {
		t.Fatal(err)
	}
	put(t, s, 60, 40, 25)
	stop(t, s)
	all := d.fragments()
	if got := payloads(all); !slices.Equal(got, want(0, 100)) {
		t.Errorf("frames: %v", got)
	}
	for i, f := range all {
		cpd, session := "one", 1
		if i == 3 {
			cpd, session = "two", 2
		}
		if string(f.header.Tracks[0].CodecPrivate) != cpd || f.session != session {
			t.Errorf("fragment %d: codec private data %q in session %d", i, f.header.Tracks[0].CodecPrivate, f.session)
		}
	}
	if m := s.Metrics(); m.ResentFragments != 0 || m.APICallRetries != 0 {
		t.Errorf("metrics: %+v", m)
	}
}

// Times as cameras and files give them: nothing is refused, nothing is lost, and
// no fragment begins before the end of the one before it in its session.
func TestOddTimestamps(t *testing.T) {
	t.Parallel()
	ms := func(v ...int) []int { return v }
	for name, c := range map[string]struct {
		pts, dts []int // ms; key every 4th
		repaired bool
		sessions int64
	}{
		"equal key":         {pts: ms(0, 40, 80, 120, 120, 160, 200, 240), repaired: true, sessions: 1},
		"all equal":         {pts: ms(5, 5, 5, 5, 5, 5, 5, 5), repaired: true, sessions: 1},
		"dts back a little": {pts: ms(0, 40, 80, 120, 160, 200, 240, 280), dts: ms(0, 40, 30, 120, 160, 150, 240, 280), repaired: true, sessions: 1},
		"b-frames":          {pts: ms(80, 200, 120, 160, 240, 360, 280, 320), dts: ms(0, 40, 80, 120, 160, 200, 240, 280), sessions: 1},
		"open gop":          {pts: ms(0, 120, 40, 80, 240, 160, 200, 280), dts: ms(-80, -40, 0, 40, 80, 120, 160, 200), sessions: 1},
		"clock back":        {pts: ms(100000, 100040, 100080, 100120, 5000, 5040, 5080, 5120), sessions: 2},
		"back in mid gop":   {pts: ms(100000, 100040, 5000, 5040, 5080, 5120, 5160, 5200), sessions: 2},
		"clock ahead":       {pts: ms(0, 40, 80, 900000, 900040, 900080, 900120, 900160), sessions: 1},
		"negative":          {pts: ms(-200, -160, -120, -80, -40, 0, 40, 80), sessions: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			var end = map[int]time.Duration{}
			d.onComplete = func(ds *doubleSession, f *stored) verdict {
				if last, ok := end[ds.n]; ok && f.frames[0].at <= last {
					return verdict{err: sluice.FragmentTimecodeLesserThanBefore}
				}
				for _, fr := range f.frames {
					end[ds.n] = max(end[ds.n], fr.at)
				}
				return verdict{}
			}
			s := newStream(t, d.client(), producer.StreamInfo{Timecodes: sluice.TimecodeRelative, Start: epoch})
			for i, p := range c.pts {
				f := producer.Frame{PTS: time.Duration(p) * time.Millisecond, NoDTS: c.dts == nil, Key: i%4 == 0, Data: fmt.Appendf(nil, "frame %d", i)}
				if c.dts != nil {
					f.DTS = time.Duration(c.dts[i]) * time.Millisecond
				}
				if err := s.PutFrame(t.Context(), f); err != nil {
					t.Fatal(err)
				}
			}
			stop(t, s)
			if got := payloads(d.fragments()); !slices.Equal(got, want(0, len(c.pts))) {
				t.Errorf("frames: %v", got)
			}
			m := s.Metrics()
			if (m.RepairedFrames > 0) != c.repaired || m.TotalSessions != c.sessions {
				t.Errorf("%d repaired, %d sessions", m.RepairedFrames, m.TotalSessions)
			}
		})
	}
}

func TestLongGOPIsCut(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	r := newRecorder()
	s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle})
	put(t, s, 0, 25*50, 25*45)
	stop(t, s)
	all := d.fragments()
	if got := payloads(all); !slices.Equal(got, want(0, 25*50)) || len(all) != 4 {
		t.Errorf("%d frames in %d fragments", len(got), len(all))
	}
	await[producer.FragmentTooLong](t, r, nil)
}

func manyTags(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint(i)] = ""
	}
	return m
}

func TestLimits(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	c := d.client()
	one := []sluice.Track{video()}
	for field, in := range map[string]struct {
		info   producer.StreamInfo
		status producer.Status
	}{
		"Name":                    {producer.StreamInfo{Name: strings.Repeat("a", 257), Tracks: one}, producer.StatusInvalidStreamNameLength},
		"Tracks":                  {producer.StreamInfo{}, producer.StatusTrackInfoMissing},
		"Tracks: 4":               {producer.StreamInfo{Tracks: []sluice.Track{video(), video(), video(), video()}}, producer.StatusMaxTrackCountExceeded},
		"Number":                  {producer.StreamInfo{Tracks: []sluice.Track{{Number: 2, CodecID: "V"}, {Number: 2, CodecID: "V"}}}, producer.StatusDuplicateTrackID},
		"CodecID":                 {producer.StreamInfo{Tracks: []sluice.Track{{CodecID: strings.Repeat("V", 33)}}}, producer.StatusMKVInvalidCodecIDLength},
		"CodecPrivate":            {producer.StreamInfo{Tracks: []sluice.Track{{CodecID: "V", CodecPrivate: make([]byte, 1<<20+1)}}}, producer.StatusMKVInvalidCodecPrivateLength},
		"Retention":               {producer.StreamInfo{Tracks: one, Retention: time.Minute}, producer.StatusInvalidRetentionPeriod},
		"FragmentDuration":        {producer.StreamInfo{Tracks: one, FragmentDuration: 31 * time.Second}, producer.StatusMKVInvalidClusterDuration},
		"TimecodeScale":           {producer.StreamInfo{Tracks: one, TimecodeScale: 2 * time.Second}, producer.StatusMKVInvalidTimecodeScale},
		"BufferDuration":          {producer.StreamInfo{Tracks: one, BufferDuration: time.Second}, producer.StatusInvalidContentViewDuration},
		"Offline":                 {producer.StreamInfo{Tracks: one, Type: producer.Offline, Retention: producer.NoRetention}, producer.StatusOfflineModeWithZeroRetention},
		"NALs":                    {producer.StreamInfo{Tracks: one, NALs: producer.AdaptAnnexBFrames | producer.AdaptAVCCFrames}, producer.StatusMKVBothAnnexBAndAVCC},
		"Name: bad":               {producer.StreamInfo{Name: "a/b", Tracks: one}, producer.StatusInvalidStreamNameLength},
		"Tags":                    {producer.StreamInfo{Tracks: one, Tags: manyTags(51)}, producer.StatusMaxTagCount},
		"Tags: name":              {producer.StreamInfo{Tracks: one, Tags: map[string]string{strings.Repeat("a", 129): ""}}, producer.StatusInvalidTagNameLength},
		"Tags: value":             {producer.StreamInfo{Tracks: one, Tags: map[string]string{"a": strings.Repeat("a", 1025)}}, producer.StatusInvalidTagValueLength},
		"KMSKeyID":                {producer.StreamInfo{Tracks: one, KMSKeyID: strings.Repeat("a", 2049)}, producer.StatusInvalidArgLen},
		"Retention: long":         {producer.StreamInfo{Tracks: one, Retention: 87601 * time.Hour}, producer.StatusInvalidRetentionPeriod},
		"FragmentDuration: short": {producer.StreamInfo{Tracks: one, FragmentDuration: 999 * time.Millisecond}, producer.StatusMKVInvalidClusterDuration},
		"TimecodeScale: small":    {producer.StreamInfo{Tracks: one, TimecodeScale: 99}, producer.StatusMKVInvalidTimecodeScale},
		"MaxLatency":              {producer.StreamInfo{Tracks: one, MaxLatency: -1}, producer.StatusInvalidArg},
		"Offline: acks":           {producer.StreamInfo{Tracks: one, Type: producer.Offline, NoAcks: true}, producer.StatusOfflineModeWithZeroRetention},
		"Name: of a track":        {producer.StreamInfo{Tracks: []sluice.Track{{CodecID: "V", Name: strings.Repeat("a", 33)}}}, producer.StatusMKVInvalidTrackNameLength},
		"Spool.Dir":               {producer.StreamInfo{Tracks: one, Spool: &producer.Spool{Dir: strings.Repeat("a", 4097)}}, producer.StatusInvalidRootDirectoryLength},
		"ContentType":             {producer.StreamInfo{Tracks: one, ContentType: strings.Repeat("a", 129)}, producer.StatusMKVInvalidContentTypeLength},
	} {
		_, err := c.NewStream(in.info)
		name, _, _ := strings.Cut(field, ":")
		if !errors.Is(err, in.status) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %v and the field's name", field, err, in.status)
		}
	}
	if _, err := producer.New(t.Context(), producer.Options{StorageSize: 1 << 20}); !errors.Is(err, producer.StatusInvalidStorageSize) {
		t.Errorf("storage: %v", err)
	}
	for _, name := range []string{strings.Repeat("a", 129), "a b"} {
		if _, err := producer.New(t.Context(), producer.Options{DeviceName: name}); !errors.Is(err, producer.StatusInvalidDeviceNameLength) || !strings.Contains(err.Error(), "DeviceName") {
			t.Errorf("device name %q: %v", name, err)
		}
	}
	s := newStream(t, c, producer.StreamInfo{})
	if _, err := c.NewStream(producer.StreamInfo{Name: "cam", Tracks: one}); !errors.Is(err, producer.StatusDuplicateStreamName) {
		t.Errorf("second stream of the name: %v", err)
	}
	if err := s.PutMetadata("AWSx", "y", false); !errors.Is(err, producer.StatusInvalidMetadataName) {
		t.Errorf("metadata: %v", err)
	}
	if err := s.PutMetadata(strings.Repeat("a", 129), "y", false); !errors.Is(err, producer.StatusMKVInvalidTagNameLength) {
		t.Errorf("metadata: %v", err)
	}
	if err := s.PutMetadata("a", strings.Repeat("y", 257), false); !errors.Is(err, producer.StatusMKVInvalidTagValueLength) {
		t.Errorf("metadata: %v", err)
	}
	for i := range 11 {
		err := s.PutMetadata("same", "x", false)
		if (i == 10) != errors.Is(err, producer.StatusMaxFragmentMetadataCount) {
			t.Errorf("item %d: %v", i+1, err)
		}
	}
	if err := s.PutFrame(t.Context(), producer.Frame{Track: 9, Data: []byte{1}}); !errors.Is(err, producer.StatusMKVTrackInfoNotFound) {
		t.Errorf("unknown track: %v", err)
	}
	if err := s.PutFrame(t.Context(), producer.Frame{}); !errors.Is(err, producer.StatusMKVInvalidFrameData) {
		t.Errorf("no data: %v", err)
	}
}

func TestStreamCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	c := d.client()
	s := newStream(t, c, producer.StreamInfo{})
	put(t, s, 0, 25, 25)
	stop(t, s)
	if err := s.PutFrame(t.Context(), producer.FrameAt(epoch, true, []byte{1})); !errors.Is(err, producer.StatusStreamHasBeenStopped) {
		t.Errorf("after stop: %v", err)
	}
	s = newStream(t, c, producer.StreamInfo{})
	put(t, s, 25, 25, 25)
	stop(t, s)
	if got := payloads(d.fragments()); !slices.Equal(got, want(0, 50)) {
		t.Errorf("frames: %v", got)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := c.NewStream(producer.StreamInfo{Tracks: []sluice.Track{video()}}); !errors.Is(err, producer.StatusClientShutdown) {
		t.Errorf("after close: %v", err)
	}
}
