// Command gohost is a host program with a Go runtime of its own beside that of the
// plugin: 30 times NULL to PLAYING to NULL.
package main

/*
#cgo pkg-config: gstreamer-1.0
#include <gst/gst.h>
#include <stdlib.h>

static void cycle(const char *text, gulong wait) {
  GstElement *p = gst_parse_launch(text, NULL);
  gst_element_set_state(p, GST_STATE_PLAYING);
  if (wait) g_usleep(wait);
  gst_element_set_state(p, GST_STATE_NULL);
  gst_object_unref(p);
}
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"
)

func main() {
	C.gst_init(nil, nil)
	text := C.CString("videotestsrc is-live=true ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! queue ! kvssink stream-name=gohost")
	defer C.free(unsafe.Pointer(text))
	for i := range 30 {
		var wait C.gulong
		if i%3 == 0 {
			wait = 200_000
		}
		C.cycle(text, wait)
		runtime.GC()
		if i == 9 || i == 29 {
			b, _ := os.ReadFile("/proc/self/status")
			fmt.Printf("cycle %d", i)
			for line := range strings.Lines(string(b)) {
				var n int
				if _, err := fmt.Sscanf(line, "VmRSS: %d", &n); err == nil {
					fmt.Printf(" rss=%d", n)
				}
				if _, err := fmt.Sscanf(line, "Threads: %d", &n); err == nil {
					fmt.Printf(" threads=%d", n)
				}
			}
			fmt.Println()
		}
	}
}
