/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoding stage and the portrait's encoder on the demo model: streaming, coverage, memory,
 * cancelling. What the networks compute is tested in tests/golden/vae.c. */
#include "engine/backends/fake/fake.h"
#include "engine/device/device.h"
#include "engine/vae/encoder.h"
#include "engine/vae/model.h"
#include "engine/vae/decoder-private.h"
#include "engine/vae/tiles.h"

#include <math.h>
#include <string.h>

#define WIDTH 48
#define HEIGHT 64
#define CHANNELS 16
#define AREA (WIDTH / 8 * HEIGHT / 8)
#define LATENT (CHANNELS * AREA)
#define FRAME (WIDTH * HEIGHT * 3)

/* Latent tiles of 4 x 4 cells and 4 + 1 frames, a new one every 3. */
static const AvatarDecodeSettings tiled = { .tiling = TRUE, .tile_size = 32, .tile_frames = 16 };
static const AvatarDecodeSettings whole = { .tiling = FALSE };
/* Groups of at most 4 latents after 2 of context, in tiles and each in one tile. */
static const AvatarDecodeSettings groups = { .tiling = TRUE,
  .tile_size = 32,
  .tile_frames = 16,
  .temporal_tiles = AVATAR_TEMPORAL_TILES_GROUPS,
  .context_latents = 2,
  .fade_frames = 6 };
static const AvatarDecodeSettings whole_groups = { .tiling = TRUE,
  .tile_size = 64,
  .tile_frames = 16,
  .temporal_tiles = AVATAR_TEMPORAL_TILES_GROUPS,
  .context_latents = 2 };

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->model = avatar_model_open (AVATAR_MODEL_DIR, &error);
  g_assert_no_error (error);
  f->device = avatar_device_open ("cpu", &error);
  g_assert_no_error (error);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  AvatarMemory memory;

  avatar_device_get_memory (f->device, &memory);
  g_assert_cmpuint (memory.now, ==, 0); /* everything was given back to the ledger */
  avatar_model_unref (f->model);
  avatar_device_unref (f->device);
}

static AvatarDecoder *
new_decoder (Fixture *f, const AvatarDecodeSettings *settings)
{
  g_autoptr (GError) error = NULL;
  AvatarDecoder *self = avatar_decoder_new (f->model, f->device, WIDTH, HEIGHT, settings, &error);

  g_assert_no_error (error);
  return self;
}

static float *
random_latents (guint n)
{
  float *z = g_new (float, n *LATENT);

  for (guint i = 0; i < n * LATENT; i++)
    z[i] = g_test_rand_double_range (-1, 1);
  return z;
}

/* Pulls one frame, and checks what the decoder says before and after. */
static AvatarPull
pull_one (AvatarDecoder *self, guint8 *rgb, GError **error)
{
  guint n_ready = avatar_decoder_get_n_ready (self);
  gboolean due = avatar_decoder_is_due (self);
  AvatarPull pull = avatar_decoder_pull (self, rgb, WIDTH * 3, error);

  g_assert_false (n_ready > 0 && due);
  if (pull == AVATAR_PULL_OK && n_ready > 0)
    g_assert_cmpuint (avatar_decoder_get_n_ready (self), ==, n_ready - 1);
  if (pull != AVATAR_PULL_ERROR)
    g_assert_cmpint (pull, ==, n_ready > 0 || due ? AVATAR_PULL_OK : AVATAR_PULL_EMPTY);
  return pull;
}

/* All frames that are ready join @frames. */
static void
pull_all (AvatarDecoder *self, GByteArray *frames)
{
  g_autoptr (GError) error = NULL;
  AvatarPull pull;
  guint8 rgb[FRAME];

  while ((pull = pull_one (self, rgb, &error)) == AVATAR_PULL_OK)
    g_byte_array_append (frames, rgb, FRAME);
  g_assert_no_error (error);
  g_assert_cmpint (pull, ==, AVATAR_PULL_EMPTY);
}

/* @every: pull after so many latents. */
static GByteArray *
decode (AvatarDecoder *self, const float *z, guint n, guint every)
{
  GByteArray *frames = g_byte_array_new ();
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < n; i++) {
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, &error));
    if (i % every == every - 1)
      pull_all (self, frames);
  }
  g_assert_true (avatar_decoder_drain (self, &error));
  pull_all (self, frames);
  return frames;
}

static void
test_coverage (Fixture *f, gconstpointer data)
{
  /* none, less than a tile, one tile, a last tile of each length */
  static const guint lengths[] = { 0, 1, 2, 4, 5, 6, 7, 8, 10 };
  g_autoptr (AvatarDecoder) self = new_decoder (f, data);

  for (guint i = 0; i < G_N_ELEMENTS (lengths); i++) {
    guint n = lengths[i];
    g_autofree float *z = random_latents (n);
    g_autoptr (GByteArray) once = NULL;
    g_autoptr (GByteArray) streamed = NULL;

    once = decode (self, z, n, 1000);
    avatar_decoder_reset (self);
    streamed = decode (self, z, n, 1);
    avatar_decoder_reset (self);
    g_assert_cmpuint (once->len, ==, n ? (4 * (n - 1) + 1) * FRAME : 0);
    g_assert_cmpmem (once->data, once->len, streamed->data, streamed->len);
  }
}

/* Without tiles a stream is due after its end; its frames are ready once it is decoded. */
static void
test_n_ready (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDecoder) self = new_decoder (f, data);
  g_autofree float *z = random_latents (2);
  guint8 rgb[FRAME];

  for (guint i = 0; i < 2; i++)
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, NULL));
  g_assert_false (avatar_decoder_is_due (self));
  g_assert_true (avatar_decoder_drain (self, NULL));
  g_assert_true (avatar_decoder_is_due (self));
  g_assert_cmpuint (avatar_decoder_get_n_ready (self), ==, 0);
  g_assert_cmpint (pull_one (self, rgb, NULL), ==, AVATAR_PULL_OK);
  g_assert_cmpuint (avatar_decoder_get_n_ready (self), ==, 4);
  avatar_decoder_reset (self);
  g_assert_cmpuint (avatar_decoder_get_n_ready (self), ==, 0);
  g_assert_false (avatar_decoder_is_due (self));
}

/* The stage's frames are those of upstream's tiles over the whole clip. */
static void
test_against_tiles (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 8
  };
  const AvatarVaeConfig *config = &avatar_model_get_config (f->model)->vae;
  g_autoptr (GError) error = NULL;
  g_autofree float *latents = random_latents (N);
  g_autoptr (AvatarDecoder) decoder = new_decoder (f, &tiled);
  g_autoptr (GByteArray) frames = decode (decoder, latents, N, 1);
  g_autofree float *z = g_new (float, N *LATENT);
  g_autofree float *expected = g_new (float, (4 * (N - 1) + 1) * FRAME);
  AvatarVaeModel vae;
  AvatarTensor x = avatar_tensor (AVATAR_F32, z, 4, (gint64) N, (gint64) HEIGHT / 8,
      (gint64) WIDTH / 8, (gint64) CHANNELS);
  AvatarTensor y = avatar_tensor (AVATAR_F32, expected, 4, (gint64) 4 * (N - 1) + 1,
      (gint64) HEIGHT, (gint64) WIDTH, (gint64) 3);
  g_autoptr (AvatarOps) ops = NULL;
  AvatarVaeTiles tiles;

  for (guint t = 0; t < N; t++)
    for (guint c = 0; c < CHANNELS; c++)
      for (guint i = 0; i < AREA; i++)
        z[(t * AREA + i) * CHANNELS + c]
            = latents[t * LATENT + c * AREA + i] / (float) config->scaling_factor;
  g_assert_true (avatar_vae_model_init (&vae, f->model, f->device, AVATAR_VAE_DECODER,
      AVATAR_WEIGHTS_LOAD, &error));
  avatar_vae_tiles_init (&tiles, config, AVATAR_VAE_DECODER,
      &(AvatarVaeTileSettings){ .tiling = TRUE,
          .tile_size = tiled.tile_size,
          .tile_frames = tiled.tile_frames,
          .overlap = AVATAR_VAE_OVERLAP });
  tiles.network = vae.network;
  ops = avatar_ops_new (f->device, avatar_arena_new (f->device, 64 << 20, "the test", &error),
      &error);
  g_assert_no_error (error);
  avatar_vae_tiles_run (&tiles, ops, y, x);
  g_assert_cmpuint (frames->len, ==, avatar_tensor_n (y));
  for (guint i = 0; i < frames->len; i++)
    g_assert_cmpint (frames->data[i], ==, lrintf ((CLAMP (expected[i], -1, 1) + 1) * 127.5f));
  avatar_vae_model_clear (&vae);
}

/* Decodes groups that end after the latents that @ends counts, up to 0. @every: pull after so many
 * latents. */
static GByteArray *
decode_groups (AvatarDecoder *self, const float *z, const guint *ends, guint every)
{
  GByteArray *frames = g_byte_array_new ();
  g_autoptr (GError) error = NULL;

  for (guint i = 0; *ends > 0; i++) {
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, &error));
    if (i + 1 == *ends) {
      /* a second call ends nothing */
      g_assert_true (avatar_decoder_end_group (self, &error));
      g_assert_true (avatar_decoder_end_group (self, &error));
      ends++;
    }
    if (i % every == every - 1)
      pull_all (self, frames);
  }
  pull_all (self, frames);
  return frames;
}

/* The frames of each group are those of a whole decoding of its context and its latents. */
static void
test_groups (Fixture *f, gconstpointer data)
{
  /* longer than the context, one, the longest, shorter than the context */
  static const guint ends[] = { 3, 4, 8, 9, 11, 0 };
  g_autofree float *z = random_latents (11);
  g_autoptr (AvatarDecoder) self = new_decoder (f, &whole_groups);
  g_autoptr (AvatarDecoder) reference = new_decoder (f, &whole);
  g_autoptr (GByteArray) frames = decode_groups (self, z, ends, 1);
  const guint8 *next = frames->data;
  guint start = 0;

  g_assert_cmpuint (frames->len, ==, (4 * 10 + 1) * FRAME);
  for (guint i = 0; ends[i] > 0; i++) {
    guint context = MIN (start, 2), known = context ? 4 * context - 3 : 0;
    guint n = ends[i] - start + context;
    g_autoptr (GByteArray) expected = decode (reference, z + (start - context) * LATENT, n, n);
    gsize size = expected->len - known * FRAME;

    g_assert_cmpmem (next, size, expected->data + known * FRAME, size);
    next += size;
    start = ends[i];
    avatar_decoder_reset (reference);
  }
}

/* Groups do not depend on when frames are pulled. One that is too long is cut. */
static void
test_group_ends (Fixture *f, gconstpointer data)
{
  static const guint ends[] = { 1, 3, 7, 13, 15, 0 }, cut[] = { 1, 3, 7, 11, 13, 15, 0 };
  g_autofree float *z = random_latents (15);
  g_autoptr (AvatarDecoder) self = new_decoder (f, data);
  g_autoptr (GByteArray) expected = decode_groups (self, z, cut, 1);

  g_assert_cmpuint (expected->len, ==, (4 * 14 + 1) * FRAME);
  for (guint every = 2; every <= 16; every += 14) {
    g_autoptr (GByteArray) frames = NULL;

    avatar_decoder_reset (self);
    frames = decode_groups (self, z, ends, every);
    g_assert_cmpmem (expected->data, expected->len, frames->data, frames->len);
  }
  /* without the last end */
  avatar_decoder_reset (self);
  for (guint i = 0; i < 2; i++)
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, NULL));
  g_assert_false (avatar_decoder_is_due (self));
  g_assert_true (avatar_decoder_drain (self, NULL));
  g_assert_true (avatar_decoder_is_due (self));
}

/* The difference between the last frame of a group and the same frame decoded with the next one
 * decays to 0. */
static void
test_fade (Fixture *f, gconstpointer data)
{
  enum
  {
    FADE = 3
  };
  static const guint ends[] = { 3, 5, 0 };
  AvatarDecodeSettings settings = whole_groups;
  g_autofree float *z = random_latents (5);
  g_autoptr (AvatarDecoder) plain = new_decoder (f, &whole_groups);
  g_autoptr (AvatarDecoder) reference = new_decoder (f, &whole);
  g_autoptr (AvatarDecoder) faded = NULL;
  g_autoptr (GByteArray) before = decode_groups (plain, z, ends, 1);
  g_autoptr (GByteArray) again = decode (reference, z + LATENT, 4, 4);
  g_autoptr (GByteArray) after = NULL;
  const guint8 *last = before->data + 8 * FRAME, *same = again->data + 4 * FRAME;
  guint n_compared = 0;
  double largest = 0;

  settings.fade_frames = FADE;
  faded = new_decoder (f, &settings);
  after = decode_groups (faded, z, ends, 1);
  g_assert_cmpuint (after->len, ==, before->len);
  g_assert_cmpmem (after->data, 9 * FRAME, before->data, 9 * FRAME);
  for (guint k = 0; k < 8; k++)
    for (guint i = 0; i < FRAME; i++) {
      double was = before->data[(9 + k) * FRAME + i], weight = MAX (0, 1 - (k + 1.) / (FADE + 1));
      double expected = was + weight * (last[i] - same[i]);

      /* bytes do not show how far a colour was out of range */
      if (was == 0 || was == 255 || last[i] % 255 == 0 || same[i] % 255 == 0)
        continue;
      n_compared++;
      /* the bytes were rounded */
      g_assert_cmpfloat (fabs (after->data[(9 + k) * FRAME + i] - CLAMP (expected, 0, 255)), <=,
          weight + 1.01);
      largest = MAX (largest, weight * fabs ((double) last[i] - same[i]));
    }
  g_assert_cmpuint (n_compared, >, FRAME);
  g_assert_cmpfloat (largest, >, 8);
}

/* A group depends on its context, and on nothing later or earlier. */
static void
test_group_reach (Fixture *f, gconstpointer data)
{
  static const guint ends[] = { 2, 4, 6, 0 };
  g_autofree float *z = random_latents (6);
  g_autoptr (AvatarDecoder) self = new_decoder (f, &whole_groups);
  g_autoptr (GByteArray) before = decode_groups (self, z, ends, 1);
  /* latent that changes: first and last frame that do */
  static const guint changes[][3] = { { 1, 0, 13 }, { 2, 5, 21 }, { 5, 13, 21 } };

  for (guint i = 0; i < G_N_ELEMENTS (changes); i++) {
    g_autofree float *changed = g_memdup2 (z, 6 * LATENT * sizeof (float));
    gsize begin = changes[i][1] * FRAME, end = changes[i][2] * FRAME;
    g_autoptr (GByteArray) after = NULL;

    for (guint k = 0; k < LATENT; k++)
      changed[changes[i][0] * LATENT + k] += 1;
    avatar_decoder_reset (self);
    after = decode_groups (self, changed, ends, 1);
    g_assert_cmpmem (before->data, begin, after->data, begin);
    g_assert_cmpmem (before->data + end, before->len - end, after->data + end, after->len - end);
    for (gsize k = begin; k < end; k += FRAME)
      g_assert_true (memcmp (before->data + k, after->data + k, FRAME) != 0);
  }
}

/* A cancellation or a reset in the middle of a group leaves nothing behind. */
static void
test_group_reset (Fixture *f, gconstpointer data)
{
  static const guint ends[] = { 3, 5, 0 };
  g_autofree float *z = random_latents (5);
  g_autoptr (AvatarDecoder) self = new_decoder (f, &groups);
  g_autoptr (GByteArray) before = decode_groups (self, z, ends, 1);
  g_autoptr (GByteArray) after = NULL;
  g_autoptr (GError) error = NULL;
  guint8 rgb[FRAME];

  g_assert_true (avatar_decoder_push (self, z, &error));
  g_assert_true (avatar_decoder_end_group (self, &error));
  g_assert_true (avatar_decoder_push (self, z, &error));
  g_assert_cmpint (pull_one (self, rgb, &error), ==, AVATAR_PULL_OK);
  avatar_decoder_cancel (self);
  g_assert_false (avatar_decoder_end_group (self, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  avatar_decoder_reset (self);
  g_assert_false (avatar_decoder_is_due (self));
  g_assert_cmpuint (avatar_decoder_get_n_ready (self), ==, 0);
  after = decode_groups (self, z, ends, 2);
  g_assert_cmpmem (before->data, before->len, after->data, after->len);
}

static void
test_memory (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 9
  };
  g_autofree float *z = random_latents (N);
  g_autoptr (AvatarDecoder) self = new_decoder (f, data);
  g_autoptr (GByteArray) frames = decode (self, z, N, 1);
  g_autoptr (GError) error = NULL;
  const AvatarDecoderPlanParams params = { .width = WIDTH,
    .height = HEIGHT,
    .frames = 4 * (N - 1) + 1,
    .settings = data,
    .available_bytes = G_MAXUINT64 };
  AvatarStageCost cost;
  gsize predicted, peak;
  AvatarMemory memory;

  g_assert_true (avatar_decoder_plan (f->model, f->device, &params, &cost, &error));
  avatar_decoder_get_arena (self, &predicted, &peak);
  avatar_device_get_memory (f->device, &memory);
  g_assert_cmpuint (cost.arena_bytes, ==, predicted);
  g_assert_cmpuint (cost.arena_bytes, ==, peak);
  g_assert_cmpuint (cost.min_arena_bytes, <=, cost.arena_bytes);
  g_assert_cmpuint (memory.now, ==, cost.weight_bytes + cost.arena_bytes);
  g_assert_cmpfloat (cost.flops, >, 1e8);
  g_assert_cmpfloat (cost.bytes, >, 1e6);
}

/* Group norms see a whole tile: its first frame depends on its last latent, and on no later one. */
static void
test_reach (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 6
  };
  g_autofree float *z = random_latents (N);
  g_autoptr (AvatarDecoder) self = new_decoder (f, &tiled);
  g_autoptr (GByteArray) before = decode (self, z, N, 1);
  g_autoptr (GByteArray) inside = NULL;
  g_autoptr (GByteArray) outside = NULL;

  for (guint i = 0; i < LATENT; i++)
    z[5 * LATENT + i] += 1;
  avatar_decoder_reset (self);
  outside = decode (self, z, N, 1);
  g_assert_cmpmem (before->data, FRAME, outside->data, FRAME);
  g_assert_true (memcmp (before->data + 20 * FRAME, outside->data + 20 * FRAME, FRAME) != 0);
  for (guint i = 0; i < LATENT; i++)
    z[4 * LATENT + i] += 1;
  avatar_decoder_reset (self);
  inside = decode (self, z, N, 1);
  g_assert_true (memcmp (before->data, inside->data, FRAME) != 0);
}

static void
test_cancel (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 5
  };
  g_autofree float *z = random_latents (N);
  g_autoptr (AvatarDecoder) self = new_decoder (f, data);
  g_autoptr (GByteArray) before = decode (self, z, N, 1);
  g_autoptr (GByteArray) after = NULL;
  g_autoptr (GError) error = NULL;
  guint8 rgb[FRAME];

  g_assert_false (avatar_decoder_push (self, z, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA);
  g_clear_error (&error);
  avatar_decoder_cancel (self);
  for (guint i = 0; i < 2; i++) {
    g_assert_cmpint (avatar_decoder_pull (self, rgb, WIDTH * 3, &error), ==, AVATAR_PULL_ERROR);
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
    g_clear_error (&error);
  }
  g_assert_false (avatar_decoder_push (self, z, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  avatar_decoder_reset (self);
  after = decode (self, z, N, 1);
  g_assert_cmpmem (before->data, before->len, after->data, after->len);
}

static gpointer
cancel (gpointer decoder)
{
  avatar_decoder_cancel (decoder);
  return NULL;
}

static void
cancel_from_another_thread (gpointer decoder)
{
  g_thread_join (g_thread_new ("cancel", cancel, decoder));
}

/* In the middle of a tile: the operation that was begun is the last one. */
static void
test_cancel_running (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 5,
    BEGUN = 10
  };
  g_autofree float *z = random_latents (N);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:4096", &error);
  Fixture on_sim = { f->model, device };
  g_autoptr (AvatarDecoder) self = new_decoder (&on_sim, &whole);
  g_autoptr (GByteArray) all = decode (self, z, N, 1);
  guint8 rgb[FRAME];
  guint n = avatar_fake_count_operations ();

  g_assert_cmpuint (all->len, ==, (4 * N - 3) * FRAME);
  g_assert_cmpuint (n, >, 2 * BEGUN);
  avatar_decoder_reset (self);
  for (guint i = 0; i < N; i++)
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, &error));
  g_assert_true (avatar_decoder_drain (self, &error));
  avatar_fake_call_at (BEGUN, cancel_from_another_thread, self);
  g_assert_cmpint (avatar_decoder_pull (self, rgb, WIDTH * 3, &error), ==, AVATAR_PULL_ERROR);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  g_assert_cmpuint (avatar_fake_count_operations (), ==, n + BEGUN);
}

/* Decodes 9 latents in groups on @device. @reclaim: other stages take all memory after each
 * frame. */
static GByteArray *
decode_on (Fixture *f, AvatarDevice *device, const float *z, gboolean reclaim)
{
  Fixture there = { f->model, device };
  g_autoptr (AvatarDecoder) self = new_decoder (&there, &groups);
  GByteArray *frames = g_byte_array_new ();
  g_autoptr (GError) error = NULL;
  guint8 rgb[FRAME];

  for (guint i = 0; i < 9; i++) {
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, &error));
    if (i == 2)
      g_assert_true (avatar_decoder_end_group (self, &error));
    while (pull_one (self, rgb, &error) == AVATAR_PULL_OK) {
      g_byte_array_append (frames, rgb, FRAME);
      if (reclaim)
        g_assert_cmpint (avatar_decoder_reclaim (self, AVATAR_RECLAIM_ALL), ==,
            AVATAR_RECLAIM_DONE);
    }
    g_assert_no_error (error);
  }
  g_assert_true (avatar_decoder_drain (self, &error));
  pull_all (self, frames);
  return frames;
}

/* Groups are the same under the smallest budget, which the plan knows, and if other stages use the
 * memory between two groups. */
static void
test_group_budget (Fixture *f, gconstpointer data)
{
  const AvatarDecoderPlanParams params = { .width = WIDTH,
    .height = HEIGHT,
    .frames = 33,
    .settings = &groups,
    .available_bytes = G_MAXUINT64 };
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:4096", &error);
  const AvatarBackend *backend = avatar_device_get_backend (device);
  g_autofree float *z = random_latents (9);
  g_autoptr (GByteArray) expected = decode_on (f, device, z, FALSE);
  g_autoptr (GByteArray) reclaimed = decode_on (f, device, z, TRUE);
  g_autoptr (GByteArray) least = NULL;
  AvatarStageCost cost;
  AvatarMemory memory;
  guint64 budget;

  g_assert_cmpuint (expected->len, ==, 33 * FRAME);
  g_assert_cmpmem (expected->data, expected->len, reclaimed->data, reclaimed->len);
  g_assert_true (avatar_decoder_plan (f->model, device, &params, &cost, &error));
  g_assert_cmpuint (cost.min_arena_bytes, <, cost.arena_bytes);
  budget = backend->overhead (avatar_device_get_handle (device))
      + avatar_device_get_allocation_size (device, cost.weight_bytes)
      + avatar_device_get_allocation_size (device, cost.min_arena_bytes);
  avatar_device_set_budget (device, budget - 1);
  g_assert_null (avatar_decoder_new (f->model, device, WIDTH, HEIGHT, &groups, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  avatar_device_set_budget (device, budget);
  least = decode_on (f, device, z, FALSE);
  g_assert_cmpmem (expected->data, expected->len, least->data, least->len);
  avatar_device_get_memory (device, &memory);
  g_assert_cmpuint (memory.now, <=, budget);
}

static void
test_refusals (Fixture *f, gconstpointer data)
{
  AvatarDecodeSettings odd = { .tiling = TRUE, .tile_size = 40, .tile_frames = 16 };
  AvatarDecodeSettings far = groups, slow = groups, unknown = groups;
  const AvatarDecodeSettings *const refused[] = { &odd, &far, &slow, &unknown };
  g_autoptr (GError) error = NULL;

  far.context_latents = 17;
  slow.fade_frames = 65;
  unknown.temporal_tiles = 2;
  for (guint i = 0; i < G_N_ELEMENTS (refused); i++) {
    g_assert_null (avatar_decoder_new (f->model, f->device, WIDTH, HEIGHT, refused[i], &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
    g_clear_error (&error);
  }
  g_assert_null (avatar_decoder_new (f->model, f->device, 50, HEIGHT, &tiled, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (avatar_vae_encoder_new (f->model, f->device, 0, 0, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  avatar_device_set_budget (f->device, 1 << 20);
  g_assert_null (avatar_decoder_new (f->model, f->device, WIDTH, HEIGHT, &tiled, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
}

/* A still repeated in time has the same moments in every latent frame as one frame of it. */
static void
test_still (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 9
  };
  const AvatarVaeConfig *config = &avatar_model_get_config (f->model)->vae;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarVaeEncoder) encoder
      = avatar_vae_encoder_new (f->model, f->device, WIDTH, HEIGHT, &error);
  AvatarStageCost cost;
  AvatarVaeModel vae;
  g_autofree float *rgb = g_new (float, N *FRAME);
  g_autofree float *moments = g_new (float, 3 * 2 * LATENT);
  g_autoptr (AvatarOps) ops = NULL;
  float mean[LATENT];
  gsize predicted, peak;

  for (guint i = 0; i < FRAME; i++)
    rgb[i] = g_test_rand_double_range (-1, 1);
  for (guint i = 1; i < N; i++)
    memcpy (rgb + i * FRAME, rgb, FRAME * sizeof (float));
  g_assert_true (avatar_vae_encode_image (encoder, rgb, mean, &error));
  avatar_vae_encoder_get_arena (encoder, &predicted, &peak);
  g_assert_true (avatar_vae_encoder_plan (f->model, f->device, WIDTH, HEIGHT, &cost, &error));
  g_assert_cmpuint (cost.arena_bytes, ==, predicted);
  g_assert_cmpuint (cost.arena_bytes, ==, peak);

  g_assert_true (avatar_vae_model_init (&vae, f->model, f->device, AVATAR_VAE_ENCODER,
      AVATAR_WEIGHTS_LOAD, &error));
  ops = avatar_ops_new (f->device, avatar_arena_new (f->device, 64 << 20, "the test", &error),
      &error);
  avatar_vae_network_run (vae.network, ops,
      avatar_tensor (AVATAR_F32, moments, 4, (gint64) 3, (gint64) HEIGHT / 8, (gint64) WIDTH / 8,
          (gint64) 2 * CHANNELS),
      avatar_tensor (AVATAR_F32, rgb, 4, (gint64) N, (gint64) HEIGHT, (gint64) WIDTH, (gint64) 3));
  for (guint t = 0; t < 3; t++)
    for (guint i = 0; i < AREA; i++)
      for (guint c = 0; c < CHANNELS; c++)
        g_assert_cmpfloat (fabs (moments[(t * AREA + i) * 2 * CHANNELS + c] * config->scaling_factor
                               - mean[c * AREA + i]),
            <=, 1e-4);
  avatar_vae_model_clear (&vae);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, data, function) \
  g_test_add ("/decoder/" name, Fixture, data, setup, function, teardown)
  ADD ("coverage/tiled", &tiled, test_coverage);
  ADD ("coverage/whole", &whole, test_coverage);
  ADD ("coverage/groups", &groups, test_coverage);
  ADD ("n-ready", &whole, test_n_ready);
  ADD ("against-tiles", NULL, test_against_tiles);
  ADD ("groups/against-whole", NULL, test_groups);
  ADD ("groups/ends", &groups, test_group_ends);
  ADD ("groups/fade", NULL, test_fade);
  ADD ("groups/reach", NULL, test_group_reach);
  ADD ("groups/reset", NULL, test_group_reset);
  ADD ("groups/budget", NULL, test_group_budget);
  ADD ("memory/tiled", &tiled, test_memory);
  ADD ("memory/groups", &groups, test_memory);
  ADD ("memory/whole", &whole, test_memory);
  ADD ("reach", NULL, test_reach);
  ADD ("cancel/tiled", &tiled, test_cancel);
  ADD ("cancel/whole", &whole, test_cancel);
  ADD ("cancel/groups", &groups, test_cancel);
  ADD ("cancel/running", NULL, test_cancel_running);
  ADD ("refusals", NULL, test_refusals);
  ADD ("still", NULL, test_still);
  return g_test_run ();
}
