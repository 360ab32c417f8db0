// Command sluice is the server and the tools of Sluice in one binary; see
// sluice --help.
package main

import (
	"os"

	"github.com/sluicevideo/sluice/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.OSEnv()))
}
