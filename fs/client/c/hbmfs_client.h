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
 * -EINTR      a signal came: nothing is fetched, and a handle that was to be released
 *             first is. Call again with the same arguments
 * -EPROTO     the mount broke the ABI
 * -ETIMEDOUT  .hbmfs/ctl did not answer within ten seconds; the mount's buffers end with that
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
	__u32 segments; /* room for so many; 0: HBMFS_LEASE_SEGMENTS, which is the most, and of a
			   batch one for each range and each MiB of it, 16 at most */
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
 * Releases the handle, which file has fetched, and sets it to 0, unless there was no such
 * handle (-ENOENT). 0 is none, and nothing is done.
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
 * Returns a descriptor of a region, the caller's to close, with where in it the region
 * starts and its length: one to be mapped read-only, or its dma-buf, to import into a
 * device. Errors as hbmfs_bytes. Of a dma-buf: -EPERM: the mount was not told to hand
 * them out. -EOPNOTSUPP: the region has none.
 */
int hbmfs_region(struct hbmfs_mount *mount, __u32 region, __u64 *offset, __u64 *length);
int hbmfs_region_dmabuf(struct hbmfs_mount *mount, __u32 region, __u64 *offset, __u64 *length);

/* A range that a batch asks for. */
struct hbmfs_want {
	const char *name; /* beneath the directory; NULL: the open file itself */
	__u64 offset;
	__u64 length;
	__u64 buffer_offset; /* hbmfs_batch_into: where in the buffer it goes */
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

/*
 * Memory of the program's that the mount fills for it: a copy less than what is fetched
 * and then copied out of a region. A buffer belongs to the mount that it was registered
 * with, and ends with that at the latest, or with the process.
 */
struct hbmfs_buffer {
	void *bytes;
	__u64 length;
	__u32 number; /* what calls name it by; of every process of the user, while it is there */
};

/*
 * Makes a buffer of length bytes of new memory, which is there at once: it counts as the
 * program's. device is 0 where the host's memory will do. -ENOMEM: this host has less to
 * spare. -EINVAL: length is 0. Else as hbmfs_buffer_register, memfd_create(2),
 * fallocate(2) and mmap(2).
 */
int hbmfs_buffer_make(struct hbmfs_mount *mount, __u32 device, __u64 length, struct hbmfs_buffer *buffer);

/*
 * Ends a buffer that hbmfs_buffer_make has made, and unmaps it, with any error but -EBUSY
 * too: it is being filled, and stays.
 */
int hbmfs_buffer_free(struct hbmfs_mount *mount, struct hbmfs_buffer *buffer);

/*
 * Makes a buffer of length bytes at offset of what fd has: a memfd with F_SEAL_SHRINK, all
 * of whose pages are there, or a dma-buf. fd stays the caller's, and may be closed. number
 * is told. Errors are those of CTL_BUFFER.
 */
int hbmfs_buffer_register(struct hbmfs_mount *mount, int fd, __u32 device, __u64 offset, __u64 length, __u32 *number);

/* Ends a buffer. -EBUSY: it is being filled. -ENOENT: there is no such buffer. */
int hbmfs_buffer_unregister(struct hbmfs_mount *mount, __u32 number);

/*
 * Has length bytes from offset of an open file written to buffer_offset of a buffer, and
 * returns once they are all there. result tells what came: fetched, resident, file_size,
 * path, why; it need not be set before. After an error the range of the buffer may still
 * be written for a while: hbmfs_buffer_unregister is -EBUSY for so long.
 */
int hbmfs_fetch_into(int file, __u64 offset, __u64 length, __u32 buffer, __u64 buffer_offset,
		     struct hbmfs_fetch_into *result);

/*
 * hbmfs_batch whose ranges are written to the buffer, each at its buffer_offset. There
 * are no segments and no handle: lease has only the results, and must have no handle
 * before (-EINVAL).
 */
int hbmfs_batch_into(int file, const struct hbmfs_want *wants, size_t count, __u32 buffer, struct hbmfs_batch_lease *lease);

/*
 * A ring as this process uses it: many operations asked for, and answered, without a
 * system call each. One thread gets and submits, and one waits and reaps, or the same.
 * It has a connection to the mount of its own, and what it has fetched and not released
 * ends with it.
 *
 * Memory order: a submission is written, then its number with release semantics, which
 * hbmfs_ring_submit does; so the mount sees it whole. The mount's number is read with
 * acquire semantics before the slot of a submission that it has taken is given out again
 * (hbmfs_ring_get), and before a completion is copied (hbmfs_ring_reap). Who looks
 * whether the other sleeps has written its own number before, and who is about to sleep
 * has said so before it looks once more: those four are sequentially consistent. So
 * neither sleeps while there is something for it, and bytes that a completion tells of
 * are there when it is reaped.
 *
 * hbmfs_bytes finds the bytes that a completion tells of. They are pinned until an
 * HBMFS_RING_RELEASE of its handle, until that is the handle of another fetch, or until
 * the ring ends.
 */
struct hbmfs_queue;

/*
 * Makes a ring for `entries` submissions that the mount has not taken yet, a power of two
 * up to HBMFS_RING_ENTRIES_MAX; up to twice as many operations can be under way or not
 * reaped yet. Each has room for a name of name_room bytes; all of them for
 * HBMFS_RING_NAME_BYTES_MAX at most (-EINVAL). Only files that are named need any.
 */
int hbmfs_ring_open(struct hbmfs_mount *mount, __u32 entries, __u32 name_room, struct hbmfs_queue **queue);

/*
 * Ends the ring, and frees it. What is under way is cancelled, and what it holds is
 * released, soon after. NULL is no ring.
 */
void hbmfs_ring_close(struct hbmfs_queue *queue);

/*
 * Registers an open file or directory, which submissions then name by number. It stays so
 * until it is closed, or removed. Any thread may.
 */
int hbmfs_ring_add(struct hbmfs_queue *queue, int file, __u32 *number);
int hbmfs_ring_remove(struct hbmfs_queue *queue, int file, __u32 number);

/*
 * Returns the next submission, all 0, to be filled as hbmfs.h says. The mount sees it
 * after hbmfs_ring_submit, and not before. NULL: `entries` of them are not taken yet:
 * submit, and reap, first.
 */
struct hbmfs_ring_op *hbmfs_ring_get(struct hbmfs_queue *queue);

/*
 * Names, in a submission that hbmfs_ring_get has just returned, a file beneath the
 * directory that it is of. The name is copied. -ENAMETOOLONG: there is no room for it.
 */
int hbmfs_ring_name(struct hbmfs_queue *queue, struct hbmfs_ring_op *op, const char *name);

/*
 * Hands over all that hbmfs_ring_get has returned, and wakes the mount if it sleeps:
 * that alone is a system call. -EPROTO: the mount has ended the ring, as broken.
 */
int hbmfs_ring_submit(struct hbmfs_queue *queue);

/*
 * Waits until at least `least` completions can be reaped, or timeout_ms have passed, and
 * returns how many can be. timeout_ms 0 does not wait, and -1 waits for ever: also for
 * what nobody has submitted.
 *
 * -EINVAL        least is more than there is room for: twice the entries
 * -ETIMEDOUT     fewer completions are there
 * -EINTR         a signal came
 * -ECONNABORTED  the mount's daemon ended: what was under way never completes, and
 *                nothing is pinned any more
 * -ENODEV        told once, while fewer completions are there: memory of the user's on a
 *                device was taken away. What is pinned there is of no use; the ring goes on
 * -EPROTO        the mount has ended the ring, as broken
 */
int hbmfs_ring_wait(struct hbmfs_queue *queue, unsigned least, int timeout_ms);

/*
 * Copies the next completions, `most` at most, and returns how many there were. It does
 * not wait.
 */
unsigned hbmfs_ring_reap(struct hbmfs_queue *queue, struct hbmfs_ring_done *done, unsigned most);

#ifdef __cplusplus
}
#endif

#endif
