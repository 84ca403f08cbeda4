/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Enumeration types of properties, which belong to the plugin's API. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstAvatarTiling:
 * @GST_AVATAR_TILING_EXACT: the model's own tiles; a smaller video is decoded whole
 * @GST_AVATAR_TILING_FAST: fewer and larger tiles that overlap less; the picture differs a little
 * @GST_AVATAR_TILING_OFF: the whole stream at once, after its end
 * @GST_AVATAR_TILING_STREAM: window by window, for live use; no frame waits for later latents
 *
 * Since: 0.1
 */
typedef enum
{
  GST_AVATAR_TILING_EXACT,
  GST_AVATAR_TILING_FAST,
  GST_AVATAR_TILING_OFF,
  GST_AVATAR_TILING_STREAM,
} GstAvatarTiling;

/**
 * GstAvatarLatePolicy:
 * @GST_AVATAR_LATE_BLOCK: every window is computed; the delay grows
 * @GST_AVATAR_LATE_ADAPT: fewer steps; if 1 is too slow, windows are skipped
 * @GST_AVATAR_LATE_HOLD: windows that are late are skipped; the last frame is shown meanwhile
 *
 * Since: 0.1
 */
typedef enum
{
  GST_AVATAR_LATE_BLOCK,
  GST_AVATAR_LATE_ADAPT,
  GST_AVATAR_LATE_HOLD,
} GstAvatarLatePolicy;

#define GST_TYPE_AVATAR_LATE_POLICY (gst_avatar_late_policy_get_type ())
GType gst_avatar_late_policy_get_type (void);

#define GST_TYPE_AVATAR_TILING (gst_avatar_tiling_get_type ())
GType gst_avatar_tiling_get_type (void);

/* The engine's enumerations: AvatarDenoiseMode, AvatarContinuation, AvatarPrecision,
 * AvatarWeightFormat and AvatarStepCacheMode. */
#define GST_TYPE_AVATAR_DENOISE_MODE (gst_avatar_denoise_mode_get_type ())
GType gst_avatar_denoise_mode_get_type (void);
#define GST_TYPE_AVATAR_CONTINUATION (gst_avatar_continuation_get_type ())
GType gst_avatar_continuation_get_type (void);
#define GST_TYPE_AVATAR_PRECISION (gst_avatar_precision_get_type ())
GType gst_avatar_precision_get_type (void);
#define GST_TYPE_AVATAR_WEIGHT_FORMAT (gst_avatar_weight_format_get_type ())
GType gst_avatar_weight_format_get_type (void);
#define GST_TYPE_AVATAR_ATTENTION (gst_avatar_attention_get_type ())
GType gst_avatar_attention_get_type (void);

#define GST_TYPE_AVATAR_STEP_CACHE (gst_avatar_step_cache_get_type ())
GType gst_avatar_step_cache_get_type (void);

G_END_DECLS
