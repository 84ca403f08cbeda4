/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The properties of avatardenoise, and their conversion to settings of the engine. */
#pragma once

#include <avatar/preset.h>
#include <gst/gst.h>

G_BEGIN_DECLS

/* Values of the properties; -1 or 0 is the model's default if the blurb says so. */
typedef struct
{
  gchar *reference, *prompt, *negative_prompt, *face_box, *pinned_memory, *lora, *sigmas;
  gchar *prompt_cache;
  gchar *preset_file;
  AvatarPreset *preset;    /* @preset_file, from gst_avatar_denoise_props_load() on */
  gboolean has_step_cache; /* @step_cache was set */
  gchar *noise, *posterior_noise;
  gboolean upstream_rounding, exact_rope;
  GArray *loras;        /* AvatarLoraSetting: @lora, parsed */
  GArray *sigma_values; /* gdouble: @sigmas, parsed */
  gint steps;
  guint idle_steps;
  gdouble guidance_scale, guidance_border, flow_shift;
  gint64 seed;
  guint window_latents, overlap, cache_steps;
  gdouble motion_pose, motion_exp, cache_threshold, attention_tau, attention_dense_steps;
  guint attention_dense_layers;
  gint mode, continuation, precision, weight_format, step_cache, late_policy, attention;
} GstAvatarDenoiseProps;

/* Sets of properties are bit masks. */
#define GST_AVATAR_DENOISE_REFERENCE (gst_avatar_denoise_props_bit ("reference"))
#define GST_AVATAR_DENOISE_LORA (gst_avatar_denoise_props_bit ("lora"))
#define GST_AVATAR_DENOISE_FACE_BOX (gst_avatar_denoise_props_bit ("face-box"))
#define GST_AVATAR_DENOISE_PROMPTS \
  (gst_avatar_denoise_props_bit ("prompt") | gst_avatar_denoise_props_bit ("negative-prompt"))

void gst_avatar_denoise_props_install (GObjectClass *klass);
void gst_avatar_denoise_props_init (GstAvatarDenoiseProps *props);
void gst_avatar_denoise_props_clear (GstAvatarDenoiseProps *props);
void
gst_avatar_denoise_props_copy (GstAvatarDenoiseProps *copy, const GstAvatarDenoiseProps *props);
/* Return %FALSE if @id is not one of these properties. The caller holds the lock of @props. */
gboolean gst_avatar_denoise_props_set (GstAvatarDenoiseProps *props, guint id, const GValue *value);
gboolean gst_avatar_denoise_props_get (GstAvatarDenoiseProps *props, guint id, GValue *value);
/* Returns the bit of a property that may change while playing. */
guint64 gst_avatar_denoise_props_bit (const gchar *name);
gboolean gst_avatar_denoise_props_is_changeable (guint id);
/* Returns those of @ids whose values differ between @a and @b. */
guint64 gst_avatar_denoise_props_differ (const GstAvatarDenoiseProps *a,
    const GstAvatarDenoiseProps *b, guint64 ids);
/* Copies the values of the properties @ids. */
void gst_avatar_denoise_props_take (GstAvatarDenoiseProps *to, const GstAvatarDenoiseProps *from,
    guint64 ids);
/* Adds a field with its value for each of @ids. */
void gst_avatar_denoise_props_describe (const GstAvatarDenoiseProps *props, guint64 ids,
    GstStructure *structure);
void gst_avatar_denoise_props_notify (GObject *object, guint64 ids);
/* Fills @settings, which then refer to strings and LoRAs of @props. */
void gst_avatar_denoise_props_apply (const GstAvatarDenoiseProps *props, AvatarModel *model,
    AvatarDenoiseSettings *settings);
/* Loads the files that the properties name, except pictures and weights. */
gboolean gst_avatar_denoise_props_load (GstAvatarDenoiseProps *props, GError **error);
/* Checks what can be checked before the size of the video is known. */
gboolean gst_avatar_denoise_props_check (const GstAvatarDenoiseProps *props, GError **error);

G_END_DECLS
