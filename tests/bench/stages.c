/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Times the engine's stages on one clip of one window, through the public interface only.
 *   stages MODEL PORTRAIT STEPS
 * Prints "NAME VALUE" lines: seconds of each stage, of the chain, and until the first frame; the
 * work of a stage in GFLOP as the plan counts it; memory in bytes. */
#include <avatar/avatar.h>
#include <math.h>
#include <sys/resource.h>

static double
seconds (void)
{
  return g_get_monotonic_time () / 1e6;
}

static void
die (GError *error)
{
  g_printerr ("stages: %s\n", error ? error->message : "a stage gave nothing");
  exit (1);
}

/* A voice-like sound: what is said does not change the work. */
static void
make_sound (float *samples, guint n, guint rate)
{
  for (guint i = 0; i < n; i++) {
    double t = (double) i / rate;
    samples[i] = 0.4 * sin (2 * G_PI * 140 * t) * (0.5 + 0.5 * sin (2 * G_PI * 4 * t));
  }
}

static void
print_plan (AvatarModel *model, const AvatarDenoiseSettings *denoise,
    const AvatarDecodeSettings *decode, guint frames)
{
  GError *error = NULL;
  AvatarPlan plan;

  if (!avatar_plan_make (model, "cpu", denoise, decode, frames, NULL, &plan, &error))
    die (error);
  for (guint i = 0; i < plan.n_stages; i++)
    g_print ("gflop:%s %.3f\n", plan.stages[i].name, plan.stages[i].flops / 1e9);
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  double start = seconds (), at, first;
  AvatarPull pull;

  if (argc != 4) {
    g_printerr ("usage: stages MODEL PORTRAIT STEPS\n");
    return 2;
  }
  g_autoptr (AvatarModel) model = avatar_model_open (argv[1], &error);
  g_autoptr (AvatarDevice) device = model ? avatar_device_open ("cpu", &error) : NULL;
  if (!device)
    die (error);
  const AvatarModelInfo *info = avatar_model_get_info (model);
  guint frames = info->window_frames;
  guint n_samples = frames * info->sample_rate / info->fps;
  gsize feature_size = info->feature_steps * info->feature_states * info->feature_channels;

  AvatarDenoiseSettings denoise;
  avatar_denoise_settings_init (&denoise, model);
  denoise.steps = (guint) g_ascii_strtoull (argv[3], NULL, 10);
  denoise.prompt = "a cartoon face talks";
  AvatarDecodeSettings decode;
  avatar_decode_settings_init (&decode, model);
  AvatarAudioSettings audio = { .context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT };

  g_autoptr (AvatarImage) portrait = avatar_image_load (argv[2], &error);
  if (!portrait)
    die (error);
  g_autoptr (AvatarImage) fitted
      = avatar_image_fit (portrait, model, denoise.width, denoise.height, NULL, &error);
  if (!fitted)
    die (error);
  g_autoptr (AvatarAudioEncoder) encoder = avatar_audio_encoder_new (model, device, &audio, &error);
  g_autoptr (AvatarDenoiser) denoiser
      = encoder ? avatar_denoiser_new (model, device, &denoise, &error) : NULL;
  g_autoptr (AvatarDecoder) decoder = denoiser
      ? avatar_decoder_new (model, device, denoise.width, denoise.height, &decode, &error)
      : NULL;
  if (!decoder || !avatar_denoiser_set_reference (denoiser, fitted, &error))
    die (error);
  g_print ("load %.3f\n", seconds () - start);

  g_autofree float *samples = g_new (float, n_samples);
  g_autofree float *feature = g_new (float, feature_size);
  gsize latent_size = (gsize) info->latent_channels * (denoise.width / info->latent_scale)
      * (denoise.height / info->latent_scale);
  g_autofree float *latent = g_new (float, latent_size);
  g_autofree guint8 *rgb = g_malloc ((gsize) denoise.width * denoise.height * 3);
  make_sound (samples, n_samples, info->sample_rate);

  at = seconds ();
  if (!avatar_audio_encoder_push (encoder, samples, n_samples, &error)
      || !avatar_audio_encoder_drain (encoder, &error))
    die (error);
  while ((pull = avatar_audio_encoder_pull (encoder, feature, &error)) == AVATAR_PULL_OK)
    if (!avatar_denoiser_push (denoiser, feature, &error))
      die (error);
  if (pull == AVATAR_PULL_ERROR || !avatar_denoiser_drain (denoiser, &error))
    die (error);
  g_print ("audio %.3f\n", seconds () - at);

  at = seconds ();
  while ((pull = avatar_denoiser_pull (denoiser, latent, &error)) == AVATAR_PULL_OK)
    if (!avatar_decoder_push (decoder, latent, &error))
      die (error);
  if (pull == AVATAR_PULL_ERROR || !avatar_decoder_drain (decoder, &error))
    die (error);
  g_print ("denoise %.3f\n", seconds () - at);

  at = seconds ();
  first = 0;
  guint n = 0;
  while ((pull = avatar_decoder_pull (decoder, rgb, (gsize) denoise.width * 3, &error))
      == AVATAR_PULL_OK) {
    if (n++ == 0)
      first = seconds () - start;
  }
  if (pull == AVATAR_PULL_ERROR || n < frames)
    die (error);
  g_print ("decode %.3f\n", seconds () - at);
  g_print ("chain %.3f\n", seconds () - start);
  g_print ("first-frame %.3f\n", first);
  g_print ("media %.3f\n", (double) frames / info->fps);

  AvatarMemory memory;
  struct rusage usage;
  avatar_device_get_memory (device, &memory);
  getrusage (RUSAGE_SELF, &usage);
  g_print ("peak-ledger %" G_GUINT64_FORMAT "\n", memory.peak);
  g_print ("peak-process %" G_GUINT64_FORMAT "\n", (guint64) usage.ru_maxrss * 1024);
  print_plan (model, &denoise, &decode, frames);
  return 0;
}
