package main

import (
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

func Test(t *testing.T) {
	srv := sluicetest.Start(t)
	srv.Setenv(t)
	if err := run(t.Context(), "cam", 2, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if n := len(srv.Stored("cam")); n != 6 {
		t.Errorf("%d fragments, want 3 for each event", n)
	}
}
