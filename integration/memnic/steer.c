// SPDX-License-Identifier: GPL-2.0
/* Which queue a packet goes to: flow rules first, then the hash of its addresses. */
#include <linux/rtnetlink.h>
#include <linux/tcp.h>
#include <linux/unaligned.h>

#include "memnic.h"

/*
 * memnic_parse - take a packet apart
 *
 * Returns the length of its headers, or 0 if it is no TCP segment that can be
 * split: neither are fragments of IP.
 */
unsigned int memnic_parse(struct sk_buff *skb, struct flow_keys *keys)
{
	const struct tcphdr *tcp;
	struct tcphdr buffer;
	unsigned int header;

	if (!skb_flow_dissect_flow_keys(skb, keys, 0))
		return 0;
	if (keys->basic.ip_proto != IPPROTO_TCP || keys->control.flags & FLOW_DIS_IS_FRAGMENT)
		return 0;
	tcp = skb_header_pointer(skb, keys->control.thoff, sizeof(buffer), &buffer);
	if (!tcp || tcp->doff < sizeof(*tcp) / 4)
		return 0;
	header = keys->control.thoff + tcp->doff * 4;
	return header <= skb->len ? header : 0;
}

static bool match4(const struct ethtool_tcpip4_spec *want, const struct ethtool_tcpip4_spec *mask,
		   const struct flow_keys *keys)
{
	return !((keys->addrs.v4addrs.src ^ want->ip4src) & mask->ip4src) &&
	       !((keys->addrs.v4addrs.dst ^ want->ip4dst) & mask->ip4dst) &&
	       !((keys->ports.src ^ want->psrc) & mask->psrc) &&
	       !((keys->ports.dst ^ want->pdst) & mask->pdst);
}

static bool match6(const struct ethtool_tcpip6_spec *want, const struct ethtool_tcpip6_spec *mask,
		   const struct flow_keys *keys)
{
	const __be32 *src = keys->addrs.v6addrs.src.s6_addr32;
	const __be32 *dst = keys->addrs.v6addrs.dst.s6_addr32;
	int i;

	for (i = 0; i < 4; i++)
		if ((src[i] ^ want->ip6src[i]) & mask->ip6src[i] ||
		    (dst[i] ^ want->ip6dst[i]) & mask->ip6dst[i])
			return false;
	return !((keys->ports.src ^ want->psrc) & mask->psrc) &&
	       !((keys->ports.dst ^ want->pdst) & mask->pdst);
}

static bool memnic_matches(const struct ethtool_rx_flow_spec *spec, const struct flow_keys *keys)
{
	if (keys->basic.ip_proto != IPPROTO_TCP || keys->control.flags & FLOW_DIS_IS_FRAGMENT)
		return false;
	switch (keys->control.addr_type) {
	case FLOW_DISSECTOR_KEY_IPV4_ADDRS:
		return spec->flow_type == TCP_V4_FLOW &&
		       match4(&spec->h_u.tcp_ip4_spec, &spec->m_u.tcp_ip4_spec, keys);
	case FLOW_DISSECTOR_KEY_IPV6_ADDRS:
		return spec->flow_type == TCP_V6_FLOW &&
		       match6(&spec->h_u.tcp_ip6_spec, &spec->m_u.tcp_ip6_spec, keys);
	default:
		return false;
	}
}

/* The rule of the lowest location that matches; under RCU. */
static const struct memnic_rule *memnic_find_rule(struct memnic *nic, const struct flow_keys *keys)
{
	const struct memnic_rule *rule;
	int i;

	for (i = 0; i < MEMNIC_RULES; i++) {
		rule = rcu_dereference(nic->rules[i]);
		if (rule && memnic_matches(&rule->spec, keys))
			return rule;
	}
	return NULL;
}

static u32 toeplitz(const u8 *key, const u8 *data, unsigned int len)
{
	u32 window = get_unaligned_be32(key), hash = 0;
	unsigned int i;
	int bit;

	for (i = 0; i < len; i++)
		for (bit = 7; bit >= 0; bit--) {
			if (data[i] & BIT(bit))
				hash ^= window;
			window = window << 1 | (key[i + 4] >> bit & 1);
		}
	return hash;
}

/* The Toeplitz hash over addresses, and over ports where there are any. */
static u32 memnic_hash(const struct memnic *nic, const struct flow_keys *keys)
{
	u8 data[sizeof(keys->addrs.v6addrs) + sizeof(keys->ports.ports)];
	unsigned int len;

	BUILD_BUG_ON(sizeof(data) + 4 > MEMNIC_KEY);
	switch (keys->control.addr_type) {
	case FLOW_DISSECTOR_KEY_IPV4_ADDRS:
		len = sizeof(keys->addrs.v4addrs);
		break;
	case FLOW_DISSECTOR_KEY_IPV6_ADDRS:
		len = sizeof(keys->addrs.v6addrs);
		break;
	default:
		return 0;
	}
	memcpy(data, &keys->addrs, len);
	memcpy(data + len, &keys->ports.ports, sizeof(keys->ports.ports));
	return toeplitz(nic->key, data, len + sizeof(keys->ports.ports));
}

/* The queue for a packet; NULL: a rule drops it. Under RCU. */
struct memnic_queue *memnic_steer(struct memnic *nic, const struct flow_keys *keys)
{
	const struct memnic_rule *rule = memnic_find_rule(nic, keys);
	struct memnic_queue *q;

	if (!rule)
		return &nic->queue[READ_ONCE(nic->indir[memnic_hash(nic, keys) % MEMNIC_INDIR])];
	if (rule->spec.ring_cookie == RX_CLS_FLOW_DISC)
		return NULL;
	q = &nic->queue[rule->spec.ring_cookie];
	memnic_add(q, MEMNIC_RULE_HITS, 1);
	return q;
}

void memnic_steer_init(struct memnic *nic)
{
	int i;

	netdev_rss_key_fill(nic->key, sizeof(nic->key));
	for (i = 0; i < MEMNIC_INDIR; i++)
		nic->indir[i] = ethtool_rxfh_indir_default(i, nic->queues);
}

/* Once nothing can steer any more. */
void memnic_steer_free(struct memnic *nic)
{
	int i;

	for (i = 0; i < MEMNIC_RULES; i++)
		kfree(rcu_dereference_protected(nic->rules[i], true));
}

static u32 memnic_count_rules(struct memnic *nic)
{
	u32 n = 0;
	int i;

	for (i = 0; i < MEMNIC_RULES; i++)
		n += !!rtnl_dereference(nic->rules[i]);
	return n;
}

static int memnic_get_rule(struct memnic *nic, struct ethtool_rxnfc *cmd)
{
	const struct memnic_rule *rule = NULL;

	if (cmd->fs.location < MEMNIC_RULES)
		rule = rtnl_dereference(nic->rules[cmd->fs.location]);
	if (!rule)
		return -ENOENT;
	cmd->fs = rule->spec;
	return 0;
}

static int memnic_get_locations(struct memnic *nic, struct ethtool_rxnfc *cmd, u32 *locations)
{
	u32 n = 0;
	int i;

	cmd->data = MEMNIC_RULES;
	for (i = 0; i < MEMNIC_RULES; i++) {
		if (!rtnl_dereference(nic->rules[i]))
			continue;
		if (n == cmd->rule_cnt)
			return -EMSGSIZE;
		locations[n++] = i;
	}
	cmd->rule_cnt = n;
	return 0;
}

int memnic_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *cmd, u32 *locations)
{
	struct memnic *nic = netdev_priv(dev);

	switch (cmd->cmd) {
	case ETHTOOL_GRXRINGS:
		cmd->data = dev->real_num_rx_queues;
		return 0;
	case ETHTOOL_GRXCLSRLCNT:
		cmd->rule_cnt = memnic_count_rules(nic);
		cmd->data = MEMNIC_RULES | RX_CLS_LOC_SPECIAL;
		return 0;
	case ETHTOOL_GRXCLSRULE:
		return memnic_get_rule(nic, cmd);
	case ETHTOOL_GRXCLSRLALL:
		return memnic_get_locations(nic, cmd, locations);
	default:
		return -EOPNOTSUPP;
	}
}

/* A free location for the one asked for, or -ENOSPC. */
static int memnic_location(struct memnic *nic, u32 asked)
{
	int i, n;

	if (asked < MEMNIC_RULES)
		return asked;
	if (asked != RX_CLS_LOC_ANY && asked != RX_CLS_LOC_FIRST && asked != RX_CLS_LOC_LAST)
		return -EINVAL;
	for (n = 0; n < MEMNIC_RULES; n++) {
		i = asked == RX_CLS_LOC_LAST ? MEMNIC_RULES - 1 - n : n;
		if (!rtnl_dereference(nic->rules[i]))
			return i;
	}
	return -ENOSPC;
}

static int memnic_check_rule(struct net_device *dev, const struct ethtool_rx_flow_spec *spec)
{
	if (spec->ring_cookie != RX_CLS_FLOW_DISC && spec->ring_cookie >= dev->real_num_rx_queues)
		return -EINVAL;
	switch (spec->flow_type) {
	case TCP_V4_FLOW:
		return spec->m_u.tcp_ip4_spec.tos ? -EOPNOTSUPP : 0;
	case TCP_V6_FLOW:
		return spec->m_u.tcp_ip6_spec.tclass ? -EOPNOTSUPP : 0;
	default:
		return -EOPNOTSUPP;
	}
}

static void memnic_put_rule(struct memnic *nic, u32 location, struct memnic_rule *rule)
{
	rule = rcu_replace_pointer(nic->rules[location], rule, lockdep_rtnl_is_held());
	if (rule)
		kfree_rcu(rule, rcu);
}

static int memnic_insert_rule(struct memnic *nic, struct ethtool_rx_flow_spec *spec)
{
	int location = memnic_location(nic, spec->location);
	int err = memnic_check_rule(nic->dev, spec);
	struct memnic_rule *rule;

	if (err || location < 0)
		return err ?: location;
	rule = kzalloc(sizeof(*rule), GFP_KERNEL);
	if (!rule)
		return -ENOMEM;
	spec->location = location;
	rule->spec = *spec;
	memnic_put_rule(nic, location, rule);
	return 0;
}

static int memnic_delete_rule(struct memnic *nic, u32 location)
{
	if (location >= MEMNIC_RULES || !rtnl_dereference(nic->rules[location]))
		return -ENOENT;
	memnic_put_rule(nic, location, NULL);
	return 0;
}

int memnic_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *cmd)
{
	struct memnic *nic = netdev_priv(dev);

	switch (cmd->cmd) {
	case ETHTOOL_SRXCLSRLINS:
		return memnic_insert_rule(nic, &cmd->fs);
	case ETHTOOL_SRXCLSRLDEL:
		return memnic_delete_rule(nic, cmd->fs.location);
	default:
		return -EOPNOTSUPP;
	}
}

int memnic_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh)
{
	struct memnic *nic = netdev_priv(dev);

	rxfh->hfunc = ETH_RSS_HASH_TOP;
	if (rxfh->indir)
		memcpy(rxfh->indir, nic->indir, sizeof(nic->indir));
	if (rxfh->key)
		memcpy(rxfh->key, nic->key, sizeof(nic->key));
	return 0;
}

int memnic_set_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh,
		    struct netlink_ext_ack *extack)
{
	struct memnic *nic = netdev_priv(dev);
	int i;

	if (rxfh->hfunc != ETH_RSS_HASH_NO_CHANGE && rxfh->hfunc != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;
	for (i = 0; rxfh->indir && i < MEMNIC_INDIR; i++)
		WRITE_ONCE(nic->indir[i], rxfh->indir[i]);
	if (rxfh->key)
		memcpy(nic->key, rxfh->key, sizeof(nic->key));
	return 0;
}
