/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pretended GPU for tests, device "sim:MIB": the CPU's operations over memory of a limited size,
 * and copies that happen only when somebody waits for them. */
#pragma once

#include "engine/device/backend.h"

G_BEGIN_DECLS

extern const AvatarBackend avatar_backend_fake;

/* What the context takes of the memory. */
#define AVATAR_SIM_OVERHEAD ((guint64) 8 << 20)

/* For the tests of pressure and failure; they hold for all such devices. */
/* Another process holds @bytes. */
void avatar_fake_take_memory (guint64 bytes);
/* The @n-th allocation of device memory, or of pinned memory, or upload from now on fails (0:
 * none). */
void avatar_fake_fail_memory (guint n);
void avatar_fake_fail_host (guint n);
void avatar_fake_fail_upload (guint n);
/* Pieces of device and host memory that are out. */
guint avatar_fake_count_memory (void);
/* Operations that were begun, copies not counted. */
guint avatar_fake_count_operations (void);
/* Calls @func once, in the thread that computes, when the @n-th operation from now on begins. */
void avatar_fake_call_at (guint n, void (*func) (gpointer data), gpointer data);

G_END_DECLS
