package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/datadir"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store"
)

func newFsckCommand(env *Env) *cobra.Command {
	var data string
	var repair, asJSON bool
	cmd := &cobra.Command{
		Use:   "fsck [--data DIR] [--repair]",
		Short: "Read all media and check it against the index",
		Long: `Read every record that the index names and check it: that it is there, that it is
the one the index means, and that its checksums fit. What is damaged is named with
file and offset. The databases are read and checked, too. Nothing is changed, and a
server may be running.

--repair takes fragments that are lost out of the index, so that listings do not
name them any more; the server must be stopped. No file is ever removed: files
that no row of the index names are reported and stay.`,
		Example: `  sluice fsck --data /var/lib/sluice
  sluice fsck --data /var/lib/sluice --json | jq 'select(.kind == "corrupt")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := dataPath(env, data)
			if err := existing(dir); err != nil {
				return err
			}
			if repair {
				d, err := datadir.Lock(dir)
				if err != nil {
					return err
				}
				defer d.Close()
			}
			p := placesOf(dir)
			harm := 0
			found := func(p store.Problem) {
				if p.Kind != "unknown" {
					harm++
				}
				printProblem(env, asJSON, p)
			}
			if err := checkCatalog(cmd.Context(), p.Catalog, found); err != nil {
				return err
			}
			index, err := db.Open(cmd.Context(), db.Options{Path: p.Index, ReadOnly: !repair})
			if err != nil {
				return err
			}
			defer index.Close()
			sums, err := store.Check(cmd.Context(), store.CheckOptions{Dir: p.Media, Index: index, Repair: repair, Found: found})
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSONLine(env.Stdout, sums)
			} else {
				_, err = fmt.Fprintf(env.Stdout, "%d files, %d fragments, %s of media are good; %d fragments lost, %d unknown files, %s that no row names\n",
					sums.Files, sums.Fragments, sizeText(sums.Bytes), sums.Lost, sums.Unknown, sizeText(sums.Unnamed))
				if repair && err == nil {
					_, err = fmt.Fprintf(env.Stdout, "%d lost fragments were taken out of the index\n", sums.Repaired)
				}
			}
			if err == nil && harm > 0 && !repair {
				return &exitError{code: ExitFailure}
			}
			return err
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().BoolVar(&repair, "repair", false, "take lost fragments out of the index")
	jsonVar(cmd, &asJSON)
	return cmd
}

// checkCatalog reads the database of streams, keys and users.
func checkCatalog(ctx context.Context, name string, found func(store.Problem)) error {
	d, err := db.Open(ctx, db.Options{Path: name, ReadOnly: true})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = store.CheckDatabase(ctx, d, "catalog", found)
	return err
}

func printProblem(env *Env, asJSON bool, p store.Problem) {
	if asJSON {
		printJSONLine(env.Stdout, p)
		return
	}
	at := p.File
	if p.Offset > 0 {
		at = fmt.Sprintf("%s at %d", p.File, p.Offset)
	}
	fmt.Fprintf(env.Stdout, "%s: %s: %s\n", p.Kind, at, p.Text)
}

func newReindexCommand(env *Env) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "reindex [--data DIR]",
		Short: "Make a new index from the media files",
		Long: `Read all media files and make a new index.db from the records in them. The old
one is replaced when the new one is complete. The server must be stopped.

An index is needed when index.db was lost or damaged, or when an old copy of it was
put back. Every fragment that was acknowledged comes back, as its record says all
of it; so may fragments that were written but never acknowledged.`,
		Example: `  sluice reindex --data /var/lib/sluice`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := dataPath(env, data)
			if err := existing(dir); err != nil {
				return err
			}
			d, err := datadir.Lock(dir)
			if err != nil {
				return err
			}
			defer d.Close()
			sums, err := store.ReplaceIndex(cmd.Context(), placesOf(dir), slog.New(slog.DiscardHandler), func(p store.Problem) {
				printProblem(env, false, p)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%d fragments of %d streams in %d files; %d damaged places passed over\n",
				sums.Fragments, sums.Streams, sums.Files, sums.Damaged)
			return err
		},
	}
	dataFlag(cmd, &data)
	return cmd
}
