package stream_test

import (
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
)

// A reader that goes through the archive hears within five minutes that the key
// was disabled, and goes on where it was when the key is enabled again.
func TestAKeyDisabledUnderAReader(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		key, err := s.Keyring.Create(t.Context(), "", "alias/mine")
		if err != nil {
			t.Fatal(err)
		}
		s.CreateUnder("cam", key.ARN)
		x := s.join("cam")
		var numbers []sluice.FragmentNumber
		for i := range 20 {
			n, _ := s.put(x, int64(i+1)*1000, 500)
			numbers = append(numbers, n)
		}
		x.Leave(nil)
		s = of(t, s.Again()) // all is on the disk alone
		c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})
		if f := next(t, c); f.Number != numbers[0] {
			t.Fatalf("the earliest is %v", f.Number)
		}
		if _, err := s.Keyring.Disable(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		began, seen := time.Now(), 1
		for {
			time.Sleep(30 * time.Second)
			f, err := c.Next(t.Context())
			if err != nil {
				if code(err) != sluice.KMSKeyDisabled {
					t.Errorf("after %d fragments: %v", seen, err)
				}
				break
			}
			if f.Number != numbers[seen] {
				t.Errorf("fragment %d is %v, want %v", seen, f.Number, numbers[seen])
			}
			if seen++; time.Since(began) > 5*time.Minute {
				t.Fatal("not noticed within 5 minutes")
			}
		}
		if _, err := s.reg.Follow(t.Context(), ref("cam"), sluice.StartSelector{Type: sluice.SelectEarliest}); code(err) != sluice.KMSKeyDisabled {
			t.Errorf("another reader: %v", err)
		}
		if _, err := s.Keyring.Enable(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		c = s.follow("cam", sluice.StartSelector{Type: sluice.SelectContinuationToken, After: numbers[seen-1]})
		if f := next(t, c); f.Number != numbers[seen] {
			t.Errorf("goes on at %v, want %v", f.Number, numbers[seen])
		}
	})
}
