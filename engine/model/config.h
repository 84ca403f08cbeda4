/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sizes of a model's parts, read from its config.json; the only place where they come from. */
#pragma once

#include <avatar/model.h>

G_BEGIN_DECLS

#define AVATAR_MAX_BLOCKS 128
#define AVATAR_MAX_STAGES 8
#define AVATAR_MAX_CAPS 16

/* Sizes of the transformer; names as in the config file. */
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
  AVATAR_TEXT_BYTES,      /* tables of bytes stand in for the encoders, as in the demo model */
  AVATAR_TEXT_LLAVA_CLIP, /* "llava+clip": the two encoders of the release */
} AvatarTextKind;

/**
 * AvatarTextConfig: what is made of a prompt (docs/dev/spec/vae-text-face-formats.md 2.4, 3)
 * @max_states: rows of text that the transformer is given at most; 831 in the release
 * @bos_byte: the first byte, of AVATAR_TEXT_BYTES
 * @max_length: ids of the prompt in its template, with BOS and @suffix, at most; 351 in the release
 * @crop_start: ids of what stands before the prompt, with BOS; 95 in the release
 * @image_tokens: rows of the portrait, which take the place of one id; 576 in the release
 * @clip_length: ids of the prompt alone, with BOS and EOS; 77 in the release
 * @template_head, @template_tail: what stands before and behind the prompt
 * @quality: stands before a positive prompt, in its template and alone
 * @suffix: follows @template_tail; ends with the image's token
 * @negative: (nullable): the negative prompt, unless another is given
 */
typedef struct
{
  AvatarTextKind kind;
  guint max_states, bos_byte;
  guint max_length, crop_start, image_tokens, clip_length;
  char *template_head, *template_tail, *quality, *suffix, *negative;
} AvatarTextConfig;

/* Layers of CLIP (docs/dev/spec/vae-text-face-formats.md 2.3, 3). */
typedef struct
{
  guint hidden, layers, heads, mlp;
  double eps;
} AvatarTowerConfig;

/**
 * AvatarLlavaConfig: LLaMA with a vision tower (docs/dev/spec/vae-text-face-formats.md 2.1); as
 * in the file, all of whose layers are not run
 * @vision: what sees the portrait, @image pixels square, in patches of @patch
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

/* The shape that a video takes from its portrait (engine/image/resize.h). */
typedef struct
{
  guint multiple; /* of both sides; 0: no such rule, a video has one size */
  guint n_caps;
  guint shorter[AVATAR_MAX_CAPS], longer[AVATAR_MAX_CAPS]; /* sides whose product is not exceeded */
} AvatarResizeConfig;

typedef struct
{
  char *name;
  guint size, fps, frames, sample_rate;
  guint steps;
  double flow_shift, cfg_scale, motion_pose, motion_exp, face_mask_area;
  gboolean vae_tiling;
  AvatarTransformerConfig transformer;
  AvatarVaeConfig vae;
  AvatarWhisperConfig whisper;
  AvatarTextConfig text;
  AvatarLlavaConfig llava; /* of AVATAR_TEXT_LLAVA_CLIP, else zeros */
  AvatarClipConfig clip;
  AvatarResizeConfig resize;
} AvatarConfig;

/* Checks ranges so that no size can overflow later. @name is for messages. Free with
 * avatar_config_free(). */
AvatarConfig *
avatar_config_parse (const char *json, gssize length, const char *name, GError **error);
void avatar_config_free (AvatarConfig *self);
const AvatarConfig *avatar_model_get_config (AvatarModel *model);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarConfig, avatar_config_free)

G_END_DECLS
