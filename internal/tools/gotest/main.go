// Command gotest runs "go test" and says at the end how many tests passed,
// failed and were skipped, and why the skipped ones were. With -skips FILE a
// skip whose reason does not stand in that file, between backquotes, is a
// failure: a machine that lacks a real client must not look green.
//
//	gotest [-skips docs/skips.md] [go test flags] packages...
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

func main() {
	args := os.Args[1:]
	var known []string
	if len(args) > 1 && args[0] == "-skips" {
		text, err := os.ReadFile(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(text), -1) {
			known = append(known, m[1])
		}
		args = args[2:]
	} else {
		known = []string{""} // every reason holds it: nothing is checked
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sum := read(out, os.Stdout)
	runErr := cmd.Wait()

	unknown := 0
	for _, s := range sum.skips {
		mark := "skipped"
		if !slices.ContainsFunc(known, func(k string) bool { return strings.Contains(s.reason, k) }) {
			mark = "SKIPPED WITHOUT LEAVE"
			unknown++
		}
		fmt.Printf("%s: %s: %s\n", mark, s.test, s.reason)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", sum.passed, sum.failed+unknown, len(sum.skips)-unknown)
	if runErr != nil || sum.failed+unknown > 0 {
		os.Exit(1)
	}
}

type skip struct{ test, reason string }

type summary struct {
	passed, failed int
	skips          []skip
}

// read follows the event stream; it shows packages as they end, and the output
// of what failed.
func read(r io.Reader, w io.Writer) summary {
	var sum summary
	said := map[string][]string{} // output a test, or a package when Test is ""
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var e event
		if json.Unmarshal(scan.Bytes(), &e) != nil {
			fmt.Fprintln(w, scan.Text())
			continue
		}
		id := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			said[id] = append(said[id], e.Output)
			if e.Action == "build-output" {
				fmt.Fprint(w, e.Output)
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				fmt.Fprintf(w, "%-4s %s %.1fs\n", map[string]string{"pass": "ok", "fail": "FAIL", "skip": "none"}[e.Action], e.Package, e.Elapsed)
				if e.Action == "fail" {
					fmt.Fprint(w, strings.Join(said[id], ""))
				}
				continue
			}
			switch e.Action {
			case "pass":
				sum.passed++
			case "fail":
				sum.failed++
				fmt.Fprint(w, strings.Join(said[id], ""))
			case "skip":
				sum.skips = append(sum.skips, skip{e.Package + "." + e.Test, reason(said[id])})
			}
			delete(said, id)
		}
	}
	return sum
}

// reason is what a test said when it skipped: the line behind "file.go:12:".
func reason(lines []string) string {
	at := regexp.MustCompile(`^\s*\S+_test\.go:\d+: |^\s*\S+\.go:\d+: `)
	var text []string
	for _, l := range lines {
		if at.MatchString(l) {
			text = append(text, strings.TrimSpace(at.ReplaceAllString(l, "")))
		}
	}
	if len(text) == 0 {
		return "no reason given"
	}
	return strings.Join(text, " ")
}
