/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A model folder: its configuration and a directory of its tensors (mapped, not read). */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

typedef struct _AvatarModel AvatarModel;

/**
 * AvatarModelInfo:
 * What a user of the stages needs to know of a model. All values come from its config files.
 * @name: the model's own name
 * @hash: 16 hexadecimal digits over the configuration and the tensor tables, for caps
 * @width, @height: the picture size the model was made for, in pixels; of a model that follows the
 *   portrait's shape (avatar_image_fit()), that of a square one
 * @size_multiple: width and height must be multiples of this
 * @fps: video frames a second
 * @sample_rate: audio samples a second
 * @window_frames: video frames of one window, 4n+1
 * @window_latents: latent frames of one window, n+1
 * @feature_steps, @feature_states, @feature_channels: shape of one frame's audio features
 * @latent_channels, @latent_scale: channels of a latent frame; pixels per latent cell and side
 * @steps, @guidance_scale, @flow_shift: the sampler's defaults (guidance <= 1: none)
 * @face_area: factor on each side of the face box to make the mask
 * @tiling: whether decoding is tiled by default
 * @tile_size, @tile_frames: default tile sizes in pixels and frames
 */
typedef struct
{
  const char *name;
  const char *hash;
  guint width, height, size_multiple;
  guint fps;
  guint sample_rate;
  guint window_frames, window_latents;
  guint feature_steps, feature_states, feature_channels;
  guint latent_channels, latent_scale;
  guint steps;
  double guidance_scale, flow_shift;
  double face_area;
  gboolean tiling;
  guint tile_size, tile_frames;
} AvatarModelInfo;

/**
 * avatar_model_open:
 * @path: the model's folder: config.json and *.safetensors, or the tree in which the weights were
 *   released, or any folder from above weights/ down to transformers/, or Wan2GP's ckpts/, or the
 *   folder above it, or a transformer's file in either, or what avatar-pack made; %NULL: the
 *   environment variable AVATAR_MODEL, else the installed demo model
 *
 * "released", where there is no such folder, stands for the released model's sizes alone: plans
 * can be made of it, and stages refuse it.
 *
 * Reads the configuration and checks that every tensor that the architecture needs is there with
 * the right shape and a known dtype. Weights are mapped, and touched only by the stages.
 *
 * Returns: (transfer full): the model, or %NULL with the file, the tensor and what was expected
 */
AVATAR_API AvatarModel *avatar_model_open (const char *path, GError **error);
AVATAR_API AvatarModel *avatar_model_ref (AvatarModel *model);
AVATAR_API void avatar_model_unref (AvatarModel *model);
AVATAR_API const char *avatar_model_get_path (AvatarModel *model);
AVATAR_API const AvatarModelInfo *avatar_model_get_info (AvatarModel *model);
/* The folder that avatar_model_open (NULL) would open; free with g_free(). */
AVATAR_API char *avatar_model_default_path (void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarModel, avatar_model_unref)

G_END_DECLS
