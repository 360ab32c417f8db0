package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/event"
	"github.com/sluicevideo/sluice/internal/metrics"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	var s event.Sink
	s.Called("DescribeStream", 200)
	s.ErrorAck(4001)
	s.SessionOpened()
	s.FragmentDone(25, 3*time.Millisecond)
	w := httptest.NewRecorder()
	metrics.Handler(&s, "v1", metrics.Gauge{Name: "free_bytes", Help: "Free.", Read: func() float64 { return 7 }}).
		ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`sluice_api_calls_total{operation="DescribeStream",status="200"} 1`,
		`sluice_ingest_error_acks_total{error_id="4001"} 1`,
		`sluice_put_media_sessions 1`,
		`sluice_persist_seconds_bucket{le="0.005"} 1`,
		`sluice_persist_seconds_bucket{le="0.002"} 0`,
		`sluice_build_info{version="v1"} 1`,
		`sluice_free_bytes 7`,
		`go_goroutines `,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no line %s", want)
		}
	}
	if w.Code != 200 {
		t.Errorf("status %d\n%s", w.Code, w.Body)
	}
}
