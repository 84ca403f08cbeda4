/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two text encoders of the release, which compute the conditioning of the transformer from
 * prompts and a portrait. Their weights are streamed through the device once, group by group. */
#pragma once

#include "engine/device/device.h"
#include "engine/ops/ops.h"
#include "engine/text/prompt-cache.h"
#include "engine/text/encoding.h"

#include <avatar/image.h>

G_BEGIN_DECLS

typedef struct _AvatarTextEncoder AvatarTextEncoder;

/**
 * AvatarTextEncoderSettings:
 * @prompts: positive and negative prompt, UTF-8
 * @n_prompts: number of prompts that are needed, 1 or 2
 * @exact_rope: computes the rotary embedding exactly, and not with float16 frequencies as upstream
 * @max_length: assumes, for a dry run, prompts of the maximum length, without reading tokenizers
 * @cache: the cache
 */
typedef struct
{
  const char *prompts[2];
  guint n_prompts;
  gboolean exact_rope, max_length;
  AvatarPromptCache cache;
} AvatarTextEncoderSettings;

/* Returns TRUE if @model has text encoders, or sizes of them. */
gboolean avatar_model_has_text_encoder (AvatarModel *model);
/* Makes an encoder and the ids of the prompts. Copies the settings, and allocates no device memory.
 * An encoder is used by one thread at a time. Returns NULL with AVATAR_ERROR_NOT_FOUND,
 * AVATAR_ERROR_READ, AVATAR_ERROR_FORMAT, AVATAR_ERROR_MISMATCH or AVATAR_ERROR_SETTINGS. */
AvatarTextEncoder *avatar_text_encoder_new (AvatarModel *model, AvatarDevice *device,
    const AvatarTextEncoderSettings *settings, GError **error);
void avatar_text_encoder_free (AvatarTextEncoder *self);
/* Returns: (transfer none): prompt @i. Its states and pooled vector are NULL before
 * avatar_text_encoder_run(); the caller may steal them afterwards. */
AvatarEncoding *avatar_text_encoder_get_encoding (AvatarTextEncoder *self, guint i);

/**
 * AvatarTextEncoderRequirements:
 * @arena_bytes: size of the caller's arena
 * @min_weight_bytes: minimum device memory of the weights
 * @weight_bytes: device memory of the weights within the available bytes
 * @host_bytes: host memory for copies to the device
 * @read_bytes: bytes that are read from files
 * @groups: number of weight groups, the total of the progress
 * @flops: floating-point operations
 * @bytes: memory traffic in bytes
 * @counts: floating-point operations by kind
 */
typedef struct
{
  guint64 arena_bytes, min_weight_bytes, weight_bytes, host_bytes, read_bytes;
  guint groups;
  double flops, bytes;
  AvatarFlopCounts counts;
} AvatarTextEncoderRequirements;

/* Measures the requirements by a dry run. @available_bytes: device memory for weights */
void avatar_text_encoder_plan (AvatarTextEncoder *self, guint64 available_bytes,
    AvatarTextEncoderRequirements *out);

/* Called at the start, with @done = 0, and after every weight group. */
typedef void (*AvatarTextProgressFunc) (guint done, guint total, gpointer data);

/* Encodes the prompts, or loads them from the cache.
 * @ops: context, also for cancellation; its arena provides the activations and is unchanged on
 *   return
 * @image: the portrait in RGB
 * @progress: (nullable): called for progress
 * Returns FALSE with @error, e.g. AVATAR_ERROR_CANCELLED, AVATAR_ERROR_MEMORY or
 * AVATAR_ERROR_READ. */
gboolean avatar_text_encoder_run (AvatarTextEncoder *self, AvatarOps *ops, const AvatarImage *image,
    AvatarTextProgressFunc progress, gpointer data, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTextEncoder, avatar_text_encoder_free)

G_END_DECLS
