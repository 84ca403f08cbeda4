/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties of avatardenoise: see the header. */
#include "gst/gstavatardenoiseprops.h"

#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarloras.h"

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
  PROP_WEIGHT_FORMAT,
  PROP_LORA,
  PROP_TEXT_CACHE,
  PROP_PINNED_MEMORY,
  PROP_CACHE,
  PROP_CACHE_THRESHOLD,
  PROP_NOISE,
  PROP_POSTERIOR_NOISE,
  PROP_PARITY,
  PROP_EXACT_ROPE,
  PROP_LAST,
};

G_STATIC_ASSERT (PROP_LAST <= 64); /* sets of them are bits */

#define DEFAULT_PINNED_MEMORY "auto"
#define FLAGS (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY)
#define PLAYING_FLAGS (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING)
/* Of the blurbs of those that may change. */
#define NEXT_WINDOW ". Set while playing, it holds from the next window on"

static const struct
{
  guint id;
  const gchar *name;
} changeable[] = {
  { PROP_REFERENCE, "reference" },
  { PROP_PROMPT, "prompt" },
  { PROP_NEGATIVE_PROMPT, "negative-prompt" },
  { PROP_FACE_BOX, "face-box" },
  { PROP_STEPS, "steps" },
  { PROP_GUIDANCE_SCALE, "guidance-scale" },
  { PROP_FLOW_SHIFT, "flow-shift" },
  { PROP_SEED, "seed" },
  { PROP_MOTION_POSE, "motion-pose" },
  { PROP_MOTION_EXP, "motion-exp" },
};

static const GEnumValue modes[] = {
  { AVATAR_DENOISE_MODE_AUTO, "Clip if the audio fits in one window, else stream", "auto" },
  { AVATAR_DENOISE_MODE_CLIP, "Windows over the whole audio, after it has ended", "clip" },
  { AVATAR_DENOISE_MODE_STREAM, "Window after window with overlap, bounded memory", "stream" },
  { 0, NULL, NULL },
};

static const GEnumValue precisions[] = {
  { AVATAR_PRECISION_AUTO, "float32 on the CPU, bfloat16 on a GPU", "auto" },
  { AVATAR_PRECISION_FP8, "The blocks in 8-bit floating point, on GPUs that have it", "fp8" },
  { 0, NULL, NULL },
};

static const GEnumValue weight_formats[] = {
  { AVATAR_WEIGHT_FORMAT_STORED, "8-bit if the file is, else 16-bit", "stored" },
  { AVATAR_WEIGHT_FORMAT_FP8, "8-bit floating point, scaled row by row", "fp8" },
  { AVATAR_WEIGHT_FORMAT_INT8, "8-bit integers, scaled row by row", "int8" },
  { 0, NULL, NULL },
};

static const GEnumValue caches[] = {
  { AVATAR_STEP_CACHE_NONE, "Every step runs the whole transformer", "none" },
  { AVATAR_STEP_CACHE_UPSTREAM, "Upstream's table of steps that run its last block only",
      "upstream" },
  { AVATAR_STEP_CACHE_ADAPTIVE, "The whole only when cache-threshold is passed", "adaptive" },
  { 0, NULL, NULL },
};

gboolean
gst_avatar_denoise_props_is_changeable (guint id)
{
  for (guint i = 0; i < G_N_ELEMENTS (changeable); i++)
    if (changeable[i].id == id)
      return TRUE;
  return FALSE;
}

static GParamFlags
flags_of (guint id)
{
  return gst_avatar_denoise_props_is_changeable (id) ? PLAYING_FLAGS : FLAGS;
}

/* Types last as long as the process, so they are looked up by name. */
static GType
enum_type (const gchar *name, const GEnumValue *values)
{
  GType type = g_type_from_name (name);

  if (type == 0) {
    type = g_enum_register_static (name, values);
    gst_type_mark_as_plugin_api (type, 0);
  }
  return type;
}

static void
install_enum (GObjectClass *klass, guint id, const gchar *name, const gchar *nick,
    const gchar *blurb, GType type)
{
  g_object_class_install_property (klass, id,
      g_param_spec_enum (name, nick, blurb, type, 0, FLAGS));
}

static void
install_string (GObjectClass *klass, guint id, const gchar *name, const gchar *nick,
    const gchar *blurb)
{
  g_object_class_install_property (klass, id,
      g_param_spec_string (name, nick, blurb, NULL, flags_of (id)));
}

static void
install_double (GObjectClass *klass, guint id, const gchar *name, const gchar *nick,
    const gchar *blurb, gdouble max)
{
  g_object_class_install_property (klass, id,
      g_param_spec_double (name, nick, blurb, -1.0, max, -1.0, flags_of (id)));
}

static void
install_uint (GObjectClass *klass, guint id, const gchar *name, const gchar *nick,
    const gchar *blurb, guint max)
{
  g_object_class_install_property (klass, id,
      g_param_spec_uint (name, nick, blurb, 0, max, 0, FLAGS));
}

/* For comparisons with other implementations. */
static void
install_parity (GObjectClass *klass)
{
  install_string (klass, PROP_NOISE, "noise", "Noise",
      "File with the initial noise in place of noise by seed: safetensors or PyTorch's, one tensor of "
      "[channels, frames, height, width] of the latents, at most a 1 before that");
  install_string (klass, PROP_POSTERIOR_NOISE, "posterior-noise", "Posterior noise",
      "What of the portrait's posterior is taken: mode = its mean, seeded = a sample for every latent "
      "frame, by seed, or a file of noise as for noise (upstream takes a sample without a seed); "
      "unset = mode");
  g_object_class_install_property (klass, PROP_PARITY,
      g_param_spec_boolean ("parity", "Parity",
          "Round what is between the networks to 16 bits where upstream does, for comparisons",
          FALSE, FLAGS));
  g_object_class_install_property (klass, PROP_EXACT_ROPE,
      g_param_spec_boolean ("exact-rope", "Exact rotary embedding",
          "Positions of prompts as they are meant, rather than in the 16-bit rounding in which upstream "
          "computes them and the transformer was trained; of models that have a text encoder",
          FALSE, FLAGS));
}

/* How it is computed rather than what. */
static void
install_compute (GObjectClass *klass)
{
  install_enum (klass, PROP_PRECISION, "precision", "Precision", "Number format of the computation",
      enum_type ("GstAvatarPrecision", precisions));
  install_enum (klass, PROP_WEIGHT_FORMAT, "weight-format", "Weight format",
      "How weights are kept on a GPU: 8 bits take half the memory and a little of the quality",
      enum_type ("GstAvatarWeightFormat", weight_formats));
  install_string (klass, PROP_LORA, "lora", "LoRA",
      "LoRA files for the transformer, as PATH[:STRENGTH][,PATH[:STRENGTH]...]; strength 1 unless "
      "given, a comma within a path as \\,; unset = none");
  g_object_class_install_property (klass, PROP_PINNED_MEMORY,
      g_param_spec_string ("pinned-memory", "Pinned memory",
          "Most of the host's memory to pin for weights that a GPU fetches, the rest coming from "
          "the files: MiB as a number (0 = none), N% of the machine's memory, or auto (half)",
          DEFAULT_PINNED_MEMORY, FLAGS));
  install_string (klass, PROP_TEXT_CACHE, "text-cache", "Text cache",
      "Folder in which encoded prompts are kept for the next run, of models that have a text encoder; "
      "none = nowhere; unset = gst-avatar/text in the user's cache folder");
  install_enum (klass, PROP_CACHE, "cache", "Step cache",
      "Which steps run the last block of the transformer only, on what they had before",
      enum_type ("GstAvatarCache", caches));
  install_double (klass, PROP_CACHE_THRESHOLD, "cache-threshold", "Cache threshold",
      "Relative change that cache=adaptive lets pass; -1 = the default, 0.05", 100.0);
}

void
gst_avatar_denoise_props_install (GObjectClass *klass)
{
  install_string (klass, PROP_REFERENCE, "reference", "Reference",
      "Portrait to animate: a PNG or JPEG file of any size (unless there is the reference pad)" NEXT_WINDOW
      ", at the same size of video");
  install_string (klass, PROP_PROMPT, "prompt", "Prompt",
      "What the picture shows, in words; unset = the model's default" NEXT_WINDOW);
  install_string (klass, PROP_NEGATIVE_PROMPT, "negative-prompt", "Negative prompt",
      "What the picture must not show; needs guidance-scale > 1; unset = the model's default" NEXT_WINDOW);
  install_string (klass, PROP_FACE_BOX, "face-box", "Face box",
      "The face, as x,y,width,height in pixels of the whole portrait, in which a crop keeps it; unset = "
      "the largest that the model's face detector finds there, or the whole picture, with a "
      "warning" NEXT_WINDOW);
  g_object_class_install_property (klass, PROP_STEPS,
      g_param_spec_int ("steps", "Steps",
          "Denoising steps: more are better and slower; -1 = the model's default, 0 is an error" NEXT_WINDOW,
          -1, 1000, -1, PLAYING_FLAGS));
  install_double (klass, PROP_GUIDANCE_SCALE, "guidance-scale", "Guidance scale",
      "Classifier-free guidance, which doubles the work; <= 1 = none, -1 = the model's default" NEXT_WINDOW,
      100.0);
  install_double (klass, PROP_FLOW_SHIFT, "flow-shift", "Flow shift",
      "How far the noise schedule leans to noisy steps; -1 = the model's default" NEXT_WINDOW,
      100.0);
  g_object_class_install_property (klass, PROP_SEED,
      g_param_spec_int64 ("seed", "Seed",
          "Seed of the noise: the same seed makes the same video; -1 = the engine's fixed default" NEXT_WINDOW,
          -1, G_MAXINT64, -1, PLAYING_FLAGS));
  install_enum (klass, PROP_MODE, "mode", "Mode", "How audio longer than one window is cut",
      enum_type ("GstAvatarDenoiseMode", modes));
  install_uint (klass, PROP_CHUNK, "chunk", "Chunk",
      "Latent frames (160 ms) of a window in stream mode; 0 = the model's window", 4096);
  install_uint (klass, PROP_OVERLAP, "overlap", "Overlap",
      "Latent frames (160 ms) that a window shares with the one before in stream mode; "
      "0 = the default",
      4095);
  install_double (klass, PROP_MOTION_POSE, "motion-pose", "Motion of the head",
      "Strength of head motion, 25 is normal; -1 = the model's default" NEXT_WINDOW, 1000.0);
  install_double (klass, PROP_MOTION_EXP, "motion-exp", "Motion of the face",
      "Strength of expression, 30 is normal; -1 = the model's default" NEXT_WINDOW, 1000.0);
  install_compute (klass);
  install_parity (klass);
}

void
gst_avatar_denoise_props_init (GstAvatarDenoiseProps *props)
{
  props->steps = -1;
  props->seed = -1;
  props->guidance_scale = props->flow_shift = -1.0;
  props->motion_pose = props->motion_exp = props->cache_threshold = -1.0;
  props->pinned_memory = g_strdup (DEFAULT_PINNED_MEMORY);
}

void
gst_avatar_denoise_props_copy (GstAvatarDenoiseProps *copy, const GstAvatarDenoiseProps *props)
{
  *copy = *props;
  copy->reference = g_strdup (props->reference);
  copy->prompt = g_strdup (props->prompt);
  copy->negative_prompt = g_strdup (props->negative_prompt);
  copy->face_box = g_strdup (props->face_box);
  copy->pinned_memory = g_strdup (props->pinned_memory);
  copy->lora = g_strdup (props->lora);
  copy->prompt_cache_dir = g_strdup (props->prompt_cache_dir);
  copy->noise = g_strdup (props->noise);
  copy->posterior_noise = g_strdup (props->posterior_noise);
  copy->loras = props->loras ? g_array_ref (props->loras) : NULL;
}

void
gst_avatar_denoise_props_clear (GstAvatarDenoiseProps *props)
{
  g_clear_pointer (&props->reference, g_free);
  g_clear_pointer (&props->prompt, g_free);
  g_clear_pointer (&props->negative_prompt, g_free);
  g_clear_pointer (&props->face_box, g_free);
  g_clear_pointer (&props->pinned_memory, g_free);
  g_clear_pointer (&props->lora, g_free);
  g_clear_pointer (&props->prompt_cache_dir, g_free);
  g_clear_pointer (&props->noise, g_free);
  g_clear_pointer (&props->posterior_noise, g_free);
  g_clear_pointer (&props->loras, g_array_unref);
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
    case PROP_LORA:
      return &props->lora;
    case PROP_TEXT_CACHE:
      return &props->prompt_cache_dir;
    case PROP_PINNED_MEMORY:
      return &props->pinned_memory;
    case PROP_NOISE:
      return &props->noise;
    case PROP_POSTERIOR_NOISE:
      return &props->posterior_noise;
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
    case PROP_CACHE_THRESHOLD:
      return &props->cache_threshold;
    default:
      return NULL;
  }
}

static gint *
enum_of (GstAvatarDenoiseProps *props, guint id)
{
  switch (id) {
    case PROP_MODE:
      return &props->mode;
    case PROP_PRECISION:
      return &props->precision;
    case PROP_WEIGHT_FORMAT:
      return &props->weight_format;
    case PROP_CACHE:
      return &props->cache;
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
    if (id == PROP_LORA) { /* what is wrong with it is told by gst_avatar_denoise_props_check() */
      g_clear_pointer (&props->loras, g_array_unref);
      props->loras = gst_avatar_loras_parse (props->lora, NULL);
    }
    return TRUE;
  }
  if (double_of (props, id)) {
    *double_of (props, id) = g_value_get_double (value);
    return TRUE;
  }
  if (enum_of (props, id)) {
    *enum_of (props, id) = g_value_get_enum (value);
    return TRUE;
  }
  switch (id) {
    case PROP_STEPS:
      props->steps = g_value_get_int (value);
      return TRUE;
    case PROP_SEED:
      props->seed = g_value_get_int64 (value);
      return TRUE;
    case PROP_CHUNK:
      props->chunk = g_value_get_uint (value);
      return TRUE;
    case PROP_OVERLAP:
      props->overlap = g_value_get_uint (value);
      return TRUE;
    case PROP_PARITY:
      props->parity = g_value_get_boolean (value);
      return TRUE;
    case PROP_EXACT_ROPE:
      props->exact_rope = g_value_get_boolean (value);
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
  if (enum_of (props, id)) {
    g_value_set_enum (value, *enum_of (props, id));
    return TRUE;
  }
  switch (id) {
    case PROP_STEPS:
      g_value_set_int (value, props->steps);
      return TRUE;
    case PROP_SEED:
      g_value_set_int64 (value, props->seed);
      return TRUE;
    case PROP_CHUNK:
      g_value_set_uint (value, props->chunk);
      return TRUE;
    case PROP_OVERLAP:
      g_value_set_uint (value, props->overlap);
      return TRUE;
    case PROP_PARITY:
      g_value_set_boolean (value, props->parity);
      return TRUE;
    case PROP_EXACT_ROPE:
      g_value_set_boolean (value, props->exact_rope);
      return TRUE;
    default:
      return FALSE;
  }
}

guint64
gst_avatar_denoise_props_bit (const gchar *name)
{
  for (guint i = 0; i < G_N_ELEMENTS (changeable); i++)
    if (g_str_equal (changeable[i].name, name))
      return G_GUINT64_CONSTANT (1) << changeable[i].id;
  g_return_val_if_reached (0);
}

/* The value of @id; G_TYPE_INVALID: not one of ours. */
static void
get_value (const GstAvatarDenoiseProps *props, guint id, GValue *value)
{
  GstAvatarDenoiseProps *p = (GstAvatarDenoiseProps *) props;

  if (string_of (p, id))
    g_value_init (value, G_TYPE_STRING);
  else if (double_of (p, id))
    g_value_init (value, G_TYPE_DOUBLE);
  else if (id == PROP_STEPS)
    g_value_init (value, G_TYPE_INT);
  else if (id == PROP_SEED)
    g_value_init (value, G_TYPE_INT64);
  else if (id == PROP_CHUNK || id == PROP_OVERLAP)
    g_value_init (value, G_TYPE_UINT);
  else if (id == PROP_PARITY || id == PROP_EXACT_ROPE)
    g_value_init (value, G_TYPE_BOOLEAN);
  else
    return;
  gst_avatar_denoise_props_get (p, id, value);
}

static gboolean
is_same (const GstAvatarDenoiseProps *a, const GstAvatarDenoiseProps *b, guint id)
{
  g_auto (GValue) x = G_VALUE_INIT;
  g_auto (GValue) y = G_VALUE_INIT;
  const gint *of_a = enum_of ((GstAvatarDenoiseProps *) a, id);

  if (of_a)
    return *of_a == *enum_of ((GstAvatarDenoiseProps *) b, id);
  get_value (a, id, &x);
  get_value (b, id, &y);
  return !G_IS_VALUE (&x) || gst_value_compare (&x, &y) == GST_VALUE_EQUAL;
}

guint64
gst_avatar_denoise_props_differ (const GstAvatarDenoiseProps *a, const GstAvatarDenoiseProps *b,
    guint64 ids)
{
  guint64 differ = 0;

  for (guint id = 1; id < PROP_LAST; id++)
    if (ids >> id & 1 && !is_same (a, b, id))
      differ |= G_GUINT64_CONSTANT (1) << id;
  return differ;
}

void
gst_avatar_denoise_props_take (GstAvatarDenoiseProps *to, const GstAvatarDenoiseProps *from,
    guint64 ids)
{
  for (guint id = 1; id < PROP_LAST; id++) {
    g_auto (GValue) value = G_VALUE_INIT;

    if (!(ids >> id & 1))
      continue;
    get_value (from, id, &value);
    gst_avatar_denoise_props_set (to, id, &value);
  }
}

void
gst_avatar_denoise_props_describe (const GstAvatarDenoiseProps *props, guint64 ids,
    GstStructure *structure)
{
  for (guint i = 0; i < G_N_ELEMENTS (changeable); i++) {
    GValue value = G_VALUE_INIT;

    if (!(ids >> changeable[i].id & 1))
      continue;
    get_value (props, changeable[i].id, &value);
    gst_structure_take_value (structure, changeable[i].name, &value);
  }
}

void
gst_avatar_denoise_props_notify (GObject *object, guint64 ids)
{
  for (guint i = 0; i < G_N_ELEMENTS (changeable); i++)
    if (ids >> changeable[i].id & 1)
      g_object_notify (object, changeable[i].name);
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
  settings->prompt_cache_dir = props->prompt_cache_dir;
  if (props->steps >= 0)
    settings->steps = props->steps;
  if (props->guidance_scale >= 0.0)
    settings->guidance_scale = props->guidance_scale;
  if (props->flow_shift >= 0.0)
    settings->flow_shift = props->flow_shift;
  if (props->seed >= 0)
    settings->seed = props->seed;
  if (props->chunk > 0)
    settings->window_latents = props->chunk;
  if (props->overlap > 0)
    settings->overlap = props->overlap;
  else if (settings->overlap >= settings->window_latents)
    settings->overlap
        = MAX (settings->window_latents / 2, 1); /* the default was for a longer chunk */
  if (props->motion_pose >= 0.0)
    settings->motion_pose = props->motion_pose;
  if (props->motion_exp >= 0.0)
    settings->motion_exp = props->motion_exp;
  settings->precision = (AvatarPrecision) props->precision;
  settings->weight_format = (AvatarWeightFormat) props->weight_format;
  settings->step_cache = (AvatarStepCacheMode) props->cache;
  if (props->cache_threshold >= 0.0)
    settings->step_cache_threshold = props->cache_threshold;
  if (props->loras) {
    settings->loras = (const AvatarLoraSetting *) props->loras->data;
    settings->n_loras = props->loras->len;
  }
  if (props->noise && *props->noise)
    settings->noise_file = props->noise;
  if (props->posterior_noise && *props->posterior_noise)
    settings->posterior_noise = props->posterior_noise;
  settings->upstream_rounding = props->parity;
  settings->exact_rope = props->exact_rope;
  /* gst_avatar_denoise_props_check() has taken it */
  avatar_parse_pinned_memory (props->pinned_memory, &settings->pinned_bytes, NULL);
}

gboolean
gst_avatar_denoise_props_check (const GstAvatarDenoiseProps *props, GError **error)
{
  g_autoptr (GArray) loras = gst_avatar_loras_parse (props->lora, error);
  guint64 pinned;

  if (!loras)
    return FALSE;
  if (props->steps == 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "steps is 0: expected at least 1, or -1 for the model's default");
    return FALSE;
  }
  return avatar_parse_pinned_memory (props->pinned_memory, &pinned, error);
}
