/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two encoders of the released model together: prompts and a portrait in, what the transformer is
 * conditioned on out. Weights go through the device once, part by part. */
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
 * @prompts: positive and negative one, UTF-8; @n_prompts: 1: the first alone is ever needed
 * @exact_rope: positions as they are meant, rather than as the model computed them
 * @cache: folder %NULL: none
 * @longest: for plans: tokenizers are not needed, prompts are as long as they can be
 */
typedef struct
{
  const char *prompts[2];
  guint n_prompts;
  gboolean exact_rope, longest;
  AvatarPromptCache cache;
} AvatarTextEncoderSettings;

/* Has @model such encoders, or the sizes of them? */
gboolean avatar_text_encoder_is_for (AvatarModel *model);
/* Reads tokenizers and makes ids of the prompts; needs no device memory. Strings are copied. */
AvatarTextEncoder *avatar_text_encoder_new (AvatarModel *model, AvatarDevice *device,
    const AvatarTextEncoderSettings *settings, GError **error);
void avatar_text_encoder_free (AvatarTextEncoder *self);
/* Prompt @i: its rows are known from the start, states and the pooled vector when it was run; both may
 * be taken over. */
AvatarEncoding *avatar_text_encoder_get (AvatarTextEncoder *self, guint i);

/**
 * AvatarTextEncoderNeeds: of the device
 * @arena: bytes of the caller's arena; @least, @weights: and for weights, at least and given @room
 * @host: bytes on the host for copies to the device; @read: of weights that are read
 * @parts: what run() tells of, one after the other
 */
typedef struct
{
  guint64 arena, least, weights, host, read;
  guint parts;
  double flops, bytes;
  AvatarFlopCounts counts;
} AvatarTextEncoderNeeds;

/* Found by running the code over memory that is not there. @room: bytes for weights. */
void
avatar_text_encoder_plan (AvatarTextEncoder *self, guint64 room, AvatarTextEncoderNeeds *needs);

/* Called at the start and after every part. */
typedef void (*AvatarTextProgressFunc) (guint done, guint parts, gpointer data);

/* Encodes the prompts as they are seen with @image, an RGB picture, or takes them from the cache. Takes
 * activations from @ops' arena and gives them back. Cancelled through @ops. */
gboolean avatar_text_encoder_run (AvatarTextEncoder *self, AvatarOps *ops, const AvatarImage *image,
    AvatarTextProgressFunc progress, gpointer data, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTextEncoder, avatar_text_encoder_free)

G_END_DECLS
