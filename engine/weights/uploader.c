/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/weights/uploader.h"

#include "engine/device/device.h"
#include "engine/weights/placement.h"

/* Host memory from which one copy at a time is made. */
typedef struct
{
  guint8 *memory;
  AvatarHostMemory kind;
  gboolean is_recorded; /* @copied is recorded */
  AvatarFence *copied;  /* end of the last copy */
} Staging;

struct _AvatarWeightUploader
{
  AvatarDevice *device;
  const AvatarBackend *backend;
  GArray *groups;
  AvatarQueue *queue;
  guint8 **packed; /* [groups->len] packed buffers in page-locked memory, or NULL */
  guint64 pinned_left;
  gsize max_bytes; /* size of a staging buffer: the largest packed buffer */
  Staging staging[AVATAR_STAGINGS];
  guint next_staging;
};

AvatarFence *
avatar_weight_uploader_new_fence (AvatarWeightUploader *self, GError **error)
{
  AvatarFence *fence = self->backend->fence_new (avatar_device_get_handle (self->device));

  if (!fence)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "%s cannot create a fence, which copying weights needs; restart the program, and check the "
        "driver if this happens again",
        avatar_device_get_name (self->device));
  return fence;
}

/* Packs the group into page-locked memory that is kept. Leaves it unpacked if there is no such
 * memory: it then passes through a staging buffer. */
static gboolean
pack_pinned (AvatarWeightUploader *self, const AvatarWeightUpload *upload, GError **error)
{
  AvatarBackendDevice *handle = avatar_device_get_handle (self->device);
  const AvatarWeightGroup *group = avatar_weight_group_nth (self->groups, upload->group);
  guint8 *memory;

  if (group->bytes > self->pinned_left)
    return TRUE;
  memory = self->backend->host_new (handle, group->bytes);
  if (!memory) {
    self->pinned_left = 0; /* the limit of the system is reached */
    return TRUE;
  }
  if (!avatar_pack_group (group, memory, upload->stop, error)) {
    self->backend->host_free (handle, memory, group->bytes);
    return FALSE;
  }
  self->pinned_left -= group->bytes;
  self->packed[upload->group] = memory;
  return TRUE;
}

/* Allocates the buffer, page-locked if possible, and the fence of @s. */
static gboolean
prepare_staging (AvatarWeightUploader *self, Staging *s, GError **error)
{
  if (!s->memory) {
    s->memory = self->backend->host_new (avatar_device_get_handle (self->device), self->max_bytes);
    s->kind = s->memory ? AVATAR_HOST_PINNED : AVATAR_HOST_PAGEABLE;
  }
  if (!s->memory)
    s->memory = g_malloc (self->max_bytes);
  if (!s->copied)
    s->copied = avatar_weight_uploader_new_fence (self, error);
  return s->copied != NULL;
}

/* Packs the group into the staging buffer that was used least recently. */
static Staging *
pack_staged (AvatarWeightUploader *self, const AvatarWeightUpload *upload, GError **error)
{
  const AvatarWeightGroup *group = avatar_weight_group_nth (self->groups, upload->group);
  Staging *s = &self->staging[self->next_staging];

  if (!prepare_staging (self, s, error))
    return NULL;
  self->next_staging = (self->next_staging + 1) % AVATAR_STAGINGS;
  if (s->is_recorded)
    self->backend->fence_sync (s->copied);
  return avatar_pack_group (group, s->memory, upload->stop, error) ? s : NULL;
}

gboolean
avatar_weight_uploader_enqueue (AvatarWeightUploader *self, const AvatarWeightUpload *upload,
    GError **error)
{
  guint8 **packed = &self->packed[upload->group];
  Staging *staging = NULL;

  if (upload->mode == AVATAR_UPLOAD_REPEATED && !*packed && !pack_pinned (self, upload, error))
    return FALSE;
  if (!*packed && !(staging = pack_staged (self, upload, error)))
    return FALSE;
  if (upload->after)
    self->backend->fence_wait (upload->after, self->queue);
  self->backend->upload (self->queue, upload->memory, staging ? staging->memory : *packed,
      avatar_weight_group_nth (self->groups, upload->group)->bytes,
      staging ? staging->kind : AVATAR_HOST_PINNED);
  self->backend->fence_record (upload->copied, self->queue);
  if (staging) {
    self->backend->fence_record (staging->copied, self->queue);
    staging->is_recorded = TRUE;
  }
  return self->backend->queue_check (self->queue, error);
}

gboolean
avatar_weight_uploader_copy_fixed (AvatarWeightUploader *self, guint8 *memory, GError **error)
{
  const AvatarWeightGroup *fixed = avatar_weight_group_nth (self->groups, self->groups->len - 1);
  g_autofree guint8 *packed = g_malloc0 (fixed->bytes);

  if (!avatar_pack_group (fixed, packed, NULL, error))
    return FALSE;
  self->backend->upload (self->queue, memory, packed, fixed->bytes, AVATAR_HOST_PAGEABLE);
  return self->backend->queue_sync (self->queue, error);
}

AvatarWeightUploader *
avatar_weight_uploader_new (AvatarDevice *device, GArray *groups, guint64 pinned_bytes,
    GError **error)
{
  AvatarWeightUploader *self = g_new0 (AvatarWeightUploader, 1);

  self->device = avatar_device_ref (device);
  self->backend = avatar_device_get_backend (device);
  self->groups = groups;
  self->pinned_left = pinned_bytes;
  self->packed = g_new0 (guint8 *, groups->len);
  for (guint i = 0; i + 1 < groups->len; i++)
    self->max_bytes = MAX (self->max_bytes, avatar_weight_group_nth (groups, i)->bytes);
  self->queue = self->backend->queue_new (avatar_device_get_handle (device), error);
  if (self->queue)
    return self;
  avatar_weight_uploader_free (self);
  return NULL;
}

static void
staging_clear (AvatarWeightUploader *self, Staging *s)
{
  if (s->copied)
    self->backend->fence_free (s->copied);
  if (s->memory && s->kind == AVATAR_HOST_PINNED)
    self->backend->host_free (avatar_device_get_handle (self->device), s->memory, self->max_bytes);
  else
    g_free (s->memory);
}

void
avatar_weight_uploader_free (AvatarWeightUploader *self)
{
  AvatarBackendDevice *handle;

  if (!self)
    return;
  handle = avatar_device_get_handle (self->device);
  if (self->queue)
    self->backend->queue_free (self->queue);
  for (guint i = 0; i < self->groups->len; i++)
    if (self->packed[i])
      self->backend->host_free (handle, self->packed[i],
          avatar_weight_group_nth (self->groups, i)->bytes);
  for (guint i = 0; i < AVATAR_STAGINGS; i++)
    staging_clear (self, &self->staging[i]);
  g_free (self->packed);
  avatar_device_unref (self->device);
  g_free (self);
}
