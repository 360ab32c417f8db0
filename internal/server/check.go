package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/kms"
)

// Check looks at what the settings name, without starting anything or changing
// anything: files can be read, addresses can be listened on, the data directory
// could be made.
func Check(cfg *config.Loaded) error {
	var errs []error
	if cfg.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey); err != nil {
			errs = append(errs, fmt.Errorf("tls-cert: %w", err))
		}
	}
	if cfg.RootKeyFile != "" && cfg.RootKey == "" {
		if _, err := kms.LoadRootKey(cfg.RootKeyFile, false); err != nil && !errors.Is(err, kms.ErrNoRootKey) {
			errs = append(errs, fmt.Errorf("root-key-file: %w", err))
		}
	}
	if err := checkDir(cfg.Data); err != nil {
		errs = append(errs, fmt.Errorf("data: %w", err))
	}
	addresses := append(append([]string{}, cfg.Listen...), cfg.ListenTLS...)
	if cfg.DebugListen != "" {
		addresses = append(addresses, cfg.DebugListen)
	}
	for _, a := range addresses {
		if _, err := net.ResolveTCPAddr("tcp", a); err != nil {
			errs = append(errs, fmt.Errorf("listen: %w", err))
		}
	}
	return errors.Join(errs...)
}

// checkDir is whether the directory, or the nearest one above it that is there,
// can be written to.
func checkDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if up := filepath.Dir(path); up != path {
			return checkDir(up)
		}
		return err
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", path)
	}
	f, err := os.CreateTemp(path, ".check-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
