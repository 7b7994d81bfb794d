// SPDX-License-Identifier: GPL-2.0
/* Receive queues: their NAPI, their page pools, and their exchange. */
#include <linux/rtnetlink.h>
#include <net/netdev_queues.h>
#include <net/netdev_rx_queue.h>
#include <net/page_pool/helpers.h>

#include "memnic.h"

bool memnic_queue_is_bound(const struct memnic *nic, unsigned int index)
{
	return READ_ONCE(nic->dev->_rx[index].mp_params.mp_priv);
}

bool memnic_is_bound(const struct memnic *nic)
{
	unsigned int i;

	for (i = 0; i < nic->queues; i++)
		if (memnic_queue_is_bound(nic, i))
			return true;
	return false;
}

/* page_pool_init makes no larger cache. */
#define MEMNIC_MAX_POOL 16384u

/*
 * How many pages a queue keeps for packets to come: as drivers do, those of a full
 * ring, here of segments of up to 64 KiB. What is given back beyond that goes all
 * the way to the memory's owner, and for a dma-buf that is gen_pool, which
 * searches from the beginning for each page.
 */
static unsigned int memnic_pool_size(const struct memnic *nic)
{
	return min(nic->ring_size * MAX_SKB_FRAGS, MEMNIC_MAX_POOL);
}

/*
 * page_pool_init asks for both DMA flags before it takes a memory provider,
 * and page_pool_check_memory_provider for netdev and queue_idx.
 */
static struct page_pool *memnic_create_pool(struct memnic_queue *q)
{
	struct page_pool_params params = {
		.pool_size = memnic_pool_size(q->nic),
		.nid = NUMA_NO_NODE,
		.dev = q->nic->dev->dev.parent,
		.napi = &q->napi,
		.dma_dir = DMA_FROM_DEVICE,
		.max_len = PAGE_SIZE,
		.netdev = q->nic->dev,
		.queue_idx = q->index,
		.flags = PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV,
	};

	if (q->nic->split)
		params.flags |= PP_FLAG_ALLOW_UNREADABLE_NETMEM;
	return page_pool_create(&params);
}

static void memnic_queue_enable(struct memnic_queue *q)
{
	napi_enable_locked(&q->napi);
	/* Packets may have come in the meantime. */
	local_bh_disable();
	napi_schedule(&q->napi);
	local_bh_enable();
}

/* Afterwards the pool may be destroyed at any time. */
static void memnic_queue_disable(struct memnic_queue *q)
{
	napi_disable_locked(&q->napi);
	page_pool_disable_direct_recycling(q->pool);
}

static void memnic_link_napi(struct memnic_queue *q, struct napi_struct *napi)
{
	netif_queue_set_napi(q->nic->dev, q->index, NETDEV_QUEUE_TYPE_RX, napi);
	netif_queue_set_napi(q->nic->dev, q->index, NETDEV_QUEUE_TYPE_TX, napi);
}

static void memnic_free_pools(struct memnic *nic)
{
	unsigned int i;

	for (i = 0; i < nic->queues; i++) {
		page_pool_destroy(nic->queue[i].pool);
		nic->queue[i].pool = NULL;
	}
}

static int memnic_create_pools(struct memnic *nic)
{
	struct page_pool *pool;
	unsigned int i;

	for (i = 0; i < nic->dev->real_num_rx_queues; i++) {
		pool = memnic_create_pool(&nic->queue[i]);
		if (IS_ERR(pool)) {
			memnic_free_pools(nic);
			return PTR_ERR(pool);
		}
		nic->queue[i].pool = pool;
	}
	return 0;
}

int memnic_queues_up(struct memnic *nic)
{
	int err = memnic_create_pools(nic);
	unsigned int i;

	if (err)
		return err;
	for (i = 0; i < nic->dev->real_num_rx_queues; i++) {
		memnic_link_napi(&nic->queue[i], &nic->queue[i].napi);
		WRITE_ONCE(nic->queue[i].open, true);
		memnic_queue_enable(&nic->queue[i]);
	}
	return 0;
}

void memnic_queues_down(struct memnic *nic)
{
	unsigned int i;

	for (i = 0; i < nic->queues; i++)
		WRITE_ONCE(nic->queue[i].open, false);
	/* No sender sees an open queue any more. */
	synchronize_net();
	for (i = 0; i < nic->queues; i++) {
		if (!nic->queue[i].pool)
			continue;
		memnic_queue_disable(&nic->queue[i]);
		memnic_link_napi(&nic->queue[i], NULL);
		skb_queue_purge(&nic->queue[i].ring);
	}
	memnic_free_pools(nic);
}

void memnic_queues_init(struct memnic *nic)
{
	unsigned int i;

	for (i = 0; i < nic->queues; i++) {
		struct memnic_queue *q = &nic->queue[i];

		q->nic = nic;
		q->index = i;
		skb_queue_head_init(&q->ring);
		netif_napi_add(nic->dev, &q->napi, memnic_poll);
	}
}

static int memnic_queue_mem_alloc(struct net_device *dev, MEMNIC_QCFG void *mem, int index)
{
	struct memnic_queue_mem *m = mem;
	struct memnic *nic = netdev_priv(dev);
	struct page_pool *pool;

	/* net_devmem_unbind_dmabuf takes this answer from a device that is down. */
	if (!nic->queue[index].pool)
		return -ENETDOWN;
	pool = memnic_create_pool(&nic->queue[index]);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	m->pool = pool;
	return 0;
}

/*
 * The pool was either disabled by memnic_queue_stop or never used: its NAPI,
 * which another pool may have now, doesn't know it.
 */
static void memnic_queue_mem_free(struct net_device *dev, void *mem)
{
	struct memnic_queue_mem *m = mem;

	if (!m->pool)
		return;
	WRITE_ONCE(m->pool->p.napi, NULL);
	page_pool_destroy(m->pool);
}

static int memnic_queue_start(struct net_device *dev, MEMNIC_QCFG void *mem, int index)
{
	struct memnic_queue_mem *m = mem;
	struct memnic *nic = netdev_priv(dev);
	struct memnic_queue *q = &nic->queue[index];

	q->pool = m->pool;
	memnic_queue_enable(q);
	return 0;
}

/* What is in the ring waits there for the next pool. */
static int memnic_queue_stop(struct net_device *dev, void *mem, int index)
{
	struct memnic_queue_mem *m = mem;
	struct memnic *nic = netdev_priv(dev);
	struct memnic_queue *q = &nic->queue[index];

	memnic_queue_disable(q);
	m->pool = q->pool;
	q->pool = NULL;
	return 0;
}

const struct netdev_queue_mgmt_ops memnic_queue_mgmt_ops = {
	.ndo_queue_mem_size	= sizeof(struct memnic_queue_mem),
	.ndo_queue_mem_alloc	= memnic_queue_mem_alloc,
	.ndo_queue_mem_free	= memnic_queue_mem_free,
	.ndo_queue_start	= memnic_queue_start,
	.ndo_queue_stop		= memnic_queue_stop,
};
