package index

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/db"
)

// TestSpanReadsOpenFilesOnly: what adds up a stream enters its rows where an open
// file begins, however many rows there are.
func TestSpanReadsOpenFilesOnly(t *testing.T) {
	t.Parallel()
	d, err := db.Open(t.Context(), db.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	x, err := Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	rows, err := d.View().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+spanBytes, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if text := strings.Join(plan, "\n"); rows.Err() != nil || !strings.Contains(text, "SEARCH g USING PRIMARY KEY (stream=? AND sequence>?)") || strings.Contains(text, "SCAN g") {
		t.Errorf("%v\n%s", rows.Err(), text)
	}
}
