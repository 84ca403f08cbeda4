/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stages on one model and one device of the host: weights are there once, and decoders compute in
 * the same memory, one tile after the other, with the same results as alone. */
#include "engine/denoise/transformer-weights.h"
#include "engine/device/device.h"
#include "engine/device/scratch.h"
#include "engine/weights/weights.h"

#include <avatar/avatar.h>
#include <string.h>

#define SIZE 48
#define N 13
#define LATENT (16 * SIZE / 8 * SIZE / 8)
#define FRAME (SIZE * SIZE * 3)

static const AvatarDecodeSettings tiled = { .tiling = TRUE, .tile_size = 32, .tile_frames = 16 };

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

static guint64
held (Fixture *f)
{
  AvatarMemory memory;

  avatar_device_get_memory (f->device, &memory);
  return memory.now;
}

static void
teardown (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (held (f), ==, 0);
  avatar_model_unref (f->model);
  avatar_device_unref (f->device);
}

static gpointer
load (gpointer data)
{
  Fixture *f = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTransformerWeights) names
      = avatar_transformer_weights_new (&avatar_model_get_config (f->model)->transformer);
  AvatarWeights *weights = avatar_weights_new (f->model, f->device, AVATAR_COMPONENT_TRANSFORMER,
      names->list, NULL, AVATAR_WEIGHTS_LOAD, &error);

  g_assert_no_error (error);
  return weights;
}

/* Loaded by several threads at once, they are there once, until the last is freed. */
static void
test_weights (Fixture *f, gconstpointer data)
{
  AvatarWeights *weights[4];
  GThread *threads[4];
  guint64 once;

  for (guint i = 0; i < 4; i++)
    threads[i] = g_thread_new (NULL, load, f);
  for (guint i = 0; i < 4; i++)
    weights[i] = g_thread_join (threads[i]);
  once = avatar_weights_fixed_bytes (weights[0]);
  g_assert_cmpuint (once, >, 0);
  for (guint i = 0; i < 4; i++) {
    g_assert_cmpuint (held (f), ==, once);
    avatar_weights_free (weights[i]);
  }
}

/* A failure is told to all who asked, and leaves nothing. */
static void
test_no_room (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarTransformerWeights) names
      = avatar_transformer_weights_new (&avatar_model_get_config (f->model)->transformer);

  avatar_device_set_budget (f->device, 4096);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (avatar_weights_new (f->model, f->device, AVATAR_COMPONENT_TRANSFORMER,
        names->list, NULL, AVATAR_WEIGHTS_LOAD, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  }
}

static AvatarDecoder *
new_decoder (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  AvatarDecoder *self = avatar_decoder_new (f->model, f->device, SIZE, SIZE, &tiled, &error);

  g_assert_no_error (error);
  return self;
}

static float *
latents (guint seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  float *z = g_new (float, N *LATENT);

  for (guint i = 0; i < N * LATENT; i++)
    z[i] = g_rand_double_range (rand, -1, 1);
  return z;
}

static void
pull_all (AvatarDecoder *self, GByteArray *frames)
{
  g_autoptr (GError) error = NULL;
  guint8 rgb[FRAME];

  while (avatar_decoder_pull (self, rgb, SIZE * 3, &error) == AVATAR_PULL_OK)
    g_byte_array_append (frames, rgb, FRAME);
  g_assert_no_error (error);
}

/* Gives @self its clip and takes the frames, some of both at a time. */
static void
step (AvatarDecoder *self, const float *z, guint i, GByteArray *frames)
{
  g_autoptr (GError) error = NULL;

  if (i < N)
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, &error));
  else if (i == N)
    g_assert_true (avatar_decoder_drain (self, &error));
  pull_all (self, frames);
}

static void
test_decoders (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDecoder) one = new_decoder (f);
  g_autofree float *a = latents (1), *b = latents (2);
  g_autoptr (GByteArray) alone_a = g_byte_array_new (), alone_b = g_byte_array_new ();
  g_autoptr (GByteArray) both_a = g_byte_array_new (), both_b = g_byte_array_new ();
  g_autoptr (AvatarDecoder) two = NULL;
  guint64 before = held (f);
  gsize scratch = avatar_scratch_get_size (avatar_device_get_scratch (f->device));

  for (guint i = 0; i <= N; i++)
    step (one, a, i, alone_a);
  avatar_decoder_reset (one);
  for (guint i = 0; i <= N; i++)
    step (one, b, i, alone_b);
  avatar_decoder_reset (one);
  two = new_decoder (f);
  g_assert_cmpuint (scratch, >, 0);
  g_assert_cmpuint (held (f), ==, 2 * before - scratch); /* no additional activations */
  for (guint i = 0; i <= N; i++) {
    step (one, a, i, both_a);
    step (two, b, i, both_b);
  }
  g_assert_cmpmem (both_a->data, both_a->len, alone_a->data, alone_a->len);
  g_assert_cmpmem (both_b->data, both_b->len, alone_b->data, alone_b->len);
}

static gpointer
decode_often (gpointer data)
{
  AvatarDecoder *self = data;
  g_autofree float *z = latents (3);
  GByteArray *frames = g_byte_array_new ();

  for (guint round = 0; round < 2; round++) {
    for (guint i = 0; i <= N; i++)
      step (self, z, i, frames);
    avatar_decoder_reset (self);
  }
  return frames;
}

static void
test_threads (Fixture *f, gconstpointer data)
{
  AvatarDecoder *decoders[3];
  GThread *threads[3];
  GByteArray *frames[3];

  for (guint i = 0; i < 3; i++)
    decoders[i] = new_decoder (f);
  for (guint i = 0; i < 3; i++)
    threads[i] = g_thread_new (NULL, decode_often, decoders[i]);
  for (guint i = 0; i < 3; i++)
    frames[i] = g_thread_join (threads[i]);
  for (guint i = 1; i < 3; i++)
    g_assert_cmpmem (frames[i]->data, frames[i]->len, frames[0]->data, frames[0]->len);
  for (guint i = 0; i < 3; i++) {
    g_byte_array_unref (frames[i]);
    avatar_decoder_free (decoders[i]);
  }
}

static gpointer
pull_cancelled (gpointer data)
{
  g_autoptr (GError) error = NULL;
  guint8 rgb[FRAME];

  g_assert_cmpint (avatar_decoder_pull (data, rgb, SIZE * 3, &error), ==, AVATAR_PULL_ERROR);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  return NULL;
}

/* A decoder that waits for the memory can be cancelled; else this never ends. */
static void
test_cancel (Fixture *f, gconstpointer data)
{
  AvatarScratch *scratch = avatar_device_get_scratch (f->device);
  g_autoptr (AvatarDecoder) self = new_decoder (f);
  g_autofree float *z = latents (4);
  g_autoptr (GError) error = NULL;
  const gint never = 0;
  GThread *thread;

  g_assert_nonnull (avatar_scratch_acquire (scratch, &never));
  for (guint i = 0; i < 5; i++)
    g_assert_true (avatar_decoder_push (self, z + i * LATENT, &error));
  thread = g_thread_new (NULL, pull_cancelled, self);
  g_usleep (50000);
  avatar_decoder_cancel (self);
  g_thread_join (thread);
  avatar_scratch_release (scratch);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, function) g_test_add ("/sharing/" name, Fixture, NULL, setup, function, teardown)
  ADD ("weights", test_weights);
  ADD ("no-room", test_no_room);
  ADD ("decoders", test_decoders);
  ADD ("threads", test_threads);
  ADD ("cancel", test_cancel);
  return g_test_run ();
}
