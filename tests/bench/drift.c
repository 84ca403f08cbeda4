/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Measures how the quality of a long stream changes: audio encoder, denoiser in stream mode and
 * decoder, through the public interface only. The video is measured as it is decoded and not
 * stored.
 *   bench-drift [OPTIONS] WINDOW/OVERLAP/STEPS/CONTINUATION...
 * Prints a table with one row for each configuration, such as 9/2/4/corrected. Columns and the
 * results are in docs/measurements/live.md; bench-drift --help lists the options. */
#include "tests/correlation.h"
#include "tests/mouth.h"

#include <avatar/avatar.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE 16000
#define FPS 25
#define SAMPLES_PER_FRAME (RATE / FPS)
#define REACH 12 /* frames on either side of a seam that --profile prints */

/* The speech: clips of the held-out set one after the other, with pauses, [n_frames] frames.
 * @opening: opening of the mouth that the training data have for this speech, [n_frames] */
typedef struct
{
  GArray *samples; /* float */
  guint n_frames;
  double *opening;
} Speech;

/* Sums over the frames of one minute. */
typedef struct
{
  guint n;
  double sharp_face, sharp_all, colour_face[3], colour_all[3];
  double *mean_luma; /* [height, width] sum of the frames */
} Minute;

typedef struct
{
  double sum;
  guint n;
} Mean;

typedef struct
{
  guint width, height;
  int face[4], mouth[4]; /* x1, y1, x2, y2 */
  GArray *minutes, *opening,
      *change; /* Minute; double, of each frame; double, from the frame before */
  guint8 *last;
  double *luma;
} Film;

static char *model_path, *portrait_path, *speech_path, *device_name = "cpu", *face_option,
                                                       *mouth_option;
static int seconds = 60, tile_frames, seed = 1024;
static gboolean whole, profile, no_decode, print_minutes;

static const GOptionEntry entries[] = {
  { "model", 'm', 0, G_OPTION_ARG_FILENAME, &model_path, "Model (default: models/demo)", "PATH" },
  { "device", 'd', 0, G_OPTION_ARG_STRING, &device_name, "Device (default: cpu)", "DEVICE" },
  { "seconds", 's', 0, G_OPTION_ARG_INT, &seconds, "Length of the video (default: 60)", "N" },
  { "speech", 0, 0, G_OPTION_ARG_FILENAME, &speech_path,
      "Folder with *.wav, mono, 16 kHz, 16 bits (default: tests/golden/demo/heldout)", "FOLDER" },
  { "portrait", 'p', 0, G_OPTION_ARG_FILENAME, &portrait_path,
      "Portrait (default: reference_0.png of the held-out set)", "FILE" },
  { "face", 0, 0, G_OPTION_ARG_STRING, &face_option,
      "Region of the face on the video (default: that of the held-out set)", "X1,Y1,X2,Y2" },
  { "mouth", 0, 0, G_OPTION_ARG_STRING, &mouth_option,
      "Region of the mouth on the video (default: that of the held-out set)", "X1,Y1,X2,Y2" },
  { "seed", 0, 0, G_OPTION_ARG_INT, &seed, "Seed of the noise (default: 1024)", "N" },
  { "tile-frames", 0, 0, G_OPTION_ARG_INT, &tile_frames,
      "Temporal tile of the decoder (default: the model's)", "N" },
  { "whole", 0, 0, G_OPTION_ARG_NONE, &whole, "Decode everything as one tile; up to a minute",
      NULL },
  { "no-decode", 0, 0, G_OPTION_ARG_NONE, &no_decode, "Measure seams of the latents only", NULL },
  { "profile", 0, 0, G_OPTION_ARG_NONE, &profile,
      "Print the frame difference at each distance from a seam", NULL },
  { "minutes", 0, 0, G_OPTION_ARG_NONE, &print_minutes, "Print a row for each minute", NULL },
  { 0 },
};

static void
die (const GError *error)
{
  g_printerr ("drift: %s\n", error ? error->message : "a stage gave nothing");
  exit (1);
}

static void
usage_error (const char *what, const char *found)
{
  g_printerr ("drift: %s is \"%s\"; try --help\n", what, found);
  exit (2);
}

/* ---- Speech ---- */

/* Appends the samples of a file, scaled to the peak that the training data have. */
static void
append_wav (GArray *samples, const char *path)
{
  g_autofree char *bytes = NULL;
  GError *error = NULL;
  gsize length;
  float peak = 1e-3;
  guint first = samples->len;

  if (!g_file_get_contents (path, &bytes, &length, &error))
    die (error);
  const guint8 *data = (const guint8 *) bytes;
  if (length < 44 || memcmp (data, "RIFF", 4) != 0 || data[22] != 1 || data[34] != 16
      || (data[24] | data[25] << 8 | data[26] << 16) != RATE)
    usage_error ("expected a WAV file, mono, 16 kHz, 16 bits; a file of --speech", path);
  for (gsize i = 44; i + 1 < length; i += 2) {
    float v = (gint16) (data[i] | data[i + 1] << 8) / 32768.f;

    peak = MAX (peak, fabsf (v));
    g_array_append_val (samples, v);
  }
  for (guint i = first; i < samples->len; i++)
    g_array_index (samples, float, i) *= 0.7f / peak;
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

static GPtrArray *
list_wavs (const char *folder)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);
  GError *error = NULL;
  g_autoptr (GDir) dir = g_dir_open (folder, 0, &error);

  if (!dir)
    die (error);
  for (const char *name; (name = g_dir_read_name (dir));)
    if (g_str_has_suffix (name, ".wav"))
      g_ptr_array_add (paths, g_build_filename (folder, name, NULL));
  if (paths->len == 0)
    usage_error ("expected *.wav in it; --speech", folder);
  g_ptr_array_sort (paths, compare_names);
  return paths;
}

/* Computes the opening of the mouth as mouth_targets() of tools/demo-model/data.py does. */
static void
compute_opening (Speech *self)
{
  static const double weights[8] = { 1, 3, 6, 8, 8, 6, 3, 1 };
  guint n = self->n_frames, blocks = 4 * n;
  g_autofree double *power = g_new0 (double, blocks), *raw = g_new0 (double, n);
  const float *x = (float *) self->samples->data;

  for (guint i = 0; i < blocks * 160; i++)
    power[i / 160] += (double) x[i] * x[i] / 160;
  for (guint f = 0; f < n; f++) {
    double e = 0;

    for (int k = 0; k < 8; k++)
      e += weights[k] / 36 * power[CLAMP ((int) (4 * f) + k - 2, 0, (int) blocks - 1)];
    raw[f] = CLAMP ((10 * log10 (e + 1e-9) + 40) / 28, 0, 1);
  }
  self->opening = g_new (double, n);
  for (guint f = 0; f < n; f++) {
    double o = 0.22 * raw[f ? f - 1 : 0] + 0.56 * raw[f] + 0.22 * raw[MIN (f + 1, n - 1)];

    self->opening[f] = o * o * (3 - 2 * o) * 0.5 + o * 0.5;
  }
}

/* Makes @n_frames frames of speech. The order of the clips and the pauses are pseudo-random. */
static void
speech_init (Speech *self, const char *folder, guint n_frames)
{
  g_autoptr (GPtrArray) paths = list_wavs (folder);
  g_autoptr (GRand) random = g_rand_new_with_seed (1);

  self->samples = g_array_new (FALSE, TRUE, sizeof (float));
  self->n_frames = n_frames;
  while (self->samples->len < n_frames * SAMPLES_PER_FRAME) {
    append_wav (self->samples, paths->pdata[g_rand_int_range (random, 0, paths->len)]);
    g_array_set_size (self->samples,
        self->samples->len + g_rand_int_range (random, RATE / 5, RATE * 3 / 2));
  }
  g_array_set_size (self->samples, n_frames * SAMPLES_PER_FRAME);
  compute_opening (self);
}

/* ---- Measurements of frames ---- */

/* Returns the mean absolute Laplacian of luma inside of @box. */
static double
sharpness (const double *luma, guint width, const int box[4])
{
  double sum = 0;

  for (int y = box[1] + 1; y < box[3] - 1; y++)
    for (int x = box[0] + 1; x < box[2] - 1; x++) {
      const double *p = luma + (gsize) y * width + x;

      sum += fabs (4 * p[0] - p[-1] - p[1] - p[-(int) width] - p[width]);
    }
  return sum / ((box[2] - box[0] - 2) * (box[3] - box[1] - 2));
}

static void
mean_colour (double out[3], const guint8 *rgb, guint width, const int box[4])
{
  for (int y = box[1]; y < box[3]; y++)
    for (int x = box[0]; x < box[2]; x++)
      for (int c = 0; c < 3; c++)
        out[c] += rgb[((gsize) y * width + x) * 3 + c] / (double) (box[2] - box[0])
            / (box[3] - box[1]);
}

static void
clear_minute (gpointer data)
{
  g_free (((Minute *) data)->mean_luma);
}

static void
film_init (Film *self, guint width, guint height, const int face[4], const int mouth[4])
{
  *self = (Film){ .width = width, .height = height };
  memcpy (self->face, face, sizeof self->face);
  memcpy (self->mouth, mouth, sizeof self->mouth);
  self->minutes = g_array_new (FALSE, TRUE, sizeof (Minute));
  g_array_set_clear_func (self->minutes, clear_minute);
  self->opening = g_array_new (FALSE, FALSE, sizeof (double));
  self->change = g_array_new (FALSE, FALSE, sizeof (double));
  self->last = g_malloc ((gsize) width * height * 3);
  self->luma = g_new (double, (gsize) width *height);
}

static void
film_clear (Film *self)
{
  g_array_unref (self->minutes);
  g_array_unref (self->opening);
  g_array_unref (self->change);
  g_free (self->last);
  g_free (self->luma);
}

static void
film_add (Film *self, const guint8 *rgb)
{
  gsize n = (gsize) self->width * self->height;
  guint index = self->opening->len, minute = index / (60 * FPS);
  const int all[4] = { 0, 0, self->width, self->height };
  double opening = mouth_opening (rgb, self->width, self->mouth), change = 0;
  Minute *m;

  if (minute == self->minutes->len) {
    g_array_set_size (self->minutes, minute + 1);
    g_array_index (self->minutes, Minute, minute).mean_luma = g_new0 (double, n);
  }
  m = &g_array_index (self->minutes, Minute, minute);
  for (gsize i = 0; i < n; i++) {
    self->luma[i] = 0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2];
    m->mean_luma[i] += self->luma[i];
  }
  m->n++;
  m->sharp_face += sharpness (self->luma, self->width, self->face);
  m->sharp_all += sharpness (self->luma, self->width, all);
  mean_colour (m->colour_face, rgb, self->width, self->face);
  mean_colour (m->colour_all, rgb, self->width, all);
  for (gsize i = 0; index > 0 && i < 3 * n; i++)
    change += abs (rgb[i] - self->last[i]);
  change /= 3 * n;
  memcpy (self->last, rgb, 3 * n);
  g_array_append_val (self->opening, opening);
  g_array_append_val (self->change, change);
}

/* ---- One configuration ---- */

/* @latents: first latent frame of each window but the first; @tiles: first video frame of each
 * temporal tile of the decoder but the first (guint); @latent_change: mean absolute difference of
 * each latent frame from the one before (double); @window, @tile: indices of the last ones */
typedef struct
{
  GArray *latents, *tiles, *latent_change;
  guint window, tile;
  double seconds_denoise, seconds_decode;
} Run;

typedef struct
{
  AvatarModel *model;
  const AvatarModelInfo *info;
  AvatarDevice *device;
  AvatarImage *portrait;
  Speech speech;
  GArray *features; /* float, [n_frames, n_features] */
  gsize n_features, n_latent;
  AvatarFaceBox face_box;
  int face[4], mouth[4];
} Bench;

static void
take_frames (AvatarDecoder *decoder, Film *film, Run *run)
{
  g_autofree guint8 *rgb = g_malloc ((gsize) film->width * film->height * 3);
  AvatarDecodeStats stats = { 0 };
  GError *error = NULL;
  AvatarPull pull;
  double start = g_get_monotonic_time () / 1e6;

  while ((pull = avatar_decoder_pull (decoder, rgb, (gsize) film->width * 3, &error))
      == AVATAR_PULL_OK) {
    guint index = film->opening->len;

    avatar_decoder_get_stats (decoder, &stats);
    if (stats.index != run->tile) {
      run->tile = stats.index;
      g_array_append_val (run->tiles, index);
    }
    film_add (film, rgb);
  }
  if (pull == AVATAR_PULL_ERROR)
    die (error);
  run->seconds_decode += g_get_monotonic_time () / 1e6 - start;
}

/* Records where windows start and how much the latents change. */
static void
note_latent (Run *run, AvatarDenoiser *denoiser, float *last, const float *latent, gsize n)
{
  AvatarDenoiseStats stats;
  guint k = run->latent_change->len;
  double change = 0;

  avatar_denoiser_get_stats (denoiser, &stats);
  if (stats.index != run->window) {
    run->window = stats.index;
    g_array_append_val (run->latents, k);
  }
  for (gsize i = 0; k > 0 && i < n; i++)
    change += fabs (latent[i] - last[i]) / n;
  memcpy (last, latent, n * sizeof (float));
  g_array_append_val (run->latent_change, change);
}

static void
run_stream (Bench *self, AvatarDenoiser *denoiser, AvatarDecoder *decoder, Film *film, Run *run)
{
  g_autofree float *latent = g_new (float, self->n_latent), *last = g_new (float, self->n_latent);
  GError *error = NULL;
  AvatarPull pull;

  for (guint f = 0; f <= self->speech.n_frames; f++) {
    double start = g_get_monotonic_time () / 1e6;

    if (f == self->speech.n_frames
            ? !avatar_denoiser_drain (denoiser, &error)
            : !avatar_denoiser_push (denoiser,
                (float *) self->features->data + f * self->n_features, &error))
      die (error);
    while ((pull = avatar_denoiser_pull (denoiser, latent, &error)) == AVATAR_PULL_OK) {
      note_latent (run, denoiser, last, latent, self->n_latent);
      if (decoder && !avatar_decoder_push (decoder, latent, &error))
        die (error);
    }
    if (pull == AVATAR_PULL_ERROR)
      die (error);
    run->seconds_denoise += g_get_monotonic_time () / 1e6 - start;
    if (decoder)
      take_frames (decoder, film, run);
  }
  if (decoder) {
    if (!avatar_decoder_drain (decoder, &error))
      die (error);
    take_frames (decoder, film, run);
  }
}

static double
mean (Mean m)
{
  return m.n ? m.sum / m.n : 0;
}

static void
add (Mean *m, double value)
{
  m->sum += value;
  m->n++;
}

/* Frame differences by their place.
 * @window: from the last frame before a window to its first frame
 * @tile: the same of temporal tiles of the decoder, where no window starts
 * @latent: to the first frame of the other latents; @inside: all others */
typedef struct
{
  Mean window, tile, latent, inside;
  Mean profile[2 * REACH + 1];
} Seams;

static Seams
measure_seams (const Film *film, const Run *run)
{
  guint n = film->change->len;
  g_autofree guint8 *kind = g_new0 (guint8, n + 1);
  Seams s = { 0 };

  for (guint i = 0; i < run->tiles->len; i++)
    kind[g_array_index (run->tiles, guint, i)] = 1;
  for (guint i = 0; i < run->latents->len; i++) {
    guint frame = 4 * g_array_index (run->latents, guint, i) - 3;

    kind[MIN (frame, n)] = 2;
    for (int d = -REACH; d <= REACH; d++)
      if ((int) frame + d > 0 && frame + d < n)
        add (&s.profile[d + REACH], g_array_index (film->change, double, frame + d));
  }
  for (guint f = 1; f < n; f++) {
    double change = g_array_index (film->change, double, f);

    add (kind[f] == 2      ? &s.window
            : kind[f] == 1 ? &s.tile
            : f % 4 == 1   ? &s.latent
                           : &s.inside,
        change);
  }
  return s;
}

/* Returns the difference of latents at starts of windows over that of all other latents. */
static double
latent_ratio (const Run *run)
{
  Mean seam = { 0 }, other = { 0 };
  guint next = 0;

  for (guint k = 1; k < run->latent_change->len; k++) {
    gboolean is_seam = next < run->latents->len && g_array_index (run->latents, guint, next) == k;

    next += is_seam;
    add (is_seam ? &seam : &other, g_array_index (run->latent_change, double, k));
  }
  return mean (seam) / mean (other);
}

/* Correlation of the mouth with the speech from frame @from to @to. */
static double
correlation_of (const Bench *self, const Film *film, guint from, guint to)
{
  to = MIN (to, MIN (film->opening->len, self->speech.n_frames));
  return correlation ((double *) film->opening->data + from, self->speech.opening + from,
      to - from);
}

static double
colour_distance (const double *a, guint n_a, const double *b, guint n_b)
{
  double sum = 0;

  for (int c = 0; c < 3; c++)
    sum += (a[c] / n_a - b[c] / n_b) * (a[c] / n_a - b[c] / n_b);
  return sqrt (sum / 3);
}

static double
picture_distance (const Minute *a, const Minute *b, gsize n)
{
  double sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += fabs (a->mean_luma[i] / a->n - b->mean_luma[i] / b->n);
  return sum / n;
}

static void
print_minute (const Bench *self, const Film *film, guint i)
{
  const Minute *m = &g_array_index (film->minutes, Minute, i),
               *first = &g_array_index (film->minutes, Minute, 0);

  printf ("  minute %2u: sharpness face %.3f all %.3f; colour face %.1f %.1f %.1f all %.1f %.1f "
          "%.1f; mean picture %.2f from minute 1; r %.3f\n",
      i + 1, m->sharp_face / m->n, m->sharp_all / m->n, m->colour_face[0] / m->n,
      m->colour_face[1] / m->n, m->colour_face[2] / m->n, m->colour_all[0] / m->n,
      m->colour_all[1] / m->n, m->colour_all[2] / m->n,
      picture_distance (m, first, (gsize) film->width * film->height),
      correlation_of (self, film, i * 60 * FPS, (i + 1) * 60 * FPS));
}

static void
print_profile (const Seams *s)
{
  printf ("  difference over mean by frames from the seam:");
  for (int d = -REACH; d <= REACH; d++) {
    Mean all = { s->window.sum + s->tile.sum + s->latent.sum + s->inside.sum,
      s->window.n + s->tile.n + s->latent.n + s->inside.n };

    printf (" %d:%.2f", d, mean (s->profile[d + REACH]) / mean (all));
  }
  printf ("\n");
}

/* Returns the last minute that is at least half a minute long, or the first one. */
static guint
last_minute (const Film *film)
{
  guint last = film->minutes->len - 1;

  return last > 0 && g_array_index (film->minutes, Minute, last).n < 30 * FPS ? last - 1 : last;
}

static void
print_quality (const Bench *self, const Film *film, const Seams *s)
{
  guint last = last_minute (film);
  const Minute *a = &g_array_index (film->minutes, Minute, 0),
               *b = &g_array_index (film->minutes, Minute, last);
  Mean elsewhere
      = { s->tile.sum + s->latent.sum + s->inside.sum, s->tile.n + s->latent.n + s->inside.n };

  printf (" %.2f | %.2f | %.2f | %.3f |", mean (s->window) / mean (elsewhere),
      mean (s->window) / mean (s->latent), mean (s->tile) / mean (s->latent), mean (elsewhere));
  printf (" %.2f | %.1f %% | %.1f %% | %.2f | %.2f | %.2f |", a->sharp_face / a->n,
      100 * b->sharp_face / b->n / (a->sharp_face / a->n),
      100 * b->sharp_all / b->n / (a->sharp_all / a->n),
      colour_distance (b->colour_face, b->n, a->colour_face, a->n),
      colour_distance (b->colour_all, b->n, a->colour_all, a->n),
      picture_distance (a, b, (gsize) film->width * film->height));
  printf (" %.3f | %.3f | %.3f |", correlation_of (self, film, 0, 60 * FPS),
      correlation_of (self, film, last * 60 * FPS, (last + 1) * 60 * FPS),
      correlation_of (self, film, 0, film->opening->len));
}

static void
print_row (const Bench *self, const char *name, const Film *film, const Run *run)
{
  double video = (double) self->speech.n_frames / FPS;

  printf ("| %s | %.2f |", name, latent_ratio (run));
  if (!no_decode) {
    Seams s = measure_seams (film, run);

    print_quality (self, film, &s);
    printf (" %.1f | %.1f |\n", video / run->seconds_denoise, video / run->seconds_decode);
    if (profile)
      print_profile (&s);
    for (guint i = 0; print_minutes && i < film->minutes->len; i++)
      print_minute (self, film, i);
  } else {
    printf (" %.1f |\n", video / run->seconds_denoise);
  }
  fflush (stdout);
}

static void
print_header (void)
{
  static const char *const latents = "| window / overlap / steps | seam, latents |",
                           *const frames
      = " seam | seam, same phase | tile, same phase | mean difference | sharpness | face | all "
        "| colour, face | all | picture | r, first minute | r, last | r |";

  printf ("%s%s denoiser x |%s\n", latents, no_decode ? "" : frames,
      no_decode ? "" : " decoder x |");
  printf ("| --- |%s\n",
      no_decode ? " ---: | ---: |"
                : " ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: "
                  "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
}

/* Sets what a configuration, "WINDOW/OVERLAP/STEPS/CONTINUATION", names. */
static void
parse_configuration (AvatarDenoiseSettings *s, const char *name)
{
  g_auto (GStrv) parts = g_strsplit (name, "/", 0);
  gboolean is_corrected;

  if (g_strv_length (parts) != 4)
    usage_error ("expected WINDOW/OVERLAP/STEPS/CONTINUATION; a configuration", name);
  is_corrected = g_str_equal (parts[3], "corrected");
  if (!is_corrected && !g_str_equal (parts[3], "held"))
    usage_error ("expected held or corrected; the continuation", parts[3]);
  s->window_latents = g_ascii_strtoull (parts[0], NULL, 10);
  s->overlap = g_ascii_strtoull (parts[1], NULL, 10);
  s->steps = g_ascii_strtoull (parts[2], NULL, 10);
  s->continuation = is_corrected ? AVATAR_CONTINUATION_CORRECTED : AVATAR_CONTINUATION_HELD;
}

static void
run_configuration (Bench *self, const char *name)
{
  AvatarDenoiseSettings settings;
  AvatarDecodeSettings decode;
  GError *error = NULL;
  Film film;
  Run run = { .latents = g_array_new (FALSE, FALSE, sizeof (guint)),
    .tiles = g_array_new (FALSE, FALSE, sizeof (guint)),
    .latent_change = g_array_new (FALSE, FALSE, sizeof (double)) };

  avatar_denoise_settings_init (&settings, self->model);
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.seed = seed;
  settings.face_box = self->face_box;
  parse_configuration (&settings, name);
  avatar_decode_settings_init (&decode, self->model);
  decode.tiling = !whole;
  if (tile_frames)
    decode.tile_frames = tile_frames;
  g_autoptr (AvatarDenoiser) denoiser
      = avatar_denoiser_new (self->model, self->device, &settings, &error);
  if (!denoiser || !avatar_denoiser_set_reference (denoiser, self->portrait, &error))
    die (error);
  g_autoptr (AvatarDecoder) decoder = no_decode
      ? NULL
      : avatar_decoder_new (self->model, self->device, settings.width, settings.height, &decode,
          &error);
  if (!no_decode && !decoder)
    die (error);
  film_init (&film, settings.width, settings.height, self->face, self->mouth);
  run_stream (self, denoiser, decoder, &film, &run);
  print_row (self, name, &film, &run);
  film_clear (&film);
  g_array_unref (run.latents);
  g_array_unref (run.tiles);
  g_array_unref (run.latent_change);
}

/* ---- Inputs ---- */

static void
parse_box (int box[4], const char *text)
{
  if (text && sscanf (text, "%d,%d,%d,%d", &box[0], &box[1], &box[2], &box[3]) != 4)
    usage_error ("expected X1,Y1,X2,Y2; a region", text);
}

static void
encode_audio (Bench *self)
{
  GError *error = NULL;
  g_autoptr (AvatarAudioEncoder) encoder
      = avatar_audio_encoder_new (self->model, self->device, NULL, &error);
  g_autofree float *feature = g_new (float, self->n_features);
  AvatarPull pull = AVATAR_PULL_EMPTY;

  if (!encoder)
    die (error);
  self->features = g_array_new (FALSE, FALSE, sizeof (float));
  for (guint f = 0; f <= self->speech.n_frames; f++) {
    if (f < self->speech.n_frames ? !avatar_audio_encoder_push (encoder,
            (float *) self->speech.samples->data + f * SAMPLES_PER_FRAME, SAMPLES_PER_FRAME, &error)
                                  : !avatar_audio_encoder_drain (encoder, &error))
      die (error);
    while ((pull = avatar_audio_encoder_pull (encoder, feature, &error)) == AVATAR_PULL_OK)
      g_array_append_vals (self->features, feature, self->n_features);
    if (pull == AVATAR_PULL_ERROR)
      die (error);
  }
  if (self->features->len != self->speech.n_frames * self->n_features)
    die (NULL);
}

static void
bench_init (Bench *self)
{
  GError *error = NULL;
  g_autoptr (AvatarImage) portrait = NULL;
  AvatarFaceBox box = { 0 };
  guint width, height;

  parse_box (self->face, face_option);
  parse_box (self->mouth, mouth_option);
  self->model = avatar_model_open (model_path ? model_path : "models/demo", &error);
  self->device = self->model ? avatar_device_open (device_name, &error) : NULL;
  if (!self->device)
    die (error);
  self->info = avatar_model_get_info (self->model);
  width = self->info->width;
  height = self->info->height;
  portrait = avatar_image_load (portrait_path ? portrait_path
                                              : "tests/golden/demo/heldout/reference_0.png",
      &error);
  if (!portrait
      || avatar_image_find_face (portrait, self->model, self->device, width, height, &box, &error)
          == AVATAR_FACE_ERROR)
    die (error);
  self->face_box = box;
  self->portrait
      = avatar_image_fit_face (portrait, self->model, width, height, &self->face_box, &error);
  if (!self->portrait)
    die (error);
  self->n_features = (gsize) self->info->feature_steps * self->info->feature_states
      * self->info->feature_channels;
  self->n_latent = (gsize) self->info->latent_channels * (width / self->info->latent_scale)
      * (height / self->info->latent_scale);
  speech_init (&self->speech, speech_path ? speech_path : "tests/golden/demo/heldout",
      seconds * FPS);
  encode_audio (self);
}

static void
bench_clear (Bench *self)
{
  g_array_unref (self->speech.samples);
  g_free (self->speech.opening);
  g_array_unref (self->features);
  avatar_image_free (self->portrait);
  avatar_device_unref (self->device);
  avatar_model_unref (self->model);
}

int
main (int argc, char **argv)
{
  Bench bench = { .face = { 34, 27, 94, 100 }, .mouth = { 45, 76, 84, 102 } };
  GError *error = NULL;
  g_autoptr (GOptionContext) context
      = g_option_context_new ("WINDOW/OVERLAP/STEPS/CONTINUATION...");

  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, &argc, &argv, &error) || argc < 2 || seconds < 1)
    usage_error ("the command line", error ? error->message : "without a configuration");
  bench_init (&bench);
  print_header ();
  for (int i = 1; i < argc; i++)
    run_configuration (&bench, argv[i]);
  bench_clear (&bench);
  return 0;
}
