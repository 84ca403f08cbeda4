/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The properties of avatardenoise and what they mean to the engine. */
#pragma once

#include <avatar/denoise.h>
#include <gst/gst.h>

G_BEGIN_DECLS

/* -1 and 0 stand for the model's own default where a blurb says so. */
typedef struct
{
  gchar *reference, *prompt, *negative_prompt, *face_box, *pinned_memory, *lora;
  gchar *prompt_cache_dir;
  gchar *noise, *posterior_noise;
  gboolean parity, exact_rope;
  GArray *loras; /* of AvatarLoraSetting: what @lora says */
  gint steps;
  gdouble guidance_scale, flow_shift;
  gint64 seed;
  guint chunk, overlap;
  gdouble motion_pose, motion_exp, cache_threshold;
  gint mode, precision, weight_format, cache;
} GstAvatarDenoiseProps;

/* Properties as bits. */
#define GST_AVATAR_DENOISE_REFERENCE (gst_avatar_denoise_props_bit ("reference"))
#define GST_AVATAR_DENOISE_FACE_BOX (gst_avatar_denoise_props_bit ("face-box"))
#define GST_AVATAR_DENOISE_PROMPTS \
  (gst_avatar_denoise_props_bit ("prompt") | gst_avatar_denoise_props_bit ("negative-prompt"))

void gst_avatar_denoise_props_install (GObjectClass *klass);
void gst_avatar_denoise_props_init (GstAvatarDenoiseProps *props);
void gst_avatar_denoise_props_clear (GstAvatarDenoiseProps *props);
void
gst_avatar_denoise_props_copy (GstAvatarDenoiseProps *copy, const GstAvatarDenoiseProps *props);
/* %FALSE: not one of ours. The caller holds the lock that guards @props. */
gboolean gst_avatar_denoise_props_set (GstAvatarDenoiseProps *props, guint id, const GValue *value);
gboolean gst_avatar_denoise_props_get (GstAvatarDenoiseProps *props, guint id, GValue *value);
/* The bit of one that may change while playing. */
guint64 gst_avatar_denoise_props_bit (const gchar *name);
gboolean gst_avatar_denoise_props_is_changeable (guint id);
/* Which of @ids have another value in @b than in @a. */
guint64 gst_avatar_denoise_props_differ (const GstAvatarDenoiseProps *a,
    const GstAvatarDenoiseProps *b, guint64 ids);
/* @to has the values of @from for @ids. */
void gst_avatar_denoise_props_take (GstAvatarDenoiseProps *to, const GstAvatarDenoiseProps *from,
    guint64 ids);
/* A field with its value for each of @ids. */
void gst_avatar_denoise_props_describe (const GstAvatarDenoiseProps *props, guint64 ids,
    GstStructure *structure);
void gst_avatar_denoise_props_notify (GObject *object, guint64 ids);
/* Strings and LoRAs in @settings are those of @props. */
void gst_avatar_denoise_props_apply (const GstAvatarDenoiseProps *props, AvatarModel *model,
    AvatarDenoiseSettings *settings);
/* What is wrong before any size is known. */
gboolean gst_avatar_denoise_props_check (const GstAvatarDenoiseProps *props, GError **error);

G_END_DECLS
