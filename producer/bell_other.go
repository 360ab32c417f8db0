//go:build !linux

package producer

// poller is for systems that let a process signal itself through what its runtime
// watches anyway.
type poller struct{}

func newPoller() *poller { return nil }

func (*poller) signal()                       {}
func (*poller) wait(func(uintptr) bool) error { return nil }
func (*poller) close()                        {}
