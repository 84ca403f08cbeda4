/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/talk-speed.h"

#include <string.h>

/* Length of the audio that is encoded for a measurement, in video frames. */
#define MEASURED_FRAMES 250
/* Length of audio (ns) below which a run takes most of its time to start. */
#define SHORTEST GST_SECOND

static char *
cache_file (void)
{
  return g_build_filename (g_get_user_cache_dir (), "gst-avatar", "speed.ini", NULL);
}

/* Returns the name of the device's hardware, for example "cuda:0 NVIDIA H200": the description up
 * to its first comma, as a group of a key file. */
static char *
hardware (AvatarDevice *device)
{
  const char *text = avatar_device_get_description (device);
  char *name = g_strndup (text, strcspn (text, ","));

  return g_strdelimit (name, "[]:\n", ' ');
}

double
talk_speed_load (const TalkPlan *plan)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autofree char *path = cache_file ();
  g_autofree char *group = hardware (plan->device);
  double speed;

  if (!g_key_file_load_from_file (file, path, G_KEY_FILE_NONE, NULL))
    return 0;
  speed = g_key_file_get_double (file, group, avatar_model_get_info (plan->model)->hash, NULL);
  return speed > 0 && speed < 1e18 ? speed : 0;
}

void
talk_speed_store (const TalkPlan *plan, double seconds)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autofree char *path = cache_file ();
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *group = hardware (plan->device);

  if (plan->length < SHORTEST)
    return;
  g_key_file_load_from_file (file, path, G_KEY_FILE_NONE, NULL);
  g_key_file_set_double (file, group, avatar_model_get_info (plan->model)->hash,
      talk_plan_work (plan) / MAX (seconds, 1e-3));
  if (g_mkdir_with_parents (folder, 0700) != 0 || !g_key_file_save_to_file (file, path, NULL))
    g_debug ("the speed is not kept: %s cannot be written", path);
}

/* Returns the operations of the audio encoder. */
static double
audio_work (const TalkPlan *plan)
{
  AvatarPlan audio;

  if (!avatar_plan_make (plan->model, "cpu", &plan->denoise, &plan->decode, MEASURED_FRAMES, NULL,
          &audio, NULL))
    return 0;
  return audio.stages[0].flops;
}

/* Encodes silence. Returns the time in s, or 0 after an error. */
static double
encode (AvatarAudioEncoder *encoder, const AvatarModelInfo *info)
{
  gsize n = MEASURED_FRAMES * (gsize) (info->sample_rate / info->fps);
  gsize n_features
      = (gsize) info->feature_steps * info->feature_states * (gsize) info->feature_channels;
  g_autofree float *silence = g_new0 (float, n);
  g_autofree float *features = g_new (float, n_features);
  gint64 begin = g_get_monotonic_time ();
  guint frames = 0;

  if (!avatar_audio_encoder_push (encoder, silence, n, NULL)
      || !avatar_audio_encoder_drain (encoder, NULL))
    return 0;
  while (avatar_audio_encoder_pull (encoder, features, NULL) == AVATAR_PULL_OK)
    frames++;
  avatar_audio_encoder_reset (encoder);
  return frames == MEASURED_FRAMES ? (g_get_monotonic_time () - begin + 1) * 1e-6 : 0;
}

double
talk_speed_measure (const TalkPlan *plan)
{
  const AvatarModelInfo *info = avatar_model_get_info (plan->model);
  g_autoptr (AvatarAudioEncoder) encoder
      = avatar_audio_encoder_new (plan->model, plan->device, NULL, NULL);
  double seconds = 0;

  /* The first time includes the compilation of the library's kernels. */
  for (guint i = 0; encoder && i < 2; i++)
    seconds = encode (encoder, info);
  return seconds > 0 ? audio_work (plan) / seconds : 0;
}
