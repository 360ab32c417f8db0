package compat_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// TestControl drives the control plane of a running server through the cases of
// cases/*.json, with each client there is.
func TestControl(t *testing.T) {
	t.Parallel()
	for _, client := range []struct {
		name string
		run  func(t *testing.T, s *sluicetest.Server, nobody, cases string)
	}{
		{"go", goCases},
		{"boto3", program("/usr/bin/python3", "/usr/lib/python3/dist-packages/boto3", "python/control.py", "boto3")},
		{"cli", program("/usr/bin/python3", "/usr/bin/aws", "python/control.py", "cli")},
		{"js", program("node", "js/node_modules/@aws-sdk/client-kinesis-video", "control.js")},
	} {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			s := sluicetest.Start(t)
			client.run(t, s, nobody(t, s), "control.json")
			// So few that the slowest client makes more.
			limited := sluicetest.Start(t, "--rates=current", "--rate-stream-calls=0.2", "--rate-list-calls=0.2", "--limit-streams=2")
			client.run(t, limited, ":", "limits.json")
		})
	}
}

// nobody makes a user without a policy, by the wire actions of IAM.
func nobody(t *testing.T, s *sluicetest.Server) (key string) {
	t.Helper()
	var out struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	asRoot(t, s, "UserName=nobody&Action=CreateUser")
	if err := xml.Unmarshal(asRoot(t, s, "UserName=nobody&Action=CreateAccessKey"), &out); err != nil {
		t.Fatal(err)
	}
	return out.ID + ":" + out.Secret
}

// asRoot makes a call of IAM and gives its answer.
func asRoot(t *testing.T, s *sluicetest.Server, form string) []byte {
	t.Helper()
	form += "&Version=2010-05-08"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint+"/", strings.NewReader(form))
	if err != nil {
		t.Error(err)
		return nil
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(form))
	if err := v4.NewSigner().SignHTTP(t.Context(), s.Credentials, req, hex.EncodeToString(sum[:]), "iam", "us-east-1", time.Now()); err != nil {
		t.Error(err)
		return nil
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("%s: %d %s %v", form, res.StatusCode, answer, err)
	}
	return answer
}

// program runs the cases with a program that prints a line a case; needs is the
// file without which it can't.
func program(interpreter, needs string, args ...string) func(*testing.T, *sluicetest.Server, string, string) {
	return func(t *testing.T, s *sluicetest.Server, nobody, cases string) {
		if _, err := exec.LookPath(interpreter); err != nil {
			t.Skipf("%s is not installed", interpreter)
		}
		if _, err := os.Stat(needs); err != nil {
			t.Skipf("%s is not installed", needs)
		}
		path, err := filepath.Abs(filepath.Join("cases", cases))
		if err != nil {
			t.Fatal(err)
		}
		args := append([]string{}, args...)
		dir := filepath.Dir(args[0])
		if dir == "." {
			dir = "js"
		}
		args[0] = filepath.Base(args[0])
		cmd := exec.CommandContext(t.Context(), interpreter, append(args, path)...)
		cmd.Dir = dir
		// A home of its own: nothing of the machine's AWS configuration counts.
		cmd.Env = append(s.Environ(), "SLUICE_COMPAT_NOBODY="+nobody, "HOME="+t.TempDir(), "PATH="+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		ran := 0
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			verdict, name, _ := strings.Cut(lines.Text(), " ")
			switch verdict {
			case "ok":
				ran++
			case "FAIL":
				t.Errorf("%s: %s", cases, name)
			case "skip":
				// Some operations are younger than the client.
				t.Logf("%s: not with this client: %s", cases, name)
			default:
				t.Log(lines.Text())
			}
		}
		if err != nil && !t.Failed() {
			t.Errorf("%v\n%s", err, out)
		}
		if ran == 0 {
			t.Error("no case was run")
		}
		t.Logf("%s: %d cases", cases, ran)
	}
}

// testCase is one of cases/*.json; README.md says what the members mean.
type testCase struct {
	Name  string
	Steps []struct {
		Call, As  string
		In        any
		Want      any
		Save      map[string]string
		Error, Or string
		Status    int
		Message   string
		Repeat    int
	}
}

// goCases runs the cases with the AWS SDK for Go v2.
func goCases(t *testing.T, s *sluicetest.Server, nobody, path string) {
	b, err := os.ReadFile(filepath.Join("cases", path))
	if err != nil {
		t.Fatal(err)
	}
	var cases []testCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	nobodyKey, nobodySecret, _ := strings.Cut(nobody, ":")
	clients := make(map[string]*kinesisvideo.Client)
	for who, key := range map[string][2]string{
		"":         {s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey},
		"nobody":   {nobodyKey, nobodySecret},
		"stranger": {"AKIASTRANGER00000000", s.Credentials.SecretAccessKey},
		"forger":   {s.Credentials.AccessKeyID, "not-the-secret-of-this-key"},
	} {
		clients[who] = kinesisvideo.New(kinesisvideo.Options{Region: s.Region, BaseEndpoint: aws.String(s.Endpoint), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(key[0], key[1], "")})
	}
	for i, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			names := map[string]string{"id": fmt.Sprintf("go-%d", i), "endpoint": s.Endpoint}
			for _, step := range c.Steps {
				seen := false
				for range max(1, step.Repeat) {
					out, err := call(t.Context(), clients[step.As], step.Call, fill(step.In, names))
					var e smithy.APIError
					var re *smithyhttp.ResponseError
					switch {
					case err == nil && step.Error == "":
						if err := compare(fill(step.Want, names), out, step.Call); err != nil {
							t.Fatal(err)
						}
						for name, path := range step.Save {
							v := out
							for part := range strings.SplitSeq(path, ".") {
								v = v.(map[string]any)[part]
							}
							names[name] = v.(string)
						}
					case err == nil && step.Repeat > 0:
					case err == nil:
						t.Fatalf("%s: succeeded, want %s", step.Call, step.Error)
					case !errors.As(err, &e) || !errors.As(err, &re):
						t.Fatalf("%s: %v", step.Call, err)
					case e.ErrorCode() == step.Or:
					case e.ErrorCode() != step.Error || re.HTTPStatusCode() != step.Status || !strings.Contains(e.ErrorMessage(), fill(step.Message, names).(string)):
						t.Fatalf("%s: got %d %s %q, want %d %s with %q", step.Call, re.HTTPStatusCode(), e.ErrorCode(), e.ErrorMessage(), step.Status, step.Error, step.Message)
					default:
						seen = true
					}
				}
				if step.Error != "" && !seen {
					t.Fatalf("%s: never got %s", step.Call, step.Error)
				}
			}
		})
	}
}

// call calls an operation of the client by its name; members and answer are as
// in JSON.
func call(ctx context.Context, c *kinesisvideo.Client, name string, members any) (any, error) {
	method := reflect.ValueOf(c).MethodByName(name)
	if !method.IsValid() {
		return nil, fmt.Errorf("the SDK has no %s", name)
	}
	in := reflect.New(method.Type().In(1).Elem())
	b, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, in.Interface()); err != nil {
		return nil, err
	}
	out := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if err, _ := out[1].Interface().(error); err != nil {
		return nil, err
	}
	if b, err = json.Marshal(out[0].Interface()); err != nil {
		return nil, err
	}
	var answer any
	return answer, json.Unmarshal(b, &answer)
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// fill puts the values of ${name} into strings, at any depth.
func fill(v any, names map[string]string) any {
	switch v := v.(type) {
	case string:
		if v == "#tags51" {
			tags := make(map[string]any)
			for i := range 51 {
				tags[fmt.Sprint("key", i)] = "v"
			}
			return tags
		}
		return variable.ReplaceAllStringFunc(v, func(s string) string { return names[s[2:len(s)-1]] })
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = fill(v[i], names)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = fill(v[k], names)
		}
		return out
	}
	return v
}

// compare checks that want is a part of got; null is as good as absent.
func compare(want, got any, at string) error {
	switch w := want.(type) {
	case nil:
		if got != nil && at != "" && strings.Contains(at, ".") {
			return fmt.Errorf("%s is %v, want null", at, got)
		}
		return nil
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %v, want an object", at, got)
		}
		for k, v := range w {
			if err := compare(v, g[k], at+"."+k); err != nil {
				return err
			}
		}
		return nil
	case []any:
		g, _ := got.([]any)
		if len(g) != len(w) {
			return fmt.Errorf("%s is %v, want %d entries", at, got, len(w))
		}
		for i := range w {
			if err := compare(w[i], g[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	case string:
		g, _ := got.(string)
		switch {
		case w == "#time":
			if at2, err := time.Parse(time.RFC3339Nano, g); err != nil || time.Since(at2).Abs() > 5*time.Minute {
				return fmt.Errorf("%s is %v, want a time of now", at, got)
			}
			return nil
		case strings.HasPrefix(w, "~"):
			if ok, err := regexp.MatchString(w[1:], g); err != nil || !ok {
				return fmt.Errorf("%s is %v, want it to match %s", at, got, w[1:])
			}
			return nil
		case strings.HasPrefix(w, "!"):
			if g == w[1:] || g == "" {
				return fmt.Errorf("%s is still %v", at, got)
			}
			return nil
		}
	}
	if want != got {
		return fmt.Errorf("%s is %v, want %v", at, got, want)
	}
	return nil
}
