/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every combination of settings on a GPU, at sizes, window lengths, lengths of text and budgets
 * that no benchmark uses. Each cell of the matrix must be planned, run as planned and give
 * finite results; what the plan refuses the run must refuse, too. The same bits are expected
 * under every budget, and results close to the CPU's where the CPU takes no minutes. Skipped
 * without a GPU.
 *
 *   gpu-matrix [--device DEVICE] [--only TEXT] [MODEL]
 *
 * TEXT: runs only cells whose name contains it.
 * DEVICE: default cuda. MODEL: default the environment's AVATAR_MODEL. tests/gpu/full runs it on
 * random weights of the released widths with few blocks. */
#include "engine/device/device.h"
#include "engine/model/config.h"
#include "engine/model/random-weights.h"

#include <avatar/avatar.h>
#include <math.h>
#include <string.h>

#define MIB ((guint64) 1 << 20)
/* Work that takes the CPU seconds: pixels of all frames times squared width of the transformer. */
#define CPU_PIXELS (256 * 1024)
#define CPU_WORK 2e11

static const guint sizes[][2] = { { 128, 128 }, { 208, 336 }, { 144, 1008 }, { 256, 1024 },
  { 384, 384 }, { 448, 832 }, { 512, 512 }, { 560, 560 }, { 640, 368 }, { 704, 768 }, { 768, 704 },
  { 1216, 704 }, { 720, 1280 }, { 1280, 720 } };
static const guint lengths[] = { 1, 2, 3, 5, 9, 17, 21 };
static const guint rows_of_text[]
    = { 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 256, 257, 831 };
static const char *const tilings[] = { "exact", "fast", "off" };
static const char *const precisions[] = { "auto", "fp8" };
static const char *const formats[] = { "stored", "fp8", "int8" };
static const char *const caches[] = { "none", "upstream", "adaptive" };

static AvatarModel *model;
static AvatarDevice *gpu, *cpu;
static const char *device_name = "cuda", *only;
static guint n_cells, n_refused, n_failed;

/* ------------------------------------------------------------------------------------- inputs */

static float *
random_floats (gsize n, guint64 stream, double width)
{
  AvatarRandom random = { .stream = stream, .width = width };
  float *out = g_new (float, n);

  avatar_random_fill (&random, 0, n, AVATAR_F32, out);
  return out;
}

/* Counts the cell @name and prints its result. @error: (transfer full): error of a failed run. */
static void tell (const char *name, GError *error, const char *format, ...) G_GNUC_PRINTF (3, 4);

static void
tell (const char *name, GError *error, const char *format, ...)
{
  g_autofree char *found = NULL;
  va_list args;

  n_cells++;
  n_failed += error != NULL;
  va_start (args, format);
  found = g_strdup_vprintf (format, args);
  va_end (args);
  g_print ("# %-58s %s%s\n", name, error ? "FAILED: " : found, error ? error->message : "");
  g_clear_error (&error);
}

static void expect (gboolean ok, GError **error, const char *format, ...) G_GNUC_PRINTF (3, 4);

static void
expect (gboolean ok, GError **error, const char *format, ...)
{
  va_list args;

  if (ok || *error)
    return;
  va_start (args, format);
  *error = g_error_new_valist (AVATAR_ERROR, AVATAR_ERROR_DATA, format, args);
  va_end (args);
}

/* Returns TRUE if --only excludes the cell. */
static gboolean
is_skipped (const char *name)
{
  return only && !strstr (name, only);
}

/* ------------------------------------------------------------------------------------ decoder */

typedef struct
{
  guint width, height, latents, tiling;
} Decode;

static AvatarDecodeSettings
decode_settings (const Decode *cell)
{
  AvatarDecodeSettings settings;

  avatar_decode_settings_init (&settings, model);
  if (cell->tiling == 1)
    avatar_decode_settings_fast (&settings, model, cell->width, cell->height);
  settings.tiling = cell->tiling != 2;
  return settings;
}

static GByteArray *
decode (const Decode *cell, AvatarDevice *device, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  AvatarDecodeSettings settings = decode_settings (cell);
  gsize latent = (gsize) info->latent_channels * (cell->width / info->latent_scale)
      * (cell->height / info->latent_scale);
  gsize frame = (gsize) cell->width * cell->height * 3;
  g_autofree float *latents = random_floats (cell->latents * latent, 3, 1.7);
  g_autofree guint8 *rgb = g_malloc (frame);
  g_autoptr (GByteArray) out = g_byte_array_new ();
  g_autoptr (AvatarDecoder) self
      = avatar_decoder_new (model, device, cell->width, cell->height, &settings, error);
  AvatarPull pull;

  if (!self)
    return NULL;
  for (guint i = 0; i < cell->latents; i++)
    if (!avatar_decoder_push (self, latents + i * latent, error))
      return NULL;
  if (!avatar_decoder_drain (self, error))
    return NULL;
  while (pull = avatar_decoder_pull (self, rgb, (gsize) cell->width * 3, error),
      pull == AVATAR_PULL_OK)
    g_byte_array_append (out, rgb, frame);
  return pull == AVATAR_PULL_ERROR ? NULL : g_steal_pointer (&out);
}

static double
psnr (const GByteArray *a, const GByteArray *b)
{
  double error = 0;

  for (guint i = 0; i < a->len && i < b->len; i++)
    error += (a->data[i] - b->data[i]) * (a->data[i] - b->data[i]);
  return a->len != b->len ? 0 : error > 0 ? 10 * log10 (255. * 255. * a->len / error) : 99;
}

/* The plan of a clip that @decode cuts; %FALSE: refused. */
static gboolean
plan (const AvatarDenoiseSettings *denoise, const AvatarDecodeSettings *decode, guint frames,
    guint64 budget, AvatarPlan *out, GError **error)
{
  AvatarPlanOptions options;

  avatar_plan_options_init (&options);
  options.budget_bytes = budget;
  return avatar_plan_make (model, device_name, denoise, decode, frames, &options, out, error)
      && (out->fits
          || (g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY, "the plan does not fit"),
              FALSE));
}

static void
decode_cell (const Decode *cell)
{
  g_autofree char *name = g_strdup_printf ("decode %ux%u, %u latents, %s", cell->width,
      cell->height, cell->latents, tilings[cell->tiling]);
  AvatarDecodeSettings settings = decode_settings (cell);
  AvatarDenoiseSettings denoise;
  guint frames = 4 * cell->latents - 3;
  g_autoptr (GError) refused = NULL;
  GError *error = NULL;
  g_autoptr (GByteArray) out = NULL, truth = NULL;
  AvatarPlan planned;
  gboolean possible;

  if (is_skipped (name))
    return;
  avatar_denoise_settings_init (&denoise, model);
  denoise.width = cell->width;
  denoise.height = cell->height;
  possible = plan (&denoise, &settings, frames, 0, &planned, &refused);
  out = decode (cell, gpu, &error);
  if (!possible && !out) {
    g_clear_error (&error);
    n_refused++;
    tell (name, NULL, "refused: %s", refused->message);
    return;
  }
  expect (possible, &error, "the plan refused what ran (%s)", refused ? refused->message : "");
  if (out)
    expect (out->len == frames * cell->width * cell->height * 3, &error, "%u bytes came out",
        out->len);
  if (!error && frames * cell->width * cell->height <= CPU_PIXELS / 4) {
    truth = decode (cell, cpu, &error);
    if (truth)
      expect (psnr (out, truth) >= 45, &error, "%.1f dB from the CPU's frames", psnr (out, truth));
  }
  tell (name, error, truth ? "%.1f dB from the CPU" : "ok", truth ? psnr (out, truth) : 0);
}

/* The smallest budget that is planned, which must do and give the same bits, and less, which must
 * be refused. */
static void
decode_budget_cell (const Decode *cell)
{
  g_autofree char *name = g_strdup_printf ("decode %ux%u, %u latents, %s, smallest budget",
      cell->width, cell->height, cell->latents, tilings[cell->tiling]);
  guint64 most = 0, least = 0, step;
  GError *error = NULL;
  g_autoptr (GByteArray) free_run = is_skipped (name) ? NULL : decode (cell, gpu, &error);
  AvatarMemory memory;

  if (is_skipped (name))
    return;
  if (!free_run) {
    tell (name, error, " ");
    return;
  }
  avatar_device_get_memory (gpu, &memory);
  most = memory.peak;
  least = memory.now;
  for (step = (most - least) / 2; step >= 4 * MIB; step /= 2) {
    guint64 budget = least + step;
    g_autoptr (GByteArray) out = NULL;
    g_autoptr (GError) reason = NULL;

    avatar_device_set_budget (gpu, budget);
    out = decode (cell, gpu, &reason);
    avatar_device_set_budget (gpu, 0);
    if (out)
      expect (out->len == free_run->len && memcmp (out->data, free_run->data, out->len) == 0,
          &error, "other bits in %" G_GUINT64_FORMAT " MiB", budget / MIB);
    else
      expect (g_error_matches (reason, AVATAR_ERROR, AVATAR_ERROR_MEMORY), &error, "%s",
          reason->message);
    if (out)
      most = budget;
    else
      least = budget;
    avatar_device_get_memory (gpu, &memory);
    expect (memory.now <= budget, &error, "more than the budget is held");
  }
  tell (name, error, "the same bits down to %" G_GUINT64_FORMAT " MiB", most / MIB);
}

static void
test_decoder (void)
{
  for (guint tiling = 0; tiling < G_N_ELEMENTS (tilings); tiling++) {
    decode_cell (&(Decode){ 112, 80, 2, tiling });
    for (guint s = 0; s < G_N_ELEMENTS (sizes); s++)
      decode_cell (&(Decode){ sizes[s][0], sizes[s][1], 9, tiling });
    for (guint l = 0; l < G_N_ELEMENTS (lengths); l++)
      decode_cell (&(Decode){ 208, 336, lengths[l], tiling });
    decode_budget_cell (&(Decode){ 448, 832, 9, tiling });
  }
}

/* ----------------------------------------------------------------------------------- denoiser */

typedef struct
{
  guint width, height, chunk, rows; /* rows of text; 0: the model's longest */
  guint precision, format, cache, steps;
  double guidance;
} Denoise;

static char *
denoise_name (const Denoise *c)
{
  return g_strdup_printf ("denoise %ux%u x %u, text %u, %s %s %s, guidance %g", c->width, c->height,
      c->chunk, c->rows, precisions[c->precision], formats[c->format], caches[c->cache],
      c->guidance);
}

/* Memory that the settings of a cell point to. */
typedef struct
{
  float *states, *pooled;
  AvatarTextStates texts[2];
} Texts;

static void
texts_clear (Texts *self)
{
  g_free (self->states);
  g_free (self->pooled);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Texts, texts_clear)

static AvatarDenoiseSettings
denoise_settings (const Denoise *c, Texts *texts)
{
  const AvatarConfig *config = avatar_model_get_config (model);
  guint rows = c->rows ? MIN (c->rows, config->text.max_states) : config->text.max_states;
  AvatarDenoiseSettings s;

  avatar_denoise_settings_init (&s, model);
  texts->states = random_floats ((gsize) rows * config->transformer.text_dim, 5, 1);
  texts->pooled = random_floats (config->transformer.pooled_dim, 6, 1);
  for (guint i = 0; i < 2; i++)
    texts->texts[i] = (AvatarTextStates){ .states = texts->states,
      .pooled = texts->pooled,
      .n = rows,
      .used = i ? MAX (1, rows / 2) : rows };
  s.text_states = texts->texts;
  s.width = c->width;
  s.height = c->height;
  s.mode = AVATAR_DENOISE_MODE_STREAM;
  s.window_latents = c->chunk;
  s.overlap = 1;
  s.steps = c->steps;
  s.guidance_scale = c->guidance;
  s.precision = c->precision;
  s.weight_format = c->format;
  s.step_cache = c->cache;
  s.step_cache_threshold = 0.2;
  return s;
}

/* Gives portrait and sound of one window. */
static gboolean
feed (AvatarDenoiser *self, const Denoise *c, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = (gsize) info->feature_steps * info->feature_states * info->feature_channels;
  gsize bytes = (gsize) c->width * c->height * 3;
  guint frames = 4 * c->chunk - 3;
  g_autofree float *features = random_floats (frames * n, 7, 1);
  g_autofree guint8 *pixels = g_malloc (bytes);
  AvatarImage *image;
  gboolean ok;

  for (gsize i = 0; i < bytes; i++)
    pixels[i] = i * 7 % 251;
  image = avatar_image_new (c->width, c->height, 3, c->width * 3, pixels, error);
  ok = image && avatar_denoiser_set_reference (self, image, error);
  g_clear_pointer (&image, avatar_image_free);
  for (guint i = 0; i < frames && ok; i++)
    ok = avatar_denoiser_push (self, features + i * n, error);
  return ok && avatar_denoiser_drain (self, error);
}

static GArray *
denoise (const Denoise *c, AvatarDevice *device, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize latent = (gsize) info->latent_channels * (c->width / info->latent_scale)
      * (c->height / info->latent_scale);
  g_auto (Texts) texts = { 0 };
  AvatarDenoiseSettings settings = denoise_settings (c, &texts);
  g_autoptr (GArray) out = g_array_sized_new (FALSE, TRUE, sizeof (float), c->chunk * latent);
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_new (model, device, &settings, error);

  if (!self || !feed (self, c, error))
    return NULL;
  g_array_set_size (out, c->chunk * latent);
  for (guint i = 0; i < c->chunk; i++)
    if (avatar_denoiser_pull (self, (float *) out->data + i * latent, error) != AVATAR_PULL_OK)
      return NULL;
  return g_steal_pointer (&out);
}

static double
distance (const GArray *a, const GArray *b)
{
  double error = 0, size = 0;

  for (guint i = 0; i < a->len; i++) {
    float x = g_array_index (a, float, i), y = g_array_index (b, float, i);

    error += ((double) x - y) * ((double) x - y);
    size += (double) y * y;
  }
  return sqrt (error / size);
}

static gboolean
cpu_takes (const Denoise *c)
{
  double hidden = avatar_model_get_config (model)->transformer.hidden;

  return c->width * c->height * c->chunk / 64. * hidden * hidden <= CPU_WORK;
}

/* @truth: (nullable): result of the same cell without approximations. */
static void
denoise_cell (const Denoise *c, const GArray *truth, double limit)
{
  g_autofree char *name = denoise_name (c);
  g_auto (Texts) texts = { 0 };
  AvatarDenoiseSettings settings = denoise_settings (c, &texts);
  AvatarDecodeSettings decode_settings;
  g_autoptr (GError) refused = NULL;
  g_autoptr (GArray) out = NULL;
  GError *error = NULL;
  AvatarPlan planned;
  gboolean possible;

  if (is_skipped (name))
    return;
  avatar_decode_settings_init (&decode_settings, model);
  possible = plan (&settings, &decode_settings, 4 * c->chunk - 3, 0, &planned, &refused);
  out = denoise (c, gpu, &error);
  if (!possible && !out) {
    g_clear_error (&error);
    n_refused++;
    tell (name, NULL, "refused: %s", refused->message);
    return;
  }
  expect (possible, &error, "the plan refused what ran (%s)", refused ? refused->message : "");
  if (out && truth)
    expect (distance (out, truth) <= limit, &error, "%.1e from the exact latents, more than %.0e",
        distance (out, truth), limit);
  tell (name, error, out && truth ? "%.1e from the exact latents" : "ok",
      out && truth ? distance (out, truth) : 0);
}

/* All ways of computing one window. */
static void
test_ways (void)
{
  for (guint guided = 0; guided < 2; guided++) {
    Denoise c = { 208, 336, 9, 77, 0, 0, 0, 12, guided ? 7.5 : 1 };
    GError *error = NULL;
    g_autoptr (GArray) truth = denoise (&c, gpu, &error);

    if (!truth) {
      tell ("the exact latents", error, " ");
      continue;
    }
    for (c.precision = 0; c.precision < 2; c.precision++)
      for (c.format = 0; c.format < 3; c.format++)
        for (c.cache = 0; c.cache < 3; c.cache++)
          denoise_cell (&c, truth, c.cache ? 1 : 0.5);
  }
}

static void
test_sizes (void)
{
  for (guint precision = 0; precision < 2; precision++) {
    for (guint s = 0; s < G_N_ELEMENTS (sizes); s++)
      denoise_cell (&(Denoise){ sizes[s][0], sizes[s][1], 9, 33, precision, 0, 0, 1, 1 }, NULL, 0);
    for (guint l = 1; l < G_N_ELEMENTS (lengths); l++)
      denoise_cell (&(Denoise){ 208, 336, lengths[l], 33, precision, 0, 0, 2, 1 }, NULL, 0);
    for (guint r = 0; r < G_N_ELEMENTS (rows_of_text); r++)
      denoise_cell (&(Denoise){ 256, 256, 5, rows_of_text[r], precision, 0, 0, 2, 7.5 }, NULL, 0);
    denoise_cell (&(Denoise){ 704, 768, 21, 1, precision, 0, 0, 1, 1 }, NULL, 0);
  }
}

/* Small windows against the CPU. */
static void
test_truth (void)
{
  static const Denoise cells[] = { { 128, 128, 2, 1, 0, 0, 0, 2, 1 },
    { 208, 112, 3, 7, 0, 0, 0, 2, 7.5 }, { 80, 144, 5, 33, 0, 0, 0, 2, 1 } };

  for (guint i = 0; i < G_N_ELEMENTS (cells); i++) {
    GError *error = NULL;
    g_autoptr (GArray) truth = cpu_takes (&cells[i]) ? denoise (&cells[i], cpu, &error) : NULL;
    Denoise fp8 = cells[i];

    fp8.precision = 1;
    if (error) {
      tell ("the CPU's latents", error, " ");
    } else if (truth) {
      denoise_cell (&cells[i], truth, 5e-2);
      denoise_cell (&fp8, truth, 0.5);
    }
  }
}

static void
budget_cell (const Denoise *c)
{
  g_autofree char *way = denoise_name (c);
  g_autofree char *name = g_strconcat (way, ", budgets", NULL);
  g_auto (Texts) texts = { 0 };
  AvatarDenoiseSettings settings = denoise_settings (c, &texts);
  AvatarDecodeSettings decode_settings;
  GError *error = NULL;
  g_autoptr (GArray) truth = is_skipped (name) ? NULL : denoise (c, gpu, &error);
  AvatarPlan planned;
  AvatarMemory memory;
  guint64 least = 0;

  if (is_skipped (name))
    return;
  avatar_decode_settings_init (&decode_settings, model);
  if (truth && plan (&settings, &decode_settings, 4 * c->chunk - 3, 0, &planned, &error)) {
    least = (planned.gpu.min_bytes + MIB - 1) / MIB * MIB;
    for (guint i = 0; i < 3 && !error; i++) {
      guint64 budget = least + i * i * 192 * MIB;
      g_autoptr (GArray) out = NULL;

      avatar_device_set_budget (gpu, budget);
      out = denoise (c, gpu, &error);
      avatar_device_get_memory (gpu, &memory);
      avatar_device_set_budget (gpu, 0);
      if (out)
        expect (memcmp (out->data, truth->data, out->len * sizeof (float)) == 0, &error,
            "other bits in %" G_GUINT64_FORMAT " MiB", budget / MIB);
    }
  }
  tell (name, error, "the same bits from %" G_GUINT64_FORMAT " MiB", least / MIB);
}

static void
test_budgets (void)
{
  for (guint precision = 0; precision < 2; precision++)
    for (guint format = 0; format < 3; format++)
      budget_cell (&(Denoise){ 208, 336, 9, 1, precision, format, 0, 2, 7.5 });
  budget_cell (&(Denoise){ 448, 832, 9, 300, 0, 0, 1, 12, 7.5 });
}

/* -------------------------------------------------------------------------------------- main */

static gboolean
open_all (const char *path, GError **error)
{
  model = avatar_model_open (path, error);
  cpu = model ? avatar_device_open ("cpu", error) : NULL;
  return cpu != NULL;
}

int
main (int argc, char **argv)
{
  const char *path = g_getenv ("AVATAR_MODEL");
  g_autoptr (GError) error = NULL;

  for (int i = 1; i < argc; i++)
    if (strcmp (argv[i], "--device") == 0 && i + 1 < argc)
      device_name = argv[++i];
    else if (strcmp (argv[i], "--only") == 0 && i + 1 < argc)
      only = argv[++i];
    else
      path = argv[i];
  gpu = avatar_device_open (device_name, &error);
  if (!gpu) {
    g_print ("# no GPU: %s\n", error->message);
    return 77;
  }
  if (!path || !open_all (path, &error)) {
    g_printerr ("gpu-matrix: %s\n", error ? error->message : "no model; give its folder");
    return 1;
  }
  g_print ("# %s, %s\n", avatar_device_get_description (gpu), path);
  test_decoder ();
  test_truth ();
  test_ways ();
  test_sizes ();
  test_budgets ();
  g_print ("# %u cells, %u refused by plan and run, %u failed\n", n_cells, n_refused, n_failed);
  avatar_model_unref (model);
  avatar_device_unref (gpu);
  avatar_device_unref (cpu);
  return n_failed > 0;
}
