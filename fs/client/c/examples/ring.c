/* SPDX-License-Identifier: Apache-2.0 */
/* ring FILE: writes a file of an hbmfs mount to stdout, with many fetches under way at once. */
#include <err.h>
#include <errno.h>
#include <stdio.h>

#include "hbmfs_client.h"

#define DEPTH 16
#define WINDOW (64 << 10)

static int check(int r, const char *what)
{
	if (r < 0)
		errno = -r, err(1, "%s", what);
	return r;
}

int main(int argc, char **argv)
{
	struct hbmfs_mount *mount;
	struct hbmfs_queue *queue;
	struct hbmfs_ring_done got[DEPTH] = { { 0 } }, done;
	__u64 offset = 0;
	__u32 number;
	const void *bytes;

	if (argc != 2)
		errx(2, "usage: ring FILE");
	check(hbmfs_mount_open(argv[1], &mount), argv[1]);
	int file = check(hbmfs_open(mount, argv[1]), argv[1]);
	check(hbmfs_ring_open(mount, DEPTH, 0, &queue), "ring");
	check(hbmfs_ring_add(queue, file, &number), "register");
	do {
		for (int i = 0; i < DEPTH; i++) {
			struct hbmfs_ring_op *op = hbmfs_ring_get(queue);
			op->op = HBMFS_RING_FETCH, op->file = number, op->user_data = i;
			op->offset = offset + i * WINDOW, op->length = WINDOW;
			op->handle = got[i].handle; /* of the round before, released first */
		}
		check(hbmfs_ring_submit(queue), "submit");
		check(hbmfs_ring_wait(queue, DEPTH, -1), "wait");
		while (hbmfs_ring_reap(queue, &done, 1))
			got[done.user_data] = done;
		for (int i = 0, more = 1; i < DEPTH && more; i++) {
			check(-got[i].error, "fetch");
			more = got[i].length == WINDOW; /* else it is the end, or was cut short */
			if (got[i].length == 0)
				break;
			check(hbmfs_bytes(mount, got[i].region, got[i].region_offset, got[i].length, &bytes), "map");
			fwrite(bytes, 1, got[i].length, stdout);
			offset += got[i].length;
		}
	} while (offset < got[0].file_size);
	hbmfs_ring_close(queue); /* which releases what it holds */
	hbmfs_mount_close(mount);
	return fflush(stdout) ? 1 : 0;
}
