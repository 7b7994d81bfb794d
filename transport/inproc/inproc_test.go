package inproc

import (
	"testing"

	"go.uber.org/goleak"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	transporttest.Run(t, transporttest.Harness{
		Start: func(_ *testing.T, source transport.Source) (transport.Transport, transport.Session) {
			sessions := transporttest.NewSessions()
			return New(sessions), sessions.Open(source)
		},
	})
}
