/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring DIRECTORY: tests the rings of hbmfs_client.c, which it includes, with a mount that
 * is a thread here, and plays the mount's side as hbmfs.h has it.
 */
#include "../hbmfs_client.c"

#include <err.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#define WANT(condition)                                                      \
	do                                                                   \
		if (!(condition))                                            \
			errx(1, "line %d: not so: %s", __LINE__, #condition); \
	while (0)

/* The mount. */

struct fake {
	int listening, client, memory, to_mount, to_program;
	struct hbmfs_ring *ring;
	__u32 taken, completed;
	__u32 start;    /* of all numbers */
	int answer;     /* errno of CTL_RING, or one of the next */
	int is_ended;   /* guarded by atomic access */
	pthread_t thread;
};

enum { ANSWER_HANG_UP = 10000, ANSWER_NO_FDS, ANSWER_GARBAGE };

static struct fake fake;

static struct hbmfs_ring_op *fake_ops(void) { return (struct hbmfs_ring_op *)(fake.ring + 1); }
static struct hbmfs_ring_done *fake_done(void) { return (struct hbmfs_ring_done *)(fake_ops() + fake.ring->entries); }

static void fake_make(const struct hbmfs_ctl_ring *request, struct hbmfs_ctl_reply *reply)
{
	__u64 length = sizeof(struct hbmfs_ring) + 64ull * 3 * request->entries + request->name_bytes;

	fake.memory = memfd_create("ring", MFD_CLOEXEC);
	WANT(!ftruncate(fake.memory, (off_t)length));
	fake.ring = (struct hbmfs_ring *)mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fake.memory, 0);
	fake.ring->size = sizeof(*fake.ring);
	fake.ring->entries = request->entries;
	fake.ring->completion_entries = 2 * request->entries;
	fake.ring->submissions_offset = sizeof(*fake.ring);
	fake.ring->completions_offset = sizeof(*fake.ring) + 64 * request->entries;
	fake.ring->names_offset = sizeof(*fake.ring) + 192 * request->entries;
	fake.ring->name_bytes = request->name_bytes;
	fake.ring->ring = 7;
	fake.ring->submission_head = fake.ring->submission_tail = fake.start;
	fake.ring->completion_head = fake.ring->completion_tail = fake.start;
	fake.taken = fake.completed = fake.start;
	fake.to_mount = eventfd(0, EFD_CLOEXEC);
	fake.to_program = eventfd(0, EFD_CLOEXEC);
	reply->length = length;
	reply->region = 7;
}

static void fake_reply(struct hbmfs_ctl_reply *reply, int fds)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(3 * sizeof(int))]; } control;
	int all[] = { fake.memory, fake.to_mount, fake.to_program };
	struct iovec iov = { reply, sizeof(*reply) };
	struct msghdr msg;

	memset(&msg, 0, sizeof(msg));
	memset(&control, 0, sizeof(control));
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	if (fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(3 * sizeof(int));
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(3 * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), all, sizeof(all));
	}
	if (fake.answer == ANSWER_GARBAGE)
		iov.iov_len = 5;
	WANT(sendmsg(fake.client, &msg, MSG_NOSIGNAL) == (ssize_t)iov.iov_len);
}

/* What completes a submission, and tells all that it has. */
static struct hbmfs_ring_done fake_answer(const struct hbmfs_ring_op *op)
{
	struct hbmfs_ring_done done;
	const char *names = (const char *)fake.ring + fake.ring->names_offset;

	memset(&done, 0, sizeof(done));
	done.user_data = op->user_data;
	done.file_size = op->offset;
	done.length = op->length;
	done.error = op->op == HBMFS_RING_NOP ? 0 : ENOTTY;
	for (int i = 0; i < op->name_length; i++)
		done.cursor += (unsigned char)names[op->name + i];
	return done;
}

static void fake_complete(struct hbmfs_ring_done done)
{
	fake_done()[fake.completed++ & (2 * fake.ring->entries - 1)] = done;
	__atomic_store_n(&fake.ring->completion_tail, fake.completed, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&fake.ring->completion_flags, __ATOMIC_SEQ_CST) & HBMFS_RING_NEED_WAKEUP)
		WANT(write(fake.to_program, &(__u64){ 1 }, 8) == 8);
}

/* Takes what there is room to complete; says whether that was anything. */
static int fake_take(void)
{
	__u32 tail = __atomic_load_n(&fake.ring->submission_tail, __ATOMIC_SEQ_CST);
	__u32 head = __atomic_load_n(&fake.ring->completion_head, __ATOMIC_SEQ_CST), first = fake.taken;

	while (fake.taken != tail && fake.taken - head < 2 * fake.ring->entries) {
		struct hbmfs_ring_op op = fake_ops()[fake.taken & (fake.ring->entries - 1)];
		struct hbmfs_ring_done done = fake_answer(&op);
		__atomic_store_n(&fake.ring->submission_head, ++fake.taken, __ATOMIC_RELEASE);
		fake_complete(done);
	}
	return fake.taken != first;
}

static void fake_sleep(void)
{
	__u64 n;

	__atomic_store_n(&fake.ring->submission_flags, HBMFS_RING_NEED_WAKEUP, __ATOMIC_SEQ_CST);
	if (!fake_take())
		WANT(read(fake.to_mount, &n, sizeof(n)) == sizeof(n));
	__atomic_store_n(&fake.ring->submission_flags, 0, __ATOMIC_RELAXED);
}

static void *fake_serve(void *unused)
{
	struct hbmfs_ctl_ring request;
	struct hbmfs_ctl_reply reply;

	fake.client = accept4(fake.listening, NULL, NULL, SOCK_CLOEXEC);
	memset(&reply, 0, sizeof(reply));
	reply.size = sizeof(reply);
	WANT(recv(fake.client, &request, sizeof(request), 0) == sizeof(request) && request.op == HBMFS_CTL_RING);
	fake_make(&request, &reply);
	reply.error = fake.answer < ANSWER_HANG_UP ? fake.answer : 0;
	if (fake.answer != ANSWER_HANG_UP)
		fake_reply(&reply, !reply.error && fake.answer != ANSWER_NO_FDS);
	while (!fake.answer && !__atomic_load_n(&fake.is_ended, __ATOMIC_SEQ_CST))
		if (!fake_take())
			fake_sleep();
	return unused;
}

static void fake_start(int answer, __u32 start)
{
	fake.answer = answer;
	fake.start = start;
	fake.is_ended = 0;
	WANT(!pthread_create(&fake.thread, NULL, fake_serve, NULL));
}

/* Ends the thread, and then the connection. */
static void fake_stop(void)
{
	__atomic_store_n(&fake.is_ended, 1, __ATOMIC_SEQ_CST);
	if (!fake.answer)
		WANT(write(fake.to_mount, &(__u64){ 1 }, 8) == 8);
	pthread_join(fake.thread, NULL);
}

static void fake_hang_up(void)
{
	munmap(fake.ring, sizeof(*fake.ring));
	close(fake.memory);
	close(fake.to_mount);
	close(fake.to_program);
	close(fake.client);
}

/* The tests. */

static struct hbmfs_mount mount; /* whose .hbmfs/ctl is the fake's */

static struct hbmfs_queue *open_queue(__u32 entries, __u32 name_room, __u32 start)
{
	struct hbmfs_queue *q;
	int r;

	fake_start(0, start);
	r = hbmfs_ring_open(&mount, entries, name_room, &q);
	if (r)
		errx(1, "ring: %s", strerror(-r));
	q->tail = q->head = start; /* which is 0 of a real one */
	return q;
}

static void close_queue(struct hbmfs_queue *q)
{
	fake_stop();
	fake_hang_up();
	hbmfs_ring_close(q);
}

static int put(struct hbmfs_queue *q, __u64 i)
{
	struct hbmfs_ring_op *op = hbmfs_ring_get(q);

	if (!op)
		return 0;
	WANT(!op->handle && !op->name_length && !op->length);
	op->user_data = i;
	op->offset = i * 3;
	op->length = ~i;
	return 1;
}

static void check_done(const struct hbmfs_ring_done *d, __u64 i)
{
	WANT(d->user_data == i && d->file_size == i * 3 && d->length == ~i && !d->error);
}

/* Each operation is answered once, in whatever sizes they are submitted and reaped. */
static void *submit_all(void *arg)
{
	struct hbmfs_queue *q = ((struct hbmfs_queue **)arg)[0];
	__u64 all = *(__u64 *)((void **)arg)[1], i = 0;

	while (i < all) {
		for (__u64 n = 1 + i * 7 % 13; n && i < all && put(q, i); n--)
			i++;
		WANT(!hbmfs_ring_submit(q));
		if (i * 11 % 17 == 0)
			sched_yield();
	}
	return NULL;
}

static void test_two_threads(__u32 entries, __u64 all)
{
	struct hbmfs_queue *q = open_queue(entries, 0, 0xfffffff5);
	struct hbmfs_ring_done done[16];
	void *arg[] = { q, &all };
	pthread_t submitter;

	WANT(!pthread_create(&submitter, NULL, submit_all, arg));
	for (__u64 i = 0; i < all;) {
		unsigned most = 1 + i * 5 % 16;
		int n = hbmfs_ring_wait(q, most < entries && most <= all - i ? most : 1, 20000);
		WANT(n > 0);
		n = (int)hbmfs_ring_reap(q, done, most);
		for (int j = 0; j < n; j++)
			check_done(&done[j], i++);
	}
	pthread_join(submitter, NULL);
	WANT(hbmfs_ring_wait(q, 1, 0) == -ETIMEDOUT);
	close_queue(q);
}

static void test_one_at_a_time(__u64 all)
{
	struct hbmfs_queue *q = open_queue(1, 0, 0);
	struct hbmfs_ring_done done;

	for (__u64 i = 0; i < all; i++) {
		WANT(put(q, i) && !hbmfs_ring_submit(q) && hbmfs_ring_wait(q, 1, -1) == 1);
		WANT(hbmfs_ring_reap(q, &done, 1) == 1);
		check_done(&done, i);
	}
	close_queue(q);
}

/* The mount takes no more than it can complete, and goes on when there is room again. */
static void test_full(void)
{
	struct hbmfs_queue *q = open_queue(4, 0, 0);
	struct hbmfs_ring_done done;
	__u64 in = 0, out = 0;

	while (in < 12)
		if (put(q, in))
			in++;
		else
			WANT(!hbmfs_ring_submit(q));
	WANT(!hbmfs_ring_submit(q) && !put(q, in));
	WANT(hbmfs_ring_wait(q, 8, 20000) == 8);
	WANT(hbmfs_ring_wait(q, 9, 30) == -EINVAL);
	for (; out < 12; out++) {
		WANT(hbmfs_ring_wait(q, out < 5 ? 8 : 1, 20000) > 0);
		WANT(hbmfs_ring_reap(q, &done, 1) == 1);
		check_done(&done, out);
	}
	close_queue(q);
}

static void test_names(void)
{
	struct hbmfs_queue *q = open_queue(2, 5, 0);
	struct hbmfs_ring_done done;

	for (int i = 0; i < 9; i++) {
		struct hbmfs_ring_op *op = hbmfs_ring_get(q);
		WANT(hbmfs_ring_name(q, op, "a/long") == -ENAMETOOLONG && !op->name_length);
		WANT(!hbmfs_ring_name(q, op, i % 2 ? "a/b/c" : "x") && op->name_length == (i % 2 ? 5 : 1));
		WANT(!hbmfs_ring_submit(q) && hbmfs_ring_wait(q, 1, -1) == 1 && hbmfs_ring_reap(q, &done, 9) == 1);
		WANT(done.cursor == (i % 2 ? 'a' + '/' + 'b' + '/' + 'c' : 'x'));
	}
	close_queue(q);
}

static void on_alarm(int signal) { (void)signal; }

static void test_signal(void)
{
	struct hbmfs_queue *q = open_queue(1, 0, 0);
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_alarm;
	sigaction(SIGALRM, &action, NULL);
	alarm(1);
	WANT(hbmfs_ring_wait(q, 1, -1) == -EINTR);
	close_queue(q);
}

/* A mount that ends is noticed, asleep or not; what is complete can still be reaped. */
static void test_daemon_ends(void)
{
	struct hbmfs_queue *q = open_queue(4, 0, 0);
	struct hbmfs_ring_done done;

	WANT(put(q, 0) && put(q, 1) && !hbmfs_ring_submit(q) && hbmfs_ring_wait(q, 2, -1) == 2);
	fake_stop();
	fake_hang_up();
	WANT(hbmfs_ring_wait(q, 2, -1) == 2);
	WANT(hbmfs_ring_wait(q, 3, 30) == -ECONNABORTED);
	WANT(hbmfs_ring_wait(q, 3, -1) == -ECONNABORTED);
	WANT(hbmfs_ring_reap(q, &done, 1) == 1 && hbmfs_ring_reap(q, &done, 2) == 1 && hbmfs_ring_reap(q, &done, 1) == 0);
	WANT(hbmfs_ring_wait(q, 1, 0) == -ECONNABORTED);
	hbmfs_ring_close(q);
}

static void test_broken(void)
{
	struct hbmfs_queue *q = open_queue(4, 0, 0);

	fake_stop();
	__atomic_store_n(&q->shared->submission_flags, HBMFS_RING_BROKEN, __ATOMIC_SEQ_CST);
	WANT(put(q, 0) && hbmfs_ring_submit(q) == -EPROTO && hbmfs_ring_wait(q, 1, -1) == -EPROTO);
	q->shared->completion_tail = 9;
	WANT(hbmfs_ring_wait(q, 1, -1) == -EPROTO && !hbmfs_ring_reap(q, NULL, 1));
	fake_hang_up();
	hbmfs_ring_close(q);
}

static int refused(int answer, __u32 entries, __u32 name_room)
{
	struct hbmfs_queue *q;
	int r;

	fake_start(answer, 0);
	r = hbmfs_ring_open(&mount, entries, name_room, &q);
	WANT(r == 0 || !q);
	fake_stop();
	fake_hang_up();
	return r;
}

static int hang_up_at_once(void)
{
	struct hbmfs_queue *q;
	pid_t child = fork();

	if (!child)
		close(accept(fake.listening, NULL, NULL)), _exit(0);
	int r = hbmfs_ring_open(&mount, 1, 0, &q);
	waitpid(child, NULL, 0);
	return r;
}

static void test_refusals(void)
{
	struct hbmfs_queue *q;

	WANT(refused(EDQUOT, 4, 0) == -EDQUOT);
	WANT(refused(ANSWER_NO_FDS, 4, 0) == -EPROTO);
	WANT(refused(ANSWER_GARBAGE, 4, 0) == -EPROTO);
	WANT(hang_up_at_once() == -ECONNABORTED);
	WANT(hbmfs_ring_open(&mount, 0, 0, &q) == -EINVAL && !q);
	WANT(hbmfs_ring_open(&mount, 4096, 257, &q) == -EINVAL && !q);
}

static int open_files(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void make_mount(char *dir)
{
	struct sockaddr_un address;
	struct stat st;

	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	WANT(snprintf(address.sun_path, sizeof(address.sun_path), "%s/.hbmfs/ctl", dir) < (int)sizeof(address.sun_path));
	*strrchr(address.sun_path, '/') = 0;
	WANT(!mkdir(address.sun_path, 0700) && !stat(dir, &st));
	address.sun_path[strlen(address.sun_path)] = '/';
	fake.listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	WANT(!bind(fake.listening, (struct sockaddr *)&address, sizeof(address)) && !listen(fake.listening, 8));
	mount.root = dir;
	mount.dev = st.st_dev;
}

int main(int argc, char **argv)
{
	WANT(argc == 2);
	make_mount(argv[1]);
	int before = open_files();
	test_two_threads(1, 1000);
	test_two_threads(8, 20000);
	test_two_threads(64, 50000);
	test_one_at_a_time(2000);
	test_full();
	test_names();
	test_signal();
	test_daemon_ends();
	test_broken();
	test_refusals();
	WANT(open_files() == before);
	return 0;
}
