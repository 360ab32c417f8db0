package api

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
)

var update = flag.Bool("update", false, "write docs/api.md anew")

// TestDocs keeps docs/api.md the same as the table.
func TestDocs(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "api.md")
	want := document(New(Options{}).Operations())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/api.md is not what the table says; go test ./internal/api -run TestDocs -update")
	}
}

func document(rows []*Operation) string {
	var b strings.Builder
	b.WriteString(apiIntro)
	served, unserved := 0, 0
	for _, o := range rows {
		if o.Served() {
			served++
		} else {
			unserved++
		}
	}
	fmt.Fprintf(&b, "\n## Operations\n\n%d are served, %d answer 501 `%s`.\n\n| operation | call | action | status |\n|---|---|---|---|\n", served, unserved, sluice.UnsupportedOperation)
	for _, o := range rows {
		name, status := o.Name, "501"
		if o.Served() {
			name, status = fmt.Sprintf("[%s](#%s)", o.Name, strings.ToLower(o.Name)), "served"
		}
		action := "`" + o.Action + "`"
		if o.Action == "" {
			action = map[Auth]string{Signature: "any caller", Token: "session token", None: "nobody is asked"}[o.Auth]
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", name, callOf(o), action, status)
	}
	for _, o := range rows {
		if !o.Served() {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n", o.Name)
		if o.Doc != "" {
			fmt.Fprintf(&b, "\n%s\n", o.Doc)
		}
		if o.Input != nil {
			b.WriteString("\n| member | type | rule |\n|---|---|---|\n")
			members(&b, "", reflect.TypeOf(o.Input))
		}
		codes := append([]sluice.Code{}, o.Errors...)
		if o.Protocol == RestJSON {
			if account, each := o.Class.FigureNames(); account != "" || each != "" {
				codes = append(codes, sluice.ClientLimitExceeded)
			}
			if o.Input != nil || o.Stream != nil {
				codes = append(codes, sluice.InvalidArgument)
			}
		}
		slices.Sort(codes)
		if codes = slices.Compact(codes); len(codes) > 0 {
			b.WriteString("\nRaises ")
			for i, c := range codes {
				if i > 0 {
					b.WriteString(", ")
				}
				fmt.Fprintf(&b, "`%s`", c)
			}
			b.WriteString(".\n")
		}
		account, each := o.Class.FigureNames()
		switch {
		case account != "" && each != "":
			fmt.Fprintf(&b, "\nRates: `%s` for the account, `%s` for a stream.\n", account, each)
		case account != "":
			fmt.Fprintf(&b, "\nRate: `%s` for the account.\n", account)
		case each != "":
			fmt.Fprintf(&b, "\nRate: `%s` for a stream.\n", each)
		}
	}
	b.WriteString("\n## Exceptions\n\n| exception | status |\n|---|---|\n")
	var codes []sluice.Code
	for c := range statuses {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	for _, c := range codes {
		fmt.Fprintf(&b, "| `%s` | %d |\n", c, statuses[c])
	}
	fmt.Fprintf(&b, "| `%s` | 500 |\n", sluice.InternalFailure)
	b.WriteString(differences)
	b.WriteString(limitsIntro)
	figureTable(&b, "Rules", "none", limits.Rules{}.Figures())
	figureTable(&b, "Rates", "off", limits.Rates{}.Figures())
	return b.String()
}

func callOf(o *Operation) string {
	switch o.Protocol {
	case Query:
		return o.Method + " " + o.Path + " Action=" + o.Name
	case JSON11:
		return o.Method + " " + o.Path + " X-Amz-Target: " + o.Target
	}
	return o.Method + " " + o.Path
}

func members(b *strings.Builder, path string, t reflect.Type) {
	for _, m := range shapeOf(t).members {
		kind, nested := m.kind.Name(), reflect.Type(nil)
		switch {
		case m.kind == timeType:
			kind = "time"
		case m.kind.Kind() == reflect.Struct:
			kind, nested = "object", m.kind
		case m.kind.Kind() == reflect.Map:
			kind = "map of strings"
		case m.kind.Kind() == reflect.Slice && m.kind.Elem().Kind() == reflect.Struct:
			kind, nested = "list of objects", m.kind.Elem()
		case m.kind.Kind() == reflect.Slice:
			kind = "list of " + m.kind.Elem().Name() + "s"
		case m.kind.Kind() == reflect.Int64:
			kind = "whole number"
		case m.kind.Kind() == reflect.Float64:
			kind = "number"
		}
		var rules []string
		if m.required {
			rules = append(rules, "required")
		}
		what := map[reflect.Kind]string{reflect.String: " characters", reflect.Map: " entries", reflect.Slice: " entries"}[m.kind.Kind()]
		rules = append(rules, m.self.words("", what)...)
		rules = append(rules, m.key.words("keys ", " characters")...)
		rules = append(rules, m.value.words("values ", " characters")...)
		fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", path, m.name, kind, strings.Join(rules, "; "))
		if nested != nil {
			members(b, path+m.name+".", nested)
		}
	}
}

func (r *rule) words(whose, unit string) (list []string) {
	if r.enum != nil {
		list = append(list, whose+"one of "+strings.Join(r.enum, ", "))
	}
	if r.hasMin || r.hasMax {
		list = append(list, whose+r.span()+unit)
	}
	if r.pattern != "" {
		// A bar would end the table's cell.
		list = append(list, whose+"`"+strings.ReplaceAll(patterns[r.pattern].text, "|", `\|`)+"`")
	}
	return list
}

func figureTable(b *strings.Builder, title, empty string, list []limits.Figure) {
	fmt.Fprintf(b, "\n### %s\n\n`%s` has 0 everywhere: no limit.\n\n| figure | what it bounds | `guide` | `current` |\n|---|---|---|---|\n", title, empty)
	for _, f := range list {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Name, f.Doc, f.Guide, f.Current)
	}
}

const apiIntro = `# The API

Made from the operation table; ` + "`go test ./internal/api -run TestDocs -update`" + ` writes it anew.

All operations of the control plane, of media and of archived media are POST with a JSON body to the path given;
paths are case-exact. IAM and STS are POST / with a form (Query protocol), KMS is POST / with X-Amz-Target. Every
call is signed with Signature Version 4, in the header or in the query, except the playback resources, whose URLs
carry a session token. OPTIONS on any path answers the preflight of a browser.

Checks are made in this order, and the first that fails answers: signature, policy, members, existence of the
stream, rate. Every answer has x-amzn-RequestId; an error also has x-amzn-ErrorType, and a body {"Message": "..."}
or, for errors before an operation is reached, {"message": "..."}. The header Link of an error, with rel="help", leads to
the heading of [troubleshooting.md](troubleshooting.md) that answers it, on this server.

Members are case-exact and unknown ones are passed over. null is as good as absent, and an empty body or null as
good as {}. Whole numbers may be written as 24, 24.0 or 2.4E1. Times are seconds since the epoch (whole, decimal or
scientific) or ISO 8601. Where a stream is named, StreamName or StreamARN must be given; both must agree.
`

const differences = `
## Differences from the guide and from AWS

- A missing permission answers 403 AccessDeniedException, as the service does; the models' 401 NotAuthorizedException is
  never raised. Who may not see a stream gets the same answer whether it exists or not.
- CreateStream, UpdateStream and UpdateDataRetention are complete when they answer; the statuses CREATING and UPDATING
  never show. DELETING lasts until the media is removed; until then CreateStream of the name, UpdateStream,
  UpdateDataRetention and DeleteStream raise ResourceInUseException, and data calls and tags ResourceNotFoundException.
- UpdateDataRetention adds or subtracts. The guide says the value replaces the retention: ` + "`--limits guide`" + ` does that.
- StreamLimitExceededException and FragmentLimitExceeded of the guide are in no SDK; the exceptions of the model are
  raised in their place: ClientLimitExceededException, AccountStreamLimitExceededException, ConnectionLimitExceededException.
- InvalidDeviceException and DeviceStreamLimitExceededException are never raised: devices are names only.
- Tag keys that begin with aws: are refused in every case of letters.
- Bodies over 256 KiB (512 KiB for IAM and STS) answer 413, bodies that stop arriving for 30 seconds 408.
- A path that no operation has answers 404 UnknownOperationException after the signature is verified; the service has
  been seen to answer 200 with an error inside.
- There is one storage tier, HOT.
`

const limitsIntro = `
## Limits

` + "`--limits current|guide|none`" + ` chooses the rules, ` + "`--rates off|current|guide`" + ` the rates. ` + "`guide`" + ` is the developer guide of 2019,
` + "`current`" + ` the service of today. Each figure can be set by itself. Exceeding a rate of calls raises
ClientLimitExceededException, of connections ConnectionLimitExceededException; beyond a bandwidth bytes flow slower.
`
