package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicevideo/sluice/internal/config"
)

// The groups of sluice --help.
const (
	groupServer = "server"
	groupMedia  = "media"
	groupManage = "manage"
	groupFiles  = "files"
)

// newRoot makes the whole command tree. A new noun or short verb is a file with
// a func newXCommand(*Env) *cobra.Command and its line here.
func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Camera streams: a Kinesis Video Streams server of your own, and its tools",
		Long: `Sluice stores and serves camera streams as Amazon Kinesis Video Streams does.
'sluice server' is the server; the other commands are clients and work against
Sluice and AWS alike.

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 what was named is not there,
4 not allowed, 5 a part is missing, 130 interrupted.`,
		Example: `  sluice server
  sluice stream create cam1 --retention 24h
  sluice put cam1 film.mkv
  sluice get cam1 --from earliest -o film-again.mkv`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	titles := map[string]string{
		groupServer: "The server:",
		groupMedia:  "Media:",
		groupManage: "Streams, users and keys:",
		groupFiles:  "Files and data:",
	}
	for _, c := range []struct {
		group string
		make  func(*Env) *cobra.Command
	}{
		{groupServer, newServerCommand},
		{groupServer, newDemoCommand},
		{groupServer, newEnvCommand},
		{groupServer, newDoctorCommand},
		{groupServer, newBenchCommand},
		{groupMedia, newPutCommand},
		{groupMedia, newBridgeCommand},
		{groupMedia, newGetCommand},
		{groupMedia, newTapCommand},
		{groupMedia, newHLSCommand},
		{groupMedia, newDASHCommand},
		{groupMedia, newClipCommand},
		{groupMedia, newPlayCommand},
		{groupManage, newStreamCommand},
		{groupManage, newFragmentCommand},
		{groupManage, newUserCommand},
		{groupManage, newPolicyCommand},
		{groupManage, newKeyCommand},
		{groupFiles, newMKVCommand},
		{groupFiles, newInspectCommand},
		{groupFiles, newFsckCommand},
		{groupFiles, newReindexCommand},
		{groupFiles, newBackupCommand},
		{groupFiles, newRestoreCommand},
		{"", newVersionCommand},
	} {
		cmd := c.make(env)
		if c.group != "" && !root.ContainsGroup(c.group) {
			root.AddGroup(&cobra.Group{ID: c.group, Title: titles[c.group]})
		}
		cmd.GroupID = c.group
		root.AddCommand(cmd)
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.CompletionOptions.HiddenDefaultCmd = false
	walk(root, prepare)
	return root
}

func walk(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		walk(c, f)
	}
}

// prepare gives a command what all have in common: usage errors that say what
// was probably meant, and no silent acceptance of words that mean nothing.
func prepare(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef(c, "%s%s", strings.TrimPrefix(err.Error(), "pflag: "), nearestFlag(c, err))
	})
	if cmd.RunE == nil && cmd.Run == nil && cmd.HasSubCommands() {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			names := []string{}
			for _, sub := range c.Commands() {
				names = append(append(names, sub.Name()), sub.Aliases...)
			}
			if near := config.Nearest(args[0], names); near != "" {
				return usagef(c, "%s: unknown command %q, did you mean %q?", c.CommandPath(), args[0], near)
			}
			return usagef(c, "%s: unknown command %q", c.CommandPath(), args[0])
		}
		cmd.RunE = func(c *cobra.Command, _ []string) error {
			c.SetOut(c.ErrOrStderr())
			_ = c.Help()
			return &exitError{code: ExitUsage}
		}
		return
	}
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef(c, "%s: %s\nusage: %s", c.CommandPath(), err, c.UseLine())
		}
		return nil
	}
}

// nearestFlag turns pflag's "unknown flag: --lisen" into a suggestion.
func nearestFlag(cmd *cobra.Command, err error) string {
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := config.Nearest(name, names); near != "" {
		return ", did you mean --" + near + "?"
	}
	return ""
}
