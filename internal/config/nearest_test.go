package config_test

import (
	"testing"

	"github.com/sluicevideo/sluice/internal/config"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"listen", "listen-tls", "log-level", "log-format", "limits", "rates", "data"}
	for word, want := range map[string]string{
		"lisen":      "listen",
		"listne":     "listen",
		"LOG-LEVEL":  "log-level",
		"log_level":  "log-level",
		"loglevel":   "log-level",
		"limit":      "limits",
		"rate":       "rates",
		"listen-t":   "listen-tls",
		"completely": "",
		"":           "",
	} {
		if got := config.Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
