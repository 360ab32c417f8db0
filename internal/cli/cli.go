// Package cli is the command line of the sluice binary: one file for each
// noun, all with one grammar,
//
//	sluice NOUN VERB STREAM [ARGUMENTS]
//
// and a few short verbs (put, get, tap, ...). The package reads flags and
// arguments, calls the packages that do the work and prints the result; the
// work itself is elsewhere. Everything it takes from the process comes in an
// Env, so that a test runs a command line without a process.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// Env is what a command line takes from its process.
type Env struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Environ  []string // NAME=value; a later entry wins
	Now      func() time.Time
	Terminal bool   // Stdout is a terminal: secrets and progress may be shown
	Program  string // how the binary was called, for the commands that are suggested; "": sluice
}

// OSEnv is the Env of the running process.
func OSEnv() *Env {
	return &Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: os.Environ(), Now: time.Now, Terminal: isTerminal(os.Stdout), Program: os.Args[0],
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0 && f.Name() != os.DevNull
}

// Getenv is the value of an environment variable, "" when it is not set.
func (e *Env) Getenv(name string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(e.Environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// The exit codes of every verb.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 2
	ExitNotFound    = 3   // the stream, fragment, user or key named is not there
	ExitDenied      = 4   // the credentials or the policy do not allow it
	ExitIncomplete  = 5   // it ran, but a part of it is missing
	ExitInterrupted = 130 // ended by SIGINT or SIGTERM before it was done
)

// ErrIncomplete is wrapped by a verb that did a part of its work: exit code 5.
var ErrIncomplete = errors.New("incomplete")

// usageError is a wrong command line: exit code 2, with a pointer to --help.
type usageError struct {
	err  error
	help string // the command whose --help tells more
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes the error of a wrong command line.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), help: cmd.CommandPath()}
}

// exitError carries an exit code of its own; err may be nil when everything
// has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// Main runs one command line and returns the exit code. SIGINT and SIGTERM end
// the command's context; a second one, a second later, ends the process at once.
func Main(args []string, env *Env) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// Not at once: timeout(1) and some shells send the same signal twice.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	return Run(ctx, args, env)
}

// Run is Main under a context of the caller's.
func Run(ctx context.Context, args []string, env *Env) int {
	root := newRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	if ctx.Err() != nil && code == ExitFailure && errors.Is(err, context.Canceled) {
		code = ExitInterrupted
	}
	var silent *exitError
	if err != nil && (!errors.As(err, &silent) || silent.err != nil) && code != ExitInterrupted {
		fmt.Fprintf(env.Stderr, "sluice: %s\n", errorText(err))
		if text := remedy(err); text != "" {
			fmt.Fprintln(env.Stderr, text)
		}
		if url := helpURL(err); url != "" {
			fmt.Fprintf(env.Stderr, "See %s\n", url)
		}
		var usage *usageError
		if errors.As(err, &usage) {
			fmt.Fprintf(env.Stderr, "See '%s --help'.\n", usage.help)
		}
	}
	return code
}

// errorText is what a person reads: of an error of the service its name and
// its message, and of an address that does not answer what was called, without
// the SDK's wrapping.
func errorText(err error) string {
	if e := unreached(err); e != nil {
		return e.Error()
	}
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorMessage() != "" {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}

// unreached is the part of an error that says which address refused to be called.
func unreached(err error) *url.Error {
	var call *url.Error
	if errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &call) {
		return call
	}
	return nil
}

// remedy says what to do about what stopped a call on its way to a server.
func remedy(err error) string {
	var none *noCredentials
	switch {
	case unreached(err) != nil:
		return "Nothing listens there. 'sluice server' starts a server; --endpoint-url or AWS_ENDPOINT_URL names the address of one."
	case errors.As(err, &none):
		return `Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile; 'eval "$(sluice env)"' sets those of the server on this machine.`
	}
	return ""
}

// helpURL is where a Sluice server says more about an error of its own.
func helpURL(err error) string {
	var ours *kvsapi.APIError
	if errors.As(err, &ours) {
		return ours.Help
	}
	var sdk *smithyhttp.ResponseError
	if errors.As(err, &sdk) && sdk.Response != nil && sdk.Response.Response != nil {
		return kvsapi.HelpURL(sdk.Response.Response)
	}
	return ""
}

func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return ExitUsage
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	if errors.Is(err, ErrIncomplete) {
		return ExitIncomplete
	}
	code := string(sluice.CodeOf(err))
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	switch strings.TrimSuffix(code, "Exception") {
	case "ResourceNotFound", "NoSuchEntity", "NotFound":
		return ExitNotFound
	case "AccessDenied", "NotAuthorized", "InvalidSignature", "SignatureDoesNotMatch",
		"UnrecognizedClient", "InvalidClientTokenId", "MissingAuthenticationToken", "IncompleteSignature", "ExpiredToken":
		return ExitDenied
	}
	return ExitFailure
}
