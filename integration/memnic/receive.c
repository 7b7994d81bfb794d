// SPDX-License-Identifier: GPL-2.0
/* The receiving end: packets of the peer become packets in this queue's memory. */
#include <linux/etherdevice.h>
#include <net/page_pool/helpers.h>

#include "memnic.h"

/*
 * How much of a packet that is not split is linear. With more, the skb's head is a
 * page fragment, which skb_try_coalesce of 6.12 puts among the unreadable
 * fragments of the packet before; recvmsg then fails with ENODEV ("Found
 * non-dmabuf skb with net_iov").
 */
#define MEMNIC_LINEAR 192u

/* Put the bytes of in from offset on into the queue's memory, as fragments of out. */
static bool memnic_place(struct memnic_queue *q, struct sk_buff *out,
			 const struct sk_buff *in, unsigned int from)
{
	while (from < in->len) {
		unsigned int n = min_t(unsigned int, in->len - from, PAGE_SIZE);
		int frags = skb_shinfo(out)->nr_frags;
		netmem_ref netmem;
		void *target;

		if (frags == MAX_SKB_FRAGS)
			return false;
		netmem = page_pool_alloc_netmems(q->pool, GFP_ATOMIC | __GFP_NOWARN);
		if (!netmem)
			return false;
		skb_add_rx_frag_netmem(out, frags, netmem, 0, n, PAGE_SIZE);
		target = memnic_dma_target(page_pool_get_dma_addr_netmem(netmem));
		if (!target || skb_copy_bits(in, from, target, n))
			return false;
		from += n;
	}
	return true;
}

/* The packet with its first bytes linear and the others in the queue's memory. */
static struct sk_buff *memnic_rebuild(struct memnic_queue *q, const struct sk_buff *in,
				      unsigned int linear)
{
	struct sk_buff *out = napi_alloc_skb(&q->napi, linear);

	if (!out)
		return NULL;
	skb_mark_for_recycle(out);
	if (skb_copy_bits(in, 0, skb_put(out, linear), linear) ||
	    !memnic_place(q, out, in, linear)) {
		kfree_skb(out);
		return NULL;
	}
	return out;
}

/* linear is how much of the payload lies with the headers. */
static void memnic_count(struct memnic_queue *q, const struct sk_buff *out,
			 unsigned int payload, unsigned int linear)
{
	if (!payload) {
		memnic_add(q, MEMNIC_OTHER_PACKETS, 1);
		return;
	}
	memnic_add(q, linear ? MEMNIC_UNSPLIT_PACKETS : MEMNIC_SPLIT_PACKETS, 1);
	if (skb_frags_readable(out))
		linear = payload;
	memnic_add(q, MEMNIC_HOST_BYTES, linear);
	memnic_add(q, MEMNIC_DMABUF_BYTES, payload - linear);
}

static void memnic_deliver(struct memnic_queue *q, struct sk_buff *out, const struct sk_buff *in)
{
	skb_shinfo(out)->gso_size = skb_shinfo(in)->gso_size;
	skb_shinfo(out)->gso_segs = skb_shinfo(in)->gso_segs;
	skb_shinfo(out)->gso_type = skb_shinfo(in)->gso_type & ~SKB_GSO_DODGY;
	out->ip_summed = CHECKSUM_UNNECESSARY;
	skb_record_rx_queue(out, q->index);
	dev_sw_netstats_rx_add(q->nic->dev, out->len);
	out->protocol = eth_type_trans(out, q->nic->dev);
	napi_gro_receive(&q->napi, out);
}

static bool memnic_splits(const struct memnic *nic, const struct sk_buff *in)
{
	return nic->split && in->len > nic->split_above && !READ_ONCE(memnic_unsplit);
}

static void memnic_receive(struct memnic_queue *q, struct sk_buff *in)
{
	unsigned int header = memnic_cb(in)->header;
	unsigned int payload = header ? in->len - header : 0;
	unsigned int linear = in->len;
	struct sk_buff *out;

	if (payload)
		linear = memnic_splits(q->nic, in) ? header : min(in->len, MEMNIC_LINEAR);
	out = memnic_rebuild(q, in, linear);
	if (!out) {
		memnic_add(q, MEMNIC_NOMEM_DROPS, 1);
		dev_core_stats_rx_dropped_inc(q->nic->dev);
		return;
	}
	memnic_count(q, out, payload, payload ? linear - header : 0);
	memnic_deliver(q, out, in);
}

int memnic_poll(struct napi_struct *napi, int budget)
{
	struct memnic_queue *q = container_of(napi, struct memnic_queue, napi);
	struct sk_buff *skb;
	int done = 0;

	while (done < budget && (skb = skb_dequeue(&q->ring))) {
		memnic_receive(q, skb);
		napi_consume_skb(skb, budget);
		done++;
	}
	if (done < budget && napi_complete_done(napi, done) && !skb_queue_empty_lockless(&q->ring))
		napi_schedule(napi);
	return done;
}
