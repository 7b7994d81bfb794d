// The libraries' functions, as the C files of this package reach them: through
// a table that hb_load fills, so that nothing is linked.
#ifndef HBMFS_VERBS_API_H
#define HBMFS_VERBS_API_H

// A compiler shows the line that it can't do.
#include <infiniband/verbs.h> // in libibverbs-dev; or without RDMA: make build, or CGO_ENABLED=0
#include <rdma/rdma_cma.h> // in librdmacm-dev; or without RDMA: make build, or CGO_ENABLED=0

#include <errno.h>

#include "shim.h"

// These macros would take the place of the members below.
#undef ibv_reg_mr
#undef ibv_query_port

#define HB_IBVERBS(X)                                                          \
	X(ibv_get_device_list)                                                 \
	X(ibv_free_device_list)                                                \
	X(ibv_get_device_name)                                                 \
	X(ibv_open_device)                                                     \
	X(ibv_close_device)                                                    \
	X(ibv_query_port)                                                      \
	X(ibv_alloc_pd)                                                        \
	X(ibv_dealloc_pd)                                                      \
	X(ibv_reg_mr)                                                          \
	X(ibv_dereg_mr)                                                        \
	X(ibv_create_comp_channel)                                             \
	X(ibv_destroy_comp_channel)                                            \
	X(ibv_create_cq)                                                       \
	X(ibv_destroy_cq)                                                      \
	X(ibv_get_cq_event)                                                    \
	X(ibv_ack_cq_events)                                                   \
	X(ibv_create_qp)                                                       \
	X(ibv_modify_qp)                                                       \
	X(ibv_destroy_qp)

#define HB_RDMACM(X)                                                           \
	X(rdma_create_event_channel)                                           \
	X(rdma_destroy_event_channel)                                          \
	X(rdma_get_cm_event)                                                   \
	X(rdma_ack_cm_event)                                                   \
	X(rdma_create_id)                                                      \
	X(rdma_destroy_id)                                                     \
	X(rdma_resolve_addr)                                                   \
	X(rdma_resolve_route)                                                  \
	X(rdma_bind_addr)                                                      \
	X(rdma_listen)                                                         \
	X(rdma_init_qp_attr)                                                   \
	X(rdma_connect)                                                        \
	X(rdma_accept)                                                         \
	X(rdma_reject)                                                         \
	X(rdma_establish)                                                      \
	X(rdma_disconnect)

#define HB_MEMBER(name) __typeof__(&name) name;

struct hb_api {
	HB_IBVERBS(HB_MEMBER)
	HB_RDMACM(HB_MEMBER)
	HB_MEMBER(ibv_reg_dmabuf_mr) // NULL before rdma-core 34
};

extern struct hb_api hb_api;

// The libraries answer -1 and errno in one place, and an errno in another.
static inline int hb_errno(int rc)
{
	if (rc == 0)
		return 0;
	if (rc > 0)
		return rc;
	return errno ? errno : EIO;
}

static inline int hb_found(const void *made)
{
	return made ? 0 : hb_errno(-1);
}

#endif
