/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The audio-driven video diffusion transformer (docs/dev/spec/denoise.md 2; upstream
 * hymm_sp/modules/models_audio.py).
 *
 * A forward has three inputs that do not depend on the latents and are computed before it: the
 * reference tokens and the audio's keys and values of a window, on the device, and the step
 * conditioning, on the host, because there is much of it and each forward uses a small part.
 *
 * All functions queue operations on the device and return before these have run. Errors are kept in
 * @ops and reported by avatar_ops_check(). Tensors that they return are allocated in the arena of
 * @ops and live until the caller releases it. One thread at a time may use a transformer. */
#pragma once

#include "engine/denoise/transformer-weights.h"
#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* Called with each named intermediate result, in device memory. Used by tests. */
typedef void (*AvatarTapFunc) (const char *name, AvatarTensor value, gpointer user_data);

/**
 * AvatarTransformer:
 * @config, @weights: not owned
 * @params: handles, bound to @weights; not owned
 * @fp8: attention is computed in e4m3 if the device supports it
 * @tap: (nullable): called with intermediate results
 */
typedef struct
{
  const AvatarTransformerConfig *config;
  AvatarWeights *weights;
  const AvatarTransformerWeights *params;
  gboolean fp8;
  AvatarTapFunc tap;
  gpointer tap_data;
} AvatarTransformer;

/**
 * AvatarReferenceTokens: reference tokens, positions and face masks of a window, on the device. T:
 * latent frames, S = h w: tokens of a frame, D: hidden size
 * @frames: T; @h, @w: the token grid of a frame
 * @first: [S, D], the reference tokens before those of the video
 * @added: [T S, D], or [S, D] for all frames, added to the tokens of the video
 * @faces: [n_speakers, T S] float32, the face masks
 * @cos, @sin: [(T + 1) S, head_dim / 2] float32, the rotary tables
 */
typedef struct
{
  gint64 frames, h, w;
  AvatarTensor first, added, faces, cos, sin;
} AvatarReferenceTokens;

/**
 * AvatarReferenceInput: what the reference tokens are computed from, on the host
 * @latents: scaled latents, [C, n_latents, h8, w8], with @n_latents 1 or @frames
 * @faces: face masks, [n_speakers, h8, w8]
 * @frames: latent frames of a window
 */
typedef struct
{
  const float *latents, *faces;
  gint64 n_latents;
  guint n_speakers;
  gint64 frames, h8, w8;
} AvatarReferenceInput;

/**
 * AvatarAudioKV: audio of one speaker, or of none in the branch of guidance without audio, on the
 * device
 * @kv: keys and values of each adapter, [T, tokens, 2 adapter_dim]
 */
typedef struct
{
  AvatarTensor kv[AVATAR_MAX_BLOCKS];
} AvatarAudioKV;

/**
 * AvatarText: one encoded prompt, on the host
 * @states: [n, text_dim]; @pooled: [pooled_dim]; both %NULL in a plan
 * @mask: (nullable): [n], 1: the refiner attends to this row, 0: it does not; %NULL: all rows
 * @used: number of rows, from the first, that the blocks receive after the refiner
 */
typedef struct
{
  const float *states, *pooled;
  const guint8 *mask;
  gint64 n, used;
} AvatarText;

/**
 * AvatarStepConditioning: time and prompt of a forward, and results that depend on them only, on
 * the host
 * @t: time, 0 .. 1000; @motion_exp, @motion_pose, @fps: further numbers that are embedded
 * @prompt: not owned
 * @modulation: shifts, scales and gates of all blocks, avatar_transformer_modulation_n() floats;
 *   filled by avatar_transformer_modulate()
 * @text: refined text, [used, D] in the device's dtype; filled by avatar_transformer_refine(). Not
 *   used by a cached forward
 */
typedef struct
{
  double t;
  const AvatarText *prompt;
  double motion_exp, motion_pose, fps;
  float *modulation;
  void *text;
} AvatarStepConditioning;

/**
 * AvatarSparseSettings: sparse attention of a forward (engine/ops/sparse-attention.h)
 * @tau: number of standard deviations above the mean from which the score of a block makes it exact
 * @dense_layers: number of blocks of the transformer, from the first, whose attention is dense
 */
typedef struct
{
  double tau;
  guint dense_layers;
} AvatarSparseSettings;

/* Stores or loads @tokens [L, D]. */
typedef void (*AvatarTokensFunc) (AvatarOps *ops, AvatarTensor tokens, gpointer data);

/**
 * AvatarForwardReuse: tokens that several forwards share; all fields are optional
 * @shared_prefix: [L, D], the tokens before the first adapter, which are the same for two forwards
 *   that differ in their audio only. The forward writes them; if @prefix_valid it starts from them
 * @store: called with the tokens before the last single block, [L, D]
 * @load: makes this a cached forward, which runs the last block only: must write these tokens
 *   (docs/dev/spec/denoise.md 2.13)
 * @data: argument of @store and @load
 */
typedef struct
{
  AvatarTensor shared_prefix;
  gboolean prefix_valid;
  AvatarTokensFunc store, load;
  gpointer data;
} AvatarForwardReuse;

/**
 * AvatarTransformerPass:
 * @AVATAR_PASS_PRECOMPUTE: step conditioning, once before the first forward
 * @AVATAR_PASS_FORWARD: forwards, and the conditioning of windows between them
 */
typedef enum
{
  AVATAR_PASS_PRECOMPUTE,
  AVATAR_PASS_FORWARD,
} AvatarTransformerPass;

/* Returns the order in which @pass uses the weight groups. Free with g_free(). */
AvatarWeightSchedule *avatar_transformer_weight_schedule (const AvatarTransformerConfig *config,
    AvatarTransformerPass pass);

/* Returns the number of floats of the modulation of one step. */
gint64 avatar_transformer_modulation_n (const AvatarTransformerConfig *config);
/* Fills the modulation of all @steps [n], one layer after the other, so that each weight is copied
 * once. Waits for the device. */
void avatar_transformer_modulate (AvatarTransformer *self, AvatarOps *ops,
    const AvatarStepConditioning *steps, guint n);
/* Fills the text of all @steps [n]. Waits for the device. */
void avatar_transformer_refine (AvatarTransformer *self, AvatarOps *ops,
    const AvatarStepConditioning *steps, guint n);
/* Computes the reference tokens of windows. Host data are not read in a dry run. @ref: (out) */
void avatar_transformer_embed_reference (AvatarTransformer *self, AvatarOps *ops,
    const AvatarReferenceInput *in, AvatarReferenceTokens *ref);
/* Computes the keys and values of the audio. @audio: features of @n = 4 T - 3 video frames on the
 * host, [n, steps states channels], not read in a dry run; @audio_kv: (out) */
void avatar_transformer_project_audio (AvatarTransformer *self, AvatarOps *ops, const float *audio,
    gint64 n, AvatarAudioKV *audio_kv);
/**
 * AvatarForwardInput:
 * @x: latents, [C, T, h8, w8] float32
 * @audio_kv: [n_speakers], or one for all speakers if @same_audio
 * @face_scale: factor on the face masks
 * @reuse: (nullable): tokens to store or to start from
 * @sparse: (nullable): sparse attention of the image tokens; %NULL: all attention is dense
 */
typedef struct
{
  AvatarTensor x;
  const AvatarStepConditioning *step;
  const AvatarReferenceTokens *reference_tokens;
  const AvatarAudioKV *audio_kv;
  gboolean same_audio;
  double face_scale;
  const AvatarForwardReuse *reuse;
  const AvatarSparseSettings *sparse;
} AvatarForwardInput;

/* Runs the transformer. @velocity: (out): [C, T, h8, w8] float32 */
void avatar_transformer_forward (AvatarTransformer *self, AvatarOps *ops, AvatarTensor velocity,
    const AvatarForwardInput *in);

G_END_DECLS
