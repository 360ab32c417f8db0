package api_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"
	"github.com/aws/smithy-go"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/api"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
)

// wantError checks that err is the modelled exception, with this in its message.
func wantError(t *testing.T, err error, code sluice.Code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if e.ErrorCode() != string(code) || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("got %s %q, want %s with %q", e.ErrorCode(), e.ErrorMessage(), code, text)
	}
}

// made is a stream to try operations on.
type made struct {
	*server
	*kinesisvideo.Client
	name, arn, version string
}

func (m *made) describe(t *testing.T) *types.StreamInfo {
	t.Helper()
	out, err := m.DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: &m.name})
	if err != nil {
		t.Fatal(err)
	}
	return out.StreamInfo
}

// deleting makes the stream DELETING, as it is while its media is removed.
func (m *made) deleting(t *testing.T) {
	t.Helper()
	if _, err := m.Catalog.Delete(t.Context(), sluice.StreamRef{Name: m.name}, ""); err != nil {
		t.Fatal(err)
	}
}

func (m *made) tags(t *testing.T) map[string]string {
	t.Helper()
	out, err := m.ListTagsForStream(t.Context(), &kinesisvideo.ListTagsForStreamInput{StreamName: &m.name})
	if err != nil {
		t.Fatal(err)
	}
	return out.Tags
}

func manyTags(n int) map[string]string {
	tags := make(map[string]string, n)
	for i := range n {
		tags[fmt.Sprint("key", i)] = "v"
	}
	return tags
}

func tagList(n int) []types.Tag {
	list := make([]types.Tag, n)
	for i := range list {
		list[i] = types.Tag{Key: aws.String(fmt.Sprint("key", i)), Value: aws.String("v")}
	}
	return list
}

// keyring is a KMS with one key and one alias.
type keyring struct{}

func (keyring) Resolve(id string) (string, error) {
	if id == "alias/mine" {
		return "arn:aws:kms:us-west-2:000000000000:key/1234", nil
	}
	return "", fmt.Errorf("KMS key %q does not exist: %w", id, sluice.KMSKeyNotFound)
}

const absent = "arn:aws:kinesisvideo:us-west-2:000000000000:stream/absent/1600000000000"

// TestOperations drives every control operation with the AWS SDK for Go: its
// happy path, and each exception that it can raise.
func TestOperations(t *testing.T) {
	t.Parallel()
	type ctx = context.Context
	tests := []struct {
		name string
		do   func(t *testing.T, ctx ctx, m *made) error
		code sluice.Code // "": it must succeed
		text string      // in the message
	}{
		{"CreateStream/all members", func(t *testing.T, ctx ctx, m *made) error {
			out, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("new.cam_1-x"), DeviceName: aws.String("door"),
				MediaType: aws.String("video/h264,audio/aac"), DataRetentionInHours: aws.Int32(48), KmsKeyId: aws.String("alias/mine"),
				Tags: map[string]string{"site": "lab", "empty": ""}, StreamStorageConfiguration: &types.StreamStorageConfiguration{DefaultStorageTier: types.DefaultStorageTierHot}})
			if err != nil {
				return err
			}
			got, err := m.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamARN: out.StreamARN})
			if err != nil {
				return err
			}
			i := got.StreamInfo
			if *i.StreamName != "new.cam_1-x" || *i.DeviceName != "door" || *i.MediaType != "video/h264,audio/aac" || *i.DataRetentionInHours != 48 ||
				*i.KmsKeyId != "arn:aws:kms:us-west-2:000000000000:key/1234" || i.Status != types.StatusActive || time.Since(*i.CreationTime) > time.Minute {
				t.Errorf("described as %+v", i)
			}
			if want := fmt.Sprintf("arn:aws:kinesisvideo:us-west-2:000000000000:stream/new.cam_1-x/%d", i.CreationTime.UnixMilli()); *i.StreamARN != want {
				t.Errorf("ARN %s, want %s", *i.StreamARN, want)
			}
			return nil
		}, "", ""},
		{"CreateStream/default key", func(t *testing.T, ctx ctx, m *made) error {
			if i := m.describe(t); *i.KmsKeyId != "arn:aws:kms:us-west-2:000000000000:alias/aws/kinesisvideo" || *i.DataRetentionInHours != 0 || i.DeviceName != nil || i.MediaType != nil {
				t.Errorf("described as %+v", i)
			}
			return nil
		}, "", ""},
		{"CreateStream/taken", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &m.name})
			return err
		}, sluice.ResourceInUse, "already exists"},
		{"CreateStream/being deleted", func(t *testing.T, ctx ctx, m *made) error {
			m.deleting(t)
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &m.name})
			return err
		}, sluice.ResourceInUse, "already exists"},
		{"CreateStream/account full", func(t *testing.T, ctx ctx, m *made) error {
			m.Limits.Set(limits.Rules{Streams: 1}, limits.Rates{})
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("two")})
			return err
		}, sluice.AccountStreamLimitExceeded, "at most 1"},
		{"CreateStream/name", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("a b")})
			return err
		}, sluice.InvalidArgument, "StreamName"},
		{"CreateStream/device", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("x"), DeviceName: aws.String(strings.Repeat("d", 129))})
			return err
		}, sluice.InvalidArgument, "DeviceName"},
		{"CreateStream/media type", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("x"), MediaType: aws.String("h264")})
			return err
		}, sluice.InvalidArgument, "MediaType"},
		{"CreateStream/retention", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("x"), DataRetentionInHours: aws.Int32(-1)})
			return err
		}, sluice.InvalidArgument, "DataRetentionInHours: is -1, must be 0 to 87600"},
		{"CreateStream/no such key", func(t *testing.T, ctx ctx, m *made) error {
			// It is looked for when media comes.
			for i, id := range []string{"alias/no", "arn:aws:kms:us-west-2:111122223333:key/1234", "no key at all"} {
				m.name = fmt.Sprint("keyed", i)
				if _, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &m.name, KmsKeyId: &id}); err != nil {
					return err
				}
				if got := m.describe(t).KmsKeyId; *got != id {
					t.Errorf("key %q is shown as %q", id, *got)
				}
			}
			return nil
		}, "", ""},
		{"CreateStream/key", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("x"), KmsKeyId: aws.String(strings.Repeat("k", 2049))})
			return err
		}, sluice.InvalidArgument, "KmsKeyId"},
		{"CreateStream/tier", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("x"),
				StreamStorageConfiguration: &types.StreamStorageConfiguration{DefaultStorageTier: types.DefaultStorageTierWarm}})
			return err
		}, sluice.InvalidArgument, "DefaultStorageTier"},
		{"CreateStream/tag key", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("x"), Tags: map[string]string{"aws:mine": ""}})
			return err
		}, sluice.InvalidArgument, "reserved"},
		{"CreateStream/tags", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("x"), Tags: manyTags(51)})
			return err
		}, sluice.TagsPerResourceExceededLimit, "51 tags, at most 50"},

		{"DescribeStream/by ARN", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamARN: &m.arn})
			return err
		}, "", ""},
		{"DescribeStream/being deleted", func(t *testing.T, ctx ctx, m *made) error {
			m.deleting(t)
			if i := m.describe(t); i.Status != types.StatusDeleting {
				t.Errorf("status %s", i.Status)
			}
			return nil
		}, "", ""},
		{"DescribeStream/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: aws.String("absent")})
			return err
		}, sluice.ResourceNotFound, "The requested stream is not found or not active."},
		{"DescribeStream/nothing", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{})
			return err
		}, sluice.InvalidArgument, "StreamName, StreamARN"},
		{"DescribeStream/ARN", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamARN: aws.String("arn:aws:kinesisvideo:x")})
			return err
		}, sluice.InvalidArgument, "StreamARN"},
		{"DescribeStream/disagree", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamARN: &m.arn, StreamName: aws.String("other")})
			return err
		}, sluice.InvalidArgument, "must agree"},

		{"ListStreams", func(t *testing.T, ctx ctx, m *made) error {
			out, err := m.ListStreams(ctx, &kinesisvideo.ListStreamsInput{})
			if err == nil && (len(out.StreamInfoList) != 1 || *out.StreamInfoList[0].StreamARN != m.arn || out.NextToken != nil) {
				t.Errorf("listed %+v", out)
			}
			return err
		}, "", ""},
		{"ListStreams/pages of a prefix", func(t *testing.T, ctx ctx, m *made) error {
			var want, got []string
			for i := range 7 {
				name := fmt.Sprint("page-", i)
				want = append(want, name)
				if _, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: &name}); err != nil {
					return err
				}
			}
			pages := kinesisvideo.NewListStreamsPaginator(m.Client, &kinesisvideo.ListStreamsInput{MaxResults: aws.Int32(3),
				StreamNameCondition: &types.StreamNameCondition{ComparisonOperator: types.ComparisonOperatorBeginsWith, ComparisonValue: aws.String("page-")}})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return err
				}
				for _, s := range page.StreamInfoList {
					got = append(got, *s.StreamName)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v", got)
			}
			return nil
		}, "", ""},
		{"ListStreams/MaxResults", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.ListStreams(ctx, &kinesisvideo.ListStreamsInput{MaxResults: aws.Int32(10001)})
			return err
		}, sluice.InvalidArgument, "MaxResults: is 10001, must be 1 to 10000"},
		{"ListStreams/operator", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.ListStreams(ctx, &kinesisvideo.ListStreamsInput{StreamNameCondition: &types.StreamNameCondition{ComparisonOperator: "ENDS_WITH", ComparisonValue: aws.String("x")}})
			return err
		}, sluice.InvalidArgument, "StreamNameCondition.ComparisonOperator"},
		{"ListStreams/foreign token", func(t *testing.T, ctx ctx, m *made) error {
			if _, err := m.CreateStream(ctx, &kinesisvideo.CreateStreamInput{StreamName: aws.String("other")}); err != nil {
				return err
			}
			out, err := m.ListStreams(ctx, &kinesisvideo.ListStreamsInput{MaxResults: aws.Int32(1)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.ListStreams(ctx, &kinesisvideo.ListStreamsInput{NextToken: out.NextToken,
				StreamNameCondition: &types.StreamNameCondition{ComparisonOperator: types.ComparisonOperatorBeginsWith, ComparisonValue: aws.String("o")}})
			return err
		}, sluice.InvalidArgument, "NextToken"},

		{"UpdateStream", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateStream(ctx, &kinesisvideo.UpdateStreamInput{StreamName: &m.name, CurrentVersion: &m.version, DeviceName: aws.String("gate"), MediaType: aws.String("video/h265")})
			if i := m.describe(t); *i.DeviceName != "gate" || *i.MediaType != "video/h265" || *i.Version == m.version {
				t.Errorf("updated to %+v", i)
			}
			return err
		}, "", ""},
		{"UpdateStream/version", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateStream(ctx, &kinesisvideo.UpdateStreamInput{StreamARN: &m.arn, CurrentVersion: aws.String("old")})
			return err
		}, sluice.VersionMismatch, "CurrentVersion"},
		{"UpdateStream/being deleted", func(t *testing.T, ctx ctx, m *made) error {
			m.deleting(t)
			_, err := m.UpdateStream(ctx, &kinesisvideo.UpdateStreamInput{StreamARN: &m.arn, CurrentVersion: &m.version})
			return err
		}, sluice.ResourceInUse, "DELETING"},
		{"UpdateStream/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateStream(ctx, &kinesisvideo.UpdateStreamInput{StreamARN: aws.String(absent), CurrentVersion: &m.version})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"UpdateStream/bad version", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateStream(ctx, &kinesisvideo.UpdateStreamInput{StreamARN: &m.arn, CurrentVersion: aws.String("no-hyphens")})
			return err
		}, sluice.InvalidArgument, "CurrentVersion"},

		{"UpdateDataRetention/increase", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: &m.name, CurrentVersion: &m.version,
				Operation: types.UpdateDataRetentionOperationIncreaseDataRetention, DataRetentionChangeInHours: aws.Int32(5)})
			if i := m.describe(t); *i.DataRetentionInHours != 5 || *i.Version == m.version {
				t.Errorf("updated to %+v", i)
			}
			return err
		}, "", ""},
		{"UpdateDataRetention/below zero", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: &m.name, CurrentVersion: &m.version,
				Operation: types.UpdateDataRetentionOperationDecreaseDataRetention, DataRetentionChangeInHours: aws.Int32(5)})
			return err
		}, sluice.InvalidArgument, "0 to 87600"},
		{"UpdateDataRetention/zero", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: &m.name, CurrentVersion: &m.version,
				Operation: types.UpdateDataRetentionOperationIncreaseDataRetention, DataRetentionChangeInHours: aws.Int32(0)})
			return err
		}, sluice.InvalidArgument, "DataRetentionChangeInHours: is 0, must be 1 to 87600"},
		{"UpdateDataRetention/operation", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: &m.name, CurrentVersion: &m.version, Operation: "SET", DataRetentionChangeInHours: aws.Int32(1)})
			return err
		}, sluice.InvalidArgument, "Operation"},
		{"UpdateDataRetention/version", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: &m.name, CurrentVersion: aws.String("old"),
				Operation: types.UpdateDataRetentionOperationIncreaseDataRetention, DataRetentionChangeInHours: aws.Int32(1)})
			return err
		}, sluice.VersionMismatch, "CurrentVersion"},
		{"UpdateDataRetention/being deleted", func(t *testing.T, ctx ctx, m *made) error {
			m.deleting(t)
			_, err := m.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: &m.name, CurrentVersion: &m.version,
				Operation: types.UpdateDataRetentionOperationIncreaseDataRetention, DataRetentionChangeInHours: aws.Int32(1)})
			return err
		}, sluice.ResourceInUse, "DELETING"},
		{"UpdateDataRetention/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateDataRetention(ctx, &kinesisvideo.UpdateDataRetentionInput{StreamName: aws.String("absent"), CurrentVersion: &m.version,
				Operation: types.UpdateDataRetentionOperationIncreaseDataRetention, DataRetentionChangeInHours: aws.Int32(1)})
			return err
		}, sluice.ResourceNotFound, "not found"},

		{"DeleteStream", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: &m.arn, CurrentVersion: &m.version})
			if i := m.describe(t); i.Status != types.StatusDeleting {
				t.Errorf("status %s", i.Status)
			}
			return err
		}, "", ""},
		{"DeleteStream/twice", func(t *testing.T, ctx ctx, m *made) error {
			m.deleting(t)
			_, err := m.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: &m.arn})
			return err
		}, sluice.ResourceInUse, "DELETING"},
		{"DeleteStream/version", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: &m.arn, CurrentVersion: aws.String("old")})
			return err
		}, sluice.VersionMismatch, "CurrentVersion"},
		{"DeleteStream/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: aws.String(absent)})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"DeleteStream/ARN", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DeleteStream(ctx, &kinesisvideo.DeleteStreamInput{StreamARN: &m.name})
			return err
		}, sluice.InvalidArgument, "StreamARN"},

		{"GetDataEndpoint", func(t *testing.T, ctx ctx, m *made) error {
			for _, name := range types.APIName("").Values() {
				if strings.HasPrefix(string(name), "JOIN") {
					continue
				}
				out, err := m.GetDataEndpoint(ctx, &kinesisvideo.GetDataEndpointInput{StreamName: &m.name, APIName: name})
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if *out.DataEndpoint != m.URL {
					t.Errorf("%s: %s, want %s", name, *out.DataEndpoint, m.URL)
				}
			}
			return nil
		}, "", ""},
		{"GetDataEndpoint/APIName", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.GetDataEndpoint(ctx, &kinesisvideo.GetDataEndpointInput{StreamName: &m.name, APIName: "PUT_MEDIAS"})
			return err
		}, sluice.InvalidArgument, "APIName"},
		{"GetDataEndpoint/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.GetDataEndpoint(ctx, &kinesisvideo.GetDataEndpointInput{StreamName: aws.String("absent"), APIName: types.APINamePutMedia})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"GetDataEndpoint/being deleted", func(t *testing.T, ctx ctx, m *made) error {
			m.deleting(t)
			_, err := m.GetDataEndpoint(ctx, &kinesisvideo.GetDataEndpointInput{StreamName: &m.name, APIName: types.APINamePutMedia})
			return err
		}, sluice.ResourceNotFound, "not active"},

		{"TagStream", func(t *testing.T, ctx ctx, m *made) error {
			want := map[string]string{"site": "lab", "Größe é/=+-@:.": "", "a": "2"}
			if _, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &m.name, Tags: map[string]string{"a": "1"}}); err != nil {
				return err
			}
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamARN: &m.arn, Tags: want})
			if got := m.tags(t); !maps.Equal(got, want) {
				t.Errorf("tags are %v", got)
			}
			return err
		}, "", ""},
		{"TagStream/too many", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &m.name, Tags: manyTags(51)})
			return err
		}, sluice.TagsPerResourceExceededLimit, "at most 50"},
		{"TagStream/none", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &m.name, Tags: map[string]string{}})
			return err
		}, sluice.InvalidArgument, "Tags: has 0 entries, must be at least 1"},
		{"TagStream/key", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &m.name, Tags: map[string]string{"a<b": ""}})
			return err
		}, sluice.InvalidArgument, "Tags key"},
		{"TagStream/value", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &m.name, Tags: map[string]string{"a": strings.Repeat("é", 257)}})
			return err
		}, sluice.InvalidArgument, "length is 257, must be at most 256"},
		{"TagStream/ARN", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamARN: aws.String("arn:aws:s3:::bucket"), Tags: manyTags(1)})
			return err
		}, sluice.InvalidResourceFormat, "StreamARN"},
		{"TagStream/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamARN: aws.String(absent), Tags: manyTags(1)})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"TagStream/being deleted", func(t *testing.T, ctx ctx, m *made) error {
			m.deleting(t)
			_, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamARN: &m.arn, Tags: manyTags(1)})
			return err
		}, sluice.ResourceNotFound, "not active"},

		{"UntagStream", func(t *testing.T, ctx ctx, m *made) error {
			if _, err := m.TagStream(ctx, &kinesisvideo.TagStreamInput{StreamName: &m.name, Tags: manyTags(3)}); err != nil {
				return err
			}
			_, err := m.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamName: &m.name, TagKeyList: []string{"key0", "key2", "not there"}})
			if got := m.tags(t); !maps.Equal(got, map[string]string{"key1": "v"}) {
				t.Errorf("tags are %v", got)
			}
			return err
		}, "", ""},
		{"UntagStream/none", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamName: &m.name, TagKeyList: []string{}})
			return err
		}, sluice.InvalidArgument, "TagKeyList: has 0 entries, must be 1 to 50"},
		{"UntagStream/ARN", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamARN: aws.String("cam"), TagKeyList: []string{"a"}})
			return err
		}, sluice.InvalidResourceFormat, "StreamARN"},
		{"UntagStream/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UntagStream(ctx, &kinesisvideo.UntagStreamInput{StreamName: aws.String("absent"), TagKeyList: []string{"a"}})
			return err
		}, sluice.ResourceNotFound, "not found"},

		{"ListTagsForStream/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.ListTagsForStream(ctx, &kinesisvideo.ListTagsForStreamInput{StreamName: aws.String("absent")})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"ListTagsForStream/token", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.ListTagsForStream(ctx, &kinesisvideo.ListTagsForStreamInput{StreamName: &m.name, NextToken: aws.String("abcd")})
			return err
		}, sluice.InvalidArgument, "NextToken"},
		{"ListTagsForStream/ARN", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.ListTagsForStream(ctx, &kinesisvideo.ListTagsForStreamInput{StreamARN: aws.String("x")})
			return err
		}, sluice.InvalidResourceFormat, "StreamARN"},

		{"TagResource", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagResource(ctx, &kinesisvideo.TagResourceInput{ResourceARN: &m.arn, Tags: tagList(50)})
			out, listErr := m.ListTagsForResource(ctx, &kinesisvideo.ListTagsForResourceInput{ResourceARN: &m.arn})
			if listErr != nil || len(out.Tags) != 50 {
				t.Errorf("ListTagsForResource: %v, %v", out, listErr)
			}
			return err
		}, "", ""},
		{"TagResource/too many", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagResource(ctx, &kinesisvideo.TagResourceInput{ResourceARN: &m.arn, Tags: tagList(51)})
			return err
		}, sluice.TagsPerResourceExceededLimit, "at most 50"},
		{"TagResource/twice", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagResource(ctx, &kinesisvideo.TagResourceInput{ResourceARN: &m.arn, Tags: append(tagList(1), tagList(1)...)})
			return err
		}, sluice.InvalidArgument, "Tags[1].Key"},
		{"TagResource/ARN", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagResource(ctx, &kinesisvideo.TagResourceInput{ResourceARN: &m.name, Tags: tagList(1)})
			return err
		}, sluice.InvalidArgument, "ResourceARN"},
		{"TagResource/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.TagResource(ctx, &kinesisvideo.TagResourceInput{ResourceARN: aws.String(absent), Tags: tagList(1)})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"UntagResource", func(t *testing.T, ctx ctx, m *made) error {
			if _, err := m.TagResource(ctx, &kinesisvideo.TagResourceInput{ResourceARN: &m.arn, Tags: tagList(2)}); err != nil {
				return err
			}
			_, err := m.UntagResource(ctx, &kinesisvideo.UntagResourceInput{ResourceARN: &m.arn, TagKeyList: []string{"key0"}})
			if got := m.tags(t); len(got) != 1 {
				t.Errorf("tags are %v", got)
			}
			return err
		}, "", ""},
		{"UntagResource/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UntagResource(ctx, &kinesisvideo.UntagResourceInput{ResourceARN: aws.String(absent), TagKeyList: []string{"a"}})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"UntagResource/key", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UntagResource(ctx, &kinesisvideo.UntagResourceInput{ResourceARN: &m.arn, TagKeyList: []string{""}})
			return err
		}, sluice.InvalidArgument, "TagKeyList[0]"},
		{"ListTagsForResource/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.ListTagsForResource(ctx, &kinesisvideo.ListTagsForResourceInput{ResourceARN: aws.String(absent)})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"ListTagsForResource/token", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.ListTagsForResource(ctx, &kinesisvideo.ListTagsForResourceInput{ResourceARN: &m.arn, NextToken: aws.String("%")})
			return err
		}, sluice.InvalidArgument, "NextToken"},

		{"DescribeNotificationConfiguration", func(t *testing.T, ctx ctx, m *made) error {
			out, err := m.DescribeNotificationConfiguration(ctx, &kinesisvideo.DescribeNotificationConfigurationInput{StreamName: &m.name})
			if err == nil && out.NotificationConfiguration != nil {
				t.Errorf("got %+v", out)
			}
			return err
		}, "", ""},
		{"DescribeImageGenerationConfiguration", func(t *testing.T, ctx ctx, m *made) error {
			out, err := m.DescribeImageGenerationConfiguration(ctx, &kinesisvideo.DescribeImageGenerationConfigurationInput{StreamARN: &m.arn})
			if err == nil && out.ImageGenerationConfiguration != nil {
				t.Errorf("got %+v", out)
			}
			return err
		}, "", ""},
		{"DescribeStreamStorageConfiguration", func(t *testing.T, ctx ctx, m *made) error {
			out, err := m.DescribeStreamStorageConfiguration(ctx, &kinesisvideo.DescribeStreamStorageConfigurationInput{StreamName: &m.name})
			if err == nil && (out.StreamStorageConfiguration.DefaultStorageTier != types.DefaultStorageTierHot || *out.StreamARN != m.arn) {
				t.Errorf("got %+v", out)
			}
			return err
		}, "", ""},
		{"DescribeStreamStorageConfiguration/absent", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.DescribeStreamStorageConfiguration(ctx, &kinesisvideo.DescribeStreamStorageConfigurationInput{StreamName: aws.String("absent")})
			return err
		}, sluice.ResourceNotFound, "not found"},
		{"UpdateNotificationConfiguration", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.UpdateNotificationConfiguration(ctx, &kinesisvideo.UpdateNotificationConfigurationInput{StreamName: &m.name})
			return err
		}, sluice.UnsupportedOperation, "UpdateNotificationConfiguration is not supported by Sluice 1.2.3."},
		{"CreateSignalingChannel", func(t *testing.T, ctx ctx, m *made) error {
			_, err := m.CreateSignalingChannel(ctx, &kinesisvideo.CreateSignalingChannelInput{ChannelName: aws.String("x")})
			return err
		}, sluice.UnsupportedOperation, "CreateSignalingChannel"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(o *api.Options) { o.Keys = keyring{} })
			first, err := s.Catalog.Create(t.Context(), catalog.New{Name: "cam", KMSKeyID: "arn:aws:kms:us-west-2:000000000000:alias/aws/kinesisvideo"})
			if err != nil {
				t.Fatal(err)
			}
			m := &made{s, s.client("ROOT"), "cam", first.ARN.String(), first.Version}
			err = tc.do(t, t.Context(), m)
			if tc.code != "" {
				wantError(t, err, tc.code, tc.text)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
