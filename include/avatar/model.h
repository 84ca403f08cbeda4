/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

/**
 * SECTION:model
 * @title: AvatarModel
 * @short_description: a model folder: its configuration and a directory of its tensors
 *
 * Opening a model maps its files, but does not read weights. Stages load the weights that they
 * need.
 *
 * All functions may be called from any thread. A model does not change after it was opened.
 */

/**
 * AvatarModel:
 *
 * A model, an opaque object with a reference count.
 *
 * Since: 0.1
 */
typedef struct _AvatarModel AvatarModel;

/**
 * AvatarModelInfo:
 * @name: name of the model
 * @hash: 16 hexadecimal digits, a hash of the configuration and the tables of tensors
 * @width: preferred width of the video in pixels. For a model that follows the shape of the
 *   portrait (see avatar_image_fit()), the width of a square video
 * @height: preferred height of the video in pixels, likewise
 * @size_multiple: width and height must be multiples of it
 * @fps: video frames per second
 * @sample_rate: audio samples per second
 * @window_frames: longest window in video frames, 4 * n + 1
 * @window_latents: longest window in latent frames, n + 1
 * @feature_steps: first dimension of the audio features of one video frame
 * @feature_states: second dimension of the audio features of one video frame
 * @feature_channels: third dimension of the audio features of one video frame
 * @latent_channels: channels of a latent frame
 * @latent_scale: pixels of the video for each latent cell, along a side
 * @steps: default number of denoising steps
 * @guidance_scale: default of classifier-free guidance; 1 or less: none
 * @flow_shift: default of the shift of the noise schedule
 * @face_area: factor from the sides of the face box to those of the mask
 * @tiling: %TRUE if the decoder uses tiles by default
 * @tile_size: default side of a spatial tile in pixels
 * @tile_frames: default length of a temporal tile in video frames
 * @portrait_psnr: least PSNR (dB) after avatar_image_measure() of portraits of the kinds that the
 *   model was trained on, at the preferred size; 0: unknown
 *
 * Properties of a model, from its configuration files. Only the library makes it, so later versions
 * may append fields.
 *
 * Since: 0.1
 */
typedef struct _AvatarModelInfo AvatarModelInfo;
struct _AvatarModelInfo
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
  double portrait_psnr;
};

/**
 * avatar_model_open:
 * @path: (nullable): one of: a folder with config.json and *.safetensors; a folder that
 *   avatar-pack made; the tree in which the weights were released, or any folder from the one above
 *   weights/ down to transformers/; the ckpts/ folder of Wan2GP, or the one above it; the file of a
 *   transformer in either tree. "released", if there is no folder of this name, gives the sizes of
 *   the released model without weights, for plans only. %NULL: avatar_model_default_path()
 * @error: return location for a #GError, which names the file, the tensor and what was expected:
 *   #AVATAR_ERROR_NOT_FOUND, #AVATAR_ERROR_READ, #AVATAR_ERROR_FORMAT, #AVATAR_ERROR_MISMATCH
 *
 * Reads the configuration, and checks that each tensor that the architecture needs exists, with the
 * right shape and a known dtype.
 *
 * Returns: (transfer full) (nullable): the model, to be released with avatar_model_unref(), or
 * %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarModel *avatar_model_open (const char *path, GError **error);

/**
 * avatar_model_ref:
 * @model: a model
 *
 * Takes a reference.
 *
 * Returns: (transfer full): @model
 *
 * Since: 0.1
 */
AVATAR_API AvatarModel *avatar_model_ref (AvatarModel *model);

/**
 * avatar_model_unref:
 * @model: (transfer full): a model
 *
 * Releases a reference. The last one closes the files.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_model_unref (AvatarModel *model);

/**
 * avatar_model_get_path:
 * @model: a model
 *
 * Gets the path that the model was opened with.
 *
 * Returns: (transfer none): the path, valid as long as the model
 *
 * Since: 0.1
 */
AVATAR_API const char *avatar_model_get_path (AvatarModel *model);

/**
 * avatar_model_get_info:
 * @model: a model
 *
 * Gets the properties of the model.
 *
 * Returns: (transfer none): the properties, valid as long as the model
 *
 * Since: 0.1
 */
AVATAR_API const AvatarModelInfo *avatar_model_get_info (AvatarModel *model);

/**
 * avatar_model_default_path:
 *
 * Gets the folder that avatar_model_open() opens for %NULL: that of the environment variable
 * AVATAR_MODEL, or else the installed demo model, which is found relative to the library.
 *
 * Returns: (transfer full): the path, to be freed with g_free(); the folder need not exist
 *
 * Since: 0.1
 */
AVATAR_API char *avatar_model_default_path (void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarModel, avatar_model_unref)

G_END_DECLS
