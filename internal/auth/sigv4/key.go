package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"sync"
)

// maxKeys bounds the memory of derived keys: 160 bytes and some strings each.
const maxKeys = 8192

// keyCache remembers signing keys by access key and scope: four of the five
// HMACs of a verification are the same for a day. An entry counts only for the
// secret it was derived from, so a replaced secret never finds the old key; a
// removed access key is not looked up here at all, its secret is gone before.
type keyCache struct {
	mu   sync.RWMutex
	keys map[cacheKey]cacheEntry
}

type cacheKey struct{ accessKeyID, day, region, service string }

type cacheEntry struct{ secret, key [32]byte }

func (kc *keyCache) get(secret string, c *claim) [32]byte {
	at := cacheKey{c.accessKeyID, c.day, c.region, c.service}
	sum := sha256.Sum256([]byte(secret))
	kc.mu.RLock()
	e, ok := kc.keys[at]
	kc.mu.RUnlock()
	if ok && subtle.ConstantTimeCompare(e.secret[:], sum[:]) == 1 {
		return e.key
	}
	key := derive(secret, c)
	kc.mu.Lock()
	defer kc.mu.Unlock()
	if kc.keys == nil || len(kc.keys) >= maxKeys {
		// Starting over is cheap and needs no order of use: yesterday's keys
		// are most of what there is to forget.
		kc.keys = make(map[cacheKey]cacheEntry)
	}
	kc.keys[at] = cacheEntry{sum, key}
	return key
}

func derive(secret string, c *claim) [32]byte {
	k := mac([]byte("AWS4"+secret), c.day)
	k = mac(k[:], c.region)
	k = mac(k[:], c.service)
	return mac(k[:], "aws4_request")
}

func mac(key []byte, s string) (out [32]byte) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	h.Sum(out[:0])
	return out
}

// sign is the signature of a canonical request with this hash.
func (c *claim) sign(key, canonical [32]byte) [32]byte {
	b := make([]byte, 0, 256)
	b = append(b, Algorithm...)
	b = append(b, '\n')
	b = c.date.AppendFormat(b, timeFormat)
	b = append(b, '\n')
	b = append(b, c.scope()...)
	b = append(b, '\n')
	b = hex.AppendEncode(b, canonical[:])
	return mac(key[:], string(b))
}
