package producer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/producer"
)

// What becomes of metadata, fragment by fragment: persistent, replaced, removed by
// an empty value, given once, the same name twice.
func TestMetadata(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{})
	type item struct {
		name, value string
		persistent  bool
	}
	steps := []struct {
		put  []item
		want string // of the fragment that they are put into
	}{
		{put: []item{{"site", "north", true}}, want: "site=north"},
		{want: "site=north"},
		{put: []item{{"site", "south", true}}, want: "site=south"}, // replaced
		{put: []item{{"gps", "47.6,-122.3", true}}, want: "site=south gps=47.6,-122.3"},
		{put: []item{{"motion", "true", false}}, want: "site=south gps=47.6,-122.3 motion=true"},
		{want: "site=south gps=47.6,-122.3"}, // once is once
		{put: []item{{"n", "1", false}, {"n", "2", false}}, want: "site=south gps=47.6,-122.3 n=1 n=2"},
		{put: []item{{"site", "", true}}, want: "gps=47.6,-122.3"},        // removed
		{put: []item{{"never", "", true}}, want: "gps=47.6,-122.3"},       // there was none
		{put: []item{{"gps", "x", false}}, want: "gps=47.6,-122.3 gps=x"}, // beside the persistent one
		{put: []item{{"empty", "", false}}, want: "gps=47.6,-122.3 empty="},
		{put: []item{{"gps", "", true}}, want: ""},
	}
	for i, step := range steps {
		put(t, s, i*25, 25, 25)
		for _, m := range step.put {
			if err := s.PutMetadata(m.name, m.value, m.persistent); err != nil {
				t.Fatalf("fragment %d: %v", i, err)
			}
		}
	}
	stop(t, s)
	all := d.fragments()
	if len(all) != len(steps) {
		t.Fatalf("%d fragments", len(all))
	}
	for i, f := range all {
		var got []string
		for _, tag := range f.tags {
			if !strings.HasPrefix(tag.Name, "AWS") {
				got = append(got, tag.Name+"="+tag.Value)
			}
		}
		if text := strings.Join(got, " "); text != steps[i].want {
			t.Errorf("fragment %d: %q, want %q", i, text, steps[i].want)
		}
	}
}

// The eleventh item and names of the service are refused with the codes of the
// official headers; the stream goes on, and the ten arrive.
func TestMetadataLimits(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := newStream(t, d.client(), producer.StreamInfo{})
	put(t, s, 0, 10, 25)
	for _, name := range []string{"AWS", "AWS_KINESISVIDEO_X", "AWSOME"} {
		if err := s.PutMetadata(name, "x", true); !errors.Is(err, producer.Status(0x52000077)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.PutMetadata("aws", "lower case is the caller's", false); err != nil {
		t.Error(err)
	}
	for i := range 11 {
		err := s.PutMetadata(fmt.Sprintf("item%d", i), strings.Repeat("v", 256), i%2 == 0)
		if refused := errors.Is(err, producer.Status(0x52000074)); refused != (i >= 9) {
			t.Errorf("item %d: %v", i+2, err)
		}
	}
	put(t, s, 10, 30, 25)
	stop(t, s)
	all := d.fragments()
	if got := payloads(all); !slices.Equal(got, want(0, 40)) {
		t.Errorf("frames: %v", got)
	}
	count := func(f stored) (n int) {
		for _, tag := range f.tags {
			if strings.HasPrefix(tag.Name, "item") || tag.Name == "aws" {
				n++
			}
		}
		return n
	}
	if len(all) != 2 || count(all[0]) != 10 || count(all[1]) != 5 { // those that persist
		t.Errorf("%d fragments, %d and %d items", len(all), count(all[0]), count(all[1]))
	}
}
