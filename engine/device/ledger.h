/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory accounting: the ledger of a device, and arenas, whose size a dry run finds. */
#pragma once

#include "engine/base/tensor.h"

#include <avatar/device.h>

G_BEGIN_DECLS

/* Adds @bytes to the ledger of @device. @what names the purpose in the error message. Returns
 * %FALSE with AVATAR_ERROR_MEMORY if the budget would be exceeded. Thread-safe. */
gboolean avatar_ledger_add (AvatarDevice *device, guint64 bytes, const char *what, GError **error);
/* Removes @bytes from the ledger. Thread-safe. */
void avatar_ledger_remove (AvatarDevice *device, guint64 bytes);

/**
 * AvatarArena:
 *
 * A stack allocator. The arena of a dry run has no memory and only measures the high-water mark;
 * a real one is made with that size and never grows. Used by one thread at a time.
 */
typedef struct _AvatarArena AvatarArena;

/* Returns an arena without memory, for a dry run: avatar_arena_push() returns %NULL. */
AvatarArena *avatar_arena_new_dry_run (void);
/* Allocates an arena of @bytes of device memory, which are added to the ledger. @what names the
 * purpose in error messages. Returns %NULL with AVATAR_ERROR_MEMORY. */
AvatarArena *avatar_arena_new (AvatarDevice *device, gsize bytes, const char *what, GError **error);
/* Returns an arena over the caller's @memory of @bytes, which must outlive the arena. */
AvatarArena *avatar_arena_new_over (AvatarDevice *device, void *memory, gsize bytes);
/* Frees the arena and the memory that it owns. @self may be %NULL. */
void avatar_arena_free (AvatarArena *self);
/* Frees the arena's memory, with all that was pushed, but not the arena. */
void avatar_arena_free_memory (AvatarArena *self);
/* Allocates the memory again after avatar_arena_free_memory(). Returns %FALSE with @error set. */
gboolean avatar_arena_allocate_memory (AvatarArena *self, const char *what, GError **error);
/* Changes the size to @bytes and resets the peak. The arena must have no memory at the time. */
void avatar_arena_resize (AvatarArena *self, gsize bytes);
/* Returns the size in bytes; 0 in a dry run. */
gsize avatar_arena_size (AvatarArena *self);
gboolean avatar_arena_is_dry_run (AvatarArena *self);
/* Returns @bytes of memory, 256-byte aligned, with undefined contents; %NULL in a dry run. Aborts
 * the process if the arena is too small, since the dry run then did not run the same code. */
void *avatar_arena_push (AvatarArena *self, gsize bytes);
/* Returns the current position, for avatar_arena_release(). */
gsize avatar_arena_mark (AvatarArena *self);
/* Releases all that was pushed since @mark. */
void avatar_arena_release (AvatarArena *self, gsize mark);
/* Returns the high-water mark in bytes. */
gsize avatar_arena_peak (AvatarArena *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarArena, avatar_arena_free)

G_END_DECLS
