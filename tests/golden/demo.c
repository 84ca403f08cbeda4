/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The demo model, step by step, against its golden set: features, text, latents after every step,
 * frames. */
#include "tests/golden/golden.h"

#include "engine/denoise/denoiser.h"
#include "engine/denoise/sampler.h"
#include "engine/denoise/window.h"
#include "engine/text/encoder.h"
#include "engine/vae/encoder.h"
#include "engine/model/config.h"

#include <avatar/avatar.h>
#include <string.h>

#define LIMIT 1e-3
#define PROMPT "a cartoon face talks"
#define STEPS 8
#define FRAMES 129

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarSafetensors *golden;
  const AvatarConfig *config;
  gsize n_features; /* features per frame */
  float *features;  /* [129, n_features] */
} Fixture;

static char *
demo_path (const char *name)
{
  return g_build_filename (GOLDEN_DIR, "demo", name, NULL);
}

static void
encode_speech (Fixture *f)
{
  g_autofree char *path = demo_path ("speech.wav");
  g_autofree char *wav = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarAudioEncoder) encoder = NULL;
  g_autofree float *samples = NULL;
  gsize length, n;

  g_file_get_contents (path, &wav, &length, &error);
  g_assert_no_error (error);
  n = (length - 44) / 2; /* 16 kHz, mono, 16 bit, canonical header */
  samples = g_new (float, n);
  for (gsize i = 0; i < n; i++)
    samples[i] = ((const gint16 *) (wav + 44))[i] / 32768.f;
  encoder = avatar_audio_encoder_new (f->model, f->device,
      &(AvatarAudioSettings){ .context_frames = 25 }, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_audio_encoder_push (encoder, samples, n, &error));
  g_assert_true (avatar_audio_encoder_drain (encoder, &error));
  f->features = g_new (float, FRAMES * f->n_features);
  for (guint i = 0; i < FRAMES; i++)
    g_assert_cmpint (avatar_audio_encoder_pull (encoder, f->features + i * f->n_features, &error),
        ==, AVATAR_PULL_OK);
  g_assert_cmpint (avatar_audio_encoder_pull (encoder, f->features, &error), ==, AVATAR_PULL_EMPTY);
}

static void
setup (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  const AvatarModelInfo *info;

  f->model = avatar_model_open (AVATAR_SOURCE_MODEL_DIR, &error);
  g_assert_no_error (error);
  f->device = avatar_device_open ("cpu", &error);
  f->golden = golden_open ("demo/tensors.safetensors");
  f->config = avatar_model_get_config (f->model);
  info = avatar_model_get_info (f->model);
  f->n_features = (gsize) info->feature_steps * info->feature_states * info->feature_channels;
  encode_speech (f);
}

static void
teardown (Fixture *f)
{
  g_free (f->features);
  avatar_safetensors_free (f->golden);
  avatar_device_unref (f->device);
  avatar_model_unref (f->model);
}

static void
test_features (void)
{
  Fixture f;

  setup (&f);
  golden_compare (f.golden, "audio_prompts", f.features, 24 * f.n_features, LIMIT);
  teardown (&f);
}

static void
test_reference (void)
{
  Fixture f;
  g_autoptr (GError) error = NULL;
  g_autofree char *path = demo_path ("reference.png");
  g_autoptr (AvatarImage) image = NULL;
  g_autoptr (AvatarImage) fitted = NULL;
  g_autoptr (AvatarVaeEncoder) encoder = NULL;
  g_autofree float *rgb = NULL;
  g_autofree float *latent = NULL;
  guint size;

  setup (&f);
  size = f.config->size;
  image = avatar_image_load (path, &error);
  g_assert_no_error (error);
  fitted = avatar_image_fit (image, f.model, 0, 0, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (fitted->width, ==, size);
  rgb = g_new (float, size *size * 3);
  for (guint y = 0; y < size; y++)
    for (guint x = 0; x < 3 * size; x++)
      rgb[y * 3 * size + x] = fitted->data[y * fitted->stride + x] / 127.5f - 1;
  encoder = avatar_vae_encoder_new (f.model, f.device, size, size, &error);
  g_assert_no_error (error);
  latent = g_new (float, size *size / 64 * f.config->vae.latent_channels);
  g_assert_true (avatar_vae_encode_image (encoder, rgb, latent, &error));
  golden_compare (f.golden, "ref_latent", latent, size * size / 64 * f.config->vae.latent_channels,
      LIMIT);
  teardown (&f);
}

typedef struct
{
  AvatarTransformer transformer;
  AvatarConditions conditions;
  AvatarWindow window;
  AvatarTensor x, v;
} Sampler;

/* One window of the whole golden clip over @ops, dry or not. */
static void
sampler_begin (Sampler *s, const Fixture *f, AvatarOps *ops)
{
  gint64 side = f->config->size / 8, channels = f->config->vae.latent_channels, frames = 33;

  s->window = (AvatarWindow){ .transformer = &s->transformer,
    .conditions = &s->conditions,
    .motion_exp = f->config->motion_exp,
    .motion_pose = f->config->motion_pose,
    .fps = f->config->fps,
    .guidance_scale = 2, /* so that both branches are there */
    .flow_shift = f->config->flow_shift,
    .n_speakers = 1,
    .frames = frames,
    .channels = channels,
    .h8 = side,
    .w8 = side };
  avatar_window_set_steps (&s->window, (const guint[]){ STEPS }, 1);
  avatar_window_precompute (&s->window, ops, NULL);
  avatar_window_begin (&s->window, ops);
  avatar_window_set_audio (&s->window, ops, f->features);
  s->x = avatar_ops_alloc (ops, 4, channels, frames, side, side);
  s->v = avatar_ops_alloc (ops, 4, channels, frames, side, side);
  avatar_window_velocity (&s->window, ops, s->v, s->x, 0, (AvatarWindowPosition){ 0 });
}

static void
sampler_forward (Sampler *s, AvatarOps *ops, guint i, guint branch, double face_scale)
{
  const AvatarForwardInput in = { .x = s->x,
    .step = &s->window.step_conditioning[2 * i + branch],
    .reference_tokens = &s->window.reference_tokens,
    .audio_kv = branch == 0 ? &s->window.voices[0] : &s->window.no_audio,
    .same_audio = branch == 1,
    .face_scale = face_scale };

  avatar_transformer_forward (&s->transformer, ops, s->v, &in);
}

static void
decode_and_compare (const Fixture *f, const float *z)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarSafetensors) file = golden_open ("demo/frames.safetensors");
  g_autoptr (AvatarDecoder) decoder = NULL;
  AvatarDecodeSettings settings;
  AvatarTensorSource frames;
  g_autofree guint8 *stored = NULL;
  guint size = f->config->size, n = size * size / 64, channels = f->config->vae.latent_channels;
  g_autofree float *latent = g_new (float, channels *n);
  g_autofree guint8 *rgb = g_new (guint8, size * size * 3);
  double difference = 0;
  guint compared = 0;

  g_assert_true (avatar_safetensors_get (file, "frames", &frames));
  stored = g_malloc (avatar_tensor_source_size (&frames));
  g_assert_true (avatar_tensor_source_read_stored (&frames, 0, avatar_tensor_source_n (&frames),
      stored, NULL));
  avatar_decode_settings_init (&settings, f->model);
  decoder = avatar_decoder_new (f->model, f->device, size, size, &settings, &error);
  g_assert_no_error (error);
  for (guint k = 0; k < 33; k++) {
    for (guint c = 0; c < channels; c++)
      memcpy (latent + c * n, z + (c * 33 + k) * n, n * sizeof (float));
    g_assert_true (avatar_decoder_push (decoder, latent, &error));
  }
  g_assert_true (avatar_decoder_drain (decoder, &error));
  for (guint i = 0; i < FRAMES; i++) {
    const guint8 *golden = stored + (gsize) (i / 4) * 3 * size * size;

    g_assert_cmpint (avatar_decoder_pull (decoder, rgb, 3 * size, &error), ==, AVATAR_PULL_OK);
    for (guint p = 0; i % 4 == 0 && p < 3 * size * size; p++, compared++)
      difference += ABS ((int) rgb[p] - (int) golden[p % 3 * size * size + p / 3]);
  }
  g_assert_cmpint (avatar_decoder_pull (decoder, rgb, 3 * size, &error), ==, AVATAR_PULL_EMPTY);
  g_assert_cmpuint (compared, ==, 33 * 3 * size * size);
  g_test_message ("frames: mean difference %.4f grey levels", difference / compared);
  g_assert_cmpfloat (difference / compared, <, 1);
}

static void
sample_and_compare (Sampler *s, const Fixture *f, AvatarOps *ops)
{
  AvatarTensor noise = golden_get (f->golden, "noise");
  gsize n = avatar_tensor_n (noise);
  double shift = f->config->flow_shift;

  memcpy (s->x.data, noise.data, n * sizeof (float));
  sampler_forward (s, ops, 0, 1, 0.6);
  golden_compare (f->golden, "velocity_step0_cfg_uncond", s->v.data, n, LIMIT);
  sampler_forward (s, ops, 0, 0, 0.6);
  golden_compare (f->golden, "velocity_step0_cfg_cond", s->v.data, n, LIMIT);
  for (guint i = 0; i < STEPS; i++) {
    g_autofree char *name = g_strdup_printf ("latents_after_step_%u", i + 1);
    double sigma = avatar_sigma (i, STEPS, shift), next = avatar_sigma (i + 1, STEPS, shift);

    sampler_forward (s, ops, i, 0, 1);
    if (i == 0)
      golden_compare (f->golden, "velocity_step0", s->v.data, n, LIMIT);
    avatar_op_axpby (ops, s->x, next - sigma, s->v, 1);
    golden_compare (f->golden, name, s->x.data, n, LIMIT);
  }
  decode_and_compare (f, s->x.data);
  g_free (noise.data);
}

/* Hugging Face's ids, and the rows that upstream's mask has the refiner mind. */
static void
compare_places (const Fixture *f, const AvatarEncoding *e, const guint8 *mask)
{
  AvatarTensor ids = golden_get (f->golden, "text_ids"), rows = golden_get (f->golden, "text_mask");

  g_assert_cmpuint (avatar_tensor_n (ids), ==, e->llava.n);
  g_assert_cmpuint (avatar_tensor_n (rows), ==, e->n);
  for (guint i = 0; i < e->llava.n; i++)
    g_assert_cmpfloat (((float *) ids.data)[i], ==, e->llava.ids[i]);
  for (guint i = 0; i < e->n; i++)
    g_assert_cmpfloat (((float *) rows.data)[i], ==, mask[i]);
  g_free (ids.data);
  g_free (rows.data);
}

/* Encodes both prompts with the portrait. */
static void
encode_texts (Fixture *f, AvatarConditions *conditions)
{
  const AvatarTextEncoderSettings settings
      = { { PROMPT, f->config->text.negative }, 2, FALSE, FALSE, { NULL, 0 } };
  g_autofree char *path = demo_path ("reference.png");
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) image = avatar_image_load (path, &error);
  g_autoptr (AvatarTextEncoder) encoder
      = avatar_text_encoder_new (f->model, f->device, &settings, &error);
  g_autoptr (AvatarOps) ops = NULL;
  AvatarTextEncoderRequirements required;

  g_assert_no_error (error);
  avatar_text_encoder_plan (encoder, G_MAXUINT64, &required);
  ops = avatar_ops_new (f->device,
      avatar_arena_new (f->device, required.arena_bytes, "texts", &error), &error);
  g_assert_no_error (error);
  g_assert_true (avatar_text_encoder_run (encoder, ops, image, NULL, NULL, &error));
  for (guint i = 0; i < 2; i++) {
    AvatarEncoding *e = avatar_text_encoder_get_encoding (encoder, i);

    conditions->text[i] = (AvatarText){ .states = g_steal_pointer (&e->states),
      .pooled = g_steal_pointer (&e->pooled),
      .mask = g_steal_pointer (&e->mask),
      .n = e->n,
      .used = e->used };
    golden_compare (f->golden, i ? "text_states_uncond" : "text_states", conditions->text[i].states,
        e->n * f->config->transformer.text_dim, 1e-4);
    golden_compare (f->golden, i ? "text_states_2_uncond" : "text_states_2",
        conditions->text[i].pooled, f->config->transformer.pooled_dim, 1e-4);
    if (i == 0)
      compare_places (f, e, conditions->text[i].mask);
  }
}

static void
test_steps (void)
{
  Fixture f;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTransformerWeights) params = NULL;
  g_autoptr (AvatarWeights) weights = NULL;
  g_autoptr (AvatarOps) dry_run = NULL;
  g_autoptr (AvatarOps) ops = NULL;
  AvatarTensor reference, face;
  Sampler s = { 0 };

  setup (&f);
  reference = golden_get (f.golden, "ref_latent");
  face = golden_get (f.golden, "face_mask");
  s.conditions.reference = reference.data;
  s.conditions.faces = face.data;
  encode_texts (&f, &s.conditions);
  params = avatar_transformer_weights_new (&f.config->transformer);
  weights = avatar_weights_new (f.model, f.device, AVATAR_COMPONENT_TRANSFORMER, params->list, NULL,
      AVATAR_WEIGHTS_LOAD, &error);
  g_assert_no_error (error);
  s.transformer.config = &f.config->transformer;
  s.transformer.weights = weights;
  s.transformer.params = params;
  dry_run = avatar_ops_new (f.device, avatar_arena_new_dry_run (), NULL);
  sampler_begin (&s, &f, dry_run);
  avatar_window_remove_steps (&s.window);
  ops = avatar_ops_new (f.device,
      avatar_arena_new (f.device, avatar_arena_peak (dry_run->arena), "test", &error), &error);
  sampler_begin (&s, &f, ops);
  sample_and_compare (&s, &f, ops);
  g_assert_true (avatar_ops_check (ops, &error));
  g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, avatar_arena_peak (dry_run->arena));
  for (guint i = 0; i < 2; i++) {
    g_free ((float *) s.conditions.text[i].states);
    g_free ((float *) s.conditions.text[i].pooled);
    g_free ((guint8 *) s.conditions.text[i].mask);
  }
  avatar_window_remove_steps (&s.window);
  g_free (reference.data);
  g_free (face.data);
  teardown (&f);
}

/* The stage through its public verbs: the same latents whatever the mode, in any portion; more
 * than a window's frames go on in a second window; prediction and reality agree to the byte. */
static float *
run_stage (const Fixture *f, AvatarDenoiseMode mode, guint frames, guint *n_latents)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDenoiser) stage = NULL;
  g_autoptr (AvatarImage) image = NULL;
  g_autofree char *path = demo_path ("reference.png");
  AvatarDenoiseSettings settings;
  gsize n, predicted, peak;
  float *out;

  avatar_denoise_settings_init (&settings, f->model);
  settings.steps = 1;
  settings.mode = mode;
  n = (gsize) f->config->vae.latent_channels * settings.width * settings.height / 64;
  image = avatar_image_load (path, &error);
  stage = avatar_denoiser_new (f->model, f->device, &settings, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_denoiser_set_reference (stage, image, &error));
  for (guint i = 0; i < frames; i++)
    g_assert_true (avatar_denoiser_push (stage, f->features + i % FRAMES * f->n_features, &error));
  g_assert_true (avatar_denoiser_drain (stage, &error));
  *n_latents = 0;
  out = g_new (float, n * 200);
  while (avatar_denoiser_pull (stage, out + n * *n_latents, &error) == AVATAR_PULL_OK)
    (*n_latents)++;
  g_assert_no_error (error);
  avatar_denoiser_get_arena (stage, &predicted, &peak);
  g_assert_cmpuint (predicted, ==, peak);
  return out;
}

static void
test_stage (void)
{
  Fixture f;
  guint n[3];
  g_autofree float *stream = NULL;
  g_autofree float *clip = NULL;
  g_autofree float *longer = NULL;
  gsize window;

  setup (&f);
  window = (gsize) 33 * f.config->vae.latent_channels * f.config->size * f.config->size / 64;
  stream = run_stage (&f, AVATAR_DENOISE_MODE_STREAM, 100, &n[0]);
  clip = run_stage (&f, AVATAR_DENOISE_MODE_CLIP, 100, &n[1]);
  longer = run_stage (&f, AVATAR_DENOISE_MODE_STREAM, 150, &n[2]);
  g_assert_cmpuint (n[0], ==, 26);
  g_assert_cmpuint (n[1], ==, 26);
  g_assert_cmpuint (n[2], ==, 39);
  g_assert_cmpfloat (golden_error (stream, clip, window / 33 * 26), ==, 0);
  for (gsize i = 0; i < window / 33 * 39; i++)
    g_assert_true (isfinite (longer[i]));
  g_free (run_stage (&f, AVATAR_DENOISE_MODE_CLIP, 150, &n[0]));
  g_assert_cmpuint (n[0], ==, 39);
  teardown (&f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/demo/features", test_features);
  g_test_add_func ("/demo/reference", test_reference);
  g_test_add_func ("/demo/steps", test_steps);
  g_test_add_func ("/demo/stage", test_stage);
  return g_test_run ();
}
