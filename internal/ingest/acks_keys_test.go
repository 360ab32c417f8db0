package ingest_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

// call makes a JSON call over the wire.
func (s *server) call(path, body string) (int, []byte) {
	s.T.Helper()
	r, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return resp.StatusCode, b
}

// catalogDo runs a statement on the catalog behind the server's back, as a damage
// or a fault of the database would show.
func (s *server) catalogDo(statement string) {
	s.T.Helper()
	d, err := db.Open(s.T.Context(), db.Options{Path: filepath.Join(s.Dir, "catalog.db")})
	if err != nil {
		s.T.Fatal(err)
	}
	defer d.Close()
	if err := d.Update(s.T.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(s.T.Context(), statement)
		return err
	}); err != nil {
		s.T.Fatal(err)
	}
}

// key makes a key and gives its ARN.
func (s *server) key() string {
	s.T.Helper()
	k, err := s.Keyring.Create(s.T.Context(), "", "alias/mine")
	if err != nil {
		s.T.Fatal(err)
	}
	return k.ARN
}

func (s *server) must(_ any, err error) {
	s.T.Helper()
	if err != nil {
		s.T.Fatal(err)
	}
}

// TestAcknowledgementsOfKeys: every trouble with a stream's key, at the beginning of
// a session and, where a key can get into it later, in the middle of one; and what
// readers are told meanwhile and find when it is over.
func TestAcknowledgementsOfKeys(t *testing.T) {
	t.Parallel()
	const noDefault = `CREATE TRIGGER full BEFORE INSERT ON kms_keys BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END`
	cases := []struct {
		name string
		code sluice.AckErrorCode
		key  func(*server) string  // what CreateStream is given
		lose func(*server, string) // what happens to it during the session; nil: it is of no use from the first
		wait time.Duration         // what passes after that session before others come
		next sluice.AckErrorCode   // what those are told, when it is another
		heal func(*server, string) // nil: nothing does
	}{
		{
			name: "4500, a key of another account", code: sluice.KMSKeyAccessDenied,
			key: func(*server) string {
				return "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
			},
		},
		{
			name: "4501, disabled", code: sluice.KMSKeyDisabled,
			key:  (*server).key,
			lose: func(s *server, key string) { s.must(s.Keyring.Disable(s.T.Context(), key)) },
			heal: func(s *server, key string) { s.must(s.Keyring.Enable(s.T.Context(), key)) },
		},
		{
			name: "4502, an ARN of no key", code: sluice.KMSKeyValidationError,
			key: func(*server) string { return "arn:aws:kms:us-west-2:000000000000:grant/mine" },
		},
		{
			name: "4502, an ARN of another service", code: sluice.KMSKeyValidationError,
			key: func(*server) string { return "arn:aws:s3:us-west-2:000000000000:key/mine" },
		},
		{
			name: "4503, the keyring cannot be written", code: sluice.KMSKeyUnavailable,
			key: func(s *server) string {
				s.catalogDo(noDefault)
				return "alias/aws/kinesisvideo"
			},
			heal: func(s *server, _ string) { s.catalogDo(`DROP TRIGGER full`) },
		},
		{
			name: "4505, pending deletion", code: sluice.KMSKeyInvalidState,
			key:  (*server).key,
			lose: func(s *server, key string) { s.must(s.Keyring.Delete(s.T.Context(), key, 7)) },
			heal: func(s *server, key string) {
				s.must(s.Keyring.CancelDeletion(s.T.Context(), key))
				s.must(s.Keyring.Enable(s.T.Context(), key))
			},
		},
		{
			name: "4506, deleted for good", code: sluice.KMSKeyInvalidState,
			key:  (*server).key,
			lose: func(s *server, key string) { s.must(s.Keyring.Delete(s.T.Context(), key, 7)) },
			wait: 7 * 24 * time.Hour, next: sluice.KMSKeyNotFound,
		},
		{
			name: "4506, an alias that does not exist", code: sluice.KMSKeyNotFound,
			key:  func(*server) string { return "alias/mine" },
			heal: func(s *server, _ string) { s.key() },
		},
		{
			name: "4506, a key of another region", code: sluice.KMSKeyNotFound,
			key: func(*server) string {
				return "arn:aws:kms:eu-west-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
			},
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t, func(o *settings) { o.pipe = true })
				key := tc.key(s)
				// Retention longer than a key can be called back.
				status, b := s.call("/createStream", `{"StreamName":"cam","DataRetentionInHours":8760,"KmsKeyId":`+strconv.Quote(key)+`}`)
				if status != 200 {
					t.Fatalf("CreateStream: %d %s", status, b)
				}
				var stored []int64
				if tc.lose != nil {
					stored = s.loseKey(tc.code, func() { tc.lose(s, key) })
				}
				time.Sleep(tc.wait)
				code := tc.code
				if tc.next != 0 {
					code = tc.next
				}
				s.withoutKey(code, stored)
				if tc.heal == nil {
					return
				}
				tc.heal(s, key)
				c := s.put(plainHead + "\r\n").accepted()
				at := time.Now().UnixMilli()
				c.send(join(header(1), cluster(uint64(at)), endOfFragment))
				c.expect(kept(at)...)
				c.finish()
				c.ends()
				stored = append(stored, at)
				if got := s.listed(); !slices.Equal(got, stored) {
					t.Errorf("listed when the key is well again: %v, want %v", got, stored)
				}
				if got := s.shown(); got != len(stored) {
					t.Errorf("shown when the key is well again: %d, want %d", got, len(stored))
				}
			})
		})
	}
}

// loseKey runs a session whose key is lost after its first fragment, until it hears
// of it, and gives the fragments that were kept.
func (s *server) loseKey(code sluice.AckErrorCode, lose func()) (stored []int64) {
	s.T.Helper()
	c := s.put(plainHead + "\r\n").accepted()
	c.send(header(1))
	began := time.Now()
	for at := began.UnixMilli(); ; at += 4000 {
		c.send(join(cluster(uint64(at)), endOfFragment))
		first := plain([]string{c.ack()})[0]
		if len(stored) > 0 && first == errorAck(code, at, false) {
			c.ends()
			return stored
		}
		if first != ack("BUFFERING", at) {
			s.T.Fatalf("acknowledgement %s", first)
		}
		c.expect(kept(at)[1:]...)
		if stored = append(stored, at); len(stored) == 1 {
			lose()
		}
		if time.Since(began) > 5*time.Minute {
			s.T.Fatal("not noticed within 5 minutes")
		}
		time.Sleep(4 * time.Second)
	}
}

// withoutKey looks at a stream whose key is of no use: producers and readers are
// told why, and what is stored is still listed.
func (s *server) withoutKey(code sluice.AckErrorCode, stored []int64) {
	s.T.Helper()
	c := s.put(plainHead + "\r\n").accepted()
	c.expect(errorAck(code, -1, false))
	c.ends()
	// Errors only means this one, too.
	c = s.put(plainHead + "x-amzn-fragment-acknowledgment-required: 0\r\n\r\n").accepted()
	c.expect(errorAck(code, -1, false))
	c.ends()
	for _, from := range []string{"EARLIEST", "NOW"} {
		status, b := s.call("/getMedia", `{"StreamName":"cam","StartSelector":{"StartSelectorType":"`+from+`"}}`)
		if want := fragment.AppendErrorTags(nil, sluice.MakeFragmentNumber(0, 0, 0), code); status != 200 || !bytes.Equal(b, want) {
			s.T.Errorf("GetMedia from %s: %d %q, want error tags %d alone", from, status, b, code)
		}
	}
	status, b := s.call("/listFragments", `{"StreamName":"cam"}`)
	var list struct {
		Fragments []struct {
			FragmentNumber    string
			ProducerTimestamp float64
		}
	}
	if err := json.Unmarshal(b, &list); err != nil || status != 200 {
		s.T.Fatalf("ListFragments: %d %s", status, b)
	}
	var listed []int64
	for _, f := range list.Fragments {
		listed = append(listed, int64(f.ProducerTimestamp*1000+0.5))
	}
	if !slices.Equal(listed, stored) {
		s.T.Errorf("listed %v, want %v", listed, stored)
	}
	if len(stored) == 0 {
		return
	}
	status, b = s.call("/getMediaForFragmentList", `{"StreamName":"cam","Fragments":["`+list.Fragments[0].FragmentNumber+`"]}`)
	if status != 200 || !bytes.Contains(b, []byte(strconv.Itoa(int(code)))) || bytes.Contains(b, cluster(uint64(stored[0]))[4:]) {
		s.T.Errorf("GetMediaForFragmentList: %d %q, want %d", status, b, code)
	}
}

// A data key that does not open, as after a damage of the catalog, is 4502 and
// leaves the stream's other parts alone.
func TestADataKeyThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, name := range []string{"cam", "other"} {
		s.Create(name, 24*time.Hour)
		c := s.put(headOf(name) + "\r\n").accepted()
		c.send(join(header(1), cluster(now), endOfFragment))
		c.expect(kept(now)...)
		c.finish()
		c.ends()
	}
	// Each gets the other's: nobody's key opens for another stream.
	s.catalogDo(`UPDATE streams SET wrapped_key = (SELECT o.wrapped_key FROM streams o WHERE o.name = 'other') WHERE name = 'cam'`)
	again := start(t, func(o *settings) {
		s.Close()
		o.parts = append(o.parts, func(p *streamtest.Settings) { p.Dir, p.Root = s.Dir, s.Root })
	})
	again.withoutKey(sluice.KMSKeyValidationError, []int64{now})
	c := again.put(headOf("other") + "\r\n").accepted()
	c.send(join(header(1), cluster(now+1000), endOfFragment))
	c.expect(kept(now + 1000)...)
	c.finish()
	c.ends()
}

// Before a session has begun a fault of the server is the answer's status, and the
// next call is as good as any.
func TestASessionThatCannotBegin(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	s.catalogDo(`CREATE TRIGGER broken BEFORE UPDATE OF wrapped_key ON streams BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END`)
	c := s.put(plainHead + "\r\n")
	if status, h := c.head(); !strings.HasPrefix(status, "HTTP/1.1 500 ") || h["x-amzn-ErrorType"] != "InternalFailureException" {
		t.Errorf("answer: %s %v", status, h)
	}
	s.catalogDo(`DROP TRIGGER broken`)
	c = s.put(plainHead + "\r\n").accepted()
	c.send(join(header(1), cluster(now), endOfFragment))
	c.expect(kept(now)...)
	c.finish()
	c.ends()
	if got := s.listed(); !slices.Equal(got, []int64{now}) {
		t.Errorf("listed %v", got)
	}
}

// Every ErrorId there is has its case on a raw connection, or a reason why it is
// never sent.
func TestEveryErrorIdHasItsCase(t *testing.T) {
	t.Parallel()
	elsewhere := map[sluice.AckErrorCode]string{
		sluice.ErrorWritingToStream:         "GetMedia only",
		sluice.MaxConnectionDurationReached: "TestAConnectionOf45Minutes",
		sluice.ArchivalError:                "TestAFragmentThatCannotBeKept",
		sluice.MoreThanOneTrackFound:        "deprecated: three tracks are allowed",
		sluice.KMSKeyInvalidUsage:           "the keyring has no key for another use than this",
		sluice.StreamDeleted:                "a deleted stream is 4008, as the guide says",
	}
	var source []byte
	for _, name := range []string{"acks_test.go", "acks_keys_test.go", "time_test.go", "faults_test.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	for id := sluice.AckErrorCode(3000); id < 6000; id++ {
		if strings.HasPrefix(id.String(), "UNKNOWN_") || elsewhere[id] != "" {
			continue
		}
		if !bytes.Contains(source, []byte(`name: "`+strconv.Itoa(int(id))+`, `)) && !bytes.Contains(source, []byte(`name:  "`+strconv.Itoa(int(id))+`, `)) {
			t.Errorf("%v has no case", id)
		}
	}
}
