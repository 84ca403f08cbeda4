/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: numbers of the properties of avatardenoise. */
#pragma once

#include "gst/gstavatarengineclient.h"

G_BEGIN_DECLS

enum
{
  PROP_REFERENCE = GST_AVATAR_PROP_LAST,
  PROP_PROMPT,
  PROP_NEGATIVE_PROMPT,
  PROP_FACE_BOX,
  PROP_STEPS,
  PROP_IDLE_STEPS,
  PROP_GUIDANCE_SCALE,
  PROP_FLOW_SHIFT,
  PROP_SEED,
  PROP_MODE,
  PROP_WINDOW_LATENTS,
  PROP_OVERLAP,
  PROP_CONTINUATION,
  PROP_MOTION_POSE,
  PROP_MOTION_EXP,
  PROP_PRECISION,
  PROP_WEIGHT_FORMAT,
  PROP_LORA,
  PROP_PROMPT_CACHE,
  PROP_PINNED_MEMORY,
  PROP_STEP_CACHE,
  PROP_CACHE_THRESHOLD,
  PROP_NOISE,
  PROP_POSTERIOR_NOISE,
  PROP_UPSTREAM_ROUNDING,
  PROP_EXACT_ROPE,
  PROP_LATE_POLICY,
  PROP_SIGMAS,
  PROP_GUIDANCE_BORDER,
  PROP_PRESET_FILE,
  PROP_CACHE_STEPS,
  PROP_ATTENTION,
  PROP_ATTENTION_TAU,
  PROP_ATTENTION_DENSE_STEPS,
  PROP_ATTENTION_DENSE_LAYERS,
  PROP_LAST,
};

/* Flags of properties that are read when the element starts. */
#define GST_AVATAR_DENOISE_FIXED \
  (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY)

/* Installs the properties for attention and for comparisons, which are read when the element
 * starts. */
void gst_avatar_denoise_install_fixed (GObjectClass *klass);

G_END_DECLS
