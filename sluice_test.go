package sluice_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
)

// Numbers that the real service gave out, with what is inside them.
var numberCases = []struct {
	wire     string
	seq      sluice.Sequence
	serverMs uint64
	low      uint32
}{
	{"91343852333181432392682062607743920146159169392", 1, 1511852109126, 0xfeeef70},
	{"22835963083295358096932575511191922182123945984", 0, 0, 0}, // 2^154: below the first number
}

func TestFragmentNumber(t *testing.T) {
	c := numberCases[0]
	n, err := sluice.ParseFragmentNumber(c.wire)
	if err != nil {
		t.Fatal(err)
	}
	if n.Sequence() != c.seq || n.ServerTimestamp() != c.serverMs || n.Low() != c.low {
		t.Errorf("got %d %d %x", n.Sequence(), n.ServerTimestamp(), n.Low())
	}
	if m := sluice.MakeFragmentNumber(c.seq, c.serverMs, c.low); m != n || m.String() != c.wire {
		t.Errorf("made %v, want %v", m, c.wire)
	}
	if got := n.Big().String(); got != c.wire {
		t.Errorf("big %s", got)
	}
}

func TestFragmentNumberPositions(t *testing.T) {
	if n, err := sluice.ParseFragmentNumber(strings.Repeat("9", 128)); err != nil || n != sluice.MaxFragmentNumber {
		t.Errorf("128 nines: %v %v", n, err)
	}
	for _, bad := range []string{"", "-1", "12a", strings.Repeat("1", 129), "+1", " 1"} {
		if _, err := sluice.ParseFragmentNumber(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	last := sluice.FragmentNumber{}
	for seq := range sluice.Sequence(1000) {
		n := sluice.MakeFragmentNumber(seq<<40|seq, 1<<41-uint64(seq), uint32(seq*977))
		if n.Compare(last) <= 0 || len(n.String()) != 47 || (seq > 0 && n.String() <= last.String()) {
			t.Fatalf("%v does not follow %v", n, last)
		}
		last = n
	}
}

func FuzzFragmentNumber(f *testing.F) {
	for _, c := range numberCases {
		f.Add(c.wire)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := sluice.ParseFragmentNumber(s)
		if err != nil {
			return
		}
		want, _ := new(big.Int).SetString(s, 10)
		if want.BitLen() > 160 {
			want = sluice.MaxFragmentNumber.Big()
		}
		if n.Big().Cmp(want) != 0 {
			t.Fatalf("%q became %v", s, n)
		}
		m, err := sluice.ParseFragmentNumber(n.String())
		if err != nil || m != n {
			t.Fatalf("%v does not come back: %v %v", n, m, err)
		}
	})
}

// The lines of a log of the real service.
var ackCases = []struct {
	wire string
	ack  sluice.Ack
}{
	{`{"EventType":"BUFFERING","FragmentTimecode":1600994737365,"FragmentNumber":"91343852333201125542827014461086117693478321416"}`,
		sluice.Ack{Event: sluice.AckBuffering, Timecode: 1600994737365, HasTimecode: true, Number: number("91343852333201125542827014461086117693478321416")}},
	{`{"EventType":"ERROR","FragmentTimecode":152148,"FragmentNumber":"91343852333182893241156581884186734236759267828","ErrorCode":"MAX_FRAGMENT_DURATION_REACHED","ErrorId":4002}`,
		sluice.Ack{Event: sluice.AckError, Timecode: 152148, HasTimecode: true, Number: number("91343852333182893241156581884186734236759267828"), Code: sluice.MaxFragmentDurationReached}},
	{`{"EventType":"ERROR","ErrorCode":"INVALID_MKV_DATA","ErrorId":4006}`, sluice.Ack{Event: sluice.AckError, Code: sluice.InvalidMKVData}},
	{`{"EventType":"IDLE"}`, sluice.Ack{Event: sluice.AckIdle}},
	{`{"EventType":"PERSISTED","FragmentTimecode":0}`, sluice.Ack{Event: sluice.AckPersisted, HasTimecode: true}},
}

func number(s string) sluice.FragmentNumber {
	n, err := sluice.ParseFragmentNumber(s)
	if err != nil {
		panic(err)
	}
	return n
}

func TestAck(t *testing.T) {
	for _, c := range ackCases {
		if got := c.ack.String(); got != c.wire {
			t.Errorf("wrote %s, want %s", got, c.wire)
		}
		if got, err := sluice.ParseAck([]byte(c.wire)); err != nil || got != c.ack {
			t.Errorf("read %+v %v, want %+v", got, err, c.ack)
		}
	}
}

func FuzzAck(f *testing.F) {
	for _, c := range ackCases {
		f.Add([]byte(c.wire))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := sluice.ParseAck(line)
		if err != nil {
			return
		}
		if a.Event != sluice.AckError {
			a.Code = 0
		}
		if b, err := sluice.ParseAck(a.Append(nil)); err != nil || b != a {
			t.Fatalf("lost meaning: %q -> %+v %v", line, b, err)
		}
	})
}

func TestARN(t *testing.T) {
	const s = "arn:aws:kinesisvideo:us-west-2:000000000000:stream/cam_1.a-b/1511852109126"
	a, err := sluice.ParseARN(s)
	if err != nil || a.String() != s || a.Name != "cam_1.a-b" || a.Created != 1511852109126 {
		t.Errorf("%+v %v", a, err)
	}
	for _, bad := range []string{"", "arn:aws:s3:::b", "arn:aws:kinesisvideo:r:a:stream/x", "arn:aws:kinesisvideo:r:a:stream/a/b/1", "arn:aws:kinesisvideo:r:a:stream/a b/1", strings.Repeat("a", 2000)} {
		if _, err := sluice.ParseARN(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
