// Package leaktest holds the tests of a package to leave no goroutine behind. It is
// for tests only.
package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs a package's tests and ends the process; it fails when goroutines are
// left. Those of connections that were just closed may need a while for their end
// on a busy machine.
func Main(m *testing.M) { goleak.VerifyTestMain(settled{m}) }

type settled struct{ m *testing.M }

func (s settled) Run() int {
	code := s.m.Run()
	for end := time.Now().Add(time.Minute); code == 0 && time.Now().Before(end) && goleak.Find() != nil; {
	}
	return code
}
