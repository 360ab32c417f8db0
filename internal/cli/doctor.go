package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/server"
)

func newDoctorCommand(env *Env) *cobra.Command {
	var asJSON bool
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:   "doctor [settings of 'sluice server']",
		Short: "Check what the server depends on, with a remedy for each failing",
		Long: `Check what a server with these settings depends on: clock, data directory, how
long the disk takes to sync, free space, open files, ports, certificate and keys.
It takes the settings of 'sluice server', may run beside it, and ends with exit
code 1 when something keeps the server from running.`,
		Example: `  sluice doctor
  sluice doctor --config /etc/sluice/sluice.toml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loader.Load()
			if err != nil {
				return usagef(cmd, "%s", err)
			}
			findings := server.Diagnose(cfg)
			bad := 0
			for _, f := range findings {
				if f.Grade == server.Bad {
					bad++
				}
			}
			if asJSON {
				err = printJSON(env.Stdout, findings)
			} else {
				for _, f := range findings {
					fmt.Fprintf(env.Stdout, "%-8s %s: %s\n", f.Grade, f.Name, f.Found)
					if f.Remedy != "" {
						fmt.Fprintf(env.Stdout, "         -> %s\n", f.Remedy)
					}
				}
				for _, w := range cfg.Warnings {
					fmt.Fprintf(env.Stdout, "%-8s settings: %s\n", server.Weak, w)
				}
			}
			if err == nil && bad > 0 {
				return &exitError{code: ExitFailure}
			}
			return err
		},
	}
	jsonVar(cmd, &asJSON)
	cmd.Flags().SortFlags = false
	loader = config.NewLoader(cmd.Flags(), env.Environ)
	return cmd
}
