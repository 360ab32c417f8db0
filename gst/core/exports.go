// Command core is the Go side of the GStreamer elements: a shared library that
// the plugin loads when an element goes to READY. It turns what the plugin hands
// over into calls of package producer (kvssink) and package parser (kvssrc), and
// knows nothing of GStreamer but the text form of its structures.
//
// plugin/core.h is the contract.
package main

/*
#include <stdlib.h>
#include <string.h>
#include "../plugin/core.h"

static void sluice_tell(sluice_event_fn fn, void *user, int kind, const char *text) { fn(user, kind, text); }
*/
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"
)

func main() {}

// teller hands events to the plugin, until it is stopped.
type teller struct {
	fn   C.sluice_event_fn
	user unsafe.Pointer

	mu   sync.RWMutex // read-locked during a call
	over bool
}

func (t *teller) tell(kind int, s *structure) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.over {
		return
	}
	text := C.CString(s.String())
	defer C.free(unsafe.Pointer(text))
	C.sluice_tell(t.fn, t.user, C.int(kind), text)
}

// stop returns when no call is under way and none will be.
func (t *teller) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// handles are what the plugin holds instead of pointers. A number that is not
// known any more is answered, not trusted: events of a pipeline may come late.
type handles[T any] struct {
	mu   sync.RWMutex
	last C.uint64_t
	open map[C.uint64_t]T
}

func (h *handles[T]) add(v T) C.uint64_t {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		h.open = map[C.uint64_t]T{}
	}
	h.last++
	h.open[h.last] = v
	return h.last
}

func (h *handles[T]) get(n C.uint64_t) (T, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	v, ok := h.open[n]
	return v, ok
}

func (h *handles[T]) remove(n C.uint64_t) (T, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.open[n]
	delete(h.open, n)
	return v, ok
}

// The handles of the process: C has no other place for them.
var (
	sinks   handles[*sink]
	sources handles[*source]
)

const (
	eventAck     = C.SLUICE_EVENT_ACK
	eventError   = C.SLUICE_EVENT_ERROR
	eventMessage = C.SLUICE_EVENT_MESSAGE
	eventMetrics = C.SLUICE_EVENT_METRICS

	flowOK       = C.SLUICE_FLOW_OK
	flowError    = C.SLUICE_FLOW_ERROR
	flowFlushing = C.SLUICE_FLOW_FLUSHING
	flowEOS      = C.SLUICE_FLOW_EOS

	frameKey         = C.SLUICE_FRAME_KEY
	frameDiscardable = C.SLUICE_FRAME_DISCARDABLE
	frameDiscont     = C.SLUICE_FRAME_DISCONT
)

func setError(out **C.char, err error) {
	if out != nil {
		*out = C.CString(err.Error())
	}
}

// open reads the configuration and makes a handle of what make gives.
func open[T any](h *handles[T], config *C.char, out **C.char, make func(settings) (T, error)) C.uint64_t {
	var s settings
	err := json.Unmarshal([]byte(C.GoString(config)), &s)
	if err != nil {
		err = fmt.Errorf("configuration: %w", err)
	}
	var v T
	if err == nil {
		v, err = make(s)
	}
	if err != nil {
		setError(out, err)
		return 0
	}
	return h.add(v)
}

//export sluice_version
func sluice_version() C.int { return C.SLUICE_CORE_VERSION }

//export sluice_free
func sluice_free(p unsafe.Pointer) { C.free(p) }

//export sluice_sink_open
func sluice_sink_open(config *C.char, fn C.sluice_event_fn, user unsafe.Pointer, out **C.char) C.uint64_t {
	return open(&sinks, config, out, func(s settings) (*sink, error) { return newSink(s, &teller{fn: fn, user: user}) })
}

//export sluice_sink_pads
func sluice_sink_pads(h C.uint64_t, video, audio C.int) {
	if s, ok := sinks.get(h); ok {
		s.pads(video != 0, audio != 0)
	}
}

//export sluice_sink_track
func sluice_sink_track(h C.uint64_t, track C.int, caps *C.char, codecData unsafe.Pointer, n C.size_t, out **C.char) C.int {
	s, ok := sinks.get(h)
	if !ok {
		setError(out, errors.New("the element is closed"))
		return flowFlushing
	}
	var c trackCaps
	err := json.Unmarshal([]byte(C.GoString(caps)), &c)
	if err == nil {
		err = s.setTrack(int(track), c, C.GoBytes(codecData, C.int(n)))
	}
	if err != nil {
		setError(out, err)
		return flowError
	}
	return flowOK
}

//export sluice_sink_put
func sluice_sink_put(h C.uint64_t, track C.int, data unsafe.Pointer, n C.size_t, pts, dts, duration C.int64_t, flags C.uint32_t) C.int {
	s, ok := sinks.get(h)
	if !ok {
		return flowFlushing
	}
	// The producer copies what it takes, so the mapped buffer itself is lent.
	return C.int(s.put(int(track), unsafe.Slice((*byte)(data), int(n)), int64(pts), int64(dts), int64(duration), uint32(flags)))
}

//export sluice_sink_metadata
func sluice_sink_metadata(h C.uint64_t, name, value *C.char, persist C.int) C.int {
	s, ok := sinks.get(h)
	if !ok || s.metadata(C.GoString(name), C.GoString(value), persist != 0) != nil {
		return flowError
	}
	return flowOK
}

//export sluice_sink_marker
func sluice_sink_marker(h C.uint64_t, kinds C.int, prefix, pairs *C.char) C.int {
	s, ok := sinks.get(h)
	more := map[string]string{}
	if !ok || pairs != nil && json.Unmarshal([]byte(C.GoString(pairs)), &more) != nil {
		return flowError
	}
	p := ""
	if prefix != nil {
		p = C.GoString(prefix)
	}
	if s.marker(int(kinds), p, more) != nil {
		return flowError
	}
	return flowOK
}

//export sluice_sink_drain
func sluice_sink_drain(h C.uint64_t, timeout C.int64_t) C.int {
	if s, ok := sinks.get(h); ok && s.drain(time.Duration(timeout)) {
		return 1
	}
	return 0
}

//export sluice_sink_flush
func sluice_sink_flush(h C.uint64_t) {
	if s, ok := sinks.get(h); ok {
		s.flush()
	}
}

//export sluice_sink_unblock
func sluice_sink_unblock(h C.uint64_t, on C.int) {
	if s, ok := sinks.get(h); ok {
		s.unblock(on != 0)
	}
}

//export sluice_sink_close
func sluice_sink_close(h C.uint64_t, timeout C.int64_t) {
	if s, ok := sinks.remove(h); ok {
		s.close(time.Duration(timeout))
	}
}

//export sluice_source_open
func sluice_source_open(config *C.char, fn C.sluice_event_fn, user unsafe.Pointer, out **C.char) C.uint64_t {
	return open(&sources, config, out, func(s settings) (*source, error) { return newSource(s, &teller{fn: fn, user: user}) })
}

//export sluice_source_next
func sluice_source_next(h C.uint64_t, out *C.struct_sluice_frame) C.int {
	s, ok := sources.get(h)
	if !ok {
		return flowFlushing
	}
	f, flow := s.next()
	if flow != flowOK {
		return C.int(flow)
	}
	*out = C.struct_sluice_frame{
		data: C.CBytes(f.data), size: C.size_t(len(f.data)),
		pts: C.int64_t(f.pts), dts: C.int64_t(f.dts), duration: C.int64_t(f.duration),
		flags: C.uint32_t(f.flags), track: C.int32_t(f.track), tracks: C.uint32_t(f.tracks),
	}
	if f.caps != "" {
		out.caps = C.CString(f.caps)
		out.codec_data, out.codec_data_size = C.CBytes(f.codecData), C.size_t(len(f.codecData))
	}
	return flowOK
}

//export sluice_source_unblock
func sluice_source_unblock(h C.uint64_t, on C.int) {
	if s, ok := sources.get(h); ok {
		s.unblock(on != 0)
	}
}

//export sluice_source_seek
func sluice_source_seek(h C.uint64_t, at C.int64_t) C.int {
	s, ok := sources.get(h)
	if !ok {
		return flowFlushing
	}
	switch {
	case at == -2:
		s.rewind()
	case at < 0:
		s.seekLive()
	default:
		s.seek(time.Unix(0, int64(at)))
	}
	return flowOK
}

//export sluice_source_close
func sluice_source_close(h C.uint64_t) {
	if s, ok := sources.remove(h); ok {
		s.close()
	}
}
