package producer_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// serverClient is a producer's client of a real server, through endpoint.
func serverClient(t testing.TB, srv *sluicetest.Server, endpoint string, change ...func(*producer.Options)) *producer.Client {
	t.Helper()
	o := producer.Options{
		Service: kvsapi.Options{
			Endpoint: endpoint, Region: srv.Region, Getenv: func(string) string { return "" },
			Credentials: producer.StaticCredentials(srv.Credentials.AccessKeyID, srv.Credentials.SecretAccessKey, "", time.Time{}),
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&o)
	}
	c, err := producer.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

func TestAgainstTheServer(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	for name, info := range map[string]producer.StreamInfo{
		"absolute":     {},
		"relative":     {Timecodes: sluice.TimecodeRelative, Start: time.Unix(0, 0)},
		"100us":        {TimecodeScale: 100 * time.Microsecond},
		"1s":           {TimecodeScale: time.Second},
		"no-retention": {Retention: producer.NoRetention},
		"no-acks":      {NoAcks: true},
		"by-duration":  {ByDuration: true, FragmentDuration: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serverClient(t, srv, srv.Endpoint)
			info.Name, info.Tracks = name, []sluice.Track{video()}
			s, err := c.NewStream(info)
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, 0, 250, 25)
			if err := s.PutMetadata("k", "v", false); err != nil {
				t.Fatal(err)
			}
			if r := stop(t, s); len(r.Undelivered) > 0 {
				t.Errorf("undelivered: %v", r.Undelivered)
			}
			if name == "no-retention" {
				return
			}
			var got []string
			all := srv.Stored(name)
			for i, f := range all {
				step := time.Second
				if info.ByDuration {
					step = 2 * time.Second
				}
				if !f.Producer.Equal(epoch.Add(time.Duration(i) * step)) {
					t.Errorf("fragment %d: producer time %v", i, f.Producer)
				}
				for _, fr := range f.Frames {
					got = append(got, string(fr.Data))
				}
			}
			if !slices.Equal(got, want(0, 250)) {
				t.Errorf("%d frames in %d fragments", len(got), len(all))
			}
			if last := all[len(all)-1]; !slices.Contains(last.Tags, sluice.Tag{Name: "k", Value: "v"}) {
				t.Errorf("tags of the last fragment: %v", last.Tags)
			}
		})
	}
}
