package cli

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/server"
)

// gcPercent is how far the heap may grow, in percent of what is in use, before
// garbage is collected. At 400 cameras of 2 Mbit/s Go's default of 100 was seen to
// use twice the memory of a fifth of it, for an eighth less CPU.
const gcPercent = 24

func newServerCommand(env *Env) *cobra.Command {
	var printConfig, checkConfig bool
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:   "server [flags]",
		Short: "Run the server",
		Long: `Run the server: the control plane, PutMedia, GetMedia, playback and the console on
one address. Without settings it listens on this machine only and keeps its data
in ./sluice-data.

Every setting can be given as a flag, as the environment variable SLUICE_NAME
(--log-level is SLUICE_LOG_LEVEL) or as a key of a TOML file (--config); a flag is
stronger than a variable, and that than the file. Lists have commas in a variable.
SLUICE_ROOT_ACCESS_KEY_ID and SLUICE_ROOT_SECRET_ACCESS_KEY set the root access
key, SLUICE_ROOT_KEY the key that all others are sealed under.

SIGTERM and SIGINT end the server in order; SIGHUP reads certificates, the log
level and limits again.`,
		Example: `  sluice server
  sluice server --listen :8470 --tls-self-signed --listen-tls :8473
  sluice server --config /etc/sluice/sluice.toml --check-config`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loader.Load()
			if err != nil {
				return usagef(cmd, "%s", err)
			}
			switch {
			case printConfig:
				return cfg.Print(env.Stdout)
			case checkConfig:
				for _, w := range cfg.Warnings {
					fmt.Fprintf(env.Stderr, "warning: %s\n", w)
				}
				if err := server.Check(cfg); err != nil {
					return err
				}
				_, err := fmt.Fprintln(env.Stdout, "the settings are good")
				return err
			}
			level := new(slog.LevelVar)
			level.Set(cfg.LogLevel)
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			if env.Getenv("GOGC") == "" {
				// Most of the heap is media, which the collector does not look into: it
				// runs more often at little cost, instead of doubling the memory budget.
				debug.SetGCPercent(gcPercent)
			}
			s, err := server.New(cmd.Context(), server.Options{
				Config: cfg, Version: Version(), Logger: newLogger(env, cfg.LogFormat, level), Level: level,
				Stdout: env.Stdout, Terminal: env.Terminal, Program: env.Program, Hangup: hangup, Reload: loader.Load,
			})
			if err != nil {
				return err
			}
			return s.Run(cmd.Context())
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVar(&printConfig, "print-config", false, "print every setting, its value and where it came from, and end")
	fs.BoolVar(&checkConfig, "check-config", false, "check the settings and the files they name, and end")
	loader = config.NewLoader(fs, env.Environ)
	return cmd
}

func newLogger(env *Env, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(env.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(env.Stderr, o))
}
