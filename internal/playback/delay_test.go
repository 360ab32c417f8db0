package playback_test

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

// TestLowLatencyDelay measures what the server adds: from the moment a part's last
// picture is sent to the moment a player that waits for the part has loaded it.
func TestLowLatencyDelay(t *testing.T) {
	if os.Getenv("SLUICE_LONG") == "" {
		t.Skip("SLUICE_LONG is not set")
	}
	s := sluicetest.Start(t)
	stop := camera(t, s, "cam")
	defer stop()
	time.Sleep(4 * time.Second)
	u, err := s.Client().GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: sluice.StreamRef{Name: "cam"}, Clock: sluice.ProducerClock, DisplayTimestamp: true, Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	v := viewer{url: strings.Replace(u, "getHLSMasterPlaylist.m3u8?", "getHLSMediaPlaylist.m3u8?TrackNumber=1&LowLatency=1&", 1), client: &http.Client{}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var listed, loaded []time.Duration
	seen := map[string]bool{}
	more := ""
	for ctx.Err() == nil {
		text, err := v.get(ctx, v.url+more, nil)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		sequence, parts, start := int(number(t, text, `MEDIA-SEQUENCE:(\d+)`)), 0, time.Time{}
		for line := range strings.Lines(text) {
			switch {
			case strings.HasPrefix(line, "#EXT-X-PROGRAM-DATE-TIME:"):
				start, err = time.Parse(time.RFC3339, strings.TrimSpace(strings.TrimPrefix(line, "#EXT-X-PROGRAM-DATE-TIME:")))
				if err != nil {
					t.Fatal(err)
				}
			case strings.HasPrefix(line, "#EXT-X-PART:"):
				q := partLine.FindStringSubmatch(line)
				d, _ := strconv.ParseFloat(q[1], 64)
				start = start.Add(time.Duration(d * float64(time.Second)))
				parts++
				if seen[q[2]] {
					continue
				}
				seen[q[2]] = true
				if len(seen) < 60 {
					continue // from before we came
				}
				last := start.Add(-40 * time.Millisecond) // when the last picture was sent
				listed = append(listed, now.Sub(last))
				if _, err := v.get(ctx, v.url[:strings.LastIndex(v.url, "/")+1]+q[2], make([]byte, 64<<10)); err == nil {
					loaded = append(loaded, time.Since(last))
				}
			case !strings.HasPrefix(line, "#"):
				sequence++
				parts = 0
			}
		}
		more = "&_HLS_msn=" + strconv.Itoa(sequence) + "&_HLS_part=" + strconv.Itoa(parts)
	}
	slices.Sort(listed)
	slices.Sort(loaded)
	if len(loaded) < 150 {
		t.Fatalf("%d parts in 20 s", len(loaded))
	}
	at := func(l []time.Duration, q float64) time.Duration {
		return l[int(q*float64(len(l)-1))].Round(100 * time.Microsecond)
	}
	t.Logf("%d parts; listed after p50 %v, p99 %v; loaded after p50 %v, p99 %v", len(loaded), at(listed, 0.5), at(listed, 0.99), at(loaded, 0.5), at(loaded, 0.99))
}
