/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Noise from files, initial and of the posterior: accepted and refused files, and their effect. */
#include "engine/denoise/noise-file.h"
#include "engine/denoise/sampler.h"
#include "engine/formats/tensor-writer.h"
#include "tests/unit/tree-fixture.h"

#include <glib/gstdio.h>
#include <string.h>

static const gint64 shape[4] = { 2, 2, 2, 3 };

static char *
corpus (const char *file)
{
  return g_build_filename (CORPUS_DIR, "noise-file", file, NULL);
}

static void
accept (const char *file, guint frames)
{
  g_autofree char *path = corpus (file);
  g_autoptr (GError) error = NULL;
  g_auto (AvatarNoiseFile) given = { 0 };
  float z[2 * 2 * 6] = { 0 };

  avatar_noise_file_load (&given, path, "noise", shape, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (given.frames, ==, frames);
  for (guint i = 0; i < 2 * frames * 6; i++)
    g_assert_cmpfloat (given.values[i], ==, i / 4.f);
  avatar_noise_file_copy (&given, frames - 1, z, 2, 2, 1, 6);
  for (guint c = 0; c < 2; c++)
    for (guint i = 0; i < 6; i++) {
      g_assert_cmpfloat (z[(2 * c + 1) * 6 + i], ==, ((c * frames + frames - 1) * 6 + i) / 4.f);
      g_assert_cmpfloat (z[2 * c * 6 + i], ==, 0);
    }
}

static void
test_read (void)
{
  accept ("alone.pt", 3);
  accept ("dict.pt", 2);
  accept ("good.safetensors", 2);
}

static void
refuse (const char *file, gint code, const char *text)
{
  g_autofree char *path = corpus (file);
  g_autoptr (GError) error = NULL;
  g_auto (AvatarNoiseFile) given = { 0 };

  g_assert_false (avatar_noise_file_load (&given, path, "posterior-noise", shape, &error));
  g_assert_null (given.values);
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, text) || !strstr (error->message, file))
    g_error ("expected \"%s\" in \"%s\"", text, error->message);
}

static void
test_refuse (void)
{
  static const char *const odd[] = { "few", "other", "batch", "flat", "whole" };

  for (guint i = 0; i < G_N_ELEMENTS (odd); i++) {
    g_autofree char *file = g_strconcat (odd[i], ".safetensors", NULL);

    refuse (file, AVATAR_ERROR_MISMATCH, "for posterior-noise a tensor of floats [2, T, 2, 3]");
  }
  refuse ("two.pt", AVATAR_ERROR_MISMATCH, "the file has 2 tensors");
  refuse ("none.safetensors", AVATAR_ERROR_MISMATCH, "the file has 0 tensors");
  /* another order in storage, which is valid; with another shape, which is not */
  refuse ("turned.pt", AVATAR_ERROR_MISMATCH, "the tensor is [1, 3, 2, 2, 3] float16");
  refuse ("infinite.safetensors", AVATAR_ERROR_DATA, "NaN or infinite");
  refuse ("nowhere.pt", AVATAR_ERROR_NOT_FOUND, "posterior-noise: ");
}

static void
fill_noise (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  memcpy (out, (const float *) data + first, n * sizeof (float));
}

/* Seeded noise of frames @first and on, as a file. */
static char *
write_seeded (const char *folder, guint64 seed, guint64 first)
{
  gsize cells = (FOLDER_SIZE / 8) * (FOLDER_SIZE / 8);
  char *path = g_build_filename (folder, "noise.safetensors", NULL);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  AvatarNamedTensor t = { "noise",
    avatar_tensor (AVATAR_F32, NULL, 4, (gint64) 16, (gint64) FOLDER_CHUNK,
        (gint64) FOLDER_SIZE / 8, (gint64) FOLDER_SIZE / 8) };
  g_autofree float *all = g_new (float, FOLDER_VALUES);
  g_autofree float *one = g_new (float, 16 * cells);

  for (guint j = 0; j < FOLDER_CHUNK; j++) {
    avatar_noise_fill (one, 16 * cells, seed, first + j);
    for (guint c = 0; c < 16; c++)
      memcpy (all + (c * FOLDER_CHUNK + j) * cells, one + c * cells, cells * sizeof (float));
  }
  g_array_append_val (list, t);
  g_assert_true (avatar_write_safetensors (path, list, fill_noise, all, NULL));
  return path;
}

static float *
denoise (AvatarModel *model, const FolderRun *run)
{
  g_autoptr (GError) error = NULL;
  float *out = folder_denoise (model, run, &error);

  g_assert_no_error (error);
  return out;
}

static void
assert_same (const float *a, const float *b)
{
  g_assert_cmpmem (a, FOLDER_VALUES * sizeof (float), b, FOLDER_VALUES * sizeof (float));
}

/* A file with a seed's noise gives the same result as the seed, on the CPU and on a device. */
static void
test_run (gconstpointer device)
{
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *path = write_seeded (folder, 1024, 0);
  g_autoptr (AvatarModel) model = folder_open (AVATAR_MODEL_DIR);
  FolderRun seeded = { .device = device, .used = FOLDER_TEXT }, given = seeded, upstream = seeded;
  g_autofree float *a = denoise (model, &seeded), *b = NULL, *c = NULL;

  given.noise_file = path;
  b = denoise (model, &given);
  assert_same (a, b);
  upstream.upstream_rounding = TRUE;
  c = denoise (model, &upstream);
  g_assert_cmpfloat (folder_difference (a, c, FOLDER_VALUES), <, 2e-2);
  g_assert_cmpfloat (folder_difference (a, c, FOLDER_VALUES), >, 1e-5);
  g_unlink (path);
  g_rmdir (folder);
}

static void
test_posterior (gconstpointer device)
{
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *path = write_seeded (folder, 1024, (guint64) 1 << 63);
  g_autoptr (AvatarModel) model = folder_open (AVATAR_MODEL_DIR);
  FolderRun mean = { .device = device, .used = FOLDER_TEXT }, mode = mean, seeded = mean,
            given = mean;
  g_autofree float *a = denoise (model, &mean), *b = NULL, *c = NULL, *d = NULL;

  mode.posterior_noise = "mode";
  b = denoise (model, &mode);
  assert_same (a, b);
  seeded.posterior_noise = "seeded";
  c = denoise (model, &seeded);
  g_assert_cmpfloat (folder_difference (a, c, FOLDER_VALUES), >, 1e-5);
  given.posterior_noise = path;
  d = denoise (model, &given);
  assert_same (c, d);
  g_unlink (path);
  g_rmdir (folder);
}

static void
test_settings (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = folder_open (AVATAR_MODEL_DIR);
  float nothing = 0;
  FolderRun both = { .device = "cpu", .used = FOLDER_TEXT, .noise_file = "x", .noise = &nothing };
  FolderRun nowhere = { .device = "cpu", .used = FOLDER_TEXT, .posterior_noise = "/nowhere" };
  g_autofree char *path = corpus ("good.safetensors");
  FolderRun other = { .device = "cpu", .used = FOLDER_TEXT, .noise_file = path };

  g_assert_null (folder_denoise (model, &both, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (folder_denoise (model, &nowhere, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_clear_error (&error);
  g_assert_null (folder_denoise (model, &other, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "[16, T, 8, 8]"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/noise-file/read", test_read);
  g_test_add_func ("/noise-file/refuse", test_refuse);
  g_test_add_func ("/noise-file/settings", test_settings);
  g_test_add_data_func ("/noise-file/run/cpu", "cpu", test_run);
  g_test_add_data_func ("/noise-file/run/device", "sim:512", test_run);
  g_test_add_data_func ("/noise-file/posterior/cpu", "cpu", test_posterior);
  g_test_add_data_func ("/noise-file/posterior/device", "sim:512", test_posterior);
  return g_test_run ();
}
