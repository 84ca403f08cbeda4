/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The audio encoder: mel, Whisper and windows against golden tensors, and the stage's promises. */
#include "tests/golden/golden.h"

#include "engine/audio/encoder.h"
#include "engine/audio/mel.h"
#include "engine/audio/whisper.h"
#include "engine/model/config.h"

#include <string.h>

#define FRAME 640
#define POSITIONS 1500

static AvatarModel *model;
static AvatarDevice *device;
static gsize feature_floats;

/* Operations over an arena of @mib MiB. */
static AvatarOps *
make_ops (guint mib)
{
  GError *error = NULL;
  AvatarArena *arena = avatar_arena_new (device, (gsize) mib << 20, "test", &error);

  g_assert_no_error (error);
  return avatar_ops_new (device, arena, NULL);
}

static AvatarTensor
run_mel (AvatarOps *ops, const float *samples, gsize n)
{
  gint64 frames = 2 * POSITIONS;
  AvatarTensor input, mel;
  AvatarMel net;

  avatar_mel_init (&net, ops, 80);
  input = avatar_mel_alloc_input (ops, frames);
  memset (input.data, 0, avatar_tensor_bytes (input));
  memcpy (avatar_mel_samples (input), samples, n * sizeof (float));
  mel = avatar_ops_alloc (ops, 2, frames, (gint64) 80);
  avatar_mel_run (&net, ops, mel, input);
  g_assert_true (avatar_ops_check (ops, NULL));
  return mel;
}

/* Columns @from .. of @mel [frames, 80] as [80, n], the order of the golden files. */
static float *
transpose (AvatarTensor mel, gint64 from, gint64 n)
{
  float *out = g_new (float, 80 * n);

  for (gint64 c = 0; c < 80; c++)
    for (gint64 i = 0; i < n; i++)
      out[c * n + i] = avatar_tensor_f32 (mel)[(from + i) * 80 + c];
  return out;
}

static void
test_mel (void)
{
  g_autoptr (AvatarSafetensors) golden = golden_open ("upstream/whisper.safetensors");
  g_autoptr (AvatarOps) ops = make_ops (32);
  AvatarTensor audio = golden_get (golden, "in.audio");
  AvatarTensor mel = run_mel (ops, audio.data, avatar_tensor_n (audio));
  g_autofree float *head = transpose (mel, 0, 140);
  g_autofree float *tail = transpose (mel, 2 * POSITIONS - 4, 4);

  golden_compare (golden, "out.mel", head, 80 * 140, 1e-4);
  golden_compare (golden, "out.mel_tail", tail, 80 * 4, 1e-4);
  g_free (audio.data);
}

static void
test_mel_of_silence (void)
{
  g_autoptr (AvatarSafetensors) golden = golden_open ("upstream/whisper.safetensors");
  g_autoptr (AvatarOps) ops = make_ops (32);
  const float none = 0;
  AvatarTensor mel = run_mel (ops, &none, 0);
  g_autofree float *head = transpose (mel, 0, 4);

  golden_compare (golden, "out.mel_of_silence", head, 80 * 4, 1e-6);
}

static void
test_whisper (void)
{
  static const AvatarWhisperConfig config
      = { .mels = 80, .width = 16, .layers = 2, .heads = 2, .ffn = 40, .positions = POSITIONS };
  g_autoptr (AvatarSafetensors) golden = golden_open ("upstream/whisper.safetensors");
  g_autoptr (AvatarWhisperWeights) params = avatar_whisper_weights_new (&config);
  g_autoptr (AvatarWeights) weights = golden_weights (golden, "weights.model.encoder.", device,
      AVATAR_COMPONENT_WHISPER, params->list);
  g_autoptr (AvatarOps) ops = make_ops (64);
  AvatarTensor audio = golden_get (golden, "in.audio");
  AvatarTensor mel = run_mel (ops, audio.data, avatar_tensor_n (audio));
  AvatarTensor hidden = avatar_ops_alloc (ops, 3, (gint64) POSITIONS, (gint64) 3, (gint64) 16);

  avatar_whisper_run (ops, &config, params, hidden, mel);
  g_assert_true (avatar_ops_check (ops, NULL));
  golden_compare (golden, "out.hidden_fp32", hidden.data, 40 * 3 * 16, 1e-4);
  golden_compare (golden, "out.hidden_fp32_tail",
      avatar_tensor_f32 (hidden) + (POSITIONS - 4) * 3 * 16, 4 * 3 * 16, 1e-4);
  g_free (audio.data);
}

static void
test_windows (void)
{
  g_autoptr (AvatarSafetensors) golden = golden_open ("upstream/audio_windows.safetensors");
  AvatarTensor features = golden_get (golden, "in.features"); /* [64, 3, 4] */
  float out[24 * 10 * 3 * 4];

  for (guint i = 0; i < 24; i++)
    avatar_audio_features (features, i, 10, out + i * 120);
  golden_compare (golden, "out.fps25", out, G_N_ELEMENTS (out), 0);
  /* past the end: position 2 * 31 + 5 is the fourth one that is not there */
  avatar_audio_features (features, 31, 10, out);
  for (guint i = 6 * 12; i < 120; i++)
    g_assert_cmpfloat (out[i], ==, 0);
  g_assert_cmpfloat (out[0], ==, avatar_tensor_f32 (features)[58 * 12]);
  g_free (features.data);
}

/* Samples of the golden speech, a WAV of 16 bit mono. */
static float *
read_speech (gsize *n)
{
  g_autofree char *path = g_build_filename (GOLDEN_DIR, "demo", "speech.wav", NULL);
  g_autofree char *data = NULL;
  gsize length;
  float *samples;

  g_assert_true (g_file_get_contents (path, &data, &length, NULL));
  g_assert_true (memcmp (data + 36, "data", 4) == 0);
  *n = (length - 44) / 2;
  samples = g_new (float, *n);
  for (gsize i = 0; i < *n; i++) {
    gint16 value;

    memcpy (&value, data + 44 + 2 * i, 2);
    samples[i] = (gint16) GINT16_FROM_LE (value) / 32768.f;
  }
  return samples;
}

static AvatarAudioEncoder *
make_encoder_with (const AvatarAudioSettings *settings)
{
  GError *error = NULL;
  AvatarAudioEncoder *encoder = avatar_audio_encoder_new (model, device, settings, &error);

  g_assert_no_error (error);
  return encoder;
}

static AvatarAudioEncoder *
make_encoder (guint window, guint context)
{
  const AvatarAudioSettings settings = { .window_frames = window, .context_frames = context };

  return make_encoder_with (&settings);
}

/* Pulls one feature tensor, and checks what the encoder says before and after. */
static AvatarPull
pull_one (AvatarAudioEncoder *encoder, float *features, GError **error)
{
  guint n_ready = avatar_audio_encoder_get_n_ready (encoder);
  gboolean due = avatar_audio_encoder_is_due (encoder);
  AvatarPull pull = avatar_audio_encoder_pull (encoder, features, error);

  g_assert_false (n_ready > 0 && due);
  if (pull == AVATAR_PULL_OK && n_ready > 0)
    g_assert_cmpuint (avatar_audio_encoder_get_n_ready (encoder), ==, n_ready - 1);
  if (pull != AVATAR_PULL_ERROR)
    g_assert_cmpint (pull, ==, n_ready > 0 || due ? AVATAR_PULL_OK : AVATAR_PULL_EMPTY);
  return pull;
}

/* Appends to @features what is ready; FALSE on an error, which is left in @error. */
static gboolean
pull_all (AvatarAudioEncoder *encoder, GArray *features, GError **error)
{
  g_autofree float *one = g_new (float, feature_floats);
  AvatarPull pull;

  while ((pull = pull_one (encoder, one, error)) == AVATAR_PULL_OK)
    g_array_append_vals (features, one, feature_floats);
  return pull == AVATAR_PULL_EMPTY;
}

/* All features of @samples, pushed @chunk at a time. */
static GArray *
encode (AvatarAudioEncoder *encoder, const float *samples, gsize n, gsize chunk)
{
  GArray *features = g_array_new (FALSE, FALSE, sizeof (float));
  GError *error = NULL;

  for (gsize at = 0; at < n; at += chunk) {
    avatar_audio_encoder_push (encoder, samples + at, MIN (chunk, n - at), &error);
    g_assert_no_error (error);
    g_assert_true (pull_all (encoder, features, &error));
  }
  g_assert_true (avatar_audio_encoder_drain (encoder, &error));
  g_assert_true (pull_all (encoder, features, &error));
  g_assert_no_error (error);
  return features;
}

static const float *
frame (GArray *features, guint i)
{
  g_assert_cmpuint (i, <, features->len / feature_floats);
  return &g_array_index (features, float, i *feature_floats);
}

static void
test_demo (void)
{
  g_autoptr (AvatarSafetensors) golden = golden_open ("demo/tensors.safetensors");
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (0, 25);
  g_autoptr (GArray) features = NULL;
  g_autofree float *samples = NULL;
  gsize n;

  samples = read_speech (&n);
  features = encode (encoder, samples, n, n);
  g_assert_cmpuint (features->len, ==, 129 * feature_floats);
  golden_compare (golden, "audio_prompts", (float *) features->data, 24 * feature_floats, 1e-3);
}

static void
test_push_sizes (void)
{
  static const gsize chunks[] = { 160, 641, 30000, 1 << 20 };
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (60, 10);
  g_autoptr (GArray) first = NULL;
  g_autofree float *samples = NULL;
  gsize n;

  samples = read_speech (&n);
  for (guint i = 0; i < G_N_ELEMENTS (chunks); i++) {
    g_autoptr (GArray) features = encode (encoder, samples, n - 100, chunks[i]);

    g_assert_cmpuint (features->len, ==, 129 * feature_floats);
    if (first)
      g_assert_cmpmem (features->data, features->len * 4, first->data, first->len * 4);
    else
      first = g_steal_pointer (&features);
    avatar_audio_encoder_reset (encoder);
  }
}

/* A frame comes as soon as the window and its context have been heard, and whether the end of the
 * audio is known early or late makes no difference. */
static void
test_latency (void)
{
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (10, 25);
  g_autoptr (GArray) late = g_array_new (FALSE, FALSE, sizeof (float));
  g_autoptr (GArray) early = NULL;
  g_autofree float *samples = NULL;
  guint n_frames = 10 + 10 + 25;
  gsize n;

  samples = read_speech (&n);
  for (guint i = 0; i < n_frames; i++) {
    guint expected = i + 1 < 35 ? 0 : i + 1 < 45 ? 10 : 20;

    avatar_audio_encoder_push (encoder, samples + i * FRAME, FRAME, NULL);
    g_assert_true (pull_all (encoder, late, NULL));
    g_assert_cmpuint (late->len, ==, expected * feature_floats);
  }
  avatar_audio_encoder_drain (encoder, NULL);
  g_assert_true (pull_all (encoder, late, NULL));
  g_assert_cmpuint (late->len, ==, n_frames * feature_floats);
  avatar_audio_encoder_reset (encoder);
  avatar_audio_encoder_push (encoder, samples, n_frames * FRAME, NULL);
  early = encode (encoder, NULL, 0, 1);
  g_assert_cmpmem (early->data, early->len * 4, late->data, late->len * 4);
}

/* Features wait for the look-ahead, not for the context; the first window has its own length. The
 * number of all features does not depend on it. */
static void
test_lookahead (void)
{
  static const struct
  {
    AvatarAudioSettings settings;
    guint first, further, lookahead; /* expected, in frames */
  } cases[] = {
    { { .window_frames = 12, .context_frames = 25, .lookahead_frames = 3 }, 12, 12, 3 },
    { { .window_frames = 12, .context_frames = 5, .lookahead_frames = AVATAR_AUDIO_NO_LOOKAHEAD },
        12, 12, 0 },
    { { .window_frames = 8, .context_frames = 4, .lookahead_frames = 9, .first_window_frames = 13 },
        13, 8, 9 },
    { { .window_frames = 8, .context_frames = 2, .first_window_frames = 13 }, 13, 8, 2 },
  };
  const guint n_frames = 50;
  g_autofree float *samples = NULL;
  gsize n;

  samples = read_speech (&n);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (AvatarAudioEncoder) encoder = make_encoder_with (&cases[i].settings);
    g_autoptr (GArray) features = g_array_new (FALSE, FALSE, sizeof (float));

    for (guint at = 0; at < n_frames; at++) {
      guint expected = 0;

      avatar_audio_encoder_push (encoder, samples + at * FRAME, FRAME, NULL);
      g_assert_true (pull_all (encoder, features, NULL));
      for (guint end = cases[i].first; end + cases[i].lookahead <= at + 1; end += cases[i].further)
        expected = end;
      g_assert_cmpuint (features->len, ==, expected * feature_floats);
    }
    avatar_audio_encoder_drain (encoder, NULL);
    g_assert_true (pull_all (encoder, features, NULL));
    g_assert_cmpuint (features->len, ==, n_frames * feature_floats);
  }
}

/* A look-ahead as long as the context gives the same features as none that is set. */
static void
test_lookahead_default (void)
{
  const AvatarAudioSettings same = { .window_frames = 20,
    .context_frames = 10,
    .lookahead_frames = 10,
    .first_window_frames = 20 };
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (20, 10);
  g_autoptr (AvatarAudioEncoder) explicit = make_encoder_with (&same);
  g_autoptr (GArray) expected = NULL;
  g_autoptr (GArray) found = NULL;
  g_autofree float *samples = NULL;
  gsize n;

  samples = read_speech (&n);
  expected = encode (encoder, samples, 90 * FRAME, 90 * FRAME);
  found = encode (explicit, samples, 90 * FRAME, 90 * FRAME);
  g_assert_cmpmem (found->data, found->len * 4, expected->data, expected->len * 4);
}

/* A window is due as soon as its samples are there; its features are ready once it is computed. */
static void
test_n_ready (void)
{
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (10, 25);
  g_autofree float *samples = g_new0 (float, 35 * FRAME);
  g_autofree float *one = g_new (float, feature_floats);

  avatar_audio_encoder_push (encoder, samples, 35 * FRAME - 1, NULL);
  g_assert_false (avatar_audio_encoder_is_due (encoder));
  avatar_audio_encoder_push (encoder, samples, 1, NULL);
  g_assert_true (avatar_audio_encoder_is_due (encoder));
  g_assert_cmpuint (avatar_audio_encoder_get_n_ready (encoder), ==, 0);
  g_assert_cmpint (pull_one (encoder, one, NULL), ==, AVATAR_PULL_OK);
  g_assert_cmpuint (avatar_audio_encoder_get_n_ready (encoder), ==, 9);
  avatar_audio_encoder_reset (encoder);
  g_assert_cmpuint (avatar_audio_encoder_get_n_ready (encoder), ==, 0);
  g_assert_false (avatar_audio_encoder_is_due (encoder));
}

/* 30 s exactly are one window; a sample more makes two. */
static void
test_longest (void)
{
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (0, 25);
  g_autoptr (AvatarAudioEncoder) asked = make_encoder (750, 0);
  g_autofree float *samples = g_new0 (float, 751 * FRAME);
  g_autoptr (GArray) one = encode (encoder, samples, 750 * FRAME, 1000);
  g_autoptr (GArray) same = encode (asked, samples, 750 * FRAME, 750 * FRAME);
  g_autoptr (GArray) more = NULL;

  g_assert_cmpuint (one->len, ==, 750 * feature_floats);
  g_assert_cmpmem (one->data, one->len * 4, same->data, same->len * 4);
  avatar_audio_encoder_reset (encoder);
  more = encode (encoder, samples, 750 * FRAME + 1, 1000);
  g_assert_cmpuint (more->len, ==, 751 * feature_floats);
  g_assert_cmpmem (more->data, 725 * feature_floats * 4, one->data, 725 * feature_floats * 4);
  g_assert_true (memcmp (frame (more, 740), frame (one, 740), feature_floats * 4) != 0);
}

static void
test_short (void)
{
  static const struct
  {
    gsize samples;
    guint frames;
  } cases[] = { { 0, 0 }, { 1, 1 }, { FRAME - 1, 1 }, { FRAME, 1 }, { FRAME + 1, 2 } };
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (0, 25);
  g_autofree float *samples = g_new0 (float, 2 * FRAME);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GArray) features = encode (encoder, samples, cases[i].samples, FRAME);

    g_assert_cmpuint (features->len, ==, cases[i].frames * feature_floats);
    avatar_audio_encoder_reset (encoder);
  }
}

static void
test_bad_samples (void)
{
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (0, 25);
  g_autofree float *samples = g_new0 (float, 10 * FRAME);
  g_autoptr (GArray) clean = NULL;
  g_autoptr (GArray) features = NULL;

  clean = encode (encoder, samples, 10 * FRAME, FRAME);
  g_assert_cmpuint (avatar_audio_encoder_get_n_non_finite (encoder), ==, 0);
  avatar_audio_encoder_reset (encoder);
  samples[3] = NAN;
  samples[1000] = INFINITY;
  samples[6000] = -INFINITY;
  features = encode (encoder, samples, 10 * FRAME, FRAME);
  g_assert_cmpuint (avatar_audio_encoder_get_n_non_finite (encoder), ==, 3);
  g_assert_cmpmem (features->data, features->len * 4, clean->data, clean->len * 4);
  avatar_audio_encoder_reset (encoder);
  g_assert_cmpuint (avatar_audio_encoder_get_n_non_finite (encoder), ==, 0);
  /* absurdly loud, but finite */
  for (guint i = 0; i < 10 * FRAME; i++)
    samples[i] = i % 2 ? 1e38f : -1e38f;
  g_array_unref (features);
  features = encode (encoder, samples, 10 * FRAME, FRAME);
  for (guint i = 0; i < features->len; i++)
    g_assert_true (isfinite (g_array_index (features, float, i)));
}

/* A clip of many short windows is as long as one of a single window, and near it everywhere: a
 * window that was put in the wrong place would be far off. */
static void
test_windows_join (void)
{
  g_autoptr (AvatarAudioEncoder) whole = make_encoder (0, 25);
  g_autoptr (AvatarAudioEncoder) pieces = make_encoder (25, 25);
  g_autoptr (GArray) a = NULL;
  g_autoptr (GArray) b = NULL;
  g_autofree float *samples = NULL;
  double right = 0, wrong = 0;
  gsize n;

  samples = read_speech (&n);
  a = encode (whole, samples, n, n);
  b = encode (pieces, samples, n, 1000);
  g_assert_cmpuint (a->len, ==, b->len);
  for (guint i = 1; i < 128; i++) {
    right += golden_error (frame (b, i), frame (a, i), feature_floats);
    wrong += golden_error (frame (b, i), frame (a, i + 1), feature_floats);
  }
  g_test_message ("distance to the same frame %.3f, to the next %.3f", right / 127, wrong / 127);
  g_assert_cmpfloat (right, <, .7 * wrong);
}

/* 40 s: more than the model encodes at once. */
static void
test_long (void)
{
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (0, 25);
  g_autoptr (GArray) features = NULL;
  g_autofree float *speech = NULL;
  g_autofree float *samples = g_new (float, 1000 * FRAME);
  AvatarMemory before, after;
  gsize n;

  speech = read_speech (&n);
  for (gsize i = 0; i < 1000 * FRAME; i++)
    samples[i] = speech[i % n];
  avatar_device_get_memory (device, &before);
  features = encode (encoder, samples, 1000 * FRAME, 3 * FRAME);
  avatar_device_get_memory (device, &after);
  g_assert_cmpuint (features->len, ==, 1000 * feature_floats);
  g_assert_cmpuint (after.peak, ==, before.peak);
}

static void
test_errors (void)
{
  const AvatarAudioSettings long_window = { .window_frames = 751, .context_frames = 25 },
                            no_middle = { .window_frames = 50, .context_frames = 375 },
                            long_first = { .window_frames = 50, .first_window_frames = 751 },
                            long_lookahead = { .context_frames = 25, .lookahead_frames = 725 };
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (0, 25);
  g_autofree float *one = g_new (float, feature_floats);
  GError *error = NULL;
  float sample = 0;

  g_assert_null (avatar_audio_encoder_new (model, device, &long_window, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (avatar_audio_encoder_new (model, device, &no_middle, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (avatar_audio_encoder_new (model, device, &long_first, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (avatar_audio_encoder_new (model, device, &long_lookahead, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "look-ahead of 725"));
  g_clear_error (&error);
  g_assert_true (avatar_audio_encoder_drain (encoder, NULL));
  g_assert_false (avatar_audio_encoder_push (encoder, &sample, 1, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_clear_error (&error);
  avatar_audio_encoder_reset (encoder);
  avatar_audio_encoder_cancel (encoder);
  g_assert_cmpint (avatar_audio_encoder_pull (encoder, one, &error), ==, AVATAR_PULL_ERROR);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  g_clear_error (&error);
  g_assert_false (avatar_audio_encoder_push (encoder, &sample, 1, &error));
  g_clear_error (&error);
  avatar_audio_encoder_reset (encoder);
  g_assert_true (avatar_audio_encoder_push (encoder, &sample, 1, NULL));
}

static gpointer
cancel_soon (gpointer encoder)
{
  g_usleep (10000);
  avatar_audio_encoder_cancel (encoder);
  return NULL;
}

/* Cancels at any point: the stage returns "cancelled", and works again after a reset. */
static void
test_cancel (void)
{
  g_autoptr (AvatarAudioEncoder) encoder = make_encoder (0, 25);
  g_autofree float *samples = g_new0 (float, 100 * FRAME);
  g_autofree float *one = g_new (float, feature_floats);
  GThread *thread = g_thread_new ("cancel", cancel_soon, encoder);
  g_autoptr (GArray) features = NULL;
  GError *error = NULL;

  while (!error) {
    avatar_audio_encoder_push (encoder, samples, 100 * FRAME, &error);
    if (!error)
      avatar_audio_encoder_pull (encoder, one, &error);
  }
  g_thread_join (thread);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  g_clear_error (&error);
  avatar_audio_encoder_reset (encoder);
  features = encode (encoder, samples, 100 * FRAME, FRAME);
  g_assert_cmpuint (features->len, ==, 100 * feature_floats);
}

static void
test_plan (void)
{
  g_autoptr (AvatarAudioEncoder) encoder = NULL;
  AvatarStageCost one, two;
  AvatarMemory before, after;

  g_assert_true (avatar_audio_encoder_plan (model, device, 750, &one, NULL));
  g_assert_true (avatar_audio_encoder_plan (model, device, 751, &two, NULL));
  g_assert_cmpfloat (two.flops, ==, 2 * one.flops);
  g_assert_cmpfloat (one.flops, >, 1e9);
  avatar_device_get_memory (device, &before);
  encoder = make_encoder (0, 25);
  avatar_device_get_memory (device, &after);
  g_assert_cmpuint (after.now - before.now, ==, one.weight_bytes + one.arena_bytes);
}

int
main (int argc, char **argv)
{
  const AvatarModelInfo *info;
  GError *error = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  device = avatar_device_open ("cpu", &error);
  g_assert_no_error (error);
  model = avatar_model_open (AVATAR_MODEL_DIR, &error);
  g_assert_no_error (error);
  info = avatar_model_get_info (model);
  feature_floats = info->feature_steps * info->feature_states * info->feature_channels;
  g_test_add_func ("/audio/mel", test_mel);
  g_test_add_func ("/audio/mel-of-silence", test_mel_of_silence);
  g_test_add_func ("/audio/whisper", test_whisper);
  g_test_add_func ("/audio/windows", test_windows);
  g_test_add_func ("/audio/demo", test_demo);
  g_test_add_func ("/audio/push-sizes", test_push_sizes);
  g_test_add_func ("/audio/latency", test_latency);
  g_test_add_func ("/audio/lookahead", test_lookahead);
  g_test_add_func ("/audio/lookahead-default", test_lookahead_default);
  g_test_add_func ("/audio/n-ready", test_n_ready);
  g_test_add_func ("/audio/longest", test_longest);
  g_test_add_func ("/audio/short", test_short);
  g_test_add_func ("/audio/bad-samples", test_bad_samples);
  g_test_add_func ("/audio/windows-join", test_windows_join);
  g_test_add_func ("/audio/long", test_long);
  g_test_add_func ("/audio/errors", test_errors);
  g_test_add_func ("/audio/cancel", test_cancel);
  g_test_add_func ("/audio/plan", test_plan);
  result = g_test_run ();
  avatar_model_unref (model);
  avatar_device_unref (device);
  return result;
}
