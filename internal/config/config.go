// Package config is the server's settings: one table of them, and the rules by
// which each gets its value. A flag is stronger than the SLUICE_* environment,
// which is stronger than the TOML file, which is stronger than the default; and
// it is remembered which it was. The package checks each value by itself and
// against the others; it opens nothing but the file.
package config

import (
	"log/slog"
	"net/netip"

	"github.com/sluicevideo/sluice/internal/limits"
)

// Config is what a server is started with.
type Config struct {
	Listen      []string // HOST:PORT of plain http
	ListenTLS   []string // HOST:PORT of https; empty when there is no certificate
	DebugListen string   // HOST:PORT; "": none

	TLSCert, TLSKey string // files
	TLSSelfSigned   bool
	TLSNames        []string // further names and addresses in the self-signed certificate

	PublicURL      string
	TrustedProxies []netip.Prefix
	CORSOrigins    []string // nil: any

	Region, Account string

	Data         string
	RootKeyFile  string // "": in Data
	ResetRootKey bool
	Memory       ByteSize // of media held for readers and until it is durable
	MaxBytes     ByteSize // of media on disk; 0: as much as there is

	StreamMaxBytes ByteSize            // the same for each stream
	StreamCaps     map[string]ByteSize // the same for streams by name, instead
	AcceptClock    bool                // media expires by the clock as it is at the start
	HLSLowLatency  bool                // every LIVE HLS session is a low-latency one

	LimitsProfile, RatesProfile string
	Rules                       limits.Rules // the profile with what is set by itself
	Rates                       limits.Rates

	LogLevel  slog.Level
	LogFormat string // text, json

	// From the environment only: they are secrets, and command lines are seen by
	// everyone on the machine.
	RootAccessKeyID, RootSecretAccessKey string
	RootKey                              string // text of the root key
	CredentialsDir                       string // systemd's
}

// Origin is where a setting's value came from.
type Origin string

// The origins, besides a file's path.
const (
	FromDefault Origin = "default"
	FromFlag    Origin = "flag"
	FromEnv     Origin = "environment"
)

// Value is a setting with its value and where it came from.
type Value struct {
	Setting *Setting
	Text    []string // as given: one, or several of a list
	Origin  Origin
	Where   string // the flag, the variable, or file: key
}

// Loaded is a Config and how it came to be.
type Loaded struct {
	Config
	Values   []Value  // in the table's order
	Warnings []string // what was not understood and does no harm
}
