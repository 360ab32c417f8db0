package api_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
)

// TestThousandClients: a thousand clients at once create, tag and delete, each
// a stream of its own and one that twenty of them fight for. What was answered
// is what is there in the end, and nothing else.
func TestThousandClients(t *testing.T) {
	t.Parallel()
	clients, fighters := 1000, 20
	if testing.Short() {
		clients = 200
	}
	s := start(t, nil)
	created := make([]atomic.Int32, clients/fighters)
	deleted := make([]atomic.Int32, clients/fighters)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range clients {
		wg.Go(func() {
			// A connection of its own, as a thousand devices have. In a pool that they
			// share, a call may get a connection that was dialled for another.
			transport := &http.Transport{MaxConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			c := kinesisvideo.New(s.client("ROOT").Options(), func(o *kinesisvideo.Options) { o.HTTPClient = &http.Client{Transport: transport} })
			<-begin
			ctx := t.Context()
			check := func(what string, err error) {
				if err != nil {
					t.Errorf("client %d: %s: %v", i, what, err)
				}
			}
			own, shared, mine := fmt.Sprint("own-", i), fmt.Sprint("shared-", i/fighters), fmt.Sprint("client-", i)
			made, err := c.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &own, Tags: map[string]string{"first": mine}})
			check("create", err)
			if err != nil {
				return
			}
			if _, err := c.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &shared}); err == nil {
				created[i/fighters].Add(1)
			} else {
				wantError(t, err, sluice.ResourceInUse, "already exists")
			}
			_, err = c.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &shared, Tags: map[string]string{mine: "x", "last": mine}})
			check("tag the shared one", err)
			_, err = c.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamARN: made.StreamARN, Tags: map[string]string{"second": mine}})
			check("tag", err)
			_, err = c.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamARN: made.StreamARN, TagKeyList: []string{"first"}})
			check("untag", err)
			got, err := c.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &own})
			check("describe", err)
			if err == nil && *got.StreamInfo.StreamARN != *made.StreamARN {
				t.Errorf("client %d: %s described as %s", i, *made.StreamARN, *got.StreamInfo.StreamARN)
			}
			if i%2 == 1 {
				_, err = c.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: made.StreamARN})
				check("delete", err)
			}
			if i/fighters%2 == 1 {
				// The shared streams with odd numbers are deleted by whoever is
				// first after the twentieth tag.
				tags, err := c.ListTagsForStream(ctx, &kinesisvideo.ListTagsForStreamInput{StreamName: &shared})
				check("list tags", err)
				if err == nil && len(tags.Tags) == fighters+1 {
					info, err := c.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &shared})
					check("describe the shared one", err)
					if err != nil {
						return
					}
					if _, err := c.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: info.StreamInfo.StreamARN}); err == nil {
						deleted[i/fighters].Add(1)
					} else {
						wantError(t, err, sluice.ResourceInUse, "DELETING")
					}
				}
			}
		})
	}
	close(begin)
	wg.Wait()

	all, err := s.Catalog.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := clients + clients/fighters; len(all) != want {
		t.Errorf("%d streams, want %d", len(all), want)
	}
	versions := make(map[string]bool)
	for _, st := range all {
		if versions[st.Version] {
			t.Errorf("version %s stands twice", st.Version)
		}
		versions[st.Version] = true
		var i int
		want := catalog.Active
		if n, _ := fmt.Sscanf(st.Name, "own-%d", &i); n == 1 {
			if i%2 == 1 {
				want = catalog.Deleting
			}
			if len(st.Tags) != 1 || st.Tags["second"] != fmt.Sprint("client-", i) {
				t.Errorf("%s has tags %v", st.Name, st.Tags)
			}
		} else if n, _ := fmt.Sscanf(st.Name, "shared-%d", &i); n == 1 {
			if i%2 == 1 {
				want = catalog.Deleting
			}
			if created[i].Load() != 1 || len(st.Tags) != fighters+1 || deleted[i].Load() != int32(i%2) {
				t.Errorf("%s was created %d times, deleted %d times, has %d tags", st.Name, created[i].Load(), deleted[i].Load(), len(st.Tags))
			}
		} else {
			t.Errorf("unknown stream %s", st.Name)
		}
		if st.Status != want {
			t.Errorf("%s is %s, want %s", st.Name, st.Status, want)
		}
	}
	// The last page of the wire says the same as the table.
	c, listed := s.client("ROOT"), 0
	pages := kinesisvideo.NewListStreamsPaginator(c, &kinesisvideo.ListStreamsInput{MaxResults: aws.Int32(100),
		StreamNameCondition: &types.StreamNameCondition{ComparisonOperator: types.ComparisonOperatorBeginsWith, ComparisonValue: aws.String("own-")}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		listed += len(page.StreamInfoList)
	}
	if listed != clients {
		t.Errorf("ListStreams gave %d streams of the prefix, want %d", listed, clients)
	}
}
