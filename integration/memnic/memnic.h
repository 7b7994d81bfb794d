/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memnic: a pair of network devices for tests of device memory TCP. Each is
 * the other's wire. See README.md.
 *
 * Locking: rtnl for all set-up. The transmit path reads peer and rules under
 * RCU, and the rest of the steering with READ_ONCE. A queue's ring has its own
 * lock. A queue's pool belongs to its NAPI while that is enabled.
 */
#ifndef MEMNIC_H
#define MEMNIC_H

#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/flow_dissector.h>

#include "compat.h"

#define MEMNIC_NAME "memnic"
#define MEMNIC_MAX_QUEUES 16
#define MEMNIC_MAX_RING 4096
#define MEMNIC_MAX_MTU 9000
#define MEMNIC_RULES 64
#define MEMNIC_INDIR 128
#define MEMNIC_KEY 40

/* What each receive queue counts; stats.c has the names. */
enum memnic_counter {
	MEMNIC_SPLIT_PACKETS,	/* TCP with payload, cut after the headers */
	MEMNIC_UNSPLIT_PACKETS, /* TCP with payload, not cut */
	MEMNIC_OTHER_PACKETS,	/* no TCP, or no payload */
	MEMNIC_DMABUF_BYTES,	/* TCP payload put in unreadable memory */
	MEMNIC_HOST_BYTES,	/* TCP payload put in host memory */
	MEMNIC_NOMEM_DROPS,	/* packets dropped: the pool was empty */
	MEMNIC_RING_DROPS,	/* packets dropped: the ring was full */
	MEMNIC_RULE_HITS,	/* packets that a flow rule sent here */
	MEMNIC_COUNTERS,
};

struct memnic_queue {
	struct memnic *nic;
	unsigned int index;
	struct napi_struct napi;
	struct page_pool *pool;	  /* NULL while down */
	struct sk_buff_head ring; /* the sender's packets, until polled */
	bool open;		  /* takes packets */
	atomic64_t count[MEMNIC_COUNTERS];
};

/* What queue_mgmt_ops allocate and exchange. */
struct memnic_queue_mem {
	struct page_pool *pool;
};

struct memnic_rule {
	struct rcu_head rcu;
	struct ethtool_rx_flow_spec spec;
};

struct memnic {
	struct net_device *dev;
	unsigned int id;
	struct memnic __rcu *peer;
	unsigned int ring_size; /* changes while down */
	bool split;		/* changes while down */
	u32 split_above;	/* bytes of a packet; likewise */
	struct memnic_rule __rcu *rules[MEMNIC_RULES];
	u32 indir[MEMNIC_INDIR];
	u8 key[MEMNIC_KEY];
	unsigned int queues;
	struct memnic_queue queue[] __counted_by(queues);
};

/* What the sender's side found out about a packet in a ring. */
struct memnic_cb {
	unsigned int header; /* bytes of Ethernet, IP and TCP; 0: no TCP */
};

static inline struct memnic_cb *memnic_cb(struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct memnic_cb) > sizeof(skb->cb));
	return (struct memnic_cb *)skb->cb;
}

static inline void memnic_add(struct memnic_queue *q, enum memnic_counter c, s64 n)
{
	atomic64_add(n, &q->count[c]);
}

/* main.c */
extern bool memnic_unsplit;

/* dma.c */
extern const struct dma_map_ops memnic_dma_ops;
void *memnic_dma_target(dma_addr_t dma);
void memnic_dma_exit(struct device *dev);

/* queue.c */
extern const struct netdev_queue_mgmt_ops memnic_queue_mgmt_ops;
void memnic_queues_init(struct memnic *nic);
int memnic_queues_up(struct memnic *nic);
void memnic_queues_down(struct memnic *nic);
bool memnic_queue_is_bound(const struct memnic *nic, unsigned int index);
bool memnic_is_bound(const struct memnic *nic);

/* receive.c */
int memnic_poll(struct napi_struct *napi, int budget);

/* steer.c */
unsigned int memnic_parse(struct sk_buff *skb, struct flow_keys *keys);
struct memnic_queue *memnic_steer(struct memnic *nic, const struct flow_keys *keys);
void memnic_steer_init(struct memnic *nic);
void memnic_steer_free(struct memnic *nic);
int memnic_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *cmd, u32 *locations);
int memnic_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *cmd);
int memnic_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh);
int memnic_set_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh,
		    struct netlink_ext_ack *extack);

/* ethtool.c */
void memnic_split_init(struct memnic *nic);
extern const struct ethtool_ops memnic_ethtool_ops;

/* stats.c */
extern const struct attribute_group memnic_queue_group;
int memnic_get_sset_count(struct net_device *dev, int set);
void memnic_get_strings(struct net_device *dev, u32 set, u8 *data);
void memnic_get_ethtool_stats(struct net_device *dev, struct ethtool_stats *stats, u64 *data);

#endif
