package playback_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

// manage makes a call of IAM as root.
func manage(t *testing.T, s *sluicetest.Server, pairs ...string) (keyID, secret string) {
	t.Helper()
	form := url.Values{"Version": {"2010-05-08"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	body := form.Encode()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), s.Credentials, r, hex.EncodeToString(sum[:]), "iam", s.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v: %d %s %v", pairs, res.StatusCode, answer, err)
	}
	var out struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	if err := xml.Unmarshal(answer, &out); err != nil {
		t.Fatal(err)
	}
	return out.ID, out.Secret
}

// TestPolicyOfTheOpener: conditions on where a call comes from hold for a session
// as they did for the call that opened it.
func TestPolicyOfTheOpener(t *testing.T) {
	t.Parallel()
	s := sluicetest.Start(t)
	put(t, s, "cam", mediatest.File(t, "putmedia-captures/video-h264-relative-01.body.mkv"), kvsapi.PutMediaInput{TimecodeType: sluice.TimecodeRelative, ProducerStart: time.Now().Add(-time.Hour).Truncate(time.Millisecond)})
	from, to, _ := span(t, s.Client(), "cam")
	manage(t, s, "Action", "CreateUser", "UserName", "viewer")
	id, secret := manage(t, s, "Action", "CreateAccessKey", "UserName", "viewer")
	config := s.AWSConfig()
	config.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	})
	viewer := kvsapi.NewFromConfig(config, s.Endpoint)
	for _, c := range []struct {
		condition string
		allowed   bool
	}{
		{`"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}`, true},
		{`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, false},
		{`"Bool":{"aws:SecureTransport":"false"}`, true},
	} {
		manage(t, s, "Action", "PutUserPolicy", "UserName", "viewer", "PolicyName", "p", "PolicyDocument",
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kinesisvideo:Get*","Resource":"*","Condition":{`+c.condition+`}}}`)
		u, err := viewer.GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: sluice.StreamRef{Name: "cam"}, Mode: kvsapi.OnDemand,
			Clock: sluice.ProducerClock, From: from, To: to.Add(time.Second)})
		if (err == nil) != c.allowed {
			t.Fatalf("%s: %v", c.condition, err)
		}
		if err != nil {
			continue
		}
		if res, text := get(t, u); res.StatusCode != http.StatusOK || !strings.HasPrefix(text, "#EXTM3U") {
			t.Errorf("%s: a session that was opened answers %d %s", c.condition, res.StatusCode, text)
		}
	}
}
