package producer_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/producer"
)

// guideCodes are the ranges of the guide's tables ("Error Code Reference"): 208
// codes.
var guideCodes = [][2]producer.Status{
	{0x00000001, 0x00000010},                                                     // common
	{0x01000001, 0x01000014},                                                     // heap; the headers count it from 0x10000000
	{0x10100001, 0x10100001},                                                     // trace
	{0x30000001, 0x30000006},                                                     // view
	{0x32000001, 0x32000028},                                                     // Matroska
	{0x40000001, 0x4000000e},                                                     // state machine and utilities
	{0x52000001, 0x52000019}, {0x5200002a, 0x52000071}, {0x52000074, 0x52000081}, // client
}

// Every code of the guide has a name, a description and an action, and errors.Is
// finds it and no other.
func TestStatusTable(t *testing.T) {
	t.Parallel()
	seen := map[string]producer.Status{}
	complete := func(s producer.Status) {
		text, ok := s.Text()
		if !ok || !strings.HasPrefix(text.Name, "STATUS_") || text.Name != s.Name() || text.Description == "" || text.Action == "" {
			t.Errorf("0x%08x: %+v", uint32(s), text)
		}
	}
	all := producer.Statuses()
	for _, s := range all {
		complete(s)
		if other, ok := seen[s.Name()]; ok {
			t.Errorf("0x%08x and 0x%08x are both %s", uint32(s), uint32(other), s.Name())
		}
		seen[s.Name()] = s
		err := fmt.Errorf("a call: %w", &producer.Error{Status: s, Err: errors.New("why")})
		for _, other := range all {
			if errors.Is(err, other) != (s == other) {
				t.Errorf("an error of 0x%08x is 0x%08x: %v", uint32(s), uint32(other), s != other)
			}
		}
	}
	n := 0
	for _, r := range guideCodes {
		for s := r[0]; s <= r[1]; s++ {
			complete(s)
			if !errors.Is(&producer.Error{Status: s, Err: errors.New("why")}, s) {
				t.Errorf("errors.Is does not find 0x%08x", uint32(s))
			}
			n++
		}
	}
	if n != 208 {
		t.Errorf("%d codes; the guide has 208", n)
	}
	if heap := producer.Status(0x01000003); !errors.Is(heap, producer.StatusHeapCorrupted) || heap.Name() != "STATUS_HEAP_CORRUPTED" {
		t.Errorf("the guide's number of a code of the heap is %v", heap)
	}
	if producer.Status(0).Name() != "STATUS_SUCCESS" || producer.Status(0x52001234).Name() != "STATUS_0x52001234" {
		t.Error("names of success and of a code that nobody has given")
	}
}

// Never stands at exactly those codes that the package's own code does not use.
func TestStatusNever(t *testing.T) {
	t.Parallel()
	names := map[string]producer.Status{} // of the constants
	used := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") || path == "status_table.go" {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				return false // http.StatusNotFound is another
			case *ast.ValueSpec:
				if path == "status_codes.go" {
					v, err := strconv.ParseUint(n.Values[0].(*ast.BasicLit).Value, 0, 32)
					if err != nil {
						t.Fatal(err)
					}
					names[n.Names[0].Name] = producer.Status(v)
				}
			case *ast.Ident:
				used[n.Name] = used[n.Name] || path != "status_codes.go"
			}
			return true
		})
	}
	if len(names) != len(producer.Statuses()) {
		t.Errorf("%d constants, %d codes", len(names), len(producer.Statuses()))
	}
	for name, s := range names {
		if text, _ := s.Text(); text.Never == used[name] {
			t.Errorf("%s: Never is %v, used is %v", name, text.Never, used[name])
		}
	}
}

// What the service answers a call with is found by the official producer's codes
// for the call and for the answer.
func TestStatusOfCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path   string
		status int
		code   string
		want   []producer.Status
	}{
		"describe, throttled":      {"/describeStream", 400, "ClientLimitExceededException", []producer.Status{0x52000011, 0x52000033}},
		"describe, broken":         {"/describeStream", 500, "", []producer.Status{0x52000011, 0x52000031}},
		"describe, too late":       {"/describeStream", 504, "", []producer.Status{0x52000011, 0x52000037}},
		"create, bad argument":     {"/createStream", 400, "InvalidArgumentException", []producer.Status{0x52000019, 0x52000014}},
		"create, too many":         {"/createStream", 400, "AccountStreamLimitExceededException", []producer.Status{0x52000019, 0x52000035}},
		"create, too many devices": {"/createStream", 400, "DeviceStreamLimitExceededException", []producer.Status{0x52000019, 0x52000034}},
		"create, no such device":   {"/createStream", 400, "InvalidDeviceException", []producer.Status{0x52000019, 0x52000015}},
		"create, denied":           {"/createStream", 403, "AccessDeniedException", []producer.Status{0x52000019, 0x52000010}},
		"tag, denied":              {"/tagStream", 403, "AccessDeniedException", []producer.Status{0x5200003d, 0x52000010}},
		"endpoint, denied":         {"/getDataEndpoint", 403, "AccessDeniedException", []producer.Status{0x5200002b, 0x52000010}},
		"endpoint, broken":         {"/getDataEndpoint", 500, "", []producer.Status{0x5200002b, 0x52000031}},
		"put, denied":              {"/putMedia", 403, "AccessDeniedException", []producer.Status{0x5200002d, 0x52000010}},
		"put, not found":           {"/putMedia", 404, "ResourceNotFoundException", []producer.Status{0x5200002d, 0x52000017}},
		"put, in use":              {"/putMedia", 400, "ResourceInUseException", []producer.Status{0x5200002d, 0x52000032}},
		"put, bad argument":        {"/putMedia", 400, "InvalidArgumentException", []producer.Status{0x5200002d, 0x52000014}},
		"put, throttled":           {"/putMedia", 429, "", []producer.Status{0x5200002d, 0x52000033}},
		"put, no service":          {"/putMedia", 503, "", []producer.Status{0x5200002d, 0x52000031}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			d.onControl = func(w http.ResponseWriter, path string) bool {
				if path == c.path {
					refuse(w, c.status, c.code)
					return true
				}
				return false
			}
			d.onPut = func(w http.ResponseWriter, _ *http.Request, _ int) bool { return d.onControl(w, "/putMedia") }
			r := newRecorder()
			s := newStream(t, d.client(), producer.StreamInfo{OnEvent: r.handle, Tags: map[string]string{"a": "b"}})
			put(t, s, 0, 1, 25)
			e := await[producer.StreamError](t, r, nil)
			for _, want := range c.want {
				if !errors.Is(e.Err, want) {
					t.Errorf("%v is not %v", e.Err, want)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = s.Stop(ctx)
		})
	}
}

// Each error id has the code of its own that the official headers give it.
func TestStatusOfAck(t *testing.T) {
	t.Parallel()
	for code, want := range map[sluice.AckErrorCode]producer.Status{
		4000: 0x5200005c, 4001: 0x5200005d, 4002: 0x5200005e, 4003: 0x5200005f, 4004: 0x52000060, 4005: 0x52000061, 4006: 0x52000062,
		4007: 0x52000063, 4008: 0x52000064, 4009: 0x52000075, 4010: 0x5200007c, 4011: 0x5200007d, 4012: 0x5200007e,
		4500: 0x52000065, 4501: 0x52000066, 4502: 0x52000067, 4503: 0x52000068, 4504: 0x52000069, 4505: 0x5200006a, 4506: 0x5200006b,
		4507: 0x5200006c, 5000: 0x5200006d, 5001: 0x5200006e, 7000: 0x5200006f, 9999: 0x5200006f,
	} {
		if got := producer.StatusOfAck(code); got != want {
			t.Errorf("%d is 0x%08x, want 0x%08x", int(code), uint32(got), uint32(want))
		}
	}
}
