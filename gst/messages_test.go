package gst_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// told checks that a message came, with its fields.
func told(t *testing.T, all []said, name string, fields ...string) {
	t.Helper()
	s := first(all, name)
	if s == nil {
		t.Errorf("no message %s: %v", name, all)
		return
	}
	for _, f := range fields {
		if s[f] == nil {
			t.Errorf("%s has no %s: %v", name, f, s)
		}
	}
}

var stretch = []string{"from", "to", "frames", "fragments", "bytes"}

// Nobody is there: the buffer tells of its pressure, then drops the oldest.
func TestMessagesOfPressureAndDrops(t *testing.T) {
	t.Parallel()
	srv := away(t)
	all := host(t, srv, "fast", "pressure", "buffer-duration=20 replay-duration=20 max-latency=1",
		"kvs-reconnect,kvs-latency-pressure,kvs-buffer-pressure,kvs-dropped")
	told(t, all, "kvs-reconnect", "attempt", "wait", "error")
	told(t, all, "kvs-latency-pressure", "latency")
	told(t, all, "kvs-buffer-pressure", "remaining")
	told(t, all, "kvs-dropped", append(stretch, "reason")...)
	if first(all, "error") != nil {
		t.Errorf("an error: %v", all)
	}
}

func TestMessageOfStoragePressure(t *testing.T) {
	t.Parallel()
	srv := away(t)
	all := host(t, srv, "large", "storage", "storage-size=10", "kvs-storage-pressure,kvs-dropped")
	told(t, all, "kvs-storage-pressure", "remaining")
	told(t, all, "kvs-dropped", append(stretch, "reason")...)
}

// A service that takes all and answers nothing: the connection is stale, and there
// is a new one.
func TestMessageOfStaleness(t *testing.T) {
	t.Parallel()
	need(t)
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/describeStream":
			io.WriteString(w, `{"StreamInfo":{"StreamName":"stale","StreamARN":"arn:aws:kinesisvideo:us-west-2:111122223333:stream/stale/1","MediaType":"video/h264",
				"Version":"1","Status":"ACTIVE","CreationTime":1600000000.0,"DataRetentionInHours":2}}`)
		case "/getDataEndpoint":
			fmt.Fprintf(w, `{"DataEndpoint":%q}`, srv.URL)
		case "/putMedia":
			c := http.NewResponseController(w)
			c.EnableFullDuplex()
			w.WriteHeader(http.StatusOK)
			c.Flush()
			io.Copy(io.Discard, r.Body)
		}
	}))
	t.Cleanup(srv.CloseClientConnections)
	at := &sluicetest.Server{Endpoint: srv.URL, Region: "us-west-2"}
	at.Credentials.AccessKeyID, at.Credentials.SecretAccessKey = "AKIDEXAMPLE", "secret"
	all := host(t, at, "messages", "stale", "connection-staleness=1", "kvs-connected,kvs-stale,kvs-resent")
	told(t, all, "kvs-stale", "since")
	told(t, all, "kvs-resent", stretch...)
}
