package cli_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/mkv"
)

// mkvChunk is a chunk with two frames, as GetMedia sends it.
func mkvChunk(codec string, seq sluice.Sequence, ticks uint64) []byte {
	n := sluice.MakeFragmentNumber(seq, 1700000000123, 5)
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendTracks(b, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, Name: "cam\x1b[2J", CodecID: codec}})
	b = fragment.AppendLeadingTags(b, n, time.UnixMilli(1700000000123), time.UnixMilli(1700000000001))
	b = mkv.AppendCluster(b, ticks)
	b = mkv.AppendSimpleBlock(b, 0, &sluice.Frame{Track: 1, Key: true, Data: []byte("one")})
	b = mkv.AppendSimpleBlock(b, 33, &sluice.Frame{Track: 1, Data: []byte("three")})
	return fragment.AppendTrailingTags(b, time.Second, n)
}

func mkvFile(t *testing.T, parts ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.mkv")
	if err := os.WriteFile(path, bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMKVDump(t *testing.T) {
	t.Parallel()
	path := mkvFile(t, mkvChunk("V_TEST", 1, 100))
	r := run(t, nil, "mkv", "dump", path)
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{
		"         0         35  EBML\n", "         5          1    EBMLVersion  1\n", "unknown  Segment\n",
		`CodecID  "V_TEST"`, `Name  "cam\x1b[2J"`, "Timestamp  100\n", "SimpleBlock  track 1, 100ms, key\n", "SimpleBlock  track 1, 133ms\n",
		`TagString  "1700000000.123"`,
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	r = run(t, nil, "mkv", "dump", path, "--json")
	first, _, _ := strings.Cut(r.out, "\n")
	if first != `{"offset":0,"header":5,"size":35,"level":0,"id":"0x1A45DFA3","name":"EBML"}` || !strings.Contains(r.out, `"size":null`) {
		t.Errorf("--json: %s", r.out)
	}
	r = run(t, nil, "mkv", "dump", path, "--frames")
	if !strings.HasPrefix(r.out, "fragment 9134385233318143239") || !strings.Contains(r.out, "0.133000 s         5 bytes\n") || strings.Count(r.out, "key") != 1 {
		t.Errorf("--frames: %s", r.out)
	}
}

func TestMKVDumpFramesJSON(t *testing.T) {
	t.Parallel()
	r := run(t, nil, "mkv", "dump", mkvFile(t, mkvChunk("V", 1, 100), mkvChunk("V", 2, 200)), "--frames", "--json")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.code != 0 || len(lines) != 4 {
		t.Fatalf("%+v", r)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[3]), &got); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("three"))
	for name, want := range map[string]any{
		"track": 1.0, "pts_ns": 233e6, "key": false, "size": 5.0, "sha256": hex.EncodeToString(sum[:]),
		"fragment_number": sluice.MakeFragmentNumber(2, 1700000000123, 5).String(), "server_timestamp": "2023-11-14T22:13:20.123Z", "producer_timestamp": "2023-11-14T22:13:20.001Z",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	// A file that no service has tagged has no such names.
	plain := mkv.AppendSimpleBlock(mkv.AppendCluster(mkv.AppendSegment(mkv.AppendHeader(nil)), 0), 0, &sluice.Frame{Track: 1})
	if r := run(t, nil, "mkv", "dump", mkvFile(t, plain), "--frames", "--json"); r.code != 0 || strings.Contains(r.out, "fragment") || strings.Contains(r.out, "timestamp") {
		t.Errorf("%+v", r)
	}
}

func TestMKVDumpOfWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	b := mkvChunk("V", 1, 0)
	if r := run(t, nil, "mkv", "dump", mkvFile(t, b[:len(b)-1])); r.code != cli.ExitIncomplete || !strings.Contains(r.out, "SimpleBlock") || !strings.Contains(r.errors, "end inside an element") {
		t.Errorf("cut: %+v", r)
	}
	if r := run(t, nil, "mkv", "dump", mkvFile(t, []byte("hello"))); r.code != cli.ExitFailure || !strings.Contains(r.errors, "EBML header") {
		t.Errorf("text: %+v", r)
	}
	if r := run(t, nil, "mkv", "dump"); r.code != cli.ExitUsage {
		t.Errorf("no file: %+v", r)
	}
}

func TestMKVMerge(t *testing.T) {
	t.Parallel()
	a, b := mkvFile(t, mkvChunk("V", 1, 0), mkvChunk("V", 2, 100)), mkvFile(t, mkvChunk("V", 3, 100), mkvChunk("W", 4, 200))
	out := filepath.Join(t.TempDir(), "out.mkv")
	r := run(t, nil, "mkv", "merge", a, b, "-o", out)
	want := "segment 2 begins: the timecode goes back\nsegment 3 begins: the tracks differ\n4 clusters, 8 blocks, 3 segments\n"
	if r.code != 0 || r.errors != want {
		t.Errorf("%+v", r)
	}
	if r := run(t, nil, "mkv", "dump", out, "--frames", "--json"); strings.Count(r.out, "\n") != 8 {
		t.Errorf("merged: %+v", r)
	}
	if r := run(t, nil, "mkv", "merge", a, b, "-o", out, "--split", "--clusters-only"); r.code != 0 {
		t.Errorf("--split: %+v", r)
	}
	for name, frames := range map[string]int{"out.mkv": 4, "out-2.mkv": 2, "out-3.mkv": 2} {
		r := run(t, nil, "mkv", "dump", filepath.Join(filepath.Dir(out), name), "--frames", "--json")
		if r.code != 0 || strings.Count(r.out, "\n") != frames || strings.Contains(r.out, "fragment_number") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := run(t, nil, "mkv", "merge", a, b, "-o", "-", "--stop"); r.code != 0 || !strings.HasSuffix(r.errors, "2 clusters, 4 blocks, 1 segments\n") || len(r.out) < 500 {
		t.Errorf("--stop: %s", r.errors)
	}
	for _, args := range []string{"mkv merge " + a, "mkv merge -o " + out, "mkv merge " + a + " -o - --split", "mkv merge " + a + " -o x --split --stop"} {
		if r := run(t, nil, strings.Fields(args)...); r.code != cli.ExitUsage {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
