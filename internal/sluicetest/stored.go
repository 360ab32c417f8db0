package sluicetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// Stored reads back all fragments of a stream that are durable, in the order of
// their numbers.
func (s *Server) Stored(stream string) (all []*parser.Fragment) {
	s.t.Helper()
	ctx, client, ref := context.Background(), s.Client(), sluice.StreamRef{Name: stream}
	in := kvsapi.ListFragmentsInput{Stream: ref, From: time.Unix(0, 0), To: time.Now().Add(time.Hour)}
	var numbers []sluice.FragmentNumber
	for f, err := range parser.List(ctx, client, in) {
		if err != nil {
			s.t.Fatal(err)
		}
		numbers = append(numbers, f.Number)
	}
	slices.SortFunc(numbers, sluice.FragmentNumber.Compare)
	if len(numbers) == 0 {
		return nil
	}
	for f, err := range parser.FetchList(ctx, client, ref, numbers, parser.FetchOptions{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// At is a server that runs elsewhere: for its clients, and not to be stopped.
func At(t testing.TB, endpoint, region string, c aws.Credentials) *Server {
	return &Server{Endpoint: endpoint, Region: region, Credentials: c, t: t}
}

// Setenv sets this process's variables so that clients in it find the server.
func (s *Server) Setenv(t *testing.T) {
	for _, e := range s.Environ() {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
}

// Getenv looks a variable up in Environ.
func (s *Server) Getenv(name string) string {
	for _, e := range s.Environ() {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}
