/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/device.h>
#include <avatar/image.h>
#include <avatar/lora.h>
#include <avatar/model.h>
#include <avatar/speaker.h>

G_BEGIN_DECLS

/**
 * SECTION:denoise
 * @title: AvatarDenoiser
 * @short_description: second stage, from audio features and a portrait to latent frames
 *
 * The denoiser makes one latent frame for the first video frame, and one for each further four.
 *
 * One thread at a time may use a denoiser. avatar_denoiser_cancel() may be called from any thread.
 */

/**
 * AvatarDenoiser:
 *
 * A denoiser, an opaque object that one owner frees.
 *
 * Since: 0.1
 */
typedef struct _AvatarDenoiser AvatarDenoiser;

/**
 * AvatarDenoiseMode:
 * @AVATAR_DENOISE_MODE_AUTO: clip mode if the audio ends within one window, else stream mode
 * @AVATAR_DENOISE_MODE_CLIP: upstream's windows over the whole audio, which are shifted in each
 *   step (pipeline_hunyuan_video_audio.py of HunyuanVideo-Avatar). Latents come out after the audio
 *   has ended
 * @AVATAR_DENOISE_MODE_STREAM: one window after another. The first latents of a window are held to
 *   the last ones of the window before. Memory and latency do not depend on the length
 *
 * Division of the audio into windows.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_DENOISE_MODE_AUTO,
  AVATAR_DENOISE_MODE_CLIP,
  AVATAR_DENOISE_MODE_STREAM,
} AvatarDenoiseMode;

/**
 * AvatarContinuation:
 * @AVATAR_CONTINUATION_HELD: the shared latents are held: in each step they are those of the window
 *   before, with noise
 * @AVATAR_CONTINUATION_CORRECTED: held in the same way. In addition, the error that the transformer
 *   makes in the velocity of the last shared latent, which is known, is subtracted from the
 *   velocities of the new latents, less with each further latent. Motion continues where windows
 *   join. The first window after a new portrait is not corrected
 *
 * Continuation of the window before in stream mode.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_CONTINUATION_HELD,
  AVATAR_CONTINUATION_CORRECTED,
} AvatarContinuation;

/**
 * AvatarStepCacheMode:
 * @AVATAR_STEP_CACHE_NONE: each step runs the whole transformer
 * @AVATAR_STEP_CACHE_UPSTREAM: the steps of upstream's table for 50 steps
 *   (pipeline_hunyuan_video_audio.py of HunyuanVideo-Avatar), scaled to the number of steps
 * @AVATAR_STEP_CACHE_ADAPTIVE: the first steps, the last one, and those by which the modulation has
 *   changed by more than the threshold since the last whole run
 * @AVATAR_STEP_CACHE_EASY: the first steps, the last one, and those before which the velocity has
 *   changed by more than the threshold since the last whole run, as its rate of change in the last
 *   whole runs predicts (EasyCache)
 * @AVATAR_STEP_CACHE_FORECAST: a fixed number of steps, more of them where a step matters more. The
 *   velocities of the others are forecast from those of the last whole runs (Spectrum)
 *
 * Choice of the steps that run the whole transformer. With the first modes the others run its last
 * block only, on the cached output of the block before it; with the last two they run no block.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_STEP_CACHE_NONE,
  AVATAR_STEP_CACHE_UPSTREAM,
  AVATAR_STEP_CACHE_ADAPTIVE,
  AVATAR_STEP_CACHE_EASY,
  AVATAR_STEP_CACHE_FORECAST,
} AvatarStepCacheMode;

/**
 * AvatarAttentionMode:
 * @AVATAR_ATTENTION_DENSE: every query attends to every key
 * @AVATAR_ATTENTION_SPARSE: every block of 64 queries attends exactly to the text, its neighbours
 *   and the blocks of 64 keys with a high mean score; each other block counts as its mean. Queries
 *   of the text are exact. On a GPU heads must have a width of 128
 *
 * Attention between the tokens of a window.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_ATTENTION_DENSE,
  AVATAR_ATTENTION_SPARSE,
} AvatarAttentionMode;

/**
 * AvatarPrecision:
 * @AVATAR_PRECISION_AUTO: float32 on the CPU, bfloat16 on a GPU
 * @AVATAR_PRECISION_FP8: weights and activations of the blocks in e4m3, with a scale for each row
 *
 * Precision of matrix products.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_PRECISION_AUTO,
  AVATAR_PRECISION_FP8,
} AvatarPrecision;

/**
 * AvatarWeightFormat:
 * @AVATAR_WEIGHT_FORMAT_STORED: 8 bits if the file has 8 bits, else 16 bits
 * @AVATAR_WEIGHT_FORMAT_FP8: e4m3 with a scale for each row, quantised while loading
 * @AVATAR_WEIGHT_FORMAT_INT8: 8-bit integers with a scale for each row, quantised while loading
 *
 * Format of the weights of the blocks on a GPU.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_WEIGHT_FORMAT_STORED,
  AVATAR_WEIGHT_FORMAT_FP8,
  AVATAR_WEIGHT_FORMAT_INT8,
} AvatarWeightFormat;

/**
 * AvatarTextStates:
 * @states: output of the language model, [@n, text width of the model]
 * @pooled: pooled vector of CLIP
 * @mask: (nullable): [@n], non-zero for the rows that the token refiner uses; %NULL: all rows
 * @n: number of rows
 * @used: number of rows, from the first, that the blocks receive; 1 to @n
 *
 * A prompt that was encoded elsewhere.
 *
 * Since: 0.1
 */
typedef struct _AvatarTextStates AvatarTextStates;
struct _AvatarTextStates
{
  const float *states, *pooled;
  const guint8 *mask;
  guint n, used;
  /*< private >*/
  gpointer _reserved[2];
};

/**
 * AvatarProgressPhase:
 * @AVATAR_PROGRESS_DENOISE: a window is denoised
 * @AVATAR_PROGRESS_TEXT: prompts and portrait are encoded, when the reference is set or when they
 *   change
 *
 * Phase of the work that progress is reported for.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_PROGRESS_DENOISE,
  AVATAR_PROGRESS_TEXT,
} AvatarProgressPhase;

/**
 * AvatarProgress:
 * @phase: the phase
 * @window: index of the window that is denoised, from 0; always 0 in clip mode
 * @step: number of steps that are done, or of layers of the text encoders
 * @steps: number of all steps, or of all layers
 *
 * Progress of a denoiser. Only the library makes it, so later versions may append fields.
 *
 * Since: 0.1
 */
typedef struct _AvatarProgress AvatarProgress;
struct _AvatarProgress
{
  AvatarProgressPhase phase;
  guint window;
  guint step, steps;
};

/**
 * AvatarProgressFunc:
 * @progress: the progress
 * @user_data: data of avatar_denoiser_set_progress_func()
 *
 * Function that is called at the start of a window and after each step, in the thread that calls
 * the denoiser. Of the functions of the denoiser it may call avatar_denoiser_cancel() and
 * avatar_denoiser_abandon_window() only.
 *
 * Since: 0.1
 */
typedef void (*AvatarProgressFunc) (const AvatarProgress *progress, gpointer user_data);

/**
 * AvatarDenoiseSettings:
 * @width: width of the video in pixels
 * @height: height of the video in pixels
 * @prompt: description of the video
 * @negative_prompt: description of what to avoid; used with guidance only
 * @steps: number of denoising steps, 1 to 1000
 * @guidance_scale: scale of classifier-free guidance, 0 to 100; 1 or less: none. A step then has
 *   one forward, with prompt, audio and the whole face mask, instead of two
 * @flow_shift: shift of the noise schedule, above 0 to 100
 * @seed: seed of the noise
 * @mode: division of the audio into windows
 * @window_latents: length of a window in stream mode in latent frames, 2 to window_latents of the
 *   model
 * @overlap: latent frames that a window of stream mode shares with the one before, 1 to
 *   @window_latents - 1
 * @motion_pose: strength of head motion; 25 is normal
 * @motion_exp: strength of expression; 30 is normal
 * @face_box: the face on the fitted portrait, in pixels; all zero: the whole picture is animated
 * @step_cache: choice of the steps that run the whole transformer
 * @step_cache_threshold: relative change below which the cache is used: of the modulation with
 *   %AVATAR_STEP_CACHE_ADAPTIVE, of the velocity with %AVATAR_STEP_CACHE_EASY
 * @precision: precision of matrix products
 * @weight_format: format of the weights on a GPU
 * @pinned_bytes: limit in bytes for page-locked host memory that a GPU copies weights from. Further
 *   weights are copied from mapped files. %G_MAXUINT64: no limit
 * @loras: (nullable) (array length=n_loras): LoRAs to merge in this order, before weights are
 *   quantised. Not for weights that are both stored and computed in 8 bits
 * @n_loras: number of LoRAs
 * @text_states: (nullable): two encoded prompts to use instead of @prompt and @negative_prompt, for
 *   models without text encoders
 * @prompt_cache_dir: (nullable): folder that encoded prompts are kept in; "none": no folder; %NULL:
 *   the cache folder of the user
 * @prompt_cache_bytes: limit in bytes for the encoded prompts; the least recently used are removed
 * @exact_rope: computes the positions of the text encoder exactly, instead of with the rounding
 *   that the transformer was trained with
 * @noise: (nullable): initial noise, [channels, @noise_latents, h, w] in latent cells, to use
 *   instead of noise from @seed. It must remain valid as long as the denoiser
 * @noise_latents: latent frames of @noise
 * @noise_file: (nullable): path of a tensor file with the initial noise, [channels, frames, h, w],
 *   optionally with a leading dimension of 1. Read when the denoiser is made
 * @posterior_noise: (nullable): latents of the portrait: "mode" or %NULL: the mean of its
 *   posterior; "seeded": one sample of the posterior for each latent frame, from @seed; or the path
 *   of a tensor file with noise for the samples, as @noise_file. Samples need as much more memory
 *   on a GPU as the tokens of the latents
 * @upstream_rounding: rounds to 16 bits between the networks where upstream does
 * @idle_steps: number of steps of windows for which avatar_denoiser_use_steps() chooses it, at most
 *   1000; 0: as @steps. Both are prepared at once, so that changing between them costs nothing
 * @continuation: continuation of the window before in stream mode
 * @min_steps: smallest number of steps that avatar_denoiser_use_steps() may choose, at most @steps;
 *   0: @steps. The host has memory for all numbers from @min_steps to @steps, which are prepared at
 *   once
 * @sigmas: (nullable) (array length=n_sigmas): noise level of each step, descending, above 0 to 1,
 *   to use instead of those of @flow_shift, which must then be the model's default. 0 follows the
 *   last step. A window with n steps, a number other than @steps, uses the values at i @steps / n
 *   of the list, i = 0 .. n - 1, interpolated linearly
 * @n_sigmas: number of @sigmas; 0, or @steps
 * @guidance_border: border between the two phases of guidance, as a noise level of at most 1: steps
 *   with a sigma above it use the negative prompt, the others differ in audio only. 0: upstream's
 *   rule, which is the first 10 steps whatever their number; it equals 0.955 with 50 steps and a
 *   flow_shift of 5
 * @step_cache_steps: largest number of steps that run the whole transformer with
 *   %AVATAR_STEP_CACHE_FORECAST, but never less than the first two of each phase of guidance and
 *   the last one; 0: 30 % of all steps, at least 8
 * @attention: attention between the tokens of a window
 * @attention_dense_layers: number of blocks of the transformer, from the first, that
 *   %AVATAR_ATTENTION_SPARSE leaves dense
 * @attention_tau: number of standard deviations, 0 to 100, by which the mean score of a block of
 *   keys must exceed the average of all blocks to be exact. A larger one is faster and less exact
 * @attention_dense_steps: share of the steps, 0 to 1, from the first, that
 *   %AVATAR_ATTENTION_SPARSE leaves dense
 * @speakers: (nullable) (array length=n_speakers): speakers after the first one, whose face is
 *   @face_box. avatar_denoiser_push_speaker() takes their features
 * @n_speakers: number of @speakers, at most %AVATAR_MAX_SPEAKERS - 1; 0: one face and one voice
 *
 * Settings of a denoiser. Fill them with avatar_denoise_settings_init() first. The denoiser copies
 * all but @noise.
 *
 * Since: 0.1
 */
typedef struct _AvatarDenoiseSettings AvatarDenoiseSettings;
struct _AvatarDenoiseSettings
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
  guint idle_steps;
  AvatarContinuation continuation;
  guint min_steps;
  const double *sigmas;
  guint n_sigmas;
  double guidance_border;
  guint step_cache_steps;
  AvatarAttentionMode attention;
  guint attention_dense_layers;
  double attention_tau, attention_dense_steps;
  const AvatarSpeaker *speakers;
  guint n_speakers;
  /*< private >*/
  gpointer _reserved[6];
};

/**
 * AvatarDenoiseStats:
 * @index: index of the window, from 0
 * @latents: number of latent frames that it produced
 * @steps: number of steps
 * @forwards: number of forwards of the transformer
 * @seconds: wall-clock time that it took
 * @resident: number of weight groups that are resident on the device now
 * @streamed: number of weight groups that are copied to the device in each forward
 * @evicted: number of weight groups that were evicted when memory became scarce
 * @restored: number of evicted weight groups that became resident again
 * @uploaded: bytes of weights that were copied to the device since the first window
 *
 * Statistics of the window that was denoised last. The last five fields are 0 on the CPU.
 *
 * Since: 0.1
 */
typedef struct _AvatarDenoiseStats AvatarDenoiseStats;
struct _AvatarDenoiseStats
{
  guint index, latents, steps, forwards;
  double seconds;
  guint resident, streamed, evicted, restored;
  guint64 uploaded;
  /*< private >*/
  gpointer _reserved[4];
};

/**
 * avatar_denoise_settings_init:
 * @settings: (out caller-allocates): settings to fill
 * @model: a model
 *
 * Fills @settings with the defaults of @model. Strings of @settings belong to @model. May be called
 * from any thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoise_settings_init (AvatarDenoiseSettings *settings, AvatarModel *model);

/**
 * avatar_denoiser_new:
 * @model: the model
 * @device: the device to compute on
 * @settings: the settings, which are copied
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS, #AVATAR_ERROR_MEMORY with the
 *   smallest sufficient budget, #AVATAR_ERROR_READ, or the errors of a file that @settings name
 *
 * Makes a denoiser, and loads its weights or prepares to stream them. It keeps references to @model
 * and @device.
 *
 * Returns: (transfer full) (nullable): the denoiser, to be freed with avatar_denoiser_free(), or
 * %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarDenoiser *avatar_denoiser_new (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error);

/**
 * avatar_denoiser_set_reference:
 * @self: a denoiser
 * @image: the portrait, RGB, fitted to the width and height of the settings; not kept
 * @error: return location for a #GError: #AVATAR_ERROR_DATA, #AVATAR_ERROR_MEMORY,
 *   #AVATAR_ERROR_CANCELLED
 *
 * Encodes the portrait, and with it the prompts if the portrait is an input of the text encoder.
 * To be called once before avatar_denoiser_pull().
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_set_reference (AvatarDenoiser *self, const AvatarImage *image,
    GError **error);

/**
 * avatar_denoiser_change:
 * @self: a denoiser with a reference
 * @settings: the settings that it was made with, except for those to change: prompt,
 *   negative_prompt, steps, idle_steps, min_steps, guidance_scale, guidance_border, flow_shift,
 *   sigmas with n_sigmas, seed, motion_pose, motion_exp, face_box, speakers, loras with n_loras. A
 *   different size, mode, window_latents, overlap, continuation, step_cache, attention (with its
 *   numbers), precision, weight_format, upstream_rounding, exact_rope or n_speakers is an error.
 *   Other fields are ignored, and so are prompts if the denoiser has text_states. Nothing of it is
 *   kept
 * @image: (nullable): a new portrait, fitted to the same size; %NULL: the portrait stays. Not kept
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS, #AVATAR_ERROR_DATA,
 *   #AVATAR_ERROR_MEMORY, #AVATAR_ERROR_CANCELLED, or the errors of a LoRA file
 *
 * Changes settings from the next window on. The best moment is when avatar_denoiser_is_due()
 * returns %TRUE.
 * Encodes prompts and portrait again if needed, within the memory budget of the device, which may
 * wait for other stages; avatar_denoiser_cancel() ends the wait.
 *
 * LoRAs whose paths, strengths or order differ are opened and checked first. Then all weights are
 * freed and made again, as by avatar_denoiser_new(), so that memory never holds two sets of them.
 * If memory or a file does not permit that, the previous weights are made again before the next
 * window; if that fails too, avatar_denoiser_pull() reports it.
 *
 * The stream continues. Latents that a window shares with the one before stay, and the noise of a
 * latent frame depends on the seed and the number of the frame alone. A window therefore equals
 * that of a denoiser that was made with @settings and reached the same state; before the first
 * window the two are bit-identical.
 *
 * Returns: %TRUE, or %FALSE on error; the denoiser then continues with the previous settings
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_change (AvatarDenoiser *self,
    const AvatarDenoiseSettings *settings, const AvatarImage *image, GError **error);

/**
 * avatar_denoiser_is_due:
 * @self: a denoiser
 *
 * Checks whether the next avatar_denoiser_pull() will denoise a window.
 *
 * Returns: %TRUE if it will
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_is_due (AvatarDenoiser *self);

/**
 * avatar_denoiser_get_n_ready:
 * @self: a denoiser
 *
 * Called by the thread that pulls.
 *
 * Returns: latent frames that avatar_denoiser_pull() returns without computing
 *
 * Since: 0.1
 */
AVATAR_API guint avatar_denoiser_get_n_ready (AvatarDenoiser *self);

/**
 * avatar_denoiser_set_deadline:
 * @self: a denoiser
 * @deadline: monotonic time in microseconds (g_get_monotonic_time()) at which the latent frames are
 *   needed; %G_MAXINT64, the default: nobody waits for them
 *
 * Sets the deadline for what is computed next. If several stages compute on one device, two at a
 * time do so, in the order of their deadlines. A stage without a deadline comes after all that
 * have one. Results do not depend on deadlines. Called by the thread that pulls.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_set_deadline (AvatarDenoiser *self, gint64 deadline);

/**
 * avatar_denoiser_set_progress_func:
 * @self: a denoiser
 * @func: (nullable): the function; %NULL: none
 * @user_data: data for @func, which must remain valid until another function is set
 *
 * Sets the function that reports progress.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_set_progress_func (AvatarDenoiser *self, AvatarProgressFunc func,
    gpointer user_data);

/**
 * avatar_denoiser_push:
 * @self: a denoiser
 * @features: the features of one video frame,
 *   [feature_steps, feature_states, feature_channels] floats, all finite
 * @error: return location for a #GError: #AVATAR_ERROR_DATA if a value is not finite or after
 *   avatar_denoiser_drain(), #AVATAR_ERROR_CANCELLED
 *
 * Appends features, which are copied. Computes nothing.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_push (AvatarDenoiser *self, const float *features,
    GError **error);

/**
 * avatar_denoiser_push_speaker:
 * @self: a denoiser
 * @speaker: number of the speaker: 0: the first one, as avatar_denoiser_push(); 1 to n_speakers of
 *   the settings: a further one
 * @features: the features of one video frame of this speaker,
 *   [feature_steps, feature_states, feature_channels] floats, all finite
 * @error: return location for a #GError, as in avatar_denoiser_push(), and #AVATAR_ERROR_SETTINGS
 *   for a speaker that does not exist
 *
 * Appends features of a speaker, which are copied. Computes nothing. The first speaker sets the
 * length of the video. A window is due when the features of all speakers are there. After
 * avatar_denoiser_drain(), features that a further speaker lacks are zeros, as after the end of the
 * audio; those of silence (avatar_audio_compute_silence()) keep the mouth closed. Features after
 * the end of the first speaker are not used.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_push_speaker (AvatarDenoiser *self, guint speaker,
    const float *features, GError **error);

/**
 * avatar_denoiser_replace:
 * @self: a denoiser
 * @first: number of a video frame, counted from 0 since the last reset
 * @n: number of video frames
 * @features: the features of one video frame,
 *   [feature_steps, feature_states, feature_channels] floats, all finite
 * @error: return location for a #GError: #AVATAR_ERROR_DATA if a value is not finite
 *
 * Replaces the features of the video frames from @first on by @features, which are copied, as far
 * as they were pushed and a later window uses them. Latents that were denoised stay. With the
 * features of silence (avatar_audio_compute_silence()) this drops speech that is not yet in the
 * video.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_replace (AvatarDenoiser *self, guint64 first, guint64 n,
    const float *features, GError **error);

/**
 * avatar_denoiser_replace_speaker:
 * @self: a denoiser
 * @speaker: number of the speaker, as in avatar_denoiser_push_speaker()
 * @first: number of a video frame, counted from 0 since the last reset
 * @n: number of video frames
 * @features: the features of one video frame
 * @error: return location for a #GError, as in avatar_denoiser_replace(), and
 *   #AVATAR_ERROR_SETTINGS for a speaker that does not exist
 *
 * Replaces features of one speaker, as avatar_denoiser_replace() does for the first one.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_replace_speaker (AvatarDenoiser *self, guint speaker,
    guint64 first, guint64 n, const float *features, GError **error);

/**
 * avatar_denoiser_use_steps:
 * @self: a denoiser
 * @steps: number of steps: that of the settings, their idle_steps, or a number from their
 *   min_steps to their steps
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS for another number, or for
 *   a number other than steps in clip mode
 *
 * Sets the number of steps of the next window and of all after it. avatar_denoiser_change() sets it
 * to that of the new settings. Fewer steps are enough for a face in silence.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_use_steps (AvatarDenoiser *self, guint steps, GError **error);

/**
 * avatar_denoiser_abandon_window:
 * @self: a denoiser
 *
 * Ends the window that is being denoised after its current step, without latents.
 * avatar_denoiser_pull() then returns %AVATAR_PULL_EMPTY, and the window is still due: the next
 * call denoises it from its first step. Has no effect if no window is being denoised, and none in
 * clip mode; after the last step was reported it may come too late. May be called from any thread,
 * and from the progress function.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_abandon_window (AvatarDenoiser *self);

/**
 * avatar_denoiser_pull:
 * @self: a denoiser with a reference
 * @latent: (out caller-allocates): the next latent frame,
 *   [latent_channels, height / latent_scale, width / latent_scale] floats
 * @error: return location for a #GError: #AVATAR_ERROR_MEMORY, #AVATAR_ERROR_DEVICE,
 *   #AVATAR_ERROR_DATA, #AVATAR_ERROR_CANCELLED
 *
 * Takes the next latent frame. Denoises a window if one is complete and all latents before it were
 * taken. After avatar_denoiser_drain() there are latents for all video frames that were pushed:
 * (frames + 3) / 4, rounded up.
 *
 * Returns: %AVATAR_PULL_OK, %AVATAR_PULL_EMPTY if no latent frame is ready or the window was
 * abandoned, or %AVATAR_PULL_ERROR
 *
 * Since: 0.1
 */
AVATAR_API AvatarPull avatar_denoiser_pull (AvatarDenoiser *self, float *latent, GError **error);

/**
 * avatar_denoiser_skip:
 * @self: a denoiser
 *
 * Skips the window that is due, for a live stream that is too late: drops its features without
 * computing, and advances the stream as if its new latent frames had been pulled. The next window
 * continues from the last latent frames that were denoised, as if they were those before it.
 *
 * Nothing is skipped if no window is due, before the first window, in clip mode, and after
 * avatar_denoiser_drain().
 *
 * Returns: number of latent frames that were skipped
 *
 * Since: 0.1
 */
AVATAR_API guint avatar_denoiser_skip (AvatarDenoiser *self);

/**
 * avatar_denoiser_drain:
 * @self: a denoiser
 * @error: return location for a #GError: #AVATAR_ERROR_CANCELLED
 *
 * Ends the stream. All its latents can be pulled. Nothing may be pushed before the next
 * avatar_denoiser_reset().
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_denoiser_drain (AvatarDenoiser *self, GError **error);

/**
 * avatar_denoiser_reset:
 * @self: a denoiser
 *
 * Discards all features and latents, and starts a new stream, with the noise from the start. Ends a
 * cancellation. Reference and settings stay.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_reset (AvatarDenoiser *self);

/**
 * avatar_denoiser_cancel:
 * @self: a denoiser
 *
 * Makes the running call, and all later ones until avatar_denoiser_reset(), fail with
 * #AVATAR_ERROR_CANCELLED. A running call returns within about 100 ms. May be called from any
 * thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_cancel (AvatarDenoiser *self);

/**
 * avatar_denoiser_free:
 * @self: (nullable) (transfer full): a denoiser
 *
 * Frees the denoiser with all its memory. No other call may be running.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_free (AvatarDenoiser *self);

/**
 * AvatarPromptKind:
 * @AVATAR_PROMPT_POSITIVE: the prompt, with the words of quality that the model puts before it
 * @AVATAR_PROMPT_NEGATIVE: the negative prompt, unchanged
 *
 * One of the two prompts.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_PROMPT_POSITIVE,
  AVATAR_PROMPT_NEGATIVE,
} AvatarPromptKind;

/**
 * AvatarPromptTruncation:
 * @language: tokens beyond the limit of the language model, or of the byte embeddings that replace
 *   the text encoders
 * @clip: tokens beyond the limit of CLIP
 *
 * Number of tokens at the end of a prompt that are beyond the limits of the text encoders.
 *
 * Since: 0.1
 */
typedef struct _AvatarPromptTruncation AvatarPromptTruncation;
struct _AvatarPromptTruncation
{
  guint language, clip;
  /*< private >*/
  gpointer _reserved[2];
};

/**
 * avatar_denoiser_get_prompt_truncation:
 * @self: a denoiser
 * @kind: the prompt, or the negative prompt
 * @truncation: (out caller-allocates): number of tokens that are too many; 0 for a prompt
 *   that is not used
 *
 * Gets the number of tokens by which a prompt is too long. It is known as soon as the denoiser is
 * made.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_get_prompt_truncation (AvatarDenoiser *self, AvatarPromptKind kind,
    AvatarPromptTruncation *truncation);

/**
 * avatar_denoiser_get_warnings:
 * @self: a denoiser
 *
 * Gets the contents of LoRA files that are not used, although nothing failed. They are known as
 * soon as the denoiser is made, or its LoRAs have changed.
 *
 * Returns: (transfer none) (array zero-terminated=1): sentences, valid until
 * avatar_denoiser_change() or avatar_denoiser_free()
 *
 * Since: 0.1
 */
AVATAR_API const char *const *avatar_denoiser_get_warnings (AvatarDenoiser *self);

/**
 * avatar_denoiser_get_stats:
 * @self: a denoiser
 * @stats: (out caller-allocates): the statistics
 *
 * Gets the statistics of the window that was denoised last.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_denoiser_get_stats (AvatarDenoiser *self, AvatarDenoiseStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarDenoiser, avatar_denoiser_free)

G_END_DECLS
