//go:build linux && cgo

package verbs

// #include "shim.h"
import "C"

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// rawAddr flattens a for the shim.
func rawAddr(a netip.AddrPort) (C.struct_hb_addr, error) {
	ip := a.Addr().Unmap()
	if !ip.IsValid() {
		return C.struct_hb_addr{}, fmt.Errorf("address %v: not an IP address and port", a)
	}
	raw := C.struct_hb_addr{port: C.uint16_t(a.Port()), ip_len: C.uint8_t(ip.BitLen() / 8)}
	for i, b := range ip.AsSlice() {
		raw.ip[i] = C.uint8_t(b)
	}
	scope, err := zoneIndex(ip.Zone())
	raw.scope = C.uint32_t(scope)
	return raw, err
}

// zoneIndex returns the index of the interface that an IPv6 zone names.
func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("zone %s: %w", zone, err)
	}
	return uint32(ifi.Index), nil
}

// goAddr is the inverse of rawAddr; a zone comes back as an index.
func goAddr(raw *C.struct_hb_addr) netip.AddrPort {
	var b [16]byte
	for i := range b {
		b[i] = byte(raw.ip[i])
	}
	port := uint16(raw.port)
	switch {
	case raw.ip_len == 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	case raw.ip_len == 0:
		return netip.AddrPort{}
	case raw.scope != 0:
		return netip.AddrPortFrom(netip.AddrFrom16(b).WithZone(strconv.FormatUint(uint64(raw.scope), 10)), port)
	default:
		return netip.AddrPortFrom(netip.AddrFrom16(b), port)
	}
}
