// SPDX-License-Identifier: GPL-2.0
/* Rings, header/data split and channels. */
#include <linux/ethtool_netlink.h>
#include <linux/netdevice.h>
#include <net/netdev_queues.h>

#include "memnic.h"

static void memnic_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, MEMNIC_NAME, sizeof(info->driver));
	strscpy(info->bus_info, dev_name(dev->dev.parent), sizeof(info->bus_info));
}

/* Run with other settings, which are put in place while the queues are down. */
static int memnic_restart(struct memnic *nic, int (*change)(struct memnic *nic, const void *to),
			  const void *to)
{
	bool running = netif_running(nic->dev);
	int err, up;

	if (running)
		memnic_queues_down(nic);
	err = change(nic, to);
	if (!running)
		return err;
	up = memnic_queues_up(nic);
	if (up)
		netdev_err(nic->dev, "no queues, take the link down and up: %d\n", up);
	return err ?: up;
}

static void memnic_get_ringparam(struct net_device *dev, struct ethtool_ringparam *rings,
				 struct kernel_ethtool_ringparam *more,
				 struct netlink_ext_ack *extack)
{
	struct memnic *nic = netdev_priv(dev);

	rings->rx_max_pending = MEMNIC_MAX_RING;
	rings->rx_pending = nic->ring_size;
	more->tcp_data_split = nic->split ? ETHTOOL_TCP_DATA_SPLIT_ENABLED :
					    ETHTOOL_TCP_DATA_SPLIT_DISABLED;
#if MEMNIC_NEW_KERNEL
	more->hds_thresh = nic->split_above;
	more->hds_thresh_max = MEMNIC_MAX_MTU;
#endif
}

/* What the module's parameter says is what the core thinks was asked for. */
void memnic_split_init(struct memnic *nic)
{
#if MEMNIC_NEW_KERNEL
	if (nic->split)
		nic->dev->cfg->hds_config = ETHTOOL_TCP_DATA_SPLIT_ENABLED;
#endif
}

struct memnic_rings {
	unsigned int size;
	bool split;
	u32 split_above;
};

static int memnic_change_rings(struct memnic *nic, const void *to)
{
	const struct memnic_rings *rings = to;

	WRITE_ONCE(nic->ring_size, rings->size);
	nic->split = rings->split;
	nic->split_above = rings->split_above;
	return 0;
}

static int memnic_set_ringparam(struct net_device *dev, struct ethtool_ringparam *rings,
				struct kernel_ethtool_ringparam *more,
				struct netlink_ext_ack *extack)
{
	struct memnic *nic = netdev_priv(dev);
	struct memnic_rings to = {
		.size = rings->rx_pending,
		.split = more->tcp_data_split == ETHTOOL_TCP_DATA_SPLIT_ENABLED,
#if MEMNIC_NEW_KERNEL
		.split_above = more->hds_thresh,
#endif
	};

	if (to.size < 16) {
		NL_SET_ERR_MSG(extack, "a ring holds 16 packets at least");
		return -EINVAL;
	}
	if (!to.split && memnic_is_bound(nic)) {
		NL_SET_ERR_MSG(extack, "a queue has device memory, which needs tcp-data-split");
		return -EBUSY;
	}
	return memnic_restart(nic, memnic_change_rings, &to);
}

static void memnic_get_channels(struct net_device *dev, struct ethtool_channels *channels)
{
	struct memnic *nic = netdev_priv(dev);

	channels->max_combined = nic->queues;
	channels->combined_count = dev->real_num_rx_queues;
}

/* The core has seen to it that no rule, hash or binding names what goes. */
static int memnic_change_channels(struct memnic *nic, const void *to)
{
	unsigned int count = *(const unsigned int *)to;
	int err = netif_set_real_num_queues(nic->dev, count, count);
	int i;

	if (err || netif_is_rxfh_configured(nic->dev))
		return err;
	for (i = 0; i < MEMNIC_INDIR; i++)
		WRITE_ONCE(nic->indir[i], ethtool_rxfh_indir_default(i, count));
	return 0;
}

static int memnic_set_channels(struct net_device *dev, struct ethtool_channels *channels)
{
	struct memnic *nic = netdev_priv(dev);

	return memnic_restart(nic, memnic_change_channels, &channels->combined_count);
}

static u32 memnic_get_rxfh_indir_size(struct net_device *dev)
{
	return MEMNIC_INDIR;
}

static u32 memnic_get_rxfh_key_size(struct net_device *dev)
{
	return MEMNIC_KEY;
}

#if MEMNIC_NEW_KERNEL
static u32 memnic_get_rx_ring_count(struct net_device *dev)
{
	return dev->real_num_rx_queues;
}
#endif

const struct ethtool_ops memnic_ethtool_ops = {
#if MEMNIC_NEW_KERNEL
	.supported_ring_params	= ETHTOOL_RING_USE_TCP_DATA_SPLIT | ETHTOOL_RING_USE_HDS_THRS,
	.get_rx_ring_count	= memnic_get_rx_ring_count,
#else
	.supported_ring_params	= ETHTOOL_RING_USE_TCP_DATA_SPLIT,
#endif
	.get_drvinfo		= memnic_get_drvinfo,
	.get_link		= ethtool_op_get_link,
	.get_ringparam		= memnic_get_ringparam,
	.set_ringparam		= memnic_set_ringparam,
	.get_channels		= memnic_get_channels,
	.set_channels		= memnic_set_channels,
	.get_rxnfc		= memnic_get_rxnfc,
	.set_rxnfc		= memnic_set_rxnfc,
	.get_rxfh_indir_size	= memnic_get_rxfh_indir_size,
	.get_rxfh_key_size	= memnic_get_rxfh_key_size,
	.get_rxfh		= memnic_get_rxfh,
	.set_rxfh		= memnic_set_rxfh,
	.get_sset_count		= memnic_get_sset_count,
	.get_strings		= memnic_get_strings,
	.get_ethtool_stats	= memnic_get_ethtool_stats,
};
