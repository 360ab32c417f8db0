package producer_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// Each field of the metrics against a value that is known from outside, in three
// situations: an outage, after it, and in a small store.
func TestMetrics(t *testing.T) {
	t.Parallel()
	checked := map[string]bool{}
	check := func(field string, ok bool, got any) {
		t.Helper()
		checked[field] = true
		if !ok {
			t.Errorf("%s is %v", field, got)
		}
	}
	near := func(got, want, by float64) bool { return got > want-by && got < want+by }

	// An outage: 50 frames of 1000 bytes, 40 ms apart in the media, are buffered.
	d := newDouble(t)
	var ended atomic.Bool
	var accepted atomic.Int64 // the first session after the outage
	d.onPut = func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if !ended.Load() {
			refuse(w, 503, "ServiceUnavailableException")
			return true
		}
		accepted.CompareAndSwap(0, int64(n))
		return false
	}
	d.onBegin = func(ds *doubleSession, _ int64) sluice.AckErrorCode {
		if int64(ds.n) == accepted.Load() {
			return -1
		}
		return 0
	}
	var refused atomic.Bool
	d.onComplete = func(ds *doubleSession, _ *stored) verdict {
		first := int64(ds.n) == accepted.Load()
		if !first && refused.CompareAndSwap(false, true) {
			return verdict{err: sluice.MaxFragmentSizeReached}
		}
		return verdict{silent: first}
	}
	r := newRecorder()
	expires := time.Now().Add(time.Hour)
	c := d.client(func(o *producer.Options) {
		o.Service.Credentials = producer.StaticCredentials("AKID", "secret", "token", expires)
	})
	s := newStream(t, c, producer.StreamInfo{MaxLatency: time.Second, OnEvent: r.handle, ConnectionStaleness: 3 * time.Second, Spool: &producer.Spool{Dir: t.TempDir(), Always: true}})
	frame := func(i int, key bool) producer.Frame {
		return producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), key, make([]byte, 1000))
	}
	// The moving average of the time between frames, as the guide has it: a frame is
	// put at some time between begun and done, so it is at least short, at most long.
	var begun, done time.Time
	var short, long float64
	taken := 0
	putOne := func(f producer.Frame) {
		t.Helper()
		before, after := begun, done
		begun = time.Now()
		err := s.PutFrame(t.Context(), f)
		done = time.Now()
		if err != nil {
			t.Fatal(err)
		}
		if k := float64(min(taken, 20)); taken > 0 {
			short += (begun.Sub(after).Seconds() - short) / k
			long += (done.Sub(before).Seconds() - long) / k
		}
		taken++
	}
	for i := range 50 {
		putOne(frame(i, i%25 == 0))
		time.Sleep(2 * time.Millisecond) // the rate of putting is measured
	}
	if err := s.PutFrame(t.Context(), producer.Frame{Track: 7, Data: []byte{1}}); err == nil {
		t.Fatal("an unknown track is taken")
	}
	f := frame(49, false) // at the time of the one before
	f.DTS -= 100 * time.Millisecond
	putOne(f)
	await[producer.LatencyPressure](t, r, nil)
	await(t, r, func(e producer.Reconnecting) bool { return e.Attempt >= 2 })
	for deadline := time.Now().Add(5 * time.Minute); s.Metrics().SpooledFragments == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // the disk is written to beside
	}
	reconnects := int64(d.count("/putMedia"))
	m, cm := s.Metrics(), c.Metrics()
	again := int64(d.count("/putMedia")) // it goes on trying
	media := int64(51 * (1000 + 13))
	check("CurrentViewSize", m.CurrentViewSize == media, m.CurrentViewSize)
	check("OverallViewSize", m.OverallViewSize == media, m.OverallViewSize)
	check("CurrentViewDuration", near(m.CurrentViewDuration.Seconds(), 2, 0.1), m.CurrentViewDuration)
	check("OverallViewDuration", near(m.OverallViewDuration.Seconds(), 2, 0.1), m.OverallViewDuration)
	check("PutFrames", m.PutFrames == 51, m.PutFrames)
	check("PutBytes", m.PutBytes == 51_000, m.PutBytes)
	check("PutFrameErrors", m.PutFrameErrors == 1, m.PutFrameErrors)
	check("RepairedFrames", m.RepairedFrames == 1, m.RepairedFrames)
	check("LatencyPressures", m.LatencyPressures == 1, m.LatencyPressures)
	check("APICallRetries", m.APICallRetries >= 2 && m.APICallRetries >= reconnects-1 && m.APICallRetries <= again, m.APICallRetries)
	check("LastError", m.LastError != nil, m.LastError)
	check("ElementaryFrameRate", near(m.ElementaryFrameRate, 25, 0.5), m.ElementaryFrameRate)
	check("CurrentFrameRate", m.CurrentFrameRate > 0.9/long && m.CurrentFrameRate < 1.1/short, m.CurrentFrameRate)
	check("NewestFrame", m.NewestFrame.Equal(epoch.Add(49*40*time.Millisecond)), m.NewestFrame)
	check("SpooledFragments", m.SpooledFragments == 1, m.SpooledFragments)
	check("SpooledBytes", m.SpooledBytes > 25*1013 && m.SpooledBytes < 25*1013+1000, m.SpooledBytes)
	check("Retention", m.Retention == time.Hour, m.Retention)
	check("StreamARN", m.StreamARN == "arn:aws:kinesisvideo:us-west-2:123456789012:stream/cam/1700000000000", m.StreamARN)
	check("ControlLatency", m.ControlLatency > 0 && m.ControlLatency < time.Minute, m.ControlLatency)
	check("Uptime", m.Uptime > 100*time.Millisecond && m.Uptime < time.Minute, m.Uptime)
	check("client.ContentStoreSize", cm.ContentStoreSize == 128<<20, cm.ContentStoreSize)
	check("client.ContentStoreAllocatedSize", cm.ContentStoreAllocatedSize == 2*32<<10, cm.ContentStoreAllocatedSize)
	check("client.ContentStoreAvailableSize", cm.ContentStoreAvailableSize == 128<<20-2*32<<10, cm.ContentStoreAvailableSize)
	check("client.TotalContentViewsSize", cm.TotalContentViewsSize > 0 && cm.TotalContentViewsSize < 10_000, cm.TotalContentViewsSize)
	check("client.TotalFrameRate", cm.TotalFrameRate > 0.9/long && cm.TotalFrameRate < 1.1/short, cm.TotalFrameRate)
	check("client.TotalElementaryFrameRate", near(cm.TotalElementaryFrameRate, 25, 0.5), cm.TotalElementaryFrameRate)
	check("client.AvgAPICallRetryCount", cm.AvgAPICallRetryCount >= 2, cm.AvgAPICallRetryCount)
	check("client.Streams", cm.Streams == 1, cm.Streams)
	check("client.CredentialsExpire", cm.CredentialsExpire.Equal(expires), cm.CredentialsExpire)

	// After it: one session that says nothing, one that refuses a fragment, one that
	// works.
	ended.Store(true)
	await[producer.ConnectionStale](t, r, nil)
	await[producer.FragmentDropped](t, r, nil)
	for i := range 25 {
		putOne(frame(50+i, i == 0))
	}
	d.wait(func(all []stored) bool { return len(all) >= 1 })
	m = s.Metrics()
	check("ActiveSessions", m.ActiveSessions == 1, m.ActiveSessions)
	check("SessionExpires", time.Until(m.SessionExpires) > 30*time.Minute && time.Until(m.SessionExpires) < 41*time.Minute, m.SessionExpires)
	if err := s.EndFragment(); err != nil {
		t.Fatal(err)
	}
	if err := s.PutFrame(t.Context(), frame(76, false)); err != nil { // belongs to no fragment
		t.Fatal(err)
	}
	stop(t, s)
	m = s.Metrics()
	check("StaleEvents", m.StaleEvents == 1, m.StaleEvents)
	check("DroppedFragments", m.DroppedFragments == 1, m.DroppedFragments)
	check("DroppedFrames", m.DroppedFrames == 25, m.DroppedFrames)
	check("SkippedFrames", m.SkippedFrames == 1, m.SkippedFrames)
	check("ErrorAcks", m.ErrorAcks == 1, m.ErrorAcks)
	check("PersistedAcks", m.PersistedAcks == 2, m.PersistedAcks)
	check("ReceivedAcks", m.ReceivedAcks == 2, m.ReceivedAcks)
	check("BufferedAcks", m.BufferedAcks == 3 || m.BufferedAcks == 4, m.BufferedAcks)
	check("ResentFragments", m.ResentFragments >= 2, m.ResentFragments)
	check("ResentBytes", m.ResentBytes >= 2*25*1013, m.ResentBytes)
	check("TotalSessions", m.TotalSessions == 3, m.TotalSessions)
	check("AvgSessionDuration", m.AvgSessionDuration > 0 && m.AvgSessionDuration < time.Minute, m.AvgSessionDuration)
	check("DataLatency", m.DataLatency > 0 && m.DataLatency < time.Minute, m.DataLatency)
	check("BufferingLatency", m.BufferingLatency > 0 && m.BufferingLatency < time.Minute, m.BufferingLatency)
	check("PersistedLatency", m.PersistedLatency > 0 && m.PersistedLatency < time.Minute, m.PersistedLatency)
	check("DeclaredTracks", m.DeclaredTracks == 1, m.DeclaredTracks)
	check("Gaps", len(m.Gaps) == 1 && m.Gaps[0].Start.Equal(epoch) && m.Gaps[0].Frames == 25 && m.Gaps[0].Reason == producer.DropRefused, m.Gaps)
	sum := 0
	for n := 1; d.session(n) != nil; n++ {
		sum += len(d.session(n).body)
	}
	check("TransferredBytes", m.TransferredBytes >= int64(sum) && m.TransferredBytes <= int64(sum)+100_000, m.TransferredBytes)

	// A small store and a short buffer.
	d = newDouble(t)
	d.onPut = func(w http.ResponseWriter, _ *http.Request, _ int) bool { refuse(w, 503, ""); return true }
	r = newRecorder()
	c = d.client(func(o *producer.Options) { o.StorageSize = producer.MinStorageSize })
	s = newStream(t, c, producer.StreamInfo{OnEvent: r.handle, BufferDuration: 20 * time.Second})
	for i := range 25 * 40 {
		if err := s.PutFrame(t.Context(), producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%25 == 0, make([]byte, 9000))); err != nil {
			t.Fatal(err)
		}
	}
	await[producer.BufferPressure](t, r, nil)
	for i := 1000; i < 2200; i++ {
		if err := s.PutFrame(t.Context(), producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%25 == 0, make([]byte, 40_000))); err != nil {
			t.Fatal(err)
		}
	}
	await[producer.StoragePressure](t, r, nil)
	m = s.Metrics()
	check("BufferPressures", m.BufferPressures == 1, m.BufferPressures)
	check("StoragePressures", m.StoragePressures == 1, m.StoragePressures)
	check("client.StoragePressures", c.Metrics().StoragePressures == 1, c.Metrics().StoragePressures)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}

	// An upload of 1000 kbit/s that has more to send than that.
	d = newDouble(t)
	c = d.client()
	s = newStream(t, c, producer.StreamInfo{MaxKbps: 1000})
	for i := range 300 {
		if err := s.PutFrame(t.Context(), producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), i%25 == 0, make([]byte, 1200))); err != nil {
			t.Fatal(err)
		}
	}
	// A machine that stalls sends less for a moment: one look of several will do.
	var rate, total float64
	for n := 5; n <= 11 && !near(min(rate, total), 125_000, 60_000); n++ {
		d.wait(func(all []stored) bool { return len(all) >= n }) // of 12
		rate, total = s.Metrics().CurrentTransferRate, c.Metrics().TotalTransferRate
	}
	check("CurrentTransferRate", near(rate, 125_000, 60_000), rate)
	check("client.TotalTransferRate", near(total, 125_000, 60_000), total)
	stop(t, s)

	for typ, prefix := range map[reflect.Type]string{reflect.TypeFor[producer.StreamMetrics](): "", reflect.TypeFor[producer.ClientMetrics](): "client."} {
		for i := range typ.NumField() {
			if name := prefix + typ.Field(i).Name; !checked[name] {
				t.Errorf("%s is not checked", name)
			}
		}
	}
}
