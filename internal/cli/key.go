package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
)

// keyCommand is what the verbs of 'sluice key' share.
type keyCommand struct {
	env   *Env
	flags *clientFlags
	json  bool
}

func newKeyCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, list, disable and delete the keys that media is sealed under",
		Long: `Make, list, disable and delete the keys of the keyring: those that the data keys of
streams are wrapped by (KMS). A stream names its key when it is made
(sluice stream create --kms-key); without one it has the server's own. Access keys
of users are under 'sluice user key'.`,
		Example: `  sluice key create --alias harbour
  sluice stream create cam1 --retention 24h --kms-key alias/harbour
  sluice key disable alias/harbour`,
	}
	c := &keyCommand{env: env, flags: addClientFlags(env, cmd)}
	cmd.AddCommand(c.create(), c.list(), c.one("enable", "EnableKey", "Let a key be used again"),
		c.one("disable", "DisableKey", "Stop a key from being used: its streams can be neither written nor read"),
		c.delete(), c.one("undelete", "CancelKeyDeletion", "Take back the deletion of a key; it is disabled then"))
	return cmd
}

// keyMetadata is the part of a key's description that is shown.
type keyMetadata struct {
	KeyId        string
	Arn          string
	KeyState     string
	KeyManager   string
	Description  string
	CreationDate float64
	DeletionDate float64
}

// kmsClient calls KMS: one POST an action, JSON in and out. Its package of the
// SDK would add megabytes for some ten actions.
type kmsClient struct {
	cfg      aws.Config
	endpoint string
}

func (c *keyCommand) kms(ctx context.Context) (*kmsClient, error) {
	cfg, endpoint, err := c.flags.config(ctx)
	if err != nil {
		return nil, err
	}
	if c.flags.endpoint == "" {
		if own := c.env.Getenv("AWS_ENDPOINT_URL_KMS"); own != "" {
			endpoint = own
		}
	}
	if endpoint == "" && cfg.BaseEndpoint != nil {
		endpoint = *cfg.BaseEndpoint
	}
	if endpoint == "" {
		endpoint = "https://kms." + cfg.Region + ".amazonaws.com"
	}
	return &kmsClient{cfg, strings.TrimSuffix(endpoint, "/")}, nil
}

func (k *kmsClient) call(ctx context.Context, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "TrentService."+action)
	creds, err := k.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, creds, r, hex.EncodeToString(sum[:]), "kms", k.cfg.Region, time.Now()); err != nil {
		return err
	}
	resp, err := k.cfg.HTTPClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: answer: %w", action, err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Type    string `json:"__type"`
			Message string
		}
		if json.Unmarshal(answer, &e) != nil || e.Type == "" {
			e.Type = resp.Header.Get("X-Amzn-Errortype")
		}
		_, code, ok := strings.Cut(e.Type, "#")
		if !ok {
			code = e.Type
		}
		if code == "" {
			return fmt.Errorf("%s: %s", action, resp.Status)
		}
		return &kvsapi.APIError{Operation: action, Code: sluice.Code(code), Message: e.Message, Status: resp.StatusCode,
			RequestID: resp.Header.Get("X-Amzn-Requestid"), Help: kvsapi.HelpURL(resp)}
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: answer: %w", action, err)
	}
	return nil
}

// aliases are the names of keys, by key id.
func (k *kmsClient) aliases(ctx context.Context) (map[string][]string, error) {
	byKey := map[string][]string{}
	in := map[string]any{"Limit": 100}
	for {
		var out struct {
			Aliases    []struct{ AliasName, TargetKeyId string }
			NextMarker string
			Truncated  bool
		}
		if err := k.call(ctx, "ListAliases", in, &out); err != nil {
			return nil, err
		}
		for _, a := range out.Aliases {
			byKey[a.TargetKeyId] = append(byKey[a.TargetKeyId], a.AliasName)
		}
		if !out.Truncated {
			return byKey, nil
		}
		in["Marker"] = out.NextMarker
	}
}

func aliasName(s string) string {
	if s == "" || strings.HasPrefix(s, "alias/") {
		return s
	}
	return "alias/" + s
}

func (c *keyCommand) create() *cobra.Command {
	var alias, description string
	cmd := &cobra.Command{
		Use:     "create [--alias NAME] [--description TEXT]",
		Short:   "Make a key",
		Example: "  sluice key create --alias harbour --description 'cameras of the harbour'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.kms(cmd.Context())
			if err != nil {
				return err
			}
			var out struct{ KeyMetadata keyMetadata }
			if err := k.call(cmd.Context(), "CreateKey", map[string]string{"Description": description}, &out); err != nil {
				return err
			}
			if alias = aliasName(alias); alias != "" {
				if err := k.call(cmd.Context(), "CreateAlias", map[string]string{"AliasName": alias, "TargetKeyId": out.KeyMetadata.KeyId}, nil); err != nil {
					fmt.Fprintf(c.env.Stderr, "The key %s was made and has no name.\n", out.KeyMetadata.Arn)
					return err
				}
			}
			if c.json {
				return printJSON(c.env.Stdout, map[string]string{"KeyId": out.KeyMetadata.KeyId, "Arn": out.KeyMetadata.Arn, "AliasName": alias})
			}
			_, err = fmt.Fprintln(c.env.Stdout, out.KeyMetadata.Arn)
			return err
		},
	}
	cmd.Flags().StringVar(&alias, "alias", "", "name to use it by, alias/NAME")
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	jsonVar(cmd, &c.json)
	return cmd
}

func (c *keyCommand) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List keys",
		Example: "  sluice key list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.kms(cmd.Context())
			if err != nil {
				return err
			}
			aliases, err := k.aliases(cmd.Context())
			if err != nil {
				return err
			}
			type view struct {
				KeyId, Arn, KeyState, KeyManager string
				Aliases                          []string
				Description, CreationDate        string
				DeletionDate                     string `json:",omitempty"`
			}
			views := []view{}
			in := map[string]any{"Limit": 100}
			for {
				var page struct {
					Keys       []struct{ KeyId string }
					NextMarker string
					Truncated  bool
				}
				if err := k.call(cmd.Context(), "ListKeys", in, &page); err != nil {
					return err
				}
				for _, key := range page.Keys {
					var one struct{ KeyMetadata keyMetadata }
					if err := k.call(cmd.Context(), "DescribeKey", map[string]string{"KeyId": key.KeyId}, &one); err != nil {
						return err
					}
					m := one.KeyMetadata
					v := view{KeyId: m.KeyId, Arn: m.Arn, KeyState: m.KeyState, KeyManager: m.KeyManager, Aliases: aliases[m.KeyId],
						Description: m.Description, CreationDate: epochText(m.CreationDate), DeletionDate: epochText(m.DeletionDate)}
					if v.Aliases == nil {
						v.Aliases = []string{}
					}
					views = append(views, v)
				}
				if !page.Truncated {
					break
				}
				in["Marker"] = page.NextMarker
			}
			if c.json {
				return printJSON(c.env.Stdout, views)
			}
			t := table{header: []string{"KEY", "ALIAS", "STATE", "CREATED", "DESCRIPTION"}}
			for _, v := range views {
				state := v.KeyState
				if v.DeletionDate != "" {
					state += " until " + v.DeletionDate
				}
				t.add(v.KeyId, strings.Join(v.Aliases, ","), state, v.CreationDate, v.Description)
			}
			return t.print(c.env.Stdout)
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

func epochText(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return timeText(time.UnixMilli(int64(seconds * 1000)))
}

// id finds the key that an alias means: some actions take ids and ARNs only.
func (k *kmsClient) id(ctx context.Context, key string) (string, error) {
	if !strings.Contains(key, "alias/") {
		return key, nil
	}
	var out struct{ KeyMetadata keyMetadata }
	err := k.call(ctx, "DescribeKey", map[string]string{"KeyId": key}, &out)
	return out.KeyMetadata.KeyId, err
}

// one makes a verb that does one action on one key.
func (c *keyCommand) one(verb, action, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " KEY",
		Short:   short,
		Long:    short + ". KEY is an id, an ARN or alias/NAME.",
		Example: "  sluice key " + verb + " alias/harbour",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.kms(cmd.Context())
			if err != nil {
				return err
			}
			id, err := k.id(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := k.call(cmd.Context(), action, map[string]string{"KeyId": id}, nil); err != nil {
				return err
			}
			return c.state(cmd.Context(), k, id)
		},
	}
	jsonVar(cmd, &c.json)
	return cmd
}

// state says how a key stands after a change.
func (c *keyCommand) state(ctx context.Context, k *kmsClient, id string) error {
	var out struct{ KeyMetadata keyMetadata }
	if err := k.call(ctx, "DescribeKey", map[string]string{"KeyId": id}, &out); err != nil {
		return err
	}
	m := out.KeyMetadata
	if c.json {
		return printJSON(c.env.Stdout, map[string]string{"KeyId": m.KeyId, "Arn": m.Arn, "KeyState": m.KeyState})
	}
	_, err := fmt.Fprintf(c.env.Stdout, "%s: %s\n", m.KeyId, m.KeyState)
	return err
}

func (c *keyCommand) delete() *cobra.Command {
	var after time.Duration
	cmd := &cobra.Command{
		Use:   "delete KEY [--after DURATION]",
		Short: "Delete a key, and with it the media of its streams",
		Long: `Delete a key. It cannot be used from now on, and is erased after the time given;
until then 'sluice key undelete' takes that back. When it is erased, the media of
all streams under it is unreadable for ever. KEY is an id, an ARN or alias/NAME.`,
		Example: "  sluice key delete alias/harbour --after 7d",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			const day = 24 * time.Hour
			if after%day != 0 || after < day {
				return usagef(cmd, "--after %s: want whole days, such as 7d", after)
			}
			k, err := c.kms(cmd.Context())
			if err != nil {
				return err
			}
			id, err := k.id(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := k.call(cmd.Context(), "ScheduleKeyDeletion", map[string]any{"KeyId": id, "PendingWindowInDays": int(after / day)}, nil); err != nil {
				return err
			}
			return c.state(cmd.Context(), k, id)
		},
	}
	durationVar(cmd.Flags(), &after, "after", 30*24*time.Hour, "when to erase it, in whole days (default 30d)")
	jsonVar(cmd, &c.json)
	return cmd
}
