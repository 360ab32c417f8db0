package cli

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"now":                         now,
		"-90s":                        now.Add(-90 * time.Second),
		"-2h":                         now.Add(-2 * time.Hour),
		"-1d":                         now.Add(-24 * time.Hour),
		"-1d12h":                      now.Add(-36 * time.Hour),
		"1700000000":                  time.Unix(1700000000, 0),
		"1700000000.25":               time.UnixMilli(1700000000250),
		"1720751492.346":              time.UnixMilli(1720751492346),
		"1.720751492346E9":            time.UnixMilli(1720751492346),
		"0":                           time.Unix(0, 0),
		"2026-01-31T12:00:00Z":        now,
		"2026-01-31T13:00:00.5+01:00": now.Add(500 * time.Millisecond),
	} {
		got, err := parseTime(s, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "yesterday", "-", "-x", "--2h", "2026-01-31", "1700000000000", "NaN", "Inf", "-Inf", "2h"} {
		if got, err := parseTime(s, now); err == nil {
			t.Errorf("parseTime(%q) = %v, want an error", s, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "24h": 24 * time.Hour, "7d": 168 * time.Hour, "1d2h": 26 * time.Hour, "0": 0, "0.5d": 12 * time.Hour,
	} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-1h", "d", "1w", "1d-30h", "NaNd", "1e9d"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", s, got)
		}
	}
}
