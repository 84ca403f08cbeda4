/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares ways of dividing a stream of latents in time, by the frames that they give:
 *   bench-decode MODEL DEVICE WIDTH HEIGHT FIRST FURTHER [all] <LATENTS
 * LATENTS are the bytes of latent frames, as avatardenoise pushes them; FIRST and FURTHER: latents
 * of the first window and of each further one; "all": groups of other lengths as well. Prints a
 * Markdown table:
 * - PSNR against decoding the whole stream at once
 * - change from one frame to the next at the first frame of groups, divided by that of other frames
 * - the same at the same places of the whole stream, which is due to the content
 * - change of the error at these frames and at others, in 8-bit levels
 * - milliseconds for each frame, of processor time and of wall-clock time */
#include <avatar/avatar.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  guint width, height, n_latents, first, further;
  gsize latent, frame; /* floats, bytes */
  const float *latents;
  GByteArray *whole;
} Bench;

static void
check (gboolean ok, GError *error)
{
  if (ok)
    return;
  g_printerr ("bench-decode: %s\n", error ? error->message : "too few frames");
  exit (1);
}

static GByteArray *
read_all (void)
{
  GByteArray *bytes = g_byte_array_new ();
  guint8 part[65536];
  gssize n;

  while ((n = read (STDIN_FILENO, part, sizeof part)) > 0)
    g_byte_array_append (bytes, part, n);
  return bytes;
}

static void
pull_all (Bench *bench, AvatarDecoder *decoder, GByteArray *frames)
{
  g_autofree guint8 *rgb = g_malloc (bench->frame);
  GError *error = NULL;
  AvatarPull pull;

  while ((pull = avatar_decoder_pull (decoder, rgb, 3 * bench->width, &error)) == AVATAR_PULL_OK)
    g_byte_array_append (frames, rgb, bench->frame);
  check (pull == AVATAR_PULL_EMPTY, error);
}

/* Decodes all latents in groups of @first and then @further. */
static GByteArray *
decode (Bench *bench, const AvatarDecodeSettings *settings, guint first, guint further,
    double seconds[2])
{
  GError *error = NULL;
  g_autoptr (AvatarDecoder) decoder = avatar_decoder_new (bench->model, bench->device, bench->width,
      bench->height, settings, &error);
  GByteArray *frames = g_byte_array_new ();
  gint64 start;
  clock_t cpu;

  check (decoder != NULL, error);
  start = g_get_monotonic_time ();
  cpu = clock ();
  for (guint i = 0; i < bench->n_latents; i++) {
    check (avatar_decoder_push (decoder, bench->latents + i * bench->latent, &error), error);
    if (i + 1 >= first && (i + 1 - first) % further == 0)
      check (avatar_decoder_end_group (decoder, &error), error);
    pull_all (bench, decoder, frames);
  }
  check (avatar_decoder_drain (decoder, &error), error);
  pull_all (bench, decoder, frames);
  seconds[0] = (double) (clock () - cpu) / CLOCKS_PER_SEC;
  seconds[1] = (g_get_monotonic_time () - start) * 1e-6;
  check (frames->len == (4 * bench->n_latents - 3) * bench->frame, NULL);
  return frames;
}

static double
psnr (const GByteArray *a, const GByteArray *b)
{
  double sum = 0;

  for (gsize i = 0; i < a->len; i++)
    sum += ((double) a->data[i] - b->data[i]) * ((double) a->data[i] - b->data[i]);
  return 10 * log10 (255. * 255. * a->len / MAX (sum, 1e-9));
}

/* Returns the mean absolute change from frame @k - 1 to frame @k, of the video or, with @less, of
 * the difference of two videos. */
static double
change (Bench *bench, const GByteArray *video, const GByteArray *less, guint k)
{
  const guint8 *now = video->data + k * bench->frame, *before = now - bench->frame;
  double sum = 0;

  for (gsize i = 0; i < bench->frame; i++) {
    int d = now[i] - before[i];

    if (less)
      d -= less->data[k * bench->frame + i] - less->data[(k - 1) * bench->frame + i];
    sum += abs (d);
  }
  return sum / bench->frame;
}

/* Returns TRUE if a group begins with frame @k. */
static gboolean
is_seam (guint k, guint first, guint further)
{
  guint start = 4 * first - 3;

  return k >= start && (k - start) % (4 * further) == 0;
}

/* Returns the mean change at seams; @others: (out): the mean change elsewhere. */
static double
seams (Bench *bench, const GByteArray *video, const GByteArray *less, guint first, guint further,
    double *others)
{
  double sum[2] = { 0, 0 };
  guint n[2] = { 0, 0 };

  for (guint k = 1; k < 4 * bench->n_latents - 3; k++) {
    gboolean seam = is_seam (k, first, further);

    sum[seam] += change (bench, video, less, k);
    n[seam]++;
  }
  *others = n[0] ? sum[0] / n[0] : 0;
  return n[1] ? sum[1] / n[1] : 0;
}

static void
print_row (Bench *bench, const char *name, const AvatarDecodeSettings *settings, guint first,
    guint further)
{
  double seconds[2], others, others_whole, others_error;
  guint n = 4 * bench->n_latents - 3;
  g_autoptr (GByteArray) video = decode (bench, settings, first, further, seconds);
  double seam = seams (bench, video, NULL, first, further, &others);
  double content = seams (bench, bench->whole, NULL, first, further, &others_whole);
  double error = seams (bench, video, bench->whole, first, further, &others_error);

  g_print ("| %s | %.1f | %.2f | %.2f | %.2f | %.2f | %.1f | %.1f |\n", name,
      psnr (video, bench->whole), seam / others, content / others_whole, error, others_error,
      1e3 * seconds[0] / n, 1e3 * seconds[1] / n);
}

static void
print_groups (Bench *bench, guint first, guint further)
{
  static const guint fades[] = { 0, 4, 8 };
  AvatarDecodeSettings settings;

  avatar_decode_settings_init (&settings, bench->model);
  avatar_decode_settings_stream (&settings, bench->model, bench->width, bench->height);
  settings.tile_frames = 4 * MAX (first, further);
  for (guint context = 1; context <= 4; context++)
    for (guint i = 0; i < G_N_ELEMENTS (fades); i++) {
      g_autofree char *name
          = g_strdup_printf ("groups of %u, %u | %u | %u", first, further, context, fades[i]);

      settings.context_latents = context;
      settings.fade_frames = fades[i];
      print_row (bench, name, &settings, first, further);
    }
}

static void
print_tiles (Bench *bench, guint tile_frames)
{
  AvatarDecodeSettings settings;
  g_autofree char *name = NULL;
  guint step;

  avatar_decode_settings_init (&settings, bench->model);
  settings.tiling = TRUE;
  if (tile_frames)
    settings.tile_frames = tile_frames;
  step = settings.tile_frames / 16 * 3;
  name = g_strdup_printf ("exact, tile-frames=%u | |", settings.tile_frames);
  print_row (bench, name, &settings, step + 1, step);
}

static void
print_all (Bench *bench, gboolean lengths_too)
{
  static const guint lengths[] = { 3, 5, 7, 12 };
  AvatarDecodeSettings settings;
  double seconds[2];

  avatar_decode_settings_init (&settings, bench->model);
  settings.tiling = FALSE;
  bench->whole = decode (bench, &settings, 1, 1, seconds);
  g_print (
      "| division | context | fade | PSNR, dB | seam / others | the same, whole | error at seam "
      "| error elsewhere | CPU, ms | ms |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
      "| whole | | | | | | | | %.1f | %.1f |\n",
      1e3 * seconds[0] / (4 * bench->n_latents - 3), 1e3 * seconds[1] / (4 * bench->n_latents - 3));
  print_tiles (bench, 0);
  print_tiles (bench, 32);
  print_tiles (bench, 16);
  print_groups (bench, bench->first, bench->further);
  for (guint i = 0; lengths_too && i < G_N_ELEMENTS (lengths); i++)
    print_groups (bench, lengths[i], lengths[i]);
  g_byte_array_unref (bench->whole);
}

int
main (int argc, char **argv)
{
  g_autoptr (GByteArray) input = NULL;
  g_autoptr (AvatarModel) model = NULL;
  g_autoptr (AvatarDevice) device = NULL;
  const AvatarModelInfo *info;
  GError *error = NULL;
  Bench bench = { 0 };

  if (argc < 7) {
    g_printerr ("usage: bench-decode MODEL DEVICE WIDTH HEIGHT FIRST FURTHER [all] <LATENTS\n");
    return 2;
  }
  model = avatar_model_open (argv[1], &error);
  check (model != NULL, error);
  device = avatar_device_open (argv[2], &error);
  check (device != NULL, error);
  info = avatar_model_get_info (model);
  bench = (Bench){ .model = model,
    .device = device,
    .width = atoi (argv[3]),
    .height = atoi (argv[4]),
    .first = MAX (1, atoi (argv[5])),
    .further = MAX (1, atoi (argv[6])) };
  input = read_all ();
  bench.latent = (gsize) info->latent_channels * (bench.width / info->latent_scale)
      * (bench.height / info->latent_scale);
  bench.frame = (gsize) 3 * bench.width * bench.height;
  bench.latents = (const float *) input->data;
  bench.n_latents = input->len / (bench.latent * sizeof (float));
  check (bench.n_latents > 0, NULL);
  print_all (&bench, argc > 7);
  return 0;
}
