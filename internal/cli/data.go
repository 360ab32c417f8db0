package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/store"
)

// dataFlag adds --data for commands that work on a data directory itself.
func dataFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "data", "", "data directory of the server (default: SLUICE_DATA, ./sluice-data)")
}

// dataPath is the directory that --data or the environment name.
func dataPath(env *Env, flag string) string {
	if flag == "" {
		flag = env.Getenv("SLUICE_DATA")
	}
	if flag == "" {
		flag = "./sluice-data"
	}
	return flag
}

// placesOf are the parts of a data directory.
func placesOf(dir string) store.Places {
	return store.Places{
		Catalog: filepath.Join(dir, datadir.CatalogFile),
		Index:   filepath.Join(dir, datadir.IndexFile),
		Media:   filepath.Join(dir, datadir.MediaDir),
	}
}

// existing checks that there is a data directory of a format we know, and
// changes nothing.
func existing(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, datadir.MediaDir)); err != nil {
		return fmt.Errorf("%s is not a data directory: %w", dir, err)
	}
	_, err := datadir.CheckFormat(dir)
	return err
}
