package tcp

import (
	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
)

// link is the connections to one target.
type link struct {
	lanes.Link
	solos solos
}

func newLink(s transport.Session) *link {
	l := &link{}
	l.solos.all = make(map[*soloConn]struct{})
	l.Init(lanes.Config{Name: Name, Session: s, Plan: plan(s.TLS != nil), Dial: l.dial, Ended: l.solos.end})
	return l
}
