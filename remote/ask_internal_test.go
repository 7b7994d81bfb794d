package remote

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"hbmfs/remote/session"
	"hbmfs/remote/term"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// FuzzAnswer takes any bytes for the answer to an ask.
func FuzzAnswer(f *testing.F) {
	attr := &wire.Attr{Version: make([]byte, len(transport.Version{}))}
	for _, answer := range []*wire.Answer{
		{},
		{Status: []byte{8, 1}},
		{TooLarge: true},
		{What: &wire.Answer_Open{Open: &wire.OpenReply{Attr: attr, TermMs: 1000}}},
		{What: &wire.Answer_Stat{Stat: &wire.StatReply{Attr: attr, TermMs: 1 << 31}}},
		{What: &wire.Answer_Close{Close: &wire.CloseReply{}}},
	} {
		b, err := proto.Marshal(answer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	asks := []*wire.Ask{
		{What: &wire.Ask_Open{Open: &wire.OpenRequest{}}},
		{What: &wire.Ask_Stat{Stat: &wire.StatRequest{}}},
		{What: &wire.Ask_Close{Close: &wire.CloseRequest{}}},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for i, what := range asks {
			s := &session.Session{Term: term.NewRenewer(term.Boot, nil)}
			a := newAsk(what)
			err := a.decode(s, b)
			if err != nil {
				continue
			}
			open, stat := a.answer.GetOpen() != nil, a.answer.GetStat() != nil
			if !a.answer.TooLarge && (i == 0 && !open || i == 1 && !stat) {
				t.Errorf("ask %d is answered by %v", i, a.answer)
			}
		}
	})
}
