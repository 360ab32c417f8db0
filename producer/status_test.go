package producer_test

import (
	"errors"
	"fmt"
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
