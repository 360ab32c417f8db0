package cli

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/store"
)

func newBackupCommand(env *Env) *cobra.Command {
	var data, to string
	cmd := &cobra.Command{
		Use:   "backup --to DIR [--data DIR]",
		Short: "Copy the data directory, also of a running server",
		Long: `Copy a data directory to another place. A server may be running: the copy is
consistent and holds every fragment that was acknowledged as PERSISTED before it
began. Run again, it copies only what is new, and removes what has expired.

The root key, without which nothing can be read, is not copied, so that a stolen
backup is of no use. Keep a copy of it elsewhere.`,
		Example: `  sluice backup --data /var/lib/sluice --to /mnt/backup/sluice`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usagef(cmd, "--to is needed: the directory of the backup")
			}
			dir := dataPath(env, data)
			if err := existing(dir); err != nil {
				return err
			}
			if err := apart(dir, to); err != nil {
				return err
			}
			// Also keeps two backups from one place.
			d, err := datadir.Open(to)
			if err != nil {
				return err
			}
			defer d.Close()
			sums, err := store.Backup(cmd.Context(), placesOf(dir), placesOf(to), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%d fragments in %d files: %s copied, %s was there; %d expired files removed\n",
				sums.Fragments, sums.Files, sizeText(sums.Copied), sizeText(sums.Kept), sums.Removed)
			if err == nil {
				_, err = fmt.Fprintln(env.Stderr, "note: the root key is not in the backup; keep a copy of it apart from this one")
			}
			return err
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().StringVar(&to, "to", "", "directory of the backup; made when it is not there")
	return cmd
}

func newRestoreCommand(env *Env) *cobra.Command {
	var data, from string
	cmd := &cobra.Command{
		Use:   "restore --from DIR [--data DIR]",
		Short: "Make a data directory from a backup",
		Long: `Copy a backup into a data directory that is empty or not there yet. The server
then needs the root key of the time of the backup: put it where --root-key-file
says, by default root.key in the data directory.`,
		Example: `  sluice restore --from /mnt/backup/sluice --data /var/lib/sluice
  cp root.key /var/lib/sluice/root.key
  sluice fsck --data /var/lib/sluice`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usagef(cmd, "--from is needed: the directory of the backup")
			}
			if err := existing(from); err != nil {
				return err
			}
			dir := dataPath(env, data)
			if err := apart(from, dir); err != nil {
				return err
			}
			d, err := datadir.Open(dir)
			if err != nil {
				return err
			}
			defer d.Close()
			files, bytes, err := store.Restore(cmd.Context(), placesOf(from), placesOf(dir), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%d files, %s restored to %s\n", files, sizeText(bytes), dir)
			if _, serr := os.Stat(filepath.Join(dir, "root.key")); err == nil && serr != nil {
				_, err = fmt.Fprintln(env.Stderr, "note: the server needs the root key of the time of the backup, which is not in it")
			}
			return err
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().StringVar(&from, "from", "", "directory of the backup")
	return cmd
}

// apart checks that neither directory lies in the other.
func apart(a, b string) error {
	x, err := filepath.Abs(a)
	if err != nil {
		return err
	}
	y, err := filepath.Abs(b)
	if err != nil {
		return err
	}
	within := func(a, b string) bool {
		rel, err := filepath.Rel(a, b)
		return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
	}
	if within(x, y) || within(y, x) {
		return fmt.Errorf("%s and %s lie in each other", a, b)
	}
	return nil
}
