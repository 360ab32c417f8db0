package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/db"
)

func open(t testing.TB, change func(*catalog.Options)) *catalog.Catalog {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "catalog.db"), change)
}

func openAt(t testing.TB, path string, change func(*catalog.Options)) *catalog.Catalog {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{Path: path, Secrets: true})
	if err != nil {
		t.Fatal(err)
	}
	o := catalog.Options{Region: "us-west-2", Account: "000000000000"}
	if change != nil {
		change(&o)
	}
	c, err := catalog.Open(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func named(name string) sluice.StreamRef { return sluice.StreamRef{Name: name} }

func create(t testing.TB, c *catalog.Catalog, n catalog.New) catalog.Stream {
	t.Helper()
	s, err := c.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantCode(t testing.TB, err error, code sluice.Code, text string) {
	t.Helper()
	if sluice.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s with %q", err, code, text)
	}
}

func TestCreateDescribe(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	made := create(t, c, catalog.New{Name: "cam", Device: "d", MediaType: "video/h264", KMSKeyID: "arn:key", Retention: 2 * time.Hour,
		Tags: map[string]string{"site": "lab", "ü": ""}})
	if made.Status != catalog.Active || !regexp.MustCompile(`^[a-zA-Z0-9]{20}$`).MatchString(made.Version) || len(made.ID) != 32 {
		t.Errorf("made %+v", made)
	}
	if made.ARN.Created != made.Created.UnixMilli() {
		t.Errorf("the ARN says %d, the stream was created at %d", made.ARN.Created, made.Created.UnixMilli())
	}
	for _, ref := range []sluice.StreamRef{{Name: "cam"}, {ARN: made.ARN.String()}, {Name: "cam", ARN: made.ARN.String()}} {
		got, err := c.Describe(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(made, got); diff != "" {
			t.Errorf("%v: made, read:\n%s", ref, diff)
		}
	}
	got, err := c.ByID(t.Context(), made.ID)
	if err != nil || got.Name != "cam" {
		t.Errorf("ByID gave %+v, %v", got, err)
	}
	_, err = c.Create(t.Context(), catalog.New{Name: "cam"})
	wantCode(t, err, sluice.ResourceInUse, "cam already exists")
	_, err = c.Create(t.Context(), catalog.New{Name: "no/slash"})
	wantCode(t, err, sluice.InvalidArgument, "StreamName")
	_, err = c.Create(t.Context(), catalog.New{Name: "long", Retention: 87601 * time.Hour})
	wantCode(t, err, sluice.InvalidArgument, "0 to 87600")
}

func TestRefs(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	made := create(t, c, catalog.New{Name: "cam"})
	other := made.ARN
	other.Created++
	abroad := made.ARN
	abroad.Region = "eu-west-1"
	foreign := made.ARN
	foreign.Account = "111111111111"
	for _, tc := range []struct {
		ref  sluice.StreamRef
		code sluice.Code
		text string
	}{
		{sluice.StreamRef{}, sluice.InvalidArgument, "one of them must be given"},
		{sluice.StreamRef{Name: "no"}, sluice.ResourceNotFound, "not found"},
		{sluice.StreamRef{ARN: "arn:aws:s3:::x"}, sluice.InvalidArgument, "StreamARN"},
		{sluice.StreamRef{Name: "cat", ARN: made.ARN.String()}, sluice.InvalidArgument, "must agree"},
		{sluice.StreamRef{ARN: other.String()}, sluice.ResourceNotFound, "was created at"},
		{sluice.StreamRef{ARN: abroad.String()}, sluice.ResourceNotFound, "eu-west-1"},
		{sluice.StreamRef{ARN: foreign.String()}, sluice.ResourceNotFound, "111111111111"},
	} {
		_, err := c.Describe(t.Context(), tc.ref)
		wantCode(t, err, tc.code, tc.text)
	}
	_, err := c.ByID(t.Context(), "nothing")
	wantCode(t, err, sluice.ResourceNotFound, "")
}

func TestUpdateComparesVersions(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	made := create(t, c, catalog.New{Name: "cam", Device: "a"})
	device, media := "b", "video/h265"
	changed, err := c.Update(t.Context(), named("cam"), made.Version, catalog.Change{Device: &device, MediaType: &media})
	if err != nil {
		t.Fatal(err)
	}
	if changed.Device != "b" || changed.MediaType != "video/h265" || changed.Version == made.Version {
		t.Errorf("changed to %+v", changed)
	}
	_, err = c.Update(t.Context(), named("cam"), made.Version, catalog.Change{})
	wantCode(t, err, sluice.VersionMismatch, "CurrentVersion")
	_, err = c.UpdateRetention(t.Context(), named("cam"), made.Version, catalog.Increase, time.Hour)
	wantCode(t, err, sluice.VersionMismatch, "CurrentVersion")
	_, err = c.Delete(t.Context(), named("cam"), made.Version)
	wantCode(t, err, sluice.VersionMismatch, "CurrentVersion")
	kept, _ := c.Describe(t.Context(), named("cam"))
	if diff := cmp.Diff(changed, kept); diff != "" {
		t.Errorf("a refused change left its mark:\n%s", diff)
	}
}

func TestRetentionRules(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		replaces   bool
		from       time.Duration
		op         catalog.RetentionOp
		by         time.Duration
		want       time.Duration
		refusedFor string
	}{
		{false, 2, catalog.Increase, 3, 5, ""},
		{false, 2, catalog.Decrease, 2, 0, ""},
		{false, 2, catalog.Decrease, 3, 0, "-1 hours"},
		{false, 1, catalog.Increase, 87600, 0, "DataRetentionChangeInHours: the retention would be 87601 hours"},
		{false, 0, catalog.Increase, 87600, 87600, ""},
		{false, 2, "SET", 3, 0, "Operation"},
		{true, 1, catalog.Increase, 7, 7, ""},
		{true, 7, catalog.Decrease, 1, 1, ""},
		{true, 7, catalog.Increase, 1, 0, "does not allow"},
		{true, 1, catalog.Decrease, 7, 0, "does not allow"},
	} {
		c := open(t, func(o *catalog.Options) {
			o.Rules = func() catalog.Rules { return catalog.Rules{RetentionReplaces: tc.replaces} }
		})
		made := create(t, c, catalog.New{Name: "cam", Retention: tc.from * time.Hour})
		got, err := c.UpdateRetention(t.Context(), named("cam"), made.Version, tc.op, tc.by*time.Hour)
		if tc.refusedFor != "" {
			wantCode(t, err, sluice.InvalidArgument, tc.refusedFor)
		} else if err != nil || got.Retention != tc.want*time.Hour || got.Version == made.Version {
			t.Errorf("%+v: got %v, %v", tc, got.Retention, err)
		}
	}
}

func TestDeleteLifeCycle(t *testing.T) {
	t.Parallel()
	// The clock stands still: the second stream is made in the same millisecond.
	at := time.UnixMilli(1795353559763)
	path := filepath.Join(t.TempDir(), "catalog.db")
	c := openAt(t, path, func(o *catalog.Options) { o.Now = func() time.Time { return at } })
	first := create(t, c, catalog.New{Name: "cam"})
	if err := c.Forget(t.Context(), first.ID); err == nil {
		t.Error("an ACTIVE stream was forgotten")
	}
	key := bytes.Repeat([]byte("wrapped!"), 8)
	keyed, err := c.SetDataKey(t.Context(), first.ID, "arn:key", key)
	if err != nil || !bytes.Equal(keyed.WrappedKey, key) || keyed.KeyARN != "arn:key" || keyed.Version != first.Version {
		t.Fatalf("SetDataKey gave %+v, %v", keyed, err)
	}
	second, err := c.SetDataKey(t.Context(), first.ID, "arn:other", []byte("other"))
	if err != nil || !bytes.Equal(second.WrappedKey, key) {
		t.Errorf("the second writer of the data key got %q, %v", second.WrappedKey, err)
	}

	gone, err := c.Delete(t.Context(), sluice.StreamRef{ARN: first.ARN.String()}, "")
	if err != nil || gone.Status != catalog.Deleting || gone.WrappedKey != nil {
		t.Fatalf("Delete gave %+v, %v", gone, err)
	}
	shown, err := c.Describe(t.Context(), named("cam"))
	if err != nil || shown.Status != catalog.Deleting || shown.WrappedKey != nil {
		t.Errorf("while it is deleted it is %+v, %v", shown, err)
	}
	_, err = c.Create(t.Context(), catalog.New{Name: "cam"})
	wantCode(t, err, sluice.ResourceInUse, "")
	_, err = c.Delete(t.Context(), named("cam"), "")
	wantCode(t, err, sluice.ResourceInUse, "DELETING")
	_, err = c.Update(t.Context(), named("cam"), shown.Version, catalog.Change{})
	wantCode(t, err, sluice.ResourceInUse, "DELETING")
	_, err = c.Tag(t.Context(), named("cam"), map[string]string{"a": "b"})
	wantCode(t, err, sluice.ResourceNotFound, "")
	_, err = c.Untag(t.Context(), named("cam"), []string{"a"})
	wantCode(t, err, sluice.ResourceNotFound, "")
	_, err = c.SetDataKey(t.Context(), first.ID, "arn:key", key)
	wantCode(t, err, sluice.ResourceNotFound, "")

	for range 2 { // the second time there is nothing left to do
		if err := c.Forget(t.Context(), first.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.Describe(t.Context(), named("cam"))
	wantCode(t, err, sluice.ResourceNotFound, "")
	again := create(t, c, catalog.New{Name: "cam"})
	if again.ARN == first.ARN || again.ID == first.ID || again.ARN.Created <= first.ARN.Created {
		t.Errorf("the stream made anew is %v, as the first: %v", again.ARN, first.ARN)
	}
	_, err = c.Describe(t.Context(), sluice.StreamRef{ARN: first.ARN.String()})
	wantCode(t, err, sluice.ResourceNotFound, "")
}

func TestTags(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	made := create(t, c, catalog.New{Name: "cam", Tags: map[string]string{"a": "1"}})
	got, err := c.Tag(t.Context(), named("cam"), map[string]string{"a": "2", "b": "3"})
	if err != nil || got.Version != made.Version {
		t.Errorf("Tag: version %s was %s, %v", got.Version, made.Version, err)
	}
	if diff := cmp.Diff(map[string]string{"a": "2", "b": "3"}, got.Tags); diff != "" {
		t.Error(diff)
	}
	many := make(map[string]string)
	for i := range 49 {
		many[fmt.Sprint("k", i)] = ""
	}
	_, err = c.Tag(t.Context(), named("cam"), many)
	wantCode(t, err, sluice.TagsPerResourceExceededLimit, "51 tags, at most 50")
	delete(many, "k0")
	if _, err = c.Tag(t.Context(), named("cam"), many); err != nil {
		t.Errorf("the fiftieth tag: %v", err)
	}
	got, err = c.Untag(t.Context(), named("cam"), []string{"a", "never there"})
	if err != nil || len(got.Tags) != 49 {
		t.Errorf("Untag left %d tags, %v", len(got.Tags), err)
	}
	many["k49"], many["k50"], many["k51"] = "", "", ""
	_, err = c.Create(t.Context(), catalog.New{Name: "many", Tags: many})
	wantCode(t, err, sluice.TagsPerResourceExceededLimit, "51")
}

func TestList(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	for _, n := range []string{"cam", "cam-1", "cam-10", "cam-2", "cam_1", "Cam-1", "can", "ca", "z.last"} {
		create(t, c, catalog.New{Name: n})
	}
	for _, tc := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 100, "Cam-1 ca cam cam-1 cam-10 cam-2 cam_1 can z.last"},
		{"cam", "", 100, "cam cam-1 cam-10 cam-2 cam_1"},
		{"cam-", "", 2, "cam-1 cam-10"},
		{"cam-", "cam-10", 2, "cam-2"},
		{"cam-", "z", 2, ""},
		{"nothing", "", 2, ""},
		{"%", "", 2, ""},
	} {
		list, err := c.List(t.Context(), tc.prefix, tc.after, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%+v: got %s", tc, got)
		}
	}
	all, err := c.All(t.Context())
	if err != nil || len(all) != 9 {
		t.Errorf("All gave %d streams, %v", len(all), err)
	}
}

func TestAccountLimit(t *testing.T) {
	t.Parallel()
	c := open(t, func(o *catalog.Options) { o.Rules = func() catalog.Rules { return catalog.Rules{Streams: 2} } })
	create(t, c, catalog.New{Name: "a"})
	create(t, c, catalog.New{Name: "b"})
	_, err := c.Create(t.Context(), catalog.New{Name: "c"})
	wantCode(t, err, sluice.AccountStreamLimitExceeded, "2 streams, at most 2")
	_, err = c.Create(t.Context(), catalog.New{Name: "a"})
	wantCode(t, err, sluice.ResourceInUse, "")
	if list, _ := c.List(t.Context(), "", "", 10); len(list) != 2 {
		t.Errorf("a refused stream was kept: %d", len(list))
	}
}

func TestOnChangeSeesChangesInOrder(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	var versions []string // no lock: hooks come one at a time, and before the call returns
	c.OnChange(func(s catalog.Stream) { versions = append(versions, s.Version) })
	made := create(t, c, catalog.New{Name: "cam"})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				s, err := c.Describe(t.Context(), named("cam"))
				if err != nil {
					t.Error(err)
					return
				}
				_, err = c.UpdateRetention(t.Context(), named("cam"), s.Version, catalog.Increase, time.Hour)
				if err == nil {
					return
				}
				wantCode(t, err, sluice.VersionMismatch, "")
			}
		})
	}
	wg.Wait()
	got, _ := c.Describe(t.Context(), named("cam"))
	if got.Retention != 8*time.Hour {
		t.Errorf("eight compare-and-change increments made %v", got.Retention)
	}
	if len(versions) != 9 || versions[0] != made.Version || versions[8] != got.Version {
		t.Errorf("the hook saw %v, the last version is %s", versions, got.Version)
	}
}

func TestReopened(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.db")
	var made catalog.Stream
	t.Run("first life", func(t *testing.T) {
		made = create(t, openAt(t, path, nil), catalog.New{Name: "cam", Tags: map[string]string{"a": "b"}})
	})
	got, err := openAt(t, path, nil).Describe(t.Context(), named("cam"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, got); diff != "" {
		t.Error(diff)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Create(ctx, catalog.New{Name: "cam"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Describe(t.Context(), named("cam")); sluice.CodeOf(err) != sluice.ResourceNotFound {
		t.Errorf("a cancelled Create left %v", err)
	}
}

func BenchmarkDescribe(b *testing.B) {
	c := open(b, nil)
	create(b, c, catalog.New{Name: "cam", Tags: map[string]string{"a": "b"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Describe(b.Context(), named("cam")); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDeletedKeyIsNotOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := bytes.Repeat([]byte("WrappedDataKey!!"), 12)
	c := openAt(t, filepath.Join(dir, "catalog.db"), nil)
	s := create(t, c, catalog.New{Name: "cam"})
	if _, err := c.SetDataKey(t.Context(), s.ID, "arn:key", key); err != nil {
		t.Fatal(err)
	}
	found := func() (names []string) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, key[:32]) {
				names = append(names, f.Name())
			}
		}
		return names
	}
	if len(found()) == 0 {
		t.Fatal("the key is not there before it is deleted")
	}
	if _, err := c.Delete(t.Context(), named("cam"), ""); err != nil {
		t.Fatal(err)
	}
	// At once: the process may be killed before the database is closed.
	if names := found(); len(names) > 0 {
		t.Errorf("the erased key is still in %v", names)
	}
}
