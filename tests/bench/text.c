/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text encoders: two prompts and a portrait under several budgets, as rows of a Markdown table.
 * Fails if the results are not bit-identical under all of them.
 *
 *   bench-text DEVICE MODEL DUMP BUDGET_MIB...
 *
 * BUDGET_MIB: 0: none; in ascending order, as the ledger's peak is that of all runs so far.
 * DUMP: file for tests/gpu/text.py with inputs and outputs: "NAME COUNT\n", then COUNT float32. */
#include "engine/image/vision.h"
#include "engine/device/device.h"
#include "engine/text/encoder.h"
#include "engine/model/config.h"
#include "tests/bench/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 512
/* Runs per budget; the faster one counts, as the first makes the libraries' plans. */
#define RUNS 2

static const char *const prompts[2]
    = { "A woman in a blue dress talks to the camera, smiles and nods.",
        "Aerial view, overexposed, low quality, deformation, bad hands, bad teeth" };

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarConfig *config;
  AvatarImage *image;
  guint hash; /* hash of the first run's results; 0: none yet */
  FILE *dump; /* NULL: written already */
} Bench;

static void
die (GError *error)
{
  g_printerr ("bench-text: %s\n", error->message);
  exit (EXIT_FAILURE);
}

/* No face, but neither flat nor noise. */
static AvatarImage *
make_portrait (void)
{
  g_autofree guint8 *pixels = g_malloc (SIDE * SIDE * 3);
  g_autoptr (GError) error = NULL;
  AvatarImage *image;

  for (guint i = 0; i < SIDE * SIDE; i++) {
    double x = (i % SIDE) / (double) SIDE, y = i / SIDE / (double) SIDE;

    pixels[3 * i] = 127 + 120 * sin (11 * x + 5 * y);
    pixels[3 * i + 1] = 127 + 120 * sin (40 * x * y);
    pixels[3 * i + 2] = i * 7 % 251;
  }
  image = avatar_image_new (SIDE, SIDE, 3, 3 * SIDE, pixels, &error);
  if (!image)
    die (error);
  return image;
}

/* ------------------------------------------------------------------------------------- the dump */

static void
put_floats (FILE *file, const char *name, const float *values, gsize n)
{
  if (fprintf (file, "%s %" G_GSIZE_FORMAT "\n", name, n) < 0
      || fwrite (values, sizeof (float), n, file) != n) {
    g_printerr ("bench-text: the dump cannot be written\n");
    exit (EXIT_FAILURE);
  }
}

static void
put_ids (FILE *file, const char *name, const gint32 *ids, gsize n)
{
  g_autofree float *values = g_new (float, n);

  for (gsize i = 0; i < n; i++)
    values[i] = ids[i];
  put_floats (file, name, values, n);
}

static void
put_square (Bench *b)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) square = avatar_vision_prepare (&b->config->llava, b->image, &error);
  gsize side = b->config->llava.image;
  g_autofree float *values = g_new (float, side *side * 3);

  if (!square)
    die (error);
  for (gsize i = 0; i < side * side * 3; i++)
    values[i] = square->data[i / (side * 3) * square->stride + i % (side * 3)];
  put_floats (b->dump, "square", values, side * side * 3);
}

static void
put_prompt (Bench *b, guint i, const AvatarEncoding *e)
{
  const gint32 numbers[] = { e->llava.length, e->llava.crop, b->config->llava.image_token,
    b->config->llava.pad_token, e->clip.eos };

  put_ids (b->dump, "numbers", numbers, G_N_ELEMENTS (numbers));
  put_ids (b->dump, i ? "ids_1" : "ids_0", e->llava.ids, e->llava.n);
  put_ids (b->dump, i ? "clip_1" : "clip_0", e->clip.ids, e->clip.n);
  put_floats (b->dump, i ? "states_1" : "states_0", e->states,
      (gsize) e->n * b->config->llava.hidden);
  put_floats (b->dump, i ? "pooled_1" : "pooled_0", e->pooled, b->config->clip.tower.hidden);
}

/* ----------------------------------------------------------------------------------------- runs */

/* FNV-1a, of values to the bit. */
static guint
hash_floats (guint hash, const float *values, gsize n)
{
  const guint8 *bytes = (const guint8 *) values;

  for (gsize i = 0; i < n * sizeof *values; i++)
    hash = (hash ^ bytes[i]) * 16777619u;
  return hash;
}

/* Seconds from the weights' files to the states, *@hash: (out): of these. */
static double
encode (Bench *b, guint *hash)
{
  const AvatarTextEncoderSettings settings
      = { { prompts[0], prompts[1] }, 2, FALSE, FALSE, { NULL, 0 } };
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTextEncoder) self
      = avatar_text_encoder_new (b->model, b->device, &settings, &error);
  g_autoptr (AvatarOps) ops = NULL;
  gint64 start = g_get_monotonic_time ();
  AvatarTextEncoderRequirements required;
  AvatarArena *arena;
  double seconds;

  if (!self)
    die (error);
  avatar_text_encoder_plan (self, G_MAXUINT64, &required);
  arena = avatar_arena_new (b->device, required.arena_bytes, "the bench", &error);
  ops = arena ? avatar_ops_new (b->device, arena, &error) : NULL;
  if (!ops || !avatar_text_encoder_run (self, ops, b->image, NULL, NULL, &error))
    die (error);
  seconds = (g_get_monotonic_time () - start) * 1e-6;
  *hash = 2166136261u;
  for (guint i = 0; i < settings.n_prompts; i++) {
    const AvatarEncoding *e = avatar_text_encoder_get_encoding (self, i);

    *hash = hash_floats (*hash, e->states, (gsize) e->n * b->config->llava.hidden);
    *hash = hash_floats (*hash, e->pooled, b->config->clip.tower.hidden);
    if (b->dump)
      put_prompt (b, i, e);
  }
  if (b->dump && fclose (b->dump) != 0)
    g_printerr ("bench-text: the dump cannot be written\n");
  b->dump = NULL;
  return seconds;
}

static gboolean
run_row (Bench *b, guint64 mib)
{
  g_autoptr (Watch) watch = watch_new (b->device);
  g_autofree char *title
      = mib ? g_strdup_printf ("budget %" G_GUINT64_FORMAT " MiB", mib) : g_strdup ("no budget");
  gboolean first = b->hash == 0, same = TRUE;
  double first_seconds = 0, seconds = INFINITY;
  g_autofree char *driver = NULL, *host = NULL;
  AvatarMemory memory;
  WatchPeaks peaks;

  avatar_device_set_budget (b->device, mib << 20);
  for (guint i = 0; i < RUNS; i++) {
    guint hash;
    double t = encode (b, &hash);

    first_seconds = i ? first_seconds : t;
    seconds = MIN (seconds, t);
    b->hash = b->hash ? b->hash : hash;
    same &= hash == b->hash;
  }
  avatar_device_get_memory (b->device, &memory);
  watch_get (watch, &peaks);
  driver = peaks.gpu ? g_strdup_printf ("%.0f MiB", peaks.gpu / 1048576.) : g_strdup ("");
  host = peaks.host ? g_strdup_printf ("%.0f MiB", peaks.host / 1048576.) : g_strdup ("");
  g_print ("| gst-avatar, %s | %.2f s | %.2f s | %.0f MiB | %s | %s | %s |\n", title, first_seconds,
      seconds, memory.peak / 1048576., driver, host,
      !same       ? "OTHERS"
          : first ? ""
                  : "the same");
  return same;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Bench b = { 0 };
  gboolean same = TRUE;

  if (argc < 5) {
    g_printerr ("bench-text DEVICE MODEL DUMP BUDGET_MIB...\n");
    return EXIT_FAILURE;
  }
  b.device = avatar_device_open (argv[1], &error);
  b.model = b.device ? avatar_model_open (argv[2], &error) : NULL;
  if (!b.model)
    die (error);
  b.config = avatar_model_get_config (b.model);
  b.image = make_portrait ();
  b.dump = fopen (argv[3], "wb");
  if (!b.dump) {
    g_printerr ("bench-text: %s cannot be written\n", argv[3]);
    return EXIT_FAILURE;
  }
  put_square (&b);
  g_print (
      "| two prompts and a portrait | first time | again | peak by the ledger | by the driver | of the host "
      "| bits |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n");
  for (int i = 4; i < argc; i++)
    same &= run_row (&b, g_ascii_strtoull (argv[i], NULL, 10));
  avatar_image_free (b.image);
  avatar_model_unref (b.model);
  avatar_device_unref (b.device);
  return same ? EXIT_SUCCESS : EXIT_FAILURE;
}
