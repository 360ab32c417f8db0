package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/server"
)

func newEnvCommand(env *Env) *cobra.Command {
	var data, shell, endpoint string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "env [--shell sh|fish|powershell] [--data DIR]",
		Short: "Print what a shell needs to call the server on this machine",
		Long: `Print the environment with which AWS clients, native producers and sluice itself
find the server that runs on this machine and call it as its root user: the
endpoint in each of the variables that clients read, region, access key, and the
CA file when the server made its own.

The root access key is read from the data directory, so this works for whoever
may read that.`,
		Example: `  eval "$(sluice env)"
  sluice env --shell fish | source
  sluice env --shell powershell | Out-String | Invoke-Expression`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				data = env.Getenv("SLUICE_DATA")
			}
			if data == "" {
				data = "./sluice-data"
			}
			if shell == "" {
				shell = shellOf(env)
			}
			vars, err := environment(env, data, endpoint)
			if err != nil {
				return err
			}
			if asJSON {
				m := map[string]string{}
				for _, v := range vars {
					m[v[0]] = v[1]
				}
				return printJSON(env.Stdout, m)
			}
			return printEnv(cmd, env.Stdout, shell, vars)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&data, "data", "", "data directory of the server (default: SLUICE_DATA, ./sluice-data)")
	fs.StringVar(&shell, "shell", "", "sh (also bash and zsh), fish or powershell (default: by SHELL)")
	fs.StringVar(&endpoint, "endpoint-url", "", "URL of the server (default: as the running server wrote down)")
	jsonVar(cmd, &asJSON)
	return cmd
}

func shellOf(env *Env) string {
	switch name := filepath.Base(env.Getenv("SHELL")); {
	case strings.HasPrefix(name, "fish"):
		return "fish"
	case strings.HasPrefix(name, "pwsh"), name == "." && env.Getenv("PSModulePath") != "":
		return "powershell"
	}
	return "sh"
}

// environment is the variables in the order they are printed; "" takes one away.
func environment(env *Env, data, endpoint string) ([][2]string, error) {
	state, err := server.ReadState(data)
	switch {
	case errors.Is(err, fs.ErrNotExist) && endpoint == "":
		return nil, fmt.Errorf("no server runs on %s: start it with 'sluice server', or name its URL with --endpoint-url and its data with --data", data)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if endpoint != "" {
		state.URL = strings.TrimRight(endpoint, "/")
	}
	if state.Region == "" {
		state.Region = "us-west-2"
	}
	vars := [][2]string{
		{"AWS_ENDPOINT_URL", state.URL},
		{"AWS_ENDPOINT_URL_KINESIS_VIDEO", state.URL},
		{"CONTROL_PLANE_URI", state.URL},
		{"AWS_REGION", state.Region},
		{"AWS_DEFAULT_REGION", state.Region},
	}
	root, err := auth.ReadRoot(data)
	switch {
	case err == nil:
		// A session token or a profile of another place would be used with the key.
		vars = append(vars, [2]string{"AWS_ACCESS_KEY_ID", root.AccessKeyID}, [2]string{"AWS_SECRET_ACCESS_KEY", root.SecretAccessKey},
			[2]string{"AWS_SESSION_TOKEN", ""}, [2]string{"AWS_PROFILE", ""})
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(env.Stderr, "The root access key of this server is not in %s: it was given to it in its environment. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY yourself.\n", data)
	default:
		return nil, err
	}
	if state.CAFile != "" {
		vars = append(vars, [2]string{"AWS_CA_BUNDLE", state.CAFile}, [2]string{"AWS_KVS_CACERT_PATH", state.CAFile})
	}
	return vars, nil
}

func printEnv(cmd *cobra.Command, w io.Writer, shell string, vars [][2]string) error {
	var set, unset string
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	switch shell {
	case "sh", "bash", "zsh":
		set, unset = "export %s=%s\n", "unset %s\n"
	case "fish":
		set, unset = "set -gx %s %s;\n", "set -e %s;\n"
		quote = func(s string) string {
			return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", `\'`) + "'"
		}
	case "powershell", "pwsh":
		set, unset = "$Env:%s = %s\n", "Remove-Item Env:%s -ErrorAction SilentlyContinue\n"
		quote = func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	default:
		return usagef(cmd, "shell %q: want sh, fish or powershell", shell)
	}
	for _, v := range vars {
		var err error
		if v[1] == "" {
			_, err = fmt.Fprintf(w, unset, v[0])
		} else {
			_, err = fmt.Fprintf(w, set, v[0], quote(v[1]))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
