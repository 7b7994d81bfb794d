/* SPDX-License-Identifier: Apache-2.0 */
/* fetch FILE: writes a file of an hbmfs mount to stdout, out of device memory. */
#include <err.h>
#include <errno.h>
#include <stdio.h>

#include "hbmfs_client.h"

#define WINDOW (1 << 20) /* what is pinned has to fit into the pool */

static int check(int r, const char *what)
{
	if (r < 0)
		errno = -r, err(1, "%s", what);
	return r;
}

int main(int argc, char **argv)
{
	struct hbmfs_mount *mount;
	struct hbmfs_lease lease = { 0 };
	const void *bytes;
	__u64 offset = 0;

	if (argc != 2)
		errx(2, "usage: fetch FILE");
	check(hbmfs_mount_open(argv[1], &mount), argv[1]);
	int file = check(hbmfs_open(mount, argv[1]), argv[1]);
	do { /* each fetch releases the one before */
		check(hbmfs_fetch(file, offset, WINDOW, NULL, &lease), "fetch");
		for (__u32 i = 0; i < lease.head.segment_count; i++) {
			check(hbmfs_segment_bytes(mount, &lease.segments[i], &bytes), "map");
			fwrite(bytes, 1, lease.segments[i].length, stdout);
		}
		offset += lease.head.fetched;
	} while (lease.head.fetched > 0 && offset < lease.head.file_size);
	check(hbmfs_release(file, &lease.head.handle), "release");
	hbmfs_mount_close(mount);
	return fflush(stdout) ? 1 : 0;
}
