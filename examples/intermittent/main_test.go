package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// environ points the example at a server of its own.
func environ(t *testing.T) *sluicetest.Server {
	srv := sluicetest.Start(t)
	for _, e := range srv.Environ() {
		k, v, _ := strings.Cut(e, "=")
		t.Setenv(k, v)
	}
	return srv
}

// stored are the fragments of a stream, in the order of their numbers.
func stored(t *testing.T, srv *sluicetest.Server, stream string) (all []*parser.Fragment) {
	client, ref := srv.Client(), sluice.StreamRef{Name: stream}
	in := kvsapi.ListFragmentsInput{Stream: ref, From: time.Unix(0, 0), To: time.Now().Add(time.Hour)}
	var numbers []sluice.FragmentNumber
	for f, err := range parser.List(t.Context(), client, in) {
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, f.Number)
	}
	for f, err := range parser.FetchList(t.Context(), client, ref, numbers, parser.FetchOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

func Test(t *testing.T) {
	srv := environ(t)
	if err := run(t.Context(), "cam", 2, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if n := len(stored(t, srv, "cam")); n != 6 {
		t.Errorf("%d fragments, want 3 for each event", n)
	}
}
