/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A simulated GPU for tests, device "sim:MIB": the operations of the CPU back-end, with a limited
 * memory of MIB MiB. Copies from pinned memory are done only when a fence or the queue is waited
 * for. "sim:MIB:N" are further GPUs, for groups. */
#pragma once

#include "engine/device/backend.h"

G_BEGIN_DECLS

extern const AvatarBackend avatar_backend_fake;

/* Number of GPUs in "sim:MIB:all". */
#define AVATAR_FAKE_DEVICES 3
/* The memory that the simulated context occupies. */
#define AVATAR_FAKE_OVERHEAD ((guint64) 8 << 20)

/* The functions below simulate memory pressure and failures. They apply to all simulated devices
 * and are thread-safe, except avatar_fake_call_at(). */

/* Simulates another process that occupies @bytes of device memory. */
void avatar_fake_take_memory (guint64 bytes);
/* Makes the @n-th allocation of device memory from now on fail (0 = none). */
void avatar_fake_fail_memory (guint n);
/* Makes the @n-th allocation of pinned memory from now on fail (0 = none). */
void avatar_fake_fail_host (guint n);
/* Makes the @n-th upload from now on fail (0 = none). */
void avatar_fake_fail_upload (guint n);
/* Returns the number of allocations of device and pinned memory that have not been freed. */
guint avatar_fake_count_memory (void);
/* Returns the number of bytes copied from the device to the host. */
guint avatar_fake_count_downloaded (void);
/* Returns the number of operations since the start of the process, without copies. */
guint avatar_fake_count_operations (void);
/* Calls @func once, in the thread that computes, when the @n-th operation from now on begins. Not
 * to be called while an operation may run. */
void avatar_fake_call_at (guint n, void (*func) (gpointer data), gpointer data);

G_END_DECLS
