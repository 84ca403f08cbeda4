/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Error of sparse attention on the CPU: of each call of it on the activations of a real run, and of
 * the latents and frames that result, against dense attention.
 *
 *   bench-attention MODEL PORTRAIT STEPS SIZE...     SIZE: of the square video, in pixels
 *
 * Prints a Markdown table for each size; with the tokens of a frame in the order of tiles of 8 x 8,
 * too, for attention alone. One window of the model's full length, without guidance;
 * a tone with syllables as sound. */
#include "engine/denoise/denoiser-private.h"
#include "engine/backends/cpu/cpu.h"
#include "engine/ops/sparse-attention.h"

#include <avatar/avatar.h>
#include <math.h>
#include <string.h>

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarImage *portrait;
  float *features;
  gsize n_features; /* per frame */
  guint latents, frames;
} Scene;

typedef struct
{
  GArray *latents; /* float */
  GByteArray *rgb;
} Result;

/* Rows and columns of a tile of tokens, where tokens are put into another order. */
#define TILE 8

/* Sums over the calls of sparse attention in a run: squares of the difference from dense attention,
 * with the tokens in the order of rows and of tiles, and of dense attention. */
static struct
{
  double error, tiles, size;
  gint64 side; /* rows and columns of tokens in a frame */
} sums;

static void
die (GError *error)
{
  g_printerr ("attention: %s\n", error ? error->message : "a stage gave nothing");
  exit (1);
}

/* Returns the row, in its place among all tokens, that comes @i-th in the order of tiles. */
static gint64
tiled (gint64 i)
{
  gint64 s = sums.side * sums.side, at = i % s, y, x, rows, columns;

  y = at / (TILE * sums.side) * TILE;
  rows = MIN (TILE, sums.side - y);
  at -= y * sums.side;
  x = at / (TILE * rows) * TILE;
  columns = MIN (TILE, sums.side - x);
  at -= x * rows;
  return i / s * s + (y + at / columns) * sums.side + x + at % columns;
}

/* Returns a copy of x [rows, heads, d], which starts at token @first, with its rows in the order of
 * tiles, up to row @n_image. Free its data with g_free(). */
static AvatarTensor
copy_tiled (AvatarTensor x, gint64 first, gint64 n_image)
{
  gint64 d = x.shape[2], width = x.shape[1] * d;
  float *copy = g_new (float, x.shape[0] * width);

  for (gint64 i = 0; i < x.shape[0]; i++) {
    gint64 from = i < n_image ? tiled (first + i) - first : i;

    for (gint64 c = 0; c < width; c++)
      copy[i * width + c] = avatar_tensor_f32 (x)[from * x.stride[0] + c / d * x.stride[1] + c % d];
  }
  return avatar_tensor (AVATAR_F32, copy, 3, x.shape[0], x.shape[1], d);
}

/* Returns the squares of the difference of the output in the order of tiles from @truth. */
static double
tiled_error (const AvatarSparseAttention *a, const float *truth, void *ws, const gint *cancelled)
{
  const AvatarBackend *cpu = &avatar_backend_cpu;
  gint64 width = a->q.shape[1] * a->q.shape[2], heads = a->q.shape[1], d = a->q.shape[2];
  gint64 n = a->blocks.mean.shape[1];
  g_autofree float *memory = g_new (float, heads *d *(2 * n + 2));
  AvatarSparseAttention b = *a;
  double error = 0;

  b.q = copy_tiled (a->q, a->q_start, a->q.shape[0]);
  b.k = copy_tiled (a->k, 0, a->sink);
  b.v = copy_tiled (a->v, 0, a->sink);
  b.o = avatar_tensor (AVATAR_F32, g_new (float, a->q.shape[0] * width), 3, a->q.shape[0], heads,
      d);
  b.blocks.mean = b.blocks.keys = avatar_tensor (AVATAR_F32, memory, 3, heads, n, d);
  b.blocks.values = avatar_tensor (AVATAR_F32, memory + heads * n * d, 3, heads, n, d);
  b.blocks.center = avatar_tensor (AVATAR_F32, memory + 2 * heads * n * d, 2, heads, d);
  b.blocks.variance = avatar_tensor (AVATAR_F32, memory + heads * d * (2 * n + 1), 2, heads, d);
  cpu->key_blocks (NULL, &b.blocks, b.k, b.v);
  cpu->sparse_attention (NULL, &b, ws, cancelled);
  for (gint64 i = 0; i < a->q.shape[0]; i++)
    for (gint64 c = 0; c < width; c++)
      error += pow (avatar_tensor_f32 (b.o)[i * width + c]
              - truth[(tiled (a->q_start + i) - a->q_start) * width + c],
          2);
  g_free (b.q.data);
  g_free (b.k.data);
  g_free (b.v.data);
  g_free (b.o.data);
  return error;
}

/* Computes sparse attention, and adds its difference from dense attention. */
static void
sparse_attention (AvatarQueue *queue, const AvatarSparseAttention *a, void *ws,
    const gint *cancelled)
{
  const AvatarTensor q = a->q, o = a->o;
  gint64 width = q.shape[1] * q.shape[2], s = sums.side * sums.side;
  const AvatarBackend *cpu = &avatar_backend_cpu;
  AvatarAttention dense = { .q = q, .k = a->k, .v = a->v, .scale = a->scale };
  g_autofree float *truth = g_new (float, q.shape[0] * width);
  g_autofree void *memory
      = g_malloc (cpu->attention_workspace (NULL, q, a->k, 0, AVATAR_NO_TENSOR));

  cpu->sparse_attention (NULL, a, ws, cancelled);
  dense.o = avatar_tensor (AVATAR_F32, truth, 3, q.shape[0], q.shape[1], q.shape[2]);
  cpu->attention (NULL, &dense, memory, cancelled);
  for (gint64 i = 0; i < q.shape[0]; i++)
    for (gint64 c = 0; c < width; c++) {
      double x
          = avatar_tensor_f32 (o)[i * o.stride[0] + c / q.shape[2] * o.stride[1] + c % q.shape[2]];

      sums.error += pow (x - truth[i * width + c], 2);
      sums.size += pow (truth[i * width + c], 2);
    }
  if (a->q_start % s == 0 && q.shape[0] % s == 0)
    sums.tiles += tiled_error (a, truth, ws, cancelled);
  else
    sums.tiles = NAN; /* the rows of a call are not whole frames */
}

static void
hear (Scene *scene)
{
  const AvatarModelInfo *info = avatar_model_get_info (scene->model);
  guint n = scene->frames * info->sample_rate / info->fps, got = 0;
  AvatarAudioSettings settings = { .context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT };
  GError *error = NULL;
  g_autoptr (AvatarAudioEncoder) encoder
      = avatar_audio_encoder_new (scene->model, scene->device, &settings, &error);
  g_autofree float *samples = g_new (float, n);

  for (guint i = 0; i < n; i++) {
    double t = (double) i / info->sample_rate;

    samples[i] = 0.4 * sin (2 * G_PI * 140 * t) * (0.5 + 0.5 * sin (2 * G_PI * 4 * t));
  }
  scene->n_features = info->feature_steps * info->feature_states * info->feature_channels;
  scene->features = g_new (float, (scene->frames + 8) * scene->n_features);
  if (!encoder || !avatar_audio_encoder_push (encoder, samples, n, &error)
      || !avatar_audio_encoder_drain (encoder, &error))
    die (error);
  while (got < scene->frames
      && avatar_audio_encoder_pull (encoder, scene->features + got * scene->n_features, &error)
          == AVATAR_PULL_OK)
    got++;
  if (got != scene->frames)
    die (error);
}

static void
denoise (const Scene *scene, const AvatarDenoiseSettings *settings, Result *result)
{
  const AvatarModelInfo *info = avatar_model_get_info (scene->model);
  gsize n = (gsize) info->latent_channels * (settings->width / info->latent_scale)
      * (settings->height / info->latent_scale);
  GError *error = NULL;
  g_autoptr (AvatarDenoiser) self
      = avatar_denoiser_new (scene->model, scene->device, settings, &error);
  g_autofree float *latent = g_new (float, n);
  AvatarBackend measured;

  if (!self || !avatar_denoiser_set_reference (self, scene->portrait, &error))
    die (error);
  measured = *self->memory.ops->backend;
  measured.sparse_attention = sparse_attention;
  self->memory.ops->backend = &measured;
  for (guint i = 0; i < scene->frames; i++)
    if (!avatar_denoiser_push (self, scene->features + i * scene->n_features, &error))
      die (error);
  if (!avatar_denoiser_drain (self, &error))
    die (error);
  while (avatar_denoiser_pull (self, latent, &error) == AVATAR_PULL_OK)
    g_array_append_vals (result->latents, latent, n);
  if (error || result->latents->len != scene->latents * n)
    die (error);
}

static void
decode (const Scene *scene, guint size, Result *result)
{
  gsize n = result->latents->len / scene->latents, stride = (gsize) size * 3;
  AvatarDecodeSettings settings;
  GError *error = NULL;
  g_autoptr (AvatarDecoder) self = NULL;
  g_autofree guint8 *rgb = g_malloc (stride * size);

  avatar_decode_settings_init (&settings, scene->model);
  self = avatar_decoder_new (scene->model, scene->device, size, size, &settings, &error);
  if (!self)
    die (error);
  for (guint i = 0; i < scene->latents; i++)
    if (!avatar_decoder_push (self, (float *) result->latents->data + i * n, &error))
      die (error);
  if (!avatar_decoder_drain (self, &error))
    die (error);
  while (avatar_decoder_pull (self, rgb, stride, &error) == AVATAR_PULL_OK)
    g_byte_array_append (result->rgb, rgb, stride * size);
  if (error)
    die (error);
}

/* @tau: negative: dense */
static Result
run (const Scene *scene, guint size, guint steps, double tau, double dense_steps)
{
  Result result
      = { .latents = g_array_new (FALSE, FALSE, sizeof (float)), .rgb = g_byte_array_new () };
  AvatarDenoiseSettings settings;

  memset (&sums, 0, sizeof sums);
  sums.side = size / 16;
  avatar_denoise_settings_init (&settings, scene->model);
  settings.prompt = "a cartoon face talks";
  settings.width = settings.height = size;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.steps = steps;
  if (tau >= 0) {
    settings.attention = AVATAR_ATTENTION_SPARSE;
    settings.attention_tau = tau;
    settings.attention_dense_steps = dense_steps;
  }
  denoise (scene, &settings, &result);
  decode (scene, size, &result);
  return result;
}

static void
result_clear (Result *result)
{
  g_array_unref (result->latents);
  g_byte_array_unref (result->rgb);
}

static double
relative_error (const GArray *a, const GArray *b)
{
  const float *x = (const float *) a->data, *y = (const float *) b->data;
  double difference = 0, size = 0;

  for (guint i = 0; i < b->len; i++) {
    difference += (x[i] - y[i]) * (double) (x[i] - y[i]);
    size += y[i] * (double) y[i];
  }
  return sqrt (difference / size);
}

static double
psnr (const GByteArray *a, const GByteArray *b)
{
  double sum = 0;

  for (guint i = 0; i < b->len; i++)
    sum += pow ((double) a->data[i] - b->data[i], 2);
  return 10 * log10 (255. * 255. * b->len / sum);
}

static void
print_table (Scene *scene, const AvatarImage *image, guint steps, guint size)
{
  static const double taus[] = { 1, 0, 1.5, 2 }, dense_steps[] = { 0.2 };
  GError *error = NULL;
  Result dense;

  scene->portrait = avatar_image_fit (image, scene->model, size, size, NULL, &error);
  if (!scene->portrait)
    die (error);
  dense = run (scene, size, steps, -1, 0);
  g_print (
      "\n%ux%u, %u latent frames, %u steps:\n\n"
      "| `attention-tau` | `attention-dense-steps` | error of attention | in order of tiles | error of the latents "
      "| PSNR of the frames, dB |\n| ---: | ---: | ---: | ---: | ---: | ---: |\n",
      size, size, scene->latents, steps);
  for (guint j = 0; j < G_N_ELEMENTS (dense_steps); j++)
    for (guint i = 0; i < G_N_ELEMENTS (taus); i++) {
      Result r = run (scene, size, steps, taus[i], dense_steps[j]);

      g_print ("| %g | %g | %.3f | %.3f | %.4f | %.1f |\n", taus[i], dense_steps[j],
          sqrt (sums.error / sums.size), sqrt (sums.tiles / sums.size),
          relative_error (r.latents, dense.latents), psnr (r.rgb, dense.rgb));
      result_clear (&r);
    }
  result_clear (&dense);
  avatar_image_free (scene->portrait);
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  Scene scene = { 0 };
  AvatarImage *image;

  if (argc < 5) {
    g_printerr ("usage: attention MODEL PORTRAIT STEPS SIZE...\n");
    return 2;
  }
  scene.model = avatar_model_open (argv[1], &error);
  scene.device = scene.model ? avatar_device_open ("cpu", &error) : NULL;
  image = scene.device ? avatar_image_load (argv[2], &error) : NULL;
  if (!image)
    die (error);
  scene.latents = avatar_model_get_info (scene.model)->window_latents;
  scene.frames = 4 * scene.latents - 3;
  hear (&scene);
  for (int i = 4; i < argc; i++)
    print_table (&scene, image, (guint) g_ascii_strtoull (argv[3], NULL, 10),
        (guint) g_ascii_strtoull (argv[i], NULL, 10));
  g_free (scene.features);
  avatar_image_free (image);
  avatar_device_unref (scene.device);
  avatar_model_unref (scene.model);
  return 0;
}
