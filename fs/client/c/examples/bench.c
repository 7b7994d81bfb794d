/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench FILE [SECONDS]: how many fetches of 4 KiB that are in device memory one thread
 * gets in a second: by ioctl, each releasing the one before, and by a ring, one or 64 at
 * a time. A line each: what, operations, per second, how many were no hits.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hbmfs_client.h"

#define LENGTH 4096
#define RANGES 1024 /* different ones */
#define DEPTH 64

static double seconds = 2;
static struct hbmfs_mount *mount;
static int file;
static __u64 ranges;

static int check(int r, const char *what)
{
	if (r < 0)
		errno = -r, err(1, "%s", what);
	return r;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Where operation n fetches: scattered, and each range once before one comes again. */
static __u64 offset_of(__u64 n) { return n * 389 % ranges * LENGTH; }

static void fetch(__u64 n, struct hbmfs_lease *lease)
{
	struct hbmfs_options options = { .flags = HBMFS_FETCH_RANDOM, .segments = 4 };

	check(hbmfs_fetch(file, offset_of(n), LENGTH, &options, lease), "fetch");
}

static void report(const char *what, __u64 done, __u64 misses, double since)
{
	printf("%-8s %10llu %12.0f /s %8llu misses\n", what, (unsigned long long)done, (double)done / (now() - since),
	       (unsigned long long)misses);
}

static void by_ioctl(void)
{
	struct hbmfs_lease lease = { 0 };
	__u64 n = 0, misses = 0;
	double since = now();

	for (; now() < since + seconds; n++) {
		fetch(n, &lease);
		misses += !(lease.segments[0].flags & HBMFS_SEGMENT_HIT);
	}
	report("ioctl", n, misses, since);
	check(hbmfs_release(file, &lease.head.handle), "release");
}

static void put(struct hbmfs_queue *queue, __u32 number, __u64 n, __u64 release)
{
	struct hbmfs_ring_op *op = hbmfs_ring_get(queue);

	if (!op)
		errx(1, "the ring is full");
	op->op = HBMFS_RING_FETCH;
	op->file = number;
	op->offset = offset_of(n);
	op->length = LENGTH;
	op->handle = release;
}

/* Keeps depth operations under way: each completion makes room for one, which releases it. */
static void by_ring(const char *what, int depth)
{
	struct hbmfs_ring_done done[DEPTH];
	struct hbmfs_queue *queue;
	__u64 n = 0, misses = 0;
	__u32 number, asked = 0;

	check(hbmfs_ring_open(mount, DEPTH, 0, &queue), "ring");
	check(hbmfs_ring_add(queue, file, &number), "register");
	double since = now();
	for (; (int)asked < depth; asked++)
		put(queue, number, asked, 0);
	while (now() < since + seconds) {
		check(hbmfs_ring_submit(queue), "submit");
		check(hbmfs_ring_wait(queue, 1, -1), "wait");
		int ready = (int)hbmfs_ring_reap(queue, done, DEPTH);
		for (int i = 0; i < ready; i++, n++) {
			check(-done[i].error, "fetch");
			misses += !(done[i].flags & HBMFS_RING_HIT);
			put(queue, number, n + depth, done[i].handle);
		}
	}
	report(what, n, misses, since);
	hbmfs_ring_close(queue);
}

int main(int argc, char **argv)
{
	struct hbmfs_lease lease = { 0 };

	if (argc < 2 || argc > 3 || (argc == 3 && (seconds = atof(argv[2])) <= 0))
		errx(2, "usage: bench FILE [SECONDS]");
	check(hbmfs_mount_open(argv[1], &mount), argv[1]);
	file = check(hbmfs_open(mount, argv[1]), argv[1]);
	ranges = 1;
	fetch(0, &lease);
	ranges = lease.head.file_size / LENGTH < RANGES ? lease.head.file_size / LENGTH : RANGES;
	if (!ranges)
		errx(1, "%s is shorter than %d bytes", argv[1], LENGTH);
	for (__u64 n = 0; n < ranges; n++)
		fetch(n, &lease);
	check(hbmfs_release(file, &lease.head.handle), "release");
	by_ioctl();
	by_ring("depth 1", 1);
	by_ring("depth 64", DEPTH);
	hbmfs_mount_close(mount);
	return fflush(stdout) ? 1 : 0;
}
