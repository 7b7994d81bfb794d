/* SPDX-License-Identifier: Apache-2.0 */
/* into FILE: writes a file of an hbmfs mount to stdout, out of memory of its own that the mount has filled. */
#include <err.h>
#include <errno.h>
#include <stdio.h>

#include "hbmfs_client.h"

#define WINDOW (1 << 20)

static int check(int r, const char *what)
{
	if (r < 0)
		errno = -r, err(1, "%s", what);
	return r;
}

int main(int argc, char **argv)
{
	struct hbmfs_mount *mount;
	struct hbmfs_buffer buffer;
	struct hbmfs_fetch_into got;
	__u64 offset = 0;

	if (argc != 2)
		errx(2, "usage: into FILE");
	check(hbmfs_mount_open(argv[1], &mount), argv[1]);
	int file = check(hbmfs_open(mount, argv[1]), argv[1]);
	check(hbmfs_buffer_make(mount, 0, WINDOW, &buffer), "buffer");
	do {
		check(hbmfs_fetch_into(file, offset, WINDOW, buffer.number, 0, &got), "fetch");
		fwrite(buffer.bytes, 1, got.fetched, stdout);
		offset += got.fetched;
	} while (got.fetched > 0 && offset < got.file_size);
	check(hbmfs_buffer_free(mount, &buffer), "free");
	hbmfs_mount_close(mount);
	return fflush(stdout) ? 1 : 0;
}
