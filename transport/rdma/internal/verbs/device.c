//go:build linux && cgo

#include <stdio.h>
#include <string.h>

#include "api.h"

int hb_devices(char (*names)[HB_NAME_MAX], int max, int *count)
{
	struct ibv_device **list = hb_api.ibv_get_device_list(NULL);
	int n;

	if (!list)
		return hb_errno(-1);
	for (n = 0; n < max && list[n]; n++)
		snprintf(names[n], HB_NAME_MAX, "%s", hb_api.ibv_get_device_name(list[n]));
	*count = n;
	hb_api.ibv_free_device_list(list);
	return 0;
}

int hb_open(const char *name, struct ibv_context **ctx)
{
	struct ibv_device **list = hb_api.ibv_get_device_list(NULL);
	int rc = ENODEV;

	if (!list)
		return hb_errno(-1);
	for (int i = 0; list[i]; i++) {
		if (strcmp(hb_api.ibv_get_device_name(list[i]), name))
			continue;
		*ctx = hb_api.ibv_open_device(list[i]);
		rc = hb_found(*ctx);
		break;
	}
	hb_api.ibv_free_device_list(list);
	return rc;
}

int hb_port(struct ibv_context *ctx, uint8_t port, struct hb_port_attr *attr)
{
	struct ibv_port_attr a;
	int rc;

	memset(&a, 0, sizeof(a)); // the exported function fills the first members only
	rc = hb_errno(hb_api.ibv_query_port(ctx, port, (struct _compat_ibv_port_attr *)&a));
	if (rc)
		return rc;
	*attr = (struct hb_port_attr){
		.active = a.state == IBV_PORT_ACTIVE,
		.active_mtu = a.active_mtu,
		.max_mtu = a.max_mtu,
		.link_layer = a.link_layer,
		.width = a.active_width,
		.speed = a.active_speed,
	};
	return 0;
}

int hb_close(struct ibv_context *ctx)
{
	return hb_errno(hb_api.ibv_close_device(ctx));
}

int hb_alloc_pd(struct ibv_context *ctx, struct ibv_pd **pd)
{
	*pd = hb_api.ibv_alloc_pd(ctx);
	return hb_found(*pd);
}

int hb_close_pd(struct ibv_pd *pd)
{
	return hb_errno(hb_api.ibv_dealloc_pd(pd));
}

static int registered(struct ibv_mr *mr, struct hb_key *key)
{
	if (mr)
		*key = (struct hb_key){.lkey = mr->lkey, .rkey = mr->rkey};
	return hb_found(mr);
}

int hb_register(struct ibv_pd *pd, uint64_t addr, uint64_t len, uint32_t access, struct ibv_mr **mr, struct hb_key *key)
{
	*mr = hb_api.ibv_reg_mr(pd, (void *)(uintptr_t)addr, len, access);
	return registered(*mr, key);
}

int hb_register_dmabuf(struct ibv_pd *pd, int fd, uint64_t off, uint64_t len, uint64_t iova, uint32_t access,
		       struct ibv_mr **mr, struct hb_key *key)
{
	if (!hb_api.ibv_reg_dmabuf_mr)
		return EOPNOTSUPP;
	*mr = hb_api.ibv_reg_dmabuf_mr(pd, off, len, iova, fd, access);
	return registered(*mr, key);
}

int hb_close_mr(struct ibv_mr *mr)
{
	return hb_errno(hb_api.ibv_dereg_mr(mr));
}
