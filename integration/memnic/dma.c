// SPDX-License-Identifier: GPL-2.0
/*
 * The devices' IOMMU: a dma-buf is one range of DMA addresses, wherever its pages
 * are. Without, the kernel keeps each page of a udmabuf as a chunk of its own, and
 * walks the list of them whenever it gives a page out or takes one back: to unbind
 * 15360 pages took an emulated guest 9 seconds, with rtnl held.
 *
 * A range's DMA addresses are those at which the kernel sees it. All other memory
 * has its physical addresses.
 */
#include <linux/dma-map-ops.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/vmalloc.h>

#include "memnic.h"

/* The CPU's address of what a DMA engine would write to; NULL: no RAM. */
void *memnic_dma_target(dma_addr_t dma)
{
	void *mapped = (void *)(unsigned long)dma;

	if (is_vmalloc_addr(mapped))
		return mapped;
	return pfn_valid(PHYS_PFN(dma)) ? phys_to_virt(dma) : NULL;
}

/* The pages of a list of whole pages, of which there are n; NULL: no memory. */
static struct page **memnic_pages(struct scatterlist *sgl, int nents, unsigned int *n)
{
	struct page **pages;
	struct sg_page_iter it;

	*n = 0;
	for_each_sg_page(sgl, &it, nents, 0)
		++*n;
	pages = kvmalloc_array(*n, sizeof(*pages), GFP_KERNEL);
	*n = 0;
	if (pages)
		for_each_sg_page(sgl, &it, nents, 0)
			pages[(*n)++] = sg_page_iter_page(&it);
	return pages;
}

/* A dma-buf as one device sees it. */
struct memnic_range {
	struct list_head list;
	struct device *dev;
	void *addr;
};

static LIST_HEAD(ranges);
static DEFINE_MUTEX(ranges_lock);

/* ranges_lock is held. */
static void memnic_free_range(struct memnic_range *range)
{
	list_del(&range->list);
	vunmap(range->addr);
	kfree(range);
}

static int memnic_map_sg(struct device *dev, struct scatterlist *sgl, int nents,
			 enum dma_data_direction dir, unsigned long attrs)
{
	struct memnic_range *range = kzalloc(sizeof(*range), GFP_KERNEL);
	unsigned int n;
	struct page **pages = memnic_pages(sgl, nents, &n);

	if (range && pages)
		range->addr = vmap(pages, n, VM_MAP, PAGE_KERNEL);
	kvfree(pages);
	if (!range || !range->addr) {
		kfree(range);
		return -ENOMEM;
	}
	range->dev = dev;
	sg_dma_address(sgl) = (unsigned long)range->addr;
	sg_dma_len(sgl) = n * PAGE_SIZE;
	mutex_lock(&ranges_lock);
	list_add(&range->list, &ranges);
	mutex_unlock(&ranges_lock);
	return 1;
}

static void memnic_unmap_sg(struct device *dev, struct scatterlist *sgl, int nents,
			    enum dma_data_direction dir, unsigned long attrs)
{
	struct memnic_range *range, *next;

	mutex_lock(&ranges_lock);
	list_for_each_entry_safe(range, next, &ranges, list)
		if ((unsigned long)range->addr == sg_dma_address(sgl))
			memnic_free_range(range);
	mutex_unlock(&ranges_lock);
}

/*
 * Bindings outlive the module. Their ranges go with it: what was a device, to
 * which nothing comes any more, is left without an IOMMU.
 */
void memnic_dma_exit(struct device *dev)
{
	struct memnic_range *range, *next;

	set_dma_ops(dev, NULL);
	mutex_lock(&ranges_lock);
	list_for_each_entry_safe(range, next, &ranges, list)
		if (range->dev == dev)
			memnic_free_range(range);
	mutex_unlock(&ranges_lock);
}

#if MEMNIC_NEW_KERNEL
static dma_addr_t memnic_map(struct device *dev, phys_addr_t phys, size_t size,
			     enum dma_data_direction dir, unsigned long attrs)
{
	return phys;
}
#else
static dma_addr_t memnic_map(struct device *dev, struct page *page, unsigned long offset,
			     size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	return page_to_phys(page) + offset;
}
#endif

static void memnic_unmap(struct device *dev, dma_addr_t dma, size_t size,
			 enum dma_data_direction dir, unsigned long attrs)
{
}

static int memnic_dma_supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

const struct dma_map_ops memnic_dma_ops = {
#if MEMNIC_NEW_KERNEL
	.map_phys	= memnic_map,
	.unmap_phys	= memnic_unmap,
#else
	.map_page	= memnic_map,
	.unmap_page	= memnic_unmap,
#endif
	.map_sg		= memnic_map_sg,
	.unmap_sg	= memnic_unmap_sg,
	.dma_supported	= memnic_dma_supported,
};
