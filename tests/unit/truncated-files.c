/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weight files that break: cut short while they are mapped, and with values that are not finite.
 * Every stage ends with one error that names the tensor, and the process lives. */
#include "engine/device/device.h"
#include "engine/backends/fake/fake.h"
#include "engine/formats/mapped-file.h"
#include "engine/formats/safetensors.h"

#include <avatar/avatar.h>

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define SIZE 64
#define CHUNK 3
#define FRAMES (4 * CHUNK - 3)
#define MIB ((guint64) 1 << 20)

static const char *const files[] = { "config.json", "transformer.safetensors", "vae.safetensors",
  "whisper_encoder.safetensors", "text_stub.safetensors" };

/* A copy of the demo model that may be damaged. */
typedef struct
{
  char *folder;
  AvatarModel *model;
  AvatarDevice *device;
  AvatarDenoiseSettings settings;
  float feature; /* value of all features */
} Fixture;

static char *
path_of (Fixture *f, const char *file)
{
  return g_build_filename (f->folder, file, NULL);
}

/* The demo model's own @file. */
static void
restore (Fixture *f, const char *file)
{
  g_autofree char *from = g_build_filename (AVATAR_PLAIN_DIR, file, NULL);
  g_autofree char *to = path_of (f, file);
  g_autofree char *data = NULL;
  gsize length;

  g_assert_true (g_file_get_contents (from, &data, &length, NULL));
  g_assert_true (g_file_set_contents (to, data, length, NULL));
}

static void
setup (Fixture *f, gconstpointer device)
{
  g_autoptr (GError) error = NULL;

  f->folder = g_dir_make_tmp ("avatar-test-XXXXXX", &error);
  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    restore (f, files[i]);
  f->device = avatar_device_open (device, &error);
  g_assert_no_error (error);
  f->feature = 0.1f;
}

static void
teardown (Fixture *f, gconstpointer device)
{
  AvatarMemory memory;

  avatar_device_get_memory (f->device, &memory);
  g_assert_cmpuint (memory.now, ==, strcmp (device, "cpu") == 0 ? 0 : AVATAR_FAKE_OVERHEAD);
  g_assert_cmpuint (avatar_fake_count_memory (), ==, 0); /* no leak */
  g_clear_pointer (&f->model, avatar_model_unref);
  avatar_device_unref (f->device);
  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    g_autofree char *path = path_of (f, files[i]);

    g_remove (path);
  }
  g_rmdir (f->folder);
  g_free (f->folder);
}

static void
open_model (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  f->model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error);
  avatar_denoise_settings_init (&f->settings, f->model);
  f->settings.width = f->settings.height = SIZE;
  f->settings.window_latents = CHUNK;
  f->settings.overlap = 1;
  f->settings.steps = 3;
  f->settings.mode = AVATAR_DENOISE_MODE_STREAM;
}

/* The first value of @tensor in @file becomes a NaN; all are float32 or bfloat16 there. */
static void
poison (Fixture *f, const char *file, const char *tensor)
{
  g_autofree char *path = path_of (f, file);
  g_autoptr (AvatarSafetensors) table = avatar_safetensors_open (path, NULL);
  const guint16 nan[2] = { 0x0000, 0x7fc0 }; /* NaN as a whole, or in its second half */
  gboolean wide;
  g_autofree char *data = NULL;
  AvatarTensorSource t;
  gsize length;

  g_assert_true (avatar_safetensors_get (table, tensor, &t));
  wide = t.dtype == AVATAR_F32;
  g_assert_true (wide || t.dtype == AVATAR_BF16);
  g_assert_true (g_file_get_contents (path, &data, &length, NULL));
  memcpy (data + t.offset, wide ? nan : nan + 1, wide ? sizeof nan : sizeof *nan);
  g_assert_true (g_file_set_contents (path, data, length, NULL));
}

static void
cut (Fixture *f, const char *file, guint64 bytes)
{
  g_autofree char *path = path_of (f, file);

  g_assert_cmpint (truncate (path, bytes), ==, 0);
}

static AvatarDenoiser *
start (Fixture *f, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);
  g_autofree guint8 *pixels = g_malloc0 (SIZE * SIZE * 3);
  g_autoptr (AvatarImage) image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_new (f->model, f->device, &f->settings, error);

  if (!self || !avatar_denoiser_set_reference (self, image, error))
    return NULL;
  for (gsize i = 0; i < n; i++)
    features[i] = f->feature;
  for (guint i = 0; i < FRAMES; i++)
    if (!avatar_denoiser_push (self, features, error))
      return NULL;
  g_assert_true (avatar_denoiser_drain (self, NULL));
  return g_steal_pointer (&self);
}

/* The first latent frame, or NULL with @error. */
static float *
denoise (Fixture *f, GError **error)
{
  g_autofree float *latent = g_new (float, 16 * (SIZE / 8) * (SIZE / 8));
  g_autoptr (AvatarDenoiser) self = start (f, error);

  if (self && avatar_denoiser_pull (self, latent, error) == AVATAR_PULL_OK)
    return g_steal_pointer (&latent);
  return NULL;
}

static gboolean
decode (Fixture *f, float value, GError **error)
{
  const gsize n = 16 * (SIZE / 8) * (SIZE / 8);
  g_autofree float *latent = g_new (float, n);
  g_autofree guint8 *rgb = g_malloc (SIZE * SIZE * 3);
  AvatarDecodeSettings settings;
  g_autoptr (AvatarDecoder) self = NULL;

  avatar_decode_settings_init (&settings, f->model);
  self = avatar_decoder_new (f->model, f->device, SIZE, SIZE, &settings, error);
  if (!self)
    return FALSE;
  for (gsize i = 0; i < n; i++)
    latent[i] = value;
  g_assert_true (avatar_decoder_push (self, latent, NULL));
  g_assert_true (avatar_decoder_drain (self, NULL));
  return avatar_decoder_pull (self, rgb, SIZE * 3, error) == AVATAR_PULL_OK;
}

static gboolean
hear (Fixture *f, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  AvatarAudioSettings settings = { .context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT };
  g_autofree float *samples = g_new0 (float, info->sample_rate);
  g_autofree float *features
      = g_new (float, info->feature_steps * info->feature_states * info->feature_channels);
  g_autoptr (AvatarAudioEncoder) self
      = avatar_audio_encoder_new (f->model, f->device, &settings, error);

  if (!self)
    return FALSE;
  g_assert_true (avatar_audio_encoder_push (self, samples, info->sample_rate, NULL));
  g_assert_true (avatar_audio_encoder_drain (self, NULL));
  return avatar_audio_encoder_pull (self, features, error) == AVATAR_PULL_OK;
}

static void
expect (GError **error, gint code, const char *first, const char *second)
{
  g_assert_error (*error, AVATAR_ERROR, code);
  g_test_message ("%s", (*error)->message);
  if (!strstr ((*error)->message, first) || !strstr ((*error)->message, second))
    g_error ("expected \"%s\" and \"%s\" in \"%s\"", first, second, (*error)->message);
  g_clear_error (error);
}

/* Both ways, over a page that is there and one that is not. */
static void
test_mapped (Fixture *f, gconstpointer data)
{
  gboolean (*const ways[]) (void *, const void *, gsize)
      = { avatar_mapped_read, avatar_mapped_read_by_pipe };
  g_autofree char *path = path_of (f, "vae.safetensors");
  g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, NULL);
  const char *mapped = g_mapped_file_get_contents (file);
  gsize size = g_mapped_file_get_length (file);
  g_autofree char *whole = NULL;
  g_autofree char *copy = g_malloc0 (size);

  g_assert_true (g_file_get_contents (path, &whole, NULL, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
    memset (copy, 0, size);
    g_assert_true (ways[i](copy, mapped, size));
    g_assert_cmpmem (copy, size, whole, size);
    g_assert_true (ways[i](copy, mapped, 0));
  }
  cut (f, "vae.safetensors", 65536);
  for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
    memset (copy, 0, size);
    g_assert_true (ways[i](copy, mapped, 65536));
    g_assert_cmpmem (copy, 65536, whole, 65536);
    g_assert_false (ways[i](copy, mapped, size));
    g_assert_false (ways[i](copy, mapped + size - 1, 1));
  }
}

/* Cut before a stage reads its weights. */
static void
test_cut_before (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  open_model (f);
  cut (f, "transformer.safetensors", MIB);
  g_assert_null (denoise (f, &error));
  expect (&error, AVATAR_ERROR_READ, "transformer.safetensors", "cut short");
  cut (f, "whisper_encoder.safetensors", 65536);
  g_assert_false (hear (f, &error));
  expect (&error, AVATAR_ERROR_READ, "whisper_encoder.safetensors", "cut short");
  cut (f, "vae.safetensors", 65536);
  g_assert_false (decode (f, 0, &error));
  expect (&error, AVATAR_ERROR_READ, "vae.safetensors", "cut short");
  cut (f, "text_stub.safetensors", 0);
  g_assert_null (denoise (f, &error));
  expect (&error, AVATAR_ERROR_READ, "text_stub.safetensors", "cut short");
}

/* Cut under a denoiser that exists. On the CPU it has all that it needs; a GPU's streams on from
 * the file where host memory was not to be used. */
static void
test_cut_during (Fixture *f, gconstpointer device)
{
  g_autoptr (AvatarDenoiser) self = NULL;
  g_autofree float *latent = g_new (float, 16 * (SIZE / 8) * (SIZE / 8));
  GError *error = NULL;

  open_model (f);
  f->settings.pinned_bytes = 0;
  if (strcmp (device, "cpu") != 0)
    avatar_device_set_budget (f->device, 18 * MIB);
  self = start (f, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    cut (f, files[i], 0);
  if (strcmp (device, "cpu") == 0) {
    g_assert_cmpint (avatar_denoiser_pull (self, latent, &error), ==, AVATAR_PULL_OK);
    g_assert_no_error (error);
  } else {
    g_assert_cmpint (avatar_denoiser_pull (self, latent, &error), ==, AVATAR_PULL_ERROR);
    expect (&error, AVATAR_ERROR_READ, "transformer.safetensors", "cut short");
  }
}

#define MATRIX "single_blocks.3.linear1.weight"

static void
test_nan_in_transformer (Fixture *f, gconstpointer device)
{
  GError *error = NULL;

  poison (f, "transformer.safetensors", MATRIX);
  open_model (f);
  g_assert_null (denoise (f, &error));
  g_assert_nonnull (strstr (error->message, "transformer.safetensors"));
  expect (&error, AVATAR_ERROR_FORMAT, "step 1 of 3 of window 1", "\"" MATRIX "\"");
  f->settings.mode = AVATAR_DENOISE_MODE_CLIP;
  g_assert_null (denoise (f, &error));
  expect (&error, AVATAR_ERROR_FORMAT, "step 1 of 3 of window 1", "\"" MATRIX "\"");
}

/* Rounded to 8 bits they would look sound. */
static void
test_nan_quantised (Fixture *f, gconstpointer device)
{
  const AvatarWeightFormat formats[] = { AVATAR_WEIGHT_FORMAT_FP8, AVATAR_WEIGHT_FORMAT_INT8 };
  GError *error = NULL;

  poison (f, "transformer.safetensors", MATRIX);
  open_model (f);
  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    f->settings.weight_format = formats[i];
    g_assert_null (denoise (f, &error));
    expect (&error, AVATAR_ERROR_FORMAT, "transformer.safetensors", "\"" MATRIX "\"");
  }
}

static void
test_nan_elsewhere (Fixture *f, gconstpointer device)
{
  GError *error = NULL;

  /* in front of a ReLU, which must not swallow it */
  poison (f, "transformer.safetensors", "audio_proj.proj1.weight");
  open_model (f);
  g_assert_null (denoise (f, &error));
  expect (&error, AVATAR_ERROR_FORMAT, "step 1 of 3", "\"audio_proj.proj1.weight\"");
  g_clear_pointer (&f->model, avatar_model_unref);
  restore (f, "transformer.safetensors");

  poison (f, "vae.safetensors", "encoder.conv_out.conv.weight");
  open_model (f);
  g_assert_null (denoise (f, &error)); /* by way of the portrait */
  expect (&error, AVATAR_ERROR_FORMAT, "step 1 of 3", "\"encoder.conv_out.conv.weight\"");
  g_clear_pointer (&f->model, avatar_model_unref);

  poison (f, "vae.safetensors", "decoder.conv_out.conv.weight");
  poison (f, "whisper_encoder.safetensors", "layers.1.fc2.weight");
  open_model (f);
  g_assert_false (decode (f, 0, &error));
  expect (&error, AVATAR_ERROR_FORMAT, "tile 1", "\"decoder.conv_out.conv.weight\"");
  g_assert_false (hear (f, &error));
  expect (&error, AVATAR_ERROR_FORMAT, "audio encoder", "\"layers.1.fc2.weight\"");
}

/* All weights are finite. */
static void
test_nan_in_data (Fixture *f, gconstpointer device)
{
  const gsize n = 16 * CHUNK * (SIZE / 8) * (SIZE / 8);
  g_autofree float *noise = g_new (float, n);
  GError *error = NULL;

  open_model (f);
  g_assert_false (decode (f, NAN, &error));
  expect (&error, AVATAR_ERROR_DATA, "tile 1", "the latents contain NaN");
  f->feature = NAN;
  g_assert_null (denoise (f, &error));
  expect (&error, AVATAR_ERROR_DATA, "video frame 0", "audio features");
  f->feature = 0.1f;
  for (gsize i = 0; i < n; i++)
    noise[i] = INFINITY;
  f->settings.noise = noise;
  f->settings.noise_latents = CHUNK;
  g_assert_null (denoise (f, &error));
  expect (&error, AVATAR_ERROR_DATA, "step 1 of 3 of window 1", "all weights are finite");
}

#define ADD(name, device) \
  g_test_add ("/truncated-files/" #name "/" device, Fixture, device, setup, test_##name, teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (mapped, "cpu");
  ADD (cut_before, "cpu");
  ADD (cut_before, "sim:512");
  ADD (cut_during, "cpu");
  ADD (cut_during, "sim:512");
  ADD (nan_in_transformer, "cpu");
  ADD (nan_in_transformer, "sim:512");
  ADD (nan_quantised, "sim:512");
  ADD (nan_elsewhere, "cpu");
  ADD (nan_in_data, "cpu");
  ADD (nan_in_data, "sim:512");
  return g_test_run ();
}
