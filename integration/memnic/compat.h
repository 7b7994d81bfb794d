/* SPDX-License-Identifier: GPL-2.0 */
/* What Linux 7.3 has that 6.12 has by another name, or not at all. */
#ifndef MEMNIC_COMPAT_H
#define MEMNIC_COMPAT_H

#include <linux/netdevice.h>
#include <linux/version.h>

/* Between the two, interfaces changed one by one: such a kernel is not tried. */
#define MEMNIC_NEW_KERNEL (LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0))

#if !MEMNIC_NEW_KERNEL
/* There is no lock of a device beside rtnl. */
#define napi_enable_locked napi_enable
#define napi_disable_locked napi_disable
#define page_pool_alloc_netmems page_pool_alloc_netmem
/* What a queue's memory is allocated for; nothing that memnic looks at. */
#define MEMNIC_QCFG
#else
#define MEMNIC_QCFG struct netdev_queue_config *config,
#endif

#endif
