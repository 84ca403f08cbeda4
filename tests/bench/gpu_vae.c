/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The video VAE on a device: decoding a clip of random latents, and encoding a portrait, for each
 * size, budget and way of tiling. One JSON object a line.
 *
 *   bench-gpu-vae DEVICE MODEL [--dump FILE] ROW...
 *
 * A row: decode/WxH/BUDGET_MIB/exact, decode/WxH/0/fast, encode/WxH/0; compare/WxH: the
 * differences between a synthetic clip in exact tiles, in fast tiles and decoded as a whole (for
 * trained models); or layers: every kind of convolution of the released decoder on its largest
 * tile, with the norm before it and the sums after it. --dump writes the frames of the next row
 * as bytes [frames, H, W, 3], and their latents to FILE.latents. BUDGET 0: none. */
#include "engine/device/device.h"
#include "engine/vae/encoder.h"
#include "engine/vae/model.h"
#include "engine/vae/decoder.h"
#include "engine/model/random-weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENTS 33
#define RUNS 3

typedef struct
{
  AvatarDevice *device;
  gint quit;
  guint64 peak;
} Watch;

static gpointer
watch (gpointer data)
{
  Watch *w = data;
  const AvatarBackend *backend = avatar_device_get_backend (w->device);
  guint64 free_bytes, total;

  while (backend->discrete && !g_atomic_int_get (&w->quit)) {
    backend->memory_info (avatar_device_get_handle (w->device), &free_bytes, &total);
    w->peak = MAX (w->peak, total - free_bytes);
    g_usleep (1000);
  }
  return NULL;
}

static void
die (GError *error)
{
  g_printerr ("bench-gpu-vae: %s\n", error->message);
  exit (1);
}

typedef struct
{
  char what[8], tiling[8];
  guint width, height;
  guint64 budget;
} Row;

static float *
random_floats (gsize n, double width)
{
  AvatarRandom random = { .stream = 1, .width = width };
  float *out = g_new (float, n);

  avatar_random_fill (&random, 0, n, AVATAR_F32, out);
  return out;
}

/* Decodes the clip; @out: (nullable): takes the frames. Returns how many there are. */
static guint
decode (AvatarDecoder *self, const Row *row, const float *latents, gsize latent, FILE *out)
{
  gsize size = (gsize) row->width * row->height * 3;
  g_autofree guint8 *rgb = g_malloc (size);
  GError *error = NULL;
  guint n = 0;

  for (guint i = 0; i < LATENTS; i++)
    if (!avatar_decoder_push (self, latents + i * latent, &error))
      die (error);
  if (!avatar_decoder_drain (self, &error))
    die (error);
  while (avatar_decoder_pull (self, rgb, (gsize) row->width * 3, &error) == AVATAR_PULL_OK) {
    n++;
    if (out)
      fwrite (rgb, 1, size, out);
  }
  if (error)
    die (error);
  avatar_decoder_reset (self);
  return n;
}

static guint
decode_row (AvatarModel *model, AvatarDevice *device, const Row *row, const char *dump,
    double *seconds, double *first)
{
  gsize latent = (gsize) 16 * (row->width / 8) * (row->height / 8);
  g_autofree float *latents = random_floats (LATENTS * latent, 1.7);
  AvatarDecodeSettings settings;
  GError *error = NULL;
  g_autoptr (AvatarDecoder) self = NULL;
  guint frames = 0;

  avatar_decode_settings_init (&settings, model);
  if (strcmp (row->tiling, "fast") == 0)
    avatar_decode_settings_fast (&settings, model, row->width, row->height);
  self = avatar_decoder_new (model, device, row->width, row->height, &settings, &error);
  if (!self)
    die (error);
  for (guint i = 0; i <= RUNS; i++) {
    gint64 start = g_get_monotonic_time ();
    FILE *out = i == 0 && dump ? fopen (dump, "wb") : NULL;
    double took;

    frames = decode (self, row, latents, latent, out);
    took = (g_get_monotonic_time () - start) * 1e-6;
    if (i == 0)
      *first = took;
    else
      *seconds = MIN (*seconds, took);
    if (out) {
      g_autofree char *name = g_strconcat (dump, ".latents", NULL);

      fclose (out);
      if (!g_file_set_contents (name, (const char *) latents, LATENTS * latent * sizeof (float),
              &error))
        die (error);
    }
  }
  return frames;
}

static guint
encode_row (AvatarModel *model, AvatarDevice *device, const Row *row, double *seconds,
    double *first)
{
  gsize n = (gsize) row->width * row->height * 3;
  g_autofree float *rgb = random_floats (n, 1);
  g_autofree float *latent = g_new (float, n);
  GError *error = NULL;
  g_autoptr (AvatarVaeEncoder) self
      = avatar_vae_encoder_new (model, device, row->width, row->height, &error);

  if (!self)
    die (error);
  for (guint i = 0; i <= RUNS; i++) {
    gint64 start = g_get_monotonic_time ();
    double took;

    if (!avatar_vae_encode_image (self, rgb, latent, &error))
      die (error);
    took = (g_get_monotonic_time () - start) * 1e-6;
    if (i == 0)
      *first = took;
    else
      *seconds = MIN (*seconds, took);
  }
  return 1;
}

typedef struct
{
  const char *name;
  gint64 t, h, w, in, out; /* size of the input */
  guint up_t, up_s;
  gboolean norm, residual;
} Layer;

static const Layer layers[] = {
  { "conv_in", 17, 32, 32, 16, 512, 1, 1, FALSE, FALSE },
  { "mid, up 0", 17, 32, 32, 512, 512, 1, 1, TRUE, TRUE },
  { "up 0, upsampling", 17, 32, 32, 512, 512, 1, 2, FALSE, FALSE },
  { "up 1", 17, 64, 64, 512, 512, 1, 1, TRUE, TRUE },
  { "up 1, upsampling", 17, 64, 64, 512, 512, 2, 2, FALSE, FALSE },
  { "up 2, first", 33, 128, 128, 512, 256, 1, 1, TRUE, FALSE },
  { "up 2", 33, 128, 128, 256, 256, 1, 1, TRUE, TRUE },
  { "up 2, upsampling", 33, 128, 128, 256, 256, 2, 2, FALSE, FALSE },
  { "up 3, first", 65, 256, 256, 256, 128, 1, 1, TRUE, FALSE },
  { "up 3", 65, 256, 256, 128, 128, 1, 1, TRUE, TRUE },
  { "conv_out", 65, 256, 256, 128, 3, 1, 1, TRUE, FALSE },
};

/* On the device; the values do not matter, but zeros would be too easy on it. */
static AvatarTensor
filled (AvatarOps *ops, AvatarTensor t)
{
  gsize piece = MIN ((gsize) avatar_tensor_n (t), (gsize) 1 << 22);
  g_autofree float *values = random_floats (piece, 1);

  for (gsize at = 0; at < (gsize) avatar_tensor_n (t); at += piece) {
    gsize n = MIN (piece, (gsize) avatar_tensor_n (t) - at);

    avatar_op_upload (ops,
        avatar_tensor (t.dtype, (guint8 *) t.data + at * avatar_dtype_size (t.dtype), 1,
            (gint64) n),
        values);
  }
  return t;
}

static void
run_layer (AvatarDevice *device, const Layer *l)
{
  AvatarConvShape shape = { 1, 1, l->up_t, l->up_s };
  gsize n = l->out * l->in * 27;
  g_autofree float *weights = random_floats (n, 0.7 / sqrt (l->in * 9));
  GError *error = NULL;
  g_autoptr (AvatarOps) ops = avatar_vae_ops_new (device,
      avatar_arena_new (device, (gsize) 6 << 30, "the bench", &error), &error);
  g_autoptr (AvatarConv3d) conv = NULL;
  AvatarTensor x, y, ones;
  AvatarNorm norm = { .silu = TRUE };
  AvatarChannelSums sums;
  gint64 t = l->t, h = l->h, w = l->w, start;
  double flops, seconds;

  if (!ops)
    die (error);
  conv = avatar_conv3d_new (ops,
      avatar_tensor (AVATAR_F32, weights, 5, l->out, l->in, (gint64) 3, (gint64) 3, (gint64) 3),
      avatar_tensor (AVATAR_F32, weights, 1, l->out), shape);
  x = filled (ops, avatar_ops_alloc (ops, 4, t, h, w, l->in));
  ones = filled (ops, avatar_ops_alloc_as (ops, AVATAR_F32, 1, l->in));
  norm.scale = norm.shift = ones;
  avatar_conv3d_get_output_size (conv, &t, &h, &w);
  y = filled (ops, avatar_ops_alloc (ops, 4, t, h, w, l->out));
  sums = avatar_ops_alloc_sums (ops, l->out);
  for (guint i = 0; i < 2; i++) {
    avatar_ops_finish (ops);
    flops = ops->flops;
    start = g_get_monotonic_time ();
    for (guint j = 0; j < RUNS; j++)
      avatar_op_conv3d (ops, y, x, conv, l->norm ? &norm : NULL, l->residual ? y : AVATAR_NO_TENSOR,
          l->out > 3 ? &sums : NULL);
    avatar_ops_finish (ops);
    seconds = (g_get_monotonic_time () - start) * 1e-6 / RUNS;
    flops = (ops->flops - flops) / RUNS;
  }
  if (!avatar_ops_check (ops, &error))
    die (error);
  g_print ("{\"layer\": \"%s\", \"seconds\": %.6f, \"flops\": %.4g}\n", l->name, seconds, flops);
}

/* A disc that moves over a pattern, as latents. */
static float *
made_clip (AvatarModel *model, AvatarDevice *device, guint width, guint height)
{
  gsize latent = (gsize) 16 * (width / 8) * (height / 8);
  g_autofree float *rgb = g_new (float, (gsize) width *height * 3);
  float *latents = g_new (float, LATENTS *latent);
  GError *error = NULL;
  g_autoptr (AvatarVaeEncoder) encoder
      = avatar_vae_encoder_new (model, device, width, height, &error);

  if (!encoder)
    die (error);
  for (guint t = 0; t < LATENTS; t++) {
    for (guint y = 0; y < height; y++)
      for (guint x = 0; x < width; x++) {
        double dx = (double) x / width - 0.5 - 0.1 * sin (t * 0.3), dy = (double) y / height - 0.5;
        float *p = rgb + ((gsize) y * width + x) * 3;

        p[0] = 0.5 * sin (x * 0.03) * cos (y * 0.02);
        p[1] = 0.4 * cos (x * 0.011 + y * 0.023);
        p[2] = (double) y / height - 0.5;
        if (dx * dx + dy * dy < 0.06)
          for (guint c = 0; c < 3; c++)
            p[c] = 0.8 - 0.3 * c - dy;
      }
    if (!avatar_vae_encode_image (encoder, rgb, latents + t * latent, &error))
      die (error);
  }
  return latents;
}

static void
compare (AvatarModel *model, AvatarDevice *device, const char *text)
{
  Row row = { 0 };
  g_autofree float *latents = NULL;
  gsize latent, size;
  guint8 *rgb[3];
  guint n = 4 * LATENTS - 3;
  double db[3];

  if (sscanf (text, "compare/%ux%u", &row.width, &row.height) != 2) {
    g_printerr ("bench-gpu-vae: \"%s\" is no row\n", text);
    exit (1);
  }
  latent = (gsize) 16 * (row.width / 8) * (row.height / 8);
  size = (gsize) row.width * row.height * 3;
  latents = made_clip (model, device, row.width, row.height);
  for (guint i = 0; i < 3; i++) { /* exact, fast, whole */
    AvatarDecodeSettings settings;
    GError *error = NULL;
    g_autoptr (AvatarDecoder) self = NULL;

    avatar_decode_settings_init (&settings, model);
    if (i == 1)
      avatar_decode_settings_fast (&settings, model, row.width, row.height);
    settings.tiling = i < 2;
    self = avatar_decoder_new (model, device, row.width, row.height, &settings, &error);
    if (!self)
      die (error);
    rgb[i] = g_malloc (n * size);
    for (guint t = 0; t < LATENTS; t++)
      if (!avatar_decoder_push (self, latents + t * latent, &error))
        die (error);
    avatar_decoder_drain (self, NULL);
    for (guint t = 0; t < n; t++)
      if (avatar_decoder_pull (self, rgb[i] + t * size, (gsize) row.width * 3, &error)
          != AVATAR_PULL_OK)
        die (error);
  }
  for (guint i = 0; i < 3; i++) {
    const guint8 *a = rgb[i == 1 ? 2 : 0], *b = rgb[i == 2 ? 2 : 1];
    double sum = 0;

    for (gsize j = 0; j < n * size; j++)
      sum += (a[j] - b[j]) * (a[j] - b[j]);
    db[i] = 10 * log10 (255. * 255. * n * size / MAX (sum, 1));
  }
  g_print ("{\"row\": \"%s\", \"model\": \"%s\", \"fast_exact\": %.2f, \"fast_whole\": %.2f, "
           "\"exact_whole\": %.2f}\n",
      text, avatar_model_get_info (model)->name, db[0], db[1], db[2]);
  for (guint i = 0; i < 3; i++)
    g_free (rgb[i]);
}

static void
run_row (AvatarModel *model, AvatarDevice *device, const char *text, const char *dump)
{
  Row row = { .tiling = "exact" };
  Watch w = { .device = device };
  double seconds = INFINITY, first = 0;
  guint frames;
  AvatarMemory memory;
  GThread *thread;

  if (strcmp (text, "layers") == 0) {
    for (guint i = 0; i < G_N_ELEMENTS (layers); i++)
      run_layer (device, &layers[i]);
    return;
  }
  if (g_str_has_prefix (text, "compare/")) {
    compare (model, device, text);
    return;
  }
  if (sscanf (text, "%7[^/]/%ux%u/%" G_GUINT64_FORMAT "/%7s", row.what, &row.width, &row.height,
          &row.budget, row.tiling)
      < 4) {
    g_printerr ("bench-gpu-vae: \"%s\" is no row\n", text);
    exit (1);
  }
  avatar_device_set_budget (device, row.budget << 20);
  thread = g_thread_new ("watch", watch, &w);
  if (strcmp (row.what, "encode") == 0)
    frames = encode_row (model, device, &row, &seconds, &first);
  else
    frames = decode_row (model, device, &row, dump, &seconds, &first);
  g_atomic_int_set (&w.quit, 1);
  g_thread_join (thread);
  avatar_device_get_memory (device, &memory);
  avatar_device_set_budget (device, 0);
  g_print ("{\"row\": \"%s\", \"seconds\": %.4f, \"first\": %.4f, \"frames\": %u, "
           "\"driver_peak\": %" G_GUINT64_FORMAT ", \"ledger_peak\": %" G_GUINT64_FORMAT "}\n",
      text, seconds, first, frames, w.peak, memory.peak);
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  AvatarDevice *device = argc > 3 ? avatar_device_open (argv[1], &error) : NULL;
  AvatarModel *model = device ? avatar_model_open (argv[2], &error) : NULL;
  const char *dump = NULL;

  if (argc < 4) {
    g_printerr ("bench-gpu-vae DEVICE MODEL [--dump FILE] ROW...\n");
    return 1;
  }
  if (!model)
    die (error);
  for (int i = 3; i < argc; i++) {
    if (strcmp (argv[i], "--dump") == 0 && i + 1 < argc) {
      dump = argv[++i];
      continue;
    }
    run_row (model, device, argv[i], dump);
    dump = NULL;
  }
  avatar_model_unref (model);
  avatar_device_unref (device);
  return 0;
}
