//go:build linux && cgo

#define _GNU_SOURCE // dup3

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "api.h"

// What an established queue pair is given. A lost packet is retried after
// 4.096 us << ACK_TIMEOUT = 268 ms, RETRIES times.
enum {
	ACK_TIMEOUT = 16,
	RETRIES = 6,
	RNR_RETRIES = 0,
	RNR_TIMER = 12, // 0.64 ms
	READS = 1, // the smallest depth that every device takes; no reads are made
};

static struct sockaddr *to_sockaddr(const struct hb_addr *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->ip_len == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip, 4);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		in6->sin6_scope_id = a->scope;
		memcpy(&in6->sin6_addr, a->ip, 16);
	}
	return (struct sockaddr *)ss;
}

static void from_sockaddr(const struct sockaddr *sa, struct hb_addr *a)
{
	memset(a, 0, sizeof(*a));
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		a->ip_len = 4;
		a->port = ntohs(in->sin_port);
		memcpy(a->ip, &in->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		a->ip_len = 16;
		a->port = ntohs(in6->sin6_port);
		a->scope = in6->sin6_scope_id;
		memcpy(a->ip, &in6->sin6_addr, 16);
	}
}

int hb_new_events(struct rdma_event_channel **events, int *fd)
{
	*events = hb_api.rdma_create_event_channel();
	if (*events)
		*fd = (*events)->fd;
	return hb_found(*events);
}

static bool has_private(enum rdma_cm_event_type kind)
{
	return kind == RDMA_CM_EVENT_CONNECT_REQUEST || kind == RDMA_CM_EVENT_CONNECT_RESPONSE ||
	       kind == RDMA_CM_EVENT_ESTABLISHED || kind == RDMA_CM_EVENT_REJECTED;
}

static void copy_event(struct rdma_cm_event *event, struct hb_event *out)
{
	out->kind = event->event;
	out->status = event->status;
	out->key = (uintptr_t)event->id->context;
	out->private_len = 0;
	out->listener = 0;
	out->fresh = NULL;
	if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
		out->listener = (uintptr_t)event->listen_id->context;
		out->fresh = event->id;
	}
	if (has_private(event->event) && event->param.conn.private_data) {
		out->private_len = event->param.conn.private_data_len;
		memcpy(out->private_data, event->param.conn.private_data, out->private_len);
	}
}

// librdmacm opens every device that its identifiers go through, and closes it
// only after the device is gone, which can't go while it is open. So a device
// that is being removed loses the files behind the descriptors; these stay
// librdmacm's to close.
static void release_device(struct ibv_context *verbs)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (nothing < 0)
		return;
	dup3(nothing, verbs->cmd_fd, O_CLOEXEC);
	dup3(nothing, verbs->async_fd, O_CLOEXEC);
	close(nothing);
}

int hb_next_event(struct rdma_event_channel *events, uint64_t key, struct hb_event *out)
{
	struct rdma_cm_event *event;
	int rc = hb_errno(hb_api.rdma_get_cm_event(events, &event));

	if (rc)
		return rc;
	if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST)
		event->id->context = (void *)(uintptr_t)key;
	copy_event(event, out);
	if (event->event == RDMA_CM_EVENT_DEVICE_REMOVAL && event->id->verbs)
		release_device(event->id->verbs);
	return hb_errno(hb_api.rdma_ack_cm_event(event));
}

void hb_close_events(struct rdma_event_channel *events)
{
	hb_api.rdma_destroy_event_channel(events);
}

int hb_new_id(struct rdma_event_channel *events, uint64_t key, struct rdma_cm_id **id)
{
	return hb_errno(hb_api.rdma_create_id(events, id, (void *)(uintptr_t)key, RDMA_PS_TCP));
}

int hb_resolve_addr(struct rdma_cm_id *id, const struct hb_addr *dst, int timeout_ms)
{
	struct sockaddr_storage ss;

	return hb_errno(hb_api.rdma_resolve_addr(id, NULL, to_sockaddr(dst, &ss), timeout_ms));
}

int hb_resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
	return hb_errno(hb_api.rdma_resolve_route(id, timeout_ms));
}

int hb_bind(struct rdma_cm_id *id, const struct hb_addr *addr)
{
	struct sockaddr_storage ss;

	return hb_errno(hb_api.rdma_bind_addr(id, to_sockaddr(addr, &ss)));
}

int hb_listen(struct rdma_cm_id *id, int backlog)
{
	return hb_errno(hb_api.rdma_listen(id, backlog));
}

const char *hb_id_device(struct rdma_cm_id *id, uint8_t *port)
{
	if (!id->verbs)
		return NULL;
	*port = id->port_num;
	return hb_api.ibv_get_device_name(id->verbs->device);
}

void hb_id_local(struct rdma_cm_id *id, struct hb_addr *addr)
{
	from_sockaddr(&id->route.addr.src_addr, addr);
}

void hb_id_peer(struct rdma_cm_id *id, struct hb_addr *addr)
{
	from_sockaddr(&id->route.addr.dst_addr, addr);
}

int hb_move(struct rdma_cm_id *id, struct ibv_qp *qp, int state, int mtu)
{
	static const enum ibv_qp_state states[] = {[HB_INIT] = IBV_QPS_INIT, [HB_RTR] = IBV_QPS_RTR, [HB_RTS] = IBV_QPS_RTS};
	struct ibv_qp_attr attr = {.qp_state = states[state]};
	int mask, rc = hb_errno(hb_api.rdma_init_qp_attr(id, &attr, &mask));

	if (rc)
		return rc;
	switch (state) {
	case HB_INIT:
		attr.qp_access_flags |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
		break;
	case HB_RTR:
		attr.min_rnr_timer = RNR_TIMER;
		if (mtu)
			attr.path_mtu = mtu;
		break;
	case HB_RTS:
		attr.timeout = ACK_TIMEOUT;
		attr.retry_cnt = RETRIES;
		attr.rnr_retry = RNR_RETRIES;
		break;
	}
	return hb_errno(hb_api.ibv_modify_qp(qp, &attr, mask));
}

static struct rdma_conn_param conn_param(uint32_t qpn, const uint8_t *data, uint8_t len)
{
	return (struct rdma_conn_param){
		.private_data = data,
		.private_data_len = len,
		.responder_resources = READS,
		.initiator_depth = READS,
		.retry_count = RETRIES,
		.rnr_retry_count = RNR_RETRIES,
		.qp_num = qpn,
	};
}

int hb_connect(struct rdma_cm_id *id, uint32_t qpn, const uint8_t *data, uint8_t len)
{
	struct rdma_conn_param param = conn_param(qpn, data, len);

	return hb_errno(hb_api.rdma_connect(id, &param));
}

int hb_accept(struct rdma_cm_id *id, uint32_t qpn, const uint8_t *data, uint8_t len)
{
	struct rdma_conn_param param = conn_param(qpn, data, len);

	return hb_errno(hb_api.rdma_accept(id, &param));
}

int hb_reject(struct rdma_cm_id *id, const uint8_t *data, uint8_t len)
{
	return hb_errno(hb_api.rdma_reject(id, data, len));
}

int hb_establish(struct rdma_cm_id *id)
{
	return hb_errno(hb_api.rdma_establish(id));
}

int hb_disconnect(struct rdma_cm_id *id)
{
	return hb_errno(hb_api.rdma_disconnect(id));
}

int hb_close_id(struct rdma_cm_id *id)
{
	return hb_errno(hb_api.rdma_destroy_id(id));
}
