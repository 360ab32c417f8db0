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
	"fmt"
	"runtime/cgo"
	"time"
	"unsafe"
)

func main() {}

// teller hands events to the plugin, until it is closed.
type teller struct {
	fn   C.sluice_event_fn
	user unsafe.Pointer
}

func (t teller) tell(kind int, s *structure) {
	text := C.CString(s.String())
	defer C.free(unsafe.Pointer(text))
	C.sluice_tell(t.fn, t.user, C.int(kind), text)
}

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

// open reads the configuration and makes a handle of what open gives.
func open[T any](config *C.char, out **C.char, make func(settings) (T, error)) C.uint64_t {
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
	return C.uint64_t(cgo.NewHandle(v))
}

func sinkOf(h C.uint64_t) *sink     { return cgo.Handle(h).Value().(*sink) }
func sourceOf(h C.uint64_t) *source { return cgo.Handle(h).Value().(*source) }

//export sluice_version
func sluice_version() C.int { return C.SLUICE_CORE_VERSION }

//export sluice_free
func sluice_free(p unsafe.Pointer) { C.free(p) }

//export sluice_sink_open
func sluice_sink_open(config *C.char, fn C.sluice_event_fn, user unsafe.Pointer, out **C.char) C.uint64_t {
	return open(config, out, func(s settings) (*sink, error) { return newSink(s, teller{fn, user}.tell) })
}

//export sluice_sink_track
func sluice_sink_track(h C.uint64_t, track C.int, caps *C.char, codecData unsafe.Pointer, n C.size_t, out **C.char) C.int {
	var c trackCaps
	err := json.Unmarshal([]byte(C.GoString(caps)), &c)
	if err == nil {
		err = sinkOf(h).setTrack(int(track), c, C.GoBytes(codecData, C.int(n)))
	}
	if err != nil {
		setError(out, err)
		return flowError
	}
	return flowOK
}

//export sluice_sink_put
func sluice_sink_put(h C.uint64_t, track C.int, data unsafe.Pointer, n C.size_t, pts, dts, duration C.int64_t, flags C.uint32_t) C.int {
	// The producer copies what it takes, so the mapped buffer itself is lent.
	return C.int(sinkOf(h).put(int(track), unsafe.Slice((*byte)(data), int(n)), int64(pts), int64(dts), int64(duration), uint32(flags)))
}

//export sluice_sink_metadata
func sluice_sink_metadata(h C.uint64_t, name, value *C.char, persist C.int) C.int {
	if sinkOf(h).metadata(C.GoString(name), C.GoString(value), persist != 0) != nil {
		return flowError
	}
	return flowOK
}

//export sluice_sink_marker
func sluice_sink_marker(h C.uint64_t, kinds C.int, prefix, pairs *C.char) C.int {
	more := map[string]string{}
	if pairs != nil && json.Unmarshal([]byte(C.GoString(pairs)), &more) != nil {
		return flowError
	}
	p := ""
	if prefix != nil {
		p = C.GoString(prefix)
	}
	if sinkOf(h).marker(int(kinds), p, more) != nil {
		return flowError
	}
	return flowOK
}

//export sluice_sink_drain
func sluice_sink_drain(h C.uint64_t, timeout C.int64_t) C.int {
	if sinkOf(h).drain(time.Duration(timeout)) {
		return 1
	}
	return 0
}

//export sluice_sink_flush
func sluice_sink_flush(h C.uint64_t) { sinkOf(h).flush() }

//export sluice_sink_unblock
func sluice_sink_unblock(h C.uint64_t, on C.int) { sinkOf(h).unblock(on != 0) }

//export sluice_sink_close
func sluice_sink_close(h C.uint64_t, timeout C.int64_t) {
	s := sinkOf(h)
	cgo.Handle(h).Delete()
	s.close(time.Duration(timeout))
}

//export sluice_source_open
func sluice_source_open(config *C.char, fn C.sluice_event_fn, user unsafe.Pointer, out **C.char) C.uint64_t {
	return open(config, out, func(s settings) (*source, error) { return newSource(s, teller{fn, user}.tell) })
}

//export sluice_source_next
func sluice_source_next(h C.uint64_t, out *C.struct_sluice_frame) C.int {
	f, flow := sourceOf(h).next()
	if flow != flowOK {
		return C.int(flow)
	}
	*out = C.struct_sluice_frame{
		data: C.CBytes(f.data), size: C.size_t(len(f.data)),
		pts: C.int64_t(f.pts), dts: C.int64_t(f.dts), duration: C.int64_t(f.duration),
		flags: C.uint32_t(f.flags), track: C.int32_t(f.track),
	}
	if f.caps != "" {
		out.caps = C.CString(f.caps)
		out.codec_data, out.codec_data_size = C.CBytes(f.codecData), C.size_t(len(f.codecData))
	}
	return flowOK
}

//export sluice_source_unblock
func sluice_source_unblock(h C.uint64_t, on C.int) { sourceOf(h).unblock(on != 0) }

//export sluice_source_seek
func sluice_source_seek(h C.uint64_t, at C.int64_t) C.int {
	sourceOf(h).seek(time.Unix(0, int64(at)))
	return flowOK
}

//export sluice_source_close
func sluice_source_close(h C.uint64_t) {
	s := sourceOf(h)
	cgo.Handle(h).Delete()
	s.close()
}
