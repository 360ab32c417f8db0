package parser_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// service is a stream of numbered fragments behind connections that break off.
type service struct {
	mu    sync.Mutex
	first int                                        // the oldest fragment, for EARLIEST
	cut   func(call int, out []byte) ([]byte, error) // what of an answer arrives, and how it ends
	calls []sluice.StartSelector
	last  int // fragments of one answer

	batches  [][]int
	inFlight int
	most     int
}

var errBreaks = errors.New("connection reset by peer")

type body struct {
	io.Reader
	closed func()
}

func (b body) Close() error { b.closed(); return nil }

func answer(b []byte, err error) *kvsapi.Media {
	r := io.Reader(bytes.NewReader(b))
	if err != nil {
		r = io.MultiReader(r, errReader{err})
	}
	return &kvsapi.Media{ReadCloser: body{r, func() {}}, RequestID: "r"}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func (s *service) GetMedia(ctx context.Context, _ sluice.StreamRef, from sluice.StartSelector) (*kvsapi.Media, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	call := len(s.calls)
	s.calls = append(s.calls, from)
	start := s.first
	switch from.Type {
	case sluice.SelectFragmentNumber:
		start = int(from.After.Sequence()) + 1
	case sluice.SelectServerTimestamp:
		start = int(from.Time.Sub(epoch) / time.Millisecond)
	case sluice.SelectNow:
		start = s.first + 10*call // now moves on
	}
	var out []byte
	for n := range s.last {
		out = append(out, chunk(start+n, uint64(start+n), "frame", "other")...)
	}
	b, err := s.cut(call, out)
	if err != nil && b == nil {
		return nil, err
	}
	return answer(b, err), nil
}

func TestFollowerLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			s := &service{first: 5, last: 7, cut: func(_ int, out []byte) ([]byte, error) {
				switch rnd.IntN(5) {
				case 0:
					return out, nil // ends properly
				case 1:
					return nil, errBreaks // no answer at all
				case 2:
					return nil, &kvsapi.APIError{Code: sluice.ConnectionLimitExceeded, Status: 400}
				case 3: // the same once more, as after a server's restart
					return append(chunk(5, 5, "frame", "other"), out[:rnd.IntN(len(out))]...), errBreaks
				}
				return out[:rnd.IntN(len(out))], errBreaks
			}}
			f := &parser.Follower{Client: s, Stream: sluice.StreamRef{Name: "cam"}, From: sluice.StartSelector{Type: sluice.SelectEarliest}}
			next := 5
			for frag, err := range f.Fragments(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if int(frag.Number.Sequence()) != next || len(frag.Frames) != 2 || string(frag.Frames[0].Data) != "frame" {
					t.Fatalf("seed %d: fragment %d, want %d", seed, frag.Number.Sequence(), next)
				}
				if next++; next == 200 {
					break
				}
			}
		})
	}
}

// A follower that began with NOW goes on from the fragment that it saw begin.
func TestFollowerFromNowGoesOnWhereItBegan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{first: 40, last: 2, cut: func(call int, out []byte) ([]byte, error) {
			if call == 0 {
				return out[:len(out)*35/100], errBreaks
			}
			return out, nil
		}}
		f := &parser.Follower{Client: s}
		for frag, err := range f.Fragments(t.Context()) {
			if err != nil || frag.Number.Sequence() != 40 {
				t.Fatalf("%d, %v", frag.Number.Sequence(), err)
			}
			break
		}
		if s.calls[0].Type != sluice.SelectNow || s.calls[1].Type != sluice.SelectServerTimestamp {
			t.Errorf("%+v", s.calls)
		}
	})
}

func TestFollowerLeavesOutWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{cut: func(call int, _ []byte) ([]byte, error) {
			return append(openChunk("V", 1, 1, "half"), chunk(2, 2, "whole")...), nil
		}}
		for frag, err := range (&parser.Follower{Client: s}).Fragments(t.Context()) {
			if err != nil || frag.Number.Sequence() != 2 {
				t.Fatalf("%+v, %v", frag, err)
			}
			break
		}
	})
}

func TestFollowerStops(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		body []byte
		want func(error) bool
	}{
		{"no such stream", &kvsapi.APIError{Operation: "GetMedia", Code: sluice.ResourceNotFound, Status: http.StatusNotFound}, nil,
			func(err error) bool { return sluice.Code("ResourceNotFoundException") == codeOf(err) }},
		{"an error in the stream", nil, fragment.AppendErrorTags(nil, numberOf(1), sluice.KMSKeyAccessDenied),
			func(err error) bool {
				var e *fragment.ChunkError
				return errors.As(err, &e) && e.ID == sluice.KMSKeyAccessDenied
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &service{cut: func(int, []byte) ([]byte, error) { return c.body, c.err }}
				for _, err := range (&parser.Follower{Client: s}).Fragments(t.Context()) {
					if err == nil || !c.want(err) {
						t.Error(err)
					}
				}
				if len(s.calls) != 1 {
					t.Errorf("%d calls", len(s.calls))
				}
			})
		})
	}
	t.Run("its context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			s := &service{cut: func(int, []byte) ([]byte, error) { return nil, errBreaks }}
			for _, err := range (&parser.Follower{Client: s}).Fragments(ctx) {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
			// 0.5 s, doubled up to 30 s, for 10 minutes.
			if n := len(s.calls); n < 20 || n > 50 {
				t.Errorf("%d calls in 10 minutes", n)
			}
		})
	})
}

func codeOf(err error) sluice.Code {
	var e *kvsapi.APIError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func (s *service) ListFragments(_ context.Context, in *kvsapi.ListFragmentsInput) ([]kvsapi.FragmentInfo, string, error) {
	tokens := []string{"", "a", "b"}
	i := slices.Index(tokens, in.NextToken)
	if i < 0 || in.Stream.Name != "cam" {
		return nil, "", errors.New("wrong call")
	}
	page := []kvsapi.FragmentInfo{{Number: numberOf(2*i + 1)}, {Number: numberOf(2*i + 2)}}
	if i == 2 {
		return page[:1], "", nil
	}
	return page, tokens[i+1], nil
}

func TestList(t *testing.T) {
	t.Parallel()
	var got []int
	for f, err := range parser.List(t.Context(), &service{}, kvsapi.ListFragmentsInput{Stream: sluice.StreamRef{Name: "cam"}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, int(f.Number.Sequence()))
	}
	if !reflect.DeepEqual(got, []int{1, 2, 3, 4, 5}) {
		t.Error(got)
	}
	for _, err := range parser.List(t.Context(), &service{}, kvsapi.ListFragmentsInput{}) {
		if err == nil {
			t.Error("no error")
		}
	}
}

func (s *service) GetMediaForFragmentList(ctx context.Context, _ sluice.StreamRef, numbers []sluice.FragmentNumber) (*kvsapi.Media, error) {
	var seqs []int
	var out []byte
	for _, n := range numbers {
		seqs = append(seqs, int(n.Sequence()))
		if n.Sequence() == 13 { // not there: the answer ends with it
			out = fragment.AppendListErrorTags(out, n, sluice.StreamReadError, sluice.ResourceNotFound, "gone")
			break
		}
		out = append(out, openChunk("V", int(n.Sequence()), n.ServerTimestamp(), "x")...)
	}
	s.mu.Lock()
	call := len(s.batches)
	s.batches = append(s.batches, seqs)
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	s.mu.Unlock()
	// Later batches answer sooner.
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Duration(1000-int(numbers[0].Sequence())) * time.Millisecond):
	}
	b, err := s.cut(call, out)
	s.mu.Lock()
	s.inFlight--
	s.mu.Unlock()
	if err != nil && b == nil {
		return nil, err
	}
	return answer(b, err), nil
}

func TestFetchListKeepsTheOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{cut: func(call int, out []byte) ([]byte, error) {
			switch call % 4 {
			case 1:
				return nil, errBreaks
			case 2:
				return out[:len(out)*2/3], errBreaks
			}
			return out, nil
		}}
		var want []sluice.FragmentNumber
		for i := range 100 {
			want = append(want, numberOf((i*37)%100+1))
		}
		i := 0
		for f, err := range parser.FetchList(t.Context(), s, sluice.StreamRef{}, want, parser.FetchOptions{Batch: 7, Parallel: 3, Attempts: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Number != want[i] || (f.Err != nil) != (f.Number.Sequence() == 13) || f.Err == nil && string(f.Frames[0].Data) != "x" {
				t.Fatalf("%d: %+v", i, f.Chunk)
			}
			i++
		}
		if i != 100 || s.most != 3 {
			t.Errorf("%d fragments, %d calls at once", i, s.most)
		}
	})
}

func TestFetchListGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{cut: func(call int, out []byte) ([]byte, error) { return []byte{}, nil }}
		n := 0
		for _, err := range parser.FetchList(t.Context(), s, sluice.StreamRef{}, []sluice.FragmentNumber{numberOf(1)}, parser.FetchOptions{}) {
			if !errors.Is(err, parser.ErrMissing) {
				t.Error(err)
			}
			n++
		}
		if n != 1 || len(s.batches) != 3 {
			t.Errorf("%d results after %d calls", n, len(s.batches))
		}
	})
	synctest.Test(t, func(t *testing.T) { // who has enough leaves no goroutine behind
		s := &service{cut: func(call int, out []byte) ([]byte, error) { return out, nil }}
		for f, err := range parser.FetchList(t.Context(), s, sluice.StreamRef{}, []sluice.FragmentNumber{numberOf(1), numberOf(2), numberOf(3)}, parser.FetchOptions{Batch: 1}) {
			if err != nil || f.Number != numberOf(1) {
				t.Fatal(err)
			}
			break
		}
	})
}
