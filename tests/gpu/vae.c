/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The video VAE on a GPU against the CPU: its operations on random data, then the demo model's
 * decoder and encoder. Skipped without a GPU. */
#include "engine/device/device.h"
#include "engine/vae/encoder.h"
#include "engine/vae/model.h"
#include "engine/vae/decoder.h"

#include <math.h>
#include <string.h>

#define ARENA ((gsize) 768 << 20)

static AvatarDevice *gpu, *cpu;

/* Uniform in -1 .. 1; bfloat16 after that, which float16 holds, too, but for what is next to 0. */
static float *
random_floats (gsize n, guint64 seed)
{
  float *out = g_new (float, n);
  guint64 state = seed * 977 + 1;

  for (gsize i = 0; i < n; i++) {
    guint16 rounded;
    float v;

    state = state * 6364136223846793005u + 1442695040888963407u;
    v = (float) ((gint64) (state >> 40) - (1 << 23)) / (1 << 23);
    avatar_dtype_from_f32 (&rounded, AVATAR_BF16, &v, 1);
    avatar_dtype_to_f32 (out + i, &rounded, AVATAR_BF16, 1);
  }
  return out;
}

static AvatarTensor
input (AvatarOps *ops, AvatarTensor t, guint64 seed)
{
  g_autofree float *values = random_floats (avatar_tensor_n (t), seed);

  avatar_op_upload (ops, t, values);
  return t;
}

static AvatarOps *
new_ops (AvatarDevice *device)
{
  g_autoptr (GError) error = NULL;
  AvatarArena *arena = avatar_arena_new (device, ARENA, "the test", &error);
  AvatarOps *ops = avatar_vae_ops_new (device, arena, &error);

  g_assert_no_error (error);
  return ops;
}

/* Result of a body, on the host. */
typedef GArray *(*Body) (AvatarOps *ops, const gint64 *p);

static void
keep (AvatarOps *ops, GArray *out, AvatarTensor t)
{
  gsize n = avatar_tensor_n (t);
  g_autofree float *host = g_new (float, n);

  avatar_op_download (ops, host, t);
  g_array_append_vals (out, host, n);
}

static void
compare (const char *name, Body body, const gint64 *p, double limit)
{
  g_autoptr (AvatarOps) on_cpu = new_ops (cpu), on_gpu = new_ops (gpu);
  g_autoptr (GArray) a = body (on_cpu, p), b = body (on_gpu, p);
  g_autoptr (GError) problem = NULL;
  double error = 0, size = 0;

  avatar_ops_check (on_gpu, &problem);
  g_assert_no_error (problem);
  g_assert_cmpuint (a->len, ==, b->len);
  for (guint i = 0; i < a->len; i++) {
    error += pow ((double) g_array_index (a, float, i) - g_array_index (b, float, i), 2);
    size += pow (g_array_index (a, float, i), 2);
  }
  error = sqrt (error / size);
  g_print ("# %-64s %.2e (limit %.0e)%s\n", name, error, limit, error <= limit ? "" : "  FAILED");
  if (!(error <= limit))
    g_test_fail ();
}

/* p: t, h, w, in, out, stride t, s, up t, s, norm, residual (in place) */
static GArray *
conv (AvatarOps *ops, const gint64 *p)
{
  GArray *out = g_array_new (FALSE, FALSE, sizeof (float));
  AvatarConvShape shape = { p[5], p[6], p[7], p[8] };
  g_autofree float *weights = random_floats (p[4] * p[3] * 27, 3);
  g_autofree float *bias = random_floats (p[4], 4);
  g_autoptr (AvatarConv3d) self = NULL;
  AvatarTensor x = input (ops, avatar_ops_alloc (ops, 4, p[0], p[1], p[2], p[3]), 1), y;
  AvatarChannelSums in = avatar_ops_alloc_sums (ops, p[3]),
                    sums = avatar_ops_alloc_sums (ops, p[4]);
  AvatarNorm norm = { .silu = TRUE }, after = { .silu = FALSE };
  gint64 t = p[0], h = p[1], w = p[2];

  for (gint64 i = 0; i < p[4] * p[3] * 27; i++)
    weights[i] /= sqrt (p[3] * 9);
  self = avatar_conv3d_new (ops,
      avatar_tensor (AVATAR_F32, weights, 5, p[4], p[3], (gint64) 3, (gint64) 3, (gint64) 3),
      avatar_tensor (AVATAR_F32, bias, 1, p[4]), shape);
  if (p[9]) {
    norm.scale = avatar_ops_alloc_as (ops, AVATAR_F32, 1, p[3]);
    norm.shift = avatar_ops_alloc_as (ops, AVATAR_F32, 1, p[3]);
    avatar_op_channel_sums (ops, &in, x);
    avatar_op_group_norm (ops, &norm, &in, input (ops, avatar_ops_alloc (ops, 1, p[3]), 5),
        input (ops, avatar_ops_alloc (ops, 1, p[3]), 6), p[3] / 4, 1e-6);
  }
  avatar_conv3d_get_output_size (self, &t, &h, &w);
  y = input (ops, avatar_ops_alloc (ops, 4, t, h, w, p[4]), 2);
  avatar_op_conv3d (ops, y, x, self, p[9] ? &norm : NULL, p[10] ? y : AVATAR_NO_TENSOR,
      p[4] % 8 ? NULL : &sums);
  keep (ops, out, y);
  if (p[4] % 8 == 0) { /* the sums, through the norm that they make */
    after.scale = avatar_ops_alloc_as (ops, AVATAR_F32, 1, p[4]);
    after.shift = avatar_ops_alloc_as (ops, AVATAR_F32, 1, p[4]);
    avatar_op_group_norm (ops, &after, &sums, input (ops, avatar_ops_alloc (ops, 1, p[4]), 5),
        input (ops, avatar_ops_alloc (ops, 1, p[4]), 6), p[4] / 4, 1e-6);
    avatar_op_apply_norm (ops, y, y, &after);
    keep (ops, out, y);
  }
  return out;
}

/* p: frames, pixels, channels, causal */
static GArray *
attention (AvatarOps *ops, const gint64 *p)
{
  GArray *out = g_array_new (FALSE, FALSE, sizeof (float));
  AvatarTensor t[4];

  for (guint i = 0; i < 4; i++)
    t[i] = avatar_tensor_split_last (input (ops, avatar_ops_alloc (ops, 2, p[0] * p[1], p[2]),
                                         10 + i),
        p[2]);
  avatar_op_attention (ops, t[3], t[0], t[1], t[2], 3 / sqrt (p[2]), p[3] ? p[1] : 0, 0,
      AVATAR_NO_TENSOR);
  keep (ops, out, t[3]);
  return out;
}

/* p: dimension */
static GArray *
blend (AvatarOps *ops, const gint64 *p)
{
  GArray *out = g_array_new (FALSE, FALSE, sizeof (float));
  AvatarTensor y
      = input (ops, avatar_ops_alloc (ops, 4, (gint64) 9, (gint64) 20, (gint64) 24, (gint64) 3), 1);
  AvatarTensor x
      = input (ops, avatar_ops_alloc (ops, 4, (gint64) 9, (gint64) 20, (gint64) 24, (gint64) 3), 2);

  avatar_op_blend (ops, avatar_tensor_slice (y, p[0], 0, 8), avatar_tensor_slice (x, p[0], 1, 8),
      p[0]);
  keep (ops, out, y);
  return out;
}

#define CASE(body, limit, ...) \
  compare (#body " " #__VA_ARGS__, body, (const gint64[]){ __VA_ARGS__ }, limit)
#define ROUNDED 1.5e-3

static void
test_operations (void)
{
  CASE (conv, ROUNDED, 1, 8, 8, 16, 16, 1, 1, 1, 1, 0, 0);
  CASE (conv, ROUNDED, 9, 20, 24, 32, 64, 1, 1, 1, 1, 1, 0);
  CASE (conv, ROUNDED, 4, 260, 130, 64, 32, 1, 1, 1, 1, 1, 1);
  CASE (conv, ROUNDED, 5, 256, 256, 16, 8, 1, 1, 1, 1, 1, 1);
  CASE (conv, ROUNDED, 3, 18, 34, 128, 128, 1, 1, 1, 1, 1, 1);
  CASE (conv, ROUNDED, 5, 10, 14, 3, 48, 1, 1, 1, 1, 0, 0);
  CASE (conv, ROUNDED, 6, 10, 14, 48, 3, 1, 1, 1, 1, 1, 0);
  CASE (conv, ROUNDED, 5, 256, 258, 16, 3, 1, 1, 1, 1, 1, 1);
  CASE (conv, ROUNDED, 3, 10, 14, 16, 12, 1, 1, 1, 1, 0, 0);
  CASE (conv, ROUNDED, 5, 16, 20, 16, 32, 1, 2, 1, 1, 0, 0);
  CASE (conv, ROUNDED, 9, 16, 20, 16, 32, 2, 2, 1, 1, 0, 0);
  CASE (conv, ROUNDED, 8, 16, 20, 16, 32, 2, 2, 1, 1, 0, 0);
  CASE (conv, ROUNDED, 4, 256, 256, 8, 16, 2, 2, 1, 1, 0, 0);
  CASE (conv, ROUNDED, 4, 12, 14, 32, 32, 1, 1, 1, 2, 0, 0);
  CASE (conv, ROUNDED, 5, 12, 14, 32, 48, 1, 1, 2, 2, 0, 0);
  CASE (conv, ROUNDED, 5, 130, 128, 32, 16, 1, 1, 2, 2, 0, 0);
  CASE (conv, ROUNDED, 1, 32, 32, 64, 64, 1, 1, 2, 2, 0, 0);
  CASE (attention, 8e-3, 3, 64, 512, 1);
  CASE (attention, 8e-3, 5, 40, 48, 1);
  CASE (attention, 8e-3, 17, 256, 512, 0);
  /* tiles whose frames have any number of pixels */
  CASE (attention, 8e-3, 3, 62, 512, 1);
  CASE (attention, 8e-3, 5, 77, 512, 1);
  CASE (attention, 8e-3, 7, 75, 512, 0);
  CASE (attention, 8e-3, 1, 1, 512, 1);
  CASE (attention, 8e-3, 5, 33, 264, 1);
  for (gint64 dim = 0; dim < 3; dim++)
    CASE (blend, ROUNDED, dim);
}

#define N 21
#define WIDTH 192
#define HEIGHT 128
#define LATENT (16 * (WIDTH / 8) * (HEIGHT / 8))

static GByteArray *
decode (AvatarModel *model, AvatarDevice *device, AvatarTemporalTiles temporal,
    AvatarPixelFormat format, guint64 budget)
{
  AvatarDecodeSettings settings = {
    .tiling = TRUE,
    .tile_size = 96,
    .tile_frames = 32,
    .temporal_tiles = temporal,
    .fade_frames = 4,
    .pixels
    = { .format = format, .kr = 0.299, .kb = 0.114, .cosited = format == AVATAR_PIXEL_FORMAT_NV12 }
  };
  g_autofree float *latents = random_floats (N * LATENT, 20);
  g_autofree guint8 *frame = g_malloc (WIDTH * HEIGHT * 3);
  guint8 *planes[3] = { frame, frame + WIDTH * HEIGHT, frame + WIDTH * HEIGHT * 5 / 4 };
  gboolean rgb = format == AVATAR_PIXEL_FORMAT_RGB;
  const gsize strides[3] = { rgb ? 3 * WIDTH : WIDTH,
    format == AVATAR_PIXEL_FORMAT_NV12 ? WIDTH : WIDTH / 2, WIDTH / 2 };
  GByteArray *out = g_byte_array_new ();
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDecoder) self = NULL;
  AvatarPull pull;

  avatar_device_set_budget (device, budget);
  self = avatar_decoder_new (model, device, WIDTH, HEIGHT, &settings, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < N; i++)
    g_assert_true (avatar_decoder_push (self, latents + i * LATENT, &error));
  g_assert_true (avatar_decoder_drain (self, &error));
  while (pull = avatar_decoder_pull_planes (self, planes, strides, &error), pull == AVATAR_PULL_OK)
    g_byte_array_append (out, frame, rgb ? WIDTH * HEIGHT * 3 : WIDTH * HEIGHT * 3 / 2);
  g_assert_no_error (error);
  avatar_device_set_budget (device, 0);
  return out;
}

static double
psnr (const GByteArray *a, const GByteArray *b)
{
  double error = 0;

  g_assert_cmpuint (a->len, ==, b->len);
  for (guint i = 0; i < a->len; i++)
    error += (a->data[i] - b->data[i]) * (a->data[i] - b->data[i]);
  return error > 0 ? 10 * log10 (255. * 255. * a->len / error) : 99;
}

static void
test_decoder (void)
{
  g_autoptr (GError) error = NULL;
  AvatarModel *model = avatar_model_open (g_getenv ("AVATAR_MODEL"), &error);
  AvatarMemory memory;

  g_assert_no_error (error);
  for (AvatarPixelFormat f = AVATAR_PIXEL_FORMAT_RGB; f <= AVATAR_PIXEL_FORMAT_NV12; f++) {
    const AvatarTemporalTiles overlap = AVATAR_TEMPORAL_TILES_OVERLAP;
    g_autoptr (GByteArray) a = decode (model, cpu, overlap, f, 0),
                           b = decode (model, gpu, overlap, f, 0);
    guint64 least = G_MAXUINT64;

    g_print ("# decoder, format %d: PSNR %.1f dB\n", f, psnr (a, b));
    g_assert_cmpfloat (psnr (a, b), >=, 50);
    if (f != AVATAR_PIXEL_FORMAT_RGB)
      continue;
    /* less and less memory, the same bits, and never more than the budget */
    avatar_device_get_memory (gpu, &memory);
    for (guint64 mib = 96; mib >= 36; mib -= 4) {
      guint64 budget = memory.now + (mib << 20);
      AvatarDecodeSettings settings = { .tiling = TRUE, .tile_size = 96, .tile_frames = 32 };
      g_autoptr (AvatarDecoder) fits = NULL;
      g_autoptr (GByteArray) c = NULL;

      avatar_device_set_budget (gpu, budget);
      fits = avatar_decoder_new (model, gpu, WIDTH, HEIGHT, &settings, NULL);
      avatar_device_set_budget (gpu, 0);
      if (!fits)
        break;
      g_clear_pointer (&fits, avatar_decoder_free);
      c = decode (model, gpu, overlap, f, budget);
      g_assert_cmpmem (b->data, b->len, c->data, c->len);
      least = mib;
    }
    g_print ("# the same bits down to %" G_GUINT64_FORMAT " MiB\n", least);
    g_assert_cmpuint (least, <=, 92);
  }
  avatar_model_unref (model);
}

/* Groups of latents, whose jumps are faded out, agree with the CPU and do not depend on the
 * budget. */
static void
test_groups (void)
{
  const AvatarTemporalTiles groups = AVATAR_TEMPORAL_TILES_GROUPS;
  const AvatarPixelFormat rgb = AVATAR_PIXEL_FORMAT_RGB;
  g_autoptr (GError) error = NULL;
  AvatarModel *model = avatar_model_open (g_getenv ("AVATAR_MODEL"), &error);
  g_autoptr (GByteArray) a = NULL, b = NULL, c = NULL;
  AvatarMemory memory;

  g_assert_no_error (error);
  a = decode (model, cpu, groups, rgb, 0);
  b = decode (model, gpu, groups, rgb, 0);
  g_print ("# decoder, groups: PSNR %.1f dB\n", psnr (a, b));
  g_assert_cmpfloat (psnr (a, b), >=, 50);
  avatar_device_get_memory (gpu, &memory);
  c = decode (model, gpu, groups, rgb, memory.now + (128 << 20));
  g_assert_cmpmem (b->data, b->len, c->data, c->len);
  avatar_model_unref (model);
}

static void
test_encoder (void)
{
  enum
  {
    SIDE = 256
  };
  g_autoptr (GError) error = NULL;
  AvatarModel *model = avatar_model_open (g_getenv ("AVATAR_MODEL"), &error);
  g_autofree float *rgb = random_floats (SIDE * SIDE * 3, 30);
  float latent[2][16 * SIDE / 8 * SIDE / 8];
  double difference = 0, size = 0;

  for (guint i = 0; i < 2; i++) {
    g_autoptr (AvatarVaeEncoder) self
        = avatar_vae_encoder_new (model, i ? gpu : cpu, SIDE, SIDE, &error);

    g_assert_no_error (error);
    g_assert_true (avatar_vae_encode_image (self, rgb, latent[i], &error));
  }
  for (guint i = 0; i < G_N_ELEMENTS (latent[0]); i++) {
    difference += pow (latent[0][i] - latent[1][i], 2);
    size += pow (latent[0][i], 2);
  }
  g_print ("# encoder: relative L2 error %.2e\n", sqrt (difference / size));
  g_assert_cmpfloat (sqrt (difference / size), <=, 5e-3);
  avatar_model_unref (model);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int status;

  g_test_init (&argc, &argv, NULL);
  gpu = avatar_device_open ("cuda", &error);
  if (!gpu) {
    g_print ("# no GPU: %s\n", error->message);
    return 77;
  }
  g_print ("# %s\n", avatar_device_get_description (gpu));
  cpu = avatar_device_open ("cpu", NULL);
  g_test_add_func ("/gpu/vae/operations", test_operations);
  g_test_add_func ("/gpu/vae/encoder", test_encoder);
  g_test_add_func ("/gpu/vae/decoder", test_decoder);
  g_test_add_func ("/gpu/vae/groups", test_groups);
  status = g_test_run ();
  avatar_device_unref (gpu);
  avatar_device_unref (cpu);
  return status;
}
