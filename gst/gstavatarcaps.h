/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Caps of the tensors between the elements. NNStreamer's other/tensors, whose dimension strings
 * ("64:5:10", innermost first) are written and read here and nowhere else. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_AVATAR_TENSOR_CAPS \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32"

#define GST_AVATAR_MAX_RANK 4

/* Audio features of one video frame: [steps, states, channels] float32. */
typedef struct
{
  guint steps, states, channels;
  gint fps_n, fps_d; /* of the video, which is the rate of the buffers */
} GstAvatarFeatureInfo;

/* One latent frame: [channels, 1, height, width] float32. */
typedef struct
{
  guint channels, height, width;
  gint fps_n, fps_d; /* of the video: four times the rate of the buffers */
} GstAvatarLatentInfo;

/* Both forms NNStreamer knows, "64:5:10" and "64:5:10:1", the short one first. @model: (nullable):
 * hash of the model, for caps that are set or offered; %NULL in caps that are asked for, as a
 * foreign source does not know it. */
GstCaps *gst_avatar_caps_new_features (const GstAvatarFeatureInfo *info, const gchar *model);
GstCaps *gst_avatar_caps_new_latents (const GstAvatarLatentInfo *info, const gchar *model);

/* @model: (nullable): hash that the caps must have if they have one. */
gboolean gst_avatar_caps_parse_features (const GstCaps *caps, const gchar *model,
    GstAvatarFeatureInfo *info, GError **error);
gboolean gst_avatar_caps_parse_latents (const GstCaps *caps, const gchar *model,
    GstAvatarLatentInfo *info, GError **error);

/* "64:5:10" into @dims, innermost first, missing ranks 1. Trailing ":1" beyond rank 4 are taken. */
gboolean
gst_avatar_dimensions_parse (const gchar *string, guint dims[GST_AVATAR_MAX_RANK], GError **error);
/* As few ranks as say it, but at least @rank. */
gchar *gst_avatar_dimensions_to_string (const guint dims[GST_AVATAR_MAX_RANK], guint rank);

gsize gst_avatar_feature_info_get_size (const GstAvatarFeatureInfo *info);
gsize gst_avatar_latent_info_get_size (const GstAvatarLatentInfo *info);

/* A query of avatardenoise downstream: the latents without which a decoder there makes no frame. */
GstQuery *gst_avatar_query_new_need (void);
gboolean gst_avatar_query_is_need (GstQuery *query);
void gst_avatar_query_set_need (GstQuery *query, guint latents);
guint gst_avatar_query_get_need (GstQuery *query);

G_END_DECLS
