//go:build linux && cgo

#include <arpa/inet.h>
#include <string.h>

#include "api.h"

// How many requests or completions are translated at a time, on the stack.
enum { CHUNK = 32 };

static int chunk(int left)
{
	return left < CHUNK ? left : CHUNK;
}

int hb_new_cq(struct ibv_context *ctx, int depth, struct ibv_comp_channel **channel, struct ibv_cq **cq, int *fd)
{
	*channel = hb_api.ibv_create_comp_channel(ctx);
	if (!*channel)
		return hb_errno(-1);
	*cq = hb_api.ibv_create_cq(ctx, depth, NULL, *channel, 0);
	if (!*cq) {
		int rc = hb_errno(-1);

		hb_api.ibv_destroy_comp_channel(*channel);
		return rc;
	}
	*fd = (*channel)->fd;
	return 0;
}

static void translate_wc(const struct ibv_wc *wc, struct hb_completion *out)
{
	*out = (struct hb_completion){.id = wc->wr_id, .status = wc->status};
	if (wc->status != IBV_WC_SUCCESS)
		return;
	out->op = wc->opcode;
	if (!(wc->opcode & IBV_WC_RECV))
		return; // a sender's own immediate data may be echoed: it says nothing
	out->bytes = wc->byte_len;
	if (wc->wc_flags & IBV_WC_WITH_IMM) {
		out->has_imm = true;
		out->imm = ntohl(wc->imm_data);
	}
}

int hb_poll(struct ibv_cq *cq, struct hb_completion *out, int max)
{
	struct ibv_wc wc[CHUNK];
	int done = 0;

	while (done < max) {
		int want = chunk(max - done);
		int got = ibv_poll_cq(cq, want, wc);

		if (got < 0)
			return -hb_errno(got == -1 ? -1 : -got);
		for (int i = 0; i < got; i++)
			translate_wc(&wc[i], &out[done + i]);
		done += got;
		if (got < want)
			break;
	}
	return done;
}

int hb_arm(struct ibv_cq *cq)
{
	return hb_errno(ibv_req_notify_cq(cq, 0));
}

int hb_cq_event(struct ibv_comp_channel *channel)
{
	struct ibv_cq *cq;
	void *context;
	int rc = hb_errno(hb_api.ibv_get_cq_event(channel, &cq, &context));

	if (rc == 0)
		hb_api.ibv_ack_cq_events(cq, 1);
	return rc;
}

int hb_close_cq(struct ibv_comp_channel *channel, struct ibv_cq *cq)
{
	int rc = hb_errno(hb_api.ibv_destroy_cq(cq));
	int rc2 = hb_errno(hb_api.ibv_destroy_comp_channel(channel));

	return rc ? rc : rc2;
}

int hb_new_qp(struct ibv_pd *pd, struct ibv_cq *send, struct ibv_cq *recv, int send_depth, int recv_depth,
	      struct ibv_qp **qp, uint32_t *qpn)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = send,
		.recv_cq = recv,
		.cap = {
			.max_send_wr = send_depth,
			.max_recv_wr = recv_depth,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};

	*qp = hb_api.ibv_create_qp(pd, &attr);
	if (*qp)
		*qpn = (*qp)->qp_num;
	return hb_found(*qp);
}

static int translate_work(const struct hb_work *w, struct ibv_send_wr *wr, struct ibv_sge *sge)
{
	*sge = (struct ibv_sge){.addr = w->local, .length = w->len, .lkey = w->lkey};
	*wr = (struct ibv_send_wr){
		.wr_id = w->id,
		.sg_list = sge,
		.num_sge = w->len > 0,
		.send_flags = w->signaled ? IBV_SEND_SIGNALED : 0,
	};
	switch (w->op) {
	case HB_SEND:
		wr->opcode = IBV_WR_SEND;
		return 0;
	case HB_WRITE_IMM:
	case HB_WRITE:
		wr->opcode = w->op == HB_WRITE ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_WRITE_WITH_IMM;
		wr->imm_data = htonl(w->imm);
		wr->wr.rdma.remote_addr = w->remote;
		wr->wr.rdma.rkey = w->rkey;
		return 0;
	}
	return EINVAL;
}

static int post_chunk(struct ibv_qp *qp, const struct hb_work *work, int n)
{
	struct ibv_send_wr wr[CHUNK], *bad;
	struct ibv_sge sge[CHUNK];

	for (int i = 0; i < n; i++) {
		int rc = translate_work(&work[i], &wr[i], &sge[i]);

		if (rc)
			return rc;
		wr[i].next = i + 1 < n ? &wr[i + 1] : NULL;
	}
	return hb_errno(ibv_post_send(qp, wr, &bad));
}

int hb_post(struct ibv_qp *qp, const struct hb_work *work, int n)
{
	int rc = 0;

	for (int done = 0; rc == 0 && done < n; done += CHUNK)
		rc = post_chunk(qp, work + done, chunk(n - done));
	return rc;
}

static int post_recv_chunk(struct ibv_qp *qp, const struct hb_recv *recv, int n)
{
	struct ibv_recv_wr wr[CHUNK], *bad;
	struct ibv_sge sge[CHUNK];

	for (int i = 0; i < n; i++) {
		sge[i] = (struct ibv_sge){.addr = recv[i].local, .length = recv[i].len, .lkey = recv[i].lkey};
		wr[i] = (struct ibv_recv_wr){
			.wr_id = recv[i].id,
			.next = i + 1 < n ? &wr[i + 1] : NULL,
			.sg_list = &sge[i],
			.num_sge = recv[i].len > 0,
		};
	}
	return hb_errno(ibv_post_recv(qp, wr, &bad));
}

int hb_post_recv(struct ibv_qp *qp, const struct hb_recv *recv, int n)
{
	int rc = 0;

	for (int done = 0; rc == 0 && done < n; done += CHUNK)
		rc = post_recv_chunk(qp, recv + done, chunk(n - done));
	return rc;
}

int hb_fail(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	return hb_errno(hb_api.ibv_modify_qp(qp, &attr, IBV_QP_STATE));
}

int hb_close_qp(struct ibv_qp *qp)
{
	return hb_errno(hb_api.ibv_destroy_qp(qp));
}
