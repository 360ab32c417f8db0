package ingest_test

import (
	"encoding/json"
	"fmt"
	"testing"
)

// Retention goes from none to a day and back during a session: whether a fragment
// is PERSISTED is decided when it begins.
func TestRetentionChangesDuringASession(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 0)
	change := func(operation string) {
		t.Helper()
		var about struct{ StreamInfo struct{ Version string } }
		if status, b := s.call("/describeStream", `{"StreamName":"cam"}`); status != 200 || json.Unmarshal(b, &about) != nil {
			t.Fatalf("DescribeStream: %d %s", status, b)
		}
		if status, b := s.call("/updateDataRetention", fmt.Sprintf(`{"StreamName":"cam","CurrentVersion":%q,"Operation":%q,"DataRetentionChangeInHours":24}`,
			about.StreamInfo.Version, operation)); status != 200 {
			t.Fatalf("UpdateDataRetention: %d %s", status, b)
		}
	}
	received := func(ms int64) []string { return []string{ack("BUFFERING", ms), ack("RECEIVED", ms)} }
	c := s.put(plainHead + "\r\n").accepted()
	c.send(join(header(1), cluster(now), endOfFragment))
	c.expect(received(now)...)
	c.send(cluster(now + 1000)) // begun with none, complete with a day
	c.expect(ack("BUFFERING", now+1000))
	change("INCREASE_DATA_RETENTION")
	c.send(endOfFragment)
	c.expect(ack("RECEIVED", now+1000))
	c.send(join(cluster(now+2000), endOfFragment))
	c.expect(kept(now + 2000)...)
	s.leaves([]int64{now + 2000}, 3)
	c.send(cluster(now + 3000)) // begun with a day, complete with none
	c.expect(ack("BUFFERING", now+3000))
	change("DECREASE_DATA_RETENTION")
	c.send(endOfFragment)
	c.expect(kept(now + 3000)[1:]...)
	c.send(join(cluster(now+4000), endOfFragment))
	c.expect(received(now + 4000)...)
	s.leaves(nil, 5)
	change("INCREASE_DATA_RETENTION") // what was kept is there again
	s.leaves([]int64{now + 2000, now + 3000}, 5)
	c.finish()
	c.ends()
}
