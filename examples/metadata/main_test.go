package main

import (
	"slices"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

func Test(t *testing.T) {
	srv := sluicetest.Start(t)
	srv.Setenv(t)
	if err := run(t.Context(), "cam"); err != nil {
		t.Fatal(err)
	}
	all := srv.Stored("cam")
	if len(all) != 10 {
		t.Fatalf("%d fragments", len(all))
	}
	for i, f := range all {
		moved := slices.Contains(f.Tags, sluice.Tag{Name: "motion", Value: "true"})
		if !slices.Contains(f.Tags, sluice.Tag{Name: "Lat", Value: "47.608013N"}) || moved != (i == 4) {
			t.Errorf("fragment %d: %v", i, f.Tags)
		}
	}
}
