/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine alone, without GStreamer: 16 kHz mono samples (float32) on standard input and a portrait
 * become video frames (RGB, 25 a second) on standard output; their size is printed on standard error.
 *
 *   ffmpeg -v error -i hello.wav -f f32le -ac 1 -ar 16000 - | talk portrait.png >frames.rgb
 *   ffplay -f rawvideo -pixel_format rgb24 -video_size 128x128 -framerate 25 frames.rgb
 */
#include <avatar/avatar.h>
#include <stdio.h>

typedef struct
{
  AvatarAudioEncoder *encoder;
  AvatarDenoiser *denoiser;
  AvatarDecoder *decoder;
  float *features, *latent; /* one frame of each */
  guint8 *rgb;
  gsize stride, height;
  guint n_frames; /* that belong to the sound and have not been written */
} Chain;

/* Moves on what each stage has ready: a feature for each video frame, latents, frames, of which the
 * last latent makes up to three too many. */
static gboolean
move_on (Chain *c, GError **error)
{
  AvatarPull pull;

  while ((pull = avatar_audio_encoder_pull (c->encoder, c->features, error)) == AVATAR_PULL_OK) {
    if (!avatar_denoiser_push (c->denoiser, c->features, error))
      return FALSE;
    c->n_frames++;
  }
  if (pull == AVATAR_PULL_ERROR)
    return FALSE;
  while ((pull = avatar_denoiser_pull (c->denoiser, c->latent, error)) == AVATAR_PULL_OK)
    if (!avatar_decoder_push (c->decoder, c->latent, error))
      return FALSE;
  if (pull == AVATAR_PULL_ERROR)
    return FALSE;
  while ((pull = avatar_decoder_pull (c->decoder, c->rgb, c->stride, error)) == AVATAR_PULL_OK)
    if (c->n_frames > 0)
      c->n_frames -= fwrite (c->rgb, c->stride, c->height, stdout) == c->height;
  return pull != AVATAR_PULL_ERROR;
}

static gboolean
run (Chain *c, GError **error)
{
  float samples[1600];
  size_t n;

  while ((n = fread (samples, sizeof *samples, G_N_ELEMENTS (samples), stdin)) > 0)
    if (!avatar_audio_encoder_push (c->encoder, samples, n, error) || !move_on (c, error))
      return FALSE;
  /* The end of the sound goes through stage by stage. */
  return avatar_audio_encoder_drain (c->encoder, error) && move_on (c, error)
      && avatar_denoiser_drain (c->denoiser, error) && move_on (c, error)
      && avatar_decoder_drain (c->decoder, error) && move_on (c, error);
}

/* Makes the stages for @portrait, whose face moves, and runs them. */
static gboolean
animate (AvatarModel *model, AvatarDevice *device, const AvatarImage *portrait, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  AvatarAudioSettings audio = { .context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT };
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  g_autoptr (AvatarImage) fitted = NULL;
  g_autofree float *features = NULL, *latent = NULL;
  g_autofree guint8 *rgb = NULL;
  g_autoptr (AvatarAudioEncoder) a = NULL;
  g_autoptr (AvatarDenoiser) b = NULL;
  g_autoptr (AvatarDecoder) c = NULL;
  guint w, h, scale = info->latent_scale;

  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  avatar_image_find_face (portrait, model, device, 0, 0, &denoise.face_box, NULL);
  fitted = avatar_image_fit_face (portrait, model, 0, 0, &denoise.face_box, error);
  if (!fitted)
    return FALSE;
  w = denoise.width = fitted->width;
  h = denoise.height = fitted->height;
  features = g_new (float, info->feature_steps * info->feature_states * info->feature_channels);
  latent = g_new (float, info->latent_channels *(w / scale) * (h / scale));
  rgb = g_malloc ((gsize) w * h * 3);
  fprintf (stderr, "%ux%u\n", w, h);
  return (a = avatar_audio_encoder_new (model, device, &audio, error))
      && (b = avatar_denoiser_new (model, device, &denoise, error))
      && (c = avatar_decoder_new (model, device, w, h, &decode, error))
      && avatar_denoiser_set_reference (b, fitted, error)
      && run (&(Chain){ a, b, c, features, latent, rgb, (gsize) w * 3, h, 0 }, error);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("auto", &error);
  g_autoptr (AvatarModel) model = device ? avatar_model_open (NULL, &error) : NULL;
  g_autoptr (AvatarImage) portrait = NULL;

  if (argc == 2 && model)
    portrait = avatar_image_load (argv[1], &error);
  if (portrait && animate (model, device, portrait, &error))
    return 0;
  fprintf (stderr, "talk: %s\n", error ? error->message : "usage: talk PORTRAIT <SAMPLES >FRAMES");
  return 1;
}
