//go:build !unix

package producer

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDir keeps other processes off a directory: a file that is open cannot be
// removed here.
func lockDir(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "lock")
	_ = os.Remove(path)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s is used by another process", dir)
	}
	return func() { f.Close(); _ = os.Remove(path) }, nil
}

// syncDir does nothing: directories cannot be synced here.
func syncDir(string) error { return nil }
