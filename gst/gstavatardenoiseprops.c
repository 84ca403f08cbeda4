/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties of avatardenoise: see the header. */
#include "gst/gstavatardenoiseprops.h"

#include "gst/gstavatardenoiseids.h"
#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarenums.h"
#include "gst/gstavatarloras.h"
#include "gst/gstavatarsigmas.h"

G_STATIC_ASSERT (PROP_LAST <= 64); /* sets of properties are bit masks */

#define DEFAULT_PINNED_MEMORY "auto"
#define FLAGS GST_AVATAR_DENOISE_FIXED
#define PLAYING_FLAGS (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING)
/* Ends the blurbs of properties that may change while playing. */
#define NEXT_WINDOW ". If set while playing, it takes effect with the next window"

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
  { PROP_IDLE_STEPS, "idle-steps" },
  { PROP_GUIDANCE_SCALE, "guidance-scale" },
  { PROP_GUIDANCE_BORDER, "guidance-border" },
  { PROP_FLOW_SHIFT, "flow-shift" },
  { PROP_SIGMAS, "sigmas" },
  { PROP_SEED, "seed" },
  { PROP_MOTION_POSE, "motion-pose" },
  { PROP_MOTION_EXP, "motion-exp" },
  { PROP_LORA, "lora" },
};

static const GstAvatarAlias aliases[] = {
  { "chunk", "window-latents" },
  { "noise", "noise-location" },
  { "text-cache", "prompt-cache-location" },
  { "cache", "step-cache" },
  { "parity", "upstream-rounding" },
  { NULL, NULL },
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

static void
install_weights (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:precision:
   *
   * Number format of matrix products.
   *
   * Since: 0.1
   */
  install_enum (klass, PROP_PRECISION, "precision", "Precision", "Number format of the computation",
      GST_TYPE_AVATAR_PRECISION);
  /**
   * GstAvatarDenoise:weight-format:
   *
   * Format of the transformer's weights on a GPU.
   *
   * Since: 0.1
   */
  install_enum (klass, PROP_WEIGHT_FORMAT, "weight-format", "Weight format",
      "Format of weights on a GPU: 8 bits need half the memory and lose a little quality",
      GST_TYPE_AVATAR_WEIGHT_FORMAT);
  /**
   * GstAvatarDenoise:lora:
   *
   * LoRA files that are merged into the transformer, each with an optional strength: a number, one
   * for each step (0/0.5/1/1), or one for a range of noise levels (1@0.98-0). If files or strengths
   * change while playing, the weights are made again before the next window, which takes as long as
   * at the start.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_LORA, "lora", "LoRA",
      "LoRA files for the transformer, as PATH[:STRENGTH][,PATH[:STRENGTH]...]; the default strength "
      "is 1, 0/1/1 is one for each step, 1@0.98-0 one for a range of sigma, a comma within a path is written as \\,; unset = none" NEXT_WINDOW
      ", after the weights were made again");
  /**
   * GstAvatarDenoise:preset-file:
   *
   * Path of a JSON file with steps, noise levels, guidance, step cache and LoRAs, which authors of
   * weights for few steps can write. It replaces the model's defaults; properties that are set
   * replace its values. docs/guide/speed.md has the format.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_PRESET_FILE, "preset-file", "Preset file",
      "Path of a JSON file with steps, sigmas, guidance, step cache and LoRAs for properties that are "
      "not set; unset = none");
  /**
   * GstAvatarDenoise:pinned-memory:
   *
   * Maximum amount of host memory to page-lock for weights that are streamed to a GPU. Weights
   * beyond it are read from the model's files.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_PINNED_MEMORY,
      g_param_spec_string ("pinned-memory", "Pinned memory",
          "Maximum host memory to pin for weights that are streamed to a GPU; further weights are read "
          "from files: a number of MiB (0 = none), N% of the machine's memory, or auto (half of it)",
          DEFAULT_PINNED_MEMORY, FLAGS));
}

static void
install_caches (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:prompt-cache-location:
   *
   * Path of the folder in which encoded prompts are kept for later runs. Models without a text
   * encoder ignore it.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_PROMPT_CACHE, "prompt-cache-location", "Prompt cache location",
      "Path of the folder in which encoded prompts are kept for later runs; none = no cache; unset = "
      "gst-avatar/text in the user's cache folder; for models with a text encoder");
  /**
   * GstAvatarDenoise:step-cache:
   *
   * Selects the denoising steps that do not run the whole transformer: with `upstream` and
   * `adaptive` they run its last block, on tokens of an earlier step; with `easy` and `forecast`
   * they run nothing, and use what earlier steps computed. This is faster and changes the picture.
   *
   * Since: 0.1
   */
  install_enum (klass, PROP_STEP_CACHE, "step-cache", "Step cache",
      "Selection of cached steps, which run only the last block of the transformer, on tokens of an "
      "earlier step, or none, with velocities of earlier steps",
      GST_TYPE_AVATAR_STEP_CACHE);
  /**
   * GstAvatarDenoise:cache-threshold:
   *
   * Relative change up to which step-cache=adaptive (of the modulation) and step-cache=easy (of the
   * velocity) use cached steps.
   *
   * Since: 0.1
   */
  install_double (klass, PROP_CACHE_THRESHOLD, "cache-threshold", "Cache threshold",
      "Relative change up to which step-cache=adaptive (of the modulation) and step-cache=easy (of the "
      "velocity) use cached steps; -1 = the default, 0.05",
      100.0);
  /**
   * GstAvatarDenoise:cache-steps:
   *
   * Largest number of steps that run the transformer with step-cache=forecast. The first two steps
   * of each phase of guidance and the last one always do.
   *
   * Since: 0.1
   */
  install_uint (klass, PROP_CACHE_STEPS, "cache-steps", "Cache steps",
      "Number of steps that run the transformer with step-cache=forecast; 0 = 30 % of the steps, at "
      "least 8",
      1000);
}

static void
install_pictures (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:reference:
   *
   * Path of the portrait to animate. Not used if the reference pad is requested.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_REFERENCE, "reference", "Reference",
      "Path of the portrait to animate, a PNG or JPEG file of any size; not used if the reference pad "
      "is requested" NEXT_WINDOW ", in a video of the same size");
  /**
   * GstAvatarDenoise:prompt:
   *
   * Description of the video.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_PROMPT, "prompt", "Prompt",
      "Description of the video in words; unset = the model's default" NEXT_WINDOW);
  /**
   * GstAvatarDenoise:negative-prompt:
   *
   * Description of undesired content. Used only with #GstAvatarDenoise:guidance-scale above 1.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_NEGATIVE_PROMPT, "negative-prompt", "Negative prompt",
      "Description of undesired content; used if guidance-scale is above 1; unset = the model's "
      "default" NEXT_WINDOW);
  /**
   * GstAvatarDenoise:face-box:
   *
   * Box of the face on the portrait. A crop keeps it visible, and the audio animates it.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_FACE_BOX, "face-box", "Face box",
      "Face to animate, as x,y,width,height in pixels of the whole portrait; unset = the largest face "
      "that the model's detector finds, or else the whole picture, with a warning" NEXT_WINDOW);
}

static void
install_sampling (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:steps:
   *
   * Number of denoising steps.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_STEPS,
      g_param_spec_int ("steps", "Steps",
          "Number of denoising steps, at least 1; more steps are slower and improve the picture; -1 = "
          "the model's default" NEXT_WINDOW,
          -1, 1000, -1, PLAYING_FLAGS));
  /**
   * GstAvatarDenoise:idle-steps:
   *
   * Number of denoising steps of windows in silence, whose new video frames all have features with
   * the flag GAP.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_IDLE_STEPS,
      g_param_spec_uint ("idle-steps", "Idle steps",
          "Number of denoising steps of windows whose new video frames are all in silence, as the flag "
          "GAP of their features says, to save computing; not in clip mode; 0 = as steps" NEXT_WINDOW,
          0, 1000, 0, PLAYING_FLAGS));
  /**
   * GstAvatarDenoise:flow-shift:
   *
   * Shift of the noise schedule towards steps with much noise.
   *
   * Since: 0.1
   */
  install_double (klass, PROP_FLOW_SHIFT, "flow-shift", "Flow shift",
      "Shift of the noise schedule towards steps with much noise, above 0; 1 = no shift, -1 = the model's default" NEXT_WINDOW,
      100.0);
  /**
   * GstAvatarDenoise:sigmas:
   *
   * Noise level of each denoising step, from 1 (noise) downwards, as the author of few-step weights
   * gives them. The last step ends at 0, which is not part of the list. Excludes
   * #GstAvatarDenoise:flow-shift, and sets #GstAvatarDenoise:steps unless that is set to the same
   * number. Windows with another number of steps (#GstAvatarDenoise:idle-steps,
   * #GstAvatarDenoise:late-policy) use levels interpolated from the list.
   *
   * Since: 0.1
   */
  install_string (klass, PROP_SIGMAS, "sigmas", "Sigmas",
      "Noise level of each step instead of steps and flow-shift: descending numbers, at most 1 and "
      "above 0, separated by commas, such as 1,0.96,0.9,0.75; unset = from flow-shift" NEXT_WINDOW);
  /**
   * GstAvatarDenoise:seed:
   *
   * Seed of the initial noise. Runs with the same seed and settings give the same video.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_SEED,
      g_param_spec_int64 ("seed", "Seed",
          "Seed of the noise: the same seed gives the same video; -1 = a fixed default" NEXT_WINDOW,
          -1, G_MAXINT64, -1, PLAYING_FLAGS));
}

static void
install_guidance (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:guidance-scale:
   *
   * Strength of classifier-free guidance. Up to 1, each step has one forward of the transformer,
   * with the prompt, the audio and the whole face mask; weights that were distilled with guidance
   * need it so. Above 1, a second forward without audio is the base, in two phases: first with
   * #GstAvatarDenoise:negative-prompt and the face mask at 0.6, then with the prompt and the whole
   * mask. #GstAvatarDenoise:guidance-border is between them.
   *
   * Since: 0.1
   */
  install_double (klass, PROP_GUIDANCE_SCALE, "guidance-scale", "Guidance scale",
      "Strength of classifier-free guidance, which doubles the computation; <= 1 = off, -1 = the "
      "model's default" NEXT_WINDOW,
      100.0);
  /**
   * GstAvatarDenoise:guidance-border:
   *
   * Noise level (sigma) between the two phases of #GstAvatarDenoise:guidance-scale: steps above it
   * belong to the first one. By default the first phase has 10 steps, as in HunyuanVideo-Avatar,
   * whatever their number: with 10 or fewer the second one never comes. 0.955 is the same at
   * 50 steps with #GstAvatarDenoise:flow-shift 5, whose steps 9 and 10 are at 0.958 and 0.952, and
   * gives the first phase 2 of 8 steps.
   *
   * Since: 0.1
   */
  install_double (klass, PROP_GUIDANCE_BORDER, "guidance-border", "Guidance border",
      "Noise level (sigma) above which guidance uses the negative prompt, below it audio only; 0.955 "
      "corresponds to 10 of 50 steps; 1 = audio only, -1 or 0 = the first 10 steps" NEXT_WINDOW,
      1.0);
  /**
   * GstAvatarDenoise:motion-pose:
   *
   * Strength of head motion.
   *
   * Since: 0.1
   */
  install_double (klass, PROP_MOTION_POSE, "motion-pose", "Head motion",
      "Strength of head motion; 25 is normal; -1 = the model's default" NEXT_WINDOW, 1000.0);
  /**
   * GstAvatarDenoise:motion-exp:
   *
   * Strength of facial expression.
   *
   * Since: 0.1
   */
  install_double (klass, PROP_MOTION_EXP, "motion-exp", "Facial expression",
      "Strength of facial expression; 30 is normal; -1 = the model's default" NEXT_WINDOW, 1000.0);
}

static void
install_windows (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:mode:
   *
   * Denoising of audio that is longer than one window.
   *
   * Since: 0.1
   */
  install_enum (klass, PROP_MODE, "mode", "Mode", "Denoising of audio longer than one window",
      GST_TYPE_AVATAR_DENOISE_MODE);
  /**
   * GstAvatarDenoise:window-latents:
   *
   * Length of a window in stream mode.
   *
   * Since: 0.1
   */
  install_uint (klass, PROP_WINDOW_LATENTS, "window-latents", "Window in latent frames",
      "Length of a window in stream mode, in latent frames (160 ms); 0 = the model's window", 4096);
  /**
   * GstAvatarDenoise:overlap:
   *
   * Overlap of consecutive windows in stream mode.
   *
   * Since: 0.1
   */
  install_uint (klass, PROP_OVERLAP, "overlap", "Overlap",
      "Overlap of consecutive windows in stream mode, in latent frames (160 ms), shorter than a window; 0 = 5, or half of a window of at most 5",
      4095);
  /**
   * GstAvatarDenoise:late-policy:
   *
   * Handling of windows that cannot be shown in time: by clock and latency of a live pipeline, and
   * by QOS events of sinks. Each decision is told by the element message
   * "avatar-late". A decoder with #GstAvatarVaeDecode:tiling=stream shows the last frame instead of
   * a window that is skipped.
   *
   * Since: 0.1
   */
  install_enum (klass, PROP_LATE_POLICY, "late-policy", "Late policy",
      "Handling of windows that cannot be shown in time in a live pipeline, or that sinks report as "
      "late",
      GST_TYPE_AVATAR_LATE_POLICY);
  /**
   * GstAvatarDenoise:continuation:
   *
   * Continuation of the window before in stream mode. With "held", head and eyes may jump where
   * windows join; "corrected" continues their motion.
   *
   * Since: 0.1
   */
  install_enum (klass, PROP_CONTINUATION, "continuation", "Continuation",
      "Continuation of the window before in stream mode: corrected avoids that head and eyes jump "
      "where windows join",
      GST_TYPE_AVATAR_CONTINUATION);
}

void
gst_avatar_denoise_props_install (GObjectClass *klass)
{
  install_pictures (klass);
  install_sampling (klass);
  install_guidance (klass);
  install_windows (klass);
  install_weights (klass);
  install_caches (klass);
  gst_avatar_denoise_install_fixed (klass);
  gst_avatar_aliases_install (klass, aliases);
}

void
gst_avatar_denoise_props_init (GstAvatarDenoiseProps *props)
{
  props->steps = -1;
  props->seed = -1;
  props->guidance_scale = props->guidance_border = props->flow_shift = -1.0;
  props->motion_pose = props->motion_exp = props->cache_threshold = -1.0;
  props->attention_tau = props->attention_dense_steps = -1.0;
  props->attention_dense_layers = 1;
  props->pinned_memory = g_strdup (DEFAULT_PINNED_MEMORY);
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
    case PROP_SIGMAS:
      return &props->sigmas;
    case PROP_PRESET_FILE:
      return &props->preset_file;
    case PROP_PROMPT_CACHE:
      return &props->prompt_cache;
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
    case PROP_GUIDANCE_BORDER:
      return &props->guidance_border;
    case PROP_FLOW_SHIFT:
      return &props->flow_shift;
    case PROP_MOTION_POSE:
      return &props->motion_pose;
    case PROP_MOTION_EXP:
      return &props->motion_exp;
    case PROP_CACHE_THRESHOLD:
      return &props->cache_threshold;
    case PROP_ATTENTION_TAU:
      return &props->attention_tau;
    case PROP_ATTENTION_DENSE_STEPS:
      return &props->attention_dense_steps;
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
    case PROP_CONTINUATION:
      return &props->continuation;
    case PROP_PRECISION:
      return &props->precision;
    case PROP_WEIGHT_FORMAT:
      return &props->weight_format;
    case PROP_STEP_CACHE:
      return &props->step_cache;
    case PROP_ATTENTION:
      return &props->attention;
    case PROP_LATE_POLICY:
      return &props->late_policy;
    default:
      return NULL;
  }
}

/* Parses the string @id, if it is a list. gst_avatar_denoise_props_check() reports errors. */
static void
parse_list (GstAvatarDenoiseProps *props, guint id)
{
  if (id == PROP_LORA) {
    g_clear_pointer (&props->loras, g_array_unref);
    props->loras = gst_avatar_loras_parse (props->lora, NULL);
  } else if (id == PROP_SIGMAS) {
    g_clear_pointer (&props->sigma_values, g_array_unref);
    props->sigma_values = gst_avatar_sigmas_parse (props->sigmas, NULL);
  }
}

gboolean
gst_avatar_denoise_props_set (GstAvatarDenoiseProps *props, guint id, const GValue *value)
{
  if (string_of (props, id)) {
    g_free (*string_of (props, id));
    *string_of (props, id) = g_value_dup_string (value);
    parse_list (props, id);
    return TRUE;
  }
  if (double_of (props, id)) {
    *double_of (props, id) = g_value_get_double (value);
    return TRUE;
  }
  if (enum_of (props, id)) {
    *enum_of (props, id) = g_value_get_enum (value);
    props->has_step_cache |= id == PROP_STEP_CACHE;
    return TRUE;
  }
  switch (id) {
    case PROP_STEPS:
      props->steps = g_value_get_int (value);
      return TRUE;
    case PROP_IDLE_STEPS:
      props->idle_steps = g_value_get_uint (value);
      return TRUE;
    case PROP_ATTENTION_DENSE_LAYERS:
      props->attention_dense_layers = g_value_get_uint (value);
      return TRUE;
    case PROP_SEED:
      props->seed = g_value_get_int64 (value);
      return TRUE;
    case PROP_WINDOW_LATENTS:
      props->window_latents = g_value_get_uint (value);
      return TRUE;
    case PROP_OVERLAP:
      props->overlap = g_value_get_uint (value);
      return TRUE;
    case PROP_CACHE_STEPS:
      props->cache_steps = g_value_get_uint (value);
      return TRUE;
    case PROP_UPSTREAM_ROUNDING:
      props->upstream_rounding = g_value_get_boolean (value);
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
    case PROP_IDLE_STEPS:
      g_value_set_uint (value, props->idle_steps);
      return TRUE;
    case PROP_ATTENTION_DENSE_LAYERS:
      g_value_set_uint (value, props->attention_dense_layers);
      return TRUE;
    case PROP_SEED:
      g_value_set_int64 (value, props->seed);
      return TRUE;
    case PROP_WINDOW_LATENTS:
      g_value_set_uint (value, props->window_latents);
      return TRUE;
    case PROP_OVERLAP:
      g_value_set_uint (value, props->overlap);
      return TRUE;
    case PROP_CACHE_STEPS:
      g_value_set_uint (value, props->cache_steps);
      return TRUE;
    case PROP_UPSTREAM_ROUNDING:
      g_value_set_boolean (value, props->upstream_rounding);
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

/* Initialises @value with the value of @id; leaves it unset if @id is not one of these
 * properties. */
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
  else if (id == PROP_WINDOW_LATENTS || id == PROP_OVERLAP || id == PROP_IDLE_STEPS
      || id == PROP_CACHE_STEPS || id == PROP_ATTENTION_DENSE_LAYERS)
    g_value_init (value, G_TYPE_UINT);
  else if (id == PROP_UPSTREAM_ROUNDING || id == PROP_EXACT_ROPE)
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
