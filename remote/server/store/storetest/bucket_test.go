package storetest

import (
	"testing"

	"go.uber.org/goleak"

	"hbmfs/remote/server/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	Run(t, func(*testing.T) (store.Store, Storage) {
		b := NewBucket()
		return b, b
	})
}
