/* SPDX-License-Identifier: Apache-2.0 */
/* batch DIRECTORY NAME...: writes files beneath a directory to stdout, fetched many at once. */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "hbmfs_client.h"

#define LENGTH (128 << 10) /* of each file */

static int check(int r, const char *what)
{
	if (r < 0)
		errno = -r, err(1, "%s", what);
	return r;
}

int main(int argc, char **argv)
{
	struct hbmfs_mount *mount;
	static struct hbmfs_batch_lease lease;
	const void *bytes;

	if (argc < 3)
		errx(2, "usage: batch DIRECTORY NAME...");
	check(hbmfs_mount_open(argv[1], &mount), argv[1]);
	int directory = check(hbmfs_open(mount, argv[1]), argv[1]), count = argc - 2;
	struct hbmfs_want *wants = calloc(count, sizeof(*wants));
	for (int i = 0; i < count; i++)
		wants[i].name = argv[2 + i], wants[i].length = LENGTH;
	for (int done = 0, n; done < count; done += n) { /* each call releases what the one before fetched */
		n = check(hbmfs_batch(directory, wants + done, count - done, NULL, &lease), "batch");
		for (int i = 0; i < n; i++) {
			const struct hbmfs_batch_entry *e = hbmfs_batch_result(&lease, i);
			const struct hbmfs_segment *s = hbmfs_batch_segments(&lease, i);
			check(-e->error, wants[done + i].name);
			for (int j = 0; j < e->segment_count; j++) {
				check(hbmfs_segment_bytes(mount, &s[j], &bytes), "map");
				fwrite(bytes, 1, s[j].length, stdout);
			}
		}
	}
	check(hbmfs_release(directory, &lease.head.handle), "release");
	hbmfs_mount_close(mount);
	free(wants);
	return fflush(stdout) ? 1 : 0;
}
