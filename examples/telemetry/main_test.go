package main

import (
	"testing"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

func Test(t *testing.T) {
	srv := sluicetest.Start(t)
	srv.Setenv(t)
	if err := run(t.Context(), "radar", 60); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range srv.Stored("radar") {
		n += len(f.Frames)
	}
	if n != 60 {
		t.Errorf("%d readings of 60", n)
	}
}
