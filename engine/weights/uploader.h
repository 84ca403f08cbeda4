/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies weight groups to a discrete device in a queue of its own. Groups that are copied in every
 * pass are packed once, into page-locked memory; the others pass through staging buffers. */
#pragma once

#include "engine/device/backend.h"
#include "engine/weights/pack.h"

G_BEGIN_DECLS

typedef struct _AvatarWeightUploader AvatarWeightUploader;

typedef enum
{
  AVATAR_UPLOAD_ONCE,     /* nothing is kept on the host */
  AVATAR_UPLOAD_REPEATED, /* the packed buffer is kept, if page-locked memory is left */
} AvatarUploadMode;

/**
 * AvatarWeightUpload: one copy
 * @group: index of the group
 * @memory: device memory for its packed buffer
 * @after: (nullable): fence that the copy waits for on the device
 * @copied: fence that is recorded after the copy
 * @stop: (atomic): packing ends when it is set
 */
typedef struct
{
  guint group;
  guint8 *memory;
  AvatarFence *after, *copied;
  AvatarUploadMode mode;
  const gint *stop;
} AvatarWeightUpload;

/* @groups: array of AvatarWeightGroup; must outlive the uploader
 * @pinned_bytes: limit of the page-locked memory for packed buffers
 * Returns: (transfer full): the uploader, or %NULL with AVATAR_ERROR_DEVICE */
AvatarWeightUploader *avatar_weight_uploader_new (AvatarDevice *device, GArray *groups,
    guint64 pinned_bytes, GError **error);
/* Copies of its queue must be complete. @self may be %NULL. */
void avatar_weight_uploader_free (AvatarWeightUploader *self);
/* Packs a group and enqueues its copy. Blocks while it packs, and until a staging buffer is free.
 * One thread at a time. Fails with AVATAR_ERROR_CANCELLED after @upload->stop was set, and with the
 * errors of avatar_pack_group() and of the device. */
gboolean avatar_weight_uploader_enqueue (AvatarWeightUploader *self,
    const AvatarWeightUpload *upload, GError **error);
/* Packs the last group, the fixed tensors, and waits until it is copied to @memory. */
gboolean
avatar_weight_uploader_copy_fixed (AvatarWeightUploader *self, guint8 *memory, GError **error);
/* Returns: (transfer full): a fence of the device, or %NULL with AVATAR_ERROR_DEVICE. */
AvatarFence *avatar_weight_uploader_new_fence (AvatarWeightUploader *self, GError **error);

G_END_DECLS
