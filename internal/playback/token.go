package playback

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
)

// Protocol is what kind of player a session is for.
type Protocol uint8

const (
	HLS Protocol = iota
	DASH
)

// Mode is the PlaybackMode.
type Mode uint8

const (
	Live Mode = iota
	LiveReplay
	OnDemand
)

// Container is the ContainerFormat.
type Container uint8

const (
	FragmentedMP4 Container = iota
	MPEGTS
)

// Discontinuity is the DiscontinuityMode.
type Discontinuity uint8

const (
	Always Discontinuity = iota
	Never
	OnDiscontinuity
)

// Session is all that the resources of a session depend on.
type Session struct {
	Stream        sluice.StreamID
	AccessKeyID   string     // whose call opened it
	Remote        netip.Addr // from where it was opened; policies may ask
	Secure        bool       // over https
	Protocol      Protocol
	Mode          Mode
	Clock         sluice.Clock
	Container     Container
	Discontinuity Discontinuity

	ShowTimes   bool // DisplayFragmentTimestamp
	ShowNumbers bool // DisplayFragmentNumber (DASH)
	SkipUnknown bool // SkipUnsupported, ours: leave out sound that cannot be packaged
	LowLatency  bool
	Overlap     bool // the start bound includes fragments that run past it (guide)
	// OneHeader: a change of codec private data is an error (guide).
	OneHeader bool

	Max      int // fragments in a playlist
	Created  time.Time
	Expires  time.Time
	From, To time.Time // ON_DEMAND and LIVE_REPLAY; To may be zero in LIVE_REPLAY

	First    sluice.Sequence // of the first fragment
	Position uint64          // its place in the stream: media sequence 0
	Lead     time.Duration   // LIVE_REPLAY: how much is there at once
	Frame    time.Duration   // how long a picture lasts in the first fragment
	Target   time.Duration   // longest fragment at the start
	Skew     time.Duration   // server timestamp minus start of the first fragment, by the session's clock
	Print    uint64          // of the tracks of the first fragment; see fingerprint

	// ID tells sessions apart, for limits and records: it is no secret.
	ID string
	// Skipped is the codec of sound that is left out; set by Open only.
	Skipped string
}

// unixMs is a time in a token; 0 stands for none.
func unixMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMs(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (s *Session) appendBinary(b []byte) ([]byte, error) {
	id, err := hex.DecodeString(string(s.Stream))
	if err != nil || len(id) != 16 || len(s.AccessKeyID) > 128 {
		return nil, fmt.Errorf("session of stream %q, key of %d characters: cannot be put in a token", s.Stream, len(s.AccessKeyID))
	}
	b = append(b, id...)
	b = append(b, byte(s.Protocol)<<6|byte(s.Mode)<<4|byte(s.Clock)<<3|byte(s.Container)<<2|byte(s.Discontinuity))
	flags := byte(0)
	for i, on := range []bool{s.ShowTimes, s.ShowNumbers, s.SkipUnknown, s.LowLatency, s.Overlap, s.OneHeader, s.Secure, s.Remote.IsValid()} {
		if on {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	created := unixMs(s.Created)
	for _, v := range []int64{
		int64(s.Max), created, unixMs(s.Expires) - created, unixMs(s.From), unixMs(s.To),
		int64(s.First), int64(s.Position), int64(s.Lead / time.Millisecond), int64(s.Frame / time.Microsecond), int64(s.Target / time.Millisecond),
		int64(s.Skew / time.Millisecond),
	} {
		b = binary.AppendVarint(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, s.Print)
	if s.Remote.IsValid() {
		at := s.Remote.WithZone("").AsSlice()
		b = append(append(b, byte(len(at))), at...)
	}
	return append(b, s.AccessKeyID...), nil
}

var errToken = errors.New("session token is malformed")

func (s *Session) unmarshalBinary(b []byte) error {
	if len(b) < 18 {
		return errToken
	}
	s.Stream = sluice.StreamID(hex.EncodeToString(b[:16]))
	kinds, flags := b[16], b[17]
	s.Protocol, s.Mode = Protocol(kinds>>6), Mode(kinds>>4&3)
	s.Clock, s.Container, s.Discontinuity = sluice.Clock(kinds>>3&1), Container(kinds>>2&1), Discontinuity(kinds&3)
	remote := false
	for i, to := range []*bool{&s.ShowTimes, &s.ShowNumbers, &s.SkipUnknown, &s.LowLatency, &s.Overlap, &s.OneHeader, &s.Secure, &remote} {
		*to = flags&(1<<i) != 0
	}
	b = b[18:]
	var v [11]int64
	for i := range v {
		n := 0
		if v[i], n = binary.Varint(b); n <= 0 {
			return errToken
		}
		b = b[n:]
	}
	if len(b) < 8 {
		return errToken
	}
	s.Max, s.Created, s.Expires = int(v[0]), fromMs(v[1]), fromMs(v[1]+v[2])
	s.From, s.To, s.First, s.Position = fromMs(v[3]), fromMs(v[4]), sluice.Sequence(v[5]), uint64(v[6])
	s.Lead, s.Frame, s.Target = time.Duration(v[7])*time.Millisecond, time.Duration(v[8])*time.Microsecond, time.Duration(v[9])*time.Millisecond
	s.Skew = time.Duration(v[10]) * time.Millisecond
	s.Print = binary.BigEndian.Uint64(b)
	b = b[8:]
	if remote {
		if len(b) == 0 || len(b) <= int(b[0]) {
			return errToken
		}
		var ok bool
		if s.Remote, ok = netip.AddrFromSlice(b[1 : 1+b[0]]); !ok {
			return errToken
		}
		b = b[1+b[0]:]
	}
	s.AccessKeyID = string(b)
	return nil
}

// sealer makes and opens tokens:
//
//	0a 20+version | nonce 12 | AES-256-GCM(session), tag 16
//
// in URL-safe base64, padded with ~ instead of =. The two bytes in front are
// authenticated; they make the text begin with "Ci", as the service's does.
type sealer struct{ aead cipher.AEAD }

const (
	tokenVersion = 1
	nonceSize    = 12
	maxToken     = 1024
)

var tokenPrefix = []byte{0x0a, 0x20 | tokenVersion}

func newSealer(key [32]byte) (*sealer, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("session token key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("session token key: %w", err)
	}
	return &sealer{aead}, nil
}

// Seal makes the session's token and sets its ID.
func (k *sealer) Seal(s *Session) (string, error) {
	b := append(make([]byte, 0, 256), tokenPrefix...)
	b = b[:len(tokenPrefix)+nonceSize]
	rand.Read(b[len(tokenPrefix):])
	plain, err := s.appendBinary(nil)
	if err != nil {
		return "", err
	}
	nonce := b[len(tokenPrefix):]
	b = k.aead.Seal(b, nonce, plain, tokenPrefix)
	s.ID = hex.EncodeToString(nonce)
	return strings.ReplaceAll(base64.URLEncoding.EncodeToString(b), "=", "~"), nil
}

// Open reads a token. It looks at nothing but the seal: whether the session has
// expired is the caller's question.
func (k *sealer) Open(token string) (*Session, error) {
	if len(token) > maxToken {
		return nil, errToken
	}
	b, err := base64.URLEncoding.Strict().DecodeString(strings.ReplaceAll(token, "~", "="))
	if err != nil || len(b) < len(tokenPrefix)+nonceSize || string(b[:len(tokenPrefix)]) != string(tokenPrefix) {
		return nil, errToken
	}
	nonce := b[len(tokenPrefix) : len(tokenPrefix)+nonceSize]
	plain, err := k.aead.Open(nil, nonce, b[len(tokenPrefix)+nonceSize:], tokenPrefix)
	if err != nil {
		return nil, errToken
	}
	s := &Session{}
	if err := s.unmarshalBinary(plain); err != nil {
		return nil, err
	}
	s.ID = hex.EncodeToString(nonce)
	return s, nil
}
