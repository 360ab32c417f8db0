package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// counters are what is known of one stream's source.
type counters struct {
	mu sync.Mutex
	s  SourceStatus
}

// SourceStatus is the state of one stream in the status page.
type SourceStatus struct {
	Stream        string    `json:"stream"`
	Source        string    `json:"source,omitempty"` // without user and password
	Media         string    `json:"media,omitempty"`
	Connected     bool      `json:"connected"`
	Since         time.Time `json:"since,omitzero"`
	Connections   int       `json:"connections"`
	Packets       int64     `json:"packets"`
	Bytes         int64     `json:"bytes"`
	PacketsLost   uint64    `json:"packets_lost"`
	DecodeErrors  int64     `json:"decode_errors"`
	PutErrors     int64     `json:"put_errors"`
	ClockOffsetMs int64     `json:"camera_clock_offset_ms"` // the camera's less ours; 0 while it says nothing
	ClockTrusted  bool      `json:"camera_clock_trusted"`
	LastFrame     time.Time `json:"last_frame,omitzero"`
	SourceError   string    `json:"source_error,omitempty"`
	ServiceError  string    `json:"service_error,omitempty"`

	Frames      int64   `json:"frames"`
	FrameRate   float64 `json:"frame_rate"`
	BytesSent   int64   `json:"bytes_sent"`
	Persisted   int64   `json:"fragments_persisted"`
	Dropped     int64   `json:"fragments_dropped"`
	BufferedMs  int64   `json:"buffered_ms"`
	BufferBytes int64   `json:"buffered_bytes"`
	Sessions    int64   `json:"sessions"`
}

func (c *counters) change(f func(s *SourceStatus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

func (c *counters) packet(n int) {
	c.change(func(s *SourceStatus) { s.Packets++; s.Bytes += int64(n) })
}
func (c *counters) packetsLost(n uint64) {
	c.change(func(s *SourceStatus) { s.PacketsLost += n })
}
func (c *counters) decodeError(err error) {
	c.change(func(s *SourceStatus) { s.DecodeErrors++; s.SourceError = err.Error() })
}
func (c *counters) putError(err error) {
	c.change(func(s *SourceStatus) { s.PutErrors++; s.ServiceError = err.Error() })
}
func (c *counters) timed(at time.Time, offset time.Duration, seen, trusted bool) {
	c.change(func(s *SourceStatus) {
		s.LastFrame = at
		if seen {
			s.ClockOffsetMs, s.ClockTrusted = offset.Milliseconds(), trusted
		}
	})
}
func (c *counters) connected(source, media string) {
	c.change(func(s *SourceStatus) {
		s.Source, s.Media, s.Connected, s.Since, s.SourceError = source, media, true, time.Now(), ""
		s.Connections++
	})
}
func (c *counters) disconnected(err error) {
	c.change(func(s *SourceStatus) {
		if s.Connected {
			s.Since = time.Now()
		}
		s.Connected = false
		if err != nil {
			s.SourceError = err.Error()
		}
	})
}
func (c *counters) serviceError(err error) {
	c.change(func(s *SourceStatus) {
		s.ServiceError = ""
		if err != nil {
			s.ServiceError = err.Error()
		}
	})
}

// Status is the state of all streams.
type Status struct {
	Version string         `json:"version"`
	Started time.Time      `json:"started"`
	Streams []SourceStatus `json:"streams"`
}

// Status is the state at this moment.
func (b *Bridge) Status() Status {
	b.mu.Lock()
	targets := make([]*target, 0, len(b.order))
	for _, name := range b.order {
		targets = append(targets, b.streams[name])
	}
	b.mu.Unlock()
	out := Status{Version: b.opts.Version, Started: b.started}
	for _, t := range targets {
		t.stat.mu.Lock()
		s := t.stat.s
		t.stat.mu.Unlock()
		s.Stream = t.name
		if p := t.current(); p != nil {
			m := p.Metrics()
			s.Frames, s.FrameRate, s.BytesSent = m.PutFrames, m.CurrentFrameRate, m.TransferredBytes
			s.Persisted, s.Dropped, s.Sessions = m.PersistedAcks, m.DroppedFragments, m.TotalSessions
			s.BufferedMs, s.BufferBytes = m.OverallViewDuration.Milliseconds(), m.OverallViewSize
		}
		out.Streams = append(out.Streams, s)
	}
	return out
}

var page = template.Must(template.New("status").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>sluice bridge</title><meta http-equiv="refresh" content="5">
<style>body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.3em .8em;text-align:left;border-bottom:1px solid #ccc}
.off{color:#a00}</style></head><body><h1>sluice bridge</h1><p>Version {{.Version}}, running since {{.Started.Format "2006-01-02 15:04:05"}}.
<a href="/status.json">JSON</a> <a href="/metrics">metrics</a></p>
<table><tr><th>Stream</th><th>Source</th><th>State</th><th>Media</th><th>Frames</th><th>Frames/s</th><th>Sent</th><th>Stored</th><th>Dropped</th><th>Buffered</th><th>Lost packets</th><th>Camera's clock</th><th>Error</th></tr>
{{range .Streams}}<tr><td>{{.Stream}}</td><td>{{.Source}}</td><td{{if not .Connected}} class="off"{{end}}>{{if .Connected}}connected{{else}}away{{end}}</td><td>{{.Media}}</td>
<td>{{.Frames}}</td><td>{{printf "%.1f" .FrameRate}}</td><td>{{.BytesSent}}</td><td>{{.Persisted}}</td><td>{{.Dropped}}</td><td>{{.BufferedMs}} ms</td><td>{{.PacketsLost}}</td>
<td>{{if .ClockOffsetMs}}{{.ClockOffsetMs}} ms{{if not .ClockTrusted}}, not used{{end}}{{end}}</td><td>{{.SourceError}} {{.ServiceError}}</td></tr>
{{end}}</table></body></html>
`))

func (b *Bridge) serveStatus(ctx context.Context, l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, b.Status())
	})
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.Status())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte(b.Status().prometheus()))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		b.log.Error("status page", "error", err)
	}
}

// prometheus is the text form of the figures. Stream names need no escaping: their
// characters are letters, digits, dot, hyphen and underscore.
func (s Status) prometheus() string {
	var w strings.Builder
	metric := func(name, kind, help string, value func(SourceStatus) float64) {
		fmt.Fprintf(&w, "# HELP sluice_bridge_%s %s\n# TYPE sluice_bridge_%s %s\n", name, help, name, kind)
		for _, k := range s.Streams {
			fmt.Fprintf(&w, "sluice_bridge_%s{stream=%q} %v\n", name, k.Stream, value(k))
		}
	}
	metric("connected", "gauge", "Whether the source is connected.", func(k SourceStatus) float64 {
		if k.Connected {
			return 1
		}
		return 0
	})
	metric("connections_total", "counter", "Times that the source was connected.", func(k SourceStatus) float64 { return float64(k.Connections) })
	metric("packets_total", "counter", "RTP packets received.", func(k SourceStatus) float64 { return float64(k.Packets) })
	metric("packets_lost_total", "counter", "RTP packets lost.", func(k SourceStatus) float64 { return float64(k.PacketsLost) })
	metric("frames_total", "counter", "Frames put.", func(k SourceStatus) float64 { return float64(k.Frames) })
	metric("sent_bytes_total", "counter", "Bytes sent to the service.", func(k SourceStatus) float64 { return float64(k.BytesSent) })
	metric("fragments_persisted_total", "counter", "Fragments acknowledged as persisted.", func(k SourceStatus) float64 { return float64(k.Persisted) })
	metric("fragments_dropped_total", "counter", "Fragments given up.", func(k SourceStatus) float64 { return float64(k.Dropped) })
	metric("buffered_bytes", "gauge", "Media buffered.", func(k SourceStatus) float64 { return float64(k.BufferBytes) })
	metric("camera_clock_offset_seconds", "gauge", "The camera's clock less ours.", func(k SourceStatus) float64 { return float64(k.ClockOffsetMs) / 1000 })
	return w.String()
}
