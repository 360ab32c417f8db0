// Package streamtest opens, inside a test, everything that lies below the doors:
// catalog, keyring, store and streams, in a temporary directory.
package streamtest

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/kms"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
)

// Parts are open parts.
type Parts struct {
	T       testing.TB
	Dir     string
	Root    kms.RootKey
	Catalog *catalog.Catalog
	Keyring *kms.Keyring
	Store   *store.Store
	Streams *stream.Registry

	close func() error
}

// Settings change what Start opens.
type Settings struct {
	Dir    string // an older Parts' directory
	Root   kms.RootKey
	Stream stream.Options
	Store  store.Options
	Now    func() time.Time // for all parts
}

// Start opens parts that are closed when the test ends.
func Start(t testing.TB, change ...func(*Settings)) *Parts {
	t.Helper()
	o := Settings{}
	for _, c := range change {
		c(&o)
	}
	if o.Dir == "" {
		o.Dir, o.Root = t.TempDir(), kms.NewRootKey()
	}
	if o.Now != nil {
		o.Stream.Now, o.Store.Now = o.Now, o.Now
	}
	p := &Parts{T: t, Dir: o.Dir, Root: o.Root}
	// Closing comes after the test's context has ended.
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cdb, err := db.Open(ctx, db.Options{Path: filepath.Join(o.Dir, "catalog.db")})
	must(err)
	idb, err := db.Open(ctx, db.Options{Path: filepath.Join(o.Dir, "index.db"), ManualCheckpoint: true})
	must(err)
	p.Catalog, err = catalog.Open(ctx, cdb, catalog.Options{Region: "us-west-2", Account: "000000000000", Now: o.Now})
	must(err)
	p.Keyring, err = kms.Open(ctx, cdb, o.Root, kms.Options{Now: o.Now})
	must(err)
	o.Store.Dir, o.Store.Index = filepath.Join(o.Dir, "media"), idb
	p.Store, err = store.Open(ctx, o.Store)
	must(err)
	o.Stream.Catalog, o.Stream.Store, o.Stream.Keyring = p.Catalog, p.Store, p.Keyring
	p.Streams, err = stream.New(o.Stream)
	must(err)
	p.close = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return errors.Join(p.Streams.Close(ctx), p.Store.Close(), p.Catalog.Close(), idb.Close(), cdb.Close())
	})
	t.Cleanup(p.Close)
	return p
}

// Close closes the parts, as the end of the test does.
func (p *Parts) Close() {
	p.T.Helper()
	if err := p.close(); err != nil {
		p.T.Errorf("close: %v", err)
	}
}

// Again closes the parts and opens them anew from their directory.
func (p *Parts) Again(change ...func(*Settings)) *Parts {
	p.T.Helper()
	p.Close()
	return Start(p.T, append([]func(*Settings){func(o *Settings) { o.Dir, o.Root = p.Dir, p.Root }}, change...)...)
}

// Create makes a stream under the default key.
func (p *Parts) Create(name string, retention time.Duration) catalog.Stream {
	p.T.Helper()
	return p.create(name, p.Keyring.DefaultARN(), retention)
}

// CreateUnder makes a stream with a day's retention under a key.
func (p *Parts) CreateUnder(name, key string) catalog.Stream {
	p.T.Helper()
	return p.create(name, key, 24*time.Hour)
}

func (p *Parts) create(name, key string, retention time.Duration) catalog.Stream {
	p.T.Helper()
	st, err := p.Catalog.Create(context.Background(), catalog.New{Name: name, KMSKeyID: key, Retention: retention})
	if err != nil {
		p.T.Fatal(err)
	}
	return st
}

// Ref names a stream.
func Ref(name string) sluice.StreamRef { return sluice.StreamRef{Name: name} }
