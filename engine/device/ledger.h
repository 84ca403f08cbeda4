/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that is counted: the ledger of a device, and arenas whose size a plan has found. */
#pragma once

#include "engine/base/tensor.h"

#include <avatar/device.h>

G_BEGIN_DECLS

/* Enters @bytes for @what; %FALSE if the budget forbids it. Thread-safe. */
gboolean avatar_ledger_add (AvatarDevice *device, guint64 bytes, const char *what, GError **error);
void avatar_ledger_remove (AvatarDevice *device, guint64 bytes);

/**
 * AvatarArena: a stack of tensors. A dry arena has no memory behind it and only finds the
 * high-water mark; a real one is made with that size and never grows.
 */
typedef struct _AvatarArena AvatarArena;

/* A dry arena. */
AvatarArena *avatar_arena_new_dry_run (void);
/* @bytes of device memory, entered in the ledger. */
AvatarArena *avatar_arena_new (AvatarDevice *device, gsize bytes, const char *what, GError **error);
/* Makes an arena over @bytes at @memory, which the caller keeps until the arena is freed. */
AvatarArena *avatar_arena_new_over (AvatarDevice *device, void *memory, gsize bytes);
void avatar_arena_free (AvatarArena *self);
/* Gives the memory back, with all that was pushed, and takes as much again. */
void avatar_arena_free_memory (AvatarArena *self);
gboolean avatar_arena_allocate_memory (AvatarArena *self, const char *what, GError **error);
/* Between the two: as much as @bytes from now on. */
void avatar_arena_resize (AvatarArena *self, gsize bytes);
/* Bytes that it was made with. */
gsize avatar_arena_size (AvatarArena *self);
gboolean avatar_arena_is_dry_run (AvatarArena *self);
/* 256-byte aligned in a discrete device, else 64; contents are undefined. Aborts if the plan was wrong, which is a bug. */
void *avatar_arena_push (AvatarArena *self, gsize bytes);
gsize avatar_arena_mark (AvatarArena *self);
/* Forget what was pushed since @mark. */
void avatar_arena_release (AvatarArena *self, gsize mark);
gsize avatar_arena_peak (AvatarArena *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarArena, avatar_arena_free)

G_END_DECLS
