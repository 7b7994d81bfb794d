/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clibrary FILE DIRECTORY NAME...: tests what hbmfs_client.c promises beside bytes, on a
 * mount of a pool of a few extents: what becomes of handles after errors, of files of
 * other file systems, and what a ring can be asked.
 *
 * clibrary FILE: waits on a ring until the mount ends.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "hbmfs_client.h"

#define WANT(condition)                                                      \
	do                                                                   \
		if (!(condition))                                            \
			errx(1, "line %d: not so: %s", __LINE__, #condition); \
	while (0)

static struct hbmfs_mount *mount;

static void test_elsewhere(const char *directory)
{
	struct hbmfs_mount *none;

	WANT(hbmfs_mount_open("/proc/self/status", &none) == -ENOTTY && !none);
	WANT(hbmfs_mount_open("/no/such", &none) == -ENOENT && !none);
	WANT(hbmfs_open(mount, "/proc/self/status") == -EXDEV);
	WANT(hbmfs_open(mount, "/no/such") == -ENOENT);
	WANT(!hbmfs_mount_open(directory, &none));
	hbmfs_mount_close(none);
	hbmfs_mount_close(NULL);
}

/* A handle is forgotten when it is released, and only then. */
static void test_handles(int file)
{
	struct hbmfs_options nothing = { .device = 99 }, too_many = { .segments = HBMFS_LEASE_SEGMENTS + 1 };
	struct hbmfs_lease lease = { 0 };
	const void *bytes;

	WANT(!hbmfs_release(file, &lease.head.handle));
	WANT(!hbmfs_fetch(file, 0, 4096, NULL, &lease) && lease.head.fetched == 4096 && lease.head.handle);
	__u64 handle = lease.head.handle;
	WANT(hbmfs_fetch(file, 0, ~0ull, NULL, &lease) == -EINVAL && lease.head.handle == handle);
	WANT(hbmfs_fetch(file, 0, 4096, &too_many, &lease) == -EINVAL && lease.head.handle == handle);
	WANT(hbmfs_fetch(-1, 0, 4096, NULL, &lease) == -EBADF && lease.head.handle == handle);
	WANT(hbmfs_fetch(file, 0, 4096, &nothing, &lease) == -ENODEV && !lease.head.handle && !lease.head.segment_count);
	WANT(hbmfs_release(file, &handle) == -ENOENT && handle);
	WANT(!hbmfs_fetch(file, 4096, 4096, NULL, &lease));
	WANT(!hbmfs_release(file, &lease.head.handle) && !lease.head.handle);
	lease.head.handle = 1ull << 60;
	WANT(hbmfs_fetch(file, 0, 4096, NULL, &lease) == -ENOENT && lease.head.handle == 1ull << 60);
	lease.head.handle = 0;
	WANT(!hbmfs_fetch(file, 1ull << 50, 4096, NULL, &lease) && !lease.head.fetched && !lease.head.handle);
	for (int i = 0; i < 3; i++, lease.head.handle = 0)
		WANT(!hbmfs_fetch(file, 0, 4096, NULL, &lease));
	WANT(hbmfs_release_all(file) == 3 && hbmfs_release_all(file) == 0);
	WANT(hbmfs_bytes(mount, 1u << 31, 0, 1, &bytes) == -ENOENT);
	WANT(hbmfs_bytes(mount, lease.segments[0].region, ~0ull - 1, 4, &bytes) == -EPROTO);
}

static void on_alarm(int signal) { (void)signal; }

/* A wait for room is broken off by a signal, and the handle that was released is not named again. */
static void test_interrupted(int file)
{
	struct hbmfs_options wait = { .wait_ms = 60000, .flags = HBMFS_FETCH_RANDOM };
	struct hbmfs_lease all = { 0 }, lease = { 0 };
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_interval = { 0, 100000 }, .it_value = { 0, 100000 } }, never = { 0 };
	struct hbmfs_info info;
	int r;

	WANT(!hbmfs_info(file, &info) && info.abi_version == HBMFS_ABI_VERSION && info.device_count >= 1);
	WANT(!hbmfs_fetch(file, 0, 4096, NULL, &lease) && lease.head.handle);
	for (__u64 at = 0; !(r = hbmfs_fetch(file, at, 1 << 20, NULL, &all)); at += 1 << 20)
		all.head.handle = 0;
	WANT(r == -ENOSPC);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	WANT(hbmfs_fetch(file, 64 << 20, 2 << 20, &wait, &lease) == -EINTR && !lease.head.handle);
	WANT(hbmfs_fetch(file, 64 << 20, 2 << 20, &wait, &lease) == -EINTR && !lease.head.handle);
	setitimer(ITIMER_REAL, &never, NULL);
	WANT(hbmfs_release_all(file) > 0);
	WANT(!hbmfs_fetch(file, 64 << 20, 2 << 20, &wait, &lease) && !hbmfs_release(file, &lease.head.handle));
}

static void *map(void *segment)
{
	const void *bytes = NULL;

	WANT(!hbmfs_segment_bytes(mount, (const struct hbmfs_segment *)segment, &bytes));
	return (void *)bytes;
}

/* Threads that map a region at the same time find it once. */
static void test_threads(int file)
{
	struct hbmfs_lease lease = { 0 };
	pthread_t threads[8];
	void *first = NULL, *bytes;
	__u64 offset, length;

	WANT(!hbmfs_fetch(file, 0, 4096, NULL, &lease));
	for (int i = 0; i < 8; i++)
		WANT(!pthread_create(&threads[i], NULL, map, &lease.segments[0]));
	for (int i = 0; i < 8; i++, first = bytes)
		WANT(!pthread_join(threads[i], &bytes) && (!first || first == bytes));
	int fd = hbmfs_region(mount, lease.segments[0].region, &offset, &length);
	WANT(fd >= 0 && length >= 4096 && !close(fd));
	WANT(hbmfs_region_dmabuf(mount, lease.segments[0].region, &offset, &length) == -EPERM);
	WANT(!hbmfs_release(file, &lease.head.handle));
}

static void test_batch(int directory, int count, char **names)
{
	static struct hbmfs_batch_lease lease;
	struct hbmfs_want *wants = calloc(count + 1, sizeof(*wants));
	struct hbmfs_options wait = { .wait_ms = 1 };

	for (int i = 0; i < count; i++)
		wants[i] = (struct hbmfs_want){ .name = names[i], .length = 4096 };
	wants[count] = (struct hbmfs_want){ .name = "no such", .length = 1 };
	WANT(hbmfs_batch(directory, wants, 0, NULL, &lease) == -EINVAL);
	WANT(hbmfs_batch(directory, wants, 1, &wait, &lease) == -EINVAL);
	WANT(hbmfs_batch(directory, wants, count + 1, NULL, &lease) == count + 1 && lease.head.failed == 1);
	WANT(hbmfs_batch_result(&lease, count)->error == ENOENT && !hbmfs_batch_result(&lease, 0)->error);
	WANT(hbmfs_batch_into(directory, wants, 1, 1, &lease) == -EINVAL && lease.head.handle);
	WANT(hbmfs_batch(directory, wants, 1, NULL, &lease) == 1 && lease.head.handle);
	WANT(!hbmfs_release(directory, &lease.head.handle) && hbmfs_release_all(directory) == 0);
	free(wants);
}

/* What comes into a buffer is what comes into device memory. */
static void test_into(int directory, int count, char **names)
{
	static struct hbmfs_batch_lease into, lease;
	struct hbmfs_want *wants = calloc(count, sizeof(*wants));
	struct hbmfs_buffer buffer;
	const void *bytes;

	WANT(!hbmfs_buffer_make(mount, 0, 8192ull * count, &buffer));
	memset(buffer.bytes, 0x55, buffer.length);
	for (int i = 0; i < count; i++)
		wants[i] = (struct hbmfs_want){ .name = names[i], .length = 4096, .buffer_offset = 8192ull * i + 77 };
	WANT(hbmfs_batch_into(directory, wants, count, buffer.number, &into) == count && !into.head.failed && !into.head.handle);
	WANT(hbmfs_batch(directory, wants, count, NULL, &lease) == count && !lease.head.failed);
	for (int i = 0; i < count; i++) {
		const struct hbmfs_batch_entry *e = hbmfs_batch_result(&into, i);
		const char *at = (char *)buffer.bytes + wants[i].buffer_offset;
		WANT(e->fetched && e->fetched == hbmfs_batch_result(&lease, i)->fetched && !e->segment_count);
		WANT(!hbmfs_segment_bytes(mount, hbmfs_batch_segments(&lease, i), &bytes));
		WANT(!memcmp(at, bytes, e->fetched) && at[-1] == 0x55 && at[e->fetched] == 0x55);
	}
	WANT(!hbmfs_release(directory, &lease.head.handle));
	WANT(hbmfs_batch_into(directory, wants, count, buffer.number + 1, &into) < 0 || into.head.failed == (__u32)count);
	WANT(!hbmfs_buffer_free(mount, &buffer) && !buffer.bytes);
	WANT(hbmfs_buffer_make(mount, 0, 1ull << 45, &buffer) == -ENOMEM && hbmfs_buffer_make(mount, 0, 0, &buffer) == -EINVAL);
	WANT(hbmfs_buffer_unregister(mount, 12345) == -ENOENT);
	WANT(hbmfs_buffer_register(mount, -1, 0, 0, 4096, &buffer.number) == -EBADF);
	WANT(hbmfs_buffer_register(mount, 0, 0, 0, 4096, &buffer.number) < 0);
	free(wants);
}

/* Asks a ring for one thing, and returns the answer. */
static struct hbmfs_ring_done ask_ring(struct hbmfs_queue *queue, struct hbmfs_ring_op what, const char *name)
{
	struct hbmfs_ring_op *op = hbmfs_ring_get(queue);
	struct hbmfs_ring_done done;

	WANT(op);
	*op = what;
	op->user_data = 17;
	WANT(!name || !hbmfs_ring_name(queue, op, name));
	WANT(!hbmfs_ring_submit(queue) && hbmfs_ring_wait(queue, 1, 20000) == 1);
	WANT(hbmfs_ring_reap(queue, &done, 9) == 1 && done.user_data == 17);
	return done;
}

/* A ring fills a buffer by name as a batch does. */
static void test_ring_into(struct hbmfs_queue *queue, __u32 dir, const char *name)
{
	struct hbmfs_buffer buffer;
	struct hbmfs_ring_op into = { .op = HBMFS_RING_FETCH_INTO, .file = dir, .length = 4096, .buffer_offset = 4096 };
	struct hbmfs_ring_op pinned = { .op = HBMFS_RING_FETCH, .file = dir, .length = 4096 };
	const void *bytes;

	WANT(!hbmfs_buffer_make(mount, 0, 8192, &buffer));
	into.buffer = buffer.number;
	struct hbmfs_ring_done first = ask_ring(queue, into, name), then = ask_ring(queue, pinned, name);
	WANT(!first.error && !first.handle && first.length && !then.error && then.length == first.length);
	WANT(!hbmfs_bytes(mount, then.region, then.region_offset, then.length, &bytes));
	WANT(!memcmp((char *)buffer.bytes + 4096, bytes, first.length));
	WANT(!hbmfs_buffer_free(mount, &buffer));
	WANT(ask_ring(queue, into, name).error == ENOENT);
	WANT(!ask_ring(queue, (struct hbmfs_ring_op){ .op = HBMFS_RING_RELEASE, .handle = then.handle }, NULL).error);
}

/* What a ring fetches by name is what a batch does; what it refuses it says. */
static void test_ring(int file, int directory, int count, char **names)
{
	static struct hbmfs_batch_lease lease;
	struct hbmfs_queue *queue;
	struct hbmfs_ring_done done = { 0 };
	const void *of_ring, *of_batch;
	__u32 number, dir;

	WANT(!hbmfs_ring_open(mount, 4, 64, &queue));
	WANT(hbmfs_ring_add(queue, 0, &number) < 0);
	WANT(!hbmfs_ring_add(queue, file, &number) && !hbmfs_ring_add(queue, directory, &dir) && number != dir);
	for (int i = 0; i < count; i++) {
		struct hbmfs_want want = { .name = names[i], .length = 4096 };
		done = ask_ring(queue, (struct hbmfs_ring_op){ .op = HBMFS_RING_FETCH, .file = dir, .length = 4096, .handle = done.handle }, names[i]);
		WANT(!done.error && done.handle && done.length && done.file_size);
		WANT(!hbmfs_bytes(mount, done.region, done.region_offset, done.length, &of_ring));
		WANT(hbmfs_batch(directory, &want, 1, NULL, &lease) == 1 && hbmfs_batch_result(&lease, 0)->fetched == done.length);
		WANT(!hbmfs_segment_bytes(mount, hbmfs_batch_segments(&lease, 0), &of_batch));
		WANT(!memcmp(of_ring, of_batch, done.length));
	}
	test_ring_into(queue, dir, names[0]);
	struct hbmfs_ring_op release = { .op = HBMFS_RING_RELEASE, .handle = done.handle };
	WANT(!ask_ring(queue, release, NULL).error && ask_ring(queue, release, NULL).error == ENOENT);
	WANT(ask_ring(queue, (struct hbmfs_ring_op){ .op = HBMFS_RING_FETCH, .file = dir, .length = 1 }, "no such").error == ENOENT);
	WANT(ask_ring(queue, (struct hbmfs_ring_op){ .op = HBMFS_RING_FETCH, .file = dir, .length = 1 }, NULL).error == EISDIR);
	WANT(ask_ring(queue, (struct hbmfs_ring_op){ .op = HBMFS_RING_CANCEL, .handle = 3 }, NULL).error == ENOENT);
	WANT(ask_ring(queue, (struct hbmfs_ring_op){ .op = 999 }, NULL).error == ENOTTY);
	WANT(!hbmfs_ring_remove(queue, file, number) && hbmfs_ring_remove(queue, file, number) == -ENOENT);
	WANT(ask_ring(queue, (struct hbmfs_ring_op){ .op = HBMFS_RING_FETCH, .file = number, .length = 1 }, NULL).error == EBADF);
	WANT(!hbmfs_release(directory, &lease.head.handle));
	hbmfs_ring_close(queue);
	hbmfs_ring_close(NULL);
	WANT(hbmfs_ring_open(mount, 3, 0, &queue) == -EINVAL && !queue);
}

static int wait_for_the_end(int file)
{
	struct hbmfs_queue *queue;
	struct hbmfs_ring_op fetch = { .op = HBMFS_RING_FETCH, .length = 4096 };

	WANT(!hbmfs_ring_open(mount, 4, 64, &queue) && !hbmfs_ring_add(queue, file, &fetch.file));
	WANT(ask_ring(queue, fetch, NULL).handle);
	puts("waiting");
	fflush(stdout);
	WANT(hbmfs_ring_wait(queue, 1, -1) == -ECONNABORTED);
	hbmfs_ring_close(queue);
	return 0;
}

static int open_files(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

int main(int argc, char **argv)
{
	int before = open_files();
	WANT(argc > 1 && !hbmfs_mount_open(argv[1], &mount));
	int file = hbmfs_open(mount, argv[1]);
	WANT(file >= 0);
	if (argc == 2)
		return wait_for_the_end(file);
	int directory = hbmfs_open(mount, argv[2]);
	WANT(directory >= 0);
	test_elsewhere(argv[2]);
	test_handles(file);
	test_interrupted(file);
	test_threads(file);
	test_batch(directory, argc - 3, argv + 3);
	test_into(directory, argc - 3, argv + 3);
	test_ring(file, directory, argc - 3, argv + 3);
	close(file);
	close(directory);
	hbmfs_mount_close(mount);
	WANT(open_files() == before);
	return 0;
}
