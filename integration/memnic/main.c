// SPDX-License-Identifier: GPL-2.0
/*
 * The module: platform devices, their driver, and the network devices on
 * them. It owns which device is whose peer.
 */
#include <linux/dma-map-ops.h>
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/rtnetlink.h>
#include <net/gso.h>
#include <net/netdev_queues.h>

#include "memnic.h"

#define MAX_PAIRS 4

static unsigned int pairs = 1;
module_param(pairs, uint, 0444);
MODULE_PARM_DESC(pairs, "pairs of devices, 1 to 4: mem0 and mem1 are the first");

static unsigned int queues = 4;
module_param(queues, uint, 0444);
MODULE_PARM_DESC(queues, "queues of each device, 2 to 16");

static unsigned int ring = 1024;
module_param(ring, uint, 0444);
MODULE_PARM_DESC(ring, "packets that a receive queue holds, and memory of its pool, 16 to 4096");

static bool split;
module_param(split, bool, 0444);
MODULE_PARM_DESC(split, "begin with tcp-data-split on");

bool memnic_unsplit;
module_param_named(unsplit, memnic_unsplit, bool, 0644);
MODULE_PARM_DESC(unsplit, "leave the first bytes of payload with the headers, though split is on");

/* Under rtnl. */
static struct memnic *nics[2 * MAX_PAIRS];
/* Set while the module is loaded or unloaded. */
static struct platform_device *devices[2 * MAX_PAIRS];

/* A packet that the peer's wire can't carry. */
static bool memnic_too_long(const struct sk_buff *skb, const struct memnic *peer)
{
	unsigned int limit = READ_ONCE(peer->dev->mtu) + VLAN_ETH_HLEN;

	if (skb_is_gso(skb))
		return !skb_gso_validate_mac_len(skb, limit);
	return skb->len > limit;
}

static bool memnic_send(struct sk_buff *skb, struct memnic *peer)
{
	struct memnic_queue *q;
	struct flow_keys keys;

	if (!peer || memnic_too_long(skb, peer) || !skb_frags_readable(skb))
		return false;
	memnic_cb(skb)->header = memnic_parse(skb, &keys);
	q = memnic_steer(peer, &keys);
	if (!q || !READ_ONCE(q->open))
		return false;
	if (skb_queue_len_lockless(&q->ring) >= READ_ONCE(peer->ring_size)) {
		memnic_add(q, MEMNIC_RING_DROPS, 1);
		return false;
	}
	skb_tx_timestamp(skb);
	skb_queue_tail(&q->ring, skb);
	napi_schedule(&q->napi);
	return true;
}

static netdev_tx_t memnic_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct memnic *nic = netdev_priv(dev);
	unsigned int len = skb->len;
	bool sent;

	rcu_read_lock();
	sent = memnic_send(skb, rcu_dereference(nic->peer));
	rcu_read_unlock();
	if (sent) {
		dev_sw_netstats_tx_add(dev, 1, len);
	} else {
		dev_core_stats_tx_dropped_inc(dev);
		kfree_skb(skb);
	}
	return NETDEV_TX_OK;
}

/* There is a carrier while both ends are up. */
static void memnic_update_carrier(struct memnic *nic, struct memnic *peer, bool up)
{
	if (up && peer && netif_running(peer->dev)) {
		netif_carrier_on(nic->dev);
		netif_carrier_on(peer->dev);
	} else {
		netif_carrier_off(nic->dev);
		if (peer)
			netif_carrier_off(peer->dev);
	}
}

static int memnic_open(struct net_device *dev)
{
	struct memnic *nic = netdev_priv(dev);
	int err = memnic_queues_up(nic);

	if (err)
		return err;
	netif_tx_start_all_queues(dev);
	memnic_update_carrier(nic, rtnl_dereference(nic->peer), true);
	return 0;
}

static int memnic_stop(struct net_device *dev)
{
	struct memnic *nic = netdev_priv(dev);

	netif_tx_stop_all_queues(dev);
	memnic_update_carrier(nic, rtnl_dereference(nic->peer), false);
	memnic_queues_down(nic);
	return 0;
}

static const struct net_device_ops memnic_netdev_ops = {
	.ndo_open		= memnic_open,
	.ndo_stop		= memnic_stop,
	.ndo_start_xmit		= memnic_start_xmit,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
};

static void memnic_set_features(struct net_device *dev)
{
	dev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO6 |
			   NETIF_F_TSO_ECN | NETIF_F_NTUPLE;
	dev->features = dev->hw_features | NETIF_F_HIGHDMA | NETIF_F_RXCSUM;
	dev->vlan_features = dev->hw_features & ~NETIF_F_NTUPLE;
}

static void memnic_setup(struct net_device *dev, struct platform_device *pdev)
{
	u8 address[ETH_ALEN] = { 0x02, 'm', 'e', 'm', 0, pdev->id };

	SET_NETDEV_DEV(dev, &pdev->dev);
	snprintf(dev->name, sizeof(dev->name), "mem%d", pdev->id);
	eth_hw_addr_set(dev, address);
	dev->netdev_ops = &memnic_netdev_ops;
	dev->ethtool_ops = &memnic_ethtool_ops;
	dev->queue_mgmt_ops = &memnic_queue_mgmt_ops;
	dev->sysfs_rx_queue_group = &memnic_queue_group;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->max_mtu = MEMNIC_MAX_MTU;
	memnic_set_features(dev);
	netif_carrier_off(dev);
}

/* Plug the wire in, or with a peer of NULL pull it out. */
static void memnic_connect(struct memnic *nic, struct memnic *peer)
{
	rcu_assign_pointer(nic->peer, peer);
	memnic_update_carrier(nic, peer, netif_running(nic->dev));
}

static int memnic_register(struct memnic *nic)
{
	struct memnic *peer;
	int err;

	rtnl_lock();
	err = register_netdevice(nic->dev);
	if (!err) {
		nics[nic->id] = nic;
		peer = nics[nic->id ^ 1];
		memnic_connect(nic, peer);
		if (peer)
			memnic_connect(peer, nic);
	}
	rtnl_unlock();
	return err;
}

static int memnic_probe(struct platform_device *pdev)
{
	struct net_device *dev;
	struct memnic *nic;
	int err;

	set_dma_ops(&pdev->dev, &memnic_dma_ops);
	err = dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	dev = alloc_etherdev_mqs(struct_size(nic, queue, queues), queues, queues);
	if (!dev)
		return -ENOMEM;
	nic = netdev_priv(dev);
	nic->dev = dev;
	nic->id = pdev->id;
	nic->queues = queues;
	nic->ring_size = ring;
	nic->split = split;
	memnic_setup(dev, pdev);
	memnic_split_init(nic);
	memnic_queues_init(nic);
	memnic_steer_init(nic);
	platform_set_drvdata(pdev, nic);
	err = memnic_register(nic);
	if (err)
		free_netdev(dev);
	return err;
}

static void memnic_remove(struct platform_device *pdev)
{
	struct memnic *nic = platform_get_drvdata(pdev);
	struct memnic *peer;

	rtnl_lock();
	nics[nic->id] = NULL;
	peer = rtnl_dereference(nic->peer);
	if (peer)
		memnic_connect(peer, NULL);
	memnic_connect(nic, NULL);
	/* Waits for transmit paths that still see nic as their peer. */
	unregister_netdevice(nic->dev);
	rtnl_unlock();
	memnic_steer_free(nic);
	free_netdev(nic->dev);
}

static struct platform_driver memnic_driver = {
	.driver	= { .name = MEMNIC_NAME },
	.probe	= memnic_probe,
	.remove	= memnic_remove,
};

static void memnic_unregister_devices(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(devices); i++) {
		platform_device_unregister(devices[i]);
		if (devices[i])
			memnic_dma_exit(&devices[i]->dev);
	}
}

static int memnic_register_devices(void)
{
	struct platform_device *pdev;
	int i;

	for (i = 0; i < 2 * pairs; i++) {
		pdev = platform_device_register_simple(MEMNIC_NAME, i, NULL, 0);
		if (IS_ERR(pdev)) {
			memnic_unregister_devices();
			return PTR_ERR(pdev);
		}
		/*
		 * A dma-buf stays attached to the device until the socket that
		 * bound it is closed, which may be after this module is gone
		 * (net_devmem_bind_dmabuf takes no reference). So it is kept
		 * for ever.
		 */
		get_device(&pdev->dev);
		devices[i] = pdev;
	}
	return 0;
}

static int __init memnic_init(void)
{
	int err;

	if (pairs < 1 || pairs > MAX_PAIRS || queues < 2 || queues > MEMNIC_MAX_QUEUES ||
	    ring < 16 || ring > MEMNIC_MAX_RING)
		return -EINVAL;
	err = platform_driver_register(&memnic_driver);
	if (err)
		return err;
	err = memnic_register_devices();
	if (err)
		platform_driver_unregister(&memnic_driver);
	return err;
}

static void __exit memnic_exit(void)
{
	memnic_unregister_devices();
	platform_driver_unregister(&memnic_driver);
}

module_init(memnic_init);
module_exit(memnic_exit);
MODULE_DESCRIPTION("A pair of network devices for tests of device memory TCP");
MODULE_LICENSE("GPL");
