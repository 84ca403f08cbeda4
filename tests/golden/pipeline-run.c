/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs the public API. Values that it does not return are read from the denoiser's struct, from the
 * transformer's taps and from the call that computes velocities (the linker's --wrap). */
#include "tests/golden/pipeline-run.h"

#include "engine/denoise/upstream-rounding.h"
#include "engine/denoise/denoiser-private.h"
#include "engine/image/vision.h"
#include "engine/model/random-weights.h"
#include "engine/formats/tensor-writer.h"

#include <math.h>
#include <string.h>

#define SOURCE_WIDTH 104 /* width of the portrait */
#define SOURCE_HEIGHT 150
#define SAMPLES 640     /* samples per video frame */
#define NOISE_FRAMES 65 /* upstream draws as many for one window, and for two */

static struct
{
  GHashTable *points;
  guint windows, n_speech, n_text, n_double[2];
} found;

static void
point (const char *name, const float *values, gsize n)
{
  Point *p = g_new (Point, 1);

  *p = (Point){ g_memdup2 (values, n * sizeof (float)), n };
  g_hash_table_insert (found.points, g_strdup (name), p);
}

static void
point_free (gpointer data)
{
  g_free (((Point *) data)->values);
  g_free (data);
}

static void
point_bytes (const char *name, const guint8 *bytes, gsize n)
{
  g_autofree float *values = g_new (float, n);

  for (gsize i = 0; i < n; i++)
    values[i] = bytes[i];
  point (name, values, n);
}

static void
point_tensor (const char *name, AvatarTensor t)
{
  g_assert_true (t.dtype == AVATAR_F32 && avatar_tensor_is_contiguous (t));
  point (name, t.data, avatar_tensor_n (t));
}

/* --------------------------------------------------------------------------- denoiser internals */

/* In the first step the text of the positive prompt and the blocks without audio come first. */
static void
on_tap (const char *name, AvatarTensor value, gpointer data)
{
  if (strcmp (name, "audio_proj") == 0 && ++found.n_speech == 2)
    point_tensor (name, value);
  if (strcmp (name, "txt_in") == 0 && ++found.n_text == 2)
    point_tensor (name, value);
  if (strcmp (name, "vec") == 0) {
    gint64 d = value.shape[1]; /* upstream has the negative prompt first */
    g_autofree float *both = g_memdup2 (value.data, 2 * d * sizeof (float));

    memcpy (both, avatar_tensor_f32 (value) + d, d * sizeof (float));
    memcpy (both + d, avatar_tensor_f32 (value), d * sizeof (float));
    point (name, both, 2 * d);
  }
  for (guint i = 0; i < 2; i++)
    if (name[0] == 'd' && name[strlen (name) - 1] == (char) ('0' + i) && ++found.n_double[i] == 2)
      point_tensor (name, value);
  if (strcmp (name, "single_1") == 0
      && !g_hash_table_contains (found.points, "without.0")) /* first of three */
    point_tensor ("cache_out", value);                       /* the later one stays */
}

guint __real_avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition position);
guint __wrap_avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition position);

guint
__wrap_avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition position)
{
  const AvatarTensor tensors[] = { x, velocity, self->velocity_without_audio };
  static const char *const names[] = { "x", "with", "without" };
  guint n = __real_avatar_window_branches (self, ops, velocity, x, i, position);

  for (guint k = 0; k < 3 && avatar_ops_running (ops); k++) {
    g_autofree char *name = found.windows > 1
        ? g_strdup_printf ("%s.%u.%u", names[k], i, position.window)
        : g_strdup_printf ("%s.%u", names[k], i);

    point_tensor (name, tensors[k]);
    if (k > 0) /* the order of upstream's transformer */
      avatar_dtype_round (((Point *) g_hash_table_lookup (found.points, name))->values,
          avatar_tensor_n (x), AVATAR_BF16);
  }
  return n;
}

/* --------------------------------------------------------------------------------------- inputs */

char *
pipeline_make_folder (void)
{
  char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  const char *argv[] = { AVATAR_RANDOM, "--config", GOLDEN_DIR "/upstream/pipeline.json", "--parts",
    "transformer,vae,whisper,llava,clip,detface", folder, NULL };
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
      &status, &error);
  g_assert_no_error (error);
  g_assert_true (g_spawn_check_wait_status (status, NULL));
  return folder;
}

void
pipeline_remove (char *folder)
{
  const char *argv[] = { "rm", "-r", folder, NULL };

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
      NULL);
  g_free (folder);
}

static AvatarImage *
make_portrait (void)
{
  g_autofree guint8 *pixels = g_malloc (SOURCE_WIDTH * SOURCE_HEIGHT * 3);

  for (guint y = 0; y < SOURCE_HEIGHT; y++)
    for (guint x = 0; x < SOURCE_WIDTH; x++)
      for (guint c = 0; c < 3; c++)
        pixels[(y * SOURCE_WIDTH + x) * 3 + c]
            = x * (3 + c) + y * (5 - c) + x / 8 % 2 * 60 + x * y / 32 * (1 + c); /* modulo 256 */
  return avatar_image_new (SOURCE_WIDTH, SOURCE_HEIGHT, 3, SOURCE_WIDTH * 3, pixels, NULL);
}

static float *
make_sound (guint frames)
{
  float *samples = g_new (float, frames *SAMPLES);

  for (gint64 i = 0; i < frames * SAMPLES; i++)
    samples[i] = ((i * 37 % 1600 - 800) * (i / 4000 % 5) + (i * i / 64 % 997 - 498) * 3) / 32768.f;
  return samples;
}

static void
fill_noise (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer seed)
{
  AvatarRandom random = avatar_random_for (t->name, t->tensor, *(guint64 *) seed);

  random.width = (float) sqrt (3);
  avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

/* A file of noise for latents of [16, @frames, @h, @w]; returns its path. */
static char *
write_noise (const char *folder, const char *name, gint64 frames, gint64 h, gint64 w, guint64 seed)
{
  g_autofree char *file = g_strconcat (name, ".safetensors", NULL);
  char *path = g_build_filename (folder, file, NULL);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  AvatarNamedTensor t = { name, avatar_tensor (AVATAR_F16, NULL, 4, (gint64) 16, frames, h, w) };
  g_autoptr (GError) error = NULL;

  g_array_append_val (list, t);
  avatar_write_safetensors (path, list, fill_noise, &seed, &error);
  g_assert_no_error (error);
  return path;
}

/* --------------------------------------------------------------------------------------- stages */

/* [frames, features of one], filled up to a window with zeros as upstream does. */
static float *
hear (AvatarModel *model, AvatarDevice *device, guint frames)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = (gsize) info->feature_steps * info->feature_states * info->feature_channels;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarAudioEncoder) self = avatar_audio_encoder_new (model, device,
      &(AvatarAudioSettings){ .context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT,
          .upstream_rounding = TRUE },
      &error);
  g_autofree float *samples = make_sound (frames), *rounded = NULL;
  float *features = g_new0 (float, MAX (frames, info->window_frames) * n);

  g_assert_no_error (error);
  g_assert_true (avatar_audio_encoder_push (self, samples, frames * SAMPLES, &error));
  g_assert_true (avatar_audio_encoder_drain (self, &error));
  for (guint i = 0; i < frames; i++)
    g_assert_cmpint (avatar_audio_encoder_pull (self, features + i * n, &error), ==,
        AVATAR_PULL_OK);
  g_assert_cmpint (avatar_audio_encoder_pull (self, features, &error), ==, AVATAR_PULL_EMPTY);
  rounded = g_memdup2 (features, info->window_frames * n * sizeof (float));
  avatar_dtype_round (rounded, info->window_frames * n, AVATAR_F16); /* the denoiser rounds them */
  point ("audio_prompts", rounded, info->window_frames * n);
  return features;
}

static void
note_ids (const char *name, const gint32 *ids, guint n, guint length, gint32 pad)
{
  g_autofree float *values = g_new (float, length);

  for (guint i = 0; i < length; i++)
    values[i] = i < n ? ids[i] : pad;
  point (name, values, length);
}

/* Conditioning of the denoiser. */
static void
note_conditions (AvatarDenoiser *self)
{
  const AvatarConfig *c = avatar_model_get_config (self->model);
  const AvatarConditions *given = &self->conditioning.conditions;
  static const char *const which[] = { "positive", "negative" };

  for (guint i = 0; i < 2; i++) {
    const AvatarEncoding *e = avatar_text_encoder_get_encoding (self->conditioning.text, i);
    const AvatarText *text = &given->text[i];
    g_autofree char *llava = g_strconcat (which[i], ".llava.ids", NULL);
    g_autofree char *mask = g_strconcat (which[i], ".llava.mask", NULL);
    g_autofree char *states = g_strconcat (which[i], ".llava.states", NULL);
    g_autofree char *clip = g_strconcat (which[i], ".clip.ids", NULL);
    g_autofree char *pooled = g_strconcat (which[i], ".clip.pooled", NULL);

    note_ids (llava, e->llava.ids, e->llava.n, e->llava.length, c->llava.pad_token);
    note_ids (clip, e->clip.ids, e->clip.n, e->clip.n, 0);
    point_bytes (mask, text->mask, text->n);
    point (states, text->states, text->n * c->transformer.text_dim);
    point (pooled, text->pooled, c->transformer.pooled_dim);
  }
  point ("face_mask", given->faces, self->stream.shape.h8 * self->stream.shape.w8);
  point ("ref_latents", given->reference,
      self->stream.shape.channels * given->n_reference * self->stream.shape.h8
          * self->stream.shape.w8);
}

static void
note_schedule (guint steps)
{
  g_autofree float *sigmas = g_new (float, steps + 1), *times = g_new (float, steps);

  for (guint i = 0; i <= steps; i++)
    sigmas[i] = avatar_upstream_sigma (i, steps, 5);
  for (guint i = 0; i < steps; i++)
    times[i] = sigmas[i] * 1000.f;
  point ("sigmas", sigmas, steps + 1);
  point ("timesteps", times, steps);
}

/* The portrait as upstream's networks see it. */
static AvatarImage *
fit (AvatarModel *model)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) source = make_portrait ();
  AvatarImage *fitted = avatar_image_fit (source, model, 0, 0, NULL, &error);
  g_autoptr (AvatarImage) square = NULL;

  g_assert_no_error (error);
  square = avatar_vision_prepare (&avatar_model_get_config (model)->llava, fitted, &error);
  g_assert_no_error (error);
  g_assert_true (fitted->stride == fitted->width * 3 && square->stride == square->width * 3);
  point_bytes ("fitted", fitted->data, fitted->stride * fitted->height);
  point_bytes ("square", square->data, square->stride * square->height);
  return fitted;
}

/* Latents as they come, [n, C, h8, w8]; the point as upstream has them. */
static float *
denoise (AvatarDenoiser *self, const float *features, guint frames, guint *n)
{
  gsize cells = self->stream.shape.h8 * self->stream.shape.w8,
        one = self->stream.shape.channels * cells;
  guint kept = (frames + 2) / 4 + 1;
  float *latents = g_new (float, kept *one);
  g_autofree float *turned = g_new (float, kept *one);
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < frames; i++)
    g_assert_true (avatar_denoiser_push (self, features + i * self->stream.n_features, &error));
  g_assert_true (avatar_denoiser_drain (self, &error));
  for (*n = 0; *n < kept; (*n)++)
    g_assert_cmpint (avatar_denoiser_pull (self, latents + *n * one, &error), ==, AVATAR_PULL_OK);
  g_assert_cmpint (avatar_denoiser_pull (self, turned, &error), ==, AVATAR_PULL_EMPTY);
  for (gint64 c = 0; c < self->stream.shape.channels; c++)
    for (guint f = 0; f < kept; f++)
      memcpy (turned + (c * kept + f) * cells, latents + f * one + c * cells,
          cells * sizeof (float));
  point ("latents", turned, kept * one);
  return latents;
}

static void
decode (AvatarModel *model, AvatarDevice *device, const AvatarImage *size, const float *latents,
    guint n, guint frames)
{
  gsize bytes = (gsize) size->width * size->height * 3;
  gsize one = bytes / 3 / 64 * avatar_model_get_info (model)->latent_channels;
  g_autofree guint8 *rgb = g_malloc (bytes * frames);
  g_autoptr (AvatarDecoder) self = NULL;
  g_autoptr (GError) error = NULL;
  AvatarDecodeSettings settings;

  avatar_decode_settings_init (&settings, model);
  settings.pixels.upstream_rounding = TRUE;
  self = avatar_decoder_new (model, device, size->width, size->height, &settings, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < n; i++)
    g_assert_true (avatar_decoder_push (self, latents + i * one, &error));
  g_assert_true (avatar_decoder_drain (self, &error));
  for (guint i = 0; i < frames; i++)
    g_assert_cmpint (avatar_decoder_pull (self, rgb + i * bytes, size->width * 3, &error), ==,
        AVATAR_PULL_OK);
  point_bytes ("frames", rgb, bytes * frames);
}

static AvatarDenoiser *
make_denoiser (AvatarModel *model, AvatarDevice *device, const char *folder,
    const PipelineSetup *setup, const AvatarImage *portrait)
{
  gint64 h = portrait->height / 8, w = portrait->width / 8;
  g_autofree char *noise = write_noise (folder, "noise", NOISE_FRAMES, h, w, setup->noise);
  g_autofree char *posterior = write_noise (folder, "posterior", 33, h, w, setup->posterior);
  g_autoptr (GError) error = NULL;
  AvatarDenoiseSettings settings;
  AvatarDenoiser *self;

  avatar_denoise_settings_init (&settings, model);
  settings.width = portrait->width;
  settings.height = portrait->height;
  settings.prompt = setup->prompt;
  settings.steps = setup->steps;
  settings.mode = AVATAR_DENOISE_MODE_CLIP;
  /* upstream's list of full steps is of 50, whatever their number is; ours is scaled to it */
  settings.step_cache = setup->steps < 16 ? AVATAR_STEP_CACHE_NONE : AVATAR_STEP_CACHE_UPSTREAM;
  settings.face_box = setup->box;
  settings.prompt_cache_dir = "none";
  settings.noise_file = noise;
  settings.posterior_noise = posterior;
  settings.upstream_rounding = TRUE;
  self = avatar_denoiser_new (model, device, &settings, &error);
  g_assert_no_error (error);
  self->transformer.tap = on_tap;
  return self;
}

GHashTable *
pipeline_run (const char *folder, const PipelineSetup *setup)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (folder, &error);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarImage) portrait = NULL;
  g_autoptr (AvatarDenoiser) denoiser = NULL;
  g_autofree float *features = NULL, *latents = NULL;
  guint n;

  g_assert_no_error (error);
  memset (&found, 0, sizeof found);
  found.points = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, point_free);
  found.windows = setup->windows;
  note_schedule (setup->steps);
  portrait = fit (model);
  features = hear (model, device, setup->frames);
  denoiser = make_denoiser (model, device, folder, setup, portrait);
  g_assert_true (avatar_denoiser_set_reference (denoiser, portrait, &error));
  note_conditions (denoiser);
  latents = denoise (denoiser, features, setup->frames, &n);
  decode (model, device, portrait, latents, n, setup->frames);
  return found.points;
}
