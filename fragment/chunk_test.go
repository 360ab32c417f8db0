package fragment_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/mkv"
)

// read is the chunks of in, with the frames of each, fed in pieces.
func read(in []byte, step int) (chunks []*fragment.Chunk, frames map[*fragment.Chunk][]sluice.Frame, err error) {
	frames = map[*fragment.Chunk][]sluice.Frame{}
	r := fragment.NewChunkReader(mkv.Options{})
	for {
		var ev *mkv.Event
		ev, err = r.Next()
		switch {
		case errors.Is(err, fragment.ErrMore) && len(in) > 0:
			n := min(step, len(in))
			r.Feed(in[:n])
			in = in[n:]
			continue
		case errors.Is(err, fragment.ErrMore):
			r.Close()
			continue
		case errors.Is(err, io.EOF):
			return chunks, frames, nil
		case err != nil:
			return chunks, frames, err
		}
		c := r.Chunk()
		if len(chunks) == 0 || chunks[len(chunks)-1] != c {
			chunks = append(chunks, c)
		}
		for _, f := range ev.Frames {
			f.Data = bytes.Clone(f.Data)
			frames[c] = append(frames[c], f.Frame)
		}
	}
}

func number(s string) sluice.FragmentNumber {
	n, err := sluice.ParseFragmentNumber(s)
	if err != nil {
		panic(err)
	}
	return n
}

// What stands in the recordings of GetMedia, looked up in their bytes.
var chunkCases = []struct {
	file, number, server, producer string
	behind                         int64
	sequence                       sluice.Sequence
	timecode                       int64
	frames                         int
}{
	{"empty-mkv-with-tags.mkv", "91343852338378294813695855977007281634605393997", "1516124526.822", "1515865326.543", -1, 1049498009, 0, 0},
	{"output-get-media-equal-timecode.mkv", "91343852338381417542203754135250098963782391502", "1519074132.668", "1518814932.515", 909335, 1050128639, 0, 120},
	{"output-get-media-equal-timecode.mkv", "91343852338381422498915671433912930725530893291", "1519074918.949", "1518815718.647", -1, 1050129640, 0, 119},
	{"output_get_media.mkv", "91343852333181432392682062607743920146159169392", "1511852109.126", "1511852108.513", 15858, 1, 0, 60},
	{"output_get_media.mkv", "91343852333181432397633822764885441725874549018", "1511852110.915", "1511852110.513", 14155, 2, 2000, 60},
	{"output_get_media.mkv", "91343852333181432402585582922026963247510532162", "1511852112.487", "1511852112.513", 12940, 3, 4000, 60},
	{"output_get_media.mkv", "91343852333181432407537343079168484595829378270", "1511852113.414", "1511852114.513", 12414, 4, 6000, 60},
	{"output_get_media.mkv", "91343852333181432412489103236310005892133364608", "1511852114.147", "1511852116.513", 12093, 5, 8000, 60},
	{"output_get_media_sparse_fragments.mkv", "91343852333181432392682062607743920146159169392", "1511852109.126", "1511852108.513", 15858, 1, 0, 60},
	{"output_get_media_sparse_fragments.mkv", "91343852333181432402585582922026963247510532162", "1511852112.487", "1511852112.513", 12940, 3, 4000, 60},
	{"output_get_media_sparse_fragments.mkv", "91343852333181432412489103236310005892133364608", "1511852114.147", "1511852116.513", 12093, 5, 8000, 60},
	{"test_mixed_tags.mkv", "91343852333713038908964877623801423530396737899", "1537574915.281", "0.000", 910, 107357082, 0, 10},
	{"test_mixed_tags.mkv", "91343852333713038913916637780942944683031040297", "1537574915.478", "5.000", 723, 107357083, 5000, 10},
	{"test_mixed_tags.mkv", "91343852333713038918868397938084465802887066670", "1537574915.554", "10.000", 658, 107357084, 10000, 10},
	{"test_mixed_tags.mkv", "91343852333713038923820158095225986915711326403", "1537574915.603", "15.000", 633, 107357085, 15000, 10},
	{"test_mixed_tags.mkv", "91343852333713038928771918252367508026640589178", "1537574915.645", "20.000", 609, 107357086, 20000, 10},
	{"test_mixed_tags.mkv", "91343852333713038933723678409509029132346185461", "1537574915.668", "25.000", 602, 107357087, 25000, 10},
	{"test_mixed_tags.mkv", "91343852333713038938675438566650550295562402559", "1537574915.905", "30.000", 377, 107357088, 30000, 10},
	{"test_mixed_tags.mkv", "91343852333713038943627198723792071401813780459", "1537574915.930", "35.000", 395, 107357089, 35000, 10},
	{"test_mixed_tags.mkv", "91343852333713038948578958880933592508004495778", "1537574915.955", "40.000", 385, 107357090, 40000, 10},
	{"test_mixed_tags.mkv", "91343852333713038953530719038075113645398559869", "1537574916.095", "45.000", 274, 107357091, 45000, 10},
}

func TestChunksOfRecordings(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	cache := map[string][]*fragment.Chunk{}
	frames := map[*fragment.Chunk][]sluice.Frame{}
	for _, c := range chunkCases {
		chunks, ok := cache[c.file]
		if !ok {
			in := mediatest.File(t, "getmedia-captures/"+c.file)
			var err error
			var f map[*fragment.Chunk][]sluice.Frame
			chunks, f, err = read(in, 4096)
			cut := c.file == "output-get-media-equal-timecode.mkv"
			if cut != errors.Is(err, mkv.ErrTruncated) || !cut && err != nil {
				t.Fatalf("%s: %v", c.file, err)
			}
			for k, v := range f {
				frames[k] = v
			}
			cache[c.file] = chunks
		}
		i := seen[c.file]
		seen[c.file]++
		if i >= len(chunks) {
			t.Fatalf("%s: %d chunks", c.file, len(chunks))
		}
		got := chunks[i]
		complete := c.behind >= 0
		if got.Number != number(c.number) || got.Number.Sequence() != c.sequence || got.Index != i ||
			got.Timecode != c.timecode || len(frames[got]) != c.frames || got.Complete != complete || got.Err != nil {
			t.Errorf("%s chunk %d: %+v with %d frames", c.file, i, got, len(frames[got]))
		}
		if s := seconds(got.Server); s != c.server || got.Server.UnixMilli() != int64(got.Number.ServerTimestamp()) {
			t.Errorf("%s chunk %d: server timestamp %s", c.file, i, s)
		}
		if s := seconds(got.Producer); s != c.producer {
			t.Errorf("%s chunk %d: producer timestamp %s", c.file, i, s)
		}
		if complete && (got.Behind != time.Duration(c.behind)*time.Millisecond || got.Token != got.Number) {
			t.Errorf("%s chunk %d: behind %v, token %v", c.file, i, got.Behind, got.Token)
		}
	}
	for file, n := range seen {
		if n != len(cache[file]) {
			t.Errorf("%s has %d chunks, the table %d", file, len(cache[file]), n)
		}
	}
}

func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

// The service's tags are written as the service wrote them.
func TestTagsAreTheServices(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"output_get_media.mkv", "test_mixed_tags.mkv", "output_get_media_sparse_fragments.mkv"} {
		in := mediatest.File(t, "getmedia-captures/"+name)
		chunks, _, err := read(in, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range chunks {
			end := int64(len(in))
			if i+1 < len(chunks) {
				end = chunks[i+1].Offset
			}
			whole := in[c.Offset:end]
			lead := fragment.AppendLeadingTags(nil, c.Number, c.Server, c.Producer)
			if bytes.Count(whole, lead) != 1 {
				t.Errorf("%s chunk %d: our leading tags are not in it", name, i)
			}
			if trail := fragment.AppendTrailingTags(nil, c.Behind, c.Token); !bytes.HasSuffix(whole, trail) {
				t.Errorf("%s chunk %d: it does not end with our trailing tags", name, i)
			}
			if c.Server.Unix() >= 1e9 && c.Producer.Unix() >= 1e9 && len(lead) != 243 {
				t.Errorf("leading tags have %d bytes", len(lead))
			}
		}
	}
}

func TestProducerTagsOfChunks(t *testing.T) {
	t.Parallel()
	chunks, _, err := read(mediatest.File(t, "getmedia-captures/test_mixed_tags.mkv"), 100)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range chunks {
		var want []sluice.Tag
		for range 1 + btoi(i == 0) { // the first fragment's stand before Info too
			for n := range 5 {
				want = append(want, sluice.Tag{Name: fmt.Sprintf("testTag_%d", n), Value: fmt.Sprintf("testTag_%d_Value", n)})
			}
		}
		if !reflect.DeepEqual(c.Tags, want) {
			t.Errorf("chunk %d: %v", i, c.Tags)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Each recording of PutMedia becomes chunks, and the chunks the same frames.
func TestChunksOfPutMedia(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"video-h264-01", "av-h264-aac-01", "video-h264-relative-01"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := mediatest.File(t, "putmedia-captures/"+name+".body.mkv")
			var want []sluice.Frame
			_, direct, err := read(body, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range direct {
				want = f
			}
			s := run(body, 9999, true, fragment.Options{})
			var out []byte
			now := time.UnixMilli(1700000000123)
			for i, p := range s.parts {
				lead := s.header.Rest
				if i == 0 {
					lead = s.header.First
				}
				n := sluice.MakeFragmentNumber(sluice.Sequence(i+1), uint64(now.UnixMilli()), 7)
				out = append(append(out, lead...), p.lead...)
				out = fragment.AppendLeadingTags(out, n, now, time.UnixMilli(p.ticks))
				out = append(out, p.bytes...)
				out = fragment.AppendTrailingTags(out, time.Duration(i)*time.Millisecond, n)
			}
			chunks, frames, err := read(out, 777)
			if err != nil || len(chunks) != len(s.parts) {
				t.Fatalf("%d chunks of %d fragments: %v", len(chunks), len(s.parts), err)
			}
			var got []sluice.Frame
			for i, c := range chunks {
				got = append(got, frames[c]...)
				if !c.Complete || c.Number.Sequence() != sluice.Sequence(i+1) || c.Producer.UnixMilli() != s.parts[i].ticks || len(frames[c]) != len(s.parts[i].frames) {
					t.Errorf("chunk %d: %+v", i, c)
				}
				for j, f := range frames[c] {
					e := s.parts[i].frames[j]
					if want := e.Frame(s.parts[i].bytes[e.Offset:][:e.Size]); !reflect.DeepEqual(f, want) {
						t.Fatalf("chunk %d frame %d differs from its entry", i, j)
					}
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Error("the chunks have other frames")
			}
		})
	}
}

func TestErrorChunks(t *testing.T) {
	t.Parallel()
	n := number("91343852333181432392682062607743920146159169392")
	in := fragment.AppendErrorTags(nil, n, sluice.StreamReadError)
	in = fragment.AppendListErrorTags(in, n, sluice.KMSKeyAccessDenied, sluice.AccessDenied, "no")
	in = fragment.AppendErrorTags(in, sluice.FragmentNumber{}, sluice.InternalError)
	chunks, _, err := read(in, 5)
	if err != nil || len(chunks) != 3 {
		t.Fatalf("%d chunks: %v", len(chunks), err)
	}
	for i, want := range []fragment.ChunkError{
		{Number: n, ID: 4000, Code: "STREAM_READ_ERROR"},
		{Number: n, ID: 4500, Code: "KMS_KEY_ACCESS_DENIED", Exception: sluice.AccessDenied, Message: "no"},
		{ID: 5000, Code: "INTERNAL_ERROR"},
	} {
		if got := chunks[i].Err; got == nil || *got != want || !chunks[i].Server.IsZero() {
			t.Errorf("chunk %d: %+v, want %+v", i, got, want)
		}
	}
}

func TestChunkTimesThatMeanNothing(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"", "x", "1.-23", "1.x", "99999999999999999999", "9999999999999999"} {
		in := mkv.AppendTags(mkv.AppendSegment(mkv.AppendHeader(nil)), sluice.Tag{Name: fragment.TagServerTimestamp, Value: v})
		if _, _, err := read(in, 1000); !errors.Is(err, fragment.ErrMetadata) {
			t.Errorf("%q: %v", v, err)
		}
	}
	for v, ms := range map[string]int64{"0.000": 0, "45.000": 45000, "1511852109.126": 1511852109126, "7": 7000, "7.5": 7500, "7.1239": 7123, "-1.500": -1500} {
		in := mkv.AppendTags(mkv.AppendSegment(mkv.AppendHeader(nil)), sluice.Tag{Name: fragment.TagServerTimestamp, Value: v})
		if c, _, err := read(in, 1000); err != nil || c[0].Server.UnixMilli() != ms {
			t.Errorf("%q: %v, %v", v, c[0].Server, err)
		}
	}
}
