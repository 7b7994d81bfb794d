/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbmfs_client.c: see hbmfs_client.h. It is C11 and C++, compiles without a word, and
 * uses the compiler's __atomic functions, which both languages have.
 *
 * Locking: hbmfs_mount.lock is held over one request on the control socket and its reply,
 * and while a region is entered into the table. Who looks there takes no lock: an entry
 * is complete before it is linked (release), is found by an acquire, and stays.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "hbmfs_client.h"

#define CTL_TIMEOUT_S 10
#define BUCKETS 256

struct region {
	struct region *next;
	__u32 number;
	const char *bytes;
	size_t length;
};

struct hbmfs_mount {
	char *root; /* the topmost directory that is visible of it */
	dev_t dev;  /* of everything in it */
	pthread_mutex_t lock;
	int ctl; /* -1: not connected */
	struct region *regions[BUCKETS]; /* by number */
};

static int failed(void) { return -errno; }

/* Closes fd, and returns result. */
static int closing(int fd, int result)
{
	close(fd);
	return result;
}

/* ioctl(2), whose number is an int to some libraries, and to others not. */
static int call(int file, unsigned long command, void *arg)
{
	return ioctl(file, command, arg) < 0 ? failed() : 0;
}

/* The control socket: requests, replies and descriptors. */

#define MOST_FDS 3

struct answer {
	struct hbmfs_ctl_reply reply;
	int fds[MOST_FDS]; /* count of them, the receiver's to close */
	int count;
};

static void answer_close(struct answer *a)
{
	while (a->count > 0)
		close(a->fds[--a->count]);
}

/* The control data of a message; room for more than may come, so that too many are told. */
union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(8 * sizeof(int))];
};

/* Sends a request, with a descriptor or -1. That the mount has hung up is for the reply to tell. */
static int ctl_send(int ctl, const void *request, size_t length, int fd)
{
	union control control;
	struct iovec iov;
	struct msghdr msg;

	memset(&msg, 0, sizeof(msg));
	iov.iov_base = (void *)request;
	iov.iov_len = length;
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(fd));
	}
	while (sendmsg(ctl, &msg, MSG_NOSIGNAL) < 0)
		if (errno == EPIPE || errno == ECONNRESET)
			return 0;
		else if (errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : failed();
	return 0;
}

/* Takes the descriptors out of control data; closes those that are too many. */
static int take_fds(struct msghdr *msg, struct answer *a)
{
	int result = msg->msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (a->count < MOST_FDS)
				a->fds[a->count++] = fd;
			else
				result = closing(fd, -EPROTO);
		}
	}
	return result;
}

static ssize_t receive(int ctl, struct msghdr *msg)
{
	ssize_t n;

	do
		n = recvmsg(ctl, msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	return n;
}

/*
 * Receives a reply. A mount that refuses a connection says why unasked: that is to be read
 * also after the end was told, once. -ECONNABORTED: it said nothing.
 */
static int ctl_receive(int ctl, struct answer *a)
{
	union control control;
	struct iovec iov;
	struct msghdr msg;
	ssize_t n;
	int r;

	memset(&msg, 0, sizeof(msg));
	iov.iov_base = &a->reply;
	iov.iov_len = sizeof(a->reply);
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	msg.msg_control = &control;
	msg.msg_controllen = sizeof(control);
	n = receive(ctl, &msg);
	if (n < 0 && errno == ECONNRESET)
		n = receive(ctl, &msg);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : errno == ECONNRESET ? -ECONNABORTED : failed();
	r = take_fds(&msg, a);
	if (n == 0)
		return -ECONNABORTED;
	return r ? r : n != sizeof(a->reply) || a->reply.size != sizeof(a->reply) ? -EPROTO : 0;
}

/*
 * Makes a request, and takes its answer, which has `fds` descriptors and is the caller's
 * to close if there is no error.
 */
static int exchange(int ctl, const void *request, size_t length, int fd, int fds, struct answer *a)
{
	int r;

	memset(a, 0, sizeof(*a));
	r = ctl_send(ctl, request, length, fd);
	if (!r)
		r = ctl_receive(ctl, a);
	if (!r && a->reply.error)
		r = a->reply.error > 0 && a->reply.error < 4096 ? -a->reply.error : -EPROTO;
	if (!r && a->count != fds)
		r = -EPROTO;
	if (r)
		answer_close(a);
	return r;
}

/* The directory of the control socket, if the mount is the same still. */
static int open_ctl_dir(const struct hbmfs_mount *m)
{
	char path[4096 + sizeof("/.hbmfs")];
	struct stat st;
	int dir;

	snprintf(path, sizeof(path), "%s/.hbmfs", m->root);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return failed();
	if (fstat(dir, &st) < 0)
		return closing(dir, failed());
	return st.st_dev == m->dev ? dir : closing(dir, -ESTALE);
}

/* Connects to a socket beneath dir: the path of its own might be too long for an address. */
static int connect_in(int dir)
{
	struct sockaddr_un address;
	struct timeval timeout;
	int ctl = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (ctl < 0)
		return failed();
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/ctl", dir);
	timeout.tv_sec = CTL_TIMEOUT_S;
	timeout.tv_usec = 0;
	if (setsockopt(ctl, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(ctl, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(ctl, (struct sockaddr *)&address, sizeof(address)) < 0)
		return closing(ctl, errno == EAGAIN ? -ETIMEDOUT : failed());
	return ctl;
}

/* A connection of its own to the mount's control socket. */
static int ctl_connect(const struct hbmfs_mount *m)
{
	int dir = open_ctl_dir(m);

	return dir < 0 ? dir : closing(dir, connect_in(dir));
}

/* The mount's own connection: one that has ended is replaced, as another daemon may serve it by now. */
static int ask_locked(struct hbmfs_mount *m, const void *request, size_t length, int fd, int fds, struct answer *a)
{
	for (int reused = m->ctl >= 0;; reused = 0) {
		int r;
		if (m->ctl < 0)
			m->ctl = ctl_connect(m);
		if (m->ctl < 0)
			return m->ctl;
		r = exchange(m->ctl, request, length, fd, fds, a);
		if (r != -ECONNABORTED && r != -EPROTO && r != -ETIMEDOUT)
			return r;
		m->ctl = closing(m->ctl, -1);
		if (r != -ECONNABORTED || !reused)
			return r;
	}
}

static int ask(struct hbmfs_mount *m, const void *request, size_t length, int fd, int fds, struct answer *a)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = ask_locked(m, request, length, fd, fds, a);
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* Mounts. */

static int interruptible_open(const char *path)
{
	/* Without O_NONBLOCK a FIFO would wait for its writer. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? failed() : fd;
}

int hbmfs_info(int file, struct hbmfs_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return call(file, HBMFS_IOC_INFO, info);
}

/* Finds out of which mount path is. */
static int device_of(const char *path, dev_t *dev)
{
	struct hbmfs_info info;
	struct stat st;
	int fd = interruptible_open(path);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return closing(fd, failed());
	*dev = st.st_dev;
	return closing(fd, hbmfs_info(fd, &info));
}

static int is_on(const char *path, dev_t dev)
{
	struct stat st;

	return !stat(path, &st) && st.st_dev == dev;
}

/* Cuts path, absolute and resolved, to the topmost directory of the device. */
static void cut_to_root(char *path, dev_t dev)
{
	for (;;) {
		char *slash = strrchr(path, '/');
		if (slash == path) /* below / itself, or it */
			slash++;
		char cut = *slash;
		*slash = 0;
		if (!is_on(path, dev)) {
			*slash = cut;
			return;
		}
		if (!cut)
			return;
	}
}

static int find_mount(struct hbmfs_mount *m, const char *path)
{
	int r = device_of(path, &m->dev);

	if (r)
		return r;
	m->root = realpath(path, NULL);
	if (!m->root)
		return failed();
	cut_to_root(m->root, m->dev);
	return 0;
}

int hbmfs_mount_open(const char *path, struct hbmfs_mount **mount)
{
	struct hbmfs_mount *m = (struct hbmfs_mount *)calloc(1, sizeof(*m));
	int r;

	*mount = NULL;
	if (!m)
		return -ENOMEM;
	m->ctl = -1;
	pthread_mutex_init(&m->lock, NULL);
	r = find_mount(m, path);
	if (r)
		hbmfs_mount_close(m);
	else
		*mount = m;
	return r;
}

static void unmap(struct region *r)
{
	while (r) {
		struct region *next = r->next;
		munmap((void *)r->bytes, r->length);
		free(r);
		r = next;
	}
}

void hbmfs_mount_close(struct hbmfs_mount *m)
{
	if (!m)
		return;
	for (int i = 0; i < BUCKETS; i++)
		unmap(m->regions[i]);
	if (m->ctl >= 0)
		close(m->ctl);
	pthread_mutex_destroy(&m->lock);
	free(m->root);
	free(m);
}

int hbmfs_open(struct hbmfs_mount *m, const char *path)
{
	struct stat st;
	int fd = interruptible_open(path);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return closing(fd, failed());
	if (st.st_dev != m->dev)
		return closing(fd, -EXDEV);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return closing(fd, -ENXIO);
	return fcntl(fd, F_SETFL, 0) < 0 ? closing(fd, failed()) : fd;
}

/* Regions. */

static int region_fd(struct hbmfs_mount *m, __u32 op, __u32 region, __u64 *offset, __u64 *length)
{
	struct hbmfs_ctl_request request;
	struct answer a;
	int r;

	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	request.op = op;
	request.region = region;
	r = ask(m, &request, sizeof(request), -1, 1, &a);
	if (r)
		return r;
	if (a.reply.region != region || !a.reply.length)
		return closing(a.fds[0], -EPROTO);
	*offset = a.reply.fd_offset;
	*length = a.reply.length;
	return a.fds[0];
}

int hbmfs_region(struct hbmfs_mount *m, __u32 region, __u64 *offset, __u64 *length)
{
	return region_fd(m, HBMFS_CTL_REGION, region, offset, length);
}

int hbmfs_region_dmabuf(struct hbmfs_mount *m, __u32 region, __u64 *offset, __u64 *length)
{
	return region_fd(m, HBMFS_CTL_DMABUF, region, offset, length);
}

/* Maps what fd holds, and no more: who touches that gets SIGBUS. */
static int map_fd(int fd, __u64 offset, __u64 length, int protection, void **bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return failed();
	if (offset > (__u64)st.st_size || length > (__u64)st.st_size - offset || offset % (__u64)sysconf(_SC_PAGESIZE))
		return -EPROTO;
	if (length > SIZE_MAX / 2)
		return -ENOMEM;
	*bytes = mmap(NULL, (size_t)length, protection, MAP_SHARED, fd, (off_t)offset);
	return *bytes == MAP_FAILED ? failed() : 0;
}

static struct region *find_region(struct hbmfs_mount *m, __u32 number)
{
	struct region *r = __atomic_load_n(&m->regions[number % BUCKETS], __ATOMIC_ACQUIRE);

	while (r && r->number != number)
		r = r->next;
	return r;
}

/* Enters a region, unless another thread was faster; returns that which is there. */
static struct region *keep_region(struct hbmfs_mount *m, struct region *mine)
{
	struct region *first;

	pthread_mutex_lock(&m->lock);
	first = find_region(m, mine->number);
	if (!first) {
		mine->next = m->regions[mine->number % BUCKETS];
		__atomic_store_n(&m->regions[mine->number % BUCKETS], mine, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&m->lock);
	if (!first)
		return mine;
	unmap(mine);
	return first;
}

static int map_region(struct hbmfs_mount *m, __u32 number, struct region **found)
{
	struct region *mine;
	__u64 offset, length;
	void *bytes;
	int fd = hbmfs_region(m, number, &offset, &length), r;

	if (fd < 0)
		return fd;
	r = closing(fd, map_fd(fd, offset, length, PROT_READ, &bytes));
	if (r)
		return r;
	mine = (struct region *)calloc(1, sizeof(*mine));
	if (!mine) {
		munmap(bytes, (size_t)length);
		return -ENOMEM;
	}
	mine->number = number;
	mine->bytes = (const char *)bytes;
	mine->length = (size_t)length;
	*found = keep_region(m, mine);
	return 0;
}

int hbmfs_bytes(struct hbmfs_mount *m, __u32 region, __u64 region_offset, __u64 length, const void **bytes)
{
	struct region *found = find_region(m, region);
	int r = found ? 0 : map_region(m, region, &found);

	if (r)
		return r;
	if (region_offset > found->length || length > found->length - region_offset)
		return -EPROTO;
	*bytes = found->bytes + region_offset;
	return 0;
}

int hbmfs_segment_bytes(struct hbmfs_mount *m, const struct hbmfs_segment *s, const void **bytes)
{
	return hbmfs_bytes(m, s->region, s->region_offset, s->length, bytes);
}

/* Fetches. */

static const struct hbmfs_options no_options = { 0, 0, 0, 0 };

/* Whether a call that failed so has left the handle that it should release first. */
static int leaves_handle(int error)
{
	return error == -E2BIG || error == -EINVAL || error == -ENOENT || error == -EBADF || error == -ENOTTY;
}

int hbmfs_fetch(int file, __u64 offset, __u64 length, const struct hbmfs_options *options, struct hbmfs_lease *lease)
{
	const struct hbmfs_options *o = options ? options : &no_options;
	__u32 room = o->segments ? o->segments : HBMFS_LEASE_SEGMENTS;
	__u64 earlier = lease->head.handle;
	int r;

	memset(&lease->head, 0, sizeof(lease->head));
	lease->head.size = sizeof(lease->head);
	lease->head.flags = o->flags | (o->wait_ms ? HBMFS_FETCH_WAIT : 0);
	lease->head.offset = offset;
	lease->head.length = length;
	lease->head.release = earlier;
	lease->head.device = o->device;
	lease->head.wait_ms = o->wait_ms;
	if (room > HBMFS_LEASE_SEGMENTS)
		r = -EINVAL;
	else
		r = call(file, HBMFS_IOC_FETCH(room), lease);
	if (!r && lease->head.segment_count > room)
		r = -EPROTO;
	if (r) {
		memset(&lease->head, 0, sizeof(lease->head));
		lease->head.handle = leaves_handle(r) ? earlier : 0;
	}
	return r;
}

/* Releases a handle, or all for 0; returns how many. */
static int release(int file, __u64 handle)
{
	struct hbmfs_release q;
	int r;

	do {
		memset(&q, 0, sizeof(q));
		q.size = sizeof(q);
		q.handle = handle;
		r = call(file, HBMFS_IOC_RELEASE, &q);
	} while (r == -EINTR);
	return r ? r : (int)q.released;
}

int hbmfs_release(int file, __u64 *handle)
{
	int r = *handle ? release(file, *handle) : 0;

	if (!leaves_handle(r))
		*handle = 0;
	return r < 0 ? r : 0;
}

int hbmfs_release_all(int file) { return release(file, 0); }

/* Batches. */

static struct hbmfs_batch_entry *entries_of(const struct hbmfs_batch_lease *l)
{
	return (struct hbmfs_batch_entry *)l->room;
}

static struct hbmfs_segment *segments_of(const struct hbmfs_batch_lease *l)
{
	return (struct hbmfs_segment *)(entries_of(l) + l->head.entry_count);
}

static __u32 segments_for(const struct hbmfs_want *w)
{
	__u64 extents = w->length >> 20;

	return 1 + (__u32)(extents < 15 ? extents : 15);
}

static size_t name_length(const struct hbmfs_want *w) { return w->name ? strlen(w->name) : 0; }

static size_t batch_bytes(const struct hbmfs_batch *b)
{
	return sizeof(*b) + b->entry_count * sizeof(struct hbmfs_batch_entry) +
	       b->segment_room * sizeof(struct hbmfs_segment) + b->name_bytes;
}

/* Counts into head as many of the ranges as a call has room for; `segments` of all of them, if not 0. */
static void fit(struct hbmfs_batch *head, const struct hbmfs_want *wants, size_t count, __u32 segments)
{
	for (size_t i = 0; i < count; i++) {
		struct hbmfs_batch more = *head;
		size_t name = name_length(&wants[i]);
		more.entry_count++;
		if (!(head->flags & HBMFS_BATCH_INTO))
			more.segment_room = segments ? segments : more.segment_room + segments_for(&wants[i]);
		more.name_bytes += name < HBMFS_BATCH_MAX ? (__u32)name : HBMFS_BATCH_MAX;
		if (more.segment_room > HBMFS_BATCH_MAX || batch_bytes(&more) > HBMFS_BATCH_MAX)
			return;
		*head = more;
	}
}

/* Writes the entries and names that head has counted. */
static void put_wants(struct hbmfs_batch_lease *l, const struct hbmfs_want *wants)
{
	struct hbmfs_batch_entry *e = entries_of(l);
	char *names = (char *)(segments_of(l) + l->head.segment_room);
	__u16 at = 0;

	memset(e, 0, batch_bytes(&l->head) - sizeof(l->head));
	for (__u32 i = 0; i < l->head.entry_count; i++) {
		e[i].offset = wants[i].offset;
		e[i].length = wants[i].length;
		e[i].cursor = wants[i].buffer_offset;
		e[i].name_length = (__u16)name_length(&wants[i]);
		e[i].name = e[i].name_length ? at : 0;
		if (e[i].name_length)
			memcpy(names + at, wants[i].name, e[i].name_length);
		at = (__u16)(at + e[i].name_length);
	}
}

/* Whether the answer keeps to what was asked for: entries of the segments that there are. */
static int is_sound(const struct hbmfs_batch_lease *l, __u32 entries, __u32 room)
{
	if (l->head.entry_count != entries || l->head.segment_room != room || l->head.segment_count > room)
		return 0;
	for (__u32 i = 0; i < entries; i++) {
		const struct hbmfs_batch_entry *e = &entries_of(l)[i];
		if (e->segment_count && (__u32)e->segment + e->segment_count > l->head.segment_count)
			return 0;
	}
	return 1;
}

static int batch_call(int file, struct hbmfs_batch_lease *l)
{
	__u32 entries = l->head.entry_count, room = l->head.segment_room;
	int r = call(file, HBMFS_IOC_BATCH(batch_bytes(&l->head)), l);

	return r ? r : is_sound(l, entries, room) ? (int)entries : -EPROTO;
}

/* Makes the call that head describes for as many of the ranges as it has room for. */
static int batch(int file, const struct hbmfs_want *wants, size_t count, __u32 segments, struct hbmfs_batch_lease *l)
{
	fit(&l->head, wants, count, segments);
	if (!l->head.entry_count)
		return -EINVAL;
	put_wants(l, wants);
	return batch_call(file, l);
}

static void batch_head(struct hbmfs_batch *head, __u32 flags, __u32 device)
{
	memset(head, 0, sizeof(*head));
	head->size = sizeof(*head);
	head->flags = flags;
	head->device = device;
}

int hbmfs_batch(int file, const struct hbmfs_want *wants, size_t count, const struct hbmfs_options *options,
		struct hbmfs_batch_lease *lease)
{
	const struct hbmfs_options *o = options ? options : &no_options;
	__u64 earlier = lease->head.handle;
	int r;

	batch_head(&lease->head, o->flags, o->device);
	lease->head.release = earlier;
	r = o->wait_ms || o->flags & HBMFS_BATCH_INTO ? -EINVAL : batch(file, wants, count, o->segments, lease);
	if (r < 0) {
		batch_head(&lease->head, 0, 0);
		lease->head.handle = leaves_handle(r) ? earlier : 0;
	}
	return r;
}

int hbmfs_batch_into(int file, const struct hbmfs_want *wants, size_t count, __u32 buffer, struct hbmfs_batch_lease *lease)
{
	int r;

	if (lease->head.handle)
		return -EINVAL;
	batch_head(&lease->head, HBMFS_BATCH_INTO, buffer);
	r = batch(file, wants, count, 0, lease);
	if (r < 0)
		batch_head(&lease->head, 0, 0);
	return r;
}

const struct hbmfs_batch_entry *hbmfs_batch_result(const struct hbmfs_batch_lease *lease, unsigned i)
{
	return &entries_of(lease)[i];
}

const struct hbmfs_segment *hbmfs_batch_segments(const struct hbmfs_batch_lease *lease, unsigned i)
{
	return segments_of(lease) + entries_of(lease)[i].segment;
}

/* Buffers. */

int hbmfs_buffer_register(struct hbmfs_mount *m, int fd, __u32 device, __u64 offset, __u64 length, __u32 *number)
{
	struct hbmfs_ctl_buffer request;
	struct answer a;
	int r;

	if (fd < 0)
		return -EBADF;
	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	request.op = HBMFS_CTL_BUFFER;
	request.device = device;
	request.offset = offset;
	request.length = length;
	r = ask(m, &request, sizeof(request), fd, 0, &a);
	if (!r)
		*number = a.reply.region;
	return r;
}

int hbmfs_buffer_unregister(struct hbmfs_mount *m, __u32 number)
{
	struct hbmfs_ctl_request request;
	struct answer a;

	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	request.op = HBMFS_CTL_UNBUFFER;
	request.region = number;
	return ask(m, &request, sizeof(request), -1, 0, &a);
}

/* How many bytes the kernel reckons can be had: fallocate(2) takes more, and ends other programs for it. */
static __u64 available_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib, found = ~0ull >> 10;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			found = kib;
	if (f)
		fclose(f);
	return found << 10;
}

/* Has fd, a memfd, be length bytes that are all there and stay so. */
static int fill_memfd(int fd, off_t length)
{
	int r;

	if (ftruncate(fd, length) < 0)
		return failed();
	do
		r = fallocate(fd, 0, 0, length);
	while (r < 0 && errno == EINTR);
	return r < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0 ? failed() : 0;
}

/* New memory of length bytes, which can be had as a buffer. */
static int make_memfd(__u64 length)
{
	int fd, r;

	if (!length)
		return -EINVAL;
	if (length > INT64_MAX || length > available_memory())
		return -ENOMEM;
	fd = memfd_create("hbmfs-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return failed();
	r = fill_memfd(fd, (off_t)length);
	return r ? closing(fd, r) : fd;
}

static int make_buffer(struct hbmfs_mount *m, __u32 device, int fd, struct hbmfs_buffer *b)
{
	int r = map_fd(fd, 0, b->length, PROT_READ | PROT_WRITE, &b->bytes);

	if (r)
		return r;
	r = hbmfs_buffer_register(m, fd, device, 0, b->length, &b->number);
	if (r)
		munmap(b->bytes, (size_t)b->length);
	return r;
}

int hbmfs_buffer_make(struct hbmfs_mount *m, __u32 device, __u64 length, struct hbmfs_buffer *buffer)
{
	int fd = make_memfd(length), r;

	memset(buffer, 0, sizeof(*buffer));
	if (fd < 0)
		return fd;
	buffer->length = length;
	r = closing(fd, make_buffer(m, device, fd, buffer));
	if (r)
		memset(buffer, 0, sizeof(*buffer));
	return r;
}

int hbmfs_buffer_free(struct hbmfs_mount *m, struct hbmfs_buffer *buffer)
{
	int r = hbmfs_buffer_unregister(m, buffer->number);

	if (r == -EBUSY)
		return r;
	munmap(buffer->bytes, (size_t)buffer->length);
	memset(buffer, 0, sizeof(*buffer));
	return r == -ENOENT || r == -ENOTCONN || r == -ECONNABORTED ? 0 : r; /* which ended it too */
}

int hbmfs_fetch_into(int file, __u64 offset, __u64 length, __u32 buffer, __u64 buffer_offset,
		     struct hbmfs_fetch_into *result)
{
	memset(result, 0, sizeof(*result));
	result->size = sizeof(*result);
	result->offset = offset;
	result->length = length;
	result->buffer = buffer;
	result->buffer_offset = buffer_offset;
	return call(file, HBMFS_IOC_FETCH_INTO, result);
}

/* Rings. */

enum { RING_MEMORY, RING_TO_MOUNT, RING_TO_PROGRAM, RING_FDS }; /* as they come */

struct hbmfs_queue {
	struct hbmfs_ring *shared;
	size_t mapped;            /* bytes */
	int ctl;                  /* the connection that the ring lives with */
	int to_mount, to_program; /* eventfds */
	int poll;                 /* epoll: of to_program, each write once, and of the connection's end */
	__u32 number;
	__u32 entries, completions; /* as they were when it was mapped */
	__u32 name_room;
	__u32 tail; /* of submissions that were given out; the submitter's */
	__u32 head; /* of completions; the reaper's */
	__u32 revocations; /* that were told of; the reaper's */
	struct hbmfs_ring_op *ops;
	struct hbmfs_ring_done *done;
	char *names;
};

static int watch(int poll, int fd, __u32 events)
{
	struct epoll_event event;

	memset(&event, 0, sizeof(event));
	event.events = events;
	event.data.u32 = events & EPOLLIN; /* 0: the connection */
	return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0 ? failed() : 0;
}

/* Watches for completions: EPOLLET tells each write of the eventfd, which so need not be read. */
static int watch_both(struct hbmfs_queue *q)
{
	int r;

	q->poll = epoll_create1(EPOLL_CLOEXEC);
	if (q->poll < 0)
		return failed();
	r = watch(q->poll, q->to_program, EPOLLIN | EPOLLET);
	return r ? r : watch(q->poll, q->ctl, EPOLLRDHUP);
}

static int is_within(const struct hbmfs_queue *q, __u32 offset, __u64 bytes)
{
	return offset % sizeof(__u64) == 0 && offset >= sizeof(struct hbmfs_ring) && offset + bytes <= q->mapped;
}

/* Reads where things are, once. */
static int lay_out(struct hbmfs_queue *q)
{
	const struct hbmfs_ring *r = q->shared;
	char *base = (char *)q->shared;
	__u32 ops = r->submissions_offset, done = r->completions_offset, names = r->names_offset;

	q->number = r->ring;
	q->completions = r->completion_entries;
	if (r->size < sizeof(*r) || r->entries != q->entries || q->completions < q->entries ||
	    q->completions & (q->completions - 1) || !is_within(q, ops, (__u64)q->entries * sizeof(*q->ops)) ||
	    !is_within(q, done, (__u64)q->completions * sizeof(*q->done)) ||
	    !is_within(q, names, (__u64)q->entries * q->name_room))
		return -EPROTO;
	q->ops = (struct hbmfs_ring_op *)(base + ops);
	q->done = (struct hbmfs_ring_done *)(base + done);
	q->names = base + names;
	return 0;
}

/* Takes over the descriptors of an answer. */
static int ring_take(struct hbmfs_queue *q, const struct answer *a)
{
	void *bytes;
	int r = map_fd(a->fds[RING_MEMORY], 0, a->reply.length, PROT_READ | PROT_WRITE, &bytes);

	close(a->fds[RING_MEMORY]);
	q->to_mount = a->fds[RING_TO_MOUNT];
	q->to_program = a->fds[RING_TO_PROGRAM];
	if (r)
		return r;
	q->shared = (struct hbmfs_ring *)bytes;
	q->mapped = (size_t)a->reply.length;
	r = q->mapped < sizeof(*q->shared) ? -EPROTO : lay_out(q);
	return r ? r : watch_both(q);
}

static int ring_make(struct hbmfs_queue *q, const struct hbmfs_mount *m)
{
	struct hbmfs_ctl_ring request;
	struct answer a;
	int r;

	if (!q->entries || q->name_room > HBMFS_RING_NAME_BYTES_MAX / q->entries)
		return -EINVAL;
	q->ctl = ctl_connect(m);
	if (q->ctl < 0)
		return q->ctl;
	memset(&request, 0, sizeof(request));
	request.size = sizeof(request);
	request.op = HBMFS_CTL_RING;
	request.entries = q->entries;
	request.name_bytes = q->entries * q->name_room;
	r = exchange(q->ctl, &request, sizeof(request), -1, RING_FDS, &a);
	return r ? r : ring_take(q, &a);
}

int hbmfs_ring_open(struct hbmfs_mount *m, __u32 entries, __u32 name_room, struct hbmfs_queue **queue)
{
	struct hbmfs_queue *q = (struct hbmfs_queue *)calloc(1, sizeof(*q));
	int r;

	*queue = NULL;
	if (!q)
		return -ENOMEM;
	q->ctl = q->to_mount = q->to_program = q->poll = -1;
	q->entries = entries;
	q->name_room = name_room;
	r = ring_make(q, m);
	if (r)
		hbmfs_ring_close(q);
	else
		*queue = q;
	return r;
}

void hbmfs_ring_close(struct hbmfs_queue *q)
{
	if (!q)
		return;
	int fds[] = { q->poll, q->to_program, q->to_mount, q->ctl };
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (q->shared)
		munmap(q->shared, q->mapped);
	free(q);
}

static int ring_file(int file, struct hbmfs_ring_file *f)
{
	f->size = sizeof(*f);
	return call(file, HBMFS_IOC_RING_FILE, f);
}

int hbmfs_ring_add(struct hbmfs_queue *q, int file, __u32 *number)
{
	struct hbmfs_ring_file f;
	int r;

	memset(&f, 0, sizeof(f));
	f.ring = q->number;
	r = ring_file(file, &f);
	if (!r)
		*number = f.file;
	return r;
}

int hbmfs_ring_remove(struct hbmfs_queue *q, int file, __u32 number)
{
	struct hbmfs_ring_file f;

	memset(&f, 0, sizeof(f));
	f.flags = HBMFS_RING_REMOVE;
	f.ring = q->number;
	f.file = number;
	return ring_file(file, &f);
}

struct hbmfs_ring_op *hbmfs_ring_get(struct hbmfs_queue *q)
{
	__u32 taken = __atomic_load_n(&q->shared->submission_head, __ATOMIC_ACQUIRE);
	struct hbmfs_ring_op *op;

	if (q->tail - taken >= q->entries)
		return NULL;
	op = &q->ops[q->tail++ & (q->entries - 1)];
	memset(op, 0, sizeof(*op));
	return op;
}

int hbmfs_ring_name(struct hbmfs_queue *q, struct hbmfs_ring_op *op, const char *name)
{
	size_t length = strlen(name);
	__u32 at = (__u32)(op - q->ops) * q->name_room;

	if (length > q->name_room || length > UINT16_MAX)
		return -ENAMETOOLONG;
	memcpy(q->names + at, name, length);
	op->name = at;
	op->name_length = (__u16)length;
	return 0;
}

/* Wakes the mount if it sleeps. What it is woken for was written before, seq_cst. */
static int wake(struct hbmfs_queue *q)
{
	__u32 flags = __atomic_load_n(&q->shared->submission_flags, __ATOMIC_SEQ_CST);
	__u64 one = 1;

	if (flags & HBMFS_RING_BROKEN)
		return -EPROTO;
	if (!(flags & HBMFS_RING_NEED_WAKEUP))
		return 0;
	while (write(q->to_mount, &one, sizeof(one)) < 0)
		if (errno == EAGAIN) /* so many have been written that it is awake */
			break;
		else if (errno != EINTR)
			return failed();
	return 0;
}

int hbmfs_ring_submit(struct hbmfs_queue *q)
{
	__atomic_store_n(&q->shared->submission_tail, q->tail, __ATOMIC_SEQ_CST);
	return wake(q);
}

/* How many completions there are to reap; -EPROTO. */
static int ready(const struct hbmfs_queue *q)
{
	__u32 n = __atomic_load_n(&q->shared->completion_tail, __ATOMIC_SEQ_CST) - q->head;

	return n <= q->completions ? (int)n : -EPROTO;
}

static __u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (__u64)t.tv_sec * 1000 + (__u64)t.tv_nsec / 1000000;
}

/* Sleeps until the mount wakes the program, at most for timeout_ms. */
static int doze(const struct hbmfs_queue *q, int timeout_ms)
{
	struct epoll_event events[2];
	int n = epoll_wait(q->poll, events, 2, timeout_ms);

	if (n < 0)
		return failed();
	for (int i = 0; i < n; i++)
		if (!events[i].data.u32)
			return -ECONNABORTED;
	return n ? 0 : -ETIMEDOUT;
}

/* Waits with the flag set that has the mount wake the program. */
static int wait_woken(struct hbmfs_queue *q, unsigned least, int timeout_ms)
{
	__u64 until = now_ms() + (__u64)(timeout_ms > 0 ? timeout_ms : 0);
	__u32 revocations;

	for (;;) {
		__u64 now = now_ms();
		int left = timeout_ms <= 0 ? timeout_ms : now < until ? (int)(until - now) : 0;
		int n = ready(q), r;

		if (n < 0 || (unsigned)n >= least)
			return n;
		if (__atomic_load_n(&q->shared->submission_flags, __ATOMIC_RELAXED) & HBMFS_RING_BROKEN)
			return -EPROTO;
		revocations = __atomic_load_n(&q->shared->revocations, __ATOMIC_RELAXED);
		if (revocations != q->revocations) {
			q->revocations = revocations;
			return -ENODEV;
		}
		r = doze(q, left);
		if (r)
			return ready(q) >= 0 && (unsigned)ready(q) >= least ? ready(q) : r;
	}
}

int hbmfs_ring_wait(struct hbmfs_queue *q, unsigned least, int timeout_ms)
{
	int n = ready(q);

	if (n < 0 || (unsigned)n >= least)
		return n;
	if (least > q->completions)
		return -EINVAL;
	__atomic_store_n(&q->shared->completion_flags, HBMFS_RING_NEED_WAKEUP, __ATOMIC_SEQ_CST);
	n = wait_woken(q, least, timeout_ms);
	__atomic_store_n(&q->shared->completion_flags, 0, __ATOMIC_RELAXED);
	return n;
}

unsigned hbmfs_ring_reap(struct hbmfs_queue *q, struct hbmfs_ring_done *done, unsigned most)
{
	int there = ready(q);
	__u32 first = q->head, n = there < 0 ? 0 : (unsigned)there < most ? (__u32)there : most;

	if (!n)
		return 0;
	for (__u32 i = 0; i < n; i++)
		done[i] = q->done[q->head++ & (q->completions - 1)];
	__atomic_store_n(&q->shared->completion_head, q->head, __ATOMIC_SEQ_CST);
	/* More are submitted than there is room for completions: it may wait for that room. */
	if (__atomic_load_n(&q->shared->submission_tail, __ATOMIC_SEQ_CST) - first > q->completions)
		(void)wake(q);
	return n;
}
