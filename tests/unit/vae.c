/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A decoder whose last level widens, as that of the released model: recomputing instead of
 * storing gives the same bits in less memory. Conversion of colours to bytes. */
#include "engine/device/device.h"
#include "engine/ops/pixels.h"
#include "engine/vae/networks.h"
#include "engine/model/manifest.h"
#include "engine/model/model.h"
#include "engine/model/random-weights.h"

#include <math.h>
#include <string.h>

#define T 6
#define H 3
#define W 5
#define FRAMES (4 * (T - 1) + 1)
#define VALUES (FRAMES * 8 * H * 8 * W * 3)

static AvatarTensor
lookup (gpointer manifest, const char *name, GError **error)
{
  const GArray *entries = manifest;

  for (guint i = 0; i < entries->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (entries, AvatarManifestEntry, i);
    AvatarTensor t = avatar_tensor_of_shape (AVATAR_F32, NULL, e->rank, e->shape);
    AvatarRandom random = avatar_random_for (name, t, 1);

    if (strcmp (e->name, name) != 0)
      continue;
    t.data = g_malloc (avatar_tensor_bytes (t) + 16);
    avatar_random_fill (&random, 0, avatar_tensor_n (t), AVATAR_F32, t.data);
    return t;
  }
  return AVATAR_NO_TENSOR;
}

/* The network's arena peak; its output in @out. */
static gsize
run (AvatarVaeNetwork *network, AvatarDevice *device, float *latents, float *out)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarOps) dry_run = avatar_ops_new (device, avatar_arena_new_dry_run (), NULL);
  g_autoptr (AvatarOps) ops = NULL;
  AvatarTensor x
      = avatar_tensor (AVATAR_F32, latents, 4, (gint64) T, (gint64) H, (gint64) W, (gint64) 16);
  AvatarTensor y = avatar_tensor (AVATAR_F32, out, 4, (gint64) FRAMES, (gint64) 8 * H,
      (gint64) 8 * W, (gint64) 3);

  avatar_vae_network_run (network, dry_run, y, x);
  ops = avatar_ops_new (device,
      avatar_arena_new (device, avatar_arena_peak (dry_run->arena), "the test", &error), &error);
  g_assert_no_error (error);
  avatar_vae_network_run (network, ops, y, x);
  g_assert_true (avatar_ops_check (ops, &error));
  g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, avatar_arena_peak (dry_run->arena));
  return avatar_arena_peak (ops->arena);
}

static void
test_limits (void)
{
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open ("cpu", &error);
  AvatarModel *model = avatar_model_open (AVATAR_MODEL_DIR, &error);
  AvatarConfig config = *avatar_model_get_config (model);
  g_autoptr (GArray) manifest = NULL;
  g_autofree float *latents = g_new (float, T *H *W * 16);
  g_autofree float *stored = g_new (float, VALUES), *again = g_new (float, VALUES);
  g_autoptr (AvatarOps) weights = NULL;
  g_autoptr (AvatarVaeNetwork) network = NULL;
  AvatarVaeSource source = { .config = &config.vae, .lookup = lookup };
  const gint64 shape[3] = { T, H, W };
  guint64 input, output;
  gsize most, last;

  config.vae.channels[0] = 8;
  for (guint i = 1; i < 4; i++)
    config.vae.channels[i] = 16;
  config.vae.layers_per_block = 2;
  source.data = manifest = avatar_manifest_new (&config, AVATAR_COMPONENT_VAE);
  source.ops = weights
      = avatar_ops_new (device, avatar_arena_new (device, 16 << 20, "weights", &error), &error);
  g_assert_no_error (error);
  network = avatar_vae_network_new (&source, AVATAR_VAE_DECODER);
  g_assert_no_error (source.error);
  for (guint i = 0; i < T * H * W * 16; i++)
    latents[i] = g_test_rand_double_range (-1, 1);

  last = most = run (network, device, latents, stored);
  avatar_vae_network_get_last_level (network, weights, shape, &input, &output);
  g_assert_cmpuint (input, ==, 2 * output);
  for (guint part = 4; part <= 4; part--) {
    gsize peak;

    avatar_vae_network_set_limits (network, T, 0, output * part / 4);
    memset (again, 0xff, VALUES * sizeof (float));
    peak = run (network, device, latents, again);
    g_test_message ("%u of 4 parts stored: %" G_GSIZE_FORMAT " bytes instead of %" G_GSIZE_FORMAT,
        part, peak, most);
    g_assert_cmpuint (peak, <=, last);
    g_assert_cmpmem (stored, VALUES * sizeof (float), again, VALUES * sizeof (float));
    last = peak;
  }
  g_assert_cmpuint (last, <, most * 3 / 4);
  avatar_model_unref (model);
  avatar_device_unref (device);
}

/* One value of a 4:2:0 picture, by the definitions of BT.601 and BT.709. */
static double
expected (const AvatarPixels *p, const float *x, guint width, char plane, guint row, guint column)
{
  guint rows = plane == 'y' ? 1 : 2, from = plane == 'y' ? column : 2 * column, n = 1;
  double weights[3] = { 1, 0, 0 }, sum = 0, black = p->full_range ? 0 : 16;
  gint start = from;

  if (plane != 'y') {
    n = p->cosited ? 3 : 2;
    start = p->cosited ? (gint) from - 1 : (gint) from;
    weights[0] = p->cosited ? 0.25 : 0.5;
    weights[1] = 0.5;
    weights[2] = 0.25;
  }
  for (guint r = 0; r < rows; r++)
    for (guint c = 0; c < n; c++) {
      const float *pixel = x + ((rows * row + r) * width + MAX (start + (gint) c, 0)) * 3;
      double v[3], luma;

      for (guint i = 0; i < 3; i++)
        v[i] = (CLAMP (pixel[i], -1, 1) + 1) / 2;
      luma = p->kr * v[0] + (1 - p->kr - p->kb) * v[1] + p->kb * v[2];
      if (plane == 'y')
        sum += black + (p->full_range ? 255 : 219) * luma;
      else
        sum += weights[c] / rows
            * (128
                + (p->full_range ? 255 : 224) * (v[plane == 'u' ? 2 : 0] - luma)
                    / (2 * (1 - (plane == 'u' ? p->kb : p->kr))));
    }
  return CLAMP (sum, 0, 255);
}

static void
check_byte (double is, double should_be)
{
  g_assert_cmpfloat (fabs (is - should_be), <=, 0.51);
}

static void
test_pixels (void)
{
  enum
  {
    HEIGHT = 6,
    WIDTH = 10,
    N = 2
  };
  static const AvatarPixels kinds[] = {
    { .format = AVATAR_PIXEL_FORMAT_RGB },
    { .format = AVATAR_PIXEL_FORMAT_I420, .kr = 0.299, .kb = 0.114 },
    { .format = AVATAR_PIXEL_FORMAT_I420, .kr = 0.2126, .kb = 0.0722, .cosited = TRUE },
    { .format = AVATAR_PIXEL_FORMAT_NV12, .kr = 0.2126, .kb = 0.0722, .full_range = TRUE },
    { .format = AVATAR_PIXEL_FORMAT_NV12,
        .kr = 0.299,
        .kb = 0.114,
        .full_range = TRUE,
        .cosited = TRUE },
  };
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open ("cpu", &error);
  g_autoptr (AvatarOps) ops
      = avatar_ops_new (device, avatar_arena_new (device, 1 << 20, "the test", &error), &error);
  float x[N * HEIGHT * WIDTH * 3];
  guint8 y[N * HEIGHT * WIDTH * 3];
  gint32 bad;

  for (guint i = 0; i < G_N_ELEMENTS (x); i++)
    x[i] = g_test_rand_double_range (-1.3, 1.3);
  for (guint k = 0; k < G_N_ELEMENTS (kinds); k++) {
    const AvatarPixels *p = &kinds[k];
    gint64 size = avatar_pixels_size (p->format, HEIGHT, WIDTH);
    gboolean nv12 = p->format == AVATAR_PIXEL_FORMAT_NV12;

    bad = 0;
    avatar_op_to_bytes (ops, avatar_tensor (AVATAR_U8, y, 2, (gint64) N, size),
        avatar_tensor (AVATAR_F32, x, 4, (gint64) N, (gint64) HEIGHT, (gint64) WIDTH, (gint64) 3),
        p, avatar_tensor (AVATAR_I32, &bad, 1, (gint64) 1));
    g_assert_cmpint (bad, ==, 0);
    for (guint f = 0; f < N; f++) {
      const float *frame = x + f * HEIGHT * WIDTH * 3;
      const guint8 *bytes = y + f * size, *chroma = bytes + HEIGHT * WIDTH;

      if (p->format == AVATAR_PIXEL_FORMAT_RGB)
        for (guint i = 0; i < HEIGHT * WIDTH * 3; i++)
          check_byte (bytes[i], (CLAMP (frame[i], -1, 1) + 1) * 127.5);
      else
        for (guint row = 0; row < HEIGHT; row++)
          for (guint c = 0; c < WIDTH; c++)
            check_byte (bytes[row * WIDTH + c], expected (p, frame, WIDTH, 'y', row, c));
      for (guint i = 0; p->format != AVATAR_PIXEL_FORMAT_RGB && i < HEIGHT * WIDTH / 4; i++) {
        guint row = i / (WIDTH / 2), c = i % (WIDTH / 2);

        check_byte (nv12 ? chroma[2 * i] : chroma[i], expected (p, frame, WIDTH, 'u', row, c));
        check_byte (nv12 ? chroma[2 * i + 1] : chroma[HEIGHT * WIDTH / 4 + i],
            expected (p, frame, WIDTH, 'v', row, c));
      }
    }
  }
  x[7] = NAN;
  avatar_op_to_bytes (ops, avatar_tensor (AVATAR_U8, y, 1, (gint64) sizeof y),
      avatar_tensor (AVATAR_F32, x, 4, (gint64) N, (gint64) HEIGHT, (gint64) WIDTH, (gint64) 3),
      &kinds[0], avatar_tensor (AVATAR_I32, &bad, 1, (gint64) 1));
  g_assert_cmpint (bad, ==, 1);
  avatar_device_unref (device);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vae/limits", test_limits);
  g_test_add_func ("/vae/pixels", test_pixels);
  return g_test_run ();
}
