/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch FILE MOUNT/.hbmfs/ctl: writes a file of an hbmfs mount to stdout, out of
 * the device memory that the mount put it in.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hbmfs.h"

#define ROOM 16 /* segments in one answer */

/* How much to fetch at once: what is pinned has to fit into the pool. */
static __u64 window(int file)
{
	struct hbmfs_info info = { .size = sizeof(info) };

	if (ioctl(file, HBMFS_IOC_INFO, &info) < 0)
		err(1, "not a file of an hbmfs mount");
	return info.devices[0].pool / info.extent_size >= ROOM ? 4 << 20 : info.extent_size;
}

/* Asks the mount for a region and maps it. */
static const char *map_region(int ctl, __u32 region)
{
	struct hbmfs_ctl_request request = { .size = sizeof(request), .op = HBMFS_CTL_REGION, .region = region };
	struct hbmfs_ctl_reply reply;
	union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
	struct iovec iov = { &reply, sizeof(reply) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int fd;

	if (send(ctl, &request, sizeof(request), 0) < 0 || recvmsg(ctl, &msg, MSG_CMSG_CLOEXEC) != sizeof(reply))
		err(1, "region %u", region);
	if (reply.error || !CMSG_FIRSTHDR(&msg))
		errx(1, "region %u: %s", region, reply.error ? strerror(reply.error) : "no descriptor");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	const char *bytes = mmap(NULL, reply.length, PROT_READ, MAP_SHARED, fd, (off_t)reply.fd_offset);
	if (bytes == MAP_FAILED)
		err(1, "map region %u", region);
	close(fd); /* the mapping stays */
	return bytes;
}

int main(int argc, char **argv)
{
	if (argc != 3 || strlen(argv[2]) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		errx(2, "usage: fetch FILE MOUNT/.hbmfs/ctl");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strcpy(address.sun_path, argv[2]);
	int ctl = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (ctl < 0 || connect(ctl, (struct sockaddr *)&address, sizeof(address)) < 0)
		err(1, "%s", argv[2]);
	int file = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (file < 0)
		err(1, "%s", argv[1]);

	struct { struct hbmfs_fetch head; struct hbmfs_segment segments[ROOM]; } answer = { 0 };
	static struct { __u32 region; const char *bytes; } mapped[64];
	__u64 offset = 0, length = window(file);
	do { /* each fetch releases the one before */
		__u64 release = answer.head.handle;
		answer.head = (struct hbmfs_fetch){ .size = sizeof(answer.head), .offset = offset, .length = length, .release = release };
		if (ioctl(file, HBMFS_IOC_FETCH(ROOM), &answer) < 0)
			err(1, "fetch %s at %llu", argv[1], (unsigned long long)offset);
		for (__u32 i = 0; i < answer.head.segment_count; i++) {
			const struct hbmfs_segment *s = &answer.segments[i];
			size_t m = 0;
			while (mapped[m].bytes && mapped[m].region != s->region)
				if (++m == sizeof(mapped) / sizeof(mapped[0]))
					errx(1, "more regions than this example maps");
			if (!mapped[m].bytes) {
				mapped[m].region = s->region;
				mapped[m].bytes = map_region(ctl, s->region);
			}
			if (fwrite(mapped[m].bytes + s->region_offset, 1, s->length, stdout) != s->length)
				err(1, "stdout");
		}
		offset += answer.head.fetched;
	} while (answer.head.fetched > 0 && offset < answer.head.file_size);
	return fflush(stdout) ? 1 : 0; /* exit closes the file, which releases the last handle */
}
