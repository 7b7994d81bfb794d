/* SPDX-License-Identifier: Apache-2.0 */
/*
 * growth FILE: every ioctl on a file of a mount, by a program that was compiled
 * with the structures of another version. Says what INFO and DIGEST answered.
 * With -DNEWER, the four structures end in `later`; with -DOLDER, FETCH's has no wait_ms.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hbmfs.h"

/* A structure of the caller's, all stale but for what has to be 0. */
#ifdef NEWER
#define STALE(x) (memset(&(x), 0xA5, sizeof(x)), memset((x).later, 0, sizeof((x).later)))
#else
#define STALE(x) memset(&(x), 0xA5, sizeof(x))
#endif

static void check_later(const char *what, const void *later, size_t n)
{
	const char *bytes = later;

	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			errx(1, "%s: the mount set what it does not know", what);
}

#ifdef NEWER
#define CHECK_LATER(what, x) check_later(what, (x).later, sizeof((x).later))
/* A request that needs a newer mount is refused, and answered with nothing. */
#define CHECK_REFUSED(what, file, cmd, x)                                 \
	do {                                                              \
		(x).later[1] = 1;                                         \
		if (ioctl(file, cmd, &(x)) == 0 || errno != E2BIG)        \
			err(1, what " with a newer member is not E2BIG"); \
		(x).later[1] = 0;                                         \
	} while (0)
#else
#define CHECK_LATER(what, x) check_later(what, &(x), 0)
#define CHECK_REFUSED(what, file, cmd, x) do { } while (0)
#endif

static void info(int file)
{
	struct hbmfs_info i;

	STALE(i);
	i.size = sizeof(i);
	i.flags = i.zero = 0;
	CHECK_REFUSED("INFO", file, HBMFS_IOC_INFO, i);
	if (ioctl(file, HBMFS_IOC_INFO, &i) < 0)
		err(1, "INFO");
	CHECK_LATER("INFO", i);
	printf("size %u version %u devices %u transports %u extent %llu\n", i.size == sizeof(i), i.abi_version,
	       i.device_count, i.transport_count, (unsigned long long)i.extent_size);
}

static void digest(int file, __u64 length)
{
	struct hbmfs_digest d;

	STALE(d);
	d.size = sizeof(d);
	d.flags = 0;
	d.offset = 0;
	d.length = length;
	CHECK_REFUSED("DIGEST", file, HBMFS_IOC_DIGEST, d);
	if (ioctl(file, HBMFS_IOC_DIGEST, &d) < 0)
		err(1, "DIGEST");
	CHECK_LATER("DIGEST", d);
	for (size_t i = 0; i < sizeof(d.sha256); i++)
		printf("%02x", d.sha256[i]);
	putchar('\n');
}

/* Fetches the file, whose last byte is in the second extent, and returns its size. */
static __u64 fetch(int file)
{
	struct { struct hbmfs_fetch head; struct hbmfs_segment segments[3]; } f;
	struct hbmfs_release r;

	memset(f.segments, 0xA5, sizeof(f.segments));
	STALE(f.head);
	f.head.size = sizeof(f.head);
	f.head.flags = f.head.device = f.head.segment_count = 0;
	f.head.offset = f.head.release = 0;
	f.head.length = 1 << 30;
#ifndef OLDER
	f.head.flags = HBMFS_FETCH_WAIT;
	f.head.wait_ms = 1000;
	f.head.zero = 0;
#endif
	CHECK_REFUSED("FETCH", file, HBMFS_IOC_FETCH(3), f.head);
	if (ioctl(file, HBMFS_IOC_FETCH(3), &f) < 0)
		err(1, "FETCH");
	CHECK_LATER("FETCH", f.head);
	if (!f.head.handle || f.head.size != sizeof(f.head) || f.head.segment_count != 2 || f.head.fetched != f.head.file_size ||
	    f.segments[0].length + f.segments[1].length != f.head.fetched || f.segments[1].file_offset != f.segments[0].length ||
	    !f.segments[1].region)
		errx(1, "FETCH: %u segments of %llu bytes", f.head.segment_count, (unsigned long long)f.head.fetched);
	check_later("FETCH: the third segment", &f.segments[2], sizeof(f.segments[2]));

	STALE(r);
	r.size = sizeof(r);
	r.flags = 0;
	r.handle = f.head.handle;
	CHECK_REFUSED("RELEASE", file, HBMFS_IOC_RELEASE, r);
	if (ioctl(file, HBMFS_IOC_RELEASE, &r) < 0)
		err(1, "RELEASE");
	CHECK_LATER("RELEASE", r);
	if (r.released != 1)
		errx(1, "RELEASE: %llu handles", (unsigned long long)r.released);
	return f.head.file_size;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		errx(2, "usage: growth FILE");
	int file = open(argv[1], O_RDONLY);
	if (file < 0)
		err(1, "%s", argv[1]);
	info(file);
	digest(file, fetch(file));
	return fflush(stdout) ? 1 : 0;
}
