/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes of all components of a model, read from its config.json. */
#pragma once

#include <avatar/model.h>

G_BEGIN_DECLS

/* Limits of the lengths of arrays. */
#define AVATAR_MAX_BLOCKS 128
#define AVATAR_MAX_STAGES 8
#define AVATAR_MAX_CAPS 16

/* Sizes of the transformer. Comments give the member of config.json if its name differs. */
typedef struct
{
  guint patch[3]; /* t, y, x */
  guint in_channels, out_channels;
  guint hidden, heads, head_dim, mlp; /* mlp = hidden * mlp_width_ratio */
  guint n_double, n_single;
  guint rope_dim[3]; /* t, y, x; sum = head_dim */
  double rope_theta;
  guint text_dim, pooled_dim;
  guint refiner_depth;
  guint frequency_dim; /* frequency_embedding_size */
  guint audio_steps, audio_states, audio_channels, audio_intermediate, audio_tokens;
  guint adapter_dim;
  guint n_adapters;
  guint adapter_after[AVATAR_MAX_BLOCKS]; /* double_stream_list: indices of double blocks */
} AvatarTransformerConfig;

typedef struct
{
  guint in_channels, out_channels, latent_channels;
  guint n_stages, channels[AVATAR_MAX_STAGES]; /* block_out_channels */
  guint layers_per_block, groups;
  guint spatial_ratio, temporal_ratio;
  gboolean mid_attention, mid_causal;
  guint sample_size, sample_tsize;
  double scaling_factor, shift_factor;
} AvatarVaeConfig;

typedef struct
{
  guint mels, width, layers, heads, ffn, positions; /* positions: 1500 */
} AvatarWhisperConfig;

typedef enum
{
  AVATAR_TEXT_BYTES,      /* byte embeddings replace the encoders, as in the demo model */
  AVATAR_TEXT_LLAVA_CLIP, /* "llava+clip": the two encoders of the release */
} AvatarTextKind;

/**
 * AvatarTextConfig: encoding of a prompt (docs/dev/spec/vae-text-face-formats.md 2.4, 3)
 * @max_states: maximum number of rows of text for the transformer; 831 in the release
 * @bos_byte: first byte of a prompt, with AVATAR_TEXT_BYTES
 * @max_length: maximum number of ids of prompt, template, BOS and @suffix; 351 in the release
 * @crop_start: number of ids before the prompt, BOS included; 95 in the release
 * @image_tokens: number of rows of the portrait, which replace one id; 576 in the release
 * @clip_length: number of ids for CLIP, BOS and EOS included; 77 in the release
 * @template_head, @template_tail: text before and after the prompt
 * @quality: text before a positive prompt, for both encoders
 * @suffix: text after @template_tail; its last token is the portrait's
 * @negative: (nullable): default negative prompt
 */
typedef struct
{
  AvatarTextKind kind;
  guint max_states, bos_byte;
  guint max_length, crop_start, image_tokens, clip_length;
  char *template_head, *template_tail, *quality, *suffix, *negative;
} AvatarTextConfig;

/* Sizes of CLIP's layers (docs/dev/spec/vae-text-face-formats.md 2.3, 3). */
typedef struct
{
  guint hidden, layers, heads, mlp;
  double eps;
} AvatarTowerConfig;

/**
 * AvatarLlavaConfig: LLaMA with a vision tower (docs/dev/spec/vae-text-face-formats.md 2.1). The
 * numbers of layers are those of the file; a run does not use the last layers.
 * @vision: sizes of the vision tower
 * @image, @patch: side of the tower's picture and of its patches, in pixels
 */
typedef struct
{
  guint hidden, layers, heads, kv_heads, head_dim, mlp, vocab;
  double eps, rope_theta;
  guint image_token, pad_token; /* ids */
  AvatarTowerConfig vision;
  guint image, patch;
} AvatarLlavaConfig;

typedef struct
{
  AvatarTowerConfig tower;
  guint vocab, positions;
} AvatarClipConfig;

/* Rule that derives the video size from the portrait (engine/image/resize.h). */
typedef struct
{
  guint multiple; /* sides are multiples of this; 0: the video size is fixed */
  guint n_caps;
  guint shorter[AVATAR_MAX_CAPS], longer[AVATAR_MAX_CAPS]; /* sides whose product is not exceeded */
} AvatarResizeConfig;

typedef struct
{
  char *name;
  guint size, fps, frames, sample_rate;
  guint steps;
  double flow_shift, cfg_scale, motion_pose, motion_exp, face_mask_area;
  double
      portrait_psnr; /* least PSNR of portraits after the VAE (dB) of the kinds that the model was
                         * trained on; 0: unknown */
  gboolean vae_tiling;
  AvatarTransformerConfig transformer;
  AvatarVaeConfig vae;
  AvatarWhisperConfig whisper;
  AvatarTextConfig text;
  AvatarLlavaConfig llava; /* zeros unless AVATAR_TEXT_LLAVA_CLIP */
  AvatarClipConfig clip;
  AvatarResizeConfig resize;
} AvatarConfig;

/* Parses and checks a config.json. Every number has a range, so that products of sizes cannot
 * overflow.
 * @name: file name for messages
 * Returns: (transfer full): the configuration, or %NULL with @error. */
AvatarConfig *
avatar_config_parse (const char *json, gssize length, const char *name, GError **error);
void avatar_config_free (AvatarConfig *self);
/* Returns: (transfer none): sizes of @model. Thread-safe. */
const AvatarConfig *avatar_model_get_config (AvatarModel *model);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarConfig, avatar_config_free)

G_END_DECLS
