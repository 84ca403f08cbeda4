/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers the enumeration types: see the header. */
#include "gst/gstavatarenums.h"

#include <avatar/denoise.h>

/* Registers once, even if two threads ask at the same time. */
static GType
get_type (gsize *type, const gchar *name, const GEnumValue *values)
{
  if (g_once_init_enter (type)) {
    GType new_type = g_enum_register_static (name, values);

    gst_type_mark_as_plugin_api (new_type, 0);
    g_once_init_leave (type, new_type);
  }
  return *type;
}

GType
gst_avatar_tiling_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { GST_AVATAR_TILING_EXACT, "The model's own tiles; a smaller video is decoded whole", "exact" },
    { GST_AVATAR_TILING_FAST, "Fewer, larger tiles that overlap less; the picture differs a little",
        "fast" },
    { GST_AVATAR_TILING_OFF, "The whole stream at once, after its end", "off" },
    { GST_AVATAR_TILING_STREAM,
        "Window by window, for live use: no frame waits for later latents; the picture differs a little",
        "stream" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarTiling", values);
}

GType
gst_avatar_late_policy_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { GST_AVATAR_LATE_BLOCK, "Every window is computed; the delay grows", "block" },
    { GST_AVATAR_LATE_ADAPT, "Fewer steps; if 1 is too slow, windows are skipped", "adapt" },
    { GST_AVATAR_LATE_HOLD, "Windows that are late are skipped; the last frame is held meanwhile",
        "hold" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarLatePolicy", values);
}

GType
gst_avatar_denoise_mode_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { AVATAR_DENOISE_MODE_AUTO, "Clip if the audio fits into one window, else stream", "auto" },
    { AVATAR_DENOISE_MODE_CLIP, "All windows of the audio together, after its end", "clip" },
    { AVATAR_DENOISE_MODE_STREAM, "One overlapping window after another, in bounded memory",
        "stream" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarDenoiseMode", values);
}

GType
gst_avatar_continuation_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { AVATAR_CONTINUATION_HELD, "The shared latents are held, the others follow freely", "held" },
    { AVATAR_CONTINUATION_CORRECTED,
        "The error of the last shared latent also corrects those after it", "corrected" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarContinuation", values);
}

GType
gst_avatar_precision_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { AVATAR_PRECISION_AUTO, "float32 on the CPU, bfloat16 on a GPU", "auto" },
    { AVATAR_PRECISION_FP8, "8-bit floating point in the blocks, on GPUs that support it", "fp8" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarPrecision", values);
}

GType
gst_avatar_weight_format_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { AVATAR_WEIGHT_FORMAT_STORED, "8-bit if the file is, else 16-bit", "stored" },
    { AVATAR_WEIGHT_FORMAT_FP8, "8-bit floating point with one scale per row", "fp8" },
    { AVATAR_WEIGHT_FORMAT_INT8, "8-bit integers with one scale per row", "int8" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarWeightFormat", values);
}

GType
gst_avatar_attention_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { AVATAR_ATTENTION_DENSE, "Every token attends to every other one", "dense" },
    { AVATAR_ATTENTION_SPARSE, "Blocks of tokens with low scores count as their mean", "sparse" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarAttention", values);
}

GType
gst_avatar_step_cache_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { AVATAR_STEP_CACHE_NONE, "Every step runs the whole transformer", "none" },
    { AVATAR_STEP_CACHE_UPSTREAM, "A fixed table of cached steps, from HunyuanVideo-Avatar",
        "upstream" },
    { AVATAR_STEP_CACHE_ADAPTIVE, "Steps are cached until cache-threshold is exceeded",
        "adaptive" },
    { AVATAR_STEP_CACHE_EASY, "Steps are skipped until cache-threshold is exceeded (EasyCache)",
        "easy" },
    { AVATAR_STEP_CACHE_FORECAST, "All but cache-steps are forecast from earlier ones (Spectrum)",
        "forecast" },
    { 0, NULL, NULL },
  };

  return get_type (&type, "GstAvatarStepCache", values);
}
