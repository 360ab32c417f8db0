package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"
)

// Loader binds the table to flags and puts a Config together, as often as it is
// asked: after SIGHUP the file is read again, and the flags and the environment
// are what they were.
type Loader struct {
	settings []*Setting
	flags    map[string]*flagValue
	file     string // --config
	environ  []string
}

// flagValue collects what is given on the command line.
type flagValue struct {
	setting *Setting
	values  []string
	given   bool
}

func (v *flagValue) String() string {
	if v.setting == nil {
		return ""
	}
	return strings.Join(v.setting.Default, ",")
}

func (v *flagValue) Type() string {
	if v.setting.Arg == "" {
		return "bool" // pflag then takes the flag without a value
	}
	return v.setting.Arg
}

func (v *flagValue) Set(s string) error {
	if !v.setting.List || s == Off || slices.Equal(v.values, []string{Off}) {
		v.values = nil // "off" takes back what stands before it
	}
	v.values, v.given = append(v.values, s), true
	return v.setting.set(&Config{}, v.values)
}

// NewLoader defines the flags of every setting, and --config, on fs.
func NewLoader(fs *pflag.FlagSet, environ []string) *Loader {
	l := &Loader{settings: Settings(), flags: map[string]*flagValue{}, environ: environ}
	fs.StringVar(&l.file, "config", "", "TOML file of settings (default: SLUICE_CONFIG); keys are the flags' names")
	for _, s := range l.settings {
		v := &flagValue{setting: s}
		l.flags[s.Name] = v
		f := fs.VarPF(v, s.Name, "", s.Doc)
		if s.Arg == "" {
			f.NoOptDefVal = "true"
		}
	}
	return l
}

// Load puts the settings together: flags over environment over file over
// defaults. The error of a value names where it stands.
func (l *Loader) Load() (*Loaded, error) {
	out := &Loaded{}
	env := map[string]string{}
	for _, e := range l.environ {
		name, v, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "SLUICE_") {
			env[name] = v
		}
		if name == "CREDENTIALS_DIRECTORY" { // systemd's LoadCredential
			out.CredentialsDir = v
		}
	}
	path := l.file
	if path == "" {
		path = env["SLUICE_CONFIG"]
	}
	delete(env, "SLUICE_CONFIG")
	file, err := l.readFile(path)
	if err != nil {
		return nil, err
	}
	for _, s := range l.settings {
		v := Value{Setting: s, Text: s.Default, Origin: FromDefault}
		if texts, ok := file[s.Name]; ok {
			v.Text, v.Origin, v.Where = texts, Origin(path), path+": "+s.Name
		}
		if text, ok := env[s.Variable()]; ok {
			v.Text, v.Origin, v.Where = splitList(s, text), FromEnv, s.Variable()
			delete(env, s.Variable())
		}
		if f := l.flags[s.Name]; f.given {
			v.Text, v.Origin, v.Where = f.values, FromFlag, "--"+s.Name
		}
		if len(v.Text) > 0 || v.Origin != FromDefault {
			if !s.List && len(v.Text) != 1 {
				return nil, fmt.Errorf("%s: want one value", v.Where)
			}
			if err := s.set(&out.Config, v.Text); err != nil {
				return nil, fmt.Errorf("%s: %w", v.Where, err)
			}
		}
		out.Values = append(out.Values, v)
	}
	for name, field := range envOnly {
		*field(&out.Config) = env[name]
		delete(env, name)
	}
	out.Warnings = l.unknownVariables(env)
	return out, out.check()
}

func splitList(s *Setting, text string) []string {
	if !s.List {
		return []string{text}
	}
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

func (l *Loader) names() []string {
	var list []string
	for _, s := range l.settings {
		list = append(list, s.Name)
	}
	return list
}

// unknownVariables warns of what has our prefix and no meaning: a misspelt
// setting would else be a silent default.
func (l *Loader) unknownVariables(env map[string]string) []string {
	var known, list []string
	for _, s := range l.settings {
		known = append(known, s.Variable())
	}
	for name := range envOnly {
		known = append(known, name)
	}
	known = append(known, "SLUICE_CONFIG")
	for name := range env {
		w := "environment variable " + name + " is unknown"
		if near := Nearest(name, known); near != "" {
			w += ", did you mean " + near + "?"
		}
		list = append(list, w)
	}
	slices.Sort(list)
	return list
}

// maxFile bounds the settings file.
const maxFile = 1 << 20

// readFile reads the TOML file into setting names and texts. A table's keys are
// settings too: [tls] cert is tls-cert.
func (l *Loader) readFile(path string) (map[string][]string, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	if len(raw) > maxFile {
		return nil, fmt.Errorf("settings file %s: more than %d bytes", path, maxFile)
	}
	var tree map[string]any
	if _, err := toml.NewDecoder(bytes.NewReader(raw)).Decode(&tree); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%s:%d: %s", path, at.Position.Line, at.Message)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := map[string][]string{}
	return out, l.flatten(path, "", tree, out)
}

func (l *Loader) flatten(path, prefix string, tree map[string]any, out map[string][]string) error {
	for key, v := range tree {
		name := prefix + key
		if sub, ok := v.(map[string]any); ok {
			if err := l.flatten(path, name+"-", sub, out); err != nil {
				return err
			}
			continue
		}
		if !slices.Contains(l.names(), name) {
			if near := Nearest(name, l.names()); near != "" {
				return fmt.Errorf("%s: unknown key %q, did you mean %q?", path, name, near)
			}
			return fmt.Errorf("%s: unknown key %q", path, name)
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		texts := []string{}
		for _, e := range list {
			switch e.(type) {
			case string, bool, int64, float64:
				texts = append(texts, fmt.Sprint(e))
			default:
				return fmt.Errorf("%s: %s: want a text, a number, true or false", path, name)
			}
		}
		out[name] = texts
	}
	return nil
}

// check is about values that depend on each other.
func (l *Loaded) check() error {
	if (l.TLSCert == "") != (l.TLSKey == "") {
		return errors.New("tls-cert and tls-key go together: one is set and the other is not")
	}
	if l.TLSCert != "" && l.TLSSelfSigned {
		return errors.New("tls-self-signed and tls-cert exclude each other")
	}
	if l.TLSCert == "" && !l.TLSSelfSigned {
		if l.Origin("listen-tls") != FromDefault && len(l.ListenTLS) > 0 {
			return errors.New("listen-tls needs a certificate: tls-cert and tls-key, or tls-self-signed")
		}
		l.ListenTLS = nil
	}
	if len(l.Listen)+len(l.ListenTLS) == 0 {
		return errors.New("listen and listen-tls are both off: nobody could call")
	}
	if (l.RootAccessKeyID == "") != (l.RootSecretAccessKey == "") {
		return errors.New("SLUICE_ROOT_ACCESS_KEY_ID and SLUICE_ROOT_SECRET_ACCESS_KEY go together: one is set and the other is not")
	}
	if l.RootAccessKeyID != "" && l.ResetRootKey {
		return errors.New("reset-root-key makes keys in the data directory, but SLUICE_ROOT_ACCESS_KEY_ID names others")
	}
	// The largest fragment that may come, when the rules set one.
	largest := ByteSize(l.Rules.FragmentBytes)
	if least := 4 * largest; l.Memory < least {
		return fmt.Errorf("memory is %s, want at least %s: four of the largest fragments (limit-fragment-bytes)", l.Memory, least)
	}
	return nil
}

// Origin is where the value of the setting came from.
func (l *Loaded) Origin(name string) Origin {
	for _, v := range l.Values {
		if v.Setting.Name == name {
			return v.Origin
		}
	}
	return FromDefault
}

// Print writes each setting, its value and where it came from. Of secrets it
// says only whether they are set.
func (l *Loaded) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, v := range l.Values {
		text := strings.Join(v.Text, ",")
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", v.Setting.Name, text, v.Origin)
	}
	var names []string
	for name := range envOnly {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		state := "not set"
		if *envOnly[name](&l.Config) != "" {
			state = "set, not shown"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", name, state, FromEnv)
	}
	return tw.Flush()
}

// Changes compares with another Loaded: the settings that differ and that
// SIGHUP applies, and those that need a restart.
func (l *Loaded) Changes(next *Loaded) (live, restart []string) {
	for i, v := range l.Values {
		if slices.Equal(v.Text, next.Values[i].Text) {
			continue
		}
		if v.Setting.Live {
			live = append(live, v.Setting.Name)
		} else {
			restart = append(restart, v.Setting.Name)
		}
	}
	return live, restart
}
