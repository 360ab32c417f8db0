package api

import (
	"context"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/kms"
)

// kmsRows are the calls of the KMS API that manage the keyring. What encrypts
// and decrypts is not among them: data keys never leave the server.
func (a *API) kmsRows() []Operation {
	row := func(o Operation) Operation {
		o.Path, o.Protocol, o.Service = "/", JSON11, "kms"
		o.Target, o.Action = "TrentService."+o.Name, "kms:"+o.Name
		if o.Resource == nil {
			o.Resource = a.keyResource
		}
		return o
	}
	any := func(*Call) string { return "*" }
	bad := []sluice.Code{kms.NotFoundException, kms.ValidationException, kms.KMSInvalidStateException}
	return []Operation{
		row(Operation{Name: "CreateKey", Input: createKeyInput{}, Resource: any, JSON: a.createKey, Doc: "Symmetric keys for streams; members that choose another kind are refused."}),
		row(Operation{Name: "ListKeys", Input: pageInput{}, Resource: any, JSON: a.listKeys, Doc: "All keys are in the first answer."}),
		row(Operation{Name: "ListAliases", Input: listAliasesInput{}, Resource: any, JSON: a.listAliases, Doc: "All aliases are in the first answer. The default key has none before its first use."}),
		row(Operation{Name: "DescribeKey", Input: keyInput{}, JSON: a.describeKey, Errors: bad}),
		row(Operation{Name: "EnableKey", Input: keyInput{}, JSON: a.enableKey, Errors: bad}),
		row(Operation{Name: "DisableKey", Input: keyInput{}, JSON: a.disableKey, Errors: bad, Doc: "Sessions and readers of streams under the key notice within five minutes."}),
		row(Operation{Name: "ScheduleKeyDeletion", Input: deleteKeyInput{}, JSON: a.deleteKey, Errors: bad, Doc: "The key is unusable at once. When it is erased, media under it is unreadable for ever."}),
		row(Operation{Name: "CancelKeyDeletion", Input: keyInput{}, JSON: a.cancelKeyDeletion, Errors: bad}),
		row(Operation{Name: "CreateAlias", Input: aliasInput{}, Resource: a.aliasResource, JSON: a.createAlias, Errors: append([]sluice.Code{kms.AlreadyExistsException, kms.InvalidAliasException}, bad...)}),
		row(Operation{Name: "UpdateAlias", Input: aliasInput{}, Resource: a.aliasResource, JSON: a.updateAlias, Errors: bad}),
		row(Operation{Name: "DeleteAlias", Input: deleteAliasInput{}, Resource: a.aliasResource, JSON: a.deleteAlias, Errors: bad}),
	}
}

// keyResource is the ARN of the key that a call names, for policies. A key that
// is not there has one too.
func (a *API) keyResource(c *Call) string {
	id := c.text("KeyId")
	if a.o.Keyring != nil {
		if k, err := a.o.Keyring.Describe(id); err == nil {
			return k.ARN
		}
	}
	return "arn:aws:kms:" + a.o.Region + ":" + a.o.Account + ":key/" + clip(id, 300)
}

func (a *API) aliasResource(c *Call) string {
	return "arn:aws:kms:" + a.o.Region + ":" + a.o.Account + ":" + clip(c.text("AliasName"), 300)
}

type keyMetadata struct {
	AWSAccountId          string
	Arn                   string
	CreationDate          Timestamp
	CustomerMasterKeySpec string
	DeletionDate          *Timestamp `json:",omitempty"`
	Description           string
	Enabled               bool
	EncryptionAlgorithms  []string
	KeyId                 string
	KeyManager            string
	KeySpec               string
	KeyState              string
	KeyUsage              string
	MultiRegion           bool
	Origin                string
}

type keyOutput struct{ KeyMetadata keyMetadata }

func (a *API) metadata(k kms.Key) keyMetadata {
	m := keyMetadata{
		AWSAccountId: a.o.Account, Arn: k.ARN, CreationDate: Timestamp(k.Created), CustomerMasterKeySpec: "SYMMETRIC_DEFAULT",
		Description: k.Description, Enabled: k.State == kms.Enabled, EncryptionAlgorithms: []string{"SYMMETRIC_DEFAULT"},
		KeyId: k.ID, KeyManager: "CUSTOMER", KeySpec: "SYMMETRIC_DEFAULT", KeyState: string(k.State), KeyUsage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS",
	}
	if k.Managed {
		m.KeyManager = "AWS"
	}
	if !k.Deletion.IsZero() {
		t := Timestamp(k.Deletion)
		m.DeletionDate = &t
	}
	return m
}

type keyInput struct {
	KeyId string `shape:"required,min=1,max=2048"`
}

type createKeyInput struct {
	Description           string `shape:"max=8192"`
	KeySpec               string `shape:"enum=SYMMETRIC_DEFAULT"`
	CustomerMasterKeySpec string `shape:"enum=SYMMETRIC_DEFAULT"`
	KeyUsage              string `shape:"enum=ENCRYPT_DECRYPT"`
	Origin                string `shape:"enum=AWS_KMS"`
}

func (a *API) createKey(ctx context.Context, c *Call) (any, error) {
	k, err := a.o.Keyring.Create(ctx, c.Input.(*createKeyInput).Description, "")
	if err != nil {
		return nil, err
	}
	return keyOutput{a.metadata(k)}, nil
}

type pageInput struct {
	Limit  *int64 `shape:"min=1,max=1000"`
	Marker string `shape:"max=1024"`
}

func (a *API) listKeys(context.Context, *Call) (any, error) {
	type entry struct{ KeyArn, KeyId string }
	out := struct {
		Keys      []entry
		Truncated bool
	}{Keys: []entry{}}
	for _, k := range a.o.Keyring.List() {
		out.Keys = append(out.Keys, entry{k.ARN, k.ID})
	}
	return out, nil
}

type listAliasesInput struct {
	KeyId  string `shape:"max=2048"`
	Limit  *int64 `shape:"min=1,max=1000"`
	Marker string `shape:"max=1024"`
}

func (a *API) listAliases(_ context.Context, c *Call) (any, error) {
	type entry struct {
		AliasArn, AliasName, TargetKeyId string
		CreationDate, LastUpdatedDate    Timestamp
	}
	out := struct {
		Aliases   []entry
		Truncated bool
	}{Aliases: []entry{}}
	only := ""
	if id := c.Input.(*listAliasesInput).KeyId; id != "" {
		k, err := a.o.Keyring.Describe(id)
		if err != nil {
			return nil, err
		}
		only = k.ID
	}
	for _, k := range a.o.Keyring.List() {
		for _, alias := range k.Aliases {
			if only == "" || only == k.ID {
				out.Aliases = append(out.Aliases, entry{
					AliasArn: "arn:aws:kms:" + a.o.Region + ":" + a.o.Account + ":" + alias, AliasName: alias, TargetKeyId: k.ID,
					CreationDate: Timestamp(k.Created), LastUpdatedDate: Timestamp(k.Created),
				})
			}
		}
	}
	return out, nil
}

func (a *API) describeKey(_ context.Context, c *Call) (any, error) {
	k, err := a.o.Keyring.Describe(c.Input.(*keyInput).KeyId)
	if err != nil {
		return nil, err
	}
	return keyOutput{a.metadata(k)}, nil
}

func (a *API) enableKey(ctx context.Context, c *Call) (any, error) {
	_, err := a.o.Keyring.Enable(ctx, c.Input.(*keyInput).KeyId)
	return nil, err
}

func (a *API) disableKey(ctx context.Context, c *Call) (any, error) {
	_, err := a.o.Keyring.Disable(ctx, c.Input.(*keyInput).KeyId)
	return nil, err
}

type deleteKeyInput struct {
	KeyId               string `shape:"required,min=1,max=2048"`
	PendingWindowInDays *int64 `shape:"min=1,max=365"`
}

func (a *API) deleteKey(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*deleteKeyInput)
	days := int64(kms.MaxPendingDays)
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	k, err := a.o.Keyring.Delete(ctx, in.KeyId, int(days))
	if err != nil {
		return nil, err
	}
	return struct {
		DeletionDate        Timestamp
		KeyId, KeyState     string
		PendingWindowInDays int64
	}{Timestamp(k.Deletion), k.ARN, string(k.State), days}, nil
}

func (a *API) cancelKeyDeletion(ctx context.Context, c *Call) (any, error) {
	k, err := a.o.Keyring.CancelDeletion(ctx, c.Input.(*keyInput).KeyId)
	if err != nil {
		return nil, err
	}
	return struct{ KeyId string }{k.ARN}, nil
}

type aliasInput struct {
	AliasName   string `shape:"required,min=1,max=256"`
	TargetKeyId string `shape:"required,min=1,max=2048"`
}

func (a *API) createAlias(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*aliasInput)
	return nil, a.o.Keyring.SetAlias(ctx, in.AliasName, in.TargetKeyId, false)
}

func (a *API) updateAlias(ctx context.Context, c *Call) (any, error) {
	in := c.Input.(*aliasInput)
	return nil, a.o.Keyring.SetAlias(ctx, in.AliasName, in.TargetKeyId, true)
}

type deleteAliasInput struct {
	AliasName string `shape:"required,min=1,max=256"`
}

func (a *API) deleteAlias(ctx context.Context, c *Call) (any, error) {
	return nil, a.o.Keyring.RemoveAlias(ctx, c.Input.(*deleteAliasInput).AliasName)
}
