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
#include "tests/bench/scene.h"

#include <math.h>
#include <string.h>

/* Rows and columns of a tile of tokens, where tokens are put into another order. */
#define TILE 8

/* Sums over the calls of sparse attention in a run: squares of the difference from dense attention,
 * with the tokens in the order of rows and of tiles, and of dense attention. */
static struct
{
  double error, tiles, size;
  gint64 side; /* rows and columns of tokens in a frame */
} sums;

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

/* @tau: negative: dense */
static Result
run (const Scene *scene, guint size, guint steps, double tau, double dense_steps)
{
  Result result = result_new ();
  AvatarDenoiseSettings settings;
  GError *error = NULL;
  g_autoptr (AvatarDenoiser) denoiser = NULL;
  AvatarBackend measured;

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
  denoiser = avatar_denoiser_new (scene->model, scene->device, &settings, &error);
  if (!denoiser)
    die (error);
  measured = *denoiser->memory.ops->backend;
  measured.sparse_attention = sparse_attention;
  denoiser->memory.ops->backend = &measured;
  scene_denoise (scene, denoiser, &result);
  scene_decode (scene, size, size, &result);
  return result;
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
  g_clear_pointer (&scene->portrait, avatar_image_free);
}

int
main (int argc, char **argv)
{
  Scene scene = { 0 };
  AvatarImage *image;

  if (argc < 5) {
    g_printerr ("usage: attention MODEL PORTRAIT STEPS SIZE...\n");
    return 2;
  }
  image = scene_open (&scene, argv[1], argv[2]);
  scene.latents = avatar_model_get_info (scene.model)->window_latents;
  scene.frames = 4 * scene.latents - 3;
  scene_hear (&scene);
  for (int i = 4; i < argc; i++)
    print_table (&scene, image, (guint) g_ascii_strtoull (argv[3], NULL, 10),
        (guint) g_ascii_strtoull (argv[i], NULL, 10));
  avatar_image_free (image);
  scene_clear (&scene);
  return 0;
}
