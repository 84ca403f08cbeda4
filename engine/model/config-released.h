/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Built-in sizes of the released model, so that a run can be planned before the weights are
 * downloaded. */
#pragma once

#include "engine/model/config.h"

G_BEGIN_DECLS

/* Path for avatar_model_open() that selects these sizes, unless a folder has this name. */
#define AVATAR_RELEASED "released"

/* Text that upstream adds to a prompt (hymm_sp/constants.py, data_kits/audio_dataset.py,
 * text_encoder/__init__.py). Sentences are joined without spaces, as there. */
#define AVATAR_RELEASED_TEMPLATE                                                                 \
  "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following " \
  "aspects: 1. The main content and theme of the video.2. The color, shape, size, texture, "     \
  "quantity, text, and spatial relationships of the objects.3. Actions, events, behaviors "      \
  "temporal relationships, physical movement changes of the objects.4. background environment, " \
  "light, style and atmosphere.5. camera angles, movements, and transitions used in the "        \
  "video:<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
#define AVATAR_RELEASED_QUALITY "Authentic, Realistic, Natural, High-quality, Lens-Fixed, "
#define AVATAR_RELEASED_SUFFIX "\nThe person looks like<image>"
/* Negative prompt of upstream's sample_inference_audio.py. */
#define AVATAR_RELEASED_NEGATIVE                                                              \
  "Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad " \
  "hands, bad teeth, bad eyes, bad limbs, distortion, blurring, Lens changes"

/* Returns: (transfer full): the released configuration. */
AvatarConfig *avatar_config_released (void);
/* Returns: (transfer none): the same configuration as the text of a config.json. */
const char *avatar_config_released_json (void);

G_END_DECLS
