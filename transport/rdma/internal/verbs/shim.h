// The C half of package verbs: flat structs and functions that hide the
// libraries' macros and inline functions from cgo. A function that returns int
// answers 0 or a positive errno.
#ifndef HBMFS_VERBS_SHIM_H
#define HBMFS_VERBS_SHIM_H

#include <stdbool.h>
#include <stdint.h>

struct ibv_context;
struct ibv_pd;
struct ibv_mr;
struct ibv_cq;
struct ibv_comp_channel;
struct ibv_qp;
struct rdma_event_channel;
struct rdma_cm_id;

enum { HB_NAME_MAX = 64, HB_PRIVATE_MAX = 255 };

// Opens the libraries. 0; or 1 and 2 for libibverbs and librdmacm, with why.
int hb_load(char *why, int size);

// Devices and their objects.

struct hb_port_attr {
	bool active;
	uint8_t active_mtu, max_mtu; // enum ibv_mtu
	uint8_t link_layer, width, speed;
};

struct hb_key {
	uint32_t lkey, rkey;
};

// Writes up to max names; their number is *count.
int hb_devices(char (*names)[HB_NAME_MAX], int max, int *count);
// ENODEV where no device has the name.
int hb_open(const char *name, struct ibv_context **ctx);
int hb_port(struct ibv_context *ctx, uint8_t port, struct hb_port_attr *attr);
int hb_close(struct ibv_context *ctx);

int hb_alloc_pd(struct ibv_context *ctx, struct ibv_pd **pd);
int hb_close_pd(struct ibv_pd *pd);

int hb_register(struct ibv_pd *pd, uint64_t addr, uint64_t len, uint32_t access, struct ibv_mr **mr, struct hb_key *key);
int hb_register_dmabuf(struct ibv_pd *pd, int fd, uint64_t off, uint64_t len, uint64_t iova, uint32_t access,
		       struct ibv_mr **mr, struct hb_key *key);
int hb_close_mr(struct ibv_mr *mr);

// Queues.

struct hb_completion {
	uint64_t id;
	uint32_t status, op, bytes, imm;
	bool has_imm;
};

struct hb_work {
	uint64_t id, local, remote;
	uint32_t len, lkey, rkey, imm;
	uint8_t op;
	bool signaled;
};

struct hb_recv {
	uint64_t id, local;
	uint32_t len, lkey;
};

enum { HB_SEND, HB_WRITE, HB_WRITE_IMM };

int hb_new_cq(struct ibv_context *ctx, int depth, struct ibv_comp_channel **channel, struct ibv_cq **cq, int *fd);
// Returns how many of max it wrote, or a negative errno.
int hb_poll(struct ibv_cq *cq, struct hb_completion *out, int max);
int hb_arm(struct ibv_cq *cq);
// Takes one event from a non-blocking channel; EAGAIN where there is none.
int hb_cq_event(struct ibv_comp_channel *channel);
int hb_close_cq(struct ibv_comp_channel *channel, struct ibv_cq *cq);

int hb_new_qp(struct ibv_pd *pd, struct ibv_cq *send, struct ibv_cq *recv, int send_depth, int recv_depth,
	      struct ibv_qp **qp, uint32_t *qpn);
int hb_post(struct ibv_qp *qp, const struct hb_work *work, int n);
int hb_post_recv(struct ibv_qp *qp, const struct hb_recv *recv, int n);
int hb_fail(struct ibv_qp *qp);
int hb_close_qp(struct ibv_qp *qp);

// The connection manager.

struct hb_addr {
	uint8_t ip[16]; // the first 4 for IPv4
	uint32_t scope;
	uint16_t port; // host order
	uint8_t ip_len; // 4, 16; 0: none
};

struct hb_event {
	uint64_t key, listener; // see hb_new_id; listener is 0 but for a connect request
	struct rdma_cm_id *fresh; // the identifier that a connect request brought
	int32_t kind, status;
	uint32_t private_len;
	uint8_t private_data[HB_PRIVATE_MAX];
};

enum { HB_INIT, HB_RTR, HB_RTS };

int hb_new_events(struct rdma_event_channel **events, int *fd);
// Takes one event from a non-blocking channel, copies and acknowledges it; a
// fresh identifier gets the key. EAGAIN where there is none.
int hb_next_event(struct rdma_event_channel *events, uint64_t key, struct hb_event *out);
void hb_close_events(struct rdma_event_channel *events);

// The key, not 0, comes back in the identifier's events.
int hb_new_id(struct rdma_event_channel *events, uint64_t key, struct rdma_cm_id **id);
int hb_resolve_addr(struct rdma_cm_id *id, const struct hb_addr *dst, int timeout_ms);
int hb_resolve_route(struct rdma_cm_id *id, int timeout_ms);
int hb_bind(struct rdma_cm_id *id, const struct hb_addr *addr);
int hb_listen(struct rdma_cm_id *id, int backlog);
// Returns the device's name, NULL while the identifier has none.
const char *hb_id_device(struct rdma_cm_id *id, uint8_t *port);
void hb_id_local(struct rdma_cm_id *id, struct hb_addr *addr);
void hb_id_peer(struct rdma_cm_id *id, struct hb_addr *addr);
// mtu is enum ibv_mtu; 0 leaves the path's.
int hb_move(struct rdma_cm_id *id, struct ibv_qp *qp, int state, int mtu);
int hb_connect(struct rdma_cm_id *id, uint32_t qpn, const uint8_t *data, uint8_t len);
int hb_accept(struct rdma_cm_id *id, uint32_t qpn, const uint8_t *data, uint8_t len);
int hb_reject(struct rdma_cm_id *id, const uint8_t *data, uint8_t len);
int hb_establish(struct rdma_cm_id *id);
int hb_disconnect(struct rdma_cm_id *id);
int hb_close_id(struct rdma_cm_id *id);

#endif
