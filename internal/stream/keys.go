package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/kms"
)

// keyLife is how long an unwrapped stream key is used without asking the keyring
// again; with the housekeeper's pace it is in memory for at most five minutes
// (architecture, "Sealing").
const keyLife = 4 * time.Minute

// keyContext is the encryption context of a stream's data key.
func keyContext(st catalog.Stream) map[string]string {
	return map[string]string{"aws:kinesisvideo:stream": st.ARN.String(), "sluice:stream": string(st.ID)}
}

// streamKey is the stream's data key. It is made at the first need, by a writer
// or a reader, as the service asks for keys at PutMedia and GetMedia and not
// before, also when nothing is retained. Errors of the key have their
// AckErrorCode in the chain.
func (o *opened) streamKey(ctx context.Context) ([32]byte, error) {
	key, _, err := o.cachedKey()
	if err != nil || key != nil {
		if err != nil {
			return [32]byte{}, err
		}
		return *key, nil
	}
	o.io.Lock()
	defer o.io.Unlock()
	key, about, err := o.cachedKey()
	switch {
	case err != nil:
		return [32]byte{}, err
	case key != nil:
		return *key, nil
	}
	plain, err := o.unwrap(ctx, about)
	if err != nil {
		return [32]byte{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		return [32]byte{}, notActive()
	}
	o.key, o.keyUntil = plain, time.Now().Add(keyLife)
	return plain, nil
}

func (o *opened) cachedKey() (*[32]byte, catalog.Stream, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		return nil, o.about, notActive()
	}
	if !o.keyUntil.IsZero() && time.Now().Before(o.keyUntil) {
		key := o.key
		return &key, o.about, nil
	}
	return nil, o.about, nil
}

// unwrap asks the keyring; o.io is held.
func (o *opened) unwrap(ctx context.Context, about catalog.Stream) ([32]byte, error) {
	ring, cat := o.r.o.Keyring, o.r.o.Catalog
	if len(about.WrappedKey) == 0 {
		arn, err := ring.Resolve(about.KMSKeyID)
		if err != nil {
			return [32]byte{}, err
		}
		plain, wrapped, err := ring.GenerateDataKey(ctx, about.KMSKeyID, keyContext(about))
		if err != nil {
			return [32]byte{}, err
		}
		st, err := cat.SetDataKey(ctx, o.id, arn, wrapped)
		if err != nil {
			if sluice.CodeOf(err) == sluice.ResourceNotFound {
				return [32]byte{}, err
			}
			return [32]byte{}, fmt.Errorf("%w: data key of stream %s: %w", sluice.InternalError, o.id, err)
		}
		o.mu.Lock()
		if len(o.about.WrappedKey) == 0 && !o.gone {
			o.about.WrappedKey, o.about.KeyARN = st.WrappedKey, st.KeyARN
		}
		o.mu.Unlock()
		if bytes.Equal(st.WrappedKey, wrapped) {
			return plain, nil
		}
		about = st // another was first
	}
	plain, err := ring.Unwrap(ctx, about.KeyARN, about.WrappedKey, keyContext(about))
	if err != nil && kms.CodeOf(err) == 0 {
		err = fmt.Errorf("%w: %w", sluice.InternalError, err)
	}
	return plain, err
}

// forgetKey drops an unwrapped key whose time is over.
func (o *opened) forgetKey(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.keyUntil.IsZero() && !now.Before(o.keyUntil) {
		o.key, o.keyUntil = [32]byte{}, time.Time{}
	}
}

// AckCode is the ErrorId that a producer or consumer should see for err: the
// code in its chain, STREAM_NOT_ACTIVE for a stream that is gone, else
// INTERNAL_ERROR.
func AckCode(err error) sluice.AckErrorCode {
	var c sluice.AckErrorCode
	switch {
	case errors.As(err, &c):
		return c
	case sluice.CodeOf(err) == sluice.ResourceNotFound, errors.Is(err, ErrDeleted):
		return sluice.StreamNotActive
	}
	return sluice.InternalError
}
