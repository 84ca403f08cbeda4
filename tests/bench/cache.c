/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cost and benefit of the step cache: one clip with guidance, with each mode of the cache
 * against none, through the public interface only.
 *   cache [--clip] MODEL PORTRAIT STEPS...
 * Prints a Markdown table. --clip: several windows of clip mode instead of one. */
#include "tests/bench/scene.h"

#include <math.h>
#include <string.h>

#define WINDOW_LATENTS 9
#define GUIDANCE 7.5 /* upstream's */

static AvatarDenoiseMode mode;

/* A setting of the cache. @value: threshold, or full steps of a forecast; 0: the default */
typedef struct
{
  AvatarStepCacheMode mode;
  double value;
} Row;

static const Row rows[] = {
  { AVATAR_STEP_CACHE_UPSTREAM, 0 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0.1 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0.15 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0.2 },
  { AVATAR_STEP_CACHE_EASY, 0 },
  { AVATAR_STEP_CACHE_EASY, 0.01 },
  { AVATAR_STEP_CACHE_EASY, 0.025 },
  { AVATAR_STEP_CACHE_EASY, 0.1 },
  { AVATAR_STEP_CACHE_FORECAST, 0 },
  { AVATAR_STEP_CACHE_FORECAST, 30 },
  { AVATAR_STEP_CACHE_FORECAST, 22 },
  { AVATAR_STEP_CACHE_FORECAST, 18 },
  { AVATAR_STEP_CACHE_FORECAST, 15 },
  { AVATAR_STEP_CACHE_FORECAST, 12 },
  { AVATAR_STEP_CACHE_FORECAST, 11 },
  { AVATAR_STEP_CACHE_FORECAST, 10 },
  { AVATAR_STEP_CACHE_FORECAST, 7 },
  { AVATAR_STEP_CACHE_FORECAST, 6 },
};

static Result
run (const Scene *scene, guint steps, const Row *row)
{
  Result result = result_new ();
  AvatarDenoiseSettings settings;
  GError *error = NULL;
  g_autoptr (AvatarDenoiser) denoiser = NULL;

  avatar_denoise_settings_init (&settings, scene->model);
  settings.prompt = "a cartoon face talks";
  settings.mode = mode;
  settings.window_latents = WINDOW_LATENTS;
  settings.overlap = 1;
  settings.steps = steps;
  settings.guidance_scale = GUIDANCE;
  settings.step_cache = row->mode;
  if (row->mode == AVATAR_STEP_CACHE_FORECAST)
    settings.step_cache_steps = row->value;
  else if (row->value > 0)
    settings.step_cache_threshold = row->value;
  denoiser = avatar_denoiser_new (scene->model, scene->device, &settings, &error);
  if (!denoiser)
    die (error);
  scene_denoise (scene, denoiser, &result);
  scene_decode (scene, settings.width, settings.height, &result);
  return result;
}

static void
print_row (const Scene *scene, guint steps, const Row *row, const Result *none)
{
  static const char *const names[] = { "none", "upstream", "adaptive", "easy", "forecast" };
  Result r = run (scene, steps, row);
  double frames = psnr (r.rgb, none->rgb);
  g_autofree char *value = row->value > 0 ? g_strdup_printf (", %g", row->value) : g_strdup ("");

  g_print ("| %u | %s%s | %u | %.1f | %.2f | %.4f | ", steps, names[row->mode], value, r.forwards,
      r.seconds, none->seconds / r.seconds, relative_error (r.latents, none->latents));
  if (isinf (frames))
    g_print ("the same |\n");
  else
    g_print ("%.1f |\n", frames);
  result_clear (&r);
}

static void
print_rows (const Scene *scene, guint steps)
{
  Result none = run (scene, steps, &(Row){ AVATAR_STEP_CACHE_NONE, 0 });

  g_print ("| %u | none | %u | %.1f | 1 | 0 | |\n", steps, none.forwards, none.seconds);
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    if (rows[i].mode != AVATAR_STEP_CACHE_FORECAST || rows[i].value < steps)
      print_row (scene, steps, &rows[i], &none);
  result_clear (&none);
}

/* Chooses one window, or with @clip the smallest number of frames that gives clip mode two. */
static void
choose_clip (Scene *scene, gboolean clip)
{
  guint window = avatar_model_get_info (scene->model)->window_latents;

  mode = clip ? AVATAR_DENOISE_MODE_CLIP : AVATAR_DENOISE_MODE_STREAM;
  scene->latents = clip ? window + 1 : WINDOW_LATENTS;
  scene->frames = 4 * scene->latents - 3;
}

int
main (int argc, char **argv)
{
  gboolean clip = argc > 1 && strcmp (argv[1], "--clip") == 0;
  GError *error = NULL;
  Scene scene = { 0 };
  AvatarImage *image;

  argv += clip;
  argc -= clip;
  if (argc < 4) {
    g_printerr ("usage: cache [--clip] MODEL PORTRAIT STEPS...\n");
    return 2;
  }
  image = scene_open (&scene, argv[1], argv[2]);
  scene.portrait = avatar_image_fit (image, scene.model, avatar_model_get_info (scene.model)->width,
      avatar_model_get_info (scene.model)->height, NULL, &error);
  if (!scene.portrait)
    die (error);
  choose_clip (&scene, clip);
  scene_hear (&scene);
  g_print (
      "| steps | cache | full forwards | processor seconds | times as fast | relative L2 error of the "
      "latents | PSNR of the frames, dB |\n"
      "| ---: | --- | ---: | ---: | ---: | ---: | ---: |\n");
  for (int i = 3; i < argc; i++)
    print_rows (&scene, (guint) g_ascii_strtoull (argv[i], NULL, 10));
  avatar_image_free (image);
  scene_clear (&scene);
  return 0;
}
