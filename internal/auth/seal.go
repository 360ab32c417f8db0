package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
)

// sealer keeps secret access keys at rest: a random nonce of 12 bytes, then
// AES-256-GCM of the secret, bound to the access key id it belongs to.
type sealer struct{ aead cipher.AEAD }

func newSealer(key [32]byte) (sealer, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealer{aead}, err
}

func (s sealer) seal(accessKeyID, secret string) []byte {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(secret)+s.aead.Overhead())
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, []byte(secret), []byte(accessKeyID))
}

func (s sealer) open(accessKeyID string, sealed []byte) (string, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return "", fmt.Errorf("access key %s: its sealed secret has %d bytes", accessKeyID, len(sealed))
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(accessKeyID))
	if err != nil {
		return "", fmt.Errorf("access key %s: its secret was sealed under another root key, or is damaged: %w", accessKeyID, err)
	}
	return string(plain), nil
}
