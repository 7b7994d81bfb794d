package nic

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestLayout compares sizes, offsets and numbers with those of the C headers.
func TestLayout(t *testing.T) {
	want := []struct {
		c     string
		value uint64
	}{
		{"sizeof(struct ethtool_rxnfc)", uint64(unsafe.Sizeof(rxnfc{}))},
		{"offsetof(struct ethtool_rxnfc, cmd)", uint64(unsafe.Offsetof(rxnfc{}.Cmd))},
		{"offsetof(struct ethtool_rxnfc, flow_type)", uint64(unsafe.Offsetof(rxnfc{}.FlowType))},
		{"offsetof(struct ethtool_rxnfc, data)", uint64(unsafe.Offsetof(rxnfc{}.Data))},
		{"offsetof(struct ethtool_rxnfc, fs)", uint64(unsafe.Offsetof(rxnfc{}.Spec))},
		{"offsetof(struct ethtool_rxnfc, rule_cnt)", uint64(unsafe.Offsetof(rxnfc{}.RuleCount))},
		{"offsetof(struct ethtool_rxnfc, rule_locs)", ruleLocs},
		{"sizeof(struct ethtool_rx_flow_spec)", uint64(unsafe.Sizeof(flowSpec{}))},
		{"offsetof(struct ethtool_rx_flow_spec, flow_type)", uint64(unsafe.Offsetof(flowSpec{}.FlowType))},
		{"offsetof(struct ethtool_rx_flow_spec, h_u)", uint64(unsafe.Offsetof(flowSpec{}.Fields))},
		{"offsetof(struct ethtool_rx_flow_spec, h_ext)", uint64(unsafe.Offsetof(flowSpec{}.Ext))},
		{"offsetof(struct ethtool_rx_flow_spec, m_u)", uint64(unsafe.Offsetof(flowSpec{}.Mask))},
		{"offsetof(struct ethtool_rx_flow_spec, m_ext)", uint64(unsafe.Offsetof(flowSpec{}.MaskExt))},
		{"offsetof(struct ethtool_rx_flow_spec, ring_cookie)", uint64(unsafe.Offsetof(flowSpec{}.RingCookie))},
		{"offsetof(struct ethtool_rx_flow_spec, location)", uint64(unsafe.Offsetof(flowSpec{}.Location))},
		{"offsetof(struct ethtool_tcpip4_spec, ip4src)", v4Src},
		{"offsetof(struct ethtool_tcpip4_spec, ip4dst)", v4Dst},
		{"offsetof(struct ethtool_tcpip4_spec, psrc)", v4SrcPort},
		{"offsetof(struct ethtool_tcpip4_spec, pdst)", v4DstPort},
		{"offsetof(struct ethtool_tcpip4_spec, tos)", v4End},
		{"offsetof(struct ethtool_tcpip6_spec, ip6src)", v6Src},
		{"offsetof(struct ethtool_tcpip6_spec, ip6dst)", v6Dst},
		{"offsetof(struct ethtool_tcpip6_spec, psrc)", v6SrcPort},
		{"offsetof(struct ethtool_tcpip6_spec, pdst)", v6DstPort},
		{"offsetof(struct ethtool_tcpip6_spec, tclass)", v6End},
		{"offsetof(struct ethtool_rxfh, rss_config)", uint64(unsafe.Sizeof(rxfh{}))},
		{"offsetof(struct ethtool_rxfh, cmd)", uint64(unsafe.Offsetof(rxfh{}.Cmd))},
		{"offsetof(struct ethtool_rxfh, rss_context)", uint64(unsafe.Offsetof(rxfh{}.Context))},
		{"offsetof(struct ethtool_rxfh, indir_size)", uint64(unsafe.Offsetof(rxfh{}.IndirSize))},
		{"offsetof(struct ethtool_rxfh, key_size)", uint64(unsafe.Offsetof(rxfh{}.KeySize))},
		{"offsetof(struct ethtool_rxfh, hfunc)", uint64(unsafe.Offsetof(rxfh{}.HFunc))},
		{"offsetof(struct ethtool_rxfh, hfunc) + 1", uint64(unsafe.Offsetof(rxfh{}.InputXfrm))}, // named since Linux 6.8
		{"sizeof(struct ifreq)", uint64(unsafe.Sizeof(ifreq{}))},
		{"offsetof(struct ifreq, ifr_data)", uint64(unsafe.Offsetof(ifreq{}.data))},
		{"sizeof(struct ifreq)", uint64(unsafe.Sizeof(ifindexreq{}))},
		{"offsetof(struct ifreq, ifr_ifindex)", uint64(unsafe.Offsetof(ifindexreq{}.index))},
		{"TCP_V4_FLOW", tcpV4Flow},
		{"TCP_V6_FLOW", tcpV6Flow},
		{"RX_CLS_LOC_ANY", locationAny},
		{"RX_CLS_LOC_SPECIAL", locationSpecial},
		{"ETHTOOL_RX_FLOW_SPEC_RING", ringCookieQueue},
		{"ETHTOOL_A_FEATURES_HEADER", unix.ETHTOOL_A_RINGS_HEADER},
		{"ETHTOOL_TCP_DATA_SPLIT_UNKNOWN", uint64(splitUnknown)},
		{"ETHTOOL_TCP_DATA_SPLIT_DISABLED", uint64(splitOff)},
		{"ETHTOOL_TCP_DATA_SPLIT_ENABLED", uint64(splitOn)},
	}
	var program, expected strings.Builder
	program.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <linux/if.h>\n#include <linux/ethtool.h>\n#include <linux/ethtool_netlink.h>\nint main(void) {\n")
	for _, w := range want {
		fmt.Fprintf(&program, "printf(\"%%s = %%llu\\n\", \"%s\", (unsigned long long)(%s));\n", w.c, w.c)
		fmt.Fprintf(&expected, "%s = %d\n", w.c, w.value)
	}
	program.WriteString("return 0; }\n")
	if got := compiled(t, program.String()); got != expected.String() {
		t.Errorf("C says\n%swant\n%s", got, expected.String())
	}
}

func compiled(t *testing.T, source string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		skip(t, "no C compiler: packages gcc and libc6-dev")
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "layout.c"), filepath.Join(dir, "layout")
	check(t, os.WriteFile(src, []byte(source), 0o600))
	if out, err := exec.Command(cc, "-o", bin, src).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(must(exec.Command(bin).Output())(t))
}

// TestSpecBytes compares a rule with what a NIC's driver finds at the header's
// offsets.
func TestSpecBytes(t *testing.T) {
	v4, v6 := (flow{localV4, remoteV4, 3}).spec(locationAny), (flow{localV6, remoteV6, 2}).spec(9)
	if v4.FlowType != tcpV4Flow || v4.RingCookie != 3 || v4.Location != locationAny || v6.FlowType != tcpV6Flow || v6.Location != 9 {
		t.Errorf("%+v, %+v", v4, v6)
	}
	if got := string(v4.Fields[:12]); got != "\x0a\x00\x00\x02\x0a\x00\x00\x01"+port(5000)+port(4000) {
		t.Errorf("IPv4: %x", got)
	}
	src, dst := remoteV6.Addr().As16(), localV6.Addr().As16()
	if got := string(v6.Fields[:36]); got != string(src[:])+string(dst[:])+port(5000)+port(4000) {
		t.Errorf("IPv6: %x", got)
	}
	if got := string(v4.Mask[:]); got != strings.Repeat("\xff", 12)+strings.Repeat("\x00", 40) {
		t.Errorf("IPv4 mask: %x", got)
	}
	if got := string(v6.Mask[:]); got != strings.Repeat("\xff", 36)+strings.Repeat("\x00", 16) {
		t.Errorf("IPv6 mask: %x", got)
	}
	if r := v6.rule(); !r.Exact || r.Flow != (flow{localV6, remoteV6, 2}) {
		t.Errorf("read back: %+v", r)
	}
	v6.Mask[40] = 1
	v4.RingCookie = ^uint64(0)
	if r := v6.rule(); r.Exact {
		t.Errorf("a wider mask: %+v", r)
	}
	if r := v4.rule(); r.Queue != -1 {
		t.Errorf("a rule that drops: %+v", r)
	}
}

func port(p uint16) string { return string(binary.BigEndian.AppendUint16(nil, p)) }

func TestFreeLocation(t *testing.T) {
	for _, c := range []struct {
		used []uint32
		size uint64
		want uint32
		ok   bool
	}{
		{nil, 4, 0, true}, {[]uint32{0, 1, 3}, 4, 2, true}, {[]uint32{0, 1}, 2, 0, false}, {nil, 0, 0, false},
	} {
		got, err := freeLocation(c.used, c.size)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%v of %d: %d, %v", c.used, c.size, got, err)
		}
	}
}
