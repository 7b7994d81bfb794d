package nic

import (
	"errors"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// contexts gives the indirection tables beside the interface's own. Before Linux
// 6.11 the kernel does not list them: then there are none.
func (s *sockets) contexts(l link) ([]rssContext, error) {
	msgs, err := s.ethtoolDo(unix.ETHTOOL_MSG_RSS_GET, netlink.Dump, l, nil)
	if lacking(err) || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, needRSS.failed(err)
	}
	var all []rssContext
	for _, m := range msgs {
		c, err := parseContext(m.Data)
		if err != nil {
			return nil, needRSS.failed(err)
		}
		if c.ID != 0 {
			all = append(all, c)
		}
	}
	return all, nil
}

// parseContext reads one answer to RSS_GET; number 0 is the interface's own table.
func parseContext(b []byte) (c rssContext, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case rssContextID:
			c.ID = ad.Uint32()
		case rssIndir:
			table := ad.Bytes()
			for ; len(table) >= 4; table = table[4:] {
				c.Table = append(c.Table, ad.ByteOrder.Uint32(table))
			}
		}
	})
	return c, err
}
