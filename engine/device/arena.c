/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stack allocator, which either measures how much memory a run needs or provides it. */
#include "engine/device/device.h"

/* Alignment in bytes: cudaMalloc()'s, enough for all vector loads. */
#define ALIGN 256

struct _AvatarArena
{
  AvatarDevice *device; /* NULL in a dry run */
  guint8 *memory;
  gsize size, used, peak;
  gboolean borrowed; /* the memory belongs to the caller and is not freed with the arena */
};

AvatarArena *
avatar_arena_new_dry_run (void)
{
  return g_new0 (AvatarArena, 1);
}

AvatarArena *
avatar_arena_new (AvatarDevice *device, gsize bytes, const char *what, GError **error)
{
  gsize size = MAX (bytes, ALIGN);
  void *memory = avatar_device_memory_new (device, size, what, error);
  AvatarArena *self;

  if (!memory)
    return NULL;
  self = g_new0 (AvatarArena, 1);
  self->device = avatar_device_ref (device);
  self->size = size;
  self->memory = memory;
  return self;
}

AvatarArena *
avatar_arena_new_over (AvatarDevice *device, void *memory, gsize bytes)
{
  AvatarArena *self = g_new0 (AvatarArena, 1);

  self->device = avatar_device_ref (device);
  self->size = bytes;
  self->memory = memory;
  self->borrowed = TRUE;
  return self;
}

void
avatar_arena_free (AvatarArena *self)
{
  if (!self)
    return;
  if (self->device) {
    if (!self->borrowed)
      avatar_device_memory_free (self->device, self->memory, self->size);
    avatar_device_unref (self->device);
  }
  g_free (self);
}

void
avatar_arena_free_memory (AvatarArena *self)
{
  if (self->memory)
    avatar_device_memory_free (self->device, self->memory, self->size);
  self->memory = NULL;
  self->used = 0;
}

gboolean
avatar_arena_allocate_memory (AvatarArena *self, const char *what, GError **error)
{
  g_assert (!self->memory && self->device);
  self->memory = avatar_device_memory_new (self->device, self->size, what, error);
  return self->memory != NULL;
}

void
avatar_arena_resize (AvatarArena *self, gsize bytes)
{
  g_assert (!self->memory && self->device);
  self->size = MAX (bytes, ALIGN);
  self->peak = 0;
}

gsize
avatar_arena_size (AvatarArena *self)
{
  return self->size;
}

gboolean
avatar_arena_is_dry_run (AvatarArena *self)
{
  return self->device == NULL;
}

void *
avatar_arena_push (AvatarArena *self, gsize bytes)
{
  gsize start = self->used;

  self->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
  self->peak = MAX (self->peak, self->used);
  if (!self->device)
    return NULL;
  g_assert (self->memory);
  if (self->used > self->size)
    g_error ("an arena of %" G_GSIZE_FORMAT " bytes is too small: %" G_GSIZE_FORMAT
             " are needed. The dry run that found its size did not run the same code; please "
             "report this bug",
        self->size, self->used);
  return self->memory + start;
}

gsize
avatar_arena_mark (AvatarArena *self)
{
  return self->used;
}

void
avatar_arena_release (AvatarArena *self, gsize mark)
{
  g_assert (mark <= self->used);
  self->used = mark;
}

gsize
avatar_arena_peak (AvatarArena *self)
{
  return self->peak;
}
