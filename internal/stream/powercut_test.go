package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/store/crashfs"
	"github.com/sluicevideo/sluice/internal/stream"
)

// camera is a server below its doors whose whole data directory, catalog
// included, lies on a file system that can lose power.
type camera struct {
	t       *testing.T
	fs      *crashfs.FS
	root    kms.RootKey
	lives   int
	catalog *catalog.Catalog
	reg     *stream.Registry
	closers []func() error

	// What was promised.
	created string // the stream's name, once CreateStream has answered
	acked   map[sluice.FragmentNumber][]byte
	deleted bool // DeleteStream has answered
}

func (c *camera) open() error {
	ctx := context.Background()
	c.lives++
	mount := fmt.Sprintf("powercut-%d", c.lives%4)
	c.fs.Mount(mount)
	database := func(name string) (*db.DB, error) {
		d, err := db.Open(ctx, db.Options{Path: "/data/" + name, VFS: mount, Exclusive: true})
		if err == nil {
			c.closers = append(c.closers, d.Close)
		}
		return d, err
	}
	cdb, err := database("catalog.db")
	if err != nil {
		return err
	}
	keyring, err := kms.Open(ctx, cdb, c.root, kms.Options{})
	if err != nil {
		return err
	}
	if c.catalog, err = catalog.Open(ctx, cdb, catalog.Options{Region: "us-west-2", Account: "000000000000"}); err != nil {
		return err
	}
	c.closers = append(c.closers, c.catalog.Close)
	idb, err := database("index.db")
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Options{Dir: "/data/media", Index: idb, FS: c.fs, Window: -1, Checkpoint: -1})
	if err != nil {
		return err
	}
	c.closers = append(c.closers, s.Close)
	if c.reg, err = stream.New(stream.Options{Catalog: c.catalog, Store: s, Keyring: keyring}); err != nil {
		return err
	}
	c.closers = append(c.closers, func() error { return c.reg.Close(ctx) })
	return nil
}

func (c *camera) close() {
	for i := len(c.closers) - 1; i >= 0; i-- {
		c.closers[i]()
	}
	c.closers, c.reg = nil, nil
}

// live creates a stream, puts into it and deletes it.
func (c *camera) live() error {
	ctx := context.Background()
	st, err := c.catalog.Create(ctx, catalog.New{Name: "cam", KMSKeyID: "alias/aws/kinesisvideo", Retention: time.Hour})
	if err != nil {
		return err
	}
	c.created = st.Name
	x, err := c.reg.Join(ctx, ref("cam"), stream.SessionInfo{ID: "test"})
	if err != nil {
		return err
	}
	defer x.Leave(nil)
	now := time.Now().UnixMilli()
	for i := range int64(3) {
		o, err := x.Begin(ctx, stream.FragmentHeader{Lead: header.Rest, Header: header, Timecode: now + 1000*i, Producer: time.UnixMilli(now + 1000*i)})
		if err != nil {
			return err
		}
		b := elements(3000, byte(i))
		frames := []fragment.Entry{{Offset: 10, Size: 100, Track: 1, Timecode: time.Duration(now+1000*i) * time.Millisecond}}
		if err := o.Append(ctx, b, frames); err != nil {
			return err
		}
		k := o.Commit(ctx)
		<-k.Done()
		if err := k.Err(); err != nil {
			return err
		}
		c.acked[o.Number()] = b
	}
	if _, err := c.catalog.Delete(ctx, ref("cam"), ""); err != nil {
		return err
	}
	c.deleted = true
	return nil
}

func (c *camera) check() {
	c.t.Helper()
	ctx := context.Background()
	st, err := c.catalog.Describe(ctx, ref("cam"))
	if c.created == "" {
		return
	}
	if err != nil {
		c.t.Errorf("the stream was created: %v", err)
		return
	}
	if c.deleted {
		for n := range c.acked {
			if f, err := c.reg.Get(ctx, st.ID, n); err == nil {
				if _, err := f.Elements(ctx); err == nil {
					c.t.Error("a fragment of a deleted stream can be read")
				}
			}
		}
		return
	}
	if st.Status == catalog.Deleting {
		return // asked for, not answered
	}
	for n, want := range c.acked {
		f, err := c.reg.Get(ctx, st.ID, n)
		if err != nil {
			c.t.Errorf("fragment %v was acknowledged: %v", n, err)
			continue
		}
		got, err := f.Elements(ctx)
		if err != nil || !bytes.Equal(got, want) {
			c.t.Errorf("fragment %v differs: %v", n, err)
		}
	}
}

// The power goes between CreateStream, the making of its key, each PERSISTED and
// DeleteStream; and each time it leaves something else of what was not synced.
func TestPowerCutFromCreateToDelete(t *testing.T) {
	root, seeds := kms.NewRootKey(), uint64(3)
	if os.Getenv("SLUICE_LONG") != "" {
		seeds = 50
	}
	for cut := 1; ; cut++ {
		whole := false
		for seed := range seeds {
			whole = cutAt(t, root, cut, uint64(cut)+seed<<32)
			if t.Failed() {
				t.Fatalf("that was the cut before operation %d, seed %d", cut, seed)
			}
		}
		if whole {
			t.Logf("%d cuts", uint64(cut)*seeds)
			return
		}
	}
}

// cutAt lives until the power goes, and opens what is left. It reports whether
// the power lasted.
func cutAt(t *testing.T, root kms.RootKey, cut int, seed uint64) (whole bool) {
	c := &camera{t: t, fs: crashfs.New(), root: root, acked: map[sluice.FragmentNumber][]byte{}}
	if err := errors.Join(c.fs.Mkdir("/data"), c.fs.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	c.fs.CutAt(cut)
	err := c.open()
	if err == nil {
		err = c.live()
	}
	whole = !c.fs.Dead()
	if err != nil && whole {
		t.Fatalf("cut %d: an error with power: %v", cut, err)
	}
	next := c.fs.PowerCut(seed)
	c.close()
	c.fs = next
	if err := c.open(); err != nil {
		t.Errorf("cut %d: opening again: %v", cut, err)
	} else {
		c.check()
	}
	c.close()
	return whole
}
