package stream

import (
	"errors"
	"testing"

	"github.com/sluicevideo/sluice"
)

// TestSealGuarded: what panics while a fragment is sealed fails that fragment
// with 5000, and not the process.
func TestSealGuarded(t *testing.T) {
	t.Parallel()
	out, err := (&frag{}).seal(t.Context()) // of no stream
	if !errors.Is(err, sluice.InternalError) || out.frame != nil {
		t.Errorf("%v, %v", out, err)
	}
}
