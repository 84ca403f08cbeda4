/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Caps of the tensors between the elements: NNStreamer's other/tensors. Only this file writes and
 * parses dimension strings ("64:5:10", innermost first). */
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
  gint fps_n, fps_d; /* frame rate of the video, and rate of the buffers */
} GstAvatarFeatureInfo;

/* One latent frame: [channels, 1, height, width] float32. */
typedef struct
{
  guint channels, height, width;
  gint fps_n, fps_d; /* frame rate of the video: four times the rate of the buffers */
  guint window;      /* latents of a window of the denoiser; 0: unknown */
  guint overlap;     /* latents of a window that belong to the window before it */
} GstAvatarLatentInfo;

/* Create caps with both forms that NNStreamer uses, "64:5:10" and "64:5:10:1", the short one
 * first. @model: (nullable): hash of the model, for caps on a source pad; %NULL for the caps
 * that a sink pad accepts, because a foreign source does not know the hash. */
GstCaps *gst_avatar_caps_new_features (const GstAvatarFeatureInfo *info, const gchar *model);
GstCaps *gst_avatar_caps_new_latents (const GstAvatarLatentInfo *info, const gchar *model);

/* @model: (nullable): expected hash of the model; not checked if the caps have none. */
gboolean gst_avatar_caps_parse_features (const GstCaps *caps, const gchar *model,
    GstAvatarFeatureInfo *info, GError **error);
gboolean gst_avatar_caps_parse_latents (const GstCaps *caps, const gchar *model,
    GstAvatarLatentInfo *info, GError **error);

/* Parses "64:5:10" into @dims, innermost first; missing dimensions are 1. A trailing ":1" beyond
 * rank 4 is accepted. */
gboolean
gst_avatar_dimensions_parse (const gchar *string, guint dims[GST_AVATAR_MAX_RANK], GError **error);
/* Leaves out trailing dimensions of 1, but writes at least @rank dimensions. */
gchar *gst_avatar_dimensions_to_string (const guint dims[GST_AVATAR_MAX_RANK], guint rank);

gsize gst_avatar_feature_info_get_size (const GstAvatarFeatureInfo *info);
gsize gst_avatar_latent_info_get_size (const GstAvatarLatentInfo *info);
/* Returns whether the @k-th latent, from 0, is the last one of a window. */
gboolean gst_avatar_latent_info_ends_window (const GstAvatarLatentInfo *info, guint64 k);

G_END_DECLS
