/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stage 1. Samples are collected until a window is complete and can be encoded. The hidden states
 * are the features of the frames in the middle of the window, ten steps of 20 ms for each frame. Up
 * to `context` frames before and `lookahead` frames after it are encoded as well, so windows
 * overlap. The features depend on the samples only, not on how they were split into pushes. */
#include "engine/audio/encoder.h"

#include "engine/audio/mel.h"
#include "engine/audio/whisper.h"
#include "engine/base/reserved.h"
#include "engine/device/device.h"
#include "engine/model/nan-search.h"
#include "engine/weights/weights.h"

#include <math.h>
#include <string.h>

/* Positions of the encoder per video frame, and positions in the features of a frame before its
 * own. */
#define STEPS_PER_FRAME 2
#define STEPS_BEFORE 4
#define HOPS_PER_STEP 2
/* Limit of samples, whose squares must remain finite. Larger values come from a damaged source. */
#define MAX_SAMPLE 32768.f
/* Length of the silence whose middle frame gives the features of silence, in frames. */
#define SILENT_FRAMES 25

/* The network and its tensors in the arena. */
typedef struct
{
  const AvatarConfig *config;
  const AvatarWhisperWeights *params;
  AvatarMel mel;
  AvatarTensor hidden; /* last window, [positions, states, channels] */
  AvatarTensor input;
  gboolean upstream_rounding;
} Net;

typedef struct
{
  gsize n_samples;
  gboolean last; /* the audio ends with this window */
} Window;

struct _AvatarAudioEncoder
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarOps *ops;
  AvatarWeights *weights;
  AvatarWhisperWeights *params; /* bound to @weights */
  Net net;
  guint window, first_window; /* in frames, like the next two; 0: the longest */
  guint context, lookahead;   /* before and after a window */
  guint max_frames;           /* at most encoded at once */
  guint frame_samples;

  GArray *samples; /* float */
  gsize head;      /* index of the first sample of the next window */
  gboolean drained;
  gboolean started;  /* the first window of the stream was encoded */
  guint first_frame; /* first frame of the next window without features yet */
  guint next, end;   /* range of frames of the last window that are ready */
  guint64 n_non_finite;
};

static void
net_init (Net *net, AvatarOps *ops, const AvatarConfig *config, const AvatarWhisperWeights *params)
{
  const AvatarWhisperConfig *c = &config->whisper;

  net->config = config;
  net->params = params;
  avatar_mel_init (&net->mel, ops, c->mels);
  net->hidden
      = avatar_ops_alloc (ops, 3, (gint64) c->positions, (gint64) c->layers + 1, (gint64) c->width);
  net->input = avatar_mel_alloc_input (ops, (gint64) HOPS_PER_STEP * c->positions);
}

/* Encodes a window of @n samples, padded with silence to the length that the network was trained
 * for. */
static void
net_run (Net *net, AvatarOps *ops, const float *samples, gsize n)
{
  const AvatarWhisperConfig *c = &net->config->whisper;
  gint64 frames = (gint64) HOPS_PER_STEP * c->positions;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor mel = avatar_ops_alloc (ops, 2, frames, (gint64) c->mels);

  if (avatar_ops_running (ops)) {
    float *input = avatar_mel_samples (net->input);

    memcpy (input, samples, n * sizeof (float));
    memset (input + n, 0, (frames * AVATAR_MEL_HOP - n) * sizeof (float));
  }
  avatar_mel_run (&net->mel, ops, mel, net->input);
  if (net->upstream_rounding && avatar_ops_running (ops))
    avatar_dtype_round (avatar_tensor_f32 (mel), avatar_tensor_n (mel), AVATAR_F16);
  avatar_whisper_run (ops, c, net->params, net->hidden, mel);
  avatar_ops_release (ops, mark);
}

/* Returns the number of windows that the features of @frames need, with default settings. */
static guint
count_windows (const AvatarConfig *config, guint frames)
{
  guint window = config->whisper.positions / STEPS_PER_FRAME;
  guint context = MIN (AVATAR_AUDIO_CONTEXT_DEFAULT, (window - 1) / 2), hop = window - 2 * context;

  return frames <= window ? 1 : 1 + (frames - window + hop - 1) / hop;
}

gboolean
avatar_audio_encoder_plan (AvatarModel *model, AvatarDevice *device, guint frames,
    AvatarStageCost *cost, GError **error)
{
  guint n_windows = count_windows (avatar_model_get_config (model), frames);
  g_autoptr (AvatarDevice) host = avatar_device_or_host (device, error);
  g_autoptr (AvatarWhisperWeights) params
      = avatar_whisper_weights_new (&avatar_model_get_config (model)->whisper);
  g_autoptr (AvatarWeights) weights = NULL;
  g_autoptr (AvatarOps) ops = NULL;
  Net net = { 0 };

  if (host)
    weights = avatar_weights_new (model, host, AVATAR_COMPONENT_WHISPER, params->list, NULL,
        AVATAR_WEIGHTS_SHAPES_ONLY, error);
  if (!weights)
    return FALSE;
  ops = avatar_ops_new (host, avatar_arena_new_dry_run (), NULL);
  net_init (&net, ops, avatar_model_get_config (model), params);
  net_run (&net, ops, NULL, 0);
  *cost = (AvatarStageCost){
    .weight_bytes = avatar_weights_fixed_bytes (weights),
    .arena_bytes = avatar_arena_peak (ops->arena),
    .min_arena_bytes = avatar_arena_peak (ops->arena),
    .flops = ops->flops * n_windows,
    .bytes = ops->bytes * n_windows,
  };
  return TRUE;
}

void
avatar_audio_features (AvatarTensor hidden, guint frame, guint steps, float *features)
{
  gint64 row = hidden.shape[1] * hidden.shape[2];

  for (gint64 i = 0; i < steps; i++) {
    gint64 at = (gint64) frame * STEPS_PER_FRAME + i - STEPS_BEFORE;

    if (at >= 0 && at < hidden.shape[0])
      memcpy (features + i * row, avatar_tensor_f32 (hidden) + at * row, row * sizeof (float));
    else
      memset (features + i * row, 0, row * sizeof (float));
  }
}

/* Returns the number of video frames that the model encodes at once. */
static guint
count_positions (AvatarModel *model)
{
  return avatar_model_get_config (model)->whisper.positions / STEPS_PER_FRAME;
}

void
avatar_audio_settings_init (AvatarAudioSettings *settings, AvatarModel *model)
{
  *settings = (AvatarAudioSettings){
    .context_frames = MIN (AVATAR_AUDIO_CONTEXT_DEFAULT, (count_positions (model) - 1) / 2),
  };
}

static gboolean
check_window (const AvatarAudioEncoder *self, guint window, GError **error)
{
  if (window <= self->max_frames)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "an audio window of %u frames is longer than the %u frames that the model encodes at once; "
      "choose 1 to %u, or 0 for the maximum",
      window, self->max_frames, self->max_frames);
  return FALSE;
}

static gboolean
check_context (const AvatarAudioEncoder *self, GError **error)
{
  /* Each is checked before the sum, which may overflow. */
  if (self->context < self->max_frames && self->lookahead < self->max_frames
      && self->context + self->lookahead < self->max_frames)
    return TRUE;
  if (self->context == self->lookahead)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "an audio context of %u frames on both sides leaves none of the %u frames that the model "
        "encodes at once; choose at most %u",
        self->context, self->max_frames, (self->max_frames - 1) / 2);
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "an audio context of %u frames before a window and a look-ahead of %u frames after it leave "
        "none of the %u frames that the model encodes at once; choose at most %u for both together",
        self->context, self->lookahead, self->max_frames, self->max_frames - 1);
  return FALSE;
}

static gboolean
apply_settings (AvatarAudioEncoder *self, const AvatarAudioSettings *settings, GError **error)
{
  AvatarAudioSettings defaults;

  avatar_audio_settings_init (&defaults, self->model);
  if (!settings)
    settings = &defaults;
  if (!AVATAR_CHECK_RESERVED (settings, "AvatarAudioSettings", error))
    return FALSE;
  self->max_frames = count_positions (self->model);
  self->context = settings->context_frames;
  self->lookahead = settings->lookahead_frames < 0
      ? 0
      : (guint) settings->lookahead_frames ?: settings->context_frames;
  self->window = settings->window_frames;
  self->first_window = settings->first_window_frames ?: settings->window_frames;
  self->net.upstream_rounding = settings->upstream_rounding;
  return check_window (self, self->window, error) && check_window (self, self->first_window, error)
      && check_context (self, error);
}

static gboolean
open_net (AvatarAudioEncoder *self, GError **error)
{
  const AvatarConfig *config = self->net.config;
  AvatarArena *arena;
  AvatarStageCost cost;

  if (!avatar_audio_encoder_plan (self->model, self->device, 1, &cost, error))
    return FALSE;
  self->params = avatar_whisper_weights_new (&config->whisper);
  self->weights = avatar_weights_new (self->model, self->device, AVATAR_COMPONENT_WHISPER,
      self->params->list, NULL, AVATAR_WEIGHTS_LOAD, error);
  if (!self->weights)
    return FALSE;
  arena = avatar_arena_new (self->device, cost.arena_bytes, "the audio encoder", error);
  if (!arena)
    return FALSE;
  self->ops = avatar_ops_new (self->device, arena, error);
  if (!self->ops)
    return FALSE;
  net_init (&self->net, self->ops, config, self->params);
  return TRUE;
}

AvatarAudioEncoder *
avatar_audio_encoder_new (AvatarModel *model, AvatarDevice *device,
    const AvatarAudioSettings *settings, GError **error)
{
  g_autoptr (AvatarAudioEncoder) self = g_new0 (AvatarAudioEncoder, 1);
  const AvatarConfig *config = avatar_model_get_config (model);

  self->model = avatar_model_ref (model);
  self->net.config = config;
  self->frame_samples = config->sample_rate / config->fps;
  self->samples = g_array_new (FALSE, FALSE, sizeof (float));
  /* the mel spectrogram is computed in host memory */
  self->device = avatar_device_or_host (device, error);
  if (!self->device || !apply_settings (self, settings, error) || !open_net (self, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
avatar_audio_encoder_free (AvatarAudioEncoder *self)
{
  if (!self)
    return;
  avatar_ops_free (self->ops);
  avatar_weights_free (self->weights);
  avatar_whisper_weights_free (self->params);
  g_array_unref (self->samples);
  g_clear_pointer (&self->device, avatar_device_unref);
  avatar_model_unref (self->model);
  g_free (self);
}

gboolean
avatar_audio_encoder_push (AvatarAudioEncoder *self, const float *samples, gsize n_samples,
    GError **error)
{
  guint at = self->samples->len;
  float *in;

  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  if (self->drained || n_samples > (gsize) (G_MAXINT / 8 - MIN (at, G_MAXINT / 8))) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        self->drained ? "samples were pushed after the end of the audio; reset the encoder first"
                      : "too much audio was pushed at once; pull features between pushes");
    return FALSE;
  }
  if (n_samples == 0)
    return TRUE;
  g_array_append_vals (self->samples, samples, n_samples);
  in = &g_array_index (self->samples, float, at);
  for (gsize i = 0; i < n_samples; i++) {
    if (!isfinite (in[i])) {
      in[i] = 0;
      self->n_non_finite++;
    }
    in[i] = CLAMP (in[i], -MAX_SAMPLE, MAX_SAMPLE);
  }
  return TRUE;
}

/* Returns the wanted length of the next window; 0: the longest. */
static guint
get_wanted_frames (AvatarAudioEncoder *self)
{
  return self->started ? self->window : self->first_window;
}

/* Returns the length of the next window in frames, unless the audio ends in it: context, frames
 * that get features, look-ahead. */
static guint
count_window_frames (AvatarAudioEncoder *self)
{
  guint around = self->first_frame + self->lookahead, available = self->max_frames - around;
  guint wanted = get_wanted_frames (self);

  return around + (wanted ? MIN (wanted, available) : available);
}

/* Returns TRUE if the next window is complete, and sets @window. */
static gboolean
get_next_window (AvatarAudioEncoder *self, Window *window)
{
  gsize waiting = self->samples->len - self->head;
  gsize whole = (gsize) count_window_frames (self) * self->frame_samples;
  /* a clip that fills the longest window exactly is one window: waits for a further sample */
  gboolean full = get_wanted_frames (self) ? waiting >= whole : waiting > whole;

  *window = (Window){ .n_samples = MIN (waiting, whole), .last = self->drained && !full };
  return full || (window->last && waiting > (gsize) self->first_frame * self->frame_samples);
}

/* Removes @n samples. Moves the remaining ones only when half of the array is unused. */
static void
consume_samples (AvatarAudioEncoder *self, gsize n)
{
  self->head += n;
  if (self->head < self->samples->len / 2)
    return;
  g_array_remove_range (self->samples, 0, self->head);
  self->head = 0;
}

/* Returns FALSE with @error if the hidden states are not finite. The samples are finite, so the
 * weights are the cause. */
static gboolean
check_finite (AvatarAudioEncoder *self, GError **error)
{
  static const AvatarComponentKind searched[] = { AVATAR_COMPONENT_WHISPER, AVATAR_N_COMPONENTS };

  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  if (avatar_is_finite (self->net.hidden.data, avatar_tensor_n (self->net.hidden)))
    return TRUE;
  avatar_model_find_non_finite (self->model, searched, &self->ops->cancelled,
      "the audio encoder computed NaN or infinity", "they exceed the range of float32", error);
  return FALSE;
}

static gboolean
encode_window (AvatarAudioEncoder *self, const Window *window, GError **error)
{
  gsize n = window->n_samples;
  guint frames = (n + self->frame_samples - 1) / self->frame_samples;
  guint end = window->last ? frames : frames - self->lookahead;

  net_run (&self->net, self->ops, &g_array_index (self->samples, float, self->head), n);
  if (!check_finite (self, error))
    return FALSE;
  self->next = self->first_frame;
  self->end = end;
  self->first_frame = window->last ? 0 : MIN (end, self->context);
  self->started = TRUE;
  consume_samples (self,
      window->last ? n : (gsize) (end - self->first_frame) * self->frame_samples);
  return TRUE;
}

guint
avatar_audio_encoder_get_n_ready (AvatarAudioEncoder *self)
{
  return self->end - self->next;
}

gboolean
avatar_audio_encoder_is_due (AvatarAudioEncoder *self)
{
  Window window;

  return self->next == self->end && get_next_window (self, &window);
}

AvatarPull
avatar_audio_encoder_pull (AvatarAudioEncoder *self, float *features, GError **error)
{
  Window window;

  if (!avatar_ops_check (self->ops, error))
    return AVATAR_PULL_ERROR;
  if (self->next == self->end) {
    if (!get_next_window (self, &window))
      return AVATAR_PULL_EMPTY;
    if (!encode_window (self, &window, error))
      return AVATAR_PULL_ERROR;
  }
  avatar_audio_features (self->net.hidden, self->next++, self->net.config->transformer.audio_steps,
      features);
  return AVATAR_PULL_OK;
}

gboolean
avatar_audio_encoder_drain (AvatarAudioEncoder *self, GError **error)
{
  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  self->drained = TRUE;
  return TRUE;
}

void
avatar_audio_encoder_reset (AvatarAudioEncoder *self)
{
  avatar_ops_uncancel (self->ops);
  g_clear_error (&self->ops->error);
  g_array_set_size (self->samples, 0);
  self->head = 0;
  self->drained = self->started = FALSE;
  self->first_frame = self->next = self->end = 0;
  self->n_non_finite = 0;
}

void
avatar_audio_encoder_clear (AvatarAudioEncoder *self)
{
  if (self->samples->len > 0)
    memset (self->samples->data, 0, self->samples->len * sizeof (float));
}

gboolean
avatar_audio_compute_silence (AvatarModel *model, AvatarDevice *device, float *features,
    GError **error)
{
  g_autoptr (AvatarAudioEncoder) self = avatar_audio_encoder_new (model, device, NULL, error);
  g_autofree float *samples = NULL;
  gsize n;

  if (!self)
    return FALSE;
  n = (gsize) SILENT_FRAMES * self->frame_samples;
  samples = g_new0 (float, n);
  if (!avatar_audio_encoder_push (self, samples, n, error)
      || !avatar_audio_encoder_drain (self, error))
    return FALSE;
  for (guint i = 0; i <= SILENT_FRAMES / 2; i++)
    if (avatar_audio_encoder_pull (self, features, error) != AVATAR_PULL_OK)
      return FALSE;
  return TRUE;
}

void
avatar_audio_encoder_cancel (AvatarAudioEncoder *self)
{
  avatar_ops_cancel (self->ops);
}

AvatarDevice *
avatar_audio_encoder_get_device (AvatarAudioEncoder *self)
{
  return self->device;
}

guint64
avatar_audio_encoder_get_n_non_finite (AvatarAudioEncoder *self)
{
  return self->n_non_finite;
}
