package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func tree() *cobra.Command {
	root := newRoot(&Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// TestHelp: each command shows how it is used, and the commands of an example
// are there.
func TestHelp(t *testing.T) {
	t.Parallel()
	root := tree()
	n := 0
	walk(root, func(c *cobra.Command) {
		path := c.CommandPath()
		if strings.HasPrefix(path, "sluice completion") || path == "sluice help" {
			return // cobra's
		}
		n++
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s: wants a short description and an example", path)
		}
		for line := range strings.Lines(c.Example) {
			commandsIn(line, func(words []string) { checkCommand(t, path, root, words) })
		}
	})
	if n < 60 {
		t.Errorf("only %d commands were seen", n)
	}
}

// TestCommandsInDocuments: what the documents tell readers to type is there, with
// the flags that they name.
func TestCommandsInDocuments(t *testing.T) {
	t.Parallel()
	root := tree()
	top := filepath.Join("..", "..")
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md", "compat/*.md", "deploy/*", "web/src/pages/try-it.tsx", "web/src/parts/*.tsx"} {
		found, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	seen := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(top, file)
		for _, text := range code(name, string(b)) {
			commandsIn(text, func(words []string) {
				seen++
				checkCommand(t, name, root, words)
			})
		}
	}
	if seen < 100 {
		t.Errorf("only %d commands were found in %d files", seen, len(files))
	}
}

var (
	span    = regexp.MustCompile("`[^`]+`")
	started = regexp.MustCompile(`(?:^|[\s"'(;&|{])((?:\./)?(?:build/)?sluice) ([a-z][^\n]*)`)
)

// code is what of a document is typed: indented lines, fenced ones and spans; of
// other files each line.
func code(name, text string) (out []string) {
	if filepath.Ext(name) != ".md" {
		return strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n")
	}
	var prose strings.Builder
	fenced := false
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced || strings.HasPrefix(line, "    "):
			out = append(out, strings.TrimPrefix(strings.TrimSpace(line), "$ "))
		default:
			prose.WriteString(line)
		}
	}
	for _, s := range span.FindAllString(prose.String(), -1) {
		out = append(out, strings.ReplaceAll(strings.Trim(s, "`"), "\n", " "))
	}
	return out
}

// commandsIn finds the calls of sluice in a line of shell, cut where the next
// command or a comment begins.
func commandsIn(line string, found func(words []string)) {
	for {
		at := started.FindStringSubmatchIndex(line)
		if at == nil {
			return
		}
		call := line[at[4]:]
		line = call
		var words []string
		for _, w := range strings.Fields(call) {
			end := strings.TrimRight(w, "`\"');,.:")
			if w == "#" || strings.Trim(w, "|&;>") == "" || w == "..." || w == "\\" {
				break
			}
			words = append(words, end)
			if strings.ContainsAny(w[len(end):], "`\");") {
				break
			}
		}
		found(words)
	}
}

func checkCommand(t *testing.T, where string, root *cobra.Command, words []string) {
	t.Helper()
	cmd, rest, err := root.Find(words)
	if err != nil || cmd == root {
		t.Errorf("%s: sluice %s: there is no such command", where, strings.Join(words, " "))
		return
	}
	if cmd.HasSubCommands() && len(rest) > 0 && regexp.MustCompile(`^[a-z]+$`).MatchString(rest[0]) && cmd.Name() != "completion" {
		t.Errorf("%s: sluice %s: %s has no %s", where, strings.Join(words, " "), cmd.CommandPath(), rest[0])
	}
	cmd.InitDefaultHelpFlag()
	for _, w := range rest {
		w = strings.TrimLeft(w, "[(")
		name, ok := strings.CutPrefix(w, "--")
		if !ok || name == "" {
			continue
		}
		name, _, _ = strings.Cut(strings.TrimRight(name, "])"), "=")
		if cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			t.Errorf("%s: sluice %s: %s has no flag --%s", where, strings.Join(words, " "), cmd.CommandPath(), name)
		}
	}
}
