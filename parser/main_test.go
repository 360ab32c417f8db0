package parser_test

import (
	"testing"

	"github.com/sluicevideo/sluice/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
