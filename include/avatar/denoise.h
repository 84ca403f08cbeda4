/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stage 2: audio features and a portrait in, latent frames out. */
#pragma once

#include <avatar/device.h>
#include <avatar/image.h>
#include <avatar/model.h>

G_BEGIN_DECLS

typedef struct _AvatarDenoiser AvatarDenoiser;

/**
 * AvatarDenoiseMode:
 * @AVATAR_DENOISE_MODE_AUTO: clip if the audio ends within one window, else stream
 * @AVATAR_DENOISE_MODE_CLIP: upstream's windows over the whole audio, shifted in every step
 *   (hymm_sp/diffusion/pipelines/pipeline_hunyuan_video_audio.py of HunyuanVideo-Avatar); nothing
 *   comes out before the audio has ended
 * @AVATAR_DENOISE_MODE_STREAM: window after window; the first latents of a window are held to the
 *   last of the one before. Memory and latency do not depend on the length
 */
typedef enum
{
  AVATAR_DENOISE_MODE_AUTO,
  AVATAR_DENOISE_MODE_CLIP,
  AVATAR_DENOISE_MODE_STREAM,
} AvatarDenoiseMode;

/**
 * AvatarStepCacheMode: in which steps the whole transformer runs; in the others its last block only, on
 * what the one before it gave last
 * @AVATAR_STEP_CACHE_NONE: in all
 * @AVATAR_STEP_CACHE_UPSTREAM: upstream's table for 50 steps (pipeline_hunyuan_video_audio.py),
 *   scaled to others
 * @AVATAR_STEP_CACHE_ADAPTIVE: when the modulation has changed by more than the threshold since, and in
 *   the first steps and the last one
 */
typedef enum
{
  AVATAR_STEP_CACHE_NONE,
  AVATAR_STEP_CACHE_UPSTREAM,
  AVATAR_STEP_CACHE_ADAPTIVE,
} AvatarStepCacheMode;

/**
 * AvatarPrecision: what matrix products are computed in
 * @AVATAR_PRECISION_AUTO: float32 on the CPU, bfloat16 on a GPU
 * @AVATAR_PRECISION_FP8: weights and activations of the blocks in e4m3, scaled row by row
 */
typedef enum
{
  AVATAR_PRECISION_AUTO,
  AVATAR_PRECISION_FP8,
} AvatarPrecision;

/**
 * AvatarWeightFormat: how the weights of the blocks are kept on a GPU
 * @AVATAR_WEIGHT_FORMAT_STORED: 8-bit if the file is, else 16-bit
 * @AVATAR_WEIGHT_FORMAT_FP8, @AVATAR_WEIGHT_FORMAT_INT8: quantised row by row when they are loaded
 */
typedef enum
{
  AVATAR_WEIGHT_FORMAT_STORED,
  AVATAR_WEIGHT_FORMAT_FP8,
  AVATAR_WEIGHT_FORMAT_INT8,
} AvatarWeightFormat;

/**
 * AvatarLoraSetting: a LoRA to merge into the transformer's weights
 * @path: the file, of any common format and naming; @strength: 1 is what it was trained for
 */
typedef struct
{
  const char *path;
  double strength;
} AvatarLoraSetting;

/**
 * AvatarTextStates: a prompt as a text encoder has it
 * @states: [n, the model's text width]; @pooled: the pooled vector
 * @mask: (nullable): [n], which rows the token refiner takes as valid; %NULL: all
 * @used: rows that go on to the blocks, from the first; 1 to @n
 */
typedef struct
{
  const float *states, *pooled;
  const guint8 *mask;
  guint n, used;
} AvatarTextStates;

/**
 * AvatarProgressPhase:
 * @AVATAR_PROGRESS_DENOISE: a window is denoised
 * @AVATAR_PROGRESS_TEXT: prompts and portrait go through the text encoders, when the reference is set or
 *   when they change
 */
typedef enum
{
  AVATAR_PROGRESS_DENOISE,
  AVATAR_PROGRESS_TEXT,
} AvatarProgressPhase;

/**
 * AvatarProgress:
 * Where the denoiser stands; given to the progress callback at the start and after every step.
 * @window: index of the window being denoised (clip mode: always 0, one unit of work)
 * @step, @steps: steps done, of how many; of text, layers of the encoders
 */
typedef struct
{
  AvatarProgressPhase phase;
  guint window;
  guint step, steps;
} AvatarProgress;

typedef void (*AvatarProgressFunc) (const AvatarProgress *progress, gpointer user_data);

/**
 * AvatarDenoiseSettings:
 * Fill with avatar_denoise_settings_init() first. Strings are copied by the denoiser.
 * @width, @height: of the video, in pixels
 * @window_latents: latent frames of a window (stream mode), 2 .. the model's window_latents
 * @overlap: latent frames that a stream window shares with the one before, 1 .. window_latents - 1
 * @guidance_scale: classifier-free guidance; <= 1: none (one forward a step instead of two)
 * @motion_pose, @motion_exp: strength of head motion (25 normal) and of expression (30 normal)
 * @face_box: the face on the fitted portrait, given or of avatar_image_find_face(); all zero: the whole
 *   picture
 * @step_cache_threshold: relative change of the modulation that AVATAR_STEP_CACHE_ADAPTIVE lets pass
 * @pinned_bytes: host memory for weights that a GPU fetches from; what is above comes from the
 *   mapped files. G_MAXUINT64: as much as there are weights
 * @loras, @n_loras: (nullable): merged in this order, before weights are quantised; read while the
 *   denoiser is made. Not for weights that are stored and computed in 8 bits
 * @text_states: (nullable): two, in place of @prompt and @negative_prompt, where the text encoders
 *   are not there and for parity tests; copied by the denoiser
 * @prompt_cache_dir: (nullable): folder in which encoded prompts are kept, "none" for nowhere; %NULL: the
 *   user's cache folder. @prompt_cache_bytes: of all of them; those used last stay
 * @exact_rope: the text encoder's positions as they are meant, rather than in the rounding with which
 *   the transformer was trained
 * @noise: (nullable): initial noise [channels, noise_latents, h, w] instead of seeded noise, for
 *   parity tests; must outlive the denoiser
 * @noise_file: (nullable): the same from a file with one tensor, [channels, T, h, w] or with a 1 before
 *   that; read while the denoiser is made
 * @posterior_noise: (nullable): what of the portrait's posterior is taken: "mode" or %NULL, its mean, of
 *   which one latent frame stands for all; "seeded", a sample for each latent frame of a window, by @seed;
 *   else a file of noise as @noise_file. Upstream takes a sample by noise without a seed. Samples take
 *   as much of a GPU's memory as the latents' tokens do
 * @upstream_rounding: upstream's roundings to 16 bits between the networks, as listed in
 *   docs/measurements/numerics.md
 */
typedef struct
{
  guint width, height;
  const char *prompt;
  const char *negative_prompt;
  guint steps;
  double guidance_scale;
  double flow_shift;
  guint64 seed;
  AvatarDenoiseMode mode;
  guint window_latents;
  guint overlap;
  double motion_pose, motion_exp;
  AvatarFaceBox face_box;
  AvatarStepCacheMode step_cache;
  double step_cache_threshold;
  AvatarPrecision precision;
  AvatarWeightFormat weight_format;
  guint64 pinned_bytes;
  const AvatarLoraSetting *loras;
  guint n_loras;
  const AvatarTextStates *text_states;
  const char *prompt_cache_dir;
  guint64 prompt_cache_bytes;
  gboolean exact_rope;
  const float *noise;
  guint noise_latents;
  const char *noise_file;
  const char *posterior_noise;
  gboolean upstream_rounding;
} AvatarDenoiseSettings;

/**
 * AvatarDenoiseStats: of the window that was denoised last.
 * @index: its index; @latents: latent frames it made; @steps: steps
 * @seconds: wall-clock time it took; @forwards: transformer forwards
 * On a device with memory of its own (else 0), of the units that the blocks' weights go there in:
 * @resident: that stay there now; @streamed: that are fetched in every forward
 * @evicted, @restored: that were resident before memory became scarce, and are so again
 * @uploaded: bytes copied there since the first window began
 */
typedef struct
{
  guint index, latents, steps, forwards;
  double seconds;
  guint resident, streamed, evicted, restored;
  guint64 uploaded;
} AvatarDenoiseStats;

/* The model's defaults for everything; size = the model's own. */
AVATAR_API void avatar_denoise_settings_init (AvatarDenoiseSettings *settings, AvatarModel *model);

AVATAR_API AvatarDenoiser *avatar_denoiser_new (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error);
/* @image: already fitted, exactly the settings' size, RGB. Encodes it, and with it the prompts where the
 * model's text encoder sees the portrait; needed once before pull. */
AVATAR_API gboolean avatar_denoiser_set_reference (AvatarDenoiser *self, const AvatarImage *image,
    GError **error);
/**
 * avatar_denoiser_change:
 * @settings: as it was made with, but for what is to change: prompt, negative_prompt, steps,
 *   guidance_scale, flow_shift, seed, motion_pose, motion_exp, face_box. Another size, mode, chunk,
 *   overlap, cache, precision, weight_format, parity or exact_rope is an error; fields not named here
 *   are not looked at. With text_states, prompts are not looked at either
 * @image: (nullable): a portrait in the place of the one before, fitted to the same size
 *
 * Takes up other settings with the next window. Called by the thread that pulls, between two pulls,
 * after avatar_denoiser_set_reference(); the best moment is when avatar_denoiser_is_due(). Nothing of
 * @settings and @image need outlive the call. Encodes texts and portrait again if they need it, within
 * the device's budget, and may wait for other stages; avatar_denoiser_cancel() ends that.
 *
 * The stream goes on: latents that a window shares with the one before stay as they are, and the noise
 * of a latent frame depends on the seed and its number alone. So what a window is made of is what a
 * stage that was made with @settings, and had come to the same place, would make of it; before the first
 * window the two are the same to the bit.
 *
 * Returns: %FALSE with @error: nothing has changed, and the stage goes on with what it had
 */
AVATAR_API gboolean avatar_denoiser_change (AvatarDenoiser *self,
    const AvatarDenoiseSettings *settings, const AvatarImage *image, GError **error);
/* Whether the next avatar_denoiser_pull() denoises a window. By the thread that pulls. */
AVATAR_API gboolean avatar_denoiser_is_due (AvatarDenoiser *self);
/**
 * avatar_denoiser_get_n_ready:
 *
 * Called by the thread that pulls.
 *
 * Returns: latent frames that avatar_denoiser_pull() returns without computing
 */
AVATAR_API guint avatar_denoiser_get_n_ready (AvatarDenoiser *self);
AVATAR_API void avatar_denoiser_set_progress_func (AvatarDenoiser *self, AvatarProgressFunc func,
    gpointer user_data);
/* @features: one video frame's [steps, states, channels] floats, which must be finite. Never
 * computes. */
AVATAR_API gboolean avatar_denoiser_push (AvatarDenoiser *self, const float *features,
    GError **error);
/* @latent: room for one latent frame [channels, height / latent_scale, width / latent_scale].
 * Denoises a window when one is complete; AVATAR_PULL_EMPTY until then. After drain, as many
 * latents come as cover the frames that were pushed: ceil ((frames + 3) / 4). */
AVATAR_API AvatarPull avatar_denoiser_pull (AvatarDenoiser *self, float *latent, GError **error);
AVATAR_API gboolean avatar_denoiser_drain (AvatarDenoiser *self, GError **error);
/* Forget the stream, keep model, reference and settings; the noise starts again from the seed. */
AVATAR_API void avatar_denoiser_reset (AvatarDenoiser *self);
/* From any thread; see avatar_audio_encoder_cancel(). */
AVATAR_API void avatar_denoiser_cancel (AvatarDenoiser *self);
AVATAR_API void avatar_denoiser_free (AvatarDenoiser *self);
/**
 * AvatarPromptTruncation: what of a prompt is too long to be seen, in tokens of its end
 * @language: by anybody: LLaVA, or what stands in for the text encoders
 * @clip: by CLIP alone
 */
typedef struct
{
  guint language, clip;
} AvatarPromptTruncation;

/* Known from the start. @negative: of the negative prompt, if it is used. */
AVATAR_API void avatar_denoiser_get_prompt_truncation (AvatarDenoiser *self, gboolean negative,
    AvatarPromptTruncation *cut);
/* What of the settings' files is not used, though nothing failed: a sentence each, up to %NULL. Known from
 * the start. */
AVATAR_API const char *const *avatar_denoiser_get_warnings (AvatarDenoiser *self);
AVATAR_API void avatar_denoiser_get_stats (AvatarDenoiser *self, AvatarDenoiseStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarDenoiser, avatar_denoiser_free)

G_END_DECLS
