package loans

import (
	"reflect"
	"testing"

	"hbmfs/transport/devmemtcp/internal/receive"
)

// TestLoanTokenOrder: what is given back first lies highest.
func TestLoanTokenOrder(t *testing.T) {
	var l Loan
	l.region = new(region)
	for i, off := range []int64{8192, 0, 4096, 12288} {
		l.add(receive.Part{Off: off, Len: 4096, Token: uint32(i)}, 4)
	}
	want := new(receive.Tokens)
	for _, token := range []uint32{3, 0, 2, 1} {
		want.Add(token)
	}
	if back := l.tokens(); !reflect.DeepEqual(back, want) {
		t.Errorf("%+v", back)
	}
}
