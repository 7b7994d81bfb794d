/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbmfs_client.h - bytes of an hbmfs mount in device memory, for C and C++.
 *
 * The library is hbmfs_client.c, and needs nothing but libc and the kernel's headers:
 *
 *     cc -I fs/client/c -I fs/uapi my.c fs/client/c/hbmfs_client.c
 *
 * What the calls mean, to the mount, is in hbmfs.h; here is how they are made. The
 * structures of hbmfs.h are used as they are: offsets and lengths are in bytes.
 *
 * A function that can fail returns a negative errno, and otherwise 0 or what it says.
 * Each may answer what hbmfs.h lists for its call, and
 *
 * -EINTR      a signal came: nothing was done, but for the release of an earlier handle
 *             where one was to be released. Call again with the same arguments
 * -EPROTO     the mount broke the ABI
 * -ETIMEDOUT  .hbmfs/ctl did not answer within ten seconds
 *
 * Threads may make any calls at the same time, but for two on the same structure of the
 * caller's, and where it is said otherwise. After a fork without exec, the child opens
 * mounts and rings of its own; what the parent has mapped it may read.
 */
#ifndef HBMFS_CLIENT_H
#define HBMFS_CLIENT_H

#include <stddef.h>

#include "hbmfs.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A mount as this process uses it: the way to its .hbmfs/ctl, and the regions mapped so
 * far. It holds no file of the mount open.
 */
struct hbmfs_mount;

/*
 * Opens the mount that path lies in, a file or directory of it that may be read. The
 * control socket is connected to when it is first needed. The mount is the caller's, to
 * be closed. -ENOTTY: path is not in an hbmfs mount; else as open(2).
 */
int hbmfs_mount_open(const char *path, struct hbmfs_mount **mount);

/*
 * Unmaps all regions, ends its buffers, and frees the mount: what hbmfs_bytes returned is
 * not to be touched any more. Files and rings stay open. No other call with the mount may
 * be under way. NULL is no mount, and nothing is done.
 */
void hbmfs_mount_close(struct hbmfs_mount *mount);

/*
 * Opens a file or directory of the mount to fetch from, and returns its descriptor, for
 * close(2), which releases its handles once no fork has it open either. As open(2), and
 * -EXDEV: it is in another file system. -ENXIO: it is no regular file, and no directory.
 */
int hbmfs_open(struct hbmfs_mount *mount, const char *path);

/* What the mount is that a file or directory is of. */
int hbmfs_info(int file, struct hbmfs_info *info);

/* What a fetch can be asked for. All 0, or NULL in its place, is what most want. */
struct hbmfs_options {
	__u32 device;   /* the id of one of INFO's devices */
	__u32 flags;    /* HBMFS_FETCH_RANDOM or _SEQUENTIAL; HBMFS_FETCH_LOAN */
	__u32 wait_ms;  /* how long to wait for room, up to HBMFS_WAIT_MS_MAX; 0: not */
	__u32 segments; /* room for so many, from 1 up; 0: the most that make sense */
};

#define HBMFS_LEASE_SEGMENTS 64

/*
 * A range of a file in device memory: head.handle pins the segments until it is released
 * or the file is closed. It begins as all 0, and is used again and again; one thread at
 * a time.
 */
struct hbmfs_lease {
	struct hbmfs_fetch head; /* handle (0: none), fetched, cursor, file_size, path, why, flags */
	struct hbmfs_segment segments[HBMFS_LEASE_SEGMENTS]; /* head.segment_count of them */
};

/*
 * Brings length bytes from offset into device memory, pins them, and returns once the
 * device sees them. A handle that lease has is released first; it must be of this file.
 * A range past the end is cut short: head.fetched tells, and head.cursor, if not 0, the
 * offset to go on from.
 *
 * After an error lease has no segments, and still the handle only where that was not
 * released (-E2BIG, -EINVAL, -ENOENT, -EBADF, -ENOTTY). So the call may be made anew with
 * it, after -EINTR and -EAGAIN too; the wait for room then begins anew.
 */
int hbmfs_fetch(int file, __u64 offset, __u64 length, const struct hbmfs_options *options, struct hbmfs_lease *lease);

/*
 * Releases the handle, which file has fetched, and sets it to 0. 0 is no handle, and
 * nothing is done. -ENOENT: the file has no such handle.
 */
int hbmfs_release(int file, __u64 *handle);

/* Releases all handles of file; returns how many. */
int hbmfs_release_all(int file);

/*
 * Points bytes to length bytes of a region, read-only. They are what a handle pins as
 * long as that is held, and those of something else afterwards. The region is mapped when
 * it is first used, and stays so until the mount is closed. Once it is, this takes no
 * lock and makes no system call.
 *
 * -EOPNOTSUPP  the CPU can't address the device's memory
 * -ENOMEM      it can't be mapped
 * -ESTALE      another file system is mounted there by now
 * -ENOENT      no such region; or .hbmfs is not found, where a file of the mount alone is
 *              visible (bind mounts)
 */
int hbmfs_bytes(struct hbmfs_mount *mount, __u32 region, __u64 region_offset, __u64 length, const void **bytes);

/* hbmfs_bytes of a segment. */
int hbmfs_segment_bytes(struct hbmfs_mount *mount, const struct hbmfs_segment *segment, const void **bytes);

/*
 * Returns a descriptor of a region, the caller's to close, to import into a device, with
 * where in it the region starts and its length. Errors as hbmfs_bytes.
 */
int hbmfs_region(struct hbmfs_mount *mount, __u32 region, __u64 *offset, __u64 *length);

/* A range that a batch asks for. */
struct hbmfs_want {
	const char *name; /* beneath the directory; NULL: the open file itself */
	__u64 offset;
	__u64 length;
};

/*
 * What a batch has fetched: head.handle pins it all. It begins as all 0, and is used again
 * and again; one thread at a time.
 */
struct hbmfs_batch_lease {
	struct hbmfs_batch head; /* handle (0: none), failed */
	unsigned char room[HBMFS_BATCH_MAX - sizeof(struct hbmfs_batch)];
};

/*
 * Fetches as many of count ranges, from the first on, as a call has room for, about 150,
 * with one call, and returns how many those are; the others are for the next call. Each
 * has a result, and may have failed for itself; head.failed tells how many have.
 *
 * file is a directory, with a name each, or a file, with none. lease's handle is released
 * first, and after an error it is as of hbmfs_fetch. Options have no wait and no loan here
 * (-EINVAL). -EINVAL: also count is 0, or the first range has too long a name for a call.
 */
int hbmfs_batch(int file, const struct hbmfs_want *wants, size_t count, const struct hbmfs_options *options,
		struct hbmfs_batch_lease *lease);

/* The result of range i: error, a positive errno or 0; fetched; cursor; segment_count; path; why. */
const struct hbmfs_batch_entry *hbmfs_batch_result(const struct hbmfs_batch_lease *lease, unsigned i);

/* The segments of range i, as many as its result says. */
const struct hbmfs_segment *hbmfs_batch_segments(const struct hbmfs_batch_lease *lease, unsigned i);

#ifdef __cplusplus
}
#endif

#endif
