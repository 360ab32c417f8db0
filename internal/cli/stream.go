package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"
	"github.com/spf13/cobra"
)

// streamCommand is what the verbs of 'sluice stream' share.
type streamCommand struct {
	env   *Env
	flags *clientFlags
	json  bool
}

func newStreamCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Make, change and list streams",
		Example: `  sluice stream create cam1 --retention 24h --media-type video/h264
  sluice stream list --prefix cam
  sluice stream retention cam1 7d`,
	}
	c := &streamCommand{env: env, flags: addClientFlags(env, cmd)}
	cmd.AddCommand(c.create(), c.list(), c.describe(), c.update(), c.retention(), c.delete(), c.tag(), c.untag(), c.tags(), c.endpoint())
	return cmd
}

func (c *streamCommand) control(ctx context.Context) (*kinesisvideo.Client, error) {
	k, err := c.flags.client(ctx)
	if err != nil {
		return nil, err
	}
	return k.Control(), nil
}

// named splits STREAM into the two members that requests have for it.
func named(stream string) (name, arn *string) {
	if r := streamRef(stream); r.ARN != "" {
		return nil, &r.ARN
	}
	return &stream, nil
}

// answer prints v with --json, else the sentence.
func (c *streamCommand) answer(v any, format string, args ...any) error {
	if c.json {
		return printJSON(c.env.Stdout, v)
	}
	_, err := fmt.Fprintf(c.env.Stdout, format+"\n", args...)
	return err
}

func (c *streamCommand) create() *cobra.Command {
	var retention time.Duration
	var device, mediaType, key string
	var tags []string
	cmd := &cobra.Command{
		Use:   "create STREAM [--retention DURATION] [--media-type TYPE] [--tag KEY=VALUE]...",
		Short: "Make a stream",
		Example: `  sluice stream create cam1 --retention 24h
  sluice stream create cam1 --retention 7d --media-type video/h264,audio/aac --tag site=harbour`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hours, err := wholeHours(cmd, retention)
			if err != nil {
				return err
			}
			in := &kinesisvideo.CreateStreamInput{StreamName: &args[0], DataRetentionInHours: aws.Int32(hours)}
			for flag, to := range map[*string]**string{&device: &in.DeviceName, &mediaType: &in.MediaType, &key: &in.KmsKeyId} {
				if *flag != "" {
					*to = flag
				}
			}
			if in.Tags, err = parseTags(cmd, tags); err != nil {
				return err
			}
			k, err := c.control(cmd.Context())
			if err != nil {
				return err
			}
			out, err := k.CreateStream(cmd.Context(), in)
			if err != nil {
				return err
			}
			arn := aws.ToString(out.StreamARN)
			if hours == 0 && !c.json {
				fmt.Fprintln(c.env.Stderr, "The stream keeps nothing: it is for live viewing only. Change that with 'sluice stream retention "+args[0]+" 24h'.")
			}
			return c.answer(map[string]string{"StreamARN": arn}, "%s", arn)
		},
	}
	fs := cmd.Flags()
	durationVar(fs, &retention, "retention", 0, "how long fragments are kept, whole hours (24h, 7d); 0: not at all")
	fs.StringVar(&mediaType, "media-type", "", "what is in it, such as video/h264 or video/h264,audio/aac")
	fs.StringVar(&device, "device", "", "name of the device")
	fs.StringVar(&key, "kms-key", "", "key that its media is sealed under: an id, ARN or alias (default: the server's own)")
	fs.StringArrayVar(&tags, "tag", nil, "KEY=VALUE; repeatable")
	jsonVar(cmd, &c.json)
	return cmd
}

// wholeHours is a retention as the API has it.
func wholeHours(cmd *cobra.Command, d time.Duration) (int32, error) {
	if d%time.Hour != 0 || d > 87600*time.Hour {
		return 0, usagef(cmd, "retention %s: want whole hours, at most ten years, such as 24h or 7d", d)
	}
	return int32(d / time.Hour), nil
}

func parseTags(cmd *cobra.Command, list []string) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range list {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, usagef(cmd, "tag %q: want KEY=VALUE", t)
		}
		tags[k] = v
	}
	if len(tags) == 0 {
		return nil, nil
	}
	return tags, nil
}

// streamView is a stream as --json prints it: the members of the API, in its
// spelling.
type streamView struct {
	StreamName           string
	StreamARN            string
	Status               string
	Version              string
	CreationTime         string
	DataRetentionInHours int32
	MediaType            string `json:",omitempty"`
	DeviceName           string `json:",omitempty"`
	KmsKeyId             string `json:",omitempty"`
}

func viewOf(s *types.StreamInfo) streamView {
	return streamView{
		StreamName: aws.ToString(s.StreamName), StreamARN: aws.ToString(s.StreamARN), Status: string(s.Status), Version: aws.ToString(s.Version),
		CreationTime: timeText(aws.ToTime(s.CreationTime)), DataRetentionInHours: aws.ToInt32(s.DataRetentionInHours),
		MediaType: aws.ToString(s.MediaType), DeviceName: aws.ToString(s.DeviceName), KmsKeyId: aws.ToString(s.KmsKeyId),
	}
}

// retentionText is hours for people.
func retentionText(hours int32) string {
	switch {
	case hours == 0:
		return "nothing kept"
	case hours%24 == 0 && hours > 24:
		return strconv.Itoa(int(hours/24)) + "d"
	}
	return strconv.Itoa(int(hours)) + "h"
}

func (c *streamCommand) list() *cobra.Command {
	var prefix string
	var most int
	cmd := &cobra.Command{
		Use:     "list [--prefix TEXT]",
		Short:   "List streams",
		Example: "  sluice stream list --prefix cam --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.control(cmd.Context())
			if err != nil {
				return err
			}
			in := &kinesisvideo.ListStreamsInput{}
			if prefix != "" {
				in.StreamNameCondition = &types.StreamNameCondition{ComparisonOperator: types.ComparisonOperatorBeginsWith, ComparisonValue: &prefix}
			}
			views := []streamView{}
			for pages := kinesisvideo.NewListStreamsPaginator(k, in); pages.HasMorePages() && (most == 0 || len(views) < most); {
				page, err := pages.NextPage(cmd.Context())
				if err != nil {
					return err
				}
				for i := range page.StreamInfoList {
					views = append(views, viewOf(&page.StreamInfoList[i]))
				}
			}
			if most > 0 && len(views) > most {
				views = views[:most]
			}
			if c.json {
				return printJSON(c.env.Stdout, views)
			}
			t := table{header: []string{"NAME", "STATUS", "RETENTION", "MEDIA TYPE", "CREATED"}}
			for _, v := range views {
				t.add(v.StreamName, v.Status, retentionText(v.DataRetentionInHours), v.MediaType, v.CreationTime)
			}
			return t.print(c.env.Stdout)
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only streams whose name begins with it")
	cmd.Flags().IntVar(&most, "max", 0, "at most so many; 0: all")
	jsonVar(cmd, &c.json)
	return cmd
}

// lookUp describes the stream, for verbs that need its version or ARN.
func (c *streamCommand) lookUp(ctx context.Context, stream string) (*kinesisvideo.Client, *types.StreamInfo, error) {
	k, err := c.control(ctx)
	if err != nil {
		return nil, nil, err
	}
	in := &kinesisvideo.DescribeStreamInput{}
	in.StreamName, in.StreamARN = named(stream)
	out, err := k.DescribeStream(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	return k, out.StreamInfo, nil
}

func (c *streamCommand) describe() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "describe STREAM",
		Short:   "Show one stream",
		Example: "  sluice stream describe cam1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, info, err := c.lookUp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v := viewOf(info)
			if c.json {
				return printJSON(c.env.Stdout, v)
			}
			return printPairs(c.env.Stdout, "Name", v.StreamName, "ARN", v.StreamARN, "Status", v.Status, "Retention", retentionText(v.DataRetentionInHours),
				"Media type", v.MediaType, "Device", v.DeviceName, "Key", v.KmsKeyId, "Created", v.CreationTime, "Version", v.Version)
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *streamCommand) update() *cobra.Command {
	var device, mediaType string
	cmd := &cobra.Command{
		Use:     "update STREAM [--media-type TYPE] [--device NAME]",
		Short:   "Change a stream's media type or device name",
		Example: "  sluice stream update cam1 --media-type video/h265",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if mediaType == "" && device == "" {
				return usagef(cmd, "nothing to change: give --media-type or --device")
			}
			k, info, err := c.lookUp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			in := &kinesisvideo.UpdateStreamInput{StreamARN: info.StreamARN, CurrentVersion: info.Version}
			if mediaType != "" {
				in.MediaType = &mediaType
			}
			if device != "" {
				in.DeviceName = &device
			}
			if _, err := k.UpdateStream(cmd.Context(), in); err != nil {
				return err
			}
			return c.answer(struct{}{}, "%s updated", aws.ToString(info.StreamName))
		},
	}
	cmd.Flags().StringVar(&mediaType, "media-type", "", "what is in it, such as video/h264")
	cmd.Flags().StringVar(&device, "device", "", "name of the device")
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *streamCommand) retention() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retention STREAM DURATION",
		Short: "Set how long a stream keeps its fragments",
		Long: `Set how long a stream keeps its fragments, to the DURATION given in whole hours
(48h, 7d; 0: nothing is kept). The API adds or subtracts hours; the sum is done
here. Lowering hides older fragments at once, and they cannot come back.`,
		Example: "  sluice stream retention cam1 48h",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := parseDuration(args[1])
			if err != nil {
				return usagef(cmd, "%s", err)
			}
			hours, err := wholeHours(cmd, wanted)
			if err != nil {
				return err
			}
			k, info, err := c.lookUp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			before := aws.ToInt32(info.DataRetentionInHours)
			if hours != before {
				in := &kinesisvideo.UpdateDataRetentionInput{
					StreamARN: info.StreamARN, CurrentVersion: info.Version,
					Operation: types.UpdateDataRetentionOperationIncreaseDataRetention, DataRetentionChangeInHours: aws.Int32(hours - before),
				}
				if hours < before {
					in.Operation, in.DataRetentionChangeInHours = types.UpdateDataRetentionOperationDecreaseDataRetention, aws.Int32(before-hours)
				}
				if _, err := k.UpdateDataRetention(cmd.Context(), in); err != nil {
					return err
				}
			}
			return c.answer(map[string]int32{"DataRetentionInHours": hours, "Before": before}, "%s: retention %s, was %s", aws.ToString(info.StreamName),
				retentionText(hours), retentionText(before))
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *streamCommand) delete() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete STREAM",
		Short:   "Delete a stream and all its media",
		Example: "  sluice stream delete cam1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, info, err := c.lookUp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if _, err := k.DeleteStream(cmd.Context(), &kinesisvideo.DeleteStreamInput{StreamARN: info.StreamARN, CurrentVersion: info.Version}); err != nil {
				return err
			}
			return c.answer(struct{}{}, "%s deleted", aws.ToString(info.StreamName))
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *streamCommand) tag() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "tag STREAM KEY=VALUE...",
		Short:   "Add or change tags",
		Example: "  sluice stream tag cam1 site=harbour owner=ops",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			tags, err := parseTags(cmd, args[1:])
			if err != nil {
				return err
			}
			k, err := c.control(cmd.Context())
			if err != nil {
				return err
			}
			in := &kinesisvideo.TagStreamInput{Tags: tags}
			in.StreamName, in.StreamARN = named(args[0])
			if _, err := k.TagStream(cmd.Context(), in); err != nil {
				return err
			}
			return c.answer(struct{}{}, "%s: %d tagged", args[0], len(tags))
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *streamCommand) untag() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "untag STREAM KEY...",
		Short:   "Remove tags",
		Example: "  sluice stream untag cam1 owner",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.control(cmd.Context())
			if err != nil {
				return err
			}
			in := &kinesisvideo.UntagStreamInput{TagKeyList: args[1:]}
			in.StreamName, in.StreamARN = named(args[0])
			if _, err := k.UntagStream(cmd.Context(), in); err != nil {
				return err
			}
			return c.answer(struct{}{}, "%s: %d untagged", args[0], len(args)-1)
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *streamCommand) tags() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "tags STREAM",
		Short:   "List tags",
		Example: "  sluice stream tags cam1 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.control(cmd.Context())
			if err != nil {
				return err
			}
			in := &kinesisvideo.ListTagsForStreamInput{}
			in.StreamName, in.StreamARN = named(args[0])
			tags := map[string]string{}
			for {
				out, err := k.ListTagsForStream(cmd.Context(), in)
				if err != nil {
					return err
				}
				maps.Copy(tags, out.Tags)
				if aws.ToString(out.NextToken) == "" {
					break
				}
				in.NextToken = out.NextToken
			}
			if c.json {
				return printJSON(c.env.Stdout, tags)
			}
			t := table{header: []string{"KEY", "VALUE"}}
			for _, key := range slices.Sorted(maps.Keys(tags)) {
				t.add(key, tags[key])
			}
			return t.print(c.env.Stdout)
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *streamCommand) endpoint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "endpoint STREAM [API]",
		Short: "Show the URL that serves an API for a stream",
		Long: `Show the URL that serves an API for a stream (GetDataEndpoint). API is PUT_MEDIA
unless given: ` + strings.Join(apiNames(), ", ") + `.`,
		Example:   "  sluice stream endpoint cam1 GET_MEDIA",
		ValidArgs: apiNames(),
		Args:      cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := &kinesisvideo.GetDataEndpointInput{APIName: types.APINamePutMedia}
			in.StreamName, in.StreamARN = named(args[0])
			if len(args) == 2 {
				in.APIName = types.APIName(strings.ToUpper(strings.ReplaceAll(args[1], "-", "_")))
			}
			k, err := c.control(cmd.Context())
			if err != nil {
				return err
			}
			out, err := k.GetDataEndpoint(cmd.Context(), in)
			if err != nil {
				return err
			}
			url := aws.ToString(out.DataEndpoint)
			return c.answer(map[string]string{"DataEndpoint": url}, "%s", url)
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func apiNames() []string {
	var list []string
	for _, n := range types.APIName("").Values() {
		list = append(list, string(n))
	}
	return list
}
