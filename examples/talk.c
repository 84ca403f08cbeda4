/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Uses the engine without GStreamer: reads mono samples (16 kHz, float32) from standard input, and
 * writes RGB frames, 25 per second, to standard output. Prints the size of the frames.
 *   cc -o talk talk.c $(pkg-config --cflags --libs avatar-engine)
 *   ffmpeg -v error -i hello.wav -f f32le -ac 1 -ar 16000 - | ./talk portrait.png >frames.rgb */
#include <avatar/avatar.h>
#include <stdio.h>

typedef struct
{
  AvatarAudioEncoder *encoder;
  AvatarDenoiser *denoiser;
  AvatarDecoder *decoder;
  float *features, *latent; /* one video frame, one latent frame */
  guint8 *rgb;
  gsize stride, height;
  guint n_frames; /* number of video frames to write for the audio so far */
} Chain;

/* Passes output to the next stage. The last latent may give frames beyond n_frames. */
static gboolean
pump (Chain *c, GError **error)
{
  AvatarPull pull;

  while ((pull = avatar_audio_encoder_pull (c->encoder, c->features, error)) == AVATAR_PULL_OK
      && ++c->n_frames)
    if (!avatar_denoiser_push (c->denoiser, c->features, error))
      return FALSE;
  while (pull != AVATAR_PULL_ERROR
      && (pull = avatar_denoiser_pull (c->denoiser, c->latent, error)) == AVATAR_PULL_OK)
    if (!avatar_decoder_push (c->decoder, c->latent, error))
      return FALSE;
  while (pull != AVATAR_PULL_ERROR
      && (pull = avatar_decoder_pull (c->decoder, c->rgb, c->stride, error)) == AVATAR_PULL_OK)
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
    if (!avatar_audio_encoder_push (c->encoder, samples, n, error) || !pump (c, error))
      return FALSE;
  return avatar_audio_encoder_drain (c->encoder, error) && pump (c, error)
      && avatar_denoiser_drain (c->denoiser, error) && pump (c, error)
      && avatar_decoder_drain (c->decoder, error) && pump (c, error);
}

static gboolean
animate (AvatarModel *model, AvatarDevice *device, const AvatarImage *portrait, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  g_autoptr (AvatarImage) fitted = NULL;
  g_autoptr (AvatarAudioEncoder) a = NULL;
  g_autoptr (AvatarDenoiser) b = NULL;
  g_autoptr (AvatarDecoder) c = NULL;
  guint n = info->feature_steps * info->feature_states * info->feature_channels;
  guint w, h, scale = info->latent_scale;

  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  avatar_image_find_face (portrait, model, device, 0, 0, &denoise.face_box, NULL);
  if (!(fitted = avatar_image_fit_face (portrait, model, 0, 0, &denoise.face_box, error)))
    return FALSE;
  denoise.width = w = fitted->width;
  denoise.height = h = fitted->height;
  g_autofree float *features = g_new (float, n);
  g_autofree float *latent = g_new (float, (w / scale) * (h / scale) * info->latent_channels);
  g_autofree guint8 *rgb = g_malloc ((gsize) w * h * 3);
  fprintf (stderr, "%ux%u\n", w, h);
  return (a = avatar_audio_encoder_new (model, device, NULL, error))
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

  if (model && argc == 2 && (portrait = avatar_image_load (argv[1], &error))
      && animate (model, device, portrait, &error))
    return 0;
  fprintf (stderr, "talk: %s\n", error ? error->message : "usage: talk PORTRAIT <SAMPLES >FRAMES");
  return 1;
}
