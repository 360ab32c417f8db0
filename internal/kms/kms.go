// Package kms keeps the keys that streams' data keys are wrapped under: an
// embedded keyring in the catalog database, sealed under a root key that can
// lie outside the data directory.
//
// It knows three kinds of keys. The root key is 32 random bytes of the
// operator's (RootKey). A KMS key is a named 32-byte key of the keyring with a
// state (enabled, disabled, pending deletion); its material is sealed under the
// root key and never leaves this package. A data key is what GenerateDataKey
// hands to a caller, once in plain and once wrapped under a KMS key; who keeps
// the wrapped form needs Unwrap, and so the KMS key and its state, to read again.
//
// A wrapped data key is
//
//	1 byte    version, 1
//	16 bytes  the KMS key's id
//	12 bytes  nonce
//	48 bytes  AES-256-GCM of the 32 key bytes
//
// with the version, the id and the encryption context (sorted, each name and
// value behind its length) as authenticated data, so that a wrapped key works
// for the stream it was made for and for no other.
//
// Failures that a producer or consumer is meant to see have a
// sluice.AckErrorCode in their chain, 4500 to 4506 (wire-protocol §3.5, §8.3).
package kms

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
)

// State says what a key may be used for.
type State string

const (
	Enabled         State = "Enabled"
	Disabled        State = "Disabled"
	PendingDeletion State = "PendingDeletion"
)

// DefaultAlias is the alias of the key that streams use when none is named.
const DefaultAlias = "alias/aws/kinesisvideo"

// Key is what may be told of a KMS key. The material is not in it.
type Key struct {
	ID          string // a UUID, lower case
	ARN         string
	Description string
	State       State
	Created     time.Time
	Deletion    time.Time // PendingDeletion: when the material is erased; else zero
	Managed     bool      // the default key: it can be neither disabled nor deleted
	Aliases     []string  // "alias/..." each, sorted
}

// errorf gives an error text with the code a producer or consumer sees.
func errorf(code sluice.AckErrorCode, format string, args ...any) error {
	return &keyError{code: code, msg: fmt.Sprintf(format, args...)}
}

type keyError struct {
	code sluice.AckErrorCode
	msg  string
	err  error // cause, may be nil
}

func (e *keyError) Error() string {
	if e.err != nil {
		return e.msg + ": " + e.err.Error()
	}
	return e.msg
}

func (e *keyError) Unwrap() []error {
	if e.err != nil {
		return []error{e.code, e.err}
	}
	return []error{e.code}
}

// CodeOf is the AckErrorCode in err's chain when it is one of a key's (4500 to
// 4506), else 0.
func CodeOf(err error) sluice.AckErrorCode {
	var c sluice.AckErrorCode
	if errors.As(err, &c) && c >= sluice.KMSKeyAccessDenied && c <= sluice.KMSKeyNotFound {
		return c
	}
	return 0
}

const (
	wrapVersion = 1
	nonceSize   = 12
	keyIDSize   = 16
	wrappedSize = 1 + keyIDSize + nonceSize + 32 + 16
)

// GenerateDataKey makes a data key for what context names, usually a stream. It
// returns the key and its wrapped form, which is safe to store. keyID is any
// form that Resolve takes; the key it means must be enabled. The default key
// comes into being at its first use.
func (k *Keyring) GenerateDataKey(ctx context.Context, keyID string, context map[string]string) (plain [32]byte, wrapped []byte, err error) {
	e, err := k.usable(ctx, keyID)
	if err != nil {
		return plain, nil, err
	}
	rand.Read(plain[:]) // never fails: crypto/rand ends the program instead
	id, err := parseUUID(e.ID)
	if err != nil {
		return [32]byte{}, nil, err
	}
	wrapped = make([]byte, 1+keyIDSize+nonceSize, wrappedSize)
	wrapped[0] = wrapVersion
	copy(wrapped[1:], id[:])
	nonce := wrapped[1+keyIDSize:]
	rand.Read(nonce)
	return plain, aead(&e.material).Seal(wrapped, nonce, plain[:], wrapAAD(wrapped[:1+keyIDSize], context)), nil
}

// Unwrap opens a wrapped data key. The KMS key is the one inside wrapped, which
// is what keyID meant when it was made: an alias that points elsewhere today
// takes nothing away. keyID serves the error texts.
func (k *Keyring) Unwrap(ctx context.Context, keyID string, wrapped []byte, context map[string]string) ([32]byte, error) {
	var plain [32]byte
	if len(wrapped) != wrappedSize || wrapped[0] != wrapVersion {
		return plain, errorf(sluice.KMSKeyValidationError, "wrapped data key of KMS key %s: %d bytes of an unknown form", clip(keyID), len(wrapped))
	}
	e, err := k.byID(formatUUID([16]byte(wrapped[1 : 1+keyIDSize])))
	if err != nil {
		return plain, err
	}
	if err := e.check(); err != nil {
		return plain, err
	}
	head, nonce, sealed := wrapped[:1+keyIDSize], wrapped[1+keyIDSize:1+keyIDSize+nonceSize], wrapped[1+keyIDSize+nonceSize:]
	out, err := aead(&e.material).Open(plain[:0], nonce, sealed, wrapAAD(head, context))
	if err != nil || len(out) != len(plain) {
		return [32]byte{}, errorf(sluice.KMSKeyValidationError, "wrapped data key of KMS key %s: it does not open for this stream", e.ARN)
	}
	return plain, nil
}

func wrapAAD(head []byte, context map[string]string) []byte {
	aad := append([]byte("sluice data key\x00"), head...)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		aad = binary.AppendUvarint(aad, uint64(len(name)))
		aad = append(aad, name...)
		aad = binary.AppendUvarint(aad, uint64(len(context[name])))
		aad = append(aad, context[name]...)
	}
	return aad
}

func aead(key *[32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("kms: " + err.Error()) // 32 bytes are always a key
	}
	g, err := cipher.NewGCM(block)
	if err != nil {
		panic("kms: " + err.Error())
	}
	return g
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return formatUUID(b)
}

func formatUUID(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func parseUUID(s string) ([16]byte, error) {
	var id [16]byte
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || len(s) != 36 {
		return id, fmt.Errorf("key id %q is not a UUID", clip(s))
	}
	return [16]byte(b), nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
