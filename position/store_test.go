package position_test

import (
	"testing"

	"github.com/conduitio/funnel/internal/storetest"
	"github.com/conduitio/funnel/position"
)

func TestStores(t *testing.T) {
	t.Run("Memory", func(t *testing.T) {
		storetest.Test(t, storetest.Conformance{
			New:    func(testing.TB) position.Store { return position.NewMemory() },
			Reopen: func(_ testing.TB, old position.Store) position.Store { return old },
		})
	})
	t.Run("Files", func(t *testing.T) {
		dirs := make(map[position.Store]string)
		open := func(t testing.TB, dir string) position.Store {
			s, err := position.NewFiles(dir)
			if err != nil {
				t.Fatal(err)
			}
			dirs[s] = dir
			return s
		}
		storetest.Test(t, storetest.Conformance{
			New:    func(t testing.TB) position.Store { return open(t, t.TempDir()) },
			Reopen: func(t testing.TB, old position.Store) position.Store { return open(t, dirs[old]) },
		})
	})
}
