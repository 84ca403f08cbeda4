/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties of avatardenoise: see the header. */
#include "gst/gstavatardenoiseprops.h"

#include "gst/gstavatarengine.h"

enum
{
  PROP_REFERENCE = GST_AVATAR_PROP_LAST,
  PROP_PROMPT,
  PROP_NEGATIVE_PROMPT,
  PROP_FACE_BOX,
  PROP_STEPS,
  PROP_GUIDANCE_SCALE,
  PROP_FLOW_SHIFT,
  PROP_SEED,
  PROP_MODE,
  PROP_CHUNK,
  PROP_OVERLAP,
  PROP_MOTION_POSE,
  PROP_MOTION_EXP,
  PROP_PRECISION,
};

#define FLAGS (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY)

static GType
mode_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { AVATAR_DENOISE_MODE_AUTO, "Clip if the audio fits in one window, else stream", "auto" },
    { AVATAR_DENOISE_MODE_CLIP, "Windows over the whole audio, after it has ended", "clip" },
    { AVATAR_DENOISE_MODE_STREAM, "Window after window with overlap, bounded memory", "stream" },
    { 0, NULL, NULL },
  };

  if (g_once_init_enter (&type)) {
    GType new_type = g_enum_register_static ("GstAvatarDenoiseMode", values);
    gst_type_mark_as_plugin_api (new_type, 0);
    g_once_init_leave (&type, new_type);
  }
  return type;
}

static GType
precision_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { 0, "32-bit floating point", "f32" },
    { 0, NULL, NULL },
  };

  if (g_once_init_enter (&type)) {
    GType new_type = g_enum_register_static ("GstAvatarPrecision", values);
    gst_type_mark_as_plugin_api (new_type, 0);
    g_once_init_leave (&type, new_type);
  }
  return type;
}

static void
install_string (GObjectClass *klass, guint id, const gchar *name, const gchar *nick,
    const gchar *blurb)
{
  g_object_class_install_property (klass, id, g_param_spec_string (name, nick, blurb, NULL, FLAGS));
}

static void
install_double (GObjectClass *klass, guint id, const gchar *name, const gchar *nick,
    const gchar *blurb, gdouble max)
{
  g_object_class_install_property (klass, id,
      g_param_spec_double (name, nick, blurb, -1.0, max, -1.0, FLAGS));
}

static void
install_uint (GObjectClass *klass, guint id, const gchar *name, const gchar *nick,
    const gchar *blurb, guint max)
{
  g_object_class_install_property (klass, id,
      g_param_spec_uint (name, nick, blurb, 0, max, 0, FLAGS));
}

void
gst_avatar_denoise_props_install (GObjectClass *klass)
{
  install_string (klass, PROP_REFERENCE, "reference", "Reference",
      "Portrait to animate: a PNG or JPEG file of any size (unless the reference pad is linked)");
  install_string (klass, PROP_PROMPT, "prompt", "Prompt",
      "What the picture shows, in words; unset = the model's default");
  install_string (klass, PROP_NEGATIVE_PROMPT, "negative-prompt", "Negative prompt",
      "What the picture must not show; needs guidance-scale > 1; unset = the model's default");
  install_string (klass, PROP_FACE_BOX, "face-box", "Face box",
      "The face, as x,y,width,height in pixels of the portrait; unset = the whole picture");
  g_object_class_install_property (klass, PROP_STEPS,
      g_param_spec_int ("steps", "Steps",
          "Denoising steps: more are better and slower; -1 = the model's default, 0 is an error",
          -1, 1000, -1, FLAGS));
  install_double (klass, PROP_GUIDANCE_SCALE, "guidance-scale", "Guidance scale",
      "Classifier-free guidance, which doubles the work; <= 1 = none, -1 = the model's default",
      100.0);
  install_double (klass, PROP_FLOW_SHIFT, "flow-shift", "Flow shift",
      "How far the noise schedule leans to noisy steps; -1 = the model's default", 100.0);
  g_object_class_install_property (klass, PROP_SEED,
      g_param_spec_int64 ("seed", "Seed",
          "Seed of the noise: the same seed makes the same video; -1 = the engine's fixed default",
          -1, G_MAXINT64, -1, FLAGS));
  g_object_class_install_property (klass, PROP_MODE,
      g_param_spec_enum ("mode", "Mode", "How audio longer than one window is cut",
          mode_get_type (), AVATAR_DENOISE_MODE_AUTO, FLAGS));
  install_uint (klass, PROP_CHUNK, "chunk", "Chunk",
      "Latent frames (160 ms) of a window in stream mode; 0 = the model's window", 4096);
  install_uint (klass, PROP_OVERLAP, "overlap", "Overlap",
      "Latent frames (160 ms) that a window shares with the one before in stream mode; "
      "0 = the default",
      4095);
  install_double (klass, PROP_MOTION_POSE, "motion-pose", "Motion of the head",
      "Strength of head motion, 25 is normal; -1 = the model's default", 1000.0);
  install_double (klass, PROP_MOTION_EXP, "motion-exp", "Motion of the face",
      "Strength of expression, 30 is normal; -1 = the model's default", 1000.0);
  g_object_class_install_property (klass, PROP_PRECISION,
      g_param_spec_enum ("precision", "Precision", "Number format of the computation",
          precision_get_type (), 0, FLAGS));
}

void
gst_avatar_denoise_props_init (GstAvatarDenoiseProps *props)
{
  props->steps = -1;
  props->seed = -1;
  props->guidance_scale = props->flow_shift = -1.0;
  props->motion_pose = props->motion_exp = -1.0;
  props->mode = AVATAR_DENOISE_MODE_AUTO;
}

void
gst_avatar_denoise_props_clear (GstAvatarDenoiseProps *props)
{
  g_clear_pointer (&props->reference, g_free);
  g_clear_pointer (&props->prompt, g_free);
  g_clear_pointer (&props->negative_prompt, g_free);
  g_clear_pointer (&props->face_box, g_free);
}

static gchar **
string_of (GstAvatarDenoiseProps *props, guint id)
{
  switch (id) {
    case PROP_REFERENCE:
      return &props->reference;
    case PROP_PROMPT:
      return &props->prompt;
    case PROP_NEGATIVE_PROMPT:
      return &props->negative_prompt;
    case PROP_FACE_BOX:
      return &props->face_box;
    default:
      return NULL;
  }
}

static gdouble *
double_of (GstAvatarDenoiseProps *props, guint id)
{
  switch (id) {
    case PROP_GUIDANCE_SCALE:
      return &props->guidance_scale;
    case PROP_FLOW_SHIFT:
      return &props->flow_shift;
    case PROP_MOTION_POSE:
      return &props->motion_pose;
    case PROP_MOTION_EXP:
      return &props->motion_exp;
    default:
      return NULL;
  }
}

gboolean
gst_avatar_denoise_props_set (GstAvatarDenoiseProps *props, guint id, const GValue *value)
{
  if (string_of (props, id)) {
    g_free (*string_of (props, id));
    *string_of (props, id) = g_value_dup_string (value);
    return TRUE;
  }
  if (double_of (props, id)) {
    *double_of (props, id) = g_value_get_double (value);
    return TRUE;
  }
  switch (id) {
    case PROP_STEPS:
      props->steps = g_value_get_int (value);
      return TRUE;
    case PROP_SEED:
      props->seed = g_value_get_int64 (value);
      return TRUE;
    case PROP_MODE:
      props->mode = g_value_get_enum (value);
      return TRUE;
    case PROP_CHUNK:
      props->chunk = g_value_get_uint (value);
      return TRUE;
    case PROP_OVERLAP:
      props->overlap = g_value_get_uint (value);
      return TRUE;
    case PROP_PRECISION:
      props->precision = g_value_get_enum (value);
      return TRUE;
    default:
      return FALSE;
  }
}

gboolean
gst_avatar_denoise_props_get (GstAvatarDenoiseProps *props, guint id, GValue *value)
{
  if (string_of (props, id)) {
    g_value_set_string (value, *string_of (props, id));
    return TRUE;
  }
  if (double_of (props, id)) {
    g_value_set_double (value, *double_of (props, id));
    return TRUE;
  }
  switch (id) {
    case PROP_STEPS:
      g_value_set_int (value, props->steps);
      return TRUE;
    case PROP_SEED:
      g_value_set_int64 (value, props->seed);
      return TRUE;
    case PROP_MODE:
      g_value_set_enum (value, props->mode);
      return TRUE;
    case PROP_CHUNK:
      g_value_set_uint (value, props->chunk);
      return TRUE;
    case PROP_OVERLAP:
      g_value_set_uint (value, props->overlap);
      return TRUE;
    case PROP_PRECISION:
      g_value_set_enum (value, props->precision);
      return TRUE;
    default:
      return FALSE;
  }
}

void
gst_avatar_denoise_props_apply (const GstAvatarDenoiseProps *props, AvatarModel *model,
    AvatarDenoiseSettings *settings)
{
  avatar_denoise_settings_init (settings, model);
  settings->mode = (AvatarDenoiseMode) props->mode;
  if (props->prompt)
    settings->prompt = props->prompt;
  if (props->negative_prompt)
    settings->negative_prompt = props->negative_prompt;
  if (props->steps >= 0)
    settings->steps = props->steps;
  if (props->guidance_scale >= 0.0)
    settings->guidance_scale = props->guidance_scale;
  if (props->flow_shift >= 0.0)
    settings->flow_shift = props->flow_shift;
  if (props->seed >= 0)
    settings->seed = props->seed;
  if (props->chunk > 0)
    settings->chunk = props->chunk;
  if (props->overlap > 0)
    settings->overlap = props->overlap;
  else if (settings->overlap >= settings->chunk)
    settings->overlap = MAX (settings->chunk / 2, 1); /* the default was for a longer chunk */
  if (props->motion_pose >= 0.0)
    settings->motion_pose = props->motion_pose;
  if (props->motion_exp >= 0.0)
    settings->motion_exp = props->motion_exp;
}

gboolean
gst_avatar_denoise_props_check (const GstAvatarDenoiseProps *props, GError **error)
{
  if (props->steps == 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "steps is 0: expected at least 1, or -1 for the model's default");
    return FALSE;
  }
  return TRUE;
}
