package nic

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attr is a netlink attribute as the kernel lays it out: length, type, value,
// padding to four bytes.
func attr(typ uint16, value ...[]byte) []byte {
	v := bytes.Join(value, nil)
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(v)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), v...)
	return append(b, make([]byte, -len(b)&3)...)
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func nest(typ uint16, attrs ...[]byte) []byte { return attr(typ|unix.NLA_F_NESTED, attrs...) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestRequests(t *testing.T) {
	l := link{Index: 5}
	on, zero := splitOn, uint32(0)
	header := nest(1, attr(1, u32(5)))
	silent := nest(1, attr(1, u32(5)), attr(3, u32(2)))
	for name, c := range map[string]struct{ got, want []byte }{
		"get":   {must(ethtoolRequest(l, false, nil))(t), header},
		"split": {must(ethtoolRequest(l, true, ringChange{Split: &on}.encode))(t), cat(silent, attr(11, []byte{2}))},
		"split, thresh": {must(ethtoolRequest(l, true, ringChange{&on, &zero}.encode))(t),
			cat(silent, attr(11, []byte{2}), attr(17, u32(0)))},
		"ntuple on": {must(ethtoolRequest(l, true, func(ae *netlink.AttributeEncoder) { encodeNTuple(ae, true) }))(t),
			cat(silent, nest(3, nest(3, nest(1, attr(2, []byte("rx-ntuple-filter\x00")), attr(3)))))},
		"ntuple off": {must(ethtoolRequest(l, true, func(ae *netlink.AttributeEncoder) { encodeNTuple(ae, false) }))(t),
			cat(silent, nest(3, nest(3, nest(1, attr(2, []byte("rx-ntuple-filter\x00"))))))},
		"bind": {must(bindRequest(l, 9, []int{2, 3}))(t), cat(attr(1, u32(5)), attr(3, u32(9)),
			nest(2, attr(1, u32(2)), attr(3, u32(0))), nest(2, attr(1, u32(3)), attr(3, u32(0))))},
		"link by name":  {must(linkRequest(0, "eth0"))(t), cat(make([]byte, 16), attr(3, []byte("eth0\x00")))},
		"link by index": {must(linkRequest(5, ""))(t), cat(make([]byte, 4), u32(5), make([]byte, 8))},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: got\n%swant\n%s", name, hex.Dump(c.got), hex.Dump(c.want))
		}
	}
}

func bit(index uint32, name string, value bool) []byte {
	parts := [][]byte{attr(1, u32(index)), attr(2, []byte(name+"\x00"))}
	if value {
		parts = append(parts, attr(3))
	}
	return nest(1, parts...)
}

var (
	ringsReply = cat(nest(1, attr(1, u32(5)), attr(2, []byte("eth0\x00"))), attr(2, u32(4096)), attr(6, u32(1024)),
		attr(11, []byte{1}), attr(13, []byte{0}), attr(17, u32(256)), attr(18, u32(1023)))
	featuresReply = cat(nest(1, attr(1, u32(5))),
		nest(2, attr(2, u32(64)), nest(3, bit(0, "tx-scatter-gather", true), bit(37, "rx-ntuple-filter", true))),
		nest(4, attr(1), attr(2, u32(64)), nest(3, bit(0, "tx-scatter-gather", false), bit(37, "rx-ntuple-filter", false))))
	queueReply   = cat(attr(1, u32(3)), attr(3, u32(0)), attr(2, u32(5)), attr(4, u32(8193)), attr(5, u32(7)))
	contextReply = cat(nest(1, attr(1, u32(5))), attr(2, u32(2)), attr(3, u32(1)), attr(4, u32(0), u32(3)))
	linkReply    = cat([]byte{0, 0, 1, 0}, u32(5), u32(unix.IFF_UP|unix.IFF_RUNNING), u32(0),
		attr(3, []byte("eth0\x00")), attr(4, u32(9000)), attr(56, []byte("0000:01:00.0\x00")), attr(57, []byte("pci\x00")))
	bindReply = attr(4, u32(12))
)

func TestReplies(t *testing.T) {
	if r := must(parseRings(ringsReply))(t); r != (rings{RX: 1024, Split: splitOff, HasThresh: true, Thresh: 256}) {
		t.Errorf("rings %+v", r)
	}
	if r := must(parseRings(attr(6, u32(64))))(t); r != (rings{RX: 64}) {
		t.Errorf("rings of a driver without split %+v", r)
	}
	if f := must(parseNTuple(featuresReply))(t); f != (feature{On: true, Changeable: true}) {
		t.Errorf("feature %+v", f)
	}
	if f := must(parseNTuple(nest(2, nest(3, bit(37, ntupleName, false)))))(t); f != (feature{}) {
		t.Errorf("feature that is fixed off %+v", f)
	}
	q, receive, err := parseQueue(queueReply)
	if err != nil || !receive || q != (queue{ID: 3, DMABuf: 7}) {
		t.Errorf("queue %+v, %v, %v", q, receive, err)
	}
	if q, _, err := parseQueue(cat(attr(1, u32(3)), nest(6))); err != nil || q.owner() != "io_uring" {
		t.Errorf("queue of io_uring %+v, %v", q, err)
	}
	if c := must(parseContext(contextReply))(t); c.ID != 2 || len(c.Table) != 2 || c.Table[1] != 3 {
		t.Errorf("context %+v", c)
	}
	if l := must(parseLink(linkReply))(t); l != (link{5, "eth0", 9000, true, "pci/0000:01:00.0"}) {
		t.Errorf("link %+v", l)
	}
	if id := must(parseBinding(bindReply))(t); id != 12 {
		t.Errorf("binding %d", id)
	}
}

func TestBadReplies(t *testing.T) {
	if _, err := parseLink(linkReply[:15]); err == nil {
		t.Error("a short link")
	}
	if _, err := parseBinding(nil); err == nil || !strings.Contains(err.Error(), "no binding") {
		t.Errorf("a binding without a number: %v", err)
	}
	for name, b := range map[string][]byte{
		"cut":         ringsReply[:len(ringsReply)-2],
		"wrong size":  attr(6, []byte{1, 2}),
		"no header":   {1},
		"long length": {200, 0, 6, 0},
	} {
		if r, err := parseRings(b); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func FuzzRings(f *testing.F) {
	f.Add(ringsReply)
	f.Fuzz(func(_ *testing.T, b []byte) { parseRings(b) })
}

func FuzzNTuple(f *testing.F) {
	f.Add(featuresReply)
	f.Fuzz(func(_ *testing.T, b []byte) { parseNTuple(b) })
}

func FuzzQueue(f *testing.F) {
	f.Add(queueReply)
	f.Fuzz(func(_ *testing.T, b []byte) { parseQueue(b) })
}

func FuzzContext(f *testing.F) {
	f.Add(contextReply)
	f.Fuzz(func(_ *testing.T, b []byte) { parseContext(b) })
}

func FuzzLink(f *testing.F) {
	f.Add(linkReply)
	f.Fuzz(func(_ *testing.T, b []byte) { parseLink(b) })
}

func FuzzBinding(f *testing.F) {
	f.Add(bindReply)
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := parseBinding(b); (id == 0) != (err != nil) && id == 0 {
			t.Errorf("%d, %v", id, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"Boot":"b","NetNS":1,"Index":5,"Name":"eth0","Queues":[3],"RSS":[0,1],"Flows":[{"Local":"10.0.0.1:1","Remote":"10.0.0.2:2","Queue":3}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err == nil && (r.Index <= 0 || r.Name == "") {
			t.Errorf("%+v", r)
		}
	})
}
