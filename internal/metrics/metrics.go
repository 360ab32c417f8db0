// Package metrics shows the counts of an event.Sink, and what the parts of the
// server say of themselves when asked, in the Prometheus text format. It counts
// nothing itself. docs/metrics.md lists the names.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicevideo/sluice/internal/event"
)

// Gauge is a value asked for at each scrape.
type Gauge struct {
	Name string // without the prefix sluice_
	Help string
	Read func() float64
}

// Handler serves the metrics of sink and of gauges, and those of the Go runtime
// and the process.
func Handler(sink *event.Sink, version string, gauges ...Gauge) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{sink})
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_build_info", Help: "Always 1; the version is a label.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 }))
	for _, g := range gauges {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_" + g.Name, Help: g.Help}, g.Read))
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// collector reads a sink.
type collector struct{ s *event.Sink }

// Describe names nothing, so that the registry does not check: the tables' rows
// come and go.
func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.s
	count := func(name, help string, n *event.Counter) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("sluice_"+name, help, nil, nil), prometheus.CounterValue, float64(n.Load()))
	}
	gauge := func(name, help string, n *event.Gauge) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("sluice_"+name, help, nil, nil), prometheus.GaugeValue, float64(n.Load()))
	}
	histogram := func(name, help string, h *event.Histogram) {
		atMost, n, sum := h.Snapshot()
		buckets := make(map[float64]uint64, len(atMost))
		for d, n := range atMost {
			buckets[d.Seconds()] = n
		}
		out <- prometheus.MustNewConstHistogram(prometheus.NewDesc("sluice_"+name, help, nil, nil), n, sum.Seconds(), buckets)
	}
	table := func(name, help string, labels []string, t *event.Table, values func(event.Key) []string) {
		d := prometheus.NewDesc("sluice_"+name, help, labels, nil)
		for _, r := range t.Rows() {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(r.Count), values(r.Key)...)
		}
	}
	name := func(k event.Key) []string { return []string{k.Name} }
	code := func(k event.Key) []string { return []string{strconv.Itoa(k.Code)} }

	table("api_calls_total", "API calls answered.", []string{"operation", "status"}, &s.Calls,
		func(k event.Key) []string { return []string{k.Name, strconv.Itoa(k.Code)} })
	gauge("put_media_sessions", "PutMedia sessions open.", &s.Sessions)
	table("put_media_sessions_ended_total", "PutMedia sessions ended, by why.", []string{"why"}, &s.SessionsEnded, name)
	count("ingest_bytes_total", "Media bytes read from producers.", &s.BytesIn)
	count("ingest_fragments_begun_total", "Fragments begun.", &s.FragmentsBegun)
	count("ingest_fragments_total", "Fragments durable, or complete with retention 0.", &s.Fragments)
	count("ingest_frames_total", "Frames of those fragments.", &s.Frames)
	table("ingest_fragments_aborted_total", "Fragments aborted, by the id of their ERROR acknowledgement (0: none).", []string{"error_id"}, &s.Aborted, code)
	table("ingest_error_acks_total", "ERROR acknowledgements sent.", []string{"error_id"}, &s.ErrorAcks, code)
	count("ingest_acks_dropped_total", "BUFFERING acknowledgements left out for producers that do not read.", &s.AcksDropped)
	histogram("persist_seconds", "From a fragment's last byte to its PERSISTED.", &s.Persist)
	gauge("get_media_connections", "GetMedia connections open.", &s.Readers)
	count("egress_fragments_total", "Fragments sent to readers.", &s.Delivered)
	count("egress_archive_fragments_total", "Fragments sent to readers that came from the disk.", &s.FromArchive)
	count("egress_bytes_total", "Media bytes sent to readers.", &s.BytesOut)
	histogram("store_commit_seconds", "One batch of records made durable.", &s.Commits)
	count("store_committed_records_total", "Records made durable.", &s.CommitSize)
	count("store_committed_bytes_total", "Bytes made durable.", &s.CommitBytes)
	count("store_commit_failures_total", "Batches that could not be made durable.", &s.CommitFails)
	count("store_trimmed_fragments_total", "Fragments that a size cap removed before their time.", &s.Trimmed)
	count("store_corrupt_records_total", "Records that did not read back as written.", &s.Corrupt)
}

// Since makes the gauge of how long something has been going on.
func Since(name, help string, start time.Time) Gauge {
	return Gauge{Name: name, Help: help, Read: func() float64 { return time.Since(start).Seconds() }}
}
