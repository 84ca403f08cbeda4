/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program that was compiled for a later version, and therefore sets a reserved field, is refused
 * by each function that takes settings; defaults are accepted; the library has the version of its
 * headers. */
#include <avatar/avatar.h>

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarAudioSettings audio;
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlanOptions options;
} Settings;

static void
settings_init (Settings *s)
{
  GError *error = NULL;

  s->model = avatar_model_open (AVATAR_MODEL_DIR, &error);
  g_assert_no_error (error);
  s->device = avatar_device_open ("cpu", &error);
  g_assert_no_error (error);
  avatar_audio_settings_init (&s->audio, s->model);
  avatar_denoise_settings_init (&s->denoise, s->model);
  avatar_decode_settings_init (&s->decode, s->model);
  avatar_plan_options_init (&s->options);
}

static void
settings_clear (Settings *s)
{
  avatar_device_unref (s->device);
  avatar_model_unref (s->model);
}

/* Plans, which checks the settings of all but the audio encoder. */
static void
plan (Settings *s, const char *refused)
{
  g_autoptr (GError) error = NULL;
  AvatarPlan plan;
  gboolean ok
      = avatar_plan_make (s->model, "cpu", &s->denoise, &s->decode, 25, &s->options, &plan, &error);

  if (!refused) {
    g_assert_no_error (error);
    g_assert_true (ok);
    return;
  }
  g_assert_false (ok);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (g_strstr_len (error->message, -1, refused));
}

static void
test_defaults (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarAudioEncoder) encoder = NULL;
  Settings s;

  settings_init (&s);
  plan (&s, NULL);
  g_assert_cmpuint (s.audio.context_frames, ==, AVATAR_AUDIO_CONTEXT_DEFAULT);
  encoder = avatar_audio_encoder_new (s.model, s.device, &s.audio, &error);
  g_assert_no_error (error);
  g_assert_nonnull (encoder);
  settings_clear (&s);
}

static void
test_reserved_audio (void)
{
  g_autoptr (GError) error = NULL;
  Settings s;

  settings_init (&s);
  s.audio._reserved[G_N_ELEMENTS (s.audio._reserved) - 1] = &s;
  g_assert_null (avatar_audio_encoder_new (s.model, s.device, &s.audio, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (g_strstr_len (error->message, -1, "AvatarAudioSettings"));
  settings_clear (&s);
}

static void
test_reserved (void)
{
  AvatarLoraSetting lora = { .path = "missing.safetensors", .strength = 1 };
  AvatarLoraSchedule schedule = { ._reserved = { &lora } };
  AvatarTextStates texts[2] = { { .n = 1, .used = 1 }, { .n = 1, .used = 1 } };
  gpointer *fields[5];
  const char *names[] = { "AvatarDenoiseSettings", "AvatarDecodeSettings", "AvatarPixels",
    "AvatarPlanOptions", "AvatarTextStates" };
  Settings s;

  settings_init (&s);
  fields[0] = &s.denoise._reserved[G_N_ELEMENTS (s.denoise._reserved) - 1];
  fields[1] = &s.decode._reserved[0];
  fields[2] = &s.decode.pixels._reserved[0];
  fields[3] = &s.options._reserved[0];
  fields[4] = &texts[1]._reserved[0];
  for (guint i = 0; i < G_N_ELEMENTS (fields); i++) {
    s.denoise.text_states = i == 4 ? texts : NULL;
    *fields[i] = &s;
    plan (&s, names[i]);
    *fields[i] = NULL;
  }
  s.denoise.text_states = NULL;
  s.denoise.loras = &lora;
  s.denoise.n_loras = 1;
  lora._reserved[0] = &s;
  plan (&s, "AvatarLoraSetting");
  lora._reserved[0] = NULL;
  lora.schedule = &schedule;
  plan (&s, "AvatarLoraSchedule");
  settings_clear (&s);
}

static void
test_version (void)
{
  guint major = G_MAXUINT, minor = G_MAXUINT, micro = G_MAXUINT;

  avatar_version (&major, &minor, &micro);
  g_assert_cmpuint (major, ==, AVATAR_VERSION_MAJOR);
  g_assert_cmpuint (minor, ==, AVATAR_VERSION_MINOR);
  g_assert_cmpuint (micro, ==, AVATAR_VERSION_MICRO);
  avatar_version (NULL, NULL, NULL);
  g_assert_true (AVATAR_CHECK_VERSION (0, 0, 0));
  g_assert_false (AVATAR_CHECK_VERSION (AVATAR_VERSION_MAJOR, AVATAR_VERSION_MINOR + 1, 0));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/settings/defaults", test_defaults);
  g_test_add_func ("/settings/reserved-audio", test_reserved_audio);
  g_test_add_func ("/settings/reserved", test_reserved);
  g_test_add_func ("/settings/version", test_version);
  return g_test_run ();
}
