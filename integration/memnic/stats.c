// SPDX-License-Identifier: GPL-2.0
/*
 * Counters, as "rxN_NAME" in the ethtool statistics and as
 * /sys/class/net/DEV/queues/rx-N/memnic/NAME.
 */
#include <linux/ethtool.h>
#include <net/netdev_rx_queue.h>

#include "memnic.h"

static const char *const names[MEMNIC_COUNTERS] = {
	[MEMNIC_SPLIT_PACKETS]	 = "split_packets",
	[MEMNIC_UNSPLIT_PACKETS] = "unsplit_packets",
	[MEMNIC_OTHER_PACKETS]	 = "other_packets",
	[MEMNIC_DMABUF_BYTES]	 = "dmabuf_bytes",
	[MEMNIC_HOST_BYTES]	 = "host_bytes",
	[MEMNIC_NOMEM_DROPS]	 = "nomem_drops",
	[MEMNIC_RING_DROPS]	 = "ring_drops",
	[MEMNIC_RULE_HITS]	 = "rule_hits",
};

/* The counters and, last, whether device memory is bound to the queue. */
#define VALUES (MEMNIC_COUNTERS + 1)

int memnic_get_sset_count(struct net_device *dev, int set)
{
	struct memnic *nic = netdev_priv(dev);

	return set == ETH_SS_STATS ? nic->queues * VALUES : -EOPNOTSUPP;
}

void memnic_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	struct memnic *nic = netdev_priv(dev);
	unsigned int i, c;

	if (set != ETH_SS_STATS)
		return;
	for (i = 0; i < nic->queues; i++) {
		for (c = 0; c < MEMNIC_COUNTERS; c++)
			ethtool_sprintf(&data, "rx%u_%s", i, names[c]);
		ethtool_sprintf(&data, "rx%u_bound", i);
	}
}

void memnic_get_ethtool_stats(struct net_device *dev, struct ethtool_stats *stats, u64 *data)
{
	struct memnic *nic = netdev_priv(dev);
	unsigned int i, c;

	for (i = 0; i < nic->queues; i++) {
		for (c = 0; c < MEMNIC_COUNTERS; c++)
			*data++ = atomic64_read(&nic->queue[i].count[c]);
		*data++ = memnic_queue_is_bound(nic, i);
	}
}

static ssize_t memnic_show(struct netdev_rx_queue *rxq, char *buf, enum memnic_counter c)
{
	struct memnic *nic = netdev_priv(rxq->dev);

	return sysfs_emit(buf, "%lld\n",
			  atomic64_read(&nic->queue[get_netdev_rx_queue_index(rxq)].count[c]));
}

#define COUNTER_ATTRIBUTE(name, counter)					\
	static ssize_t name##_show(struct netdev_rx_queue *rxq, char *buf)	\
	{									\
		return memnic_show(rxq, buf, counter);				\
	}									\
	static struct rx_queue_attribute name##_attribute = __ATTR_RO(name)

COUNTER_ATTRIBUTE(split_packets, MEMNIC_SPLIT_PACKETS);
COUNTER_ATTRIBUTE(unsplit_packets, MEMNIC_UNSPLIT_PACKETS);
COUNTER_ATTRIBUTE(other_packets, MEMNIC_OTHER_PACKETS);
COUNTER_ATTRIBUTE(dmabuf_bytes, MEMNIC_DMABUF_BYTES);
COUNTER_ATTRIBUTE(host_bytes, MEMNIC_HOST_BYTES);
COUNTER_ATTRIBUTE(nomem_drops, MEMNIC_NOMEM_DROPS);
COUNTER_ATTRIBUTE(ring_drops, MEMNIC_RING_DROPS);
COUNTER_ATTRIBUTE(rule_hits, MEMNIC_RULE_HITS);

static ssize_t bound_show(struct netdev_rx_queue *rxq, char *buf)
{
	struct memnic *nic = netdev_priv(rxq->dev);

	return sysfs_emit(buf, "%d\n", memnic_queue_is_bound(nic, get_netdev_rx_queue_index(rxq)));
}

static struct rx_queue_attribute bound_attribute = __ATTR_RO(bound);

static struct attribute *attributes[] = {
	&split_packets_attribute.attr,
	&unsplit_packets_attribute.attr,
	&other_packets_attribute.attr,
	&dmabuf_bytes_attribute.attr,
	&host_bytes_attribute.attr,
	&nomem_drops_attribute.attr,
	&ring_drops_attribute.attr,
	&rule_hits_attribute.attr,
	&bound_attribute.attr,
	NULL,
};

const struct attribute_group memnic_queue_group = {
	.name	= MEMNIC_NAME,
	.attrs	= attributes,
};
